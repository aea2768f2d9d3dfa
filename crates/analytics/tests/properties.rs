//! What holds of every series.

#![cfg(test)]

use counterfoil_analytics::{
    Percentiles,
    anomaly::{self, Method},
    forecast,
    series::{mean, median, root, variance},
    trend,
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
    fn percentiles_are_values_that_so_many_percent_do_not_exceed(
        values in prop::collection::vec(-1_000_i64..100_000, 1..300),
    ) {
        let mut all = Percentiles::default();
        for value in series(&values) {
            all.add(value);
        }
        let found = all.spread().unwrap();
        prop_assert!(found.exact);
        for (percent, at) in [(50, &found.p50), (95, &found.p95), (99, &found.p99)] {
            let below = series(&values).iter().filter(|value| *value <= at).count();
            let under = series(&values).iter().filter(|value| *value < at).count();
            prop_assert!(below * 100 >= values.len() * percent);
            prop_assert!(under * 100 < values.len() * percent.max(1));
        }
        let all = series(&values);
        prop_assert_eq!(Some(&found.max), all.iter().max());
        prop_assert_eq!(Some(&found.min), all.iter().min());
    }

    #[test]
    fn a_sketch_lies_within_one_percent_of_the_exact_answer(
        values in prop::collection::vec(1_i64..100_000_000, 200..1_000),
    ) {
        let (mut exactly, mut sketched) = (Percentiles::default(), Percentiles::exact_up_to(100));
        for value in series(&values) {
            exactly.add(value.clone());
            sketched.add(value);
        }
        let (exactly, sketched) = (exactly.spread().unwrap(), sketched.spread().unwrap());
        prop_assert!(!sketched.exact);
        prop_assert_eq!((&exactly.min, &exactly.max), (&sketched.min, &sketched.max));
        let mut sorted = series(&values);
        sorted.sort();
        for (percent, guess) in [(50, &sketched.p50), (95, &sketched.p95), (99, &sketched.p99)] {
            // The sketch's rank is counted from 0 and may be one off ours.
            let rank = sorted.len() * percent / 100;
            let low = &sorted[rank.saturating_sub(2)];
            let high = &sorted[(rank + 2).min(sorted.len() - 1)];
            let hundred = Exact::from(100_u64);
            prop_assert!(guess.mul(&hundred) >= low.mul(&Exact::from(98_u64)));
            prop_assert!(guess.mul(&hundred) <= high.mul(&Exact::from(102_u64)));
        }
    }

    #[test]
    fn changes_chain_and_peaks_are_the_highest(
        values in prop::collection::vec(0_i64..1_000, 1..60), top in 0_usize..20,
    ) {
        let values = series(&values);
        let changes = trend::changes(None, &values);
        prop_assert_eq!(changes[0].previous.as_ref(), None);
        for pair in changes.windows(2) {
            prop_assert_eq!(pair[1].previous.as_ref(), Some(&pair[0].value));
            prop_assert_eq!(pair[1].percent.is_none(), pair[0].value.is_zero());
        }
        let peaks = trend::peaks(&values, top);
        prop_assert!(peaks.len() <= top);
        prop_assert!(peaks.windows(2).all(|pair| values[pair[0]] >= values[pair[1]]));
        if let Some(last) = peaks.last().filter(|_| peaks.len() == top) {
            let above = values.iter().filter(|value| **value > values[*last]).count();
            prop_assert!(above < top);
        }
    }

    #[test]
    fn what_repeats_every_season_is_never_odd(
        season in prop::collection::vec(1_i64..10_000, 7..30), times in 5_usize..9,
    ) {
        let values: Vec<Exact> = (0..times).flat_map(|_| series(&season)).collect();
        prop_assert!(anomaly::scan(&three(), &values, 28, Some(season.len())).is_empty());
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
}

#[test]
fn a_season_sees_what_a_plain_history_cannot() {
    // Five weeks: 100 on working days, nothing on Saturday and Sunday; one Saturday has 100.
    let mut days: Vec<Exact> = (0..35_u64)
        .map(|day| if day % 7 < 5 { Exact::from(100_u64) } else { Exact::from(1_u64) })
        .collect();
    days[33] = Exact::from(100_u64);
    let plain = anomaly::scan(&three(), &days, 28, None);
    assert!(plain.iter().all(|(at, _)| *at != 33), "among its neighbours it is usual");
    let seasonal = anomaly::scan(&three(), &days, 28, Some(7));
    assert_eq!(seasonal.len(), 1);
    assert_eq!(seasonal[0].0, 33);
    assert!(
        seasonal[0].1.why.contains("the same step of 4 seasons before"),
        "{}",
        seasonal[0].1.why
    );
}

#[test]
fn a_trend_from_nothing_has_no_percentage() {
    let days = whole(&[5420, 0, 5123]);
    let changes = trend::changes(Some(&Exact::from(5123_i64)), &days);
    let percents: Vec<Option<String>> =
        changes.iter().map(|change| change.percent.as_ref().map(ToString::to_string)).collect();
    assert_eq!(percents, [Some("5.8".to_owned()), Some("-100".to_owned()), None]);
    assert_eq!(trend::peaks(&days, 2), [0, 2]);
}
