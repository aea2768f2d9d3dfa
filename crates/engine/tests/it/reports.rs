//! The reports of finance, against figures worked out by hand.

use counterfoil_engine::{
    contracts::Effective,
    credit_notes::{CreditRequest, PaidBack},
    payments::Payment,
    reports::{By, Kind, Range, Report, Wanted},
};
use counterfoil_invoicing::{ChangeKind, Customer, credit_note::CreditScope};
use counterfoil_types::{Currency, Quantity};

use crate::world::{With, World, at, dollars, event, id, subscription};

/// One book in dollars, one in euros, over the same meter.
pub(crate) const BOOKS: [&str; 2] = [
    r#"
[book]
name = "fin"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "basic"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "30"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.015"
[[plan]]
key = "pro"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "90"
[[plan.charge]]
key = "seats"
model = "per_unit"
licensed = true
unit_price = "7"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.01"
[[plan]]
key = "yearly"
interval = "month"
[[plan.charge]]
key = "licence"
model = "flat"
amount = "100"
interval = "year"
[[plan]]
key = "quarterly"
interval = "quarter"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "60"
[[plan.charge]]
key = "setup"
model = "flat"
amount = "500"
recurrence = "once"
"#,
    r#"
[book]
name = "fin-eu"
version = "1"
currency = "EUR"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "eu"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "20"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.1"
"#,
];

/// The report as text, row by row.
pub(crate) fn rows(report: &Report) -> Vec<String> {
    report.table.plain().map(|row| row.join(" | ")).collect()
}

fn totals(report: &Report) -> Vec<String> {
    report.totals.plain().map(|row| row.join(" | ")).collect()
}

pub(crate) async fn report(world: &World, kind: Kind) -> Report {
    world.engine.report(kind, &Wanted::default()).await.unwrap()
}

fn months(from: &str, to: &str) -> Range {
    Range::new(Some(&from.parse().unwrap()), Some(&to.parse().unwrap())).unwrap()
}

async fn revenue(world: &World, by: By, range: Range) -> Report {
    let wanted = Wanted { range, by: Some(by), ..Wanted::default() };
    world.engine.report(Kind::Revenue, &wanted).await.unwrap()
}

fn seats(count: u32) -> ChangeKind {
    ChangeKind::Quantity { charge: "seats".to_owned(), quantity: Quantity::from(count) }
}

fn to_plan(plan: &str) -> ChangeKind {
    ChangeKind::Plan { plan: plan.parse().unwrap(), book: None, pinned: None }
}

async fn change(world: &World, name: &str, on: &str, what: ChangeKind) {
    let on = Effective::On(on.parse().unwrap());
    world.engine.change_subscription(&name.parse().unwrap(), on, what).await.unwrap();
}

async fn credit(world: &World, name: &str, cycle: u32, scope: CreditScope) {
    let invoice = world.invoice(name, cycle).await.unwrap().id;
    let request = CreditRequest {
        id: format!("note-{name}-{cycle}"),
        invoice,
        scope,
        reason: "goodwill".to_owned(),
        paid_back: PaidBack::Balance,
        corrects: Vec::new(),
    };
    world.engine.credit(&request).await.unwrap();
}

/// September and October of three customers, an upgrade, a credit note, a partial payment, a void.
async fn billed() -> World {
    let world = World::new(2).await;
    for book in BOOKS {
        world.publish(book).await;
    }
    world.customer("acme", "UTC", Some("10")).await;
    world.customer("beta", "America/New_York", None).await;
    let euro = Customer::new(id("euro"), "=euro()", Currency::EUR, "UTC".parse().unwrap());
    world.engine.put_customer(&euro).await.unwrap();
    world.subscribe("acme", "fin", "basic", "2026-09-01").await;
    let mut beta = subscription("beta", "fin", "pro", "2026-10-01");
    beta.quantities.insert("seats".to_owned(), 3.into());
    world.engine.start_subscription(&beta).await.unwrap();
    world.subscribe("euro", "fin-eu", "eu", "2026-10-01").await;
    let call = |id: &str, customer: &str, time: &str, count: &str| {
        event(id, customer, "call", at(time)).quantity(count)
    };
    world.set_clock("2026-10-02T00:00:00Z");
    world.ingest(vec![call("a", "acme", "2026-09-10T00:00:00Z", "101")]).await;
    world.bill("2026-09").await;
    world.set_clock("2026-10-16T12:00:00Z");
    change(&world, "acme", "2026-10-16", to_plan("pro")).await;
    world.set_clock("2026-11-02T00:00:00Z");
    let used = vec![
        call("b", "acme", "2026-10-15T23:59:59Z", "40"),
        call("c", "acme", "2026-10-16T00:00:00Z", "50"),
        call("d", "euro", "2026-10-20T00:00:00Z", "10"),
    ];
    world.ingest(used).await;
    world.bill("2026-10").await;
    world.set_clock("2026-11-03T00:00:00Z");
    // 11 with 10 % tax is 10 net.
    let fee = world.invoice("acme", 1).await.unwrap().body.lines;
    let fee = fee.iter().position(|line| line.charge == "fee").unwrap();
    credit(&world, "acme", 1, CreditScope::Lines(vec![(fee, Some(dollars("11")))])).await;
    let payment = Payment {
        id: "bank-1".to_owned(),
        customer: id("beta"),
        amount: dollars("100"),
        invoices: Vec::new(),
        method: None,
        received_at: at("2026-11-03T00:00:00Z"),
    };
    world.engine.record_payment(&payment).await.unwrap();
    let wrong = world.invoice("euro", 1).await.unwrap().id;
    world.engine.void_invoice(&wrong, "not agreed").await.unwrap();
    world
}

