//! Deferred revenue: fees that were billed in advance and are not earned yet.
//!
//! A fee in advance is earned evenly over its period, by time: at the end of a month, the part of
//! its net amount that is deferred is the part of the period that lies ahead. A credit note lowers
//! the amount from its month on, for what was earned as for what lies ahead. The deferred sum is
//! rounded once per line and month, so that `opening + billed − credited − earned = closing` to the
//! cent; that is checked.

use std::collections::BTreeMap;

use counterfoil_invoicing::{CreditNote, Invoice, InvoiceLine, LineKind};
use counterfoil_rating::TaxMode;
use counterfoil_types::{Currency, Exact, Money, Period, Rounding, Timestamp, Zone, civil::Date};

use super::{
    Cell, Kind, Range, Report, Table, adds_up,
    range::{before, invoice_month, label, month_of, next},
    read::{Issued, is_live, notes_of},
};
use crate::{Engine, EngineError};

#[derive(Clone, Debug, Default)]
struct Month {
    billed: Exact,
    credited: Exact,
    closing: Exact,
}

type Months = BTreeMap<(&'static str, Date), (Currency, Month)>;

/// The part of a period that lies after an instant.
fn ahead(period: &Period, at: Timestamp) -> Exact {
    let left = period.end.micros().saturating_sub(at.max(period.start).micros()).max(0);
    Exact::from(left).div(&Exact::from(period.micros())).unwrap_or(Exact::ZERO)
}

/// A line of an advance fee, corrections of one included.
fn is_advance(line: &InvoiceLine) -> bool {
    line.origin.map_or(line.kind, |origin| origin.kind) == LineKind::FeeAdvance
}

impl Engine {
    pub(super) async fn deferred_report(&self, range: &Range) -> Result<Report, EngineError> {
        let current = month_of(self.now(), &Zone::utc())?;
        let last = match range.last() {
            Some(to) if to > current => {
                return Err(EngineError::refused(format!("{} has not begun", label(to))));
            }
            Some(to) => to,
            None => before(current)?,
        };
        let notes = self.all_notes().await?;
        let mut months = Months::new();
        let mut after = None;
        while let Some(page) = self.next_finalized(&mut after).await? {
            for invoice in page.iter().filter(|invoice| is_live(invoice)) {
                note(&mut months, invoice, notes_of(&notes, &invoice.id), last)?;
            }
        }
        let columns = ["month", "currency", "opening", "billed", "credited", "earned", "closing"];
        let mut report = Report::of(Kind::Deferred, Table::new(&columns));
        let first = range.first();
        let mut opening: BTreeMap<&'static str, Exact> = BTreeMap::new();
        let mut earned_in_all: BTreeMap<&'static str, Exact> = BTreeMap::new();
        for month in spread(&months, last)? {
            for (code, currency) in currencies(&months) {
                let none = Month::default();
                let this = months.get(&(code, month)).map_or(&none, |(_, month)| month);
                let open = opening.get(code).cloned().unwrap_or(Exact::ZERO);
                let earned = open.add(&this.billed).sub(&this.credited).sub(&this.closing);
                opening.insert(code, this.closing.clone());
                let all = earned_in_all.entry(code).or_default();
                *all = all.add(&earned);
                let nothing = [&open, &this.billed, &this.credited, &earned, &this.closing];
                if first.is_some_and(|first| month < first)
                    || nothing.iter().all(|amount| amount.is_zero())
                {
                    continue;
                }
                let mut row = vec![Cell::Text(label(month)), Cell::text(currency)];
                for amount in nothing {
                    row.push(Cell::money(amount, currency)?);
                }
                report.table.rows.push(row);
            }
        }
        // All that was billed was earned, credited or lies ahead.
        for (code, _) in currencies(&months) {
            let of = |pick: fn(&Month) -> &Exact| -> Exact {
                let own = months.iter().filter(|((own, _), _)| *own == code);
                own.map(|(_, (_, month))| pick(month)).sum()
            };
            let ahead = opening.get(code).cloned().unwrap_or(Exact::ZERO);
            let told = earned_in_all.get(code).cloned().unwrap_or(Exact::ZERO).add(&ahead);
            let billed = of(|month| &month.billed).sub(&of(|month| &month.credited));
            adds_up(&format!("earned and deferred in {code}"), &told, &billed)?;
        }
        Ok(report)
    }
}

fn currencies(months: &Months) -> BTreeMap<&'static str, Currency> {
    months.iter().map(|((code, _), (currency, _))| (*code, *currency)).collect()
}

