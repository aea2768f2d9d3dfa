//! The outbox port. Relays that claim at once pass over each other's rows. Rows of several deliveries
//! are always taken in order of (target, key), so that two relays never wait for each other.

use std::collections::HashSet;

use async_trait::async_trait;
use counterfoil_store::{
    Attempt, AttemptOutcome, Delivery, DeliveryFilter, DeliveryState, Effect, Next, OutboxStore,
    Route, StoreError,
};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::postgres::PgRow;

use crate::{
    catalog::number_of,
    error::{commit_error, store_error},
    open::PostgresStore,
    rows::{from_text, get, signed, to_text, unsigned},
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

fn effect(row: &PgRow) -> Result<Effect, StoreError> {
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
fn delivery(row: &PgRow) -> Result<Delivery, StoreError> {
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
        reason: get::<Option<&str>>(row, 10)?.map(from_text),
        effect,
    })
}

fn attempt(row: &PgRow) -> Result<Attempt, StoreError> {
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
        error: get::<Option<&str>>(row, 6)?.map(from_text),
        micros: unsigned(get(row, 7)?),
        key,
    })
}

/// Columns of a page of attempts.
#[derive(Default)]
struct Columns {
    targets: Vec<String>,
    keys: Vec<String>,
    tokens: Vec<i64>,
    ats: Vec<i64>,
    outcomes: Vec<String>,
    codes: Vec<Option<i64>>,
    errors: Vec<Option<String>>,
    micros: Vec<i64>,
    states: Vec<String>,
    dues: Vec<i64>,
    reasons: Vec<Option<String>>,
}

impl Columns {
    fn of(attempts: &[(Attempt, Next)]) -> Self {
        let mut sorted: Vec<&(Attempt, Next)> = attempts.iter().collect();
        sorted.sort_by_key(|(attempt, _)| (&attempt.target, &attempt.key));
        let mut columns = Self::default();
        for (attempt, next) in sorted {
            let (state, due_at, reason) = match next {
                Next::Done => (DeliveryState::Done, attempt.at, None),
                Next::RetryAt(at) => (DeliveryState::Due, *at, None),
                Next::Park(reason) => (DeliveryState::Parked, attempt.at, Some(reason)),
            };
            columns.targets.push(attempt.target.clone());
            columns.keys.push(attempt.key.clone());
            columns.tokens.push(signed(attempt.token));
            columns.ats.push(attempt.at.micros());
            columns.outcomes.push(attempt.outcome.as_str().to_owned());
            columns.codes.push(attempt.code.map(i64::from));
            columns.errors.push(attempt.error.as_deref().map(|text| to_text(text).into_owned()));
            columns.micros.push(signed(attempt.micros));
            columns.states.push(state.as_str().to_owned());
            columns.dues.push(due_at.micros());
            columns.reasons.push(reason.map(|text| to_text(text).into_owned()));
        }
        columns
    }
}

