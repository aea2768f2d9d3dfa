//! A series step by step: each step against the one before it, and the highest steps.

use counterfoil_types::{Exact, Rounding};

/// Decimals of a change in percent.
const DECIMALS: i32 = 2;

/// A step against the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// This step.
    pub value: Exact,
    /// The step before; absent for the first.
    pub previous: Option<Exact>,
    /// Change in percent of the step before, to two decimals; absent where that was nothing, since
    /// no percentage leads from nothing to something.
    pub percent: Option<Exact>,
}

/// By how many percent of `before` `now` differs; `None` where `before` is nothing.
#[must_use]
pub fn percent(before: &Exact, now: &Exact) -> Option<Exact> {
    let by = now.sub(before).div(&before.abs()).ok()?;
    Some(by.mul(&Exact::from(100_u64)).round(DECIMALS, Rounding::HalfAwayFromZero))
}

/// Each of `values` against the one before it; the first against `before`.
#[must_use]
pub fn changes(before: Option<&Exact>, values: &[Exact]) -> Vec<Change> {
    let mut previous = before.cloned();
    let mut found = Vec::with_capacity(values.len());
    for value in values {
        let change = Change {
            value: value.clone(),
            percent: previous.as_ref().and_then(|previous| percent(previous, value)),
            previous,
        };
        previous = Some(value.clone());
        found.push(change);
    }
    found
}

/// Places of the `top` highest values, the highest first, of equal ones the earlier first. Steps
/// without anything are no peaks.
#[must_use]
pub fn peaks(values: &[Exact], top: usize) -> Vec<usize> {
    let mut places: Vec<usize> = values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_positive())
        .map(|(at, _)| at)
        .collect();
    places.sort_by(|a, b| values.get(*b).cmp(&values.get(*a)).then(a.cmp(b)));
    places.truncate(top);
    places
}
