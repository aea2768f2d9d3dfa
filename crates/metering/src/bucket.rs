//! Buckets of time: hours and days in UTC. A period is covered by whole days, then whole hours,
//! then the events of the hours its boundaries cut.

use counterfoil_types::{
    CustomerId, MeterKey, Period, Timestamp,
    timestamp::{DAY_MICROS, HOUR_MICROS},
};

use crate::group::GroupKey;

/// Width of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// One hour.
    Hour,
    /// 24 hours from midnight UTC.
    Day,
}

impl Level {
    /// Width in microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        match self {
            Self::Hour => HOUR_MICROS,
            Self::Day => DAY_MICROS,
        }
    }

    /// Number used in storage.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Hour => 0,
            Self::Day => 1,
        }
    }
}

/// One aggregate: whose, by which meter, which group, when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketKey {
    /// Whose usage.
    pub customer: CustomerId,
    /// By which meter.
    pub meter: MeterKey,
    /// In which group.
    pub group: GroupKey,
    /// Width.
    pub level: Level,
    /// Start.
    pub start: Timestamp,
}

impl BucketKey {
    /// The bucket as a period.
    #[must_use]
    pub fn period(&self) -> Period {
        Period::new(self.start, self.start.plus_micros(self.level.micros()))
    }
}

/// How a period is covered: disjoint, and together exactly the period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whole UTC days (may be empty).
    pub days: Period,
    /// Whole hours before and after them.
    pub hours: Vec<Period>,
    /// What is left within hours that a boundary cuts.
    pub cuts: Vec<Period>,
}

fn ceil(at: Timestamp, width: i64) -> Timestamp {
    let floor = at.bucket(width);
    if floor == at { at } else { floor.plus_micros(width) }
}

impl Span {
    /// Covers `period`.
    #[must_use]
    pub fn of(period: &Period) -> Self {
        let empty = Period::new(period.start, period.start);
        let mut span = Self { days: empty, hours: Vec::new(), cuts: Vec::new() };
        if period.is_empty() {
            return span;
        }
        let hours = Period::new(ceil(period.start, HOUR_MICROS), period.end.bucket(HOUR_MICROS));
        if hours.start > hours.end {
            // Both boundaries cut the same hour.
            span.cuts.push(*period);
            return span;
        }
        let mut push = |list: bool, part: Period| {
            if !part.is_empty() {
                if list { span.hours.push(part) } else { span.cuts.push(part) }
            }
        };
        push(false, Period::new(period.start, hours.start));
        push(false, Period::new(hours.end, period.end));
        let days = Period::new(ceil(hours.start, DAY_MICROS), hours.end.bucket(DAY_MICROS));
        if days.start >= days.end {
            push(true, hours);
        } else {
            push(true, Period::new(hours.start, days.start));
            push(true, Period::new(days.end, hours.end));
            span.days = days;
        }
        span
    }

    /// All whole hours, those inside whole days included (for members of unique counts, which are
    /// kept by hour only).
    #[must_use]
    pub fn all_hours(&self, period: &Period) -> Period {
        let start = ceil(period.start, HOUR_MICROS);
        Period::new(start, period.end.bucket(HOUR_MICROS).max(start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_covers_its_period_exactly_once(
            start in -200_000_000_000i64..200_000_000_000,
            length in 0i64..400_000_000_000,
        ) {
            let period = Period::new(
                Timestamp::from_micros(start), Timestamp::from_micros(start + length));
            let span = Span::of(&period);
            let mut parts: Vec<Period> = span.hours.iter().chain(&span.cuts).copied().collect();
            if !span.days.is_empty() { parts.push(span.days); }
            parts.sort();
            let mut at = period.start;
            for part in &parts {
                prop_assert_eq!(part.start, at);
                at = part.end;
            }
            prop_assert_eq!(at, period.end);
            for hour in &span.hours {
                prop_assert_eq!(hour.start.micros() % HOUR_MICROS, 0);
                prop_assert_eq!(hour.end.micros() % HOUR_MICROS, 0);
            }
            prop_assert_eq!(span.days.micros() % DAY_MICROS, 0);
            for cut in &span.cuts {
                prop_assert!(cut.micros() < HOUR_MICROS);
            }
        }
    }
}
