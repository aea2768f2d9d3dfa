//! Billing cycles: which invoice a subscription gets when.
//!
//! Cycle 0 opens the subscription at its start and carries what is due in advance for the first
//! period. Cycle n ≥ 1 closes period n − 1: its usage and arrears, and what is due in advance for
//! period n. So every boundary has one invoice, and `(subscription, cycle)` names it for ever.

use counterfoil_rating::{Alignment, Plan};
use counterfoil_types::{Interval, Period, Schedule, ScheduleError, TimeError, Timestamp, Zone};
use thiserror::Error;

use crate::subscription::Subscription;

/// Why periods could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CycleError {
    /// The schedule left the computable years.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A date left the computable years.
    #[error(transparent)]
    Time(#[from] TimeError),
}

/// The number of a billing cycle.
pub type CycleNumber = u32;

/// One billing cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its number.
    pub number: CycleNumber,
    /// When it falls due.
    pub at: Timestamp,
    /// The period it closes; none for cycle 0.
    pub closes: Option<Period>,
    /// The full grid period `closes` is (part of).
    pub closes_full: Option<Period>,
    /// The period it opens; none when the subscription ends here.
    pub opens: Option<Period>,
    /// The full grid period `opens` is (part of).
    pub opens_full: Option<Period>,
}

/// All cycles of a subscription.
#[derive(Clone, Debug)]
pub struct Cycles {
    schedule: Schedule,
    first: i64,
    start: Timestamp,
    end: Option<Timestamp>,
}

impl Cycles {
    /// The cycles of `subscription` on `plan`, in the customer's zone.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn of(subscription: &Subscription, plan: &Plan, zone: &Zone) -> Result<Self, CycleError> {
        let midnight = |date: jiff::civil::Date| zone.instant(date.at(0, 0, 0, 0));
        let start = midnight(subscription.start)?;
        let end = subscription.end.map(midnight).transpose()?;
        let schedule = match plan.alignment {
            Alignment::Calendar => Schedule::calendar(plan.interval, start, zone.clone())?,
            Alignment::Anniversary => {
                Schedule::new(plan.interval, subscription.start.at(0, 0, 0, 0), zone.clone())?
            }
            Alignment::BillingDay => {
                let day = plan.billing_day.unwrap_or(1);
                let anchor = billing_day_anchor(plan.interval, day, subscription.start)?;
                Schedule::new(plan.interval, anchor.at(0, 0, 0, 0), zone.clone())?
            }
        };
        let first = schedule.index_at(start)?;
        Ok(Self { schedule, first, start, end })
    }

    /// Period `n` (from 0), cut to the life of the subscription, with the grid period it lies in.
    /// `None` after its end.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn period(&self, n: CycleNumber) -> Result<Option<(Period, Period)>, CycleError> {
        let full = self.schedule.period(self.first + i64::from(n))?;
        let life = Period::new(self.start, self.end.unwrap_or(Timestamp::MAX));
        let cut = full.intersect(&life);
        Ok((!cut.is_empty()).then_some((cut, full)))
    }

    /// Cycle `number`; `None` when the subscription has ended before it.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn cycle(&self, number: CycleNumber) -> Result<Option<Cycle>, CycleError> {
        let opens = self.period(number)?;
        let closes = match number.checked_sub(1) {
            Some(before) => self.period(before)?,
            None => None,
        };
        let at = match (closes, opens) {
            (Some((closes, _)), _) => closes.end,
            (None, Some((opens, _))) if number == 0 => opens.start,
            _ => return Ok(None),
        };
        Ok(Some(Cycle {
            number,
            at,
            closes: closes.map(|(cut, _)| cut),
            closes_full: closes.map(|(_, full)| full),
            opens: opens.map(|(cut, _)| cut),
            opens_full: opens.map(|(_, full)| full),
        }))
    }

    /// The cycles that fall due in a run over `[from, to)`: closings with `from < at ≤ to`, and
    /// the opening when the subscription starts inside. So a month's run bills the month that
    /// ended with it, and a subscription that starts in it gets its advance fees at once.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn due(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Cycle>, CycleError> {
        let mut due = Vec::new();
        let mut number = if from < self.start {
            0
        } else {
            // The first period that can end after `from`.
            let index = self.schedule.index_at(from)? - self.first;
            CycleNumber::try_from(index.max(0)).unwrap_or(CycleNumber::MAX)
        };
        while let Some(cycle) = self.cycle(number)? {
            let inside = if cycle.number == 0 {
                from <= cycle.at && cycle.at < to
            } else {
                from < cycle.at && cycle.at <= to
            };
            if inside {
                due.push(cycle);
            }
            if cycle.at > to {
                break;
            }
            number += 1;
        }
        Ok(due)
    }

    /// Number of the period that holds `at`, if the subscription covers it.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn period_at(&self, at: Timestamp) -> Result<Option<CycleNumber>, CycleError> {
        if at < self.start || self.end.is_some_and(|end| at >= end) {
            return Ok(None);
        }
        let index = self.schedule.index_at(at)? - self.first;
        Ok(CycleNumber::try_from(index).ok())
    }
}

