//! Prices by time of day: cuts on the wall clock across clock changes, and mistakes in windows.

#![cfg(test)]

use counterfoil_rating::{
    Cell, Charge, ChargeSpec, Model, RateContext, TimeOfDay, Usage, in_window, rate,
};
use counterfoil_types::{Currency, Exact, Period, Rounding, Timestamp, Zone};
use proptest::prelude::*;
use serde_json::{Value, json};

const HOUR: i64 = 3_600_000_000;

fn spec(windows: Value, default: Option<&str>) -> ChargeSpec {
    let mut spec = json!({"key": "e", "meter": "kwh", "model": "time_of_day", "windows": windows});
    if let Some(default) = default {
        spec["default_unit_price"] = json!(default);
    }
    serde_json::from_value(spec).unwrap()
}

fn windows_of(spec: &ChargeSpec) -> TimeOfDay {
    match Charge::try_from(spec).unwrap().model {
        Model::TimeOfDay(windows) => windows,
        other => panic!("{other:?}"),
    }
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// A local day and its cuts as `label hours`, hours in elapsed time.
fn day(windows: &TimeOfDay, zone: &Zone, date: &str) -> Vec<String> {
    let date: counterfoil_types::civil::Date = date.parse().unwrap();
    let start = zone.instant(date.at(0, 0, 0, 0)).unwrap();
    let end = zone.instant(date.tomorrow().unwrap().at(0, 0, 0, 0)).unwrap();
    let cuts = windows.cuts(&Period::new(start, end), zone).unwrap();
    cuts.iter()
        .map(|(piece, label)| {
            let hours = Exact::ratio(piece.micros().into(), HOUR.into()).unwrap();
            format!("{label} {hours}")
        })
        .collect()
}

#[test]
fn windows_follow_the_wall_clock_when_clocks_change() {
    let peak = spec(
        json!([{"name": "peak", "days": ["mon", "tue", "wed", "thu", "fri"],
                "from": "08:00", "to": "20:00", "unit_price": "0.30"}]),
        Some("0.10"),
    );
    let (peak, berlin) = (windows_of(&peak), zone("Europe/Berlin"));
    assert_eq!(day(&peak, &berlin, "2026-03-27"), ["other 8", "peak 12", "other 4"]);
    assert_eq!(day(&peak, &berlin, "2026-03-29"), ["other 23"], "a Sunday of 23 hours");

    // Windows whose edges lie in the hour that is missing or happens twice.
    let edges = spec(
        json!([{"name": "early", "from": "02:30", "to": "04:00", "unit_price": "1"},
               {"name": "night", "from": "23:00", "to": "02:00", "unit_price": "2"}]),
        Some("3"),
    );
    let edges = windows_of(&edges);
    assert_eq!(
        day(&edges, &berlin, "2026-03-28"),
        ["night 2", "other 0.5", "early 1.5", "other 19", "night 1"]
    );
    // 02:00 jumps to 03:00: no 02:00 to 02:30, and `early` begins when the clock has jumped.
    assert_eq!(day(&edges, &berlin, "2026-03-29"), ["night 2", "early 1", "other 19", "night 1"]);
    // 03:00 jumps back to 02:00: `early` runs, stops at the jump and runs again.
    assert_eq!(
        day(&edges, &berlin, "2026-10-25"),
        ["night 2", "other 0.5", "early 0.5", "other 0.5", "early 1.5", "other 19", "night 1"]
    );
    // Lord Howe moves by half an hour, at 02:00: 01:30 to 02:00 happens twice in April, 02:00 to
    // 02:30 never in October.
    let howe = zone("Australia/Lord_Howe");
    assert_eq!(
        day(&edges, &howe, "2026-04-05"),
        ["night 2.5", "other 0.5", "early 1.5", "other 19", "night 1"]
    );
    assert_eq!(day(&edges, &howe, "2026-10-04"), ["night 2", "early 1.5", "other 19", "night 1"]);
    // Offsets of 45 minutes move nothing on the wall clock.
    let same = ["night 2", "other 0.5", "early 1.5", "other 19", "night 1"];
    for name in ["Asia/Kathmandu", "Australia/Eucla", "Asia/Kolkata"] {
        assert_eq!(day(&edges, &zone(name), "2026-07-01"), same, "{name}");
    }
    // A whole day that never was (Samoa crossed the date line).
    let apia = zone("Pacific/Apia");
    let gone = Period::new(
        "2011-12-29T23:00:00-10:00".parse().unwrap(),
        "2011-12-31T01:00:00+14:00".parse().unwrap(),
    );
    let cuts = edges.cuts(&gone, &apia).unwrap();
    assert_eq!(cuts, [(gone, "night".to_owned())]);
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
    let night = spec(
        json!([{"name": "sunday night", "days": ["sun"], "from": "22:00", "to": "06:00",
                "unit_price": "1"}]),
        Some("2"),
    );
    let (night, utc) = (windows_of(&night), Zone::utc());
    assert_eq!(day(&night, &utc, "2026-11-22"), ["other 22", "sunday night 2"]);
    assert_eq!(day(&night, &utc, "2026-11-23"), ["sunday night 6", "other 18"]);
    assert_eq!(day(&night, &utc, "2026-11-24"), ["other 24"]);
    let cut = Period::new(
        "2026-11-23T05:59:59.999999Z".parse().unwrap(),
        "2026-11-23T06:00:00.000001Z".parse().unwrap(),
    );
    let cuts = night.cuts(&cut, &utc).unwrap();
    assert_eq!(cuts.iter().map(|(piece, _)| piece.micros()).collect::<Vec<_>>(), [1, 1]);
    let empty = Period::new(cut.start, cut.start);
    assert!(night.cuts(&empty, &utc).unwrap().is_empty());
    assert!(night.cuts(&Period::new(Timestamp::MAX, Timestamp::MAX), &utc).unwrap().is_empty());
    assert!(night.cuts(&Period::new(Timestamp::MIN, Timestamp::MAX), &utc).is_err());
}

#[test]
fn mistakes_in_windows_name_their_key() {
    let window = |name: &str, days: Value, from: &str, to: &str| json!({"name": name, "days": days, "from": from, "to": to, "unit_price": "1"});
    let all = json!([]);
    for (windows, default, says) in [
        (json!([]), Some("1"), "windows: at least one"),
        (
            json!([window("a", all.clone(), "08:00", "20:00")]),
            None,
            "default_unit_price: is missing",
        ),
        (json!([window("a", all.clone(), "00:00", "24:00")]), Some("1"), "never charged"),
        (json!([window("a", all.clone(), "08:00", "08:00")]), Some("1"), "windows[0].to"),
        (json!([window("a", all.clone(), "24:00", "08:00")]), Some("1"), "windows[0].from"),
        (json!([window("a", all.clone(), "8:00", "09:00")]), Some("1"), "write HH:MM"),
        (json!([window("a", all.clone(), "08:60", "09:00")]), Some("1"), "windows[0].from"),
        (json!([window("a", all.clone(), "08:00", "24:01")]), Some("1"), "windows[0].to"),
        (json!([window("other", all.clone(), "08:00", "09:00")]), Some("1"), "windows[0].name"),
        (json!([window("a", json!(["mon", "mon"]), "08:00", "09:00")]), Some("1"), "twice"),
        (
            json!([
                window("a", all.clone(), "08:00", "09:00"),
                window("a", all.clone(), "10:00", "11:00")
            ]),
            Some("1"),
            "windows[1].name",
        ),
        (
            json!([
                window("noon", json!(["mon"]), "11:00", "13:00"),
                window("lunch", json!(["mon"]), "12:59", "14:00")
            ]),
            Some("1"),
            "windows[1]: windows \"noon\" and \"lunch\" overlap",
        ),
        (
            json!([
                window("monday", json!(["mon"]), "05:00", "08:00"),
                window("night", json!(["sun"]), "22:00", "05:01")
            ]),
            Some("1"),
            "overlap",
        ),
    ] {
        let error = Charge::try_from(&spec(windows.clone(), default)).unwrap_err().to_string();
        assert!(error.contains(says), "{windows}\n  said: {error}");
    }
    let touching = json!([
        window("a", json!(["sun"]), "22:00", "05:00"),
        window("b", json!(["mon"]), "05:00", "24:00")
    ]);
    assert!(Charge::try_from(&spec(touching, Some("1"))).is_ok());
    let whole = json!([
        window("day", all.clone(), "06:00", "22:00"),
        window("night", all, "22:00", "06:00")
    ]);
    assert_eq!(windows_of(&spec(whole, None)).labels(), ["day", "night"]);
    let mut included = spec(json!([window("a", json!([]), "08:00", "20:00")]), Some("1"));
    included.included = Some("5".parse().unwrap());
    assert!(Charge::try_from(&included).unwrap_err().to_string().contains("included"));
}

#[test]
fn usage_is_priced_by_window_or_refused() {
    let charge = spec(
        json!([{"name": "peak", "from": "08:00", "to": "20:00", "unit_price": "0.30"}]),
        Some("0.105"),
    );
    let charge = Charge::try_from(&charge).unwrap();
    let context = RateContext::new(Currency::EUR, Rounding::HalfAwayFromZero);
    let cell = |label: &str, units: i64| Cell { dimensions: in_window(label), units: units.into() };
    let usage = Usage::cells(vec![cell("peak", 10), cell("other", 7)]);
    let line = rate(&charge, &usage, &context).unwrap();
    assert_eq!(line.amount.to_string(), "3.74 EUR", "3 + 0.735");
    assert_eq!(line.parts[0].label, "peak");
    let total = Usage::units(Exact::from(17i64));
    assert!(rate(&charge, &total, &context).unwrap_err().to_string().contains("\"e\""));
    assert!(rate(&charge, &Usage::default(), &context).unwrap().amount.is_zero());
    let unknown = Usage::cells(vec![cell("evening", 1)]);
    assert!(rate(&charge, &unknown, &context).unwrap_err().to_string().contains("evening"));
    let credit = Usage::cells(vec![cell("peak", -20), cell("other", 10)]);
    let line = rate(&charge, &credit, &context).unwrap();
    assert_eq!(line.exact.to_string(), "-4.95");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn cuts_tile_any_period_in_any_zone(
        name in proptest::sample::select(Zone::all_names()),
        start in -1_500_000_000i64..3_000_000_000, seconds in 1i64..1_000_000, micros in 0i64..1_000_000,
        edges in proptest::collection::btree_set(0u32..1440, 2..6),
        probes in proptest::collection::vec(0u64..1_000_000, 8),
    ) {
        let zone: Zone = name.parse().unwrap();
        let edges: Vec<u32> = edges.into_iter().collect();
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let windows: Vec<Value> = edges.chunks_exact(2).enumerate().map(|(at, pair)| {
            json!({"name": format!("w{at}"), "from": clock(pair[0]), "to": clock(pair[1]), "unit_price": "1"})
        }).collect();
        let windows = windows_of(&spec(json!(windows), Some("2")));
        let start = Timestamp::from_micros(start * 1_000_000 + micros);
        let period = Period::new(start, start.plus_micros(seconds * 1_000_000));
        let cuts = windows.cuts(&period, &zone).unwrap();
        let mut at = period.start;
        for (piece, _) in &cuts {
            prop_assert_eq!(piece.start, at);
            prop_assert!(!piece.is_empty());
            at = piece.end;
        }
        prop_assert_eq!(at, period.end);
        prop_assert!(cuts.windows(2).all(|pair| pair[0].1 != pair[1].1));
        // Any instant lies in a piece with the label its wall clock says.
        let width = u64::try_from(period.micros()).unwrap();
        for probe in probes {
            let ahead = i64::try_from(width / 1_000_000 * probe).unwrap();
            let instant = period.start.plus_micros(ahead);
            let (_, label) = cuts.iter().find(|(piece, _)| piece.contains(instant)).unwrap();
            prop_assert_eq!(label.as_str(), windows.label_at(zone.civil(instant).unwrap()));
        }
        for (piece, label) in &cuts {
            let last = piece.end.plus_micros(-1);
            for instant in [piece.start, last] {
                prop_assert_eq!(label.as_str(), windows.label_at(zone.civil(instant).unwrap()));
            }
        }
    }
}
