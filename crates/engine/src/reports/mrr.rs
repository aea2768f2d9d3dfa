//! Monthly recurring revenue: what the contracts in force at the end of each month bring in a
//! month, and how that moved. Read off contracts, never off invoices.

use std::collections::BTreeMap;

use counterfoil_rating::{RateContext, Usage, rate, spec::Recurrence};
use counterfoil_types::{
    Currency, Exact, Interval, IntervalUnit, Money, Period, Rounding, Timestamp, Zone, civil::Date,
};

use super::{
    Cell, Kind, Range, Report, Table, adds_up,
    range::{before, label, month_of, next},
};
use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    contract::{Account, spans},
};

/// How the recurring revenue of a month came about.
#[derive(Clone, Debug, Default)]
struct Movement {
    opening: Exact,
    new: Exact,
    expansion: Exact,
    contraction: Exact,
    churn: Exact,
    reactivation: Exact,
    closing: Exact,
    customers: u64,
}

impl Movement {
    /// Adds one customer's month. `ever`: it has brought recurring revenue before.
    fn note(&mut self, before: &Exact, now: &Exact, ever: bool) {
        self.opening = self.opening.add(before);
        self.closing = self.closing.add(now);
        self.customers += u64::from(!now.is_zero());
        let change = now.sub(before);
        let slot = match (before.is_zero(), now.is_zero()) {
            (true, true) => return,
            (true, false) if ever => &mut self.reactivation,
            (true, false) => &mut self.new,
            (false, true) => &mut self.churn,
            (false, false) if change.is_negative() => &mut self.contraction,
            (false, false) => &mut self.expansion,
        };
        *slot = slot.add(&change);
    }

    fn moved(&self) -> Exact {
        [&self.new, &self.expansion, &self.contraction, &self.churn, &self.reactivation]
            .into_iter()
            .sum()
    }
}

