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
    /// Local calendar days; a 23-hour day counts as one. A day that is cut counts with the part
    /// that holds its first instant.
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
}
