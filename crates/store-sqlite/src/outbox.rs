//! The outbox port. There is one writer at a time, so a claim is one statement.

use async_trait::async_trait;
use counterfoil_store::{
    Attempt, AttemptOutcome, Delivery, DeliveryFilter, DeliveryState, Effect, Next, OutboxStore,
    Route, StoreError,
};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    catalog::number_of,
    error::store_error,
    open::SqliteStore,
    rows::{get, signed, unsigned},
};

/// Columns of an effect, in the order [`effect`] reads them.
macro_rules! effect_query {
    ($rest:literal) => {
        concat!(
            "SELECT o.position, o.key, o.kind, o.body, o.created_at ",
            "FROM outbox o JOIN tenant t ON t.number = o.tenant ",
            $rest
        )
    };
}

fn effect(row: &SqliteRow) -> Result<Effect, StoreError> {
    let key: String = get(row, 1)?;
    let body: &str = get(row, 3)?;
    Ok(Effect {
        position: unsigned(get(row, 0)?),
        kind: get(row, 2)?,
        body: serde_json::from_str(body)
            .map_err(|error| StoreError::corrupt("outbox", &key, error))?,
        at: Timestamp::from_micros(get(row, 4)?),
        key,
    })
}

/// The columns of its effect come first.
fn delivery(row: &SqliteRow) -> Result<Delivery, StoreError> {
    let effect = effect(row)?;
    let state: &str = get(row, 6)?;
    let tries: i64 = get(row, 8)?;
    Ok(Delivery {
        target: get(row, 5)?,
        state: DeliveryState::parse(state)
            .ok_or_else(|| StoreError::corrupt("delivery", &effect.key, state))?,
        due_at: Timestamp::from_micros(get(row, 7)?),
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        token: unsigned(get(row, 9)?),
        reason: get(row, 10)?,
        effect,
    })
}

fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    let key: String = get(row, 0)?;
    let outcome: &str = get(row, 4)?;
    let code: Option<i64> = get(row, 5)?;
    Ok(Attempt {
        target: get(row, 1)?,
        token: unsigned(get(row, 2)?),
        at: Timestamp::from_micros(get(row, 3)?),
        outcome: AttemptOutcome::parse(outcome)
            .ok_or_else(|| StoreError::corrupt("delivery_attempt", &key, outcome))?,
        code: code.and_then(|code| u16::try_from(code).ok()),
        error: get(row, 6)?,
        micros: unsigned(get(row, 7)?),
        key,
    })
}