/// A date on the grid through the billing day of the month of `start`, in a month long enough to
/// hold that day: a schedule clamps each boundary from its anchor, and a clamped anchor would stay
/// clamped for ever.
fn billing_day_anchor(
    interval: Interval,
    day: i8,
    start: jiff::civil::Date,
) -> Result<jiff::civil::Date, CycleError> {
    let mut best = start.first_of_month();
    for back in 0..=12 {
        let month = interval.after(start.first_of_month().at(0, 0, 0, 0), -back)?.date();
        if month.days_in_month() > best.days_in_month() {
            best = month;
        }
    }
    let day = day.min(best.days_in_month());
    let out = |_| CycleError::Time(TimeError::OutOfRange(i64::from(day)));
    jiff::civil::Date::new(best.year(), best.month(), day).map_err(out)
}

#[cfg(test)]
mod tests {
    use counterfoil_rating::PlanSpec;

    use super::*;

    fn cycles(alignment: &str, start: &str, end: Option<&str>) -> Cycles {
        let plan: PlanSpec = serde_json::from_str(&format!(
            r#"{{"key":"p","interval":"month","alignment":"{alignment}","charge":[{{"key":"f","model":"flat","amount":1}}]}}"#
        ))
        .unwrap();
        let subscription = Subscription {
            id: "s".parse().unwrap(),
            customer: "c".parse().unwrap(),
            book: "b".into(),
            plan: plan.key.clone(),
            start: start.parse().unwrap(),
            end: end.map(|end| end.parse().unwrap()),
        };
        let zone = "Europe/Berlin".parse().unwrap();
        Cycles::of(&subscription, &Plan::try_from(&plan).unwrap(), &zone).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_start_in_mid_month_has_a_short_first_period() {
        let cycles = cycles("calendar", "2026-10-12", None);
        let october = (at("2026-10-01T00:00:00+02:00"), at("2026-11-01T00:00:00+01:00"));
        let due = cycles.due(october.0, october.1).unwrap();
        let numbers: Vec<u32> = due.iter().map(|cycle| cycle.number).collect();
        assert_eq!(numbers, [0, 1], "the opening and the first closing fall into October's run");
        let first = due[1].closes.unwrap();
        assert_eq!(first, Period::new(at("2026-10-12T00:00:00+02:00"), october.1));
        assert_eq!(due[1].closes_full.unwrap().start, october.0);
    }

    #[test]
    fn a_billing_day_that_short_months_lack_comes_back() {
        let starts_of = |interval: &str, start: &str| {
            let plan: PlanSpec = serde_json::from_str(&format!(
                r#"{{"key":"p","interval":"{interval}","alignment":"billing_day","billing_day":31,
                    "charge":[{{"key":"f","model":"flat","amount":1}}]}}"#
            ))
            .unwrap();
            let subscription = Subscription {
                id: "s".parse().unwrap(),
                customer: "c".parse().unwrap(),
                book: "b".into(),
                plan: plan.key.clone(),
                start: start.parse().unwrap(),
                end: None,
            };
            let plan = Plan::try_from(&plan).unwrap();
            let cycles = Cycles::of(&subscription, &plan, &Zone::utc()).unwrap();
            let day = |n| cycles.period(n).unwrap().unwrap().0.start.to_string();
            (0..5).map(|n| day(n)[..10].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            starts_of("month", "2026-02-10"),
            ["2026-02-10", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]
        );
        assert_eq!(
            starts_of("year", "2026-02-10"),
            ["2026-02-10", "2026-02-28", "2027-02-28", "2028-02-29", "2029-02-28"]
        );
    }

    #[test]
    fn each_closing_belongs_to_exactly_one_monthly_run() {
        let cycles = cycles("anniversary", "2026-01-31", Some("2026-08-15"));
        let mut seen = Vec::new();
        for month in 1..=11 {
            let from = at(&format!("2026-{month:02}-01T00:00:00Z"));
            let to = at(&format!("2026-{:02}-01T00:00:00Z", month + 1));
            seen.extend(cycles.due(from, to).unwrap().iter().map(|cycle| cycle.number));
        }
        assert_eq!(seen, (0..=7).collect::<Vec<u32>>());
        let last = cycles.cycle(7).unwrap().unwrap();
        assert_eq!(last.at, at("2026-08-15T00:00:00+02:00"));
        assert!(last.opens.is_none(), "nothing is due in advance after the end");
        assert!(cycles.cycle(8).unwrap().is_none());
    }

    #[test]
    fn periods_tile_the_life_of_a_subscription() {
        let cycles = cycles("calendar", "2024-01-31", Some("2026-02-10"));
        let mut before = at("2024-01-31T00:00:00+01:00");
        let mut n = 0;
        while let Some((period, full)) = cycles.period(n).unwrap() {
            assert_eq!(period.start, before);
            assert!(full.start <= period.start && period.end <= full.end);
            before = period.end;
            n += 1;
        }
        assert_eq!(before, at("2026-02-10T00:00:00+01:00"));
    }
}
