//! Which thresholds usage has passed.

use counterfoil_types::{Exact, Quantity};

/// The amount that so many percent of a limit are.
#[must_use]
pub fn share(limit: &Exact, percent: Quantity) -> Exact {
    limit.mul(&percent.exact()).mul(&Exact::unit(2))
}

/// The thresholds that `value` has reached, in ascending order.
#[must_use]
pub fn reached(thresholds: &[Quantity], value: &Exact) -> Vec<Quantity> {
    let mut found: Vec<Quantity> =
        thresholds.iter().copied().filter(|threshold| *value >= threshold.exact()).collect();
    found.sort_unstable();
    found
}

/// The percentages of `limit` that `used` has reached, in ascending order; none of a limit that is
/// not above zero, for which no percentage means anything.
#[must_use]
pub fn reached_percent(percentages: &[Quantity], used: &Exact, limit: &Exact) -> Vec<Quantity> {
    if !limit.is_positive() {
        return Vec::new();
    }
    let mut found: Vec<Quantity> =
        percentages.iter().copied().filter(|percent| *used >= share(limit, *percent)).collect();
    found.sort_unstable();
    found
}

/// `used` in percent of `limit`, to one decimal, for people.
#[must_use]
pub fn percent_of(used: &Exact, limit: &Exact) -> Exact {
    let hundred = Exact::from(100_u64);
    let percent = used.mul(&hundred).div(limit).unwrap_or(Exact::ZERO);
    // Towards zero: 99.96 % is not 100 % yet.
    let tenths = percent.mul(&Exact::from(10_u64));
    let whole = if tenths.is_negative() { tenths.ceil() } else { tenths.floor() };
    whole.mul(&Exact::unit(1))
}
