//! The reports of usage, against figures worked out by hand.

use counterfoil_engine::{
    contracts::Effective,
    reports::{By, Kind, Range, Report, Wanted},
};
use counterfoil_invoicing::ChangeKind;
use counterfoil_ledger::Event;
use counterfoil_types::{CustomerId, timestamp::DAY_MICROS};

use crate::{
    reports::{BOOKS, rows},
    world::{With, World, at, event, id},
};

const TIERED: &str = r#"
[[plan]]
key = "tiered"
interval = "month"
[[plan.charge]]
key = "calls"
name = "Calls"
meter = "calls"
model = "graduated"
included = 100
tiers = [ { up_to = 200, unit_price = "0.10" }, { unit_price = "0.05" } ]
[[plan]]
key = "dearer"
interval = "month"
[[plan.charge]]
key = "calls"
name = "Calls"
meter = "calls"
model = "graduated"
included = 100
tiers = [ { up_to = 200, unit_price = "0.20" }, { unit_price = "0.05" } ]
"#;

fn asked(from: &str, to: &str) -> Wanted {
    Wanted { range: Range::parse(Some(from), Some(to)).unwrap(), ..Wanted::default() }
}

fn of(customer: &str, from: &str, to: &str) -> Wanted {
    Wanted { customer: Some(id(customer)), ..asked(from, to) }
}

async fn told(world: &World, kind: Kind, wanted: &Wanted) -> Report {
    world.engine.report(kind, wanted).await.unwrap()
}

fn totals(report: &Report) -> Vec<String> {
    report.totals.plain().map(|row| row.join(" | ")).collect()
}

/// So many calls a day on the days of a month, at noon UTC.
fn days(customer: &str, month: &str, calls: &[u32]) -> Vec<Event> {
    let first = at(&format!("{month}-01T12:00:00Z"));
    let each = calls.iter().enumerate().filter(|(_, calls)| **calls > 0);
    each.map(|(day, calls)| {
        let time = first.plus_micros(i64::try_from(day).unwrap() * DAY_MICROS);
        event(&format!("{customer}-{month}-{day}"), customer, "call", time)
            .quantity(&calls.to_string())
    })
    .collect()
}

/// Ada: 40, then 360 calls; from October on at another plan's price. Ben, in New York: 10 a day.
async fn world() -> World {
    let world = World::new(2).await;
    world.publish(&format!("{}{TIERED}", BOOKS[0])).await;
    world.set_clock("2026-08-01T12:00:00Z");
    world.customer("ada", "UTC", None).await;
    world.customer("ben", "America/New_York", None).await;
    world.subscribe("ada", "fin", "tiered", "2026-09-01").await;
    world.subscribe("ben", "fin", "basic", "2026-09-01").await;
    let on = Effective::On("2026-10-01".parse().unwrap());
    let to = ChangeKind::Plan { plan: "dearer".parse().unwrap(), book: None, pinned: None };
    world.engine.change_subscription(&"ada".parse().unwrap(), on, to).await.unwrap();
    world.set_clock("2026-11-02T12:00:00Z");
    let mut september = vec![0; 30];
    (september[9], september[19]) = (40, 210);
    let mut october = vec![0; 31];
    (october[0], october[14], october[30]) = (120, 100, 180);
    let mut events = days("ada", "2026-09", &september);
    events.extend(days("ada", "2026-10", &october));
    events.extend(days("ben", "2026-09", &[10; 30]));
    events.extend(days("ben", "2026-10", &[10; 31]));
    // One more of Ben's: on the last evening of September where he is, in October where we are.
    events.push(event("ben-late", "ben", "call", at("2026-10-01T02:00:00Z")).quantity("5"));
    world.ingest(events).await;
    world.engine.project_all().await.unwrap();
    world
}

#[tokio::test]
async fn costs_of_days_add_up_to_the_bill_of_the_month() {
    let world = world().await;
    let by_day = Wanted { by: Some(By::Day), ..of("ada", "2026-09", "2026-09") };
    let report = told(&world, Kind::Usage, &by_day).await;
    // 250 used, 100 of them included: tiers count from the beginning of the period.
    assert_eq!(
        rows(&report),
        [
            "2026-09-10 | calls | units | 40 | 1 | 0.00 | USD",
            "2026-09-20 | calls | units | 210 | 1 | 12.50 | USD",
        ]
    );
    let whole = told(&world, Kind::Usage, &of("ada", "2026-09", "2026-09")).await;
    assert_eq!(rows(&whole), ["calls | units | 250 | 2 | 12.50 | USD"]);
    assert_eq!(totals(&whole), totals(&report));
    // A range that cuts the period: what usage in it adds.
    let part = told(&world, Kind::Usage, &of("ada", "2026-09-15", "2026-10-01")).await;
    assert_eq!(rows(&part), ["calls | units | 330 | 2 | 16.50 | USD"]);
    world.bill("2026-09").await;
    let line = world.invoice("ada", 1).await.unwrap().body;
    assert_eq!(line.lines[0].amount.to_plain(), "12.50");
}

