//! The invoice runs port.

use async_trait::async_trait;
use counterfoil_invoicing::{ItemStatus, Run, RunItem, RunState, cycle::CycleNumber};
use counterfoil_store::{RunStore, StoreError};
use counterfoil_types::{CustomerId, Money, RunId, SubscriptionId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::{error::store_error, invoices::money, open::SqliteStore, rows::get};

macro_rules! run_query {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.period, r.attempt, r.state, r.started_at, r.approved_by, ",
            "r.approved_at, r.finalized_at FROM invoice_run r JOIN tenant t ON t.number = r.tenant ",
            "WHERE t.id = ? ",
            $rest
        )
    };
}

fn run(row: &SqliteRow) -> Result<Run, StoreError> {
    let id: String = get(row, 0)?;
    let state: &str = get(row, 3)?;
    let time = |at: Option<i64>| at.map(Timestamp::from_micros);
    Ok(Run {
        state: RunState::parse(state)
            .ok_or_else(|| StoreError::corrupt("invoice_run", &id, format!("state {state:?}")))?,
        id: id.parse().map_err(|error| StoreError::corrupt("invoice_run", &id, error))?,
        period: get(row, 1)?,
        attempt: get(row, 2)?,
        started_at: Timestamp::from_micros(get(row, 4)?),
        approved_by: get(row, 5)?,
        approved_at: time(get(row, 6)?),
        finalized_at: time(get(row, 7)?),
    })
}

fn item(run: RunId, row: &SqliteRow) -> Result<RunItem, StoreError> {
    let subscription: String = get(row, 0)?;
    let cycle: CycleNumber = get(row, 1)?;
    let place = format!("{run} {subscription} {cycle}");
    let damage = |error: String| StoreError::corrupt("run_item", &place, error);
    let customer: String = get(row, 2)?;
    let status: &str = get(row, 3)?;
    let invoice: Option<&str> = get(row, 5)?;
    let currency: Option<&str> = get(row, 6)?;
    let amount = |text: Option<&str>| -> Result<Option<Money>, StoreError> {
        match (text, currency) {
            (Some(text), Some(currency)) => money("run_item", &place, text, currency).map(Some),
            _ => Ok(None),
        }
    };
    Ok(RunItem {
        run,
        cycle,
        customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
        status: ItemStatus::parse(status).ok_or_else(|| damage(format!("status {status:?}")))?,
        reason: get(row, 4)?,
        invoice: invoice
            .map(|id| id.parse())
            .transpose()
            .map_err(|error| damage(format!("invoice id: {error}")))?,
        total: amount(get(row, 7)?)?,
        before: amount(get(row, 8)?)?,
        subscription: SubscriptionId::new(subscription)
            .map_err(|error| damage(error.to_string()))?,
    })
}

#[async_trait]
impl RunStore for SqliteStore {
    async fn run(&self, tenant: &TenantId, id: &RunId) -> Result<Option<Run>, StoreError> {
        let row = sqlx::query(run_query!("AND r.id = ?"))
            .bind(tenant.as_str())
            .bind(id.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(store_error)?;
        row.as_ref().map(run).transpose()
    }

    async fn runs(&self, tenant: &TenantId) -> Result<Vec<Run>, StoreError> {
        let rows = sqlx::query(run_query!("ORDER BY r.period, r.attempt"))
            .bind(tenant.as_str())
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.iter().map(run).collect()
    }

    async fn run_item(
        &self,
        tenant: &TenantId,
        run: &RunId,
        subscription: &SubscriptionId,
        cycle: CycleNumber,
    ) -> Result<Option<RunItem>, StoreError> {
        let row = sqlx::query(
            "SELECT i.subscription, i.cycle, i.customer, i.status, i.reason, i.invoice, i.currency, i.total, i.previous FROM run_item i JOIN tenant t ON t.number = i.tenant WHERE t.id = ? AND i.run = ? AND i.subscription = ? AND i.cycle = ?",
        )
        .bind(tenant.as_str())
        .bind(run.to_string())
        .bind(subscription.as_str())
        .bind(cycle)
        .fetch_optional(&self.read)
        .await
        .map_err(store_error)?;
        row.as_ref().map(|row| item(*run, row)).transpose()
    }

    async fn run_items(
        &self,
        tenant: &TenantId,
        run: &RunId,
        statuses: &[ItemStatus],
        after: Option<&(SubscriptionId, CycleNumber)>,
        limit: u32,
    ) -> Result<Vec<RunItem>, StoreError> {
        let wanted: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
        let (subscription, cycle) = match after {
            Some((subscription, cycle)) => (subscription.as_str(), i64::from(*cycle)),
            None => ("", -1),
        };
        let rows = sqlx::query(
            "SELECT i.subscription, i.cycle, i.customer, i.status, i.reason, i.invoice, i.currency, i.total, i.previous FROM run_item i JOIN tenant t ON t.number = i.tenant WHERE t.id = ?1 AND i.run = ?2 AND (i.subscription, i.cycle) > (?3, ?4) AND (?5 = '[]' OR i.status IN (SELECT value FROM json_each(?5))) ORDER BY i.subscription, i.cycle LIMIT ?6",
        )
        .bind(tenant.as_str())
        .bind(run.to_string())
        .bind(subscription)
        .bind(cycle)
        .bind(crate::rows::to_json(&wanted)?)
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| item(*run, row)).collect()
    }
}
