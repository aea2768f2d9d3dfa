//! Periods that start on a fixed day of the month while the subscription may start on another.
//!
//! The first period is a stub: it ends on the first billing day after the start. When the start
//! month's billing day has passed, whole intervals are added to that day, so a yearly plan started
//! on the 10th with billing day 1 runs almost a year to its first billing day (the rule of Kill
//! Bill and Meteroid). From there on, boundaries are computed from the first billing day and
//! clamped to the month's end each time, as [`crate::Schedule`] does.

use jiff::{Span, ToSpan, civil::Date};
use thiserror::Error;

use crate::{
    exact::{Exact, ExactError},
    period::Period,
    schedule::Interval,
    timestamp::{TimeError, Timestamp},
    zone::Zone,
};

/// Why a billing-day schedule could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BillingDayError {
    /// Not a day of the month.
    #[error("a billing day must lie between 1 and 31, not {0}")]
    BadDay(i8),
    /// Interval of zero or absurd length.
    #[error("a billing interval must be between 1 and 1200 units, not {0}")]
    BadCount(u32),
    /// The date lies before the start.
    #[error("{at} lies before the start {start}")]
    BeforeStart {
        /// The date asked for.
        at: Date,
        /// Where the schedule starts.
        start: Date,
    },
    /// A date left the years that can be computed with.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// A division failed.
    #[error(transparent)]
    Exact(#[from] ExactError),
}

/// A half-open range of local dates, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateRange {
    /// First day inside.
    pub start: Date,
    /// First day after.
    pub end: Date,
}

impl DateRange {
    /// Days inside.
    #[must_use]
    pub fn days(&self) -> i64 {
        days_between(self.start, self.end)
    }

    /// The instants of the two local midnights.
    ///
    /// # Errors
    /// When a date is out of range.
    pub fn instants(&self, zone: &Zone) -> Result<Period, TimeError> {
        let midnight =
            |date: Date| -> Result<Timestamp, TimeError> { zone.instant(date.at(0, 0, 0, 0)) };
        Ok(Period::new(midnight(self.start)?, midnight(self.end)?))
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    to.duration_since(from).as_hours() / 24
}

/// The grid of a subscription with a billing day of month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingDaySchedule {
    interval: Interval,
    day: i8,
    start: Date,
    first: Date,
}

impl BillingDaySchedule {
    /// A schedule from `start` (a local date) with billing day `day`.
    ///
    /// # Errors
    /// When the day is not within 1 to 31 or the interval is empty.
    pub fn new(interval: Interval, day: i8, start: Date) -> Result<Self, BillingDayError> {
        if !(1..=31).contains(&day) {
            return Err(BillingDayError::BadDay(day));
        }
        if interval.count == 0 || interval.count > 1200 {
            return Err(BillingDayError::BadCount(interval.count));
        }
        let mut schedule = Self { interval, day, start, first: start };
        let in_start_month = schedule.on_day(start);
        let mut steps = 0;
        schedule.first = in_start_month;
        while schedule.first < start {
            steps += 1;
            schedule.first = schedule.stepped(in_start_month, steps)?;
        }
        Ok(schedule)
    }

    /// The billing day in the month of `date`, clamped to the month's end.
    fn on_day(&self, date: Date) -> Date {
        let day = self.day.min(date.days_in_month());
        // The day exists in that month by the clamp, so the fallback is never taken.
        Date::new(date.year(), date.month(), day).unwrap_or(date)
    }

    /// `n` intervals after `from`, put back on the billing day when the interval counts months.
    fn stepped(&self, from: Date, n: i64) -> Result<Date, BillingDayError> {
        let out = || BillingDayError::Time(TimeError::OutOfRange(n));
        let (months, days) = self.interval.months_or_days();
        if months == 0 {
            let span = Span::new().try_days(days.checked_mul(n).ok_or_else(out)?);
            return from.checked_add(span.map_err(|_| out())?).map_err(|_| out());
        }
        let span = Span::new().try_months(months.checked_mul(n).ok_or_else(out)?);
        let month = from.first_of_month().checked_add(span.map_err(|_| out())?);
        month.map(|month| self.on_day(month)).map_err(|_| out())
    }

    /// The first billing day: the start itself, or the end of the stub.
    #[must_use]
    pub fn first_billing_day(&self) -> Date {
        self.first
    }