#[tokio::test]
async fn revenue_is_the_same_sum_however_it_is_grouped() {
    let world = billed().await;
    // September: the opening fee 30; 101 × 0.015 = 1.515, October's fee 30.
    // October: the upgrade takes 15.48 back (30 − 30 × 15/31) and bills 90 × 16/31 = 46.45; 0.60
    // and 0.50 of calls, November's fee 90: 122.07. Beta: twice 90 + 21. Euro: 20, the other void.
    let all = Range::default();
    let by_month = revenue(&world, By::Month, all.clone()).await;
    assert_eq!(by_month.table.columns[..3], ["month", "currency", "invoiced"]);
    let expected = [
        "2026-09 | USD | 61.52 | 0.00 | 61.52 | 0.00",
        "2026-10 | EUR | 20.00 | 0.00 | 20.00 | 0.00",
        "2026-10 | USD | 344.07 | 0.00 | 344.07 | 0.00",
        "2026-11 | USD | 0.00 | 10.00 | -10.00 | 0.00",
    ];
    assert_eq!(rows(&by_month), expected);
    let sums = ["EUR | 20.00 | 0.00 | 20.00 | 0.00", "USD | 405.59 | 10.00 | 395.59 | 0.00"];
    assert_eq!(totals(&by_month), sums);

    let by_plan = revenue(&world, By::Plan, all.clone()).await;
    let expected = [
        // 30 + 31.52 − 15.48 + 0.60
        "basic | USD | 46.64 | 10.00 | 36.64 | 0.00",
        "eu | EUR | 20.00 | 0.00 | 20.00 | 0.00",
        "pro | USD | 358.95 | 0.00 | 358.95 | 0.00",
    ];
    assert_eq!(rows(&by_plan), expected);

    let by_meter = revenue(&world, By::Meter, all.clone()).await;
    let expected = [
        "(fee) fee | EUR | 20.00 | 0.00 | 20.00 | 0.00",
        "(fee) fee | USD | 360.97 | 10.00 | 350.97 | 0.00",
        "(fee) seats | USD | 42.00 | 0.00 | 42.00 | 0.00",
        "calls | USD | 2.62 | 0.00 | 2.62 | 0.00",
    ];
    assert_eq!(rows(&by_meter), expected);

    let by_customer = revenue(&world, By::Customer, all).await;
    let expected = [
        "acme | USD | 183.59 | 10.00 | 173.59 | 0.00",
        "beta | USD | 222.00 | 0.00 | 222.00 | 0.00",
        "euro | EUR | 20.00 | 0.00 | 20.00 | 0.00",
    ];
    assert_eq!(rows(&by_customer), expected);
    for other in [&by_plan, &by_meter, &by_customer] {
        assert_eq!(totals(other), sums);
    }
    let november = revenue(&world, By::Plan, months("2026-11", "2026-11")).await;
    assert_eq!(rows(&november), ["basic | USD | 0.00 | 10.00 | -10.00 | 0.00"]);
    assert!(rows(&revenue(&world, By::Month, months("2027-01", "2027-05")).await).is_empty());
    assert_eq!(world.problems().await, Vec::<String>::new());
}

