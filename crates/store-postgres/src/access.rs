//! API keys, claims of requests and the audit log. Whoever adds to the log holds the lock of the
//! tenant's row, so its positions stay contiguous.

use async_trait::async_trait;
use counterfoil_store::{AccessStore, ApiKey, AuditEntry, Claim, RecordedAudit, StoreError};
use counterfoil_types::{CustomerId, Digest, TenantId, Timestamp};
use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    error::{StepError, store_error},
    open::PostgresStore,
    rows::{get, signed, unsigned},
};

macro_rules! key_query {
    ($rest:literal) => {
        concat!(
            "SELECT k.id, k.prefix, k.digest, k.name, k.scopes, k.customer, k.created_at, ",
            "k.expires_at, k.revoked_at, k.last_used_at, t.id ",
            "FROM api_key k JOIN tenant t ON t.number = k.tenant ",
            $rest
        )
    };
}

fn instant(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

fn api_key(row: &PgRow) -> Result<ApiKey, StoreError> {
    let id: String = get(row, 0)?;
    let damage = |why: String| StoreError::corrupt("api_key", &id, why);
    let digest: &[u8] = get(row, 2)?;
    let scopes: &str = get(row, 4)?;
    let customer: Option<&str> = get(row, 5)?;
    Ok(ApiKey {
        prefix: get(row, 1)?,
        digest: Digest::try_from(digest).map_err(|error| damage(error.to_string()))?,
        name: get(row, 3)?,
        scopes: scopes.split_whitespace().map(ToOwned::to_owned).collect(),
        customer: customer
            .map(|name| CustomerId::new(name).map_err(|error| damage(error.to_string())))
            .transpose()?,
        created_at: Timestamp::from_micros(get(row, 6)?),
        expires_at: instant(get(row, 7)?),
        revoked_at: instant(get(row, 8)?),
        last_used_at: instant(get(row, 9)?),
        id,
    })
}

/// Creates a key or moves its times.
pub(crate) async fn put_key(
    tx: &mut PgConnection,
    tenant: i64,
    key: &ApiKey,
) -> Result<(), StepError> {
    let done = sqlx::query(
        "INSERT INTO api_key (tenant, id, prefix, digest, name, scopes, customer, created_at, expires_at, revoked_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, expires_at = excluded.expires_at, revoked_at = least(coalesce(api_key.revoked_at, excluded.revoked_at), coalesce(excluded.revoked_at, api_key.revoked_at)), last_used_at = greatest(coalesce(api_key.last_used_at, excluded.last_used_at), coalesce(excluded.last_used_at, api_key.last_used_at)) WHERE api_key.digest = excluded.digest AND api_key.scopes = excluded.scopes AND api_key.customer IS NOT DISTINCT FROM excluded.customer",
    )
    .bind(tenant)
    .bind(key.id.as_str())
    .bind(key.prefix.as_str())
    .bind(key.digest.0.as_slice())
    .bind(key.name.as_str())
    .bind(key.scopes.join(" "))
    .bind(key.customer.as_ref().map(CustomerId::as_str))
    .bind(key.created_at.micros())
    .bind(key.expires_at.map(Timestamp::micros))
    .bind(key.revoked_at.map(Timestamp::micros))
    .bind(key.last_used_at.map(Timestamp::micros))
    .execute(tx)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::conflict(
        format!("API key {}", key.id),
        "it is there with another secret or other rights",
    )
    .into())
}

/// Claims a request.
pub(crate) async fn claim(
    tx: &mut PgConnection,
    tenant: i64,
    key: &str,
    fingerprint: &Digest,
    at: Timestamp,
) -> Result<(), StepError> {
    // Touching the row that is there tells whether it says the same.
    let done = sqlx::query(
        "INSERT INTO claim (tenant, key, fingerprint, at) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, key) DO UPDATE SET at = claim.at WHERE claim.fingerprint = excluded.fingerprint",
    )
    .bind(tenant)
    .bind(key)
    .bind(fingerprint.0.as_slice())
    .bind(at.micros())
    .execute(tx)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::conflict(format!("request {key}"), "its key was used for another request")
        .into())
}

