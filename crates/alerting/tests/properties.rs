//! What holds of every limit and rule.

#![cfg(test)]

use counterfoil_alerting::{
    change,
    rule::{Direction, Severity},
    threshold::{percent_of, reached_percent},
};
use counterfoil_types::{Exact, Quantity};
use proptest::prelude::*;

fn exact(value: i64) -> Exact {
    Exact::from(value).mul(&Exact::unit(2))
}

proptest! {
#[test]
fn more_usage_never_reaches_fewer_thresholds(
    limit in 1_i64..1_000_000, used in 0_i64..2_000_000, more in 0_i64..1_000_000,
) {
    let percentages: Vec<Quantity> =
        [75_u32, 80, 90, 95, 100].into_iter().map(Quantity::from).collect();
    let before = reached_percent(&percentages, &exact(used), &exact(limit));
    let after = reached_percent(&percentages, &exact(used + more), &exact(limit));
    prop_assert!(after.starts_with(&before));
    // Shown percentages never claim more than was reached.
    let shown = percent_of(&exact(used), &exact(limit));
    for percent in &percentages {
        if shown >= percent.exact() {
            prop_assert!(before.contains(percent));
        }
    }
}


#[test]
fn a_change_counts_from_its_percentage_on(before in 1_i64..1_000_000, percent in 1_u32..500) {
    let rise = before * i64::from(percent);
    let at = vec![exact(before * 100), exact(before * 100 + rise)];
    let short = vec![exact(before * 100), exact(before * 100 + rise - 1)];
    let wanted = Quantity::from(percent);
    prop_assert!(change::judge(&at, 1, wanted, Direction::Up).is_some());
    prop_assert!(change::judge(&short, 1, wanted, Direction::Up).is_none());
    prop_assert!(change::judge(&at, 1, wanted, Direction::Down).is_none());
}}

#[test]
fn nine_tenths_are_critical() {
    assert_eq!(Severity::of_percent(Quantity::from(90_u32)), Severity::Critical);
}
