//! Periods tile time in every zone, across DST, leap days and month ends.

use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn anchor_on_the_31st_clamps_and_comes_back() {
    let anchor = civil::date(2025, 1, 31).at(0, 0, 0, 0);
    let schedule = Schedule::new(Interval::one(IntervalUnit::Month), anchor, Zone::utc()).unwrap();
    let starts: Vec<String> =
        (0..5).map(|n| schedule.boundary(n).unwrap().to_string()[..10].to_owned()).collect();
    assert_eq!(starts, ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30", "2025-05-31"]);
}

#[test]
fn anchor_on_29_february_returns_in_leap_years() {
    let anchor = civil::date(2024, 2, 29).at(0, 0, 0, 0);
    let schedule = Schedule::new(Interval::one(IntervalUnit::Year), anchor, Zone::utc()).unwrap();
    let starts: Vec<String> =
        (0..5).map(|n| schedule.boundary(n).unwrap().to_string()[..10].to_owned()).collect();
    assert_eq!(starts, ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]);
}

#[test]
fn a_midnight_that_does_not_exist_is_the_first_instant_of_its_day() {
    let sao_paulo = zone("America/Sao_Paulo");
    let schedule =
        Schedule::calendar(Interval::one(IntervalUnit::Day), at("2018-11-04T12:00:00Z"), sao_paulo)
            .unwrap();
    let period = schedule.period(0).unwrap();
    assert_eq!(period, Period::new(at("2018-11-04T03:00:00Z"), at("2018-11-05T02:00:00Z")));
}

#[test]
fn periods_tile_in_every_zone_over_ten_years() {
    let daily = Interval::one(IntervalUnit::Day);
    let monthly = Interval::one(IntervalUnit::Month);
    let names = Zone::all_names();
    assert!(names.len() > 400, "the bundled database has {} zones", names.len());
    for name in names {
        for (interval, anchor, count) in [
            (monthly, civil::date(2018, 1, 31).at(0, 0, 0, 0), 121),
            (daily, civil::date(2018, 1, 1).at(0, 0, 0, 0), 3653),
        ] {
            let schedule = Schedule::new(interval, anchor, zone(&name)).unwrap();
            let mut before = schedule.boundary(0).unwrap();
            for n in 0..count {
                let period = schedule.period(n).unwrap();
                assert_eq!(period.start, before, "{name}: no gap, no overlap at {n}");
                // A zone may skip a whole local day (Samoa left out 30 December 2011); in these
                // ten years none does, so no period is empty.
                assert!(!period.is_empty(), "{name}: period {n} is empty");
                before = period.end;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_instant_lies_in_exactly_one_period(
        pick in any::<prop::sample::Index>(),
        unit in prop::sample::select(vec![IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month,
            IntervalUnit::Quarter, IntervalUnit::HalfYear, IntervalUnit::Year]),
        count in 1u32..7,
        day in 0i64..20_000,
        second in 0i64..86_400,
        micros in 0i64..2_000_000_000_000_000,
    ) {
        let names = Zone::all_names();
        let schedule = Schedule::new(
            Interval { unit, count },
            civil::date(1980, 1, 1).at(0, 0, 0, 0).checked_add(day.days()).unwrap()
                .checked_add(second.seconds()).unwrap(),
            zone(&names[pick.index(names.len())]),
        ).unwrap();
        let when = Timestamp::from_micros(micros);
        let n = schedule.index_at(when).unwrap();
        prop_assert!(schedule.period(n).unwrap().contains(when));
        prop_assert_eq!(schedule.period(n - 1).unwrap().end, schedule.period(n).unwrap().start);
        prop_assert!(!schedule.period(n + 1).unwrap().contains(when));
    }
}
