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
        let staged = Staged::new(tenant, batch, now)?;
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