    /// Whether the first period is a stub.
    #[must_use]
    pub fn has_stub(&self) -> bool {
        self.first > self.start
    }

    /// Billing day `n`, counted from the first; negative ones lie before the start.
    ///
    /// # Errors
    /// When the date leaves the years that can be computed with.
    pub fn billing_day(&self, n: i64) -> Result<Date, BillingDayError> {
        self.stepped(self.first, n)
    }

    /// Period `n`; period 0 begins at the start and is the stub, if there is one.
    ///
    /// # Errors
    /// As [`BillingDaySchedule::billing_day`].
    pub fn period(&self, n: i64) -> Result<DateRange, BillingDayError> {
        if !self.has_stub() {
            return self.cycle(n);
        }
        let cycle = self.cycle(n.checked_sub(1).ok_or(TimeError::OutOfRange(n))?)?;
        Ok(if n == 0 { DateRange { start: self.start, ..cycle } } else { cycle })
    }

    /// The whole cycle between billing days `n` and `n` + 1.
    fn cycle(&self, n: i64) -> Result<DateRange, BillingDayError> {
        let next = n.checked_add(1).ok_or(TimeError::OutOfRange(n))?;
        Ok(DateRange { start: self.billing_day(n)?, end: self.billing_day(next)? })
    }

    /// Index of the period that holds `at`: how many periods have ended by then.
    ///
    /// # Errors
    /// [`BillingDayError::BeforeStart`], or as [`BillingDaySchedule::billing_day`].
    pub fn index_at(&self, at: Date) -> Result<i64, BillingDayError> {
        if at < self.start {
            return Err(BillingDayError::BeforeStart { at, start: self.start });
        }
        if at < self.first {
            return Ok(0);
        }
        let cycle = self.cycle_at(at)?;
        Ok(if self.has_stub() { cycle + 1 } else { cycle })
    }

    /// Index of the whole cycle that holds `at`, a day from the first billing day on.
    fn cycle_at(&self, at: Date) -> Result<i64, BillingDayError> {
        let (months, days) = self.interval.months_or_days();
        // A close guess from the calendar, then at most a few steps to the exact answer.
        let mut n = if months > 0 {
            let years = 12 * (i64::from(at.year()) - i64::from(self.first.year()));
            let rest = i64::from(at.month()) - i64::from(self.first.month());
            (years + rest).div_euclid(months)
        } else {
            days_between(self.first, at).div_euclid(days)
        };
        while self.billing_day(n)? > at {
            n -= 1;
        }
        while self.billing_day(n + 1)? <= at {
            n += 1;
        }
        Ok(n)
    }

    /// The period that holds `at`.
    ///
    /// # Errors
    /// As [`BillingDaySchedule::index_at`].
    pub fn period_at(&self, at: Date) -> Result<DateRange, BillingDayError> {
        self.period(self.index_at(at)?)
    }

    /// Days a whole cycle has in place of period `n`: for the stub, those of the cycle that ends
    /// with it.
    ///
    /// # Errors
    /// As [`BillingDaySchedule::billing_day`].
    pub fn full_days(&self, n: i64) -> Result<i64, BillingDayError> {
        let index = if self.has_stub() { n.checked_sub(1) } else { Some(n) };
        Ok(self.cycle(index.ok_or(TimeError::OutOfRange(n))?)?.days())
    }

    /// How many cycles lie between the start and `end`: the stub as days of the cycle that ends
    /// with it, whole cycles as one each, a last part as days of the cycle it begins.
    ///
    /// `fixed_days` replaces the days of each cycle that is cut (a bank month of 30); a part that
    /// has as many days counts as one cycle.
    ///
    /// # Errors
    /// [`BillingDayError::BeforeStart`], or as [`BillingDaySchedule::billing_day`].
    pub fn cycles_until(
        &self,
        end: Date,
        fixed_days: Option<i64>,
    ) -> Result<Exact, BillingDayError> {
        let last = self.index_at(end)?;
        let share = |n: i64, days: i64| -> Result<Exact, BillingDayError> {
            let all = match fixed_days {
                Some(all) => all,
                None => self.full_days(n)?,
            };
            Ok(Exact::ratio(i128::from(days), i128::from(all))?.at_most(&Exact::ONE))
        };
        let open = DateRange { start: self.period(last)?.start, end }.days();
        let mut cycles = if open == 0 { Exact::ZERO } else { share(last, open)? };
        if last > 0 {
            let first =
                if self.has_stub() { share(0, self.period(0)?.days())? } else { Exact::ONE };
            cycles = cycles.add(&first).add(&Exact::from(last - 1));
        }
        Ok(cycles)
    }
}

