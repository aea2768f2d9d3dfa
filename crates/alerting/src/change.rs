//! Some days against the same number of days before them.

use counterfoil_types::{Exact, Quantity};

use crate::{rule::Direction, threshold::share};

/// A change that is to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What the later days came to.
    pub now: Exact,
    /// What the earlier days came to.
    pub before: Exact,
    /// In words, with the numbers.
    pub why: String,
}

/// Whether the last `days` of a series (oldest day first) changed by `percent` or more against the
/// `days` before them. Nothing follows from a series that is shorter, or from nothing.
#[must_use]
pub fn judge(
    series: &[Exact],
    days: u16,
    percent: Quantity,
    direction: Direction,
) -> Option<Change> {
    let days = usize::from(days);
    let middle = series.len().checked_sub(days)?;
    let start = middle.checked_sub(days)?;
    let before: Exact = series.get(start..middle)?.iter().sum();
    let now: Exact = series.get(middle..)?.iter().sum();
    if !before.is_positive() {
        return None;
    }
    let by = now.sub(&before);
    let wanted = match direction {
        Direction::Up => !by.is_negative(),
        Direction::Down => by.is_negative(),
        Direction::Either => true,
    };
    if !wanted || by.abs() < share(&before, percent) {
        return None;
    }
    let by_percent = crate::threshold::percent_of(&by.abs(), &before);
    let way = if by.is_negative() { "less" } else { "more" };
    Some(Change {
        why: format!(
            "{now} in the last {days} days is {by_percent} % {way} than the {before} of the {days} days before them"
        ),
        now,
        before,
    })
}
