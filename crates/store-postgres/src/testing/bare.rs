//! The baseline of the ingest benchmark: the same rows, encoded beforehand, in bare `COPY`
//! commands into the same tables with the same indexes. No probe, no heads, no receipts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_store::{Pending, StoreError, Tenant};
use counterfoil_types::Timestamp;
use sqlx::postgres::PgPoolCopyExt;

use crate::{
    append::{
        plan::{COPY, Heads, Plan},
        probe::Taken,
        stage::Staged,
    },
    error::store_error,
    open::PostgresStore,
};

/// Rows of one `COPY`.
#[derive(Debug)]
pub struct BareRows {
    bytes: Vec<u8>,
    count: u64,
}

/// Encodes batches as an append of one after another would store them in an empty ledger.
///
/// # Errors
/// When an event cannot be stored.
pub fn encode(
    tenant: &Tenant,
    batches: &[Vec<Pending>],
    now: Timestamp,
) -> Result<Vec<BareRows>, StoreError> {
    let mut lanes: BTreeMap<_, _> =
        tenant.lane_ids().into_iter().map(|lane| (lane, (0, Timestamp::MIN))).collect();
    let mut encoded = Vec::with_capacity(batches.len());
    for batch in batches {
        let staged = Staged::new(tenant, batch, now, false)?;
        let heads = Heads { lanes: std::mem::take(&mut lanes), changed: BTreeSet::new() };
        let mut plan = Plan::new(heads, &[&staged]);
        plan.add(&staged, &Taken::new(), &HashMap::new())?;
        let Plan { rows, heads, .. } = plan;
        lanes = heads.lanes;
        let count = rows.count();
        encoded.push(BareRows { bytes: rows.finish(), count });
    }
    Ok(encoded)
}

/// Stores rows in a transaction of their own.
///
/// # Errors
/// As the driver has them.
pub async fn copy(store: &PostgresStore, rows: &BareRows) -> Result<(), StoreError> {
    let mut copy = store.pool.copy_in_raw(COPY).await.map_err(store_error)?;
    for piece in rows.bytes.chunks(128 * 1024) {
        copy.send(piece).await.map_err(store_error)?;
    }
    let stored = copy.finish().await.map_err(store_error)?;
    if stored == rows.count {
        return Ok(());
    }
    Err(StoreError::Driver(format!("{stored} of {} rows were stored", rows.count)))
}

/// A row that is inserted as most programs would.
#[derive(Debug)]
pub struct NaiveRow {
    /// The event.
    pub pending: Pending,
    /// A place that no other row has.
    pub position: i64,
}

/// Inserts rows one statement each, all in one transaction; those whose key is taken are left out.
///
/// # Errors
/// As the server has them.
pub async fn insert(store: &PostgresStore, rows: &[NaiveRow]) -> Result<(), StoreError> {
    let mut tx = store.pool.begin().await.map_err(store_error)?;
    for NaiveRow { pending, position } in rows {
        let event = &pending.event;
        sqlx::query(
            "INSERT INTO usage_event (lane_id, position, recorded_at, time, key, leaf, customer, type, source, id, quantity, body) VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11) ON CONFLICT (key) DO NOTHING",
        )
        .bind(pending.lane.0)
        .bind(position)
        .bind(event.time.map(Timestamp::micros))
        .bind(uuid::Uuid::from_bytes(pending.key.prefix16()))
        .bind(pending.content.0.as_slice())
        .bind(event.customer.as_str())
        .bind(event.event_type.as_str())
        .bind(event.source.as_str())
        .bind(event.id.as_str())
        .bind(pending.quantity.as_str())
        .bind(pending.body.as_deref())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    }
    tx.commit().await.map_err(store_error)
}

/// Usage of a customer straight from the events, by type: what a program without aggregates asks.
/// Returns how many types there are.
///
/// # Errors
/// As the server has them.
pub async fn sum(
    store: &PostgresStore,
    lane: i64,
    customer: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<usize, StoreError> {
    let rows = sqlx::query(
        "SELECT type, sum(quantity) FROM usage_event WHERE lane_id = $1 AND customer = $2 AND time >= $3 AND time < $4 GROUP BY type",
    )
    .bind(lane)
    .bind(customer)
    .bind(from.micros())
    .bind(to.micros())
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(rows.len())
}

/// The raw events of a stretch of time summed by customer and type, the baseline of the report's
/// benchmark; answers with the number of groups.
///
/// # Errors
/// As the server has them.
pub async fn sums(
    store: &PostgresStore,
    from: Timestamp,
    to: Timestamp,
) -> Result<usize, StoreError> {
    let rows = sqlx::query(
        "SELECT customer, type, SUM(quantity)::text, COUNT(*) FROM usage_event WHERE time >= $1 AND time < $2 GROUP BY customer, type",
    )
    .bind(from.micros())
    .bind(to.micros())
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(rows.len())
}

/// Brings the planner's figures up to date, as the server does by itself after a while.
///
/// # Errors
/// As the server has them.
pub async fn analyze(store: &PostgresStore) -> Result<(), StoreError> {
    sqlx::query("ANALYZE").execute(&store.pool).await.map_err(store_error)?;
    Ok(())
}
