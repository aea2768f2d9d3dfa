//! Periods tile whatever the rhythm, the zone and their changes.

use counterfoil_rating::{Alignment, FirstPeriod, PlanSpec};
use counterfoil_types::IntervalUnit;

use super::*;
use crate::subscription::Change;

fn cycles(alignment: &str, start: &str, end: Option<&str>) -> Cycles {
    let plan: PlanSpec = serde_json::from_str(&format!(
        r#"{{"key":"p","interval":"month","alignment":"{alignment}","charge":[{{"key":"f","model":"flat","amount":1}}]}}"#
    ))
    .unwrap();
    let subscription =
        Subscription { end: end.map(|end| end.parse().unwrap()), ..subscription(start) };
    let zone = "Europe/Berlin".parse().unwrap();
    Cycles::of(&subscription, &Plan::try_from(&plan).unwrap(), &zone).unwrap()
}

fn subscription(start: &str) -> Subscription {
    let id = "s".parse().unwrap();
    Subscription::new(id, "c".parse().unwrap(), "b", "p".parse().unwrap(), day(start))
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_start_in_mid_month_has_a_short_first_period() {
    let cycles = cycles("calendar", "2026-10-12", None);
    let october = (at("2026-10-01T00:00:00+02:00"), at("2026-11-01T00:00:00+01:00"));
    let due = cycles.due(october.0, october.1).unwrap();
    let numbers: Vec<u32> = due.iter().map(|cycle| cycle.number).collect();
    assert_eq!(numbers, [0, 1], "the opening and the first closing fall into October's run");
    let first = due[1].closes.unwrap();
    assert_eq!(first, Period::new(at("2026-10-12T00:00:00+02:00"), october.1));
    assert_eq!(due[1].closes_full.unwrap().start, october.0);
    let odd = cycles.due(october.0, at("2026-11-10T12:00:00+01:00")).unwrap();
    assert_eq!(odd, due, "the walk ends with the run, also where no cycle falls on its end");
}

#[test]
fn each_closing_belongs_to_exactly_one_monthly_run() {
    let cycles = cycles("anniversary", "2026-01-31", Some("2026-08-15"));
    let mut seen = Vec::new();
    for month in 1..=11 {
        let from = at(&format!("2026-{month:02}-01T00:00:00Z"));
        let to = at(&format!("2026-{:02}-01T00:00:00Z", month + 1));
        seen.extend(cycles.due(from, to).unwrap().iter().map(|cycle| cycle.number));
    }
    assert_eq!(seen, (0..=11).collect::<Vec<u32>>(), "seven closings, then settlements");
    let last = cycles.cycle(7).unwrap().unwrap();
    assert_eq!(last.at, at("2026-08-15T00:00:00+02:00"));
    assert!(last.opens.is_none(), "nothing is due in advance after the end");
    let settlement = cycles.cycle(8).unwrap().unwrap();
    assert!(settlement.settles(), "what comes late is settled with the next month");
    assert_eq!(settlement.at, at("2026-09-01T00:00:00+02:00"));
    assert!(cycles.cycle(19).unwrap().is_some() && cycles.cycle(20).unwrap().is_none());
}

#[test]
fn periods_tile_the_life_of_a_subscription() {
    let cycles = cycles("calendar", "2024-01-31", Some("2026-02-10"));
    let mut before = at("2024-01-31T00:00:00+01:00");
    let mut n = 0;
    while let Some((period, full)) = cycles.period(n).unwrap() {
        assert_eq!(period.start, before);
        assert!(full.start <= period.start && period.end <= full.end);
        before = period.end;
        n += 1;
    }
    assert_eq!(before, at("2026-02-10T00:00:00+01:00"));
}

fn rhythm(unit: IntervalUnit, alignment: Alignment) -> Rhythm {
    let first_period = FirstPeriod::Short;
    Rhythm { interval: Interval::one(unit), alignment, billing_day: None, first_period }
}

/// All periods touch one another and none is empty.
fn assert_tiles(cycles: &Cycles, start: Timestamp, count: u32) -> Vec<Period> {
    let mut before = start;
    (0..count)
        .map(|n| {
            let (period, full) = cycles.period(n).unwrap().unwrap();
            assert_eq!(period.start, before, "period {n}");
            assert!(period.end > period.start && full.end >= period.end, "period {n}");
            before = period.end;
            assert_eq!(cycles.period_at(period.start).unwrap(), Some(n));
            assert_eq!(cycles.period_at(period.end.plus_micros(-1)).unwrap(), Some(n));
            period
        })
        .collect()
}

#[test]
fn a_change_of_zone_keeps_the_announced_boundary_and_tiles() {
    for (from, to) in [
        ("Europe/Berlin", "America/Los_Angeles"),
        ("America/Los_Angeles", "Europe/Berlin"),
        ("Pacific/Apia", "Pacific/Honolulu"),
        ("Australia/Lord_Howe", "Asia/Kathmandu"),
    ] {
        for unit in [IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month] {
            for alignment in [Alignment::Calendar, Alignment::Anniversary] {
                let mut subscription = subscription("2026-01-31");
                subscription.zone = Some(from.parse().unwrap());
                let zone: Zone = to.parse().unwrap();
                let what = ChangeKind::Zone { zone: zone.clone() };
                subscription.change(Change { on: day("2026-03-10"), what });
                let cycles = Cycles::with::<CycleError>(&subscription, &zone, |_, _| {
                    Ok(rhythm(unit, alignment))
                })
                .unwrap();
                let old: Zone = from.parse().unwrap();
                let start = old.instant(day("2026-01-31").at(0, 0, 0, 0)).unwrap();
                let periods = assert_tiles(&cycles, start, 70);
                let switch = old.instant(day("2026-03-10").at(0, 0, 0, 0)).unwrap();
                for period in &periods {
                    let zone = if period.end.micros() <= switch.micros() { &old } else { &zone };
                    let local = zone.civil(period.end).unwrap();
                    let open = period.contains(switch) || period.start == switch;
                    assert!(open || local.time() == jiff::civil::Time::midnight(), "{period}");
                }
                // The first period that is wholly in the new zone begins and ends at its midnight.
                let last = periods.last().unwrap();
                assert_eq!(zone.civil(last.start).unwrap().time(), jiff::civil::Time::midnight());
                let day_micros = 86_400_000_000;
                let longest = match unit {
                    IntervalUnit::Day => 2 * day_micros,
                    IntervalUnit::Week => 8 * day_micros,
                    _ => 32 * day_micros,
                };
                for period in &periods[1..] {
                    assert!(period.micros() <= longest, "{from} {to} {period}");
                    assert!(period.micros() > 3_600_000_000, "{from} {to} {period}");
                }
            }
        }
    }
}

#[test]
fn a_plan_with_another_rhythm_begins_a_new_era_on_its_day() {
    let mut subscription = subscription("2026-01-31");
    let what = ChangeKind::Plan { plan: "yearly".parse().unwrap(), book: None, pinned: None };
    subscription.change(Change { on: day("2026-03-10"), what });
    let cycles = Cycles::with::<CycleError>(&subscription, &Zone::utc(), |terms, _| {
        let yearly = terms.plan.as_str() == "yearly";
        let unit = if yearly { IntervalUnit::Year } else { IntervalUnit::Month };
        Ok(rhythm(unit, Alignment::Anniversary))
    })
    .unwrap();
    let periods = assert_tiles(&cycles, at("2026-01-31T00:00:00Z"), 5);
    let starts: Vec<String> = periods.iter().map(|period| period.start.to_string()).collect();
    let days = ["2026-01-31", "2026-02-28", "2026-03-10", "2027-03-10", "2028-03-10"];
    for (start, day) in starts.iter().zip(days) {
        assert!(start.starts_with(day), "{start} is not {day}");
    }
}

#[test]
fn a_billing_day_of_31_is_kept_through_short_months() {
    for (start, first) in [("2026-02-10", "2026-02-28"), ("2026-04-30", "2026-04-30")] {
        let rhythm =
            Rhythm { billing_day: Some(31), ..rhythm(IntervalUnit::Month, Alignment::BillingDay) };
        let cycles =
            Cycles::with::<CycleError>(&subscription(start), &Zone::utc(), |_, _| Ok(rhythm))
                .unwrap();
        let begin = at(&format!("{start}T00:00:00Z"));
        let periods = assert_tiles(&cycles, begin, 14);
        let boundary = if start == first { periods[0].start } else { periods[0].end };
        assert!(boundary.to_string().starts_with(first));
        for period in &periods[1..] {
            let date = Zone::utc().civil(period.end).unwrap().date();
            assert_eq!(date.day(), date.days_in_month());
        }
    }
}

#[test]
fn a_stub_is_short_long_or_free_by_rule() {
    let cycles = |first_period| {
        let rhythm = Rhythm { first_period, ..rhythm(IntervalUnit::Month, Alignment::Calendar) };
        Cycles::with::<CycleError>(&subscription("2026-01-20"), &Zone::utc(), |_, _| Ok(rhythm))
            .unwrap()
    };
    let start = at("2026-01-20T00:00:00Z");
    let long = cycles(FirstPeriod::Long);
    let periods = assert_tiles(&long, start, 4);
    assert_eq!(periods[0].end, at("2026-03-01T00:00:00Z"));
    assert!(!long.is_free(0).unwrap());
    let free = cycles(FirstPeriod::Free);
    assert_eq!(assert_tiles(&free, start, 4)[0].end, at("2026-02-01T00:00:00Z"));
    assert!(free.is_free(0).unwrap() && !free.is_free(1).unwrap());
}

#[test]
fn a_yearly_billing_day_that_a_leap_year_brings_back() {
    let rhythm =
        Rhythm { billing_day: Some(31), ..rhythm(IntervalUnit::Year, Alignment::BillingDay) };
    let cycles =
        Cycles::with::<CycleError>(&subscription("2026-02-10"), &Zone::utc(), |_, _| Ok(rhythm))
            .unwrap();
    let starts: Vec<String> = assert_tiles(&cycles, at("2026-02-10T00:00:00Z"), 4)
        .iter()
        .map(|period| period.start.to_string()[..10].to_owned())
        .collect();
    assert_eq!(starts, ["2026-02-10", "2026-02-28", "2027-02-28", "2028-02-29"]);
}

#[test]
fn a_yearly_fee_begins_at_a_cycle_also_when_the_zone_changes() {
    for (from, to) in
        [("Europe/Berlin", "America/Los_Angeles"), ("America/Los_Angeles", "Europe/Berlin")]
    {
        for (alignment, on) in
            [(Alignment::Calendar, "2026-05-10"), (Alignment::Anniversary, "2027-01-31")]
        {
            let mut subscription = subscription("2026-01-31");
            subscription.zone = Some(from.parse().unwrap());
            let zone: Zone = to.parse().unwrap();
            let what = ChangeKind::Zone { zone: zone.clone() };
            subscription.change(Change { on: day(on), what });
            let cycles = Cycles::with::<CycleError>(&subscription, &zone, |_, _| {
                Ok(rhythm(IntervalUnit::Month, alignment))
            })
            .unwrap();
            let mut begun = Vec::new();
            let mut before = cycles.start();
            for n in 0..40 {
                let (period, _) = cycles.period(n).unwrap().unwrap();
                let year = Interval::one(IntervalUnit::Year);
                let (fee, full) = cycles.fee_period(period.start, year).unwrap().unwrap();
                assert!(fee.start <= period.start && period.end <= fee.end, "{n}: {fee} {period}");
                assert!(full.start <= fee.start && fee.end <= full.end);
                if fee.start == period.start {
                    assert_eq!(fee.start, before, "fees tile");
                    begun.push(n);
                    before = fee.end;
                }
            }
            assert_eq!(begun, [0, 12, 24, 36], "{from} {to}");
        }
    }
}

#[test]
fn a_short_life_from_its_opening_to_its_last_settlement() {
    let cycles = cycles("calendar", "2026-01-01", Some("2026-03-01"));
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    let first = |text: &str| zone.instant(day(text).at(0, 0, 0, 0)).unwrap();
    let (start, end) = (first("2026-01-01"), first("2026-03-01"));
    assert_eq!((cycles.start(), cycles.end()), (start, Some(end)));
    let due = |from: &str, to: &str| -> Vec<u32> {
        let due = cycles.due(first(from), first(to)).unwrap();
        due.iter().map(|cycle| cycle.number).collect()
    };
    assert_eq!(due("2025-12-01", "2026-01-01"), [0; 0], "an opening falls into its own month");
    assert_eq!(due("2025-12-01", "2026-01-02"), [0]);
    assert_eq!(due("2026-01-01", "2026-02-01"), [0, 1]);
    assert_eq!(due("2026-01-02", "2026-01-31"), [0; 0]);
    assert_eq!(due("2026-02-01", "2026-03-01"), [2]);
    assert_eq!(due("2026-03-01", "2026-04-01"), [3]);
    assert_eq!(due("2027-02-01", "2027-03-01"), [14]);
    assert_eq!(due("2027-03-01", "2028-03-01"), [0; 0], "a year of settlements and no more");
    assert_eq!(due("2025-12-01", "2028-03-01"), (0..=14).collect::<Vec<u32>>());
    let at = |number| cycles.cycle(number).unwrap().unwrap();
    let (january, february) = (Period::new(start, first("2026-02-01")), first("2026-02-01"));
    let closing =
        |number| (at(number).at, at(number).closes, at(number).opens, at(number).settles());
    assert_eq!(closing(0), (start, None, Some(january), false));
    assert_eq!(closing(1), (february, Some(january), Some(Period::new(february, end)), false));
    assert_eq!(closing(2), (end, Some(Period::new(february, end)), None, false));
    assert_eq!(closing(3), (first("2026-04-01"), None, None, true));
    let covers = |at| cycles.period_at(at).unwrap();
    assert_eq!((covers(start.plus_micros(-1)), covers(start)), (None, Some(0)));
    assert_eq!((covers(end.plus_micros(-1)), covers(end)), (Some(1), None));
    assert_eq!(cycles.period(2).unwrap(), None);
}

#[test]
fn a_day_and_an_instant_are_read_in_the_zone_that_holds_then() {
    let (berlin, tokyo): (Zone, Zone) =
        ("Europe/Berlin".parse().unwrap(), "Asia/Tokyo".parse().unwrap());
    let mut subscription = subscription("2026-01-15");
    subscription.zone = Some(berlin.clone());
    let what = ChangeKind::Zone { zone: tokyo.clone() };
    subscription.change(Change { on: day("2026-03-10"), what });
    let cycles = Cycles::with::<CycleError>(&subscription, &tokyo, |_, _| {
        Ok(rhythm(IntervalUnit::Month, Alignment::Calendar))
    })
    .unwrap();
    // The open period, March, ends where Berlin's does.
    let switch = at("2026-04-01T00:00:00+02:00");
    assert_eq!(cycles.zone_at(switch.plus_micros(-1)), berlin);
    assert_eq!(cycles.zone_at(switch), tokyo);
    assert_eq!(cycles.zone_at(Timestamp::MIN), berlin, "before the start");
    let instant = |text: &str| cycles.instant(day(text)).unwrap();
    assert_eq!(instant("2026-03-20"), at("2026-03-20T00:00:00+01:00"));
    assert_eq!(instant("2026-04-20"), at("2026-04-20T00:00:00+09:00"));
    assert_eq!(instant("2026-01-01"), at("2026-01-01T00:00:00+01:00"), "before the start");
    assert_eq!(cycles.period(2).unwrap().unwrap().0.end, switch);
    assert_eq!(cycles.period(3).unwrap().unwrap().0.end, at("2026-05-01T00:00:00+09:00"));
}

#[test]
fn a_fee_year_turns_at_the_midnight_of_the_new_zone() {
    let (west, east) = ("America/Los_Angeles", "Europe/Berlin");
    // Between the two midnights the year has begun in Berlin and not in Los Angeles.
    let between = at("2027-01-01T03:00:00+01:00");
    for (from, to, years) in [
        (east, west, ["2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00-08:00"]),
        (west, east, ["2027-01-01T00:00:00+01:00", "2028-01-01T00:00:00+01:00"]),
    ] {
        let mut subscription = subscription("2026-01-01");
        subscription.zone = Some(from.parse().unwrap());
        let zone: Zone = to.parse().unwrap();
        let what = ChangeKind::Zone { zone: zone.clone() };
        subscription.change(Change { on: day("2026-05-10"), what });
        let cycles = Cycles::with::<CycleError>(&subscription, &zone, |_, _| {
            Ok(rhythm(IntervalUnit::Month, Alignment::Calendar))
        })
        .unwrap();
        let year = Interval::one(IntervalUnit::Year);
        let (fee, full) = cycles.fee_period(between, year).unwrap().unwrap();
        let [start, end] = years.map(at);
        assert_eq!((fee, full), (Period::new(start, end), Period::new(start, end)), "{to}");
    }
}

#[test]
fn only_a_stub_is_given_away() {
    let free = |start: &str, zone: Option<&str>| {
        let rhythm = Rhythm {
            first_period: FirstPeriod::Free,
            ..rhythm(IntervalUnit::Month, Alignment::Calendar)
        };
        let mut subscription = subscription(start);
        if let Some(zone) = zone {
            let what = ChangeKind::Zone { zone: zone.parse().unwrap() };
            subscription.change(Change { on: day("2026-03-10"), what });
        }
        let cycles =
            Cycles::with::<CycleError>(&subscription, &Zone::utc(), |_, _| Ok(rhythm)).unwrap();
        (0..4).map(|n| cycles.is_free(n).unwrap()).collect::<Vec<bool>>()
    };
    assert_eq!(free("2026-02-01", None), [false; 4], "a whole first period is paid");
    assert_eq!(free("2026-02-20", None), [true, false, false, false]);
    for zone in ["Asia/Tokyo", "America/Los_Angeles"] {
        assert_eq!(free("2026-02-01", Some(zone)), [false; 4], "nor does a new zone give any");
    }
}

#[test]
fn a_zone_named_on_a_boundary_holds_from_it() {
    let (berlin, tokyo): (Zone, Zone) =
        ("Europe/Berlin".parse().unwrap(), "Asia/Tokyo".parse().unwrap());
    for (on, from) in [("2026-03-31", "2026-04-01"), ("2026-04-01", "2026-04-01")] {
        let mut subscription = subscription("2026-02-01");
        subscription.zone = Some(berlin.clone());
        subscription.change(Change { on: day(on), what: ChangeKind::Zone { zone: tokyo.clone() } });
        let cycles = Cycles::with::<CycleError>(&subscription, &tokyo, |_, _| {
            Ok(rhythm(IntervalUnit::Month, Alignment::Calendar))
        })
        .unwrap();
        let switch = berlin.instant(day(from).at(0, 0, 0, 0)).unwrap();
        assert_eq!(cycles.zone_at(switch.plus_micros(-1)), berlin, "{on}");
        assert_eq!(cycles.zone_at(switch), tokyo, "{on}");
        assert_eq!(cycles.period_at(switch).unwrap(), Some(2), "{on}");
    }
}
