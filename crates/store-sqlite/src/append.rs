//! The ingest path. One transaction per batch:
//!
//! | step | statement |
//! |---|---|
//! | take the write lock, read the lane heads | `BEGIN IMMEDIATE`, one `SELECT` |
//! | insert all as if new, behind a savepoint | multi-row `INSERT` |
//! | only if a key was taken: roll back to the savepoint, probe the keys, insert the rest | `SELECT … IN`, `INSERT` |
//! | advance the heads | one `UPDATE` per lane |
//!
//! The common batch (all new) costs no probe; a batch sent again costs one. Positions are handed
//! out under the write lock, so they are contiguous and commit order is position order. A key that
//! stands twice in one batch waits for a second round, in which the first is found stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_ledger::{
    CorrectionKind, LaneId, Receipt, Reject, StoredEvent, body, check_correction, content_hash,
    key_hash, leaf_hash,
};
use counterfoil_store::{Pending, StoreError, Tenant};
use counterfoil_types::{Digest, TenantId, Timestamp};
use sqlx::{Acquire, Row, Sqlite, SqliteConnection, Transaction};

use crate::{
    error::{is_unique_violation, store_error},
    multi,
    rows::{self, event_query, signed, unsigned},
};

const INSERT: &str = "INSERT INTO usage_event (lane_id, position, key, leaf, recorded_at, time, customer, type, source, id, quantity, body, target) VALUES";
const INSERT_COLUMNS: usize = 13;

struct Heads {
    heads: BTreeMap<LaneId, (u64, Timestamp)>,
    changed: HashSet<LaneId>,
    now: Timestamp,
}

impl Heads {
    /// The next position of a lane and the time it is recorded at.
    fn next(&mut self, lane: LaneId) -> (u64, Timestamp) {
        let head = self.heads.entry(lane).or_insert((0, Timestamp::MIN));
        head.0 += 1;
        head.1 = head.1.max(self.now);
        self.changed.insert(lane);
        *head
    }
}

/// Appends `batch`; see the module header.
pub(crate) async fn append(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &Tenant,
    batch: &[Pending],
    now: Timestamp,
) -> Result<Vec<Receipt>, StoreError> {
    let mut heads = read_heads(tx, tenant, now).await?;
    let mut receipts: Vec<Option<Receipt>> = vec![None; batch.len()];
    let mut waiting: Vec<usize> = (0..batch.len()).collect();
    while !waiting.is_empty() {
        let mut seen = HashSet::new();
        let (round, later): (Vec<usize>, Vec<usize>) = waiting
            .into_iter()
            .partition(|at| batch.get(*at).is_some_and(|pending| seen.insert(pending.key)));
        for group in by_correction(batch, &round) {
            let outcome = match group.as_slice() {
                [only] if is_correction(batch, *only) => {
                    correct(tx, tenant, batch, *only, &mut heads).await?
                }
                _ => plain(tx, tenant, batch, &group, &mut heads).await?,
            };
            for (at, receipt) in outcome {
                if let Some(slot) = receipts.get_mut(at) {
                    *slot = Some(receipt);
                }
            }
        }
        waiting = later;
    }
    write_heads(tx, &heads).await?;
    receipts
        .into_iter()
        .map(|receipt| receipt.ok_or_else(|| StoreError::Driver("an event got no receipt".into())))
        .collect()
}

fn is_correction(batch: &[Pending], at: usize) -> bool {
    batch.get(at).is_some_and(|pending| pending.event.correction.is_some())
}

/// Cuts a round at its corrections: what stands before one must be stored when it is checked.
fn by_correction(batch: &[Pending], round: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut open = false;
    for at in round {
        if is_correction(batch, *at) {
            groups.push(vec![*at]);
            open = false;
        } else if let (true, Some(group)) = (open, groups.last_mut()) {
            group.push(*at);
        } else {
            groups.push(vec![*at]);
            open = true;
        }
    }
    groups
}

async fn read_heads(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    now: Timestamp,
) -> Result<Heads, StoreError> {
    let rows = sqlx::query("SELECT lane_id, position, recorded_at FROM lane WHERE tenant = ?")
        .bind(tenant.number)
        .fetch_all(tx)
        .await
        .map_err(store_error)?;
    let mut heads = BTreeMap::new();
    for row in rows {
        let lane = LaneId(row.try_get(0).map_err(store_error)?);
        let position: i64 = row.try_get(1).map_err(store_error)?;
        let recorded_at: i64 = row.try_get(2).map_err(store_error)?;
        heads.insert(lane, (unsigned(position), Timestamp::from_micros(recorded_at)));
    }
    Ok(Heads { heads, changed: HashSet::new(), now })
}