/// Prices that contain tax, and prepaid credit: net is without tax, prepaid stands beside it.
#[tokio::test]
async fn revenue_is_net_of_tax_that_prices_contain() {
    let world = World::new(1).await;
    world.publish(BOOKS[0]).await;
    let customer = Customer {
        tax: vec![counterfoil_invoicing::TaxRate {
            name: "VAT".to_owned(),
            percent: "20".parse().unwrap(),
        }],
        tax_mode: counterfoil_invoicing::TaxMode::Inclusive,
        ..Customer::new(id("inc"), "Inc", Currency::USD, "UTC".parse().unwrap())
    };
    world.engine.put_customer(&customer).await.unwrap();
    let grant = counterfoil_invoicing::Grant {
        id: "welcome".to_owned(),
        customer: id("inc"),
        name: "Welcome".to_owned(),
        kind: counterfoil_invoicing::GrantKind::Promotional,
        unit: counterfoil_invoicing::GrantUnit::Currency(Currency::USD),
        amount: "18".parse().unwrap(),
        priority: 0,
        from: at("2026-08-01T00:00:00Z"),
        expires: None,
        renewal: None,
        renews: None,
    };
    world.engine.grant(&grant).await.unwrap();
    world.subscribe("inc", "fin", "basic", "2026-09-01").await;
    world.set_clock("2026-10-02T00:00:00Z");
    world.bill("2026-09").await;
    // Opening: 30, of which 18 prepaid; tax within the other 12 is 2; so 28 net. October's fee: 30
    // with 5 of tax, 25 net.
    let report = revenue(&world, By::Meter, Range::default()).await;
    let expected = [
        "(fee) fee | USD | 53.00 | 0.00 | 53.00 | 18.00",
        "calls | USD | 0.00 | 0.00 | 0.00 | 0.00",
    ];
    assert_eq!(rows(&report), expected);
    // All of the opening invoice is given back: what was prepaid goes back to the grant.
    credit(&world, "inc", 0, CreditScope::Full).await;
    let report = revenue(&world, By::Customer, Range::default()).await;
    assert_eq!(rows(&report), ["inc | USD | 53.00 | 28.00 | 25.00 | 0.00"]);
    let checks = report_of_all(&world).await;
    assert!(!checks.wants_decision, "{:#?}", rows(&checks));
}

async fn report_of_all(world: &World) -> Report {
    report(world, Kind::Reconciliation).await
}

#[tokio::test]
async fn recurring_revenue_moves_by_what_contracts_say() {
    let world = World::new(1).await;
    world.publish(BOOKS[0]).await;
    for name in ["a", "b", "g"] {
        world.customer(name, "UTC", None).await;
    }
    world.subscribe("a", "fin", "basic", "2026-09-01").await;
    let mut b = subscription("b", "fin", "pro", "2026-10-01");
    b.quantities.insert("seats".to_owned(), 3.into());
    world.engine.start_subscription(&b).await.unwrap();
    let mut g = subscription("g", "fin", "yearly", "2026-09-15");
    g.trial_days = Some(30);
    world.engine.start_subscription(&g).await.unwrap();
    world.set_clock("2027-01-05T00:00:00Z");
    change(&world, "a", "2026-10-16", to_plan("pro")).await;
    change(&world, "b", "2026-11-20", seats(1)).await;
    let end = Effective::On("2026-12-10".parse().unwrap());
    world.engine.end_subscription(&"b".parse().unwrap(), end).await.unwrap();
    change(&world, "g", "2026-11-10", ChangeKind::Pause).await;
    change(&world, "g", "2026-12-05", ChangeKind::Resume).await;
    let report = report(&world, Kind::Mrr).await;
    let columns = "month currency opening new expansion contraction churn reactivation closing customers usage";
    assert_eq!(report.table.columns, columns.split(' ').collect::<Vec<_>>());
    let expected = [
        // Basic; g is on trial.
        "2026-09 | USD | 0.00 | 30.00 | 0.00 | 0.00 | 0.00 | 0.00 | 30.00 | 1 | 0.00",
        // b: 90 + 3 × 7; g: 100 / 12; a: 30 → 90.
        "2026-10 | USD | 30.00 | 119.33 | 60.00 | 0.00 | 0.00 | 0.00 | 209.33 | 3 | 0.00",
        // b: two seats less; g is paused.
        "2026-11 | USD | 209.33 | 0.00 | 0.00 | -14.00 | -8.33 | 0.00 | 187.00 | 2 | 0.00",
        // b has ended; g is back.
        "2026-12 | USD | 187.00 | 0.00 | 0.00 | 0.00 | -97.00 | 8.33 | 98.33 | 2 | 0.00",
    ];
    assert_eq!(rows(&report), expected);
    let wanted = Wanted { range: months("2026-11", "2026-12"), ..Wanted::default() };
    let later = world.engine.report(Kind::Mrr, &wanted).await.unwrap();
    assert_eq!(rows(&later), expected[2..], "a range cuts the rows, not what was before");
    let wanted = Wanted { range: months("2026-11", "2027-02"), ..Wanted::default() };
    let error = world.engine.report(Kind::Mrr, &wanted).await.unwrap_err();
    assert!(error.to_string().contains("2027-02 has not begun"), "{error}");
}

