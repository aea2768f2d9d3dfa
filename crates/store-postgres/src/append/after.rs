//! Appending what was decided on what was seen: under the locks of the lanes it is checked that
//! nothing came in between. It does not join the queue of other appends: what it was decided on
//! holds for the head it was decided on, which a group would move.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use counterfoil_ledger::{LaneId, Receipt};
use counterfoil_store::{Pending, Seen, StoreError, Tenant};
use counterfoil_types::{CustomerId, Timestamp};
use sqlx::PgConnection;

use super::{Batch, TRIES, lock, look_up, plan::Heads, probe::Taken, stage::Staged, store_rows};
use crate::{
    error::StepError,
    open::PostgresStore,
    rows::{get, signed},
};

/// What one try came to.
enum Outcome {
    Stored(Vec<Receipt>),
    /// Rows of these customers came in between; nothing was written.
    Moved(HashSet<CustomerId>),
}

/// Appends events of customers of which nothing came after what was seen. Where the ledger is
/// sharded, lane by lane.
pub(crate) async fn append_after(
    store: &PostgresStore,
    tenant: &Tenant,
    batch: &[Pending],
    now: Timestamp,
    seen: &[Seen],
) -> Result<Vec<Option<Receipt>>, StoreError> {
    let mut parts: BTreeMap<LaneId, Vec<usize>> = BTreeMap::new();
    for (at, pending) in batch.iter().enumerate() {
        let lane = if store.sharded { pending.lane } else { LaneId(0) };
        parts.entry(lane).or_default().push(at);
    }
    let mut receipts: Vec<Option<Receipt>> = vec![None; batch.len()];
    for mut places in parts.into_values() {
        while !places.is_empty() {
            let part: Vec<Pending> =
                places.iter().filter_map(|at| batch.get(*at).cloned()).collect();
            match append_part(store, tenant, &part, now, seen).await? {
                Outcome::Stored(stored) => {
                    for (at, receipt) in places.drain(..).zip(stored) {
                        if let Some(slot) = receipts.get_mut(at) {
                            *slot = Some(receipt);
                        }
                    }
                }
                Outcome::Moved(moved) => places.retain(|at| {
                    batch.get(*at).is_some_and(|pending| !moved.contains(&pending.event.customer))
                }),
            }
        }
    }
    Ok(receipts)
}

async fn append_part(
    store: &PostgresStore,
    tenant: &Tenant,
    part: &[Pending],
    now: Timestamp,
    seen: &[Seen],
) -> Result<Outcome, StoreError> {
    let mut batch =
        Batch { staged: Staged::new(tenant, part, now, store.sharded)?, taken: Taken::new() };
    let lanes: BTreeSet<i64> = part.iter().map(|pending| pending.lane.0).collect();
    // Only of customers that are still in it: those that moved have been left out.
    let customers: HashSet<&CustomerId> =
        part.iter().map(|pending| &pending.event.customer).collect();
    let seen: Vec<&Seen> = seen.iter().filter(|seen| customers.contains(&seen.customer)).collect();
    let lanes: Vec<i64> = lanes.into_iter().collect();
    let mut last = StoreError::Unavailable("the batch was not tried".to_owned());
    if store.queues.caution.take() {
        look_up(store, &mut batch).await?;
        if !batch.taken.is_empty() {
            store.queues.caution.renew();
        }
    }
    for _ in 0..TRIES {
        match try_append(store, &mut batch, &lanes, &seen).await {
            Ok(outcome) => return Ok(outcome),
            Err(StepError::Store(error)) => return Err(error),
            Err(StepError::Again(error)) => last = error,
        }
        store.queues.caution.renew();
        look_up(store, &mut batch).await?;
    }
    Err(last)
}

async fn try_append(
    store: &PostgresStore,
    batch: &mut Batch,
    lanes: &[i64],
    seen: &[&Seen],
) -> Result<Outcome, StepError> {
    let mut tx = store.begin_on(&batch.staged.tenant).await?;
    let heads = lock(&mut tx, lanes.to_vec()).await?;
    let moved = moved(&mut tx, &heads, seen).await?;
    if !moved.is_empty() {
        return Ok(Outcome::Moved(moved));
    }
    let receipts = store_rows(tx, heads, std::slice::from_mut(batch)).await?;
    Ok(Outcome::Stored(receipts.into_iter().flatten().collect()))
}

/// Customers of which rows came after what was seen, or perhaps: see [`Seen::MOST`].
async fn moved(
    tx: &mut PgConnection,
    heads: &Heads,
    seen: &[&Seen],
) -> Result<HashSet<CustomerId>, StepError> {
    let mut moved = HashSet::new();
    let (mut lanes, mut positions, mut customers) = (Vec::new(), Vec::new(), Vec::new());
    for seen in seen {
        let head = heads.lanes.get(&seen.lane).map_or(0, |head| head.0);
        match head.saturating_sub(seen.position) {
            0 => {}
            behind if behind > Seen::MOST => {
                moved.insert(seen.customer.clone());
            }
            _ => {
                lanes.push(seen.lane.0);
                positions.push(signed(seen.position));
                customers.push(seen.customer.as_str());
            }
        }
    }
    if lanes.is_empty() {
        return Ok(moved);
    }
    // Each lane is looked through once, from the earliest position on.
    let rows = sqlx::query(
        "WITH seen AS MATERIALIZED (SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS s (lane_id, position, customer)), since AS (SELECT lane_id, MIN(position) AS position FROM seen GROUP BY lane_id) SELECT DISTINCT seen.customer FROM since CROSS JOIN LATERAL (SELECT e.customer, e.position FROM ledger_event e WHERE e.lane_id = since.lane_id AND e.position > since.position) row JOIN seen ON seen.lane_id = since.lane_id AND seen.customer = row.customer AND row.position > seen.position",
    )
    .bind(&lanes)
    .bind(&positions)
    .bind(&customers)
    .fetch_all(tx)
    .await?;
    for row in &rows {
        let customer: &str = get(row, 0)?;
        if let Some(seen) = seen.iter().find(|seen| seen.customer.as_str() == customer) {
            moved.insert(seen.customer.clone());
        }
    }
    Ok(moved)
}
