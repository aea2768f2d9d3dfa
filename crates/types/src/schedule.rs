//! Billing periods: boundary n = anchor + n × interval in the customer's zone, computed from the
//! anchor each time and clamped to the month's end (31 Jan → 28/29 Feb → 31 Mar).

use std::fmt;

use jiff::{Span, ToSpan, civil};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    period::Period,
    timestamp::{TimeError, Timestamp},
    zone::Zone,
};

/// The unit of a billing interval.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum IntervalUnit {
    /// Local calendar days.
    Day,
    /// Weeks of seven local days.
    Week,
    /// Months.
    Month,
    /// Three months.
    Quarter,
    /// Six months.
    HalfYear,
    /// Twelve months.
    Year,
}

/// `count` units, for example every 2 weeks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Interval {
    /// The unit.
    pub unit: IntervalUnit,
    /// How many of it; at least 1.
    pub count: u32,
}

/// Why a schedule could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Interval of zero or absurd length.
    #[error("a billing interval must be between 1 and 1200 units, not {0}")]
    BadCount(u32),
    /// A date left the years that can be computed with.
    #[error(transparent)]
    Time(#[from] TimeError),
}

impl Interval {
    /// One of `unit`.
    #[must_use]
    pub const fn one(unit: IntervalUnit) -> Self {
        Self { unit, count: 1 }
    }

    pub(crate) fn months_or_days(self) -> (i64, i64) {
        let count = i64::from(self.count);
        match self.unit {
            IntervalUnit::Day => (0, count),
            IntervalUnit::Week => (0, 7 * count),
            IntervalUnit::Month => (count, 0),
            IntervalUnit::Quarter => (3 * count, 0),
            IntervalUnit::HalfYear => (6 * count, 0),
            IntervalUnit::Year => (12 * count, 0),
        }
    }

    /// `n` intervals after `anchor` on the local calendar, clamped to the month's end.
    ///
    /// # Errors
    /// When the date leaves the years −9999 to 9999.
    pub fn after(self, anchor: civil::DateTime, n: i64) -> Result<civil::DateTime, ScheduleError> {
        let out = || ScheduleError::Time(TimeError::OutOfRange(n));
        let (months, days) = self.months_or_days();
        let total = |each: i64| each.checked_mul(n).ok_or_else(out);
        let span = if months > 0 {
            Span::new().try_months(total(months)?)
        } else {
            Span::new().try_days(total(days)?)
        };
        anchor.checked_add(span.map_err(|_| out())?).map_err(|_| out())
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            IntervalUnit::Day => "day",
            IntervalUnit::Week => "week",
            IntervalUnit::Month => "month",
            IntervalUnit::Quarter => "quarter",
            IntervalUnit::HalfYear => "half-year",
            IntervalUnit::Year => "year",
        };
        if self.count == 1 { f.write_str(unit) } else { write!(f, "{} {unit}s", self.count) }
    }
}

/// A stretch of the calendar: months and days move the local date, time moves the instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CalendarSpan {
    /// Months; the day of the month is clamped to the month's end.
    pub months: i64,
    /// Local days; a day of 23 or 25 hours is one.
    pub days: i64,
    /// Microseconds of elapsed time.
    pub micros: i64,
}

impl CalendarSpan {
    /// The instant this span after `at`: first the months, then the days, both on the calendar of
    /// `zone` with the local time of day kept, then the elapsed time. The first instant of a day
    /// counts as its midnight, also where clocks jump over that midnight.
    ///
    /// # Errors
    /// When the date leaves the years that can be computed with.
    pub fn after(self, at: Timestamp, zone: &Zone) -> Result<Timestamp, ScheduleError> {
        let out = || ScheduleError::Time(TimeError::OutOfRange(at.micros()));
        let moved = if self.months == 0 && self.days == 0 {
            at
        } else {
            let months = Span::new().try_months(self.months).map_err(|_| out())?;
            let days = Span::new().try_days(self.days).map_err(|_| out())?;
            let local = zone.civil(at)?;
            let midnight = local.date().at(0, 0, 0, 0);
            let local = if zone.instant(midnight)? == at { midnight } else { local };
            let local = local.checked_add(months).map_err(|_| out())?;
            zone.instant(local.checked_add(days).map_err(|_| out())?)?
        };
        moved.micros().checked_add(self.micros).map(Timestamp::from_micros).ok_or_else(out)
    }
}

/// The grid of periods of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Length of a period.
    pub interval: Interval,
    /// Local date and time of boundary 0.
    pub anchor: civil::DateTime,
    /// The zone the anchor is read in.
    pub zone: Zone,
    /// Day of the month boundaries lie on where months are counted, clamped to the month's end;
    /// the anchor's own day when absent. The anchor's month may be too short for it.
    pub day: Option<i8>,
}

impl Schedule {
    /// A schedule anchored at a local date and time.
    ///
    /// # Errors
    /// [`ScheduleError::BadCount`].
    pub fn new(
        interval: Interval,
        anchor: civil::DateTime,
        zone: Zone,
    ) -> Result<Self, ScheduleError> {
        if interval.count == 0 || interval.count > 1200 {
            return Err(ScheduleError::BadCount(interval.count));
        }
        Ok(Self { interval, anchor, zone, day: None })
    }

