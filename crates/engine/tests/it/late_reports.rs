//! The late-arrival report, the rounding ledger and the list of what is not billed.

use counterfoil_engine::{
    credit_notes::{CreditRequest, PaidBack},
    reports::{Kind, Range, Wanted},
};
use counterfoil_invoicing::{Customer, TaxMode, TaxRate, credit_note::CreditScope};
use counterfoil_ledger::Event;
use counterfoil_types::{Currency, Exact};

use crate::{
    reports::{BOOKS, report, rows},
    world::{With, World, at, dollars, event, id},
};

/// One price, three policies for what comes late.
const LATE: &str = r#"
[book]
name = "tardy"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "next"
interval = "month"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.5"
[[plan]]
key = "reported"
interval = "month"
late_events = "report_only"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.5"
[[plan]]
key = "noted"
interval = "month"
late_events = "credit_note"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.5"
[[plan]]
key = "cheap"
interval = "month"
late_events = "credit_note"
discounts = [ { percent = "10" } ]
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.5"
"#;

fn call(id: &str, customer: &str, time: &str, count: &str) -> Event {
    event(id, customer, "call", at(time)).quantity(count)
}

#[tokio::test]
async fn late_events_are_told_with_what_became_of_them() {
    let world = World::new(2).await;
    world.publish(LATE).await;
    for (name, plan) in [("n", "next"), ("r", "reported"), ("c", "noted"), ("q", "next")] {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "tardy", plan, "2026-09-01").await;
    }
    let september = "2026-09-10T00:00:00Z";
    world.set_clock("2026-10-02T00:00:00Z");
    let first = ["n", "r", "c", "q"].map(|name| call(&format!("{name}1"), name, september, "100"));
    world.ingest(first.to_vec()).await;
    world.bill("2026-09").await;
    assert!(report(&world, Kind::Late).await.table.rows.is_empty());
    world.set_clock("2026-11-02T00:00:00Z");
    world
        .ingest(vec![
            call("n2", "n", september, "50"),
            call("n3", "n", "2026-09-30T23:59:59Z", "2"),
            call("n4", "n", "2026-10-01T00:00:00Z", "9"),
            event("n5", "n", "other", at(september)),
            call("r2", "r", september, "7"),
            call("c2", "c", september, "100").reverses("c1"),
            call("c3", "c", september, "60"),
        ])
        .await;
    world.bill("2026-10").await;
    world.ingest(vec![call("n6", "n", september, "5")]).await;
    let told = report(&world, Kind::Late).await;
    let invoice =
        async |name: &str, cycle| world.invoice(name, cycle).await.unwrap().number.unwrap();
    let (c1, n1, r1) = (invoice("c", 1).await, invoice("n", 1).await, invoice("r", 1).await);
    let n2 = invoice("n", 2).await;
    let row = |name: &str, number: &str, rest: &str| {
        format!("{name} | {name} | {number} | 2026-09-01T00:00:00Z | 2026-10-01T00:00:00Z | {rest}")
    };
    let expected = [
        row("c", &c1, "calls | call | 2 | -40 | units | credited | CN-2026-000001"),
        row("n", &n1, " | other | 1 |  |  | not billed: no charge prices it | "),
        row("n", &n1, &format!("calls | call | 2 | 52 | units | billed | {n2}")),
        row("n", &n1, "calls | call | 1 | 5 | units | waits for the next invoice | "),
        row("r", &r1, "calls | call | 1 | 7 | units | reported only | "),
    ];
    assert_eq!(rows(&told), expected);
    // 100 − 60 calls at 0.5
    assert_eq!(
        world.engine.notes_on(&world.invoice("c", 1).await.unwrap().id).await.unwrap()[0].total,
        dollars("20")
    );
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let n3 = invoice("n", 3).await;
    let settled = report(&world, Kind::Late).await;
    let row = row("n", &n1, &format!("calls | call | 1 | 5 | units | billed | {n3}"));
    assert!(rows(&settled).contains(&row), "{:#?}", rows(&settled));
    let checks = report(&world, Kind::Reconciliation).await;
    assert!(!checks.wants_decision, "{:#?}", rows(&checks));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_rounding_of_corrections_sums_to_one_rounding() {
    let world = World::new(1).await;
    world.publish(BOOKS[0]).await;
    world.customer("acme", "UTC", None).await;
    world.subscribe("acme", "fin", "basic", "2026-09-01").await;
    let september = "2026-09-10T00:00:00Z";
    world.set_clock("2026-10-02T00:00:00Z");
    world.ingest(vec![call("a", "acme", september, "101")]).await;
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.ingest(vec![call("b", "acme", september, "2")]).await;
    world.bill("2026-10").await;
    let ledger = report(&world, Kind::Rounding).await;
    let calls: Vec<String> = ledger
        .table
        .plain()
        .filter(|row| row[5] == "calls")
        .map(|row| row[4..].join(" | "))
        .collect();
    let expected = [
        // 101 × 0.015 = 1.515
        "usage | calls | USD | 1.515 | 1.52 | 0.005",
        "usage | calls | USD | 0 | 0.00 | 0",
        // 103 × 0.015 = 1.545, billed as 1.55 less 1.52; exactly 0.03 came to it
        "late_usage | calls | USD | 0.03 | 0.03 | 0",
    ];
    assert_eq!(calls, expected);
    let totals: Vec<String> = ledger.totals.plain().map(|row| row.join(" | ")).collect();
    // Three fees of 30 and the calls: 1.545 exactly, 1.55 billed.
    assert_eq!(totals, ["USD | 6 | 91.545 | 91.55 | 0.005 | 0 | 0.005"]);
}