#[tokio::test]
async fn the_monthly_report_is_on_each_customers_own_clock() {
    let world = world().await;
    let wanted = Wanted { by: Some(By::Customer), ..asked("2026-09", "2026-09") };
    let report = told(&world, Kind::Usage, &wanted).await;
    assert_eq!(
        rows(&report),
        [
            "ada | calls | units | 250 | 2 | 12.50 | USD",
            "ben | calls | units | 305 | 31 | 4.58 | USD"
        ]
    );
    assert_eq!(totals(&report), ["USD | 17.08"]);
    // The daily report is the same over a day.
    let wanted = Wanted { by: Some(By::Customer), ..asked("2026-09-20", "2026-09-20") };
    let report = told(&world, Kind::Usage, &wanted).await;
    assert_eq!(
        rows(&report),
        [
            "ada | calls | units | 210 | 1 | 12.50 | USD",
            "ben | calls | units | 10 | 1 | 0.15 | USD"
        ]
    );
    let by_meter = told(&world, Kind::Usage, &asked("2026-09", "2026-09")).await;
    assert_eq!(rows(&by_meter), ["calls | units | 555 | 33 | 17.08 | USD"]);
}

#[tokio::test]
async fn a_bill_is_taken_apart_into_prices_and_tiers() {
    let world = world().await;
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T13:00:00Z");
    // It comes after the September invoice and is billed by October's, for its own period.
    let late = event("late", "ada", "call", at("2026-09-29T12:00:00Z")).quantity("10");
    world.ingest(vec![late]).await;
    world.bill("2026-10").await;
    let report = told(&world, Kind::Changes, &of("ada", "2026-09", "2026-10")).await;
    assert_eq!(
        rows(&report),
        [
            "price | calls | Calls | 12.50 | 22.50 | 10.00 | USD | 250 | 250",
            "usage, tier 2 | calls | Calls | 2.50 | 10.00 | 7.50 | USD | 50 | 200",
            "correction of an earlier period | calls | Calls | 0.00 | 0.50 | 0.50 | USD |  | ",
        ]
    );
    assert_eq!(totals(&report), ["2026-09 | 2026-10 | 12.50 | 30.50 | 18.00 | USD"]);
    let nothing = world.engine.report(Kind::Changes, &of("ada", "2026-10", "2026-10")).await;
    assert!(nothing.unwrap_err().to_string().contains("two months that differ"));
}

#[tokio::test]
async fn trends_peaks_and_anomalies_of_one_and_of_all() {
    let world = world().await;
    let two = of("ada", "2026-10-15", "2026-10-16");
    let report = told(&world, Kind::Trends, &two).await;
    assert_eq!(
        rows(&report),
        [
            "2026-10-15 | calls | units | 100 | 1 | 0 | ",
            "2026-10-16 | calls | units | 0 | 0 | 100 | -100"
        ]
    );
    let all = asked("2026-10-01", "2026-10-02");
    // In UTC, where Ben's late evening is October's first day.
    assert_eq!(
        rows(&told(&world, Kind::Trends, &all).await),
        [
            "2026-10-01 | calls | units | 135 | 3 | 10 | 1250",
            "2026-10-02 | calls | units | 10 | 1 | 135 | -92.59",
        ]
    );
    let weeks = Wanted { by: Some(By::Month), ..of("ada", "2026-10", "2026-10") };
    assert_eq!(
        rows(&told(&world, Kind::Trends, &weeks).await),
        ["2026-10 | calls | units | 400 | 3 | 250 | 60"]
    );
    let top = Wanted { top: Some(2), by: Some(By::Day), ..of("ada", "2026-10", "2026-10") };
    assert_eq!(
        rows(&told(&world, Kind::Peaks, &top).await),
        ["calls | 1 | 2026-10-31 | 180 | units | 1", "calls | 2 | 2026-10-01 | 120 | units | 1"]
    );
    let odd = told(&world, Kind::Anomalies, &of("ben", "2026-10", "2026-10")).await;
    assert!(odd.table.rows.is_empty() && !odd.wants_decision, "{:?}", rows(&odd));
    let odd = told(&world, Kind::Anomalies, &asked("2026-10-01", "2026-10-01")).await;
    assert_eq!(rows(&odd).len(), 3, "{:?}", rows(&odd));
    assert!(rows(&odd)[2].contains("times the median of 10"), "{:?}", rows(&odd));
    assert!(odd.wants_decision);
}

