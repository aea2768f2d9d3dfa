//! The invoices port.

use async_trait::async_trait;
use counterfoil_invoicing::{Invoice, InvoiceState, cycle::CycleNumber};
use counterfoil_store::{InvoiceFilter, InvoiceStore, InvoiceSummary, StoreError};
use counterfoil_types::{
    CustomerId, Digest, Exact, InvoiceId, Money, SubscriptionId, TenantId, Timestamp,
};
use sqlx::sqlite::SqliteRow;

use crate::{
    error::store_error,
    multi,
    open::SqliteStore,
    rows::{self, get},
};

macro_rules! invoice_query {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.state, i.number, i.issued_at, i.due_at, i.digest, i.body ",
            "FROM invoice i JOIN tenant t ON t.number = i.tenant WHERE t.id = ? AND ",
            $rest
        )
    };
}

macro_rules! summary_query {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.state, i.number, i.issued_at, i.customer, i.subscription, i.cycle, ",
            "i.revision, i.due_cycle_at, i.currency, i.total, i.position, i.part ",
            "FROM invoice i JOIN tenant t ON t.number = i.tenant WHERE t.id = ? AND ",
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

fn head(row: &SqliteRow) -> Result<Head, StoreError> {
    let id: String = get(row, 0)?;
    let state: &str = get(row, 1)?;
    let issued_at: Option<i64> = get(row, 3)?;
    Ok(Head {
        state: InvoiceState::parse(state)
            .ok_or_else(|| StoreError::corrupt("invoice", &id, format!("state {state:?}")))?,
        number: get(row, 2)?,
        issued_at: issued_at.map(Timestamp::from_micros),
        id: id.parse().map_err(|error| StoreError::corrupt("invoice", &id, error))?,
    })
}

fn invoice(row: &SqliteRow) -> Result<Invoice, StoreError> {
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

fn summary(row: &SqliteRow) -> Result<InvoiceSummary, StoreError> {
    let Head { id, state, number, issued_at } = head(row)?;
    let place = id.to_string();
    let damage = |error: String| StoreError::corrupt("invoice", &place, error);
    let customer: String = get(row, 4)?;
    let subscription: String = get(row, 5)?;
    Ok(InvoiceSummary {
        id,
        number,
        state,
        issued_at,
        customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
        subscription: SubscriptionId::new(subscription)
            .map_err(|error| damage(error.to_string()))?,
        cycle: get(row, 6)?,
        revision: get(row, 7)?,
        part: get(row, 12)?,
        due_cycle_at: Timestamp::from_micros(get(row, 8)?),
        position: rows::unsigned(get(row, 11)?),
        total: money("invoice", &place, get(row, 10)?, get(row, 9)?)?,
    })
}

#[async_trait]
impl InvoiceStore for SqliteStore {
    async fn invoice(
        &self,
        tenant: &TenantId,
        id: &InvoiceId,
    ) -> Result<Option<Invoice>, StoreError> {
        let row = sqlx::query(invoice_query!("i.id = ?"))
            .bind(tenant.as_str())
            .bind(id.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(store_error)?;
        row.as_ref().map(invoice).transpose()
    }

    async fn invoice_numbered(
        &self,
        tenant: &TenantId,
        number: &str,
    ) -> Result<Option<Invoice>, StoreError> {
        let row = sqlx::query(invoice_query!("i.number = ?"))
            .bind(tenant.as_str())
            .bind(number)
            .fetch_optional(&self.read)
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
            sqlx::query(invoice_query!("i.subscription = ? ORDER BY i.cycle, i.revision, i.part"))
                .bind(tenant.as_str())
                .bind(subscription.as_str())
                .fetch_all(&self.read)
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
            "i.subscription = ? AND i.cycle = ? ORDER BY i.revision, i.part"
        ))
        .bind(tenant.as_str())
        .bind(subscription.as_str())
        .bind(cycle)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(summary).collect()
    }

    async fn summaries_among(
        &self,
        tenant: &TenantId,
        cycles: &[(SubscriptionId, CycleNumber)],
    ) -> Result<Vec<InvoiceSummary>, StoreError> {
        let mut found: Vec<InvoiceSummary> = Vec::with_capacity(cycles.len());
        for chunk in multi::chunks(cycles) {
            let mut query = sqlx::query(multi::values(
                summary_query!("(i.subscription, i.cycle) IN (VALUES"),
                2,
                chunk.len(),
                ")",
            ))
            .bind(tenant.as_str());
            for (subscription, cycle) in chunk {
                query = query.bind(subscription.as_str()).bind(*cycle);
            }
            for row in query.fetch_all(&self.read).await.map_err(store_error)? {
                found.push(summary(&row)?);
            }
        }
        let place =
            |one: &InvoiceSummary| (one.subscription.clone(), one.cycle, one.revision, one.part);
        found.sort_by_key(place);
        found.dedup_by_key(|one| place(one));
        Ok(found)
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
        // One text per way in, so that each finds its index.
        let query = match filter {
            InvoiceFilter { customer: Some(_), .. } => sqlx::query(summary_query!(
                "i.customer = ?2 AND (?3 IS NULL OR i.subscription = ?3) AND (?4 IS NULL OR i.state = ?4) AND (i.due_cycle_at, i.id) > (?5, ?6) ORDER BY i.due_cycle_at, i.id LIMIT ?7"
            )),
            InvoiceFilter { subscription: Some(_), .. } => sqlx::query(summary_query!(
                "?2 IS NULL AND i.subscription = ?3 AND (?4 IS NULL OR i.state = ?4) AND (i.due_cycle_at, i.id) > (?5, ?6) ORDER BY i.due_cycle_at, i.id LIMIT ?7"
            )),
            InvoiceFilter { state: Some(_), .. } => sqlx::query(summary_query!(
                "?2 IS NULL AND ?3 IS NULL AND i.state = ?4 AND (i.due_cycle_at, i.id) > (?5, ?6) ORDER BY i.due_cycle_at, i.id LIMIT ?7"
            )),
            _ => sqlx::query(summary_query!(
                "?2 IS NULL AND ?3 IS NULL AND ?4 IS NULL AND (i.due_cycle_at, i.id) > (?5, ?6) ORDER BY i.due_cycle_at, i.id LIMIT ?7"
            )),
        };
        let rows = query
            .bind(tenant.as_str())
            .bind(filter.customer.as_ref().map(CustomerId::as_str))
            .bind(filter.subscription.as_ref().map(SubscriptionId::as_str))
            .bind(filter.state.map(InvoiceState::as_str))
            .bind(after_time)
            .bind(after_id)
            .bind(limit)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.iter().map(summary).collect()
    }
}
