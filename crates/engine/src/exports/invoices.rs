//! Invoices and their lines, in order of the time their cycle fell due, as they stand when read.

use std::borrow::Cow;

use counterfoil_exports::{Cell, Column, Kind};
use counterfoil_invoicing::{Invoice, InvoiceLine};
use counterfoil_store::InvoiceFilter;
use counterfoil_types::{InvoiceId, Money, Timestamp};

use super::{Wanted, events::integer};
use crate::{Engine, EngineError};

/// Invoices read at once.
const PAGE: u32 = 200;

/// Columns of lines.
pub(super) const LINES: &[Column] = &[
    Column::new("invoice", Kind::Text),
    Column::new("state", Kind::Text),
    Column::new("customer", Kind::Text),
    Column::new("customer_name", Kind::Text),
    Column::new("subscription", Kind::Text),
    Column::new("cycle", Kind::Integer),
    Column::new("line", Kind::Integer),
    Column::new("kind", Kind::Text),
    Column::new("charge", Kind::Text),
    Column::new("name", Kind::Text),
    Column::new("period_start", Kind::Timestamp),
    Column::new("period_end", Kind::Timestamp),
    Column::new("units", Kind::Exact),
    Column::new("unit", Kind::Text),
    Column::new("amount_exact", Kind::Exact),
    Column::total("amount", Kind::Decimal),
    Column::new("currency", Kind::Text),
    Column::new("price_book", Kind::Text),
];

/// Columns of invoices.
pub(super) const INVOICES: &[Column] = &[
    Column::new("id", Kind::Text),
    Column::new("number", Kind::Text),
    Column::new("state", Kind::Text),
    Column::new("customer", Kind::Text),
    Column::new("customer_name", Kind::Text),
    Column::new("subscription", Kind::Text),
    Column::new("cycle", Kind::Integer),
    Column::new("revision", Kind::Integer),
    Column::new("part", Kind::Integer),
    Column::new("period_start", Kind::Timestamp),
    Column::new("period_end", Kind::Timestamp),
    Column::new("zone", Kind::Text),
    Column::new("due_cycle_at", Kind::Timestamp),
    Column::new("currency", Kind::Text),
    Column::total("subtotal", Kind::Decimal),
    Column::total("tax", Kind::Decimal),
    Column::total("total", Kind::Decimal),
    Column::new("lane", Kind::Integer),
    Column::new("position", Kind::Integer),
];

/// Where an export of invoices is.
#[derive(Default)]
pub(super) struct Pages {
    after: Option<(Timestamp, InvoiceId)>,
}

impl Pages {
    pub(super) async fn next(
        &mut self,
        engine: &Engine,
        wanted: &Wanted,
    ) -> Result<Option<Vec<Invoice>>, EngineError> {
        let tenant = &engine.tenant.id;
        let filter =
            InvoiceFilter { customer: wanted.customer.clone(), ..InvoiceFilter::default() };
        let page = engine.store.invoices(tenant, &filter, self.after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some((last.due_cycle_at, last.id));
        let mut found = Vec::new();
        for summary in page.into_iter().filter(|summary| wanted.holds(summary.due_cycle_at)) {
            found.extend(engine.store.invoice(tenant, &summary.id).await?);
        }
        Ok(Some(found))
    }
}

fn money(amount: Money) -> Cell<'static> {
    Cell::Decimal(amount.amount())
}

/// A line as cells.
#[must_use]
pub fn line_cells<'a>(invoice: &'a Invoice, number: u64, line: &'a InvoiceLine) -> [Cell<'a>; 18] {
    let body = &invoice.body;
    let kind = serde_json::to_value(line.kind).ok();
    let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    [
        Cell::text(invoice.number.as_deref().unwrap_or_default()),
        Cell::text(invoice.state.as_str()),
        Cell::text(body.customer.as_str()),
        Cell::text(body.customer_name.as_str()),
        Cell::text(body.subscription.as_str()),
        Cell::Integer(i64::from(body.cycle)),
        integer(number),
        Cell::Text(Cow::Owned(kind)),
        Cell::text(line.charge.as_str()),
        Cell::text(line.name.as_str()),
        Cell::Timestamp(line.period.start),
        Cell::Timestamp(line.period.end),
        Cell::Exact(Cow::Owned(line.rated.units.to_string())),
        Cell::text(line.unit.as_deref().unwrap_or_default()),
        Cell::Exact(Cow::Owned(line.rated.exact.to_string())),
        money(line.amount),
        Cell::text(body.currency.to_string()),
        Cell::text(line.book.to_string()),
    ]
}

pub(super) fn cells(invoice: &Invoice) -> [Cell<'_>; 19] {
    let body = &invoice.body;
    [
        Cell::text(invoice.id.to_string()),
        Cell::maybe(invoice.number.as_deref()),
        Cell::text(invoice.state.as_str()),
        Cell::text(body.customer.as_str()),
        Cell::text(body.customer_name.as_str()),
        Cell::text(body.subscription.as_str()),
        Cell::Integer(i64::from(body.cycle)),
        Cell::Integer(i64::from(body.revision)),
        Cell::Integer(i64::from(body.part)),
        Cell::Timestamp(body.period.start),
        Cell::Timestamp(body.period.end),
        Cell::text(body.zone.name()),
        Cell::Timestamp(body.due_cycle_at),
        Cell::text(body.currency.to_string()),
        money(body.subtotal),
        money(body.tax),
        money(body.total),
        Cell::Integer(body.inputs.lane),
        integer(body.inputs.position),
    ]
}
