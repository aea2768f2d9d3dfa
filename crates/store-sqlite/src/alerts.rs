//! Alerts. There is one writer at a time, so what is there can be looked at before it is written.

use async_trait::async_trait;
use counterfoil_store::{Alert, AlertFilter, AlertState, AlertStore, Fired, StoreError};
use counterfoil_types::{CustomerId, MeterKey, TenantId, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    multi,
    open::SqliteStore,
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

fn alert(row: &SqliteRow) -> Result<Alert, StoreError> {
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

fn fired(row: &SqliteRow) -> Result<Fired, StoreError> {
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

fn conflict(id: &str, why: impl Into<String>) -> StoreError {
    StoreError::conflict(format!("alert {id}"), why)
}

/// Fires alerts, unless they fired before.
pub(crate) async fn fire(
    tx: &mut SqliteConnection,
    tenant: i64,
    alerts: &[Alert],
) -> Result<(), StoreError> {
    for alert in alerts {
        let there = sqlx::query("SELECT told FROM alert WHERE tenant = ? AND id = ?")
            .bind(tenant)
            .bind(alert.id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        if let Some(row) = there {
            let told: Option<String> = get(&row, 0)?;
            if told == alert.told {
                continue;
            }
            return Err(conflict(&alert.id, "it fired before, and is told of otherwise"));
        }
        sqlx::query(
            "INSERT INTO alert (tenant, id, customer, rule, meter, threshold, window_start, window_end, at, state, until, told, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant)
        .bind(alert.id.as_str())
        .bind(alert.customer.as_str())
        .bind(alert.rule.as_str())
        .bind(alert.meter.as_ref().map_or("", MeterKey::as_str))
        .bind(alert.threshold.as_str())
        .bind(alert.window.start.micros())
        .bind(alert.window.end.micros())
        .bind(alert.at.micros())
        .bind(alert.state.as_str())
        .bind(alert.until.map(Timestamp::micros))
        .bind(alert.told.as_deref())
        .bind(rows::to_json(alert)?)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}

/// An effect tells of alerts.
pub(crate) async fn tell(
    tx: &mut SqliteConnection,
    tenant: i64,
    alerts: &[String],
    effect: &str,
) -> Result<(), StoreError> {
    for id in alerts {
        let moved = sqlx::query(
            "UPDATE alert SET told = ? WHERE tenant = ? AND id = ? AND (told IS NULL OR told = ?)",
        )
        .bind(effect)
        .bind(tenant)
        .bind(id.as_str())
        .bind(effect)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        if moved.rows_affected() == 0 {
            return Err(conflict(id, "another effect tells of it"));
        }
    }
    Ok(())
}

/// Moves an alert.
pub(crate) async fn move_to(
    tx: &mut SqliteConnection,
    tenant: i64,
    id: &str,
    to: AlertState,
    until: Option<Timestamp>,
    (by, at): (&str, Timestamp),
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT state FROM alert WHERE tenant = ? AND id = ?")
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
    let state: Option<String> = row.map(|row| get(&row, 0)).transpose()?;
    match state.as_deref().and_then(AlertState::parse) {
        None => return Err(conflict(id, "it does not exist")),
        Some(AlertState::Resolved) if to == AlertState::Resolved => return Ok(()),
        Some(AlertState::Resolved) => return Err(conflict(id, "it is resolved")),
        Some(_) => {}
    }
    sqlx::query(
        "UPDATE alert SET state = ?, until = ?, changed_by = ?, changed_at = ? WHERE tenant = ? AND id = ?",
    )
    .bind(to.as_str())
    .bind(until.map(Timestamp::micros))
    .bind(by)
    .bind(at.micros())
    .bind(tenant)
    .bind(id)
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Resolves alerts whose windows are over.
pub(crate) async fn resolve(
    tx: &mut SqliteConnection,
    tenant: i64,
    by: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE alert SET state = 'resolved', until = NULL WHERE tenant = ? AND window_end <= ? AND state <> 'resolved' AND (told IS NOT NULL OR state = 'acknowledged')",
    )
    .bind(tenant)
    .bind(by.micros())
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

#[async_trait]
impl AlertStore for SqliteStore {
    async fn alert(&self, tenant: &TenantId, id: &str) -> Result<Option<Alert>, StoreError> {
        let row = sqlx::query(alert_query!("WHERE t.id = ? AND a.id = ?"))
            .bind(tenant.as_str())
            .bind(id)
            .fetch_optional(&self.read)
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
            "WHERE t.id = ?1 AND (a.at, a.id) < (?2, ?3) AND (?4 IS NULL OR a.customer = ?4) AND (?5 IS NULL OR a.state = ?5) AND (?6 IS NULL OR a.rule = ?6) ORDER BY a.at DESC, a.id DESC LIMIT ?7"
        ))
        .bind(tenant.as_str())
        .bind(at)
        .bind(id)
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.state.map(AlertState::as_str))
        .bind(filter.rule.as_deref())
        .bind(limit)
        .fetch_all(&self.read)
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
        let mut found = Vec::new();
        for chunk in multi::chunks(customers) {
            let mut query = sqlx::query(multi::list(
                "SELECT a.id, a.customer, a.rule, a.meter, a.at, a.state, a.until, a.told FROM alert a JOIN tenant t ON t.number = a.tenant WHERE t.id = ? AND a.window_end > ? AND a.customer IN",
                chunk.len(),
                "",
            ))
            .bind(tenant.as_str())
            .bind(since.micros());
            for customer in chunk {
                query = query.bind(customer.as_str());
            }
            for row in query.fetch_all(&self.read).await.map_err(store_error)? {
                found.push(fired(&row)?);
            }
        }
        Ok(found)
    }

    async fn untold_alerts(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Alert>, StoreError> {
        let rows = sqlx::query(alert_query!(
            "WHERE t.id = ? AND a.told IS NULL AND (a.state = 'open' OR (a.state = 'snoozed' AND a.until <= ?)) ORDER BY a.at, a.id LIMIT ?"
        ))
        .bind(tenant.as_str())
        .bind(now.micros())
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(alert).collect()
    }
}
