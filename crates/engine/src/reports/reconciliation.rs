//! Reconciliation: each number that is kept twice is held against its other self.
//!
//! | check | left | right |
//! |---|---|---|
//! | ledger = aggregates | the fold over the ledger, by meter | the stored buckets |
//! | lines = usage | what usage lines say was metered | the ledger up to the invoice's watermark |
//! | lines = totals | lines, less prepaid, with tax | totals of invoices |
//! | totals = issued | totals of invoices | what they posted when they were issued |
//! | open = total - paid - credited - voided | what is on the invoice's account | the formula |
//! | postings = balances | postings of an account | its balance |
//! | payments = postings | payments recorded | what they moved |
//! | notes = postings | totals of credit notes | what they took off what may be credited |
//!
//! Each check is a row per meter, currency or kind of account, and a row for each single thing
//! that differs. Ledger, accounts, payments and notes are always compared whole; what is checked
//! invoice by invoice follows the months asked for.

mod accounts;

use std::collections::{BTreeMap, HashSet};

use counterfoil_invoicing::{Invoice, InvoiceLine, TaxMode};
use counterfoil_metering::Aggregation;
use counterfoil_types::{Exact, MeterKey, Period};

use super::{
    Cell, Kind, Range, Report, Table,
    range::invoice_month,
    read::{Notes, is_live},
};
use crate::{Books, Engine, EngineError, usage::Request};

/// Both sides of a check, summed.
#[derive(Default)]
struct Pair {
    compared: u64,
    left: Exact,
    right: Exact,
}

/// One check.
pub(super) struct Check {
    name: &'static str,
    pairs: BTreeMap<(String, String), Pair>,
    /// What differs: subject, unit, both sides.
    differing: Vec<(String, String, Exact, Exact)>,
}

impl Check {
    fn new(name: &'static str) -> Self {
        Self { name, pairs: BTreeMap::new(), differing: Vec::new() }
    }

    /// Compares one thing of a group.
    fn compare(
        &mut self,
        (group, unit): (&str, &str),
        subject: impl FnOnce() -> String,
        left: &Exact,
        right: &Exact,
    ) {
        let pair = self.pairs.entry((group.to_owned(), unit.to_owned())).or_default();
        pair.compared += 1;
        pair.left = pair.left.add(left);
        pair.right = pair.right.add(right);
        if left != right {
            self.differing.push((subject(), unit.to_owned(), left.clone(), right.clone()));
        }
    }

    /// The rows of the check.
    fn finish(self, report: &mut Report) {
        for ((group, unit), Pair { compared, left, right }) in self.pairs {
            row(report, self.name, (group, unit), compared, (left, right));
        }
        for (subject, unit, left, right) in self.differing {
            row(report, self.name, (subject, unit), 1, (left, right));
        }
    }
}

fn row(
    report: &mut Report,
    check: &str,
    (subject, unit): (String, String),
    compared: u64,
    (left, right): (Exact, Exact),
) {
    let same = left == right;
    report.wants_decision |= !same;
    report.table.rows.push(vec![
        Cell::text(check),
        Cell::Text(subject),
        Cell::Text(unit),
        Cell::Count(compared),
        Cell::Exact(left.clone()),
        Cell::Exact(right.clone()),
        Cell::Exact(left.sub(&right)),
        Cell::text(if same { "ok" } else { "differs" }),
    ]);
}

impl Engine {
    pub(super) async fn reconciliation_report(&self, range: &Range) -> Result<Report, EngineError> {
        let books = self.books().await?;
        let mut report = Report::of(
            Kind::Reconciliation,
            Table::new(&[
                "check",
                "subject",
                "unit",
                "compared",
                "left",
                "right",
                "difference",
                "result",
            ]),
        );
        self.check_ledger(&books, &mut report).await?;
        let notes = self.all_notes().await?;
        let posted = self.posted(&mut report).await?;
        let mut lines = Check::new("lines = usage");
        let mut totals = Check::new("lines = totals");
        let mut issued = Check::new("totals = issued");
        let mut open = Check::new("open = total - paid - credited - voided");
        let mut after = None;
        while let Some(page) = self.next_finalized(&mut after).await? {
            for invoice in &page {
                if !range.holds(invoice_month(&invoice.body)?) {
                    continue;
                }
                if is_live(invoice) {
                    self.check_usage(&books, invoice, &mut lines).await?;
                }
                check_lines(invoice, &mut totals);
                posted.check_issued(invoice, &mut issued);
                posted.check_open(invoice, &notes, &mut open);
            }
        }
        for check in [lines, totals, issued, open] {
            check.finish(&mut report);
        }
        self.check_documents(&posted, &notes, &mut report).await?;
        report.totals = Table::new(&["result", "checks"]);
        for result in ["ok", "differs"] {
            let is = |row: &&Vec<Cell>| row.last().is_some_and(|cell| cell.plain() == result);
            let count = report.table.rows.iter().filter(is).count();
            report.totals.rows.push(vec![Cell::text(result), Cell::Count(count as u64)]);
        }
        Ok(report)
    }

