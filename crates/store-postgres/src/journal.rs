//! The journal port.

use std::collections::HashSet;

use async_trait::async_trait;
use counterfoil_store::{Fact, JournalStore, RecordedFact, StoreError};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::PgConnection;

use crate::{
    error::{StepError, store_error},
    open::PostgresStore,
    rows::{self, get, signed, unsigned},
};

/// Records facts in their order, except those whose key is recorded. The caller holds the lock of
/// the tenant's row, so the last position stays the last one.
pub(crate) async fn record(
    tx: &mut PgConnection,
    tenant: i64,
    facts: &[Fact],
) -> Result<(), StepError> {
    let mut seen = HashSet::with_capacity(facts.len());
    let (mut kinds, mut keys, mut times, mut bodies) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for fact in facts.iter().filter(|fact| seen.insert(fact.key.as_str())) {
        kinds.push(fact.kind.as_str());
        keys.push(fact.key.as_str());
        times.push(fact.at.micros());
        bodies.push(rows::to_json(&fact.body)?);
    }
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO journal (tenant, position, kind, key, at, body) SELECT $1, (SELECT coalesce(max(position), 0) FROM journal WHERE tenant = $1) + row_number() OVER (ORDER BY f.place), f.kind, f.key, f.at, f.body FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[]) WITH ORDINALITY AS f (kind, key, at, body, place) WHERE NOT EXISTS (SELECT 1 FROM journal j WHERE j.tenant = $1 AND j.key = f.key)",
    )
    .bind(tenant)
    .bind(&kinds)
    .bind(&keys)
    .bind(&times)
    .bind(&bodies)
    .execute(tx)
    .await?;
    Ok(())
}

#[async_trait]
impl JournalStore for PostgresStore {
    async fn facts(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedFact>, StoreError> {
        let rows = sqlx::query(
            "SELECT j.position, j.kind, j.key, j.at, j.body FROM journal j JOIN tenant t ON t.number = j.tenant WHERE t.id = $1 AND j.position > $2 ORDER BY j.position LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
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
