//! The rounding ledger: what each line came to exactly, what was billed for it, and the
//! difference.
//!
//! A correcting line bills the rounded total as known then, less what was billed before. Exactly
//! it stands for the exact total less what the lines before it exactly stood for; so the
//! differences of all lines for the same thing sum to the one rounding of its last total.

use std::collections::BTreeMap;

use counterfoil_invoicing::{Invoice, InvoiceLine, credit_note::Corrected, settle::LineKey};
use counterfoil_types::{Currency, Exact, Money};

use super::{
    Cell, Kind, Range, Report, Table, adds_up,
    range::{invoice_month, label},
    read::{Notes, is_live},
};
use crate::{Engine, EngineError};

/// Sums of a currency.
#[derive(Clone, Debug, Default)]
struct Sums {
    lines: u64,
    exact: Exact,
    rounded: Exact,
    /// What rounding added, and what it took.
    up: Exact,
    down: Exact,
}

impl Sums {
    fn add(&mut self, exact: &Exact, rounded: Money) {
        let rounded = rounded.exact();
        let difference = rounded.sub(exact);
        self.lines += 1;
        self.exact = self.exact.add(exact);
        self.rounded = self.rounded.add(&rounded);
        let slot = if difference.is_negative() { &mut self.down } else { &mut self.up };
        *slot = slot.add(&difference);
    }
}

impl Engine {
    pub(super) async fn rounding_report(&self, range: &Range) -> Result<Report, EngineError> {
        let notes = self.all_notes().await?;
        let mut report = Report::of(
            Kind::Rounding,
            Table::new(&[
                "month",
                "invoice",
                "customer",
                "line",
                "kind",
                "charge",
                "currency",
                "exact",
                "rounded",
                "difference",
            ]),
        );
        let mut sums: BTreeMap<&'static str, (Currency, Sums)> = BTreeMap::new();
        let mut subtotals: BTreeMap<&'static str, Exact> = BTreeMap::new();
        let mut after = None;
        while let Some(page) = self.next_subscriptions(&mut after).await? {
            for subscription in page {
                let mut own = self.store.invoices_of(&self.tenant.id, &subscription.id).await?;
                own.retain(is_live);
                // In the order they were made: each was compared with those before it.
                own.sort_by(|a, b| {
                    let key = |i: &Invoice| (i.issued_at, i.body.cycle, i.body.part);
                    key(a).cmp(&key(b)).then_with(|| a.number.cmp(&b.number))
                });
                let mut told = Told::default();
                for invoice in &own {
                    let shown = range.holds(invoice_month(&invoice.body)?);
                    if shown {
                        let must = subtotals.entry(invoice.body.currency.code()).or_default();
                        *must = must.add(&invoice.body.subtotal.exact());
                    }
                    told.note(invoice, &notes, shown, &mut report.table, &mut sums)?;
                }
            }
        }
        report.totals = Table::new(&[
            "currency",
            "lines",
            "exact",
            "rounded",
            "rounded_up",
            "rounded_down",
            "difference",
        ]);
        for (code, (currency, sums)) in sums {
            let must = subtotals.get(code).cloned().unwrap_or_default();
            adds_up(&format!("the rounded lines in {code}"), &sums.rounded, &must)?;
            report.totals.rows.push(vec![
                Cell::text(currency),
                Cell::Count(sums.lines),
                Cell::Exact(sums.exact.clone()),
                Cell::money(&sums.rounded, currency)?,
                Cell::Exact(sums.up),
                Cell::Exact(sums.down),
                Cell::Exact(sums.rounded.sub(&sums.exact)),
            ]);
        }
        Ok(report)
    }
}

/// What the lines of a subscription have exactly stood for so far.
#[derive(Default)]
struct Told(BTreeMap<LineKey, Exact>);

impl Told {
    /// Takes an invoice in, and shows its lines.
    fn note(
        &mut self,
        invoice: &Invoice,
        notes: &Notes,
        shown: bool,
        table: &mut Table,
        sums: &mut BTreeMap<&'static str, (Currency, Sums)>,
    ) -> Result<(), EngineError> {
        let body = &invoice.body;
        let currency = body.currency;
        // Late notes took rounded amounts off what was billed; the rounding stays where it was.
        let none = body.inputs.credited_by.is_empty();
        let all = notes.values().filter(|_| !none).flatten().map(|note| &note.body);
        let corrected: Vec<&Corrected> = all
            .filter(|note| body.inputs.credited_by.contains(&note.id))
            .flat_map(|note| &note.corrects)
            .collect();
        let month = label(invoice_month(body)?);
        for (number, line) in (1u64..).zip(&body.lines) {
            let key = LineKey::of(line, body.cycle);
            let before = match (line.already_billed, self.0.get(&key)) {
                (None, _) => Exact::ZERO,
                (Some(_), Some(told)) => corrected
                    .iter()
                    .filter(|corrected| corrected.key() == key)
                    .fold(told.clone(), |told, corrected| told.sub(&corrected.amount.exact())),
                (Some(billed), None) => billed.exact(),
            };
            let exact = line.rated.exact.sub(&before);
            let told = self.0.entry(key).or_default();
            *told = told.add(&exact);
            if !shown {
                continue;
            }
            let difference = line.amount.exact().sub(&exact);
            let slot = sums.entry(currency.code());
            slot.or_insert_with(|| (currency, Sums::default())).1.add(&exact, line.amount);
            table.rows.push(vec![
                Cell::text(&month),
                Cell::maybe(invoice.number.as_ref()),
                Cell::text(&body.customer),
                Cell::Count(number),
                Cell::Text(kind_of(line)),
                Cell::text(&line.charge),
                Cell::text(currency),
                Cell::Exact(exact),
                Cell::Money(line.amount),
                Cell::Exact(difference),
            ]);
        }
        Ok(())
    }
}

/// The name of a line's kind in JSON.
fn kind_of(line: &InvoiceLine) -> String {
    let kind = serde_json::to_value(line.kind).unwrap_or_default();
    kind.as_str().unwrap_or_default().to_owned()
}
