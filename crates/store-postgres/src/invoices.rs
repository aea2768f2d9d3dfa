//! The invoices port.

use async_trait::async_trait;
use counterfoil_invoicing::{Invoice, InvoiceState, cycle::CycleNumber};
use counterfoil_store::{InvoiceFilter, InvoiceStore, InvoiceSummary, StoreError};
use counterfoil_types::{
    CustomerId, Digest, Exact, InvoiceId, Money, SubscriptionId, TenantId, Timestamp,
};
use sqlx::postgres::PgRow;

use crate::{
    error::store_error,
    open::PostgresStore,
    rows::{self, get, small},
};

macro_rules! invoice_query {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.state, i.number, i.issued_at, i.due_at, i.digest, i.body ",
            "FROM invoice i JOIN tenant t ON t.number = i.tenant WHERE t.id = $1 AND ",
            $rest
        )
    };
}

macro_rules! summary_query {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.state, i.number, i.issued_at, i.customer, i.subscription, i.cycle, ",
            "i.revision, i.due_cycle_at, i.currency, i.total::text, i.position, i.part ",
            "FROM invoice i JOIN tenant t ON t.number = i.tenant WHERE t.id = $1 AND ",
            $rest
        )
    };
}

struct Head {
    id: InvoiceId,
    state: InvoiceState,
    number: Option<String>,
    issued_at: Option<Timestamp>,
}

fn head(row: &PgRow) -> Result<Head, StoreError> {
    let id: &str = get(row, 0)?;
    let state: &str = get(row, 1)?;
    let issued_at: Option<i64> = get(row, 3)?;
    Ok(Head {
        state: InvoiceState::parse(state)
            .ok_or_else(|| StoreError::corrupt("invoice", id, format!("state {state:?}")))?,
        number: get(row, 2)?,
        issued_at: issued_at.map(Timestamp::from_micros),
        id: id.parse().map_err(|error| StoreError::corrupt("invoice", id, error))?,
    })
}

fn invoice(row: &PgRow) -> Result<Invoice, StoreError> {
    let Head { id, state, number, issued_at } = head(row)?;
    let digest: &[u8] = get(row, 5)?;
    let body: &str = get(row, 6)?;
    let due_at: Option<i64> = get(row, 4)?;
    Ok(Invoice {
        digest: Digest::try_from(digest)
            .map_err(|error| StoreError::corrupt("invoice", id, error))?,
        body: rows::json("invoice", &id.to_string(), body)?,
        due_at: due_at.map(Timestamp::from_micros),
        id,
        state,
        number,
        issued_at,
    })
}

/// An amount as stored: canonical text and a currency code.
pub(crate) fn money(
    table: &'static str,
    row: &str,
    amount: &str,
    currency: &str,
) -> Result<Money, StoreError> {
    let damage = |error: String| StoreError::corrupt(table, row, error);
    let currency = currency.parse().map_err(|_| damage(format!("currency {currency:?}")))?;
    let exact = Exact::parse(amount).map_err(|error| damage(error.to_string()))?;
    Money::from_exact(&exact, currency).map_err(|error| damage(error.to_string()))
}

fn summary(row: &PgRow) -> Result<InvoiceSummary, StoreError> {
    let Head { id, state, number, issued_at } = head(row)?;
    let place = id.to_string();
    let damage = |error: String| StoreError::corrupt("invoice", &place, error);
    let customer: &str = get(row, 4)?;
    let subscription: &str = get(row, 5)?;
    Ok(InvoiceSummary {
        id,
        number,
        state,
        issued_at,
        customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
        subscription: SubscriptionId::new(subscription)
            .map_err(|error| damage(error.to_string()))?,
        cycle: small("invoice", &place, get(row, 6)?)?,
        revision: small("invoice", &place, get(row, 7)?)?,
        part: small("invoice", &place, get(row, 12)?)?,
        due_cycle_at: Timestamp::from_micros(get(row, 8)?),
        position: rows::unsigned(get(row, 11)?),
        total: money("invoice", &place, get(row, 10)?, get(row, 9)?)?,
    })
}

#[async_trait]
impl InvoiceStore for PostgresStore {
    async fn invoice(
        &self,
        tenant: &TenantId,
        id: &InvoiceId,
    ) -> Result<Option<Invoice>, StoreError> {
        let row = sqlx::query(invoice_query!("i.id = $2"))
            .bind(tenant.as_str())
            .bind(id.to_string())
            .fetch_optional(&mut *self.on(tenant).await?)
            .await
            .map_err(store_error)?;
        row.as_ref().map(invoice).transpose()
    }

    async fn invoice_numbered(
        &self,
        tenant: &TenantId,
        number: &str,
    ) -> Result<Option<Invoice>, StoreError> {
        let row = sqlx::query(invoice_query!("i.number = $2"))
            .bind(tenant.as_str())
            .bind(number)
            .fetch_optional(&mut *self.on(tenant).await?)
            .await
            .map_err(store_error)?;
        row.as_ref().map(invoice).transpose()
    }

    async fn invoices_of(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
    ) -> Result<Vec<Invoice>, StoreError> {
        let rows =
            sqlx::query(invoice_query!("i.subscription = $2 ORDER BY i.cycle, i.revision, i.part"))
                .bind(tenant.as_str())
                .bind(subscription.as_str())
                .fetch_all(&mut *self.on(tenant).await?)
                .await
                .map_err(store_error)?;
        rows.iter().map(invoice).collect()
    }

    async fn cycle_summaries(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
        cycle: CycleNumber,
    ) -> Result<Vec<InvoiceSummary>, StoreError> {
        let rows = sqlx::query(summary_query!(
            "i.subscription = $2 AND i.cycle = $3 ORDER BY i.revision, i.part"
        ))
        .bind(tenant.as_str())
        .bind(subscription.as_str())
        .bind(i64::from(cycle))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(summary).collect()
    }

    async fn summaries_among(
        &self,
        tenant: &TenantId,
        cycles: &[(SubscriptionId, CycleNumber)],
    ) -> Result<Vec<InvoiceSummary>, StoreError> {
        let subscriptions: Vec<&str> = cycles.iter().map(|(id, _)| id.as_str()).collect();
        let numbers: Vec<i64> = cycles.iter().map(|(_, number)| i64::from(*number)).collect();
        let rows = sqlx::query(summary_query!(
            "(i.subscription, i.cycle) IN (SELECT * FROM UNNEST($2::text[], $3::bigint[])) ORDER BY i.subscription, i.cycle, i.revision, i.part"
        ))
        .bind(tenant.as_str())
        .bind(&subscriptions)
        .bind(&numbers)
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(summary).collect()
    }

    async fn invoices(
        &self,
        tenant: &TenantId,
        filter: &InvoiceFilter,
        after: Option<(Timestamp, InvoiceId)>,
        limit: u32,
    ) -> Result<Vec<InvoiceSummary>, StoreError> {
        let (after_time, after_id) = match after {
            Some((time, id)) => (time.micros(), id.to_string()),
            None => (i64::MIN, String::new()),
        };
        let rows = sqlx::query(summary_query!(
            "($2::text IS NULL OR i.customer = $2) AND ($3::text IS NULL OR i.subscription = $3) AND ($4::text IS NULL OR i.state = $4) AND (i.due_cycle_at, i.id) > ($5, $6) ORDER BY i.due_cycle_at, i.id LIMIT $7"
        ))
        .bind(tenant.as_str())
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.subscription.as_ref().map(SubscriptionId::as_str))
        .bind(filter.state.map(InvoiceState::as_str))
        .bind(after_time)
        .bind(after_id)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(summary).collect()
    }
}