#[tokio::test]
async fn recurring_revenue_counts_two_currencies_and_usage_beside_it() {
    let world = billed().await;
    world.customer("slow", "UTC", None).await;
    world.subscribe("slow", "fin", "quarterly", "2026-11-15").await;
    world.set_clock("2026-12-01T00:00:00Z");
    let report = report(&world, Kind::Mrr).await;
    let expected = [
        "2026-10 | EUR | 0.00 | 20.00 | 0.00 | 0.00 | 0.00 | 0.00 | 20.00 | 1 | 0.00",
        "2026-11 | EUR | 20.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 20.00 | 1 | 0.00",
        "2026-09 | USD | 0.00 | 30.00 | 0.00 | 0.00 | 0.00 | 0.00 | 30.00 | 1 | 1.52",
        "2026-10 | USD | 30.00 | 111.00 | 60.00 | 0.00 | 0.00 | 0.00 | 201.00 | 2 | 1.10",
        // 60 a quarter; what is paid once does not recur.
        "2026-11 | USD | 201.00 | 20.00 | 0.00 | 0.00 | 0.00 | 0.00 | 221.00 | 3 | 0.00",
    ];
    assert_eq!(rows(&report), expected);
}

#[tokio::test]
async fn ageing_is_what_stands_on_the_accounts() {
    let world = billed().await;
    // Acme's first two invoices (33.00, and 34.67 less a note of 11) were due on 1 November, the
    // third (122.07 and 12.21 of tax) on 2 December. Beta paid 100 of 222. Euro owes 20.
    let columns =
        "customer currency not_due days_1_30 days_31_60 days_61_90 over_90_days total written_off";
    let at_the_start = report(&world, Kind::Ageing).await;
    assert_eq!(at_the_start.table.columns, columns.split(' ').collect::<Vec<_>>());
    let expected = [
        "acme | USD | 134.28 | 56.67 | 0.00 | 0.00 | 0.00 | 190.95 | 0.00",
        "beta | USD | 122.00 | 0.00 | 0.00 | 0.00 | 0.00 | 122.00 | 0.00",
        "euro | EUR | 20.00 | 0.00 | 0.00 | 0.00 | 0.00 | 20.00 | 0.00",
    ];
    assert_eq!(rows(&at_the_start), expected);
    world.set_clock("2026-12-15T00:00:00Z");
    world.engine.dun().await.unwrap();
    let first = world.invoice("acme", 0).await.unwrap().id;
    world.engine.write_off(&first, "insolvent").await.unwrap();
    let later = report(&world, Kind::Ageing).await;
    let expected = [
        "acme | USD | 0.00 | 134.28 | 23.67 | 0.00 | 0.00 | 157.95 | 33.00",
        "beta | USD | 0.00 | 122.00 | 0.00 | 0.00 | 0.00 | 122.00 | 0.00",
        "euro | EUR | 0.00 | 20.00 | 0.00 | 0.00 | 0.00 | 20.00 | 0.00",
    ];
    assert_eq!(rows(&later), expected);
    let sums = [
        "EUR | 0.00 | 20.00 | 0.00 | 0.00 | 0.00 | 20.00 | 0.00",
        "USD | 0.00 | 256.28 | 23.67 | 0.00 | 0.00 | 279.95 | 33.00",
    ];
    assert_eq!(totals(&later), sums);
    assert!(!report_of_all(&world).await.wants_decision);
}

