//! The invoice runs port, and what a commit changes about runs and their items.

use std::collections::BTreeMap;

use async_trait::async_trait;
use counterfoil_invoicing::{ItemStatus, Run, RunItem, RunState, cycle::CycleNumber};
use counterfoil_store::{RunStore, StoreError};
use counterfoil_types::{
    CustomerId, Money, RunId, SubscriptionId, TenantId, Timestamp, decimal::canonical_text,
};
use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    error::{StepError, store_error},
    invoices::money,
    open::PostgresStore,
    rows::{from_text, get, small, to_text},
};

macro_rules! run_query {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.period, r.attempt, r.state, r.started_at, r.approved_by, ",
            "r.approved_at, r.finalized_at FROM invoice_run r JOIN tenant t ON t.number = r.tenant ",
            "WHERE t.id = $1 ",
            $rest
        )
    };
}

fn run(row: &PgRow) -> Result<Run, StoreError> {
    let id: String = get(row, 0)?;
    let state: &str = get(row, 3)?;
    let time = |at: Option<i64>| at.map(Timestamp::from_micros);
    Ok(Run {
        state: RunState::parse(state)
            .ok_or_else(|| StoreError::corrupt("invoice_run", &id, format!("state {state:?}")))?,
        attempt: small("invoice_run", &id, get(row, 2)?)?,
        id: id.parse().map_err(|error| StoreError::corrupt("invoice_run", &id, error))?,
        period: get(row, 1)?,
        started_at: Timestamp::from_micros(get(row, 4)?),
        approved_by: get(row, 5)?,
        approved_at: time(get(row, 6)?),
        finalized_at: time(get(row, 7)?),
    })
}

fn item(run: RunId, row: &PgRow) -> Result<RunItem, StoreError> {
    let subscription: &str = get(row, 0)?;
    let cycle: i64 = get(row, 1)?;
    let place = format!("{run} {subscription} {cycle}");
    let damage = |error: String| StoreError::corrupt("run_item", &place, error);
    let customer: &str = get(row, 2)?;
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
        cycle: small("run_item", &place, cycle)?,
        customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
        status: ItemStatus::parse(status).ok_or_else(|| damage(format!("status {status:?}")))?,
        reason: get::<Option<&str>>(row, 4)?.map(from_text),
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
impl RunStore for PostgresStore {
    async fn run(&self, tenant: &TenantId, id: &RunId) -> Result<Option<Run>, StoreError> {
        let row = sqlx::query(run_query!("AND r.id = $2"))
            .bind(tenant.as_str())
            .bind(id.to_string())
            .fetch_optional(&mut *self.on(tenant).await?)
            .await
            .map_err(store_error)?;
        row.as_ref().map(run).transpose()
    }

    async fn runs(&self, tenant: &TenantId) -> Result<Vec<Run>, StoreError> {
        let rows = sqlx::query(run_query!("ORDER BY r.period, r.attempt"))
            .bind(tenant.as_str())
            .fetch_all(&mut *self.on(tenant).await?)
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
            "SELECT i.subscription, i.cycle, i.customer, i.status, i.reason, i.invoice, i.currency, i.total::text, i.previous::text FROM run_item i JOIN tenant t ON t.number = i.tenant WHERE t.id = $1 AND i.run = $2 AND i.subscription = $3 AND i.cycle = $4",
        )
        .bind(tenant.as_str())
        .bind(run.to_string())
        .bind(subscription.as_str())
        .bind(i64::from(cycle))
        .fetch_optional(&mut *self.on(tenant).await?)
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
            "SELECT i.subscription, i.cycle, i.customer, i.status, i.reason, i.invoice, i.currency, i.total::text, i.previous::text FROM run_item i JOIN tenant t ON t.number = i.tenant WHERE t.id = $1 AND i.run = $2 AND (i.subscription, i.cycle) > ($3, $4) AND (cardinality($5::text[]) = 0 OR i.status = ANY($5)) ORDER BY i.subscription, i.cycle LIMIT $6",
        )
        .bind(tenant.as_str())
        .bind(run.to_string())
        .bind(subscription)
        .bind(cycle)
        .bind(&wanted)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| item(*run, row)).collect()
    }
}