#[tokio::test]
async fn statistics_rankings_and_forecasts() {
    let world = world().await;
    let all = told(&world, Kind::Statistics, &asked("2026-10", "2026-10")).await;
    assert_eq!(
        rows(&all),
        ["calls | units | 34 | 710 | 20.882353 | 10 | 10 | 120 | 180 | 180 | exact | 0"]
    );
    let wanted = Wanted { meter: Some("calls".parse().unwrap()), ..asked("2026-10", "2026-10") };
    let top = told(&world, Kind::Top, &wanted).await;
    assert_eq!(rows(&top), ["1 | ada | 400 | 3 | 55.94", "2 | ben | 315 | 32 | 44.06"]);
    // Sixteen days of November are over where Ben is; the first had nothing.
    world.set_clock("2026-11-17T05:00:00Z");
    let mut november = [10; 16];
    november[0] = 0;
    world.ingest(days("ben", "2026-11", &november)).await;
    let wanted = Wanted { customer: Some(id("ben")), ..Wanted::default() };
    let forecast = told(&world, Kind::Forecast, &wanted).await;
    let row = &rows(&forecast)[0];
    assert!(row.starts_with("ben | calls | calls | units | 150 | 9.375 | 16 | 281.25 | "), "{row}");
    assert!(row.ends_with(" | 0 |  | 2026-12-01T05:00:00Z"), "{row}");
}

#[tokio::test]
async fn fees_in_advance_are_earned_evenly_and_growth_names_who_grew() {
    let world = World::new(1).await;
    world.publish(BOOKS[0]).await;
    world.set_clock("2026-09-01T12:00:00Z");
    for (name, plan) in [("yves", "yearly"), ("una", "basic")] {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "fin", plan, "2026-09-01").await;
    }
    world.set_clock("2026-10-02T12:00:00Z");
    world.ingest(days("una", "2026-09", &[100])).await;
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T12:00:00Z");
    world.ingest(days("una", "2026-10", &[900])).await;
    world.bill("2026-10").await;
    let range = Range::parse(Some("2026-09"), Some("2026-10")).unwrap();
    let wanted = Wanted { range: range.clone(), ..Wanted::default() };
    let report = told(&world, Kind::Deferred, &wanted).await;
    // Of the year's 100 the 122 days that are left, 33.42, of which 30 and 61 days are over at the
    // end of the months; una's fee of September, and with September's closing that of October.
    assert_eq!(
        rows(&report),
        [
            "2026-09 | USD | 0.00 | 93.42 | 0.00 | 38.22 | 55.20",
            "2026-10 | USD | 55.20 | 30.00 | 0.00 | 38.49 | 46.71",
        ]
    );
    let growth = told(&world, Kind::Growth, &wanted).await;
    assert_eq!(
        rows(&growth),
        [
            "yves | down | USD | 33.42 | 0.00 | -33.42 | -100",
            "una | down | USD | 61.50 | 43.50 | -18.00 | -29.27",
        ]
    );
}

#[tokio::test]
async fn reports_of_usage_refuse_what_they_cannot_tell() {
    let world = world().await;
    let refused = async |kind: Kind, wanted: Wanted, why: &str| {
        let error = world.engine.report(kind, &wanted).await.unwrap_err().to_string();
        assert!(error.contains(why), "{kind:?}: {error}");
    };
    refused(Kind::Forecast, Wanted::default(), "--customer").await;
    refused(Kind::Breakdown, of("ada", "2026-10", "2026-10"), "--property").await;
    refused(Kind::Top, asked("2026-10", "2026-10"), "--meter").await;
    refused(Kind::Revenue, asked("2026-10-01", "2026-10-02"), "over months").await;
    refused(Kind::Usage, of("nobody", "2026-10", "2026-10"), "nobody").await;
    let hours = Wanted { by: Some(By::Hour), ..of("ada", "2026-01", "2026-10") };
    refused(Kind::Trends, hours, "more than 1000 steps").await;
    let never =
        Wanted { deviations: Some("0".parse().unwrap()), ..of("ada", "2026-10", "2026-10") };
    refused(Kind::Anomalies, never, "greater than zero").await;
    assert!(Range::parse(Some("2026-10-02"), Some("2026-10-01")).is_ok());
    refused(Kind::Usage, asked("2026-10-02", "2026-10-01"), "must end after it begins").await;
    assert!(Range::parse(None, Some("2026-10-01")).is_err());
}

/// What an empty range, one event, and a customer without a contract come to.
#[tokio::test]
async fn little_and_nothing_are_reported_as_such() {
    let world = world().await;
    world.customer("idle", "UTC", None).await;
    let idle: CustomerId = id("idle");
    for kind in [Kind::Usage, Kind::Statistics, Kind::Trends, Kind::Peaks, Kind::Anomalies] {
        let wanted = Wanted { customer: Some(idle.clone()), ..asked("2026-10", "2026-10") };
        assert!(told(&world, kind, &wanted).await.table.rows.is_empty(), "{kind:?}");
        assert!(told(&world, kind, &of("ada", "2020-01", "2020-01")).await.table.rows.is_empty());
    }
    world.ingest(vec![event("one", "idle", "call", at("2026-10-05T00:00:00Z"))]).await;
    let one = of("idle", "2026-10", "2026-10");
    // It has no contract: there is usage and no price.
    assert_eq!(rows(&told(&world, Kind::Usage, &one).await), ["calls | units | 1 | 1 |  | "]);
    assert_eq!(
        rows(&told(&world, Kind::Statistics, &one).await),
        ["calls | units | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | exact | 0"]
    );
}
