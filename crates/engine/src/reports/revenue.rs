//! Net revenue: the lines of live invoices without tax, less what credit notes gave back.

use std::collections::BTreeMap;

use counterfoil_invoicing::{Invoice, InvoiceBody, InvoiceLine, LineKind, TaxMode};
use counterfoil_types::{Currency, Exact, Money, civil::Date};

use super::{
    Cell, Kind, Range, Report, Table, adds_up,
    range::{invoice_month, label, month_of},
    read::{Issued, is_live, notes_of},
};
use crate::{Engine, EngineError};

/// What a report is grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Month.
    #[default]
    Month,
    /// Plan.
    Plan,
    /// Meter; fees by charge.
    Meter,
    /// Customer.
    Customer,
    /// Hour; usage only.
    Hour,
    /// Local day; usage only.
    Day,
    /// Local week; usage only.
    Week,
}

impl By {
    /// What users write.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Plan => "plan",
            Self::Meter => "meter",
            Self::Customer => "customer",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// All groupings.
    pub const ALL: [Self; 7] =
        [Self::Month, Self::Plan, Self::Meter, Self::Customer, Self::Hour, Self::Day, Self::Week];
}

impl std::str::FromStr for By {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        Self::ALL.into_iter().find(|by| by.column() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().map(Self::column).collect();
            EngineError::refused(format!("{text:?} is no grouping; there are {}", all.join(", ")))
        })
    }
}

/// Amounts that a line adds.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// Net amounts of invoices.
    pub(super) invoiced: Exact,
    /// Net amounts given back by credit notes.
    pub(super) credited: Exact,
    /// Of the difference, what prepaid credit paid.
    pub(super) prepaid: Exact,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.invoiced = self.invoiced.add(&other.invoiced);
        self.credited = self.credited.add(&other.credited);
        self.prepaid = self.prepaid.add(&other.prepaid);
    }

    pub(super) fn revenue(&self) -> Exact {
        self.invoiced.sub(&self.credited)
    }
}

/// A line of an invoice, or what a credit note gave back of it.
pub(super) struct Entry<'a> {
    pub(super) month: Date,
    pub(super) body: &'a InvoiceBody,
    pub(super) line: &'a InvoiceLine,
    pub(super) sums: Sums,
}

/// What all entries must come to, by currency: read off the totals, not the lines.
pub(super) type Expected = BTreeMap<&'static str, Exact>;

