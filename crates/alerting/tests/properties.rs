//! What holds of every series, limit and rule.

#![cfg(test)]

use counterfoil_alerting::{
    anomaly::{self, Method},
    change, forecast,
    rule::{Direction, Severity},
    series::{mean, median, root, variance},
    threshold::{percent_of, reached_percent},
};
use counterfoil_types::{Exact, Period, Quantity, Timestamp, timestamp::DAY_MICROS};
use proptest::prelude::*;

fn exact(value: i64) -> Exact {
    Exact::from(value).mul(&Exact::unit(2))
}

fn series(values: &[i64]) -> Vec<Exact> {
    values.iter().map(|value| exact(*value)).collect()
}

fn whole(values: &[i64]) -> Vec<Exact> {
    values.iter().map(|value| Exact::from(*value)).collect()
}

fn three() -> Method {
    Method::Deviations(Quantity::from(3_u32))
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
    fn a_root_is_the_greatest_that_fits(value in 0_i64..1_000_000_000_000) {
        let square = exact(value);
        let found = root(&square);
        prop_assert!(found.mul(&found) <= square);
        let next = found.add(&Exact::unit(3));
        prop_assert!(next.mul(&next) > square);
    }

    #[test]
    fn a_day_within_the_range_of_steady_days_is_never_odd(
        days in prop::collection::vec(0_i64..100_000, 7..60), pick in 0_usize..60,
    ) {
        // A value that is the mean itself is never odd, nor is a constant series' own value.
        let history = series(&days);
        let usual = mean(&history).unwrap();
        prop_assert_eq!(anomaly::judge(&three(), &history, &usual, true), None);
        let constant = vec![history[pick % history.len()].clone(); 20];
        prop_assert_eq!(anomaly::judge(&three(), &constant, &constant[0], true), None);
    }

    #[test]
    fn what_is_odd_stays_odd_further_out(
        days in prop::collection::vec(1_i64..100_000, 7..40), value in 0_i64..10_000_000,
        further in 1_i64..10_000_000,
    ) {
        let history = series(&days);
        let usual = mean(&history).unwrap();
        let value = usual.add(&exact(value));
        if let Some(found) = anomaly::judge(&three(), &history, &value, false) {
            prop_assert!(found.value > usual);
            prop_assert!(found.why.contains("standard deviations above"));
            let beyond = value.add(&exact(further));
            prop_assert!(anomaly::judge(&three(), &history, &beyond, false).is_some());
        }
    }

    #[test]
    fn scale_does_not_matter(
        days in prop::collection::vec(0_i64..10_000, 7..40), value in 0_i64..1_000_000,
        by in 1_i64..1_000,
    ) {
        let scaled: Vec<i64> = days.iter().map(|day| day * by).collect();
        let plain = anomaly::judge(&three(), &series(&days), &exact(value), true);
        let grown = anomaly::judge(&three(), &series(&scaled), &exact(value * by), true);
        prop_assert_eq!(plain.is_some(), grown.is_some());
    }

    #[test]
    fn the_median_has_as_many_below_as_above(days in prop::collection::vec(-1_000_i64..1_000, 1..40)) {
        let values = series(&days);
        let middle = median(&values).unwrap();
        let below = values.iter().filter(|value| **value < middle).count();
        let above = values.iter().filter(|value| **value > middle).count();
        prop_assert!(below * 2 <= values.len() && above * 2 <= values.len());
        prop_assert!(!variance(&values, &mean(&values).unwrap()).is_negative());
    }

    #[test]
    fn a_forecast_lies_within_its_interval(
        days in prop::collection::vec(0_i64..100_000, 3..30), today in 0_i64..100_000,
        left in 1_i64..30, limit in 1_i64..10_000_000,
    ) {
        let start = Timestamp::from_micros(1_760_000_000_000_000);
        let passed = i64::try_from(days.len()).unwrap();
        let now = start.plus_micros(passed * DAY_MICROS + 1);
        let period = Period::new(start, now.plus_micros(left * DAY_MICROS));
        let used = series(&days).iter().sum::<Exact>().add(&exact(today));
        let found = forecast::of(&used, &series(&days), &period, now).unwrap();
        prop_assert!(found.low <= found.expected && found.expected <= found.high);
        prop_assert!(found.low >= used, "what was used stays used");
        if let Some(at) = found.passes(&exact(limit), &used, &period, now) {
            prop_assert!(at > now && at < period.end);
            prop_assert!(used < exact(limit));
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
    }
}

#[test]
fn anomalies_explain_themselves() {
    let days = whole(&[100, 110, 90, 105, 95, 100, 100]);
    let found = anomaly::judge(&three(), &days, &Exact::from(400_i64), false).unwrap();
    assert_eq!(
        found.why,
        "400 is 50.199 standard deviations above the mean of 100 over the 7 days before (deviation 5.976, 3 are allowed)"
    );
    let times = Method::TimesMedian(Quantity::from(3_u32));
    let found = anomaly::judge(&times, &days, &Exact::from(300_i64), false).unwrap();
    assert_eq!(
        found.why,
        "300 is 3 times the median of 100 over the 7 days before (3 times are told of)"
    );
    // Too little counts once the day is over.
    assert!(anomaly::judge(&three(), &days, &Exact::ZERO, false).is_none());
    assert!(anomaly::judge(&three(), &days, &Exact::ZERO, true).is_some());
}

#[test]
fn little_history_constant_days_and_nothing_at_all_are_no_anomalies() {
    let big = Exact::from(1_000_000_i64);
    assert!(anomaly::judge(&three(), &[], &big, true).is_none());
    assert!(anomaly::judge(&three(), &whole(&[5; 6]), &big, true).is_none());
    assert!(anomaly::judge(&three(), &whole(&[0; 30]), &big, true).is_none());
    // Days before the first use are no history.
    let mut young = whole(&[0; 24]);
    young.extend(whole(&[5; 6]));
    assert!(anomaly::judge(&three(), &young, &big, true).is_none());
    // A series that never moved: a twentieth of it counts as a deviation.
    let steady = whole(&[100; 20]);
    assert!(anomaly::judge(&three(), &steady, &Exact::from(115_i64), true).is_none());
    assert!(anomaly::judge(&three(), &steady, &Exact::from(116_i64), true).is_some());
    let times = Method::TimesMedian(Quantity::from(2_u32));
    assert!(
        anomaly::judge(&times, &whole(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), &big, true).is_none()
    );
}

#[test]
fn a_forecast_names_the_day_a_limit_is_passed() {
    let start: Timestamp = "2026-10-01T00:00:00Z".parse().unwrap();
    let period = Period::new(start, "2026-11-01T00:00:00Z".parse().unwrap());
    let now: Timestamp = "2026-10-11T00:00:00Z".parse().unwrap();
    let (days, used) = (whole(&[100; 10]), Exact::from(1_000_i64));
    let found = forecast::of(&used, &days, &period, now).unwrap();
    assert_eq!(found.expected, Exact::from(3_100_i64));
    assert_eq!((&found.low, &found.high), (&found.expected, &found.expected));
    let limit = Exact::from(2_250_i64);
    let at = found.passes(&limit, &used, &period, now).unwrap();
    assert_eq!(at, "2026-10-23T12:00:00Z".parse().unwrap());
    assert_eq!(found.passes(&Exact::from(4_000_i64), &used, &period, now), None);
    assert!(forecast::of(&used, &days[..2], &period, now).is_none());
    assert_eq!(Severity::of_percent(Quantity::from(90_u32)), Severity::Critical);
}