    /// The same with boundaries on this day of the month.
    #[must_use]
    pub fn on_day(self, day: i8) -> Self {
        Self { day: Some(day), ..self }
    }

    /// A schedule on the calendar grid: months start on the 1st, weeks on Monday, quarters and
    /// half-years and years in January. `at` picks the grid when `count` is above 1.
    ///
    /// # Errors
    /// As [`Schedule::new`], or when `at` is out of range.
    pub fn calendar(interval: Interval, at: Timestamp, zone: Zone) -> Result<Self, ScheduleError> {
        let date = zone.civil(at)?.date();
        let first_of = |month: i8| civil::Date::new(date.year(), month, 1);
        let month = date.month();
        let aligned = match interval.unit {
            IntervalUnit::Day => Ok(date),
            IntervalUnit::Week => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_sub(back.days())
            }
            IntervalUnit::Month => first_of(month),
            IntervalUnit::Quarter => first_of((month - 1) / 3 * 3 + 1),
            IntervalUnit::HalfYear => first_of((month - 1) / 6 * 6 + 1),
            IntervalUnit::Year => first_of(1),
        };
        let aligned = aligned.map_err(|_| TimeError::OutOfRange(at.micros()))?;
        Self::new(interval, aligned.at(0, 0, 0, 0), zone)
    }

    /// Boundary `n`: the instant where period `n` starts (and period `n − 1` ends).
    ///
    /// # Errors
    /// When the date leaves the years that can be computed with.
    pub fn boundary(&self, n: i64) -> Result<Timestamp, ScheduleError> {
        Ok(self.zone.instant(self.local_boundary(n)?)?)
    }

    /// The wall-clock reading of boundary `n`.
    ///
    /// # Errors
    /// As [`Schedule::boundary`].
    pub fn local_boundary(&self, n: i64) -> Result<civil::DateTime, ScheduleError> {
        let local = self.interval.after(self.anchor, n)?;
        if let Some(day) = self.day
            && self.interval.months_or_days().0 > 0
        {
            let clamped = day.clamp(1, local.date().days_in_month());
            let moved = local.date().with().day(clamped).build();
            return Ok(moved.map_err(|_| TimeError::OutOfRange(n))?.to_datetime(local.time()));
        }
        Ok(local)
    }

    /// Period `n`.
    ///
    /// # Errors
    /// As [`Schedule::boundary`].
    pub fn period(&self, n: i64) -> Result<Period, ScheduleError> {
        let next = n.checked_add(1).ok_or(TimeError::OutOfRange(n))?;
        Ok(Period::new(self.boundary(n)?, self.boundary(next)?))
    }

    /// Index of the period that holds `at` (negative before the anchor).
    ///
    /// # Errors
    /// As [`Schedule::boundary`].
    pub fn index_at(&self, at: Timestamp) -> Result<i64, ScheduleError> {
        let local = self.zone.civil(at)?.date();
        let anchor = self.anchor.date();
        let (months, days) = self.interval.months_or_days();
        // A close guess from the calendar, then at most a few steps to the exact answer.
        let mut n = if months > 0 {
            let year_months = 12 * (i64::from(local.year()) - i64::from(anchor.year()));
            let rest = i64::from(local.month()) - i64::from(anchor.month());
            (year_months + rest).div_euclid(months)
        } else {
            let between = local.duration_since(anchor).as_hours() / 24;
            between.div_euclid(days)
        };
        while self.boundary(n)? > at {
            n -= 1;
        }
        while self.boundary(n + 1)? <= at {
            n += 1;
        }
        Ok(n)
    }

    /// The last boundary before `at`; `at` itself counts when `inclusive`.
    ///
    /// # Errors
    /// As [`Schedule::boundary`].
    pub fn boundary_before(
        &self,
        at: Timestamp,
        inclusive: bool,
    ) -> Result<Timestamp, ScheduleError> {
        let last = at.plus_micros(if inclusive { 0 } else { -1 });
        self.boundary(self.index_at(last)?)
    }

    /// The first boundary after `at`; `at` itself counts when `inclusive`.
    ///
    /// # Errors
    /// As [`Schedule::boundary`].
    pub fn boundary_after(
        &self,
        at: Timestamp,
        inclusive: bool,
    ) -> Result<Timestamp, ScheduleError> {
        let last = at.plus_micros(if inclusive { -1 } else { 0 });
        let next = self.index_at(last)?.checked_add(1).ok_or(TimeError::OutOfRange(at.micros()))?;
        self.boundary(next)
    }

    /// The period that holds `at`.
    ///
    /// # Errors
    /// As [`Schedule::boundary`].
    pub fn period_at(&self, at: Timestamp) -> Result<Period, ScheduleError> {
        self.period(self.index_at(at)?)
    }
}

#[cfg(test)]
mod tests;