/// A late credit note of a customer whose prices contain the tax gives back the difference with
/// its tax, not more, and never stops the run.
#[tokio::test]
async fn a_late_credit_note_keeps_to_prices_that_contain_tax() {
    for (count, gross, tax) in [("60", "20.00", "3.33"), ("0", "50.00", "8.33")] {
        let world = World::new(1).await;
        world.publish(LATE).await;
        let customer = Customer {
            tax: vec![TaxRate { name: "VAT".to_owned(), percent: "20".parse().unwrap() }],
            tax_mode: TaxMode::Inclusive,
            ..Customer::new(id("c"), "C", Currency::USD, "UTC".parse().unwrap())
        };
        world.engine.put_customer(&customer).await.unwrap();
        world.subscribe("c", "tardy", "noted", "2026-09-01").await;
        let september = "2026-09-10T00:00:00Z";
        world.set_clock("2026-10-02T00:00:00Z");
        world.ingest(vec![call("c1", "c", september, "100")]).await;
        world.bill("2026-09").await;
        let first = world.invoice("c", 1).await.unwrap();
        assert_eq!((first.body.total, first.body.tax), (dollars("50"), dollars("8.33")));
        world.set_clock("2026-11-02T00:00:00Z");
        world.ingest(vec![call("c2", "c", september, count).amends("c1")]).await;
        world.bill("2026-10").await;
        let notes = world.engine.notes_on(&first.id).await.unwrap();
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].total, dollars(gross));
        assert_eq!(notes[0].taxes[0].amount, dollars(tax));
        world.set_clock("2026-12-02T00:00:00Z");
        world.bill("2026-11").await;
        assert_eq!(world.engine.notes_on(&first.id).await.unwrap().len(), 1, "credited once");
        assert_eq!(world.problems().await, Vec::<String>::new());
    }
}

/// An invoice with a line below zero that is credited wholly has nothing left, although one of its
/// lines has: what then gets cheaper late is not given back twice, and the run goes on.
#[tokio::test]
async fn a_late_credit_note_gives_back_no_more_than_is_left_of_the_invoice() {
    for (credited, late) in [("45", None), ("41", Some("4.00"))] {
        let mut world = World::new(1).await;
        world.options.accept = vec!["c".parse().unwrap()];
        world.publish(LATE).await;
        world.customer("c", "UTC", Some("0")).await;
        world.subscribe("c", "tardy", "cheap", "2026-09-01").await;
        let september = "2026-09-10T00:00:00Z";
        world.set_clock("2026-10-02T00:00:00Z");
        world.ingest(vec![call("c1", "c", september, "100")]).await;
        world.bill("2026-09").await;
        let first = world.invoice("c", 1).await.unwrap();
        assert_eq!(first.body.total, dollars("45"), "50 less 10 %");
        let request = CreditRequest {
            id: "goodwill".to_owned(),
            invoice: first.id,
            scope: CreditScope::Amount(dollars(credited)),
            reason: "goodwill".to_owned(),
            paid_back: PaidBack::Balance,
            corrects: Vec::new(),
        };
        world.engine.credit(&request).await.unwrap();
        world.set_clock("2026-11-02T00:00:00Z");
        world.ingest(vec![call("c2", "c", september, "0").amends("c1")]).await;
        world.bill("2026-10").await;
        let notes = world.engine.notes_on(&first.id).await.unwrap();
        let of_late = notes.iter().find(|note| note.id != "goodwill");
        assert_eq!(of_late.map(|note| note.total.to_plain()).as_deref(), late);
        // What no note could give back stands on the next invoice: nothing is lost.
        let next = world.invoice("c", 2).await.unwrap();
        let on_next = next.body.lines.iter().filter(|line| line.origin.is_some());
        let on_next = on_next.fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()));
        let by_note = late.map_or(Exact::ZERO, |late| Exact::parse(late).unwrap());
        assert_eq!(on_next.sub(&by_note), Exact::from(-45i64), "50 less 10 % were not used");
        let books = report(&world, Kind::Reconciliation).await;
        assert!(!books.wants_decision, "{:#?}", rows(&books));
        assert_eq!(world.problems().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_is_not_billed_is_reported_by_month() {
    let world = World::new(1).await;
    world.publish(LATE).await;
    world.customer("n", "UTC", None).await;
    world.subscribe("n", "tardy", "next", "2026-09-01").await;
    world.set_clock("2026-10-02T00:00:00Z");
    world
        .ingest(vec![
            call("s", "stranger", "2026-09-10T00:00:00Z", "1"),
            call("n", "n", "2026-09-10T00:00:00Z", "1"),
            event("o", "n", "other", at("2026-09-30T23:00:00Z")),
        ])
        .await;
    let all = report(&world, Kind::Unbilled).await;
    let told: Vec<String> = all.table.plain().map(|row| row[..4].join(" | ")).collect();
    let expected = [
        "n | other | no meter measures this type of event | 1",
        "stranger | call | unknown customer | 1",
    ];
    assert_eq!(told, expected);
    assert!(all.wants_decision);
    let wanted = Wanted {
        range: Range::new(Some(&"2026-10".parse().unwrap()), None).unwrap(),
        ..Wanted::default()
    };
    let october = world.engine.report(Kind::Unbilled, &wanted).await.unwrap();
    assert!(october.table.rows.is_empty() && !october.wants_decision);
}