type Movements = BTreeMap<(&'static str, Date), (Currency, Movement)>;

impl Engine {
    pub(super) async fn mrr_report(&self, range: &Range) -> Result<Report, EngineError> {
        let current = month_of(self.now(), &Zone::utc())?;
        let last = match range.last() {
            Some(to) if to > current => {
                return Err(EngineError::refused(format!(
                    "{} has not begun; recurring revenue is known up to {}",
                    label(to),
                    label(current)
                )));
            }
            Some(to) => to,
            None => before(current)?,
        };
        let books = self.books().await?;
        let mut movements = Movements::new();
        let mut after = None;
        loop {
            let page = self.store.customers(&self.tenant.id, after.as_ref(), PAGE).await?;
            let Some(end) = page.last() else { break };
            after = Some(end.id.clone());
            for customer in page {
                let mut accounts = Vec::new();
                for subscription in self.subscriptions_of(&customer.id).await? {
                    accounts.push(Account::new(&books, customer.clone(), subscription)?);
                }
                note_customer(&books, customer.currency, &accounts, last, &mut movements)?;
            }
        }
        let usage = self.usage_revenue(range).await?;
        let mut report = Report::of(
            Kind::Mrr,
            Table::new(&[
                "month",
                "currency",
                "opening",
                "new",
                "expansion",
                "contraction",
                "churn",
                "reactivation",
                "closing",
                "customers",
                "usage",
            ]),
        );
        let mut stood: BTreeMap<&'static str, Exact> = BTreeMap::new();
        for ((code, month), (currency, movement)) in movements {
            let opening = stood.insert(code, movement.closing.clone()).unwrap_or_default();
            adds_up("what a month opens with and its movements", &opening, &movement.opening)?;
            let closing = movement.opening.add(&movement.moved());
            adds_up("the movements of a month", &closing, &movement.closing)?;
            if !range.holds(month) {
                continue;
            }
            let used = usage.get(&(code, month)).cloned().unwrap_or_default();
            let money = |exact: &Exact| Cell::money(exact, currency);
            report.table.rows.push(vec![
                Cell::Text(label(month)),
                Cell::text(currency),
                money(&movement.opening)?,
                money(&movement.new)?,
                money(&movement.expansion)?,
                money(&movement.contraction)?,
                money(&movement.churn)?,
                money(&movement.reactivation)?,
                money(&movement.closing)?,
                Cell::Count(movement.customers),
                money(&used)?,
            ]);
        }
        Ok(report)
    }

    /// Net revenue of usage by currency and month.
    async fn usage_revenue(
        &self,
        range: &Range,
    ) -> Result<BTreeMap<(&'static str, Date), Exact>, EngineError> {
        let mut usage: BTreeMap<(&'static str, Date), Exact> = BTreeMap::new();
        let mut note = |entry: &super::revenue::Entry<'_>| {
            if entry.line.meter.is_some() {
                let slot = usage.entry((entry.body.currency.code(), entry.month)).or_default();
                *slot = slot.add(&entry.sums.revenue());
            }
        };
        self.revenue_entries(range, &mut note).await?;
        Ok(usage)
    }
}

/// Adds what a customer brings at the end of each month from its first to `last`.
fn note_customer(
    books: &Books,
    currency: Currency,
    accounts: &[Account],
    last: Date,
    movements: &mut Movements,
) -> Result<(), EngineError> {
    let begin = accounts.iter().map(|account| account.subscription.start.first_of_month()).min();
    let Some(mut month) = begin else { return Ok(()) };
    let (mut stood, mut ever) = (Exact::ZERO, false);
    while month <= last {
        let mut now = Exact::ZERO;
        for account in accounts {
            now = now.add(&at_end_of(books, account, month)?.exact());
        }
        let slot = movements.entry((currency.code(), month));
        slot.or_insert_with(|| (currency, Movement::default())).1.note(&stood, &now, ever);
        ever |= !now.is_zero();
        stood = now;
        month = next(month)?;
    }
    Ok(())
}

/// What a subscription brings a month at the end of one, rounded once.
fn at_end_of(books: &Books, account: &Account, month: Date) -> Result<Money, EngineError> {
    let currency = account.customer.currency;
    let none = Money::zero(currency);
    let at = account.cycles.instant(next(month)?)?.plus_micros(-1);
    let Some(number) = account.cycles.period_at(at)? else { return Ok(none) };
    let Some((period, _)) = account.cycles.period(number)? else { return Ok(none) };
    if account.is_free(number)? {
        return Ok(none);
    }
    let (mut sum, mut rounding) = (Exact::ZERO, Rounding::HalfAwayFromZero);
    for (interval, period) in rhythms(books, account, period, at)? {
        let segments = account.segments(books, period)?;
        let Some(segment) = segments.iter().find(|segment| segment.period.contains(at)) else {
            continue;
        };
        for span in spans(std::slice::from_ref(segment)) {
            let Some(charge) = span.charge().filter(|charge| charge.interval == interval) else {
                continue;
            };
            if charge.is_metered() || charge.recurrence == Recurrence::Once {
                continue;
            }
            rounding = span.book.rounding;
            let context = RateContext::new(currency, rounding);
            let full = rate(charge, &Usage::units(span.units()), &context)?.exact;
            let every = charge.interval.unwrap_or(span.plan.interval);
            sum = sum.add(&full.mul(&times_a_month(every)?));
        }
    }
    Ok(Money::round_from(&sum, currency, rounding)?)
}

/// The rhythms of the fees in force at an instant, each with the period whose first day says which
/// version of the price book holds.
fn rhythms(
    books: &Books,
    account: &Account,
    period: Period,
    at: Timestamp,
) -> Result<Vec<(Option<Interval>, Period)>, EngineError> {
    let mut found = vec![(None, period)];
    for interval in account.fee_intervals(books)? {
        if let Some((fee, _)) = account.cycles.fee_period(at, interval)? {
            found.push((Some(interval), fee));
        }
    }
    Ok(found)
}

/// How often an interval fits into a month: a year has 12 months and 365 days.
fn times_a_month(interval: Interval) -> Result<Exact, EngineError> {
    let (months, days) = match interval.unit {
        IntervalUnit::Day => (0, 1),
        IntervalUnit::Week => (0, 7),
        IntervalUnit::Month => (1, 0),
        IntervalUnit::Quarter => (3, 0),
        IntervalUnit::HalfYear => (6, 0),
        IntervalUnit::Year => (12, 0),
    };
    let count = i128::from(interval.count);
    Ok(if days == 0 {
        Exact::ratio(1, months * count)?
    } else {
        Exact::ratio(365, 12 * days * count)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_exact_parts_of_a_month() {
        let every = |unit, count| times_a_month(Interval { unit, count }).unwrap();
        let ratio = |n, d| Exact::ratio(n, d).unwrap();
        assert_eq!(every(IntervalUnit::Month, 1), Exact::ONE);
        assert_eq!(every(IntervalUnit::Year, 1), ratio(1, 12));
        assert_eq!(every(IntervalUnit::Quarter, 2), ratio(1, 6));
        assert_eq!(every(IntervalUnit::Week, 1), every(IntervalUnit::Day, 7));
        assert_eq!(every(IntervalUnit::Day, 1).mul(&ratio(12, 365)), Exact::ONE);
    }

    #[test]
    fn movements_of_a_customer_re_add() {
        let exact = |n| Exact::from_i128(n);
        let mut all = Movement::default();
        let mut before = Exact::ZERO;
        let mut ever = false;
        for now in [10, 15, 5, 0, 0, 7] {
            let mut month = Movement::default();
            month.note(&before, &exact(now), ever);
            assert_eq!(month.opening.add(&month.moved()), exact(now));
            all.note(&before, &exact(now), ever);
            ever |= now != 0;
            before = exact(now);
        }
        let told = [all.new, all.expansion, all.contraction, all.churn, all.reactivation];
        assert_eq!(told, [10, 5, -10, -5, 7].map(exact));
    }
}