/// Records one attempt if its claim holds; otherwise says whether it was recorded before.
async fn record(
    tx: &mut SqliteConnection,
    tenant: i64,
    attempt: &Attempt,
    next: &Next,
) -> Result<bool, StoreError> {
    let (state, due_at, reason) = match next {
        Next::Done => ("done", attempt.at, None),
        Next::RetryAt(at) => ("due", *at, None),
        Next::Park(reason) => ("parked", attempt.at, Some(reason.as_str())),
    };
    let moved = sqlx::query(
        "UPDATE delivery SET state = ?, due_at = ?, reason = ?, holder = NULL, until = 0 WHERE tenant = ? AND target = ? AND key = ? AND token = ? AND holder IS NOT NULL",
    )
    .bind(state)
    .bind(due_at.micros())
    .bind(reason)
    .bind(tenant)
    .bind(attempt.target.as_str())
    .bind(attempt.key.as_str())
    .bind(signed(attempt.token))
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    if moved.rows_affected() == 0 {
        let there = sqlx::query(
            "SELECT 1 FROM delivery_attempt WHERE tenant = ? AND key = ? AND target = ? AND token = ?",
        )
        .bind(tenant)
        .bind(attempt.key.as_str())
        .bind(attempt.target.as_str())
        .bind(signed(attempt.token))
        .fetch_optional(tx)
        .await
        .map_err(store_error)?;
        return Ok(there.is_some());
    }
    sqlx::query(
        "INSERT INTO delivery_attempt (tenant, key, target, token, at, outcome, code, error, micros) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(attempt.key.as_str())
    .bind(attempt.target.as_str())
    .bind(signed(attempt.token))
    .bind(attempt.at.micros())
    .bind(attempt.outcome.as_str())
    .bind(attempt.code.map(i64::from))
    .bind(attempt.error.as_deref())
    .bind(signed(attempt.micros))
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(true)
}

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn unspread(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Effect>, StoreError> {
        let rows = sqlx::query(effect_query!(
            "WHERE t.id = ? AND o.spread_at IS NULL ORDER BY o.position LIMIT ?"
        ))
        .bind(tenant.as_str())
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(effect).collect()
    }

    async fn spread(
        &self,
        tenant: &TenantId,
        routes: &[Route],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let number = number_of(&mut tx, tenant).await?;
        for route in routes {
            let done = sqlx::query(
                "UPDATE outbox SET spread_at = ? WHERE tenant = ? AND key = ? AND spread_at IS NULL",
            )
            .bind(now.micros())
            .bind(number)
            .bind(route.key.as_str())
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
            if done.rows_affected() == 0 {
                continue;
            }
            for target in &route.targets {
                sqlx::query(
                    "INSERT INTO delivery (tenant, target, key, position, kind, aggregate, state, due_at) SELECT tenant, ?1, key, position, kind, ?2, 'due', ?3 FROM outbox WHERE tenant = ?4 AND key = ?5 ON CONFLICT DO NOTHING",
                )
                .bind(target.as_str())
                .bind(route.aggregate.as_str())
                .bind(now.micros())
                .bind(number)
                .bind(route.key.as_str())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
            }
        }
        tx.commit().await.map_err(store_error)
    }

    async fn claim_due(
        &self,
        tenant: &TenantId,
        target: &str,
        holder: &str,
        now: Timestamp,
        ttl_micros: i64,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut tx = self.begin().await?;
        let number = number_of(&mut tx, tenant).await?;
        let rows = sqlx::query(
            "UPDATE delivery SET holder = ?1, until = ?2, token = token + 1, tries = tries + 1 WHERE tenant = ?3 AND target = ?4 AND key IN (SELECT d.key FROM delivery d WHERE d.tenant = ?3 AND d.target = ?4 AND d.state = 'due' AND d.due_at <= ?5 AND d.until <= ?5 AND (d.aggregate = '' OR NOT EXISTS (SELECT 1 FROM delivery e WHERE e.tenant = ?3 AND e.target = ?4 AND e.aggregate = d.aggregate AND e.position < d.position AND e.state = 'due')) ORDER BY d.due_at, d.position LIMIT ?6) RETURNING position, key, kind, (SELECT body FROM outbox o WHERE o.tenant = delivery.tenant AND o.key = delivery.key), (SELECT created_at FROM outbox o WHERE o.tenant = delivery.tenant AND o.key = delivery.key), target, state, due_at, tries, token, reason",
        )
        .bind(holder)
        .bind(now.plus_micros(ttl_micros).micros())
        .bind(number)
        .bind(target)
        .bind(now.micros())
        .bind(limit)
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        let mut claimed: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_, _>>()?;
        tx.commit().await.map_err(store_error)?;
        claimed.sort_by_key(|delivery| (delivery.due_at, delivery.effect.position));
        Ok(claimed)
    }

    async fn record_attempts(
        &self,
        tenant: &TenantId,
        attempts: &[(Attempt, Next)],
    ) -> Result<Vec<bool>, StoreError> {
        let mut tx = self.begin().await?;
        let number = number_of(&mut tx, tenant).await?;
        let mut recorded = Vec::with_capacity(attempts.len());
        for (attempt, next) in attempts {
            recorded.push(record(&mut tx, number, attempt, next).await?);
        }
        tx.commit().await.map_err(store_error)?;
        Ok(recorded)
    }

    async fn deliver_again(
        &self,
        tenant: &TenantId,
        target: &str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let number = number_of(&mut tx, tenant).await?;
        let mut changed = 0;
        for key in keys {
            let done = sqlx::query(
                "INSERT INTO delivery (tenant, target, key, position, kind, aggregate, state, due_at) SELECT tenant, ?1, key, position, kind, '', 'due', ?2 FROM outbox WHERE tenant = ?3 AND key = ?4 ON CONFLICT (tenant, target, key) DO UPDATE SET state = 'due', due_at = excluded.due_at, tries = 0, reason = NULL WHERE delivery.state <> 'due'",
            )
            .bind(target)
            .bind(now.micros())
            .bind(number)
            .bind(key.as_str())
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
            changed += done.rows_affected();
        }
        tx.commit().await.map_err(store_error)?;
        Ok(changed)
    }

    async fn park_target(
        &self,
        tenant: &TenantId,
        target: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE delivery SET state = 'parked', due_at = ?1, reason = ?2, holder = NULL, until = 0 WHERE tenant = (SELECT number FROM tenant WHERE id = ?3) AND target = ?4 AND state = 'due' AND until <= ?1",
        )
        .bind(now.micros())
        .bind(reason)
        .bind(tenant.as_str())
        .bind(target)
        .execute(&self.write)
        .await
        .map_err(store_error)?;
        Ok(done.rows_affected())
    }

    async fn deliveries(
        &self,
        tenant: &TenantId,
        filter: &DeliveryFilter,
        after: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (position, target) = after.unwrap_or((0, ""));
        let rows = sqlx::query(
            "SELECT o.position, o.key, o.kind, o.body, o.created_at, d.target, d.state, d.due_at, d.tries, d.token, d.reason FROM delivery d JOIN tenant t ON t.number = d.tenant JOIN outbox o ON o.tenant = d.tenant AND o.key = d.key WHERE t.id = ?1 AND (d.position, d.target) > (?2, ?3) AND (?4 IS NULL OR d.state = ?4) AND (?5 IS NULL OR d.target = ?5) AND (?6 IS NULL OR d.kind = ?6) AND (?7 IS NULL OR d.key = ?7) ORDER BY d.position, d.target LIMIT ?8",
        )
        .bind(tenant.as_str())
        .bind(signed(position))
        .bind(target)
        .bind(filter.state.map(DeliveryState::as_str))
        .bind(filter.target.as_deref())
        .bind(filter.kind.as_deref())
        .bind(filter.key.as_deref())
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(delivery).collect()
    }

    async fn attempts(&self, tenant: &TenantId, key: &str) -> Result<Vec<Attempt>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.key, a.target, a.token, a.at, a.outcome, a.code, a.error, a.micros FROM delivery_attempt a JOIN tenant t ON t.number = a.tenant WHERE t.id = ? AND a.key = ? ORDER BY a.at, a.target, a.token",
        )
        .bind(tenant.as_str())
        .bind(key)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(attempt).collect()
    }

    async fn effects(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Effect>, StoreError> {
        let rows = sqlx::query(effect_query!(
            "WHERE t.id = ? AND o.position > ? ORDER BY o.position LIMIT ?"
        ))
        .bind(tenant.as_str())
        .bind(signed(after))
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(effect).collect()
    }

    async fn failing_since(
        &self,
        tenant: &TenantId,
        target: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query(
            "SELECT min(a.at) FROM delivery_attempt a JOIN tenant t ON t.number = a.tenant WHERE t.id = ?1 AND a.target = ?2 AND a.outcome IN ('refused', 'unknown') AND a.at > coalesce((SELECT max(b.at) FROM delivery_attempt b WHERE b.tenant = a.tenant AND b.target = ?2 AND b.outcome = 'delivered'), -9223372036854775808)",
        )
        .bind(tenant.as_str())
        .bind(target)
        .fetch_one(&self.read)
        .await
        .map_err(store_error)?;
        let at: Option<i64> = get(&row, 0)?;
        Ok(at.map(Timestamp::from_micros))
    }
}
