//! The journal port.

use async_trait::async_trait;
use counterfoil_store::{Fact, JournalStore, RecordedFact, StoreError};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::SqliteConnection;

use crate::{
    error::store_error,
    open::SqliteStore,
    rows::{self, get, signed, unsigned},
};

/// Records a fact, unless one with its key is recorded.
pub(crate) async fn record(
    tx: &mut SqliteConnection,
    tenant: i64,
    fact: &Fact,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO journal (tenant, position, kind, key, at, body) SELECT ?1, coalesce(max(position), 0) + 1, ?2, ?3, ?4, ?5 FROM journal WHERE tenant = ?1 ON CONFLICT (tenant, key) DO NOTHING",
    )
    .bind(tenant)
    .bind(fact.kind.as_str())
    .bind(fact.key.as_str())
    .bind(fact.at.micros())
    .bind(rows::to_json(&fact.body)?)
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

#[async_trait]
impl JournalStore for SqliteStore {
    async fn facts(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedFact>, StoreError> {
        let rows = sqlx::query(
            "SELECT j.position, j.kind, j.key, j.at, j.body FROM journal j JOIN tenant t ON t.number = j.tenant WHERE t.id = ? AND j.position > ? ORDER BY j.position LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(signed(after))
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let key: String = get(row, 2)?;
                let body: &str = get(row, 4)?;
                Ok(RecordedFact {
                    position: unsigned(get(row, 0)?),
                    fact: Fact {
                        kind: get(row, 1)?,
                        at: Timestamp::from_micros(get(row, 3)?),
                        body: rows::json("journal", &key, body)?,
                        key,
                    },
                })
            })
            .collect()
    }
}