/// Keeps an answer.
pub(crate) async fn answer(
    tx: &mut PgConnection,
    tenant: i64,
    key: &str,
    status: u16,
    body: &str,
) -> Result<(), StepError> {
    sqlx::query(
        "UPDATE claim SET status = $1, answer = $2 WHERE tenant = $3 AND key = $4 AND status IS NULL",
    )
    .bind(i64::from(status))
    .bind(body)
    .bind(tenant)
    .bind(key)
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets what is old.
pub(crate) async fn forget(
    tx: &mut PgConnection,
    tenant: i64,
    before: Timestamp,
) -> Result<(), StepError> {
    sqlx::query("DELETE FROM claim WHERE tenant = $1 AND at < $2")
        .bind(tenant)
        .bind(before.micros())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "DELETE FROM api_key WHERE tenant = $1 AND customer IS NOT NULL AND expires_at < $2",
    )
    .bind(tenant)
    .bind(before.micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds to the audit log.
pub(crate) async fn audit(
    tx: &mut PgConnection,
    tenant: i64,
    entry: &AuditEntry,
) -> Result<(), StepError> {
    sqlx::query(
        "INSERT INTO audit (tenant, position, at, actor, operation, subject, request) SELECT $1, coalesce(max(position), 0) + 1, $2, $3, $4, $5, $6 FROM audit WHERE tenant = $1",
    )
    .bind(tenant)
    .bind(entry.at.micros())
    .bind(entry.actor.as_str())
    .bind(entry.operation.as_str())
    .bind(entry.subject.as_str())
    .bind(entry.request.as_str())
    .execute(tx)
    .await?;
    Ok(())
}

#[async_trait]
impl AccessStore for PostgresStore {
    async fn key_with_prefix(
        &self,
        prefix: &str,
    ) -> Result<Option<(TenantId, ApiKey)>, StoreError> {
        let row = sqlx::query(
            "SELECT id, prefix, digest, name, scopes, customer, created_at, expires_at, revoked_at, last_used_at, tenant FROM find_api_key($1)",
        )
        .bind(prefix)
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error)?;
        row.map(|row| {
            let tenant: &str = get(&row, 10)?;
            let tenant = TenantId::new(tenant)
                .map_err(|error| StoreError::corrupt("tenant", tenant, error))?;
            Ok((tenant, api_key(&row)?))
        })
        .transpose()
    }

    async fn api_keys(
        &self,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query(key_query!(
            "WHERE t.id = $1 AND k.id > $2 AND starts_with(k.prefix, $3) ORDER BY k.id LIMIT $4"
        ))
        .bind(tenant.as_str())
        .bind(after.unwrap_or_default())
        .bind(prefix)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(api_key).collect()
    }

    async fn claim(&self, tenant: &TenantId, key: &str) -> Result<Option<Claim>, StoreError> {
        let row = sqlx::query(
            "SELECT c.fingerprint, c.at, c.status, c.answer FROM claim c JOIN tenant t ON t.number = c.tenant WHERE t.id = $1 AND c.key = $2",
        )
        .bind(tenant.as_str())
        .bind(key)
        .fetch_optional(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        row.map(|row| {
            let fingerprint: &[u8] = get(&row, 0)?;
            let status: Option<i64> = get(&row, 2)?;
            let answer: Option<String> = get(&row, 3)?;
            Ok(Claim {
                key: key.to_owned(),
                fingerprint: Digest::try_from(fingerprint)
                    .map_err(|error| StoreError::corrupt("claim", key, error))?,
                at: Timestamp::from_micros(get(&row, 1)?),
                answer: status
                    .map(u16::try_from)
                    .transpose()
                    .map_err(|error| StoreError::corrupt("claim", key, error))?
                    .zip(answer),
            })
        })
        .transpose()
    }

    async fn audit(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedAudit>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.position, a.at, a.actor, a.operation, a.subject, a.request FROM audit a JOIN tenant t ON t.number = a.tenant WHERE t.id = $1 AND a.position > $2 ORDER BY a.position LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(RecordedAudit {
                    position: unsigned(get(row, 0)?),
                    entry: AuditEntry {
                        at: Timestamp::from_micros(get(row, 1)?),
                        actor: get(row, 2)?,
                        operation: get(row, 3)?,
                        subject: get(row, 4)?,
                        request: get(row, 5)?,
                    },
                })
            })
            .collect()
    }
}