#[tokio::test]
async fn a_manifest_tells_what_became_of_each_cycle() {
    let world = billed().await;
    let manifest = report(&world, Kind::Manifest).await;
    let told: Vec<String> = manifest.table.plain().map(|row| row[2..].join(" | ")).collect();
    let expected = [
        "acme | acme | 2 | finalized |  | INV-2026-000003 | USD | 134.28 | 34.67 | 99.61",
        "beta | beta | 0 | finalized |  | INV-2026-000004 | USD | 111.00 |  | ",
        "beta | beta | 1 | finalized |  | INV-2026-000005 | USD | 111.00 |  | ",
        "euro | euro | 0 | finalized |  | INV-2026-000006 | EUR | 20.00 |  | ",
        "euro | euro | 1 | finalized |  | INV-2026-000007 | EUR | 21.00 |  | ",
    ];
    assert_eq!(told, expected);
    assert_eq!(totals(&manifest), ["finalized | EUR | 2 | 41.00", "finalized | USD | 3 | 356.28"]);
    let runs = world.engine.store().runs(&world.engine.tenant().id).await.unwrap();
    let wanted = Wanted { run: Some(runs[0].id), ..Wanted::default() };
    let september = world.engine.report(Kind::Manifest, &wanted).await.unwrap();
    assert_eq!(september.table.rows.len(), 2);
    let wanted = Wanted { run: Some(runs[0].id), by: Some(By::Plan), ..Wanted::default() };
    assert!(world.engine.report(Kind::Manifest, &wanted).await.is_err(), "no use for --by");
}

#[tokio::test]
async fn everything_reconciles_after_notes_payments_and_voids() {
    let world = billed().await;
    let report = report_of_all(&world).await;
    assert!(!report.wants_decision, "{:#?}", rows(&report));
    let expected = [
        "ledger = aggregates | calls | measured | 8 | 201 | 201 | 0 | ok",
        "lines = usage | calls | units | 4 | 191 | 191 | 0 | ok",
        "totals = issued | invoices | USD | 5 | 423.95 | 423.95 | 0 | ok",
        "open = total - paid - credited - voided | invoices | USD | 5 | 312.95 | 312.95 | 0 | ok",
        "postings = balances | receivable | EUR | 2 | 20 | 20 | 0 | ok",
        "payments = postings | payments | USD | 1 | 100 | 100 | 0 | ok",
        "notes = postings | credit notes | USD | 1 | 11 | 11 | 0 | ok",
    ];
    let told = rows(&report);
    for row in expected {
        assert!(told.iter().any(|other| other == row), "{row} is missing in {told:#?}");
    }
    let wanted = Wanted { range: months("2026-09", "2026-09"), ..Wanted::default() };
    let september = world.engine.report(Kind::Reconciliation, &wanted).await.unwrap();
    let issued = "totals = issued | invoices | USD | 2 | 67.67 | 67.67 | 0 | ok";
    assert!(rows(&september).iter().any(|row| row == issued), "{:#?}", rows(&september));
}

#[tokio::test]
async fn a_difference_is_named_and_wants_a_decision() {
    for (statement, places) in [
        (
            "UPDATE account SET balance = '1' WHERE name LIKE 'receivable/%' AND balance = '11'",
            ["postings = balances | receivable/", "| 11 | 1 | 10 | differs"],
        ),
        (
            "UPDATE posting SET amount = '112', balance = '112' WHERE cause = 'invoice' AND amount = '111' AND balance = '111'",
            ["totals = issued | INV-2026-00000", "| 111 | 112 | -1 | differs"],
        ),
        (
            "UPDATE aggregate SET state = replace(state, '\"101\"', '\"100\"')",
            ["ledger = aggregates | calls: differing aggregates", "| 0 | 1 | -1 | differs"],
        ),
    ] {
        let world = billed().await;
        report_of_all(&world).await;
        let mut other = world.intruder().await;
        sqlx::raw_sql(
            "DROP TRIGGER IF EXISTS posting_no_update; DROP TRIGGER IF EXISTS account_no_update;",
        )
        .execute(&mut other)
        .await
        .unwrap();
        let done = sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement} changed nothing");
        let report = report_of_all(&world).await;
        assert!(report.wants_decision, "{statement}");
        let named = |row: &String| places.iter().all(|place| row.contains(place));
        assert!(rows(&report).iter().any(named), "{statement} gave {:#?}", rows(&report));
    }
}

#[tokio::test]
async fn a_store_without_anything_has_empty_reports() {
    let world = World::new(1).await;
    for kind in [
        Kind::Manifest,
        Kind::Revenue,
        Kind::Mrr,
        Kind::Ageing,
        Kind::Rounding,
        Kind::Late,
        Kind::Unbilled,
    ] {
        let report = report(&world, kind).await;
        assert!(report.table.rows.is_empty() && !report.table.columns.is_empty(), "{kind:?}");
        assert!(!report.wants_decision);
    }
    assert!(!report_of_all(&world).await.wants_decision);
    let (late, early) = ("2026-10".parse().unwrap(), "2026-09".parse().unwrap());
    assert!(Range::new(Some(&late), Some(&early)).is_err());
}