/// Creates a run, unless there is one with its id.
pub(crate) async fn create(tx: &mut PgConnection, tenant: i64, run: &Run) -> Result<(), StepError> {
    sqlx::query(
        "INSERT INTO invoice_run (tenant, id, period, attempt, state, started_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, id) DO NOTHING",
    )
    .bind(tenant)
    .bind(run.id.to_string())
    .bind(run.period.as_str())
    .bind(i64::from(run.attempt))
    .bind(run.state.as_str())
    .bind(run.started_at.micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Moves a run on.
pub(crate) async fn update(tx: &mut PgConnection, tenant: i64, run: &Run) -> Result<(), StepError> {
    // Locked, so that of two programs that move it on the second sees what the first one did.
    let row = sqlx::query(
        "SELECT state, approved_by FROM invoice_run WHERE tenant = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tenant)
    .bind(run.id.to_string())
    .fetch_optional(&mut *tx)
    .await?;
    let state: Option<String> = row.as_ref().map(|row| get(row, 0)).transpose()?;
    let approver: Option<String> = row.map(|row| get(&row, 1)).transpose()?.flatten();
    let stored = state.as_deref().and_then(RunState::parse);
    if stored.is_none_or(|stored| stored > run.state) {
        return Err(StepError::Store(StoreError::conflict(
            format!("run {}", run.id),
            format!("it is {}, not before {}", state.unwrap_or_default(), run.state.as_str()),
        )));
    }
    if let Some(approver) = approver.filter(|name| run.approved_by.as_ref() != Some(name)) {
        return Err(StepError::Store(StoreError::conflict(
            format!("run {}", run.id),
            format!("it is signed off by {approver}"),
        )));
    }
    // Times stay as they were first written: repeating a step does not move them.
    sqlx::query(
        "UPDATE invoice_run SET state = $3, approved_by = $4, approved_at = coalesce(approved_at, $5), finalized_at = coalesce(finalized_at, $6) WHERE tenant = $1 AND id = $2",
    )
    .bind(tenant)
    .bind(run.id.to_string())
    .bind(run.state.as_str())
    .bind(run.approved_by.as_deref())
    .bind(run.approved_at.map(Timestamp::micros))
    .bind(run.finalized_at.map(Timestamp::micros))
    .execute(tx)
    .await?;
    Ok(())
}

/// Creates or replaces items, except those that are finalized.
pub(crate) async fn put_items(
    tx: &mut PgConnection,
    tenant: i64,
    items: &[RunItem],
) -> Result<(), StepError> {
    // One statement may touch a row once only: of several writes to one item the last one counts,
    // but none after it was finalized. In order of keys, so that two programs cannot deadlock.
    let mut last: BTreeMap<(String, &str, CycleNumber), &RunItem> = BTreeMap::new();
    for item in items {
        let key = (item.run.to_string(), item.subscription.as_str(), item.cycle);
        let place = last.entry(key).or_insert(item);
        if place.status != ItemStatus::Finalized {
            *place = item;
        }
    }
    if last.is_empty() {
        return Ok(());
    }
    let column = |value: &dyn Fn(&RunItem) -> Option<String>| -> Vec<Option<String>> {
        last.values().map(|item| value(item)).collect()
    };
    let amount = |money: Option<Money>| money.map(|money| canonical_text(&money.amount()));
    let runs: Vec<&str> = last.keys().map(|(run, ..)| run.as_str()).collect();
    let subscriptions: Vec<&str> = last.keys().map(|(_, subscription, _)| *subscription).collect();
    let cycles: Vec<i64> = last.keys().map(|(.., cycle)| i64::from(*cycle)).collect();
    let customers: Vec<&str> = last.values().map(|item| item.customer.as_str()).collect();
    let statuses: Vec<&str> = last.values().map(|item| item.status.as_str()).collect();
    let reasons: Vec<_> = last.values().map(|item| item.reason.as_deref().map(to_text)).collect();
    let currency =
        |item: &RunItem| item.total.or(item.before).map(|money| money.currency().code().to_owned());
    sqlx::query(
        "INSERT INTO run_item (tenant, run, subscription, cycle, customer, status, reason, invoice, currency, total, previous) SELECT $1, i.run, i.subscription, i.cycle, i.customer, i.status, i.reason, i.invoice, i.currency, i.total::numeric, i.previous::numeric FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]) AS i (run, subscription, cycle, customer, status, reason, invoice, currency, total, previous) ON CONFLICT (tenant, run, subscription, cycle) DO UPDATE SET status = excluded.status, reason = excluded.reason, invoice = excluded.invoice, currency = excluded.currency, total = excluded.total, previous = excluded.previous WHERE run_item.status <> 'finalized'",
    )
    .bind(tenant)
    .bind(&runs)
    .bind(&subscriptions)
    .bind(&cycles)
    .bind(&customers)
    .bind(&statuses)
    .bind(&reasons)
    .bind(column(&|item| item.invoice.map(|id| id.to_string())))
    .bind(column(&currency))
    .bind(column(&|item| amount(item.total)))
    .bind(column(&|item| amount(item.before)))
    .execute(tx)
    .await?;
    Ok(())
}