async fn write_heads(tx: &mut SqliteConnection, heads: &Heads) -> Result<(), StoreError> {
    for lane in &heads.changed {
        let Some((position, recorded_at)) = heads.heads.get(lane) else { continue };
        let done = sqlx::query("UPDATE lane SET position = ?, recorded_at = ? WHERE lane_id = ?")
            .bind(signed(*position))
            .bind(recorded_at.micros())
            .bind(lane.0)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        if done.rows_affected() != 1 {
            return Err(StoreError::corrupt("lane", lane, "the lane's head row is missing"));
        }
    }
    Ok(())
}

/// Inserts events without corrections.
async fn plain(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &Tenant,
    batch: &[Pending],
    group: &[usize],
    heads: &mut Heads,
) -> Result<Vec<(usize, Receipt)>, StoreError> {
    let before = (heads.heads.clone(), heads.changed.clone());
    let mut savepoint = tx.begin().await.map_err(store_error)?;
    match insert(&mut savepoint, tenant, batch, group, heads).await {
        Ok(receipts) => {
            savepoint.commit().await.map_err(store_error)?;
            Ok(receipts)
        }
        Err(error) if is_unique_violation(&error) => {
            savepoint.rollback().await.map_err(store_error)?;
            (heads.heads, heads.changed) = before;
            let mut receipts = probe(tx, tenant, batch, group).await?;
            let known: HashSet<usize> = receipts.iter().map(|(at, _)| *at).collect();
            let fresh: Vec<usize> =
                group.iter().copied().filter(|at| !known.contains(at)).collect();
            receipts.extend(insert(tx, tenant, batch, &fresh, heads).await.map_err(store_error)?);
            Ok(receipts)
        }
        Err(error) => Err(store_error(error)),
    }
}

async fn insert(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    group: &[usize],
    heads: &mut Heads,
) -> Result<Vec<(usize, Receipt)>, sqlx::Error> {
    let mut receipts = Vec::with_capacity(group.len());
    for chunk in multi::chunks(group) {
        let mut query = sqlx::query(multi::values(INSERT, INSERT_COLUMNS, chunk.len(), ""));
        for at in chunk {
            let Some(pending) = batch.get(*at) else { continue };
            let (position, recorded_at) = heads.next(pending.lane);
            query = bind(query, tenant, pending, position, recorded_at, None);
            receipts.push((*at, Receipt::Inserted { lane: pending.lane, position }));
        }
        query.execute(&mut *tx).await?;
    }
    Ok(receipts)
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(
    query: Query<'q>,
    tenant: &Tenant,
    pending: &'q Pending,
    position: u64,
    recorded_at: Timestamp,
    target: Option<u64>,
) -> Query<'q> {
    let leaf = leaf_hash(&tenant.id, pending.lane, position, recorded_at, &pending.content);
    let event = &pending.event;
    query
        .bind(pending.lane.0)
        .bind(signed(position))
        .bind(pending.key.prefix16().to_vec())
        .bind(leaf.0.to_vec())
        .bind(recorded_at.micros())
        .bind(event.time.map(Timestamp::micros))
        .bind(event.customer.as_str())
        .bind(event.event_type.as_str())
        .bind(event.source.as_str())
        .bind(event.id.as_str())
        .bind(event.quantity.to_string())
        .bind(body::encode(event))
        .bind(target.map(signed))
}