/// The day after `date`, for end dates that are written inclusively.
///
/// # Errors
/// [`TimeError::OutOfRange`] at the end of time.
pub fn day_after(date: Date) -> Result<Date, TimeError> {
    date.checked_add(1.day()).map_err(|_| TimeError::OutOfRange(i64::from(date.year())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::IntervalUnit;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn schedule(unit: IntervalUnit, day: i8, start: &str) -> BillingDaySchedule {
        BillingDaySchedule::new(Interval::one(unit), day, date(start)).unwrap()
    }

    #[test]
    fn a_passed_billing_day_gives_one_whole_interval() {
        for (unit, day, start, first) in [
            (IntervalUnit::Month, 15, "2024-01-01", "2024-01-15"),
            (IntervalUnit::Month, 15, "2024-01-15", "2024-01-15"),
            (IntervalUnit::Month, 15, "2024-01-16", "2024-02-15"),
            (IntervalUnit::Month, 31, "2024-02-10", "2024-02-29"),
            (IntervalUnit::Quarter, 10, "2021-01-01", "2021-01-10"),
            (IntervalUnit::Quarter, 10, "2021-01-11", "2021-04-10"),
            (IntervalUnit::Year, 1, "2021-01-10", "2022-01-01"),
        ] {
            let schedule = schedule(unit, day, start);
            assert_eq!(schedule.first_billing_day(), date(first), "{unit:?} {day} {start}");
        }
        assert!(
            BillingDaySchedule::new(Interval::one(IntervalUnit::Month), 0, date("2024-01-01"))
                .is_err()
        );
    }

    #[test]
    fn days_past_the_end_of_a_month_do_not_drift() {
        let schedule = schedule(IntervalUnit::Month, 31, "2024-01-31");
        let starts: Vec<String> =
            (0..4).map(|n| schedule.period(n).unwrap().start.to_string()).collect();
        assert_eq!(starts, ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]);
    }

    #[test]
    fn cut_cycles_count_by_the_cycle_they_belong_to() {
        let schedule = schedule(IntervalUnit::Month, 15, "2024-01-01");
        let cycles = |end: &str, fixed| schedule.cycles_until(date(end), fixed).unwrap();
        assert_eq!(cycles("2024-01-15", None), Exact::ratio(14, 31).unwrap());
        let whole = Exact::ratio(14, 31).unwrap().add(&Exact::ONE);
        assert_eq!(cycles("2024-02-15", None), whole);
        assert_eq!(cycles("2024-02-25", None), whole.add(&Exact::ratio(10, 29).unwrap()));
        assert_eq!(cycles("2024-01-15", Some(28)), Exact::ratio(1, 2).unwrap());
        assert!(schedule.cycles_until(date("2023-12-31"), None).is_err());
    }

    proptest! {
        #[test]
        fn periods_tile_and_are_found_again(
            offset in 0i64..20_000, day in 1i8..=31, unit in 0usize..6, n in 0i64..60, count in 1u32..4,
        ) {
            use IntervalUnit::{Day, HalfYear, Month, Quarter, Week, Year};
            let start = date("1990-01-01").checked_add(offset.days()).unwrap();
            let interval = Interval { unit: [Day, Week, Month, Quarter, HalfYear, Year][unit], count };
            let schedule = BillingDaySchedule::new(interval, day, start).unwrap();
            let period = schedule.period(n).unwrap();
            prop_assert!(period.start < period.end);
            prop_assert_eq!(schedule.period(n + 1).unwrap().start, period.end);
            prop_assert_eq!(schedule.index_at(period.start).unwrap(), n);
            let last = period.end.checked_sub(1.day()).unwrap();
            prop_assert_eq!(schedule.index_at(last).unwrap(), n);
            prop_assert_eq!(schedule.period(0).unwrap().start, start);
        }
    }
}