    /// The fold over the ledger against what is stored.
    async fn check_ledger(&self, books: &Books, report: &mut Report) -> Result<(), EngineError> {
        for (key, meter) in self.check_aggregates().await?.meters {
            let adds = books.meters().get(&key).is_some_and(|meter| {
                use Aggregation::{Sum, TimeWeightedSum};
                matches!(meter.aggregation, Sum | TimeWeightedSum)
            });
            // Before the meter's own conversion.
            let unit = if adds { "measured" } else { "events" };
            let name = "ledger = aggregates";
            let subject = (key.to_string(), unit.to_owned());
            let sides = (meter.folded.clone(), meter.stored.clone());
            row(report, name, subject, meter.buckets, sides);
            if meter.differences > 0 && meter.folded == meter.stored {
                // The sums agree by chance: the buckets do not.
                let subject = (format!("{key}: differing aggregates"), "aggregates".to_owned());
                let count = Exact::from_i128(i128::from(meter.differences));
                row(report, name, subject, meter.buckets, (Exact::ZERO, count));
            }
        }
        Ok(())
    }

    /// What usage lines say was metered against the ledger at the invoice's watermark.
    async fn check_usage(
        &self,
        books: &Books,
        invoice: &Invoice,
        check: &mut Check,
    ) -> Result<(), EngineError> {
        let body = &invoice.body;
        let mut spans: BTreeMap<Period, Vec<(usize, &InvoiceLine)>> = BTreeMap::new();
        for (at, line) in body.lines.iter().enumerate() {
            if line.metered.is_some() && line.meter.is_some() && !is_taken_back(line) {
                spans.entry(line.period).or_default().push((at + 1, line));
            }
        }
        for (period, lines) in spans {
            let mut meters = Vec::new();
            let mut keys: HashSet<&MeterKey> = HashSet::new();
            for key in lines.iter().filter_map(|(_, line)| line.meter.as_ref()) {
                let meter = books.meters().get(key).ok_or_else(|| {
                    EngineError::not_found("meter", key, "; publish the price book again")
                })?;
                if keys.insert(key) {
                    meters.push(meter);
                }
            }
            let request = Request {
                customer: &body.customer,
                period,
                meters: meters.clone(),
                transactions: HashSet::new(),
            };
            let usage = self.fold_usage(&request, body.inputs.position).await?;
            for (number, line) in lines {
                let meter = meters.iter().find(|meter| line.meter.as_ref() == Some(&meter.key));
                let (Some(meter), Some(metered)) = (meter, &line.metered) else { continue };
                let name = || {
                    let invoice = invoice.number.as_deref().unwrap_or_default();
                    format!("{invoice} line {number} ({})", line.charge)
                };
                let group = (meter.key.as_str(), meter.unit.as_str());
                check.compare(group, name, metered, &usage.total(meter)?);
            }
        }
        Ok(())
    }
}

/// Whether a line takes back what is not charged at all any more: it says nothing about usage.
fn is_taken_back(line: &InvoiceLine) -> bool {
    line.origin.is_some()
        && line.rated.parts.is_empty()
        && line.already_billed.is_some_and(|billed| billed.negated() == line.amount)
}

/// Lines, less prepaid, with tax, against the total.
fn check_lines(invoice: &Invoice, check: &mut Check) {
    let body = &invoice.body;
    let mut sum = body.lines.iter().fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()));
    for credit in &body.credits {
        sum = sum.sub(&credit.amount.exact());
    }
    if body.inputs.tax.mode == TaxMode::Exclusive {
        let shares = body.taxes.iter().flat_map(|tax| &tax.by_line);
        sum = shares.fold(sum, |sum, share| sum.add(&share.exact()));
    }
    let name = || invoice.number.clone().unwrap_or_default();
    check.compare(("invoices", body.currency.code()), name, &sum, &body.total.exact());
}

/// Notes of an invoice: what they took off its account.
fn off_receivable(notes: &Notes, invoice: &Invoice) -> Exact {
    super::read::notes_of(notes, &invoice.id)
        .iter()
        .fold(Exact::ZERO, |sum, note| sum.add(&note.body.off_receivable.exact()))
}
