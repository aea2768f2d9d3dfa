//! Alerts. They are fired in order of id, so that two who evaluate never wait for each other; who
//! comes second sees what the first committed, and that its own decision was taken without it.

use async_trait::async_trait;
use counterfoil_store::{Alert, AlertFilter, AlertState, AlertStore, Fired, StoreError};
use counterfoil_types::{CustomerId, MeterKey, TenantId, Timestamp};
use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    error::{StepError, store_error},
    open::PostgresStore,
    rows::{self, get},
};

/// Columns of an alert, in the order [`alert`] reads them.
macro_rules! alert_query {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.body, a.state, a.until, a.changed_by, a.changed_at, a.told ",
            "FROM alert a JOIN tenant t ON t.number = a.tenant ",
            $rest
        )
    };
}

fn alert(row: &PgRow) -> Result<Alert, StoreError> {
    let id: String = get(row, 0)?;
    let damaged = |error: &dyn std::fmt::Display| StoreError::corrupt("alert", &id, error);
    let fired: Alert = serde_json::from_str(get(row, 1)?).map_err(|error| damaged(&error))?;
    let state: &str = get(row, 2)?;
    Ok(Alert {
        state: AlertState::parse(state).ok_or_else(|| damaged(&state))?,
        until: get::<Option<i64>>(row, 3)?.map(Timestamp::from_micros),
        changed_by: get(row, 4)?,
        changed_at: get::<Option<i64>>(row, 5)?.map(Timestamp::from_micros),
        told: get(row, 6)?,
        ..fired
    })
}

fn fired(row: &PgRow) -> Result<Fired, StoreError> {
    let id: String = get(row, 0)?;
    let meter: &str = get(row, 3)?;
    let state: &str = get(row, 5)?;
    let until: Option<i64> = get(row, 6)?;
    Ok(Fired {
        customer: CustomerId::new(get::<&str>(row, 1)?)
            .map_err(|error| StoreError::corrupt("alert", &id, error))?,
        rule: get(row, 2)?,
        meter: MeterKey::new(meter).ok(),
        at: Timestamp::from_micros(get(row, 4)?),
        snoozed_until: until
            .filter(|_| state == AlertState::Snoozed.as_str())
            .map(Timestamp::from_micros),
        told: get(row, 7)?,
        id,
    })
}

fn conflict(id: &str, why: impl Into<String>) -> StepError {
    StoreError::conflict(format!("alert {id}"), why).into()
}

