//! The ledger port: appending (see [`crate::append`]) and reading.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use counterfoil_ledger::{LaneId, Receipt, StoredEvent, key_hash};
use counterfoil_store::{LaneHead, LedgerStore, Pending, Seen, StoreError, Tenant};
use counterfoil_types::{CustomerId, TenantId, Timestamp};
use sqlx::SqliteConnection;

use crate::{
    append::{self, AppendError},
    error::store_error,
    group, multi,
    open::SqliteStore,
    rows::{self, event_query, get, signed, unsigned},
};

impl SqliteStore {
    /// Appends a batch in a transaction of its own.
    pub(crate) async fn append_now(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
    ) -> Result<Vec<Receipt>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut probing = false;
        loop {
            let mut tx = self.begin().await?;
            match append::append(&mut tx, tenant, batch, now, probing).await {
                Ok(receipts) => {
                    tx.commit().await.map_err(store_error)?;
                    return Ok(receipts);
                }
                Err(AppendError::KeyTaken) => {
                    tx.rollback().await.map_err(store_error)?;
                    probing = true;
                }
                Err(AppendError::Store(error)) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl LedgerStore for SqliteStore {
    async fn append(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
    ) -> Result<Vec<Receipt>, StoreError> {
        if batch.len() > group::SMALL {
            return self.append_now(tenant, batch, now).await;
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        group::submit(self, tenant, batch, now).await
    }

    async fn append_after(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
        seen: &[Seen],
    ) -> Result<Vec<Option<Receipt>>, StoreError> {
        let mut tx = self.begin().await?;
        let moved = moved(&mut tx, seen).await?;
        let stands = |pending: &&Pending| !moved.contains(&pending.event.customer);
        let rest: Vec<Pending> = batch.iter().filter(stands).cloned().collect();
        let mut receipts = Vec::new().into_iter();
        if !rest.is_empty() {
            match append::append(&mut tx, tenant, &rest, now, true).await {
                Ok(appended) => {
                    tx.commit().await.map_err(store_error)?;
                    receipts = appended.into_iter();
                }
                Err(AppendError::KeyTaken) => {
                    return Err(StoreError::conflict(
                        "an event",
                        "its key was taken though it had been looked up",
                    ));
                }
                Err(AppendError::Store(error)) => return Err(error),
            }
        }
        let receipt = |pending| if stands(&pending) { receipts.next() } else { None };
        Ok(batch.iter().map(receipt).collect())
    }

    async fn heads(&self, tenant: &Tenant) -> Result<Vec<LaneHead>, StoreError> {
        let rows = sqlx::query(
            "SELECT lane_id, position, recorded_at FROM lane WHERE tenant = ? ORDER BY lane_id",
        )
        .bind(tenant.number)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(LaneHead {
                    lane: LaneId(get(row, 0)?),
                    position: unsigned(get(row, 1)?),
                    recorded_at: Timestamp::from_micros(get(row, 2)?),
                })
            })
            .collect()
    }

    async fn read(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
        customer: Option<&CustomerId>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let query = match customer {
            None => sqlx::query(event_query!(
                "WHERE lane_id = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?"
            )),
            Some(_) => sqlx::query(event_query!(
                "WHERE lane_id = ? AND position > ? AND position <= ? AND customer = ? ORDER BY position LIMIT ?"
            )),
        };
        let query = query.bind(lane.0).bind(signed(after)).bind(signed(upto));
        let query = match customer {
            Some(customer) => query.bind(customer.as_str()),
            None => query,
        };
        let rows = query.bind(limit).fetch_all(&self.read).await.map_err(store_error)?;
        rows.iter().map(rows::event).collect()
    }

    async fn rows_at(
        &self,
        lane: LaneId,
        positions: &[u64],
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        rows_at(&mut connection, lane, positions).await
    }

    async fn corrections_of(
        &self,
        lane: LaneId,
        first: u64,
        last: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        corrections_of(&mut connection, lane, first, last).await
    }

    async fn find(
        &self,
        tenant: &TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        append::row_by_key(&mut connection, &key_hash(tenant, source, id)).await
    }

    async fn customers_between(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
    ) -> Result<Vec<CustomerId>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT customer FROM usage_event WHERE lane_id = ? AND position > ? AND position <= ? ORDER BY customer",
        )
        .bind(lane.0)
        .bind(signed(after))
        .bind(signed(upto))
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let name: &str = rows::get(row, 0)?;
                CustomerId::new(name)
                    .map_err(|error| StoreError::corrupt("usage_event", name, error))
            })
            .collect()
    }
}

/// Customers of which rows came after what was seen, or perhaps: see [`Seen::MOST`].
async fn moved(
    tx: &mut SqliteConnection,
    seen: &[Seen],
) -> Result<HashSet<CustomerId>, StoreError> {
    let mut lanes: BTreeMap<LaneId, Vec<&Seen>> = BTreeMap::new();
    for seen in seen {
        lanes.entry(seen.lane).or_default().push(seen);
    }
    let mut moved = HashSet::new();
    for (lane, mut all) in lanes {
        let head = sqlx::query("SELECT position FROM lane WHERE lane_id = ?")
            .bind(lane.0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        let head = head.map(|row| get(&row, 0)).transpose()?.map_or(0, unsigned);
        all.retain(|seen| {
            let near = head.saturating_sub(seen.position) <= Seen::MOST;
            if !near {
                moved.insert(seen.customer.clone());
            }
            near
        });
        let Some(from) = all.iter().map(|seen| seen.position).min() else { continue };
        let rows = sqlx::query(
            "SELECT customer, MAX(position) FROM usage_event WHERE lane_id = ? AND position > ? GROUP BY customer",
        )
        .bind(lane.0)
        .bind(signed(from))
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        let mut last: HashMap<String, u64> = HashMap::with_capacity(rows.len());
        for row in &rows {
            last.insert(get(row, 0)?, unsigned(get(row, 1)?));
        }
        for seen in all {
            if last.get(seen.customer.as_str()).is_some_and(|last| *last > seen.position) {
                moved.insert(seen.customer.clone());
            }
        }
    }
    Ok(moved)
}

pub(crate) async fn rows_at(
    connection: &mut SqliteConnection,
    lane: LaneId,
    positions: &[u64],
) -> Result<Vec<StoredEvent>, StoreError> {
    let wanted: Vec<u64> = BTreeSet::from_iter(positions.iter().copied()).into_iter().collect();
    let mut found = Vec::with_capacity(wanted.len());
    for chunk in multi::chunks(&wanted) {
        let mut query = sqlx::query(multi::list(
            event_query!("WHERE lane_id = ? AND position IN"),
            chunk.len(),
            "ORDER BY position",
        ))
        .bind(lane.0);
        for position in chunk {
            query = query.bind(signed(*position));
        }
        for row in query.fetch_all(&mut *connection).await.map_err(store_error)? {
            found.push(rows::event(&row)?);
        }
    }
    Ok(found)
}

pub(crate) async fn corrections_of(
    connection: &mut SqliteConnection,
    lane: LaneId,
    first: u64,
    last: u64,
) -> Result<Vec<StoredEvent>, StoreError> {
    let rows = sqlx::query(event_query!(
        "WHERE lane_id = ? AND target IS NOT NULL AND target BETWEEN ? AND ? ORDER BY position"
    ))
    .bind(lane.0)
    .bind(signed(first))
    .bind(signed(last))
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.iter().map(rows::event).collect()
}
