//! Proration: which exact part of a period an interval is, on a named basis.

use counterfoil_types::{Exact, ExactError, Period, TimeError, Timestamp, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a part of a period is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProrationBasis {
    /// Elapsed time; a 23-hour day counts 23 hours.
    Second,
    /// Local calendar days; a 23-hour day counts as one. A day that is cut counts whole with the
    /// part that begins on it: the day of a plan change belongs to the new plan.
    Day,
    /// No proration: any part costs the whole.
    None,
}

/// Why no fraction could be given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProrationError {
    /// The period is empty.
    #[error("cannot prorate over the empty period {0}")]
    EmptyPeriod(Period),
    /// A number or date was out of range.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// A division failed.
    #[error(transparent)]
    Exact(#[from] ExactError),
}

/// Whole local days from the day of `from` to the day of `to`: the difference of local dates.
///
/// # Errors
/// [`TimeError`] when an instant is out of range.
pub fn local_days(from: Timestamp, to: Timestamp, zone: &Zone) -> Result<i64, TimeError> {
    let (from, to) = (zone.civil(from)?.date(), zone.civil(to)?.date());
    Ok(to.duration_since(from).as_hours() / 24)
}

/// The exact fraction of `period` that `part` (cut to the period) is.
///
/// # Errors
/// [`ProrationError::EmptyPeriod`], or when an instant is out of range.
pub fn fraction(
    part: &Period,
    period: &Period,
    basis: ProrationBasis,
    zone: &Zone,
) -> Result<Exact, ProrationError> {
    if period.is_empty() {
        return Err(ProrationError::EmptyPeriod(*period));
    }
    let inside = part.intersect(period);
    if inside.is_empty() {
        return Ok(Exact::ZERO);
    }
    Ok(match basis {
        ProrationBasis::None => Exact::ONE,
        ProrationBasis::Second => {
            Exact::ratio(i128::from(inside.micros()), i128::from(period.micros()))?
        }
        ProrationBasis::Day => {
            let all = local_days(period.start, period.end, zone)?;
            let some = local_days(inside.start, inside.end, zone)?;
            if all == 0 {
                // A period within one local day has no days to count; time is what is left.
                Exact::ratio(i128::from(inside.micros()), i128::from(period.micros()))?
            } else {
                Exact::ratio(i128::from(some), i128::from(all))?
            }
        }
    })
}

/// Units held for parts of `period`, each counted for the fraction it was held: 24 units from the
/// 26th of a month of 31 days are 24 × 6/31 (the day they came counts). What was held before the
/// period counts from its start, so units carried over count in full.
///
/// # Errors
/// As [`fraction`].
pub fn prorated_units(
    held: &[(Exact, Period)],
    period: &Period,
    basis: ProrationBasis,
    zone: &Zone,
) -> Result<Exact, ProrationError> {
    let mut total = Exact::ZERO;
    for (units, span) in held {
        total = total.add(&units.mul(&fraction(span, period, basis, zone)?));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use counterfoil_types::Rounding;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_and_seconds_differ_across_a_clock_change() {
        let zone: Zone = "America/New_York".parse().unwrap();
        let period = Period::new(at("2025-03-01T05:00:00Z"), at("2025-04-01T04:00:00Z"));
        let part = Period::new(at("2025-03-15T04:00:00Z"), at("2025-04-01T04:00:00Z"));
        let price = Exact::from(1000i64);
        let cost = |basis| {
            let part = fraction(&part, &period, basis, &zone).unwrap();
            price.mul(&part).round(2, Rounding::HalfAwayFromZero).to_string()
        };
        assert_eq!(cost(ProrationBasis::Second), "549.13"); // 408 of 743 hours
        assert_eq!(cost(ProrationBasis::Day), "548.39"); // 17 of 31 days
        assert_eq!(cost(ProrationBasis::None), "1000");
    }

    #[test]
    fn units_count_for_the_days_they_were_held() {
        let month = Period::new(at("2023-05-01T00:00:00Z"), at("2023-06-01T00:00:00Z"));
        let since = |text: &str| Period::new(at(text), month.end);
        let held = [
            (Exact::from(5i64), since("2023-03-01T00:00:00Z")),
            (Exact::from(24i64), since("2023-05-26T18:00:00Z")),
        ];
        let units = prorated_units(&held, &month, ProrationBasis::Day, &Zone::utc()).unwrap();
        assert_eq!(units.round(5, Rounding::Ceiling).to_string(), "9.64517");
    }

    #[test]
    fn parts_of_a_period_sum_to_one() {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        let period = Period::new(at("2026-03-01T00:00:00+01:00"), at("2026-04-01T00:00:00+02:00"));
        let cut = at("2026-03-29T12:34:56+02:00");
        for basis in [ProrationBasis::Second, ProrationBasis::Day] {
            let before = fraction(&Period::new(period.start, cut), &period, basis, &zone).unwrap();
            let after = fraction(&Period::new(cut, period.end), &period, basis, &zone).unwrap();
            assert_eq!(before.add(&after), Exact::ONE);
        }
    }

    #[test]
    fn what_lies_outside_is_nothing_and_an_empty_period_has_no_parts() {
        let zone = Zone::utc();
        let hour = |hour: u32| at(&format!("2026-03-10T{hour:02}:00:00Z"));
        let period = Period::new(hour(0), hour(8));
        let of = |part: Period, basis| fraction(&part, &period, basis, &zone).unwrap();
        for basis in [ProrationBasis::Second, ProrationBasis::Day, ProrationBasis::None] {
            assert_eq!(of(Period::new(hour(8), hour(9)), basis), Exact::ZERO);
            let empty = Period::new(hour(1), hour(1));
            let refused = fraction(&period, &empty, basis, &zone).unwrap_err();
            assert_eq!(refused, ProrationError::EmptyPeriod(empty));
        }
        // No midnight lies inside, so there are no days to count.
        let quarter = Period::new(hour(6), hour(9));
        assert_eq!(of(quarter, ProrationBasis::Day), Exact::ratio(1, 4).unwrap());
        let days = |to: &str| local_days(hour(23), at(to), &zone).unwrap();
        assert_eq!(days("2026-03-10T23:59:59Z"), 0);
        assert_eq!(days("2026-03-11T00:00:00Z"), 1);
        assert_eq!(days("2026-04-10T00:00:00Z"), 31);
    }
}