impl Engine {
    /// Hands `each` all that counts as revenue in the months of `range`, and returns what it must
    /// come to.
    pub(super) async fn revenue_entries(
        &self,
        range: &Range,
        each: &mut (dyn FnMut(&Entry<'_>) + Send),
    ) -> Result<Expected, EngineError> {
        let notes = self.all_notes().await?;
        let mut expected = Expected::new();
        let mut after = None;
        while let Some(page) = self.next_finalized(&mut after).await? {
            for invoice in page.iter().filter(|invoice| is_live(invoice)) {
                let must = expected.entry(invoice.body.currency.code()).or_default();
                let month = invoice_month(&invoice.body)?;
                if range.holds(month) {
                    *must = must.add(&invoiced(invoice, month, each));
                }
                for note in notes_of(&notes, &invoice.id) {
                    let month = month_of(note.at, &invoice.body.zone)?;
                    if range.holds(month) {
                        *must = must.sub(&credited(invoice, note, month, each)?);
                    }
                }
            }
        }
        Ok(expected)
    }

    pub(super) async fn revenue_report(
        &self,
        range: &Range,
        by: By,
    ) -> Result<Report, EngineError> {
        if matches!(by, By::Hour | By::Day | By::Week) {
            return Err(EngineError::refused(
                "revenue is told --by month, plan, meter or customer",
            ));
        }
        let mut groups: BTreeMap<(String, &'static str), (Currency, Sums)> = BTreeMap::new();
        let mut note = |entry: &Entry<'_>| {
            let key = match by {
                By::Month => label(entry.month),
                By::Plan => entry.line.plan.to_string(),
                By::Meter => source_of(entry.line),
                _ => entry.body.customer.to_string(),
            };
            let currency = entry.body.currency;
            let slot = groups.entry((key, currency.code()));
            slot.or_insert_with(|| (currency, Sums::default())).1.add(&entry.sums);
        };
        let expected = self.revenue_entries(range, &mut note).await?;
        const AMOUNTS: [&str; 5] = ["currency", "invoiced", "credited", "revenue", "prepaid"];
        let mut columns = vec![by.column()];
        columns.extend(AMOUNTS);
        let mut report = Report::of(Kind::Revenue, Table::new(&columns));
        let mut totals: BTreeMap<&'static str, (Currency, Sums)> = BTreeMap::new();
        for ((key, code), (currency, sums)) in groups {
            let slot = totals.entry(code).or_insert_with(|| (currency, Sums::default()));
            slot.1.add(&sums);
            let mut row = vec![Cell::Text(key)];
            row.extend(cells(currency, &sums)?);
            report.table.rows.push(row);
        }
        for (code, must) in &expected {
            let is = totals.get(code).map_or(Exact::ZERO, |(_, sums)| sums.revenue());
            adds_up(&format!("the rows in {code}"), &is, must)?;
        }
        report.totals = Table::new(&AMOUNTS);
        for (currency, sums) in totals.into_values() {
            report.totals.rows.push(cells(currency, &sums)?);
        }
        Ok(report)
    }
}

fn cells(currency: Currency, sums: &Sums) -> Result<Vec<Cell>, EngineError> {
    Ok(vec![
        Cell::text(currency),
        Cell::money(&sums.invoiced, currency)?,
        Cell::money(&sums.credited, currency)?,
        Cell::money(&sums.revenue(), currency)?,
        Cell::money(&sums.prepaid, currency)?,
    ])
}

/// The entries of an invoice; returns its subtotal without tax.
fn invoiced(invoice: &Invoice, month: Date, each: &mut (dyn FnMut(&Entry<'_>) + Send)) -> Exact {
    let body = &invoice.body;
    let inclusive = body.inputs.tax.mode == TaxMode::Inclusive;
    let of = |amounts: &[Money], at: usize| amounts.get(at).map_or(Exact::ZERO, |a| a.exact());
    for (at, line) in body.lines.iter().enumerate() {
        let mut net = line.amount.exact();
        if inclusive {
            net = body.taxes.iter().fold(net, |net, tax| net.sub(&of(&tax.by_line, at)));
        }
        let sums = Sums { invoiced: net, credited: Exact::ZERO, prepaid: of(&body.credited, at) };
        each(&Entry { month, body, line, sums });
    }
    let subtotal = body.subtotal.exact();
    if inclusive { subtotal.sub(&body.tax.exact()) } else { subtotal }
}

/// The entries of a credit note; returns its total without tax.
fn credited(
    invoice: &Invoice,
    note: &Issued<counterfoil_invoicing::CreditNote>,
    month: Date,
    each: &mut (dyn FnMut(&Entry<'_>) + Send),
) -> Result<Exact, EngineError> {
    let body = &invoice.body;
    let inclusive = body.inputs.tax.mode == TaxMode::Inclusive;
    for given in &note.body.lines {
        let line = body.lines.get(given.line).ok_or_else(|| {
            EngineError::refused(format!(
                "credit note {} credits a line that invoice {} does not have",
                note.number, note.body.invoice_number
            ))
        })?;
        let mut net = given.amount.exact();
        if inclusive {
            net = given.taxes.iter().fold(net, |net, tax| net.sub(&tax.exact()));
        }
        let prepaid = given.prepaid.exact().neg();
        each(&Entry {
            month,
            body,
            line,
            sums: Sums { invoiced: Exact::ZERO, credited: net, prepaid },
        });
    }
    let taxes = note.body.taxes.iter().fold(Exact::ZERO, |sum, tax| sum.add(&tax.amount.exact()));
    Ok(note.body.total.exact().sub(&taxes))
}

/// Where a line's revenue comes from: its meter, or `(fee) charge`, or `(plan) line` for what
/// belongs to no charge.
pub(super) fn source_of(line: &InvoiceLine) -> String {
    if let Some(meter) = &line.meter {
        return meter.to_string();
    }
    match line.origin.map_or(line.kind, |origin| origin.kind) {
        LineKind::FeeAdvance | LineKind::FeeArrears => format!("(fee) {}", line.charge),
        _ => format!("(plan) {}", line.charge),
    }
}
