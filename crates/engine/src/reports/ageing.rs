//! What is owed, by payer and by how long it is overdue.

use std::collections::BTreeMap;

use counterfoil_invoicing::InvoiceState;
use counterfoil_types::{Currency, CustomerId, Exact, Timestamp, timestamp::DAY_MICROS};

use super::{Cell, Kind, Report, Table, adds_up};
use crate::{Engine, EngineError};

/// Not due, 1–30, 31–60, 61–90, more than 90 days, and written off.
#[derive(Clone, Debug, Default)]
struct Ages {
    owed: [Exact; 5],
    written_off: Exact,
}

impl Ages {
    fn total(&self) -> Exact {
        self.owed.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        for (slot, more) in self.owed.iter_mut().zip(&other.owed) {
            *slot = slot.add(more);
        }
        self.written_off = self.written_off.add(&other.written_off);
    }

    fn cells(&self, currency: Currency) -> Result<Vec<Cell>, EngineError> {
        let mut cells = vec![Cell::text(currency)];
        for owed in self.owed.iter().chain([&self.total(), &self.written_off]) {
            cells.push(Cell::money(owed, currency)?);
        }
        Ok(cells)
    }
}

/// Which of the ages. The first day of being overdue begins when the invoice is due.
fn age(due: Option<Timestamp>, now: Timestamp) -> usize {
    let Some(due) = due.filter(|due| *due <= now) else { return 0 };
    match now.micros().saturating_sub(due.micros()) / DAY_MICROS {
        0..30 => 1,
        30..60 => 2,
        60..90 => 3,
        _ => 4,
    }
}

const AMOUNTS: [&str; 8] = [
    "currency",
    "not_due",
    "days_1_30",
    "days_31_60",
    "days_61_90",
    "over_90_days",
    "total",
    "written_off",
];

impl Engine {
    pub(super) async fn ageing_report(&self) -> Result<Report, EngineError> {
        let mut payers: BTreeMap<(CustomerId, &'static str), (Currency, Ages)> = BTreeMap::new();
        let mut balances: BTreeMap<String, Exact> = BTreeMap::new();
        for account in self.all_accounts("receivable/").await? {
            let open = account.balance.exact();
            if open.is_zero() {
                continue;
            }
            let sum = balances.entry(account.unit).or_default();
            *sum = sum.add(&open);
            let id = account.name.trim_start_matches("receivable/").parse().map_err(|_| {
                EngineError::refused(format!("account {} is damaged", account.name))
            })?;
            let invoice = self.invoice(&id).await?;
            let body = &invoice.body;
            let key = (body.paid_by().clone(), body.currency.code());
            let slot = payers.entry(key).or_insert_with(|| (body.currency, Ages::default()));
            let ages = &mut slot.1;
            if invoice.state == InvoiceState::Uncollectible {
                ages.written_off = ages.written_off.add(&open);
            } else if let Some(slot) =
                ages.owed.get_mut(age(invoice.due_at, self.now_of(&body.customer)))
            {
                *slot = slot.add(&open);
            }
        }
        let mut columns = vec!["customer"];
        columns.extend(AMOUNTS);
        let mut report = Report::of(Kind::Ageing, Table::new(&columns));
        let mut totals: BTreeMap<&'static str, (Currency, Ages)> = BTreeMap::new();
        for ((payer, code), (currency, ages)) in payers {
            totals.entry(code).or_insert_with(|| (currency, Ages::default())).1.add(&ages);
            let mut row = vec![Cell::text(payer)];
            row.extend(ages.cells(currency)?);
            report.table.rows.push(row);
        }
        for (code, balance) in &balances {
            let shown = totals
                .get(code.as_str())
                .map_or(Exact::ZERO, |(_, ages)| ages.total().add(&ages.written_off));
            adds_up(&format!("the rows in {code}"), &shown, balance)?;
        }
        report.totals = Table::new(&AMOUNTS);
        for (currency, ages) in totals.into_values() {
            report.totals.rows.push(ages.cells(currency)?);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_day_overdue_begins_when_the_invoice_is_due() {
        let due = Timestamp::from_micros(1_000);
        let after =
            |days: i64, micros: i64| age(Some(due), due.plus_micros(days * DAY_MICROS + micros));
        assert_eq!(after(0, -1), 0);
        assert_eq!((after(0, 0), after(30, -1)), (1, 1));
        assert_eq!((after(30, 0), after(60, -1)), (2, 2));
        assert_eq!((after(60, 0), after(90, -1)), (3, 3));
        assert_eq!((after(90, 0), after(4_000, 0)), (4, 4));
        assert_eq!(age(None, due), 0);
    }
}