/// Fires alerts, unless they fired before.
pub(crate) async fn fire(
    tx: &mut PgConnection,
    tenant: i64,
    alerts: &[Alert],
) -> Result<(), StepError> {
    let mut alerts: Vec<&Alert> = alerts.iter().collect();
    alerts.sort_by(|a, b| a.id.cmp(&b.id));
    let texts = |value: &dyn Fn(&Alert) -> String| -> Vec<String> {
        alerts.iter().map(|alert| value(alert)).collect()
    };
    let times = |value: &dyn Fn(&Alert) -> Timestamp| -> Vec<i64> {
        alerts.iter().map(|alert| value(alert).micros()).collect()
    };
    let until: Vec<Option<i64>> =
        alerts.iter().map(|alert| alert.until.map(Timestamp::micros)).collect();
    let told: Vec<Option<&str>> = alerts.iter().map(|alert| alert.told.as_deref()).collect();
    let mut bodies = Vec::with_capacity(alerts.len());
    for alert in &alerts {
        bodies.push(rows::to_json(alert)?);
    }
    let made = sqlx::query(
        "INSERT INTO alert (tenant, id, customer, rule, meter, threshold, window_start, window_end, at, state, until, told, body) SELECT $1, n.* FROM UNNEST($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::text[], $13::text[]) AS n ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(texts(&|alert| alert.id.clone()))
    .bind(texts(&|alert| alert.customer.to_string()))
    .bind(texts(&|alert| alert.rule.clone()))
    .bind(texts(&|alert| alert.meter.as_ref().map(ToString::to_string).unwrap_or_default()))
    .bind(texts(&|alert| alert.threshold.clone()))
    .bind(times(&|alert| alert.window.start))
    .bind(times(&|alert| alert.window.end))
    .bind(times(&|alert| alert.at))
    .bind(texts(&|alert| alert.state.as_str().to_owned()))
    .bind(&until)
    .bind(&told)
    .bind(&bodies)
    .execute(&mut *tx)
    .await?;
    if usize::try_from(made.rows_affected()) == Ok(alerts.len()) {
        return Ok(());
    }
    let row = sqlx::query(
        "SELECT n.id FROM UNNEST($2::text[], $3::text[]) AS n (id, told) LEFT JOIN alert a ON a.tenant = $1 AND a.id = n.id WHERE a.id IS NULL OR a.told IS DISTINCT FROM n.told LIMIT 1",
    )
    .bind(tenant)
    .bind(texts(&|alert| alert.id.clone()))
    .bind(&told)
    .fetch_optional(tx)
    .await?;
    match row {
        None => Ok(()),
        Some(row) => {
            let id: String = get(&row, 0)?;
            Err(conflict(&id, "it fired before, and is told of otherwise"))
        }
    }
}

/// An effect tells of alerts.
pub(crate) async fn tell(
    tx: &mut PgConnection,
    tenant: i64,
    alerts: &[String],
    effect: &str,
) -> Result<(), StepError> {
    let mut ids: Vec<&str> = alerts.iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    // Locked in order of id.
    let there = sqlx::query(
        "SELECT id, told FROM alert WHERE tenant = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
    )
    .bind(tenant)
    .bind(&ids)
    .fetch_all(&mut *tx)
    .await?;
    for row in &there {
        let told: Option<&str> = get(row, 1)?;
        if told.is_some_and(|told| told != effect) {
            return Err(conflict(get(row, 0)?, "another effect tells of it"));
        }
    }
    if there.len() != ids.len() {
        return Err(conflict(&ids.join(", "), "not all of them fired"));
    }
    sqlx::query("UPDATE alert SET told = $3 WHERE tenant = $1 AND id = ANY($2)")
        .bind(tenant)
        .bind(&ids)
        .bind(effect)
        .execute(tx)
        .await?;
    Ok(())
}

/// Moves an alert.
pub(crate) async fn move_to(
    tx: &mut PgConnection,
    tenant: i64,
    id: &str,
    to: AlertState,
    until: Option<Timestamp>,
    (by, at): (&str, Timestamp),
) -> Result<(), StepError> {
    let row = sqlx::query("SELECT state FROM alert WHERE tenant = $1 AND id = $2 FOR UPDATE")
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
    let state: Option<String> = row.map(|row| get(&row, 0)).transpose()?;
    match state.as_deref().and_then(AlertState::parse) {
        None => return Err(conflict(id, "it does not exist")),
        Some(AlertState::Resolved) if to == AlertState::Resolved => return Ok(()),
        Some(AlertState::Resolved) => return Err(conflict(id, "it is resolved")),
        Some(_) => {}
    }
    sqlx::query(
        "UPDATE alert SET state = $3, until = $4, changed_by = $5, changed_at = $6 WHERE tenant = $1 AND id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(to.as_str())
    .bind(until.map(Timestamp::micros))
    .bind(by)
    .bind(at.micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Resolves alerts whose windows are over.
pub(crate) async fn resolve(
    tx: &mut PgConnection,
    tenant: i64,
    by: Timestamp,
) -> Result<(), StepError> {
    sqlx::query(
        "UPDATE alert SET state = 'resolved', until = NULL WHERE tenant = $1 AND id IN (SELECT id FROM alert WHERE tenant = $1 AND window_end <= $2 AND state <> 'resolved' AND (told IS NOT NULL OR state = 'acknowledged') ORDER BY id FOR UPDATE)",
    )
    .bind(tenant)
    .bind(by.micros())
    .execute(tx)
    .await?;
    Ok(())
}

#[async_trait]
impl AlertStore for PostgresStore {
    async fn alert(&self, tenant: &TenantId, id: &str) -> Result<Option<Alert>, StoreError> {
        let row = sqlx::query(alert_query!("WHERE t.id = $1 AND a.id = $2"))
            .bind(tenant.as_str())
            .bind(id)
            .fetch_optional(&mut *self.on(tenant).await?)
            .await
            .map_err(store_error)?;
        row.as_ref().map(alert).transpose()
    }

    async fn alerts(
        &self,
        tenant: &TenantId,
        filter: &AlertFilter,
        before: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<Alert>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (at.micros(), id));
        let rows = sqlx::query(alert_query!(
            "WHERE t.id = $1 AND (a.at, a.id) < ($2, $3) AND ($4::text IS NULL OR a.customer = $4) AND ($5::text IS NULL OR a.state = $5) AND ($6::text IS NULL OR a.rule = $6) ORDER BY a.at DESC, a.id DESC LIMIT $7"
        ))
        .bind(tenant.as_str())
        .bind(at)
        .bind(id)
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.state.map(AlertState::as_str))
        .bind(filter.rule.as_deref())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(alert).collect()
    }

    async fn fired_among(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
        since: Timestamp,
    ) -> Result<Vec<Fired>, StoreError> {
        let names: Vec<&str> = customers.iter().map(CustomerId::as_str).collect();
        let rows = sqlx::query(
            "SELECT a.id, a.customer, a.rule, a.meter, a.at, a.state, a.until, a.told FROM alert a JOIN tenant t ON t.number = a.tenant WHERE t.id = $1 AND a.customer = ANY($2) AND a.window_end > $3",
        )
        .bind(tenant.as_str())
        .bind(&names)
        .bind(since.micros())
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(fired).collect()
    }

    async fn untold_alerts(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Alert>, StoreError> {
        let rows = sqlx::query(alert_query!(
            "WHERE t.id = $1 AND a.told IS NULL AND (a.state = 'open' OR (a.state = 'snoozed' AND a.until <= $2)) ORDER BY a.at, a.id LIMIT $3"
        ))
        .bind(tenant.as_str())
        .bind(now.micros())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(alert).collect()
    }
}
