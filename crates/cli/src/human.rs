//! Numbers and times a person can read: 1.25M requests, 45.2 GB-hours, 2026-10-01 00:00.

use counterfoil_types::{Exact, Period, Rounding, Timestamp, Zone};

const STEPS: [(i128, &str); 3] = [(1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")];

/// A quantity, shortened: at most three significant decimals, K, M and B above ten thousand.
pub(crate) fn quantity(value: &Exact) -> String {
    let magnitude = value.abs();
    if magnitude >= Exact::from_i128(10_000) {
        for (step, letter) in STEPS {
            let step = Exact::from_i128(step);
            if magnitude >= step
                && let Ok(scaled) = value.div(&step)
            {
                return format!("{}{letter}", scaled.round(2, Rounding::HalfAwayFromZero));
            }
        }
    }
    value.round(3, Rounding::HalfAwayFromZero).to_string()
}

/// An instant as a wall-clock reading in a zone, to the minute.
pub(crate) fn instant(at: Timestamp, zone: &Zone) -> String {
    match zone.civil(at) {
        Ok(local) => local.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => at.to_string(),
    }
}

/// A half-open period in a zone.
pub(crate) fn period(period: &Period, zone: &Zone) -> String {
    format!("{} – {}", instant(period.start, zone), instant(period.end, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_shortened_without_lying() {
        for (value, shown) in [
            ("1250000", "1.25M"),
            ("45.2", "45.2"),
            ("45600", "45.6K"),
            ("8900", "8900"),
            ("156.8", "156.8"),
            ("0.00051", "0.001"),
            ("-20000", "-20K"),
            ("999999999999", "1000B"),
        ] {
            assert_eq!(quantity(&Exact::parse(value).unwrap()), shown);
        }
    }
}
