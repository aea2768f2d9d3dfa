//! The ledger port: appending (see [`crate::append`]) and reading.

use async_trait::async_trait;
use counterfoil_ledger::{LaneId, Receipt, StoredEvent, key_hash};
use counterfoil_store::{LaneHead, LedgerStore, Pending, Seen, StoreError, Tenant};
use counterfoil_types::{CustomerId, TenantId, Timestamp};

use crate::{
    append,
    error::store_error,
    open::PostgresStore,
    rows::{self, event_query, get, signed, unsigned},
};

#[async_trait]
impl LedgerStore for PostgresStore {
    async fn append(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
    ) -> Result<Vec<Receipt>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        append::append(self, tenant, batch, now).await
    }

    async fn append_after(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
        seen: &[Seen],
    ) -> Result<Vec<Option<Receipt>>, StoreError> {
        append::append_after(self, tenant, batch, now, seen).await
    }

    async fn heads(&self, tenant: &Tenant) -> Result<Vec<LaneHead>, StoreError> {
        let rows = sqlx::query(
            "SELECT lane_id, position, recorded_at FROM lane WHERE tenant = $1 ORDER BY lane_id",
        )
        .bind(tenant.number)
        .fetch_all(&mut *self.on(tenant.number).await?)
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
                "WHERE lane_id = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4"
            )),
            Some(_) => sqlx::query(event_query!(
                "WHERE lane_id = $1 AND position > $2 AND position <= $3 AND customer = $5 ORDER BY position LIMIT $4"
            )),
        };
        let query =
            query.bind(lane.0).bind(signed(after)).bind(signed(upto)).bind(i64::from(limit));
        let query = match customer {
            Some(customer) => query.bind(customer.as_str()),
            None => query,
        };
        let rows = query.fetch_all(&mut *self.on(lane).await?).await.map_err(store_error)?;
        rows.iter().map(rows::event).collect()
    }

    async fn rows_at(
        &self,
        lane: LaneId,
        positions: &[u64],
    ) -> Result<Vec<StoredEvent>, StoreError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<i64> = positions.iter().map(|position| signed(*position)).collect();
        let rows = sqlx::query(event_query!(
            "WHERE lane_id = $1 AND position = ANY($2) ORDER BY position"
        ))
        .bind(lane.0)
        .bind(&wanted)
        .fetch_all(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(rows::event).collect()
    }

    async fn corrections_of(
        &self,
        lane: LaneId,
        first: u64,
        last: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(event_query!(
            "WHERE lane_id = $1 AND target IS NOT NULL AND target BETWEEN $2 AND $3 ORDER BY position"
        ))
        .bind(lane.0)
        .bind(signed(first))
        .bind(signed(last))
        .fetch_all(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(rows::event).collect()
    }

    async fn find(
        &self,
        tenant: &TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<StoredEvent>, StoreError> {
        append::row_by_key(self, tenant, &key_hash(tenant, source, id)).await
    }

    async fn customers_between(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
    ) -> Result<Vec<CustomerId>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT customer FROM ledger_event WHERE lane_id = $1 AND position > $2 AND position <= $3 ORDER BY customer",
        )
        .bind(lane.0)
        .bind(signed(after))
        .bind(signed(upto))
        .fetch_all(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let name: &str = get(row, 0)?;
                CustomerId::new(name)
                    .map_err(|error| StoreError::corrupt("usage_event", name, error))
            })
            .collect()
    }
}
