//! A series of days: mean, deviation, median. Exact but for roots, which are only shown.

use counterfoil_types::Exact;

/// The mean; `None` of an empty series.
#[must_use]
pub fn mean(values: &[Exact]) -> Option<Exact> {
    let count = u64::try_from(values.len()).ok()?;
    values.iter().sum::<Exact>().div(&Exact::from(count)).ok()
}

/// The mean squared deviation from `mean`.
#[must_use]
pub fn variance(values: &[Exact], mean: &Exact) -> Exact {
    let count = u64::try_from(values.len()).unwrap_or(u64::MAX);
    let squares = values.iter().fold(Exact::ZERO, |sum, value| {
        let off = value.sub(mean);
        sum.add(&off.mul(&off))
    });
    squares.div(&Exact::from(count)).unwrap_or(Exact::ZERO)
}

/// The median; `None` of an empty series.
#[must_use]
pub fn median(values: &[Exact]) -> Option<Exact> {
    let mut sorted: Vec<&Exact> = values.iter().collect();
    sorted.sort();
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper.clone());
    }
    let lower = *sorted.get(middle.checked_sub(1)?)?;
    lower.add(upper).div(&Exact::from(2_u64)).ok()
}

/// The square root, rounded down to three decimals where it has so few digits; for what is shown.
#[must_use]
pub fn root(value: &Exact) -> Exact {
    if !value.is_positive() {
        return Exact::ZERO;
    }
    // (root · 10^n)² = value · 10^2n: fewer decimals for numbers that would not fit.
    for decimals in (-18..=3).rev() {
        let scaled = value.div(&Exact::unit(2 * decimals)).ok().and_then(|s| s.floor().to_i128());
        if let Some(root) = scaled.map(i128::isqrt) {
            return Exact::from_i128(root).mul(&Exact::unit(decimals));
        }
    }
    Exact::ZERO
}