/// All months from the first that has anything to the last.
fn spread(months: &Months, last: Date) -> Result<Vec<Date>, EngineError> {
    let Some(mut month) = months.keys().map(|(_, month)| *month).min() else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    while month <= last {
        all.push(month);
        month = next(month)?;
    }
    Ok(all)
}

/// Adds what an invoice billed in advance, in the months up to `last`.
fn note(
    months: &mut Months,
    invoice: &Invoice,
    notes: &[Issued<CreditNote>],
    last: Date,
) -> Result<(), EngineError> {
    let body = &invoice.body;
    let (currency, code) = (body.currency, body.currency.code());
    let inclusive = body.inputs.tax.mode == TaxMode::Inclusive;
    let billed_in = invoice_month(body)?;
    for (at, line) in body.lines.iter().enumerate().filter(|(_, line)| is_advance(line)) {
        let mut net = line.amount.exact();
        if inclusive {
            for tax in &body.taxes {
                net = tax.by_line.get(at).map_or(net.clone(), |tax| net.sub(&tax.exact()));
            }
        }
        // By month: the amount as it stands from then on.
        let mut steps: BTreeMap<Date, Exact> = BTreeMap::from([(billed_in, net.clone())]);
        for issued in notes {
            for given in issued.body.lines.iter().filter(|given| given.line == at) {
                let mut back = given.amount.exact();
                if inclusive {
                    back = given.taxes.iter().fold(back, |back, tax| back.sub(&tax.exact()));
                }
                let month = month_of(issued.at, &body.zone)?.max(billed_in);
                let slot = steps.entry(month).or_insert(Exact::ZERO);
                *slot = slot.sub(&back);
                if month <= last {
                    let slot = months.entry((code, month));
                    let month = &mut slot.or_insert_with(|| (currency, Month::default())).1;
                    month.credited = month.credited.add(&back);
                }
            }
        }
        if billed_in <= last {
            let slot = months.entry((code, billed_in));
            let month = &mut slot.or_insert_with(|| (currency, Month::default())).1;
            month.billed = month.billed.add(&net);
        }
        let mut stands = Exact::ZERO;
        let mut month = billed_in;
        while month <= last {
            if let Some(change) = steps.get(&month) {
                stands = stands.add(change);
            }
            let end = body.zone.instant(next(month)?.at(0, 0, 0, 0))?;
            let part = ahead(&line.period, end);
            if part.is_zero() && steps.range(next(month)?..).next().is_none() {
                break;
            }
            let open = Money::round_from(&stands.mul(&part), currency, Rounding::HalfAwayFromZero)?;
            let slot = months.entry((code, month));
            let slot = &mut slot.or_insert_with(|| (currency, Month::default())).1;
            slot.closing = slot.closing.add(&open.exact());
            month = next(month)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_ahead_of_a_year() {
        let period = Period::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2027-01-01T00:00:00Z".parse().unwrap(),
        );
        let at = |text: &str| ahead(&period, text.parse().unwrap());
        assert_eq!(at("2025-06-01T00:00:00Z"), Exact::ONE);
        assert_eq!(at("2026-02-01T00:00:00Z"), Exact::ratio(334, 365).unwrap());
        assert_eq!(at("2027-01-01T00:00:00Z"), Exact::ZERO);
        assert_eq!(at("2027-06-01T00:00:00Z"), Exact::ZERO);
    }
}