/// Receipts of those events of `group` whose keys are taken.
async fn probe(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    group: &[usize],
) -> Result<Vec<(usize, Receipt)>, StoreError> {
    let mut by_key: HashMap<[u8; 16], usize> = HashMap::with_capacity(group.len());
    for at in group {
        if let Some(pending) = batch.get(*at) {
            by_key.insert(pending.key.prefix16(), *at);
        }
    }
    let keys: Vec<[u8; 16]> = by_key.keys().copied().collect();
    let mut receipts = Vec::new();
    for chunk in multi::chunks(&keys) {
        let mut query = sqlx::query(multi::list(
            "SELECT key, lane_id, position, recorded_at, leaf FROM usage_event WHERE key IN",
            chunk.len(),
            "",
        ));
        for key in chunk {
            query = query.bind(key.to_vec());
        }
        for row in query.fetch_all(&mut *tx).await.map_err(store_error)? {
            let key: &[u8] = rows::get(&row, 0)?;
            let found = <[u8; 16]>::try_from(key).ok().and_then(|key| by_key.get(&key));
            let Some((at, pending)) = found.and_then(|at| Some((*at, batch.get(*at)?))) else {
                continue;
            };
            let lane = LaneId(rows::get(&row, 1)?);
            let position = unsigned(rows::get(&row, 2)?);
            let recorded_at = Timestamp::from_micros(rows::get(&row, 3)?);
            let leaf: &[u8] = rows::get(&row, 4)?;
            let same = leaf_hash(&tenant.id, lane, position, recorded_at, &pending.content);
            let receipt = if same.0 == leaf {
                Receipt::Duplicate { lane, position }
            } else {
                conflict(&mut *tx, &tenant.id, lane, position, pending).await?
            };
            receipts.push((at, receipt));
        }
    }
    Ok(receipts)
}

async fn conflict(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    lane: LaneId,
    position: u64,
    pending: &Pending,
) -> Result<Receipt, StoreError> {
    let stored = row_at(tx, lane, position).await?.ok_or_else(|| {
        StoreError::corrupt("usage_event", format!("lane {lane} position {position}"), "vanished")
    })?;
    // The index holds half a digest; the identity itself decides.
    if key_hash(tenant, &stored.event.source, &stored.event.id) != pending.key {
        return Err(StoreError::Driver(format!(
            "two events share half a SHA-256: {:?} and {:?}",
            stored.event.id, pending.event.id
        )));
    }
    let stored: Digest = content_hash(tenant, &stored.event);
    Ok(Receipt::Conflict { lane, position, stored, given: pending.content })
}

/// Checks and inserts one correction.
async fn correct(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &Tenant,
    batch: &[Pending],
    at: usize,
    heads: &mut Heads,
) -> Result<Vec<(usize, Receipt)>, StoreError> {
    let known = probe(tx, tenant, batch, &[at]).await?;
    if !known.is_empty() {
        return Ok(known);
    }
    let Some(pending) = batch.get(at) else { return Ok(Vec::new()) };
    let Some(correction) = &pending.event.correction else { return Ok(Vec::new()) };
    let key = key_hash(&tenant.id, &pending.event.source, &correction.target);
    let target = row_by_key(tx, &key).await?;
    let earlier = match &target {
        Some(target) => corrections(tx, target.lane, target.position).await?,
        None => Vec::new(),
    };
    let verdict = check_correction(&pending.event, target.as_ref().map(|row| &row.event), &earlier);
    if let Err(error) = verdict {
        return Ok(vec![(at, Receipt::Rejected(Reject::Correction(error.to_string())))]);
    }
    let (position, recorded_at) = heads.next(pending.lane);
    let query = sqlx::query(multi::values(INSERT, INSERT_COLUMNS, 1, ""));
    let target = target.map(|row| row.position);
    bind(query, tenant, pending, position, recorded_at, target)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(vec![(at, Receipt::Inserted { lane: pending.lane, position })])
}

async fn corrections(
    tx: &mut SqliteConnection,
    lane: LaneId,
    target: u64,
) -> Result<Vec<CorrectionKind>, StoreError> {
    let rows = crate::ledger::corrections_of(tx, lane, target, target).await?;
    Ok(rows.iter().filter_map(|row| Some(row.event.correction.as_ref()?.kind)).collect())
}

async fn row_at(
    tx: &mut SqliteConnection,
    lane: LaneId,
    position: u64,
) -> Result<Option<StoredEvent>, StoreError> {
    Ok(crate::ledger::rows_at(tx, lane, &[position]).await?.pop())
}

/// The row with this key.
pub(crate) async fn row_by_key(
    tx: &mut SqliteConnection,
    key: &Digest,
) -> Result<Option<StoredEvent>, StoreError> {
    let row = sqlx::query(event_query!("WHERE key = ?"))
        .bind(key.prefix16().to_vec())
        .fetch_optional(tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(rows::event).transpose()
}
