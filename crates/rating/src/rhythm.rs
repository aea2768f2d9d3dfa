//! Rhythms inside a plan: a fee, a phase or a commitment has a length of its own, which must fit
//! the grid of the plan's periods.

use counterfoil_types::{Interval, IntervalUnit};

use crate::spec::SpecError;

/// Months or days of an interval; one of the two is zero.
#[must_use]
pub fn months_and_days(interval: Interval) -> (u64, u64) {
    let count = u64::from(interval.count);
    match interval.unit {
        IntervalUnit::Day => (0, count),
        IntervalUnit::Week => (0, 7 * count),
        IntervalUnit::Month => (count, 0),
        IntervalUnit::Quarter => (3 * count, 0),
        IntervalUnit::HalfYear => (6 * count, 0),
        IntervalUnit::Year => (12 * count, 0),
    }
}

/// How many intervals of the plan make one of `own`; `None` when they do not fit, because one
/// counts days and the other months, or no whole number does.
#[must_use]
pub fn periods_in(own: Interval, plan: Interval) -> Option<u64> {
    let ((own_months, own_days), (months, days)) = (months_and_days(own), months_and_days(plan));
    let (own, plan) = if months > 0 { (own_months, months) } else { (own_days, days) };
    (own > 0 && plan > 0 && own % plan == 0).then(|| own / plan)
}

/// Reads `interval` and `interval_count`.
///
/// # Errors
/// When the count is zero or absurd.
pub(crate) fn interval(unit: IntervalUnit, count: Option<u32>) -> Result<Interval, SpecError> {
    let count = count.unwrap_or(1);
    if count == 0 || count > 1200 {
        return Err(SpecError::new("interval_count", "must lie between 1 and 1200"));
    }
    Ok(Interval { unit, count })
}

/// The same, as a whole multiple of the plan's interval.
///
/// # Errors
/// When it is none.
pub(crate) fn fitting(own: Interval, plan: Interval) -> Result<Interval, SpecError> {
    if periods_in(own, plan).is_none() {
        return Err(SpecError::new(
            "interval",
            format!(
                "{own} is no whole multiple of the plan's interval ({plan}); months go with months, days with days"
            ),
        ));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fit_the_grid_or_do_not() {
        let of = |unit, count| Interval { unit, count };
        let (day, week, month) = (IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month);
        let year = of(IntervalUnit::Year, 1);
        assert_eq!(periods_in(year, of(month, 1)), Some(12));
        assert_eq!(periods_in(year, of(month, 5)), None);
        assert_eq!(periods_in(of(week, 2), of(day, 1)), Some(14));
        assert_eq!(periods_in(year, of(week, 1)), None);
        assert_eq!(periods_in(of(week, 1), of(month, 1)), None);
    }
}