#[async_trait]
impl OutboxStore for PostgresStore {
    async fn unspread(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Effect>, StoreError> {
        let rows = sqlx::query(effect_query!(
            "WHERE t.id = $1 AND o.spread_at IS NULL ORDER BY o.position LIMIT $2"
        ))
        .bind(tenant.as_str())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
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
        let mut tx = self.begin_on(tenant).await?;
        let number = number_of(&mut *tx, tenant).await?;
        let keys: Vec<String> = routes.iter().map(|route| route.key.clone()).collect();
        // Locked in one order, so that relays wait for one another and never in a circle.
        let fresh = sqlx::query(
            "WITH waiting AS (SELECT key FROM outbox WHERE tenant = $1 AND key = ANY ($2) AND spread_at IS NULL ORDER BY position FOR UPDATE) UPDATE outbox o SET spread_at = $3 FROM waiting w WHERE o.tenant = $1 AND o.key = w.key RETURNING o.key",
        )
        .bind(number)
        .bind(keys)
        .bind(now.micros())
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        let fresh: HashSet<String> =
            fresh.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
        let (mut keys, mut targets, mut aggregates) = (Vec::new(), Vec::new(), Vec::new());
        for route in routes.iter().filter(|route| fresh.contains(&route.key)) {
            for target in &route.targets {
                keys.push(route.key.clone());
                targets.push(target.clone());
                aggregates.push(route.aggregate.clone());
            }
        }
        sqlx::query(
            "INSERT INTO delivery (tenant, target, key, position, kind, aggregate, state, due_at) SELECT o.tenant, r.target, o.key, o.position, o.kind, r.aggregate, 'due', $5 FROM UNNEST($2::text[], $3::text[], $4::text[]) AS r (key, target, aggregate) JOIN outbox o ON o.tenant = $1 AND o.key = r.key ON CONFLICT (tenant, target, key) DO NOTHING",
        )
        .bind(number)
        .bind(keys)
        .bind(targets)
        .bind(aggregates)
        .bind(now.micros())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        tx.commit().await.map_err(commit_error)
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
        let mut tx = self.begin_on(tenant).await?;
        let number = number_of(&mut *tx, tenant).await?;
        let rows = sqlx::query(
            "WITH due AS MATERIALIZED (SELECT d.key FROM delivery d WHERE d.tenant = $3 AND d.target = $4 AND d.state = 'due' AND d.due_at <= $5 AND d.until <= $5 AND (d.aggregate = '' OR NOT EXISTS (SELECT 1 FROM delivery e WHERE e.tenant = $3 AND e.target = $4 AND e.aggregate = d.aggregate AND e.position < d.position AND e.state = 'due')) ORDER BY d.due_at, d.position LIMIT $6 FOR UPDATE OF d SKIP LOCKED) UPDATE delivery d SET holder = $1, until = $2, token = d.token + 1, tries = d.tries + 1 FROM due JOIN outbox o ON o.tenant = $3 AND o.key = due.key WHERE d.tenant = $3 AND d.target = $4 AND d.key = due.key RETURNING o.position, o.key, o.kind, o.body, o.created_at, d.target, d.state, d.due_at, d.tries, d.token, d.reason",
        )
        .bind(holder)
        .bind(now.plus_micros(ttl_micros).micros())
        .bind(number)
        .bind(target)
        .bind(now.micros())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        let mut claimed: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_, _>>()?;
        tx.commit().await.map_err(commit_error)?;
        claimed.sort_by_key(|delivery| (delivery.due_at, delivery.effect.position));
        Ok(claimed)
    }

    async fn record_attempts(
        &self,
        tenant: &TenantId,
        attempts: &[(Attempt, Next)],
    ) -> Result<Vec<bool>, StoreError> {
        let mut tx = self.begin_on(tenant).await?;
        let number = number_of(&mut *tx, tenant).await?;
        let all = Columns::of(attempts);
        sqlx::query(
            "WITH told AS MATERIALIZED (SELECT * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::text[]) AS t (target, key, token, at, outcome, code, error, micros, state, due_at, reason)), held AS MATERIALIZED (SELECT d.target, d.key, d.token FROM delivery d JOIN told t ON t.target = d.target AND t.key = d.key AND t.token = d.token WHERE d.tenant = $1 AND d.holder IS NOT NULL ORDER BY d.target, d.key FOR UPDATE OF d), moved AS (UPDATE delivery d SET state = t.state, due_at = t.due_at, reason = t.reason, holder = NULL, until = 0 FROM told t JOIN held h ON h.target = t.target AND h.key = t.key AND h.token = t.token WHERE d.tenant = $1 AND d.target = t.target AND d.key = t.key AND d.token = t.token RETURNING d.target, d.key, d.token) INSERT INTO delivery_attempt (tenant, key, target, token, at, outcome, code, error, micros) SELECT $1, t.key, t.target, t.token, t.at, t.outcome, t.code, t.error, t.micros FROM told t JOIN moved m ON m.target = t.target AND m.key = t.key AND m.token = t.token",
        )
        .bind(number)
        .bind(&all.targets)
        .bind(&all.keys)
        .bind(&all.tokens)
        .bind(all.ats)
        .bind(all.outcomes)
        .bind(all.codes)
        .bind(all.errors)
        .bind(all.micros)
        .bind(all.states)
        .bind(all.dues)
        .bind(all.reasons)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        let there = sqlx::query(
            "SELECT a.target, a.key, a.token FROM UNNEST($2::text[], $3::text[], $4::bigint[]) AS t (target, key, token) JOIN delivery_attempt a ON a.tenant = $1 AND a.key = t.key AND a.target = t.target AND a.token = t.token",
        )
        .bind(number)
        .bind(&all.targets)
        .bind(&all.keys)
        .bind(&all.tokens)
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        let there: HashSet<(String, String, i64)> = there
            .iter()
            .map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?)))
            .collect::<Result<_, StoreError>>()?;
        tx.commit().await.map_err(commit_error)?;
        let place = |a: &Attempt| (a.target.clone(), a.key.clone(), signed(a.token));
        Ok(attempts.iter().map(|(attempt, _)| there.contains(&place(attempt))).collect())
    }

    async fn deliver_again(
        &self,
        tenant: &TenantId,
        target: &str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin_on(tenant).await?;
        let number = number_of(&mut *tx, tenant).await?;
        let done = sqlx::query(
            "INSERT INTO delivery (tenant, target, key, position, kind, aggregate, state, due_at) SELECT tenant, $1, key, position, kind, '', 'due', $2 FROM outbox WHERE tenant = $3 AND key = ANY ($4) ORDER BY key ON CONFLICT (tenant, target, key) DO UPDATE SET state = 'due', due_at = excluded.due_at, tries = 0, reason = NULL WHERE delivery.state <> 'due'",
        )
        .bind(target)
        .bind(now.micros())
        .bind(number)
        .bind(keys.to_vec())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        tx.commit().await.map_err(commit_error)?;
        Ok(done.rows_affected())
    }

    async fn park_target(
        &self,
        tenant: &TenantId,
        target: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE delivery SET state = 'parked', due_at = $1, reason = $2, holder = NULL, until = 0 WHERE tenant = (SELECT number FROM tenant WHERE id = $3) AND target = $4 AND state = 'due' AND until <= $1",
        )
        .bind(now.micros())
        .bind(reason)
        .bind(tenant.as_str())
        .bind(target)
        .execute(&mut *self.on(tenant).await?)
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
            "SELECT o.position, o.key, o.kind, o.body, o.created_at, d.target, d.state, d.due_at, d.tries, d.token, d.reason FROM delivery d JOIN tenant t ON t.number = d.tenant JOIN outbox o ON o.tenant = d.tenant AND o.key = d.key WHERE t.id = $1 AND (d.position, d.target) > ($2, $3) AND ($4::text IS NULL OR d.state = $4) AND ($5::text IS NULL OR d.target = $5) AND ($6::text IS NULL OR d.kind = $6) AND ($7::text IS NULL OR d.key = $7) ORDER BY d.position, d.target LIMIT $8",
        )
        .bind(tenant.as_str())
        .bind(signed(position))
        .bind(target)
        .bind(filter.state.map(DeliveryState::as_str))
        .bind(filter.target.as_deref())
        .bind(filter.kind.as_deref())
        .bind(filter.key.as_deref())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(delivery).collect()
    }

    async fn attempts(&self, tenant: &TenantId, key: &str) -> Result<Vec<Attempt>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.key, a.target, a.token, a.at, a.outcome, a.code, a.error, a.micros FROM delivery_attempt a JOIN tenant t ON t.number = a.tenant WHERE t.id = $1 AND a.key = $2 ORDER BY a.at, a.target, a.token",
        )
        .bind(tenant.as_str())
        .bind(key)
        .fetch_all(&mut *self.on(tenant).await?)
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
            "WHERE t.id = $1 AND o.position > $2 ORDER BY o.position LIMIT $3"
        ))
        .bind(tenant.as_str())
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
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
            "SELECT min(a.at) FROM delivery_attempt a JOIN tenant t ON t.number = a.tenant WHERE t.id = $1 AND a.target = $2 AND a.outcome IN ('refused', 'unknown') AND a.at > coalesce((SELECT max(b.at) FROM delivery_attempt b WHERE b.tenant = a.tenant AND b.target = $2 AND b.outcome = 'delivered'), -9223372036854775808)",
        )
        .bind(tenant.as_str())
        .bind(target)
        .fetch_one(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        let at: Option<i64> = get(&row, 0)?;
        Ok(at.map(Timestamp::from_micros))
    }
}
