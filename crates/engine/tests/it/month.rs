//! A month end to end, against figures worked out by hand.

use counterfoil_engine::books::Published;
use counterfoil_engine::contracts::Effective;
use counterfoil_invoicing::{InvoiceState, LineKind, RunState};

use crate::world::{With, World, at, dollars, event, lines, shipped, subscription};

/// Four customers on three shipped books, with a month of usage.
async fn october() -> World {
    let world = World::new(4).await;
    for book in ["six-services.toml", "metering-engine.toml", "saas-plans.toml"] {
        let book = shipped(book);
        assert_eq!(world.engine.publish(&book).await.unwrap(), Published::Now);
        assert_eq!(world.engine.publish(&book).await.unwrap(), Published::Already);
    }
    world.customer("six", "UTC", None).await;
    world.customer("payg", "UTC", None).await;
    world.customer("berlin", "Europe/Berlin", Some("19")).await;
    world.customer("left", "UTC", None).await;
    world.subscribe("six", "six-services", "platform", "2026-10-01").await;
    world.subscribe("payg", "metering-engine", "payg", "2026-10-01").await;
    world.subscribe("berlin", "saas-plans", "pro", "2026-10-12").await;
    world.subscribe("left", "saas-plans", "starter", "2026-10-01").await;
    let left = "left".parse().unwrap();
    world.engine.end_subscription(&left, "2026-10-16".parse().unwrap()).await.unwrap();

    world.set_clock("2026-10-31T23:59:59Z");
    let noon = at("2026-10-20T12:30:00Z");
    let mut events = Vec::new();
    // 1,000 requests × 0.0001 = 0.10
    for number in 0..1000 {
        events.push(event(&format!("six-{number}"), "six", "api.request", noon));
    }
    // 100 GB for 360 hours, 200 GB for 384: 112,800 GB-hours × 0.0001 = 11.28
    let level = |id: &str, time: &str, bytes: &str| {
        event(id, "six", "storage.level", at(time)).number("bytes", bytes)
    };
    events.push(level("level-2", "2026-10-16T00:00:00Z", "200000000000"));
    events.push(level("level-1", "2026-10-01T00:00:00Z", "100000000000"));
    // 156.8 GB out × 0.05 = 7.84; what came in costs nothing
    for (number, (bytes, direction)) in
        [("100000000000", "egress"), ("56800000000", "egress"), ("50000000000", "ingress")]
            .into_iter()
            .enumerate()
    {
        let transfer = event(&format!("transfer-{number}"), "six", "bandwidth.transfer", noon);
        events.push(transfer.number("bytes", bytes).text("direction", direction));
    }
    // 45,000 CPU seconds = 12.5 hours × 0.05 = 0.625, rounded to 0.63
    events.push(event("cpu", "six", "compute.usage", noon).number("cpu_seconds", "45000"));
    // 46 started thousands × 0.01 = 0.46; 8,900 × 0.0002 = 1.78
    events.push(event("db", "six", "database.query", noon).quantity("45600"));
    events.push(event("fn", "six", "function.invocation", noon).quantity("8900"));
    // (100,000 − 10,000) × 0.01 + 50,000 × 0.005 = 1,150; peak 120.5 GB: 23.75 + 4.10 = 27.85
    events.push(event("calls", "payg", "api.call", noon).quantity("150000"));
    events.push(event("peak-1", "payg", "storage.sample", noon).quantity("99"));
    events.push(
        event("peak-2", "payg", "storage.sample", at("2026-10-02T00:00:00Z")).quantity("120.5"),
    );
    // 32.75 GB × 0.08 = 2.62
    let bytes = event("bytes", "payg", "bandwidth.transfer", noon).number("bytes", "42750000000");
    events.push(bytes.text("direction", "egress"));
    // Twelve different users of the pro plan: 12 × 0.50 = 6
    for number in 0..40 {
        let mut seat = event(&format!("seat-{number}"), "berlin", "api.request", noon);
        seat.user = Some(format!("user {}", number % 12));
        events.push(seat);
    }
    world.ingest(events).await;
    world.set_clock("2026-11-02T00:00:00Z");
    world
}

#[tokio::test]
async fn a_month_comes_to_what_was_worked_out_by_hand() {
    let world = october().await;
    let run = world.bill("2026-10").await;
    assert_eq!((run.state, run.approved_by.as_deref()), (RunState::Finalized, Some("ann")));
    let total = async |name, cycle| {
        let invoice = world.invoice(name, cycle).await.unwrap();
        (invoice.body.subtotal, invoice.body.tax, invoice.body.total)
    };
    let untaxed = |text| (dollars(text), dollars("0"), dollars(text));
    // The opening invoice carries the fee of the first period.
    assert_eq!(total("six", 0).await, untaxed("20"));
    let six = world.invoice("six", 1).await.unwrap();
    let expected = [
        (LineKind::Usage, "api", "0.10"),
        (LineKind::Usage, "storage", "11.28"),
        (LineKind::Usage, "bandwidth", "7.84"),
        (LineKind::Usage, "compute", "0.63"),
        (LineKind::Usage, "database", "0.46"),
        (LineKind::Usage, "functions", "1.78"),
        (LineKind::FeeAdvance, "base", "20.00"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(kind, charge, amount)| (kind, charge.to_owned(), amount.to_owned()))
        .collect();
    assert_eq!(lines(&six), expected);
    assert_eq!(total("six", 1).await, untaxed("42.09"));
    assert_eq!(total("payg", 1).await, untaxed("1180.47"));
    assert!(world.invoice("payg", 0).await.is_none(), "nothing is due in advance");
    // 481 of 745 hours of October in Berlin: 99 × 481 / 745 = 63.918…; 19 % of 63.92 = 12.1448
    assert_eq!(total("berlin", 0).await, (dollars("63.92"), dollars("12.14"), dollars("76.06")));
    // Twelve users and November's fee
    assert_eq!(total("berlin", 1).await, (dollars("105"), dollars("19.95"), dollars("124.95")));
    // 15 of 31 days: 29 × 15 / 31 = 14.03; then nothing more, and nothing to wait for
    assert_eq!(total("left", 0).await, untaxed("14.03"));
    assert_eq!(total("left", 1).await, untaxed("0"));
    assert_eq!(world.invoice("left", 1).await.unwrap().state, InvoiceState::Paid);
    assert_eq!(six.state, InvoiceState::Pending);

    let mut numbers: Vec<String> =
        world.invoices().await.into_iter().map(|invoice| invoice.number.unwrap()).collect();
    numbers.sort();
    let expected: Vec<String> = (1..=7).map(|n| format!("INV-2026-{n:06}")).collect();
    assert_eq!(numbers, expected);
    let manifest = world.engine.manifest(run).await.unwrap();
    assert_eq!(manifest.totals.items["finalized"], 7);
    assert_eq!(manifest.totals.items["skipped"], 1);
    // 20 + 42.09 + 1180.47 + 76.06 + 124.95 + 14.03 + 0
    assert_eq!(manifest.totals.totals["USD"], dollars("1457.60"));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn billing_a_month_again_bills_nothing_new() {
    let world = october().await;
    world.bill("2026-10").await;
    let before = world.invoices().await;
    let run = world.bill("2026-10").await;
    assert_eq!(run.attempt, 2);
    let manifest = world.engine.manifest(run).await.unwrap();
    assert_eq!(manifest.totals.items.get("finalized"), None);
    assert!(manifest.totals.totals.is_empty());
    assert_eq!(world.invoices().await, before);
    // What starts later within the month is what a further run bills.
    world.customer("late-signup", "UTC", None).await;
    world.subscribe("late-signup", "six-services", "platform", "2026-10-31").await;
    world.bill("2026-10").await;
    assert_eq!(world.invoices().await.len(), before.len() + 2);
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn levels_last_into_the_next_month_without_new_events() {
    let world = october().await;
    world.bill("2026-10").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    // 200 GB × 720 hours × 0.0001 = 14.40, and December's fee
    let invoice = world.invoice("six", 2).await.unwrap();
    assert_eq!(invoice.body.total, dollars("34.40"));
    assert!(invoice.body.lines.iter().all(|line| line.kind != LineKind::LateUsage));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_comes_to_the_same() {
    let world = october().await;
    world.engine.project_all().await.unwrap();
    let dry = world.engine.dry_run(&"2026-10".parse().unwrap(), &world.options).await.unwrap();
    assert!(world.invoices().await.is_empty());
    assert!(world.engine.store().runs(&world.engine.tenant().id).await.unwrap().is_empty());
    let run = world.bill("2026-10").await;
    let real = world.engine.manifest(run).await.unwrap();
    assert_eq!(dry.totals.totals, real.totals.totals);
    assert_eq!(dry.totals.items["done"], real.totals.items["finalized"]);
}

#[tokio::test]
async fn a_month_is_not_run_before_it_is_over() {
    let world = october().await;
    world.set_clock("2026-11-01T12:59:59Z");
    let month = "2026-10".parse().unwrap();
    let error = world.engine.open_run(&month, &world.options).await.unwrap_err();
    assert!(error.to_string().contains("not over"), "{error}");
    world.set_clock("2026-11-01T13:00:00Z");
    world.engine.open_run(&month, &world.options).await.unwrap();
}

#[tokio::test]
async fn the_same_usage_is_never_billed_by_two_subscriptions() {
    let world = october().await;
    let mut second = subscription("six", "six-services", "platform", "2026-10-20");
    second.id = "six-again".parse().unwrap();
    let error = world.engine.start_subscription(&second).await.unwrap_err();
    assert!(error.to_string().contains("billed twice"), "{error}");
    world
        .engine
        .end_subscription(&"six".parse().unwrap(), Effective::On(second.start))
        .await
        .unwrap();
    world.engine.start_subscription(&second).await.unwrap();
    world.engine.start_subscription(&second).await.unwrap();
}

#[tokio::test]
async fn every_change_of_a_customer_is_a_fact() {
    let world = october().await;
    let stored = world.engine.customer(&crate::world::id("payg")).await.unwrap();
    let mut renamed = stored.clone();
    renamed.name = "Renamed".to_owned();
    let facts = async || {
        let facts = world.engine.store().facts(&world.engine.tenant().id, 0, 1000).await.unwrap();
        let puts = facts
            .into_iter()
            .filter(|fact| fact.fact.kind == "customer.put" && fact.fact.body["id"] == "payg");
        puts.map(|fact| fact.fact.body["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for customer in [&renamed, &renamed, &stored, &renamed] {
        world.clock.set(world.engine.now().plus_micros(1));
        world.engine.put_customer(customer).await.unwrap();
    }
    assert_eq!(facts().await, ["payg Ltd", "Renamed", "payg Ltd", "Renamed"]);
}

#[tokio::test]
async fn a_new_version_does_not_reach_back_to_invoiced_periods() {
    let world = World::new(1).await;
    let book = shipped("metering-engine.toml").text;
    world.publish(&book).await;
    world.customer("acme", "UTC", None).await;
    world.subscribe("acme", "metering-engine", "payg", "2026-10-01").await;
    world.set_clock("2026-11-02T09:00:00Z");
    world.bill("2026-10").await;
    let version = |day: &str| {
        let text = book
            .replace("version = \"2026-01\"", &format!("version = \"from-{day}\""))
            .replace("effective_from = \"2026-01-01\"", &format!("effective_from = \"{day}\""))
            .replace("\"0.005\"", "\"0.004\"");
        counterfoil_catalog::PriceBook::parse("next.toml", &text).unwrap()
    };
    let refused = world.engine.publish(&version("2026-10-15")).await.unwrap_err().to_string();
    assert!(refused.contains("INV-2026-000001"), "{refused}");
    world.engine.publish(&version("2026-12-01")).await.unwrap();
    assert_eq!(world.problems().await, Vec::<String>::new());
}

/// The invoice and the backtest know the same minimum of a plan.
#[tokio::test]
async fn a_backtest_of_the_same_prices_comes_to_what_was_billed() {
    let world = World::new(1).await;
    let text = shipped("metering-engine.toml")
        .text
        .replace("name = \"Pay as you go\"\n", "name = \"Pay as you go\"\nminimum = \"31\"\n");
    world.publish(&text).await;
    world.customer("acme", "Europe/Berlin", None).await;
    world.subscribe("acme", "metering-engine", "payg", "2026-10-17").await;
    let sent = event("e", "acme", "api.call", at("2026-10-20T00:00:00Z")).quantity("10500");
    world.set_clock("2026-11-02T09:00:00Z");
    world.ingest(vec![sent]).await;
    let october = "2026-10".parse().unwrap();
    let tried = counterfoil_catalog::PriceBook::parse("same.toml", &text).unwrap();
    let tested = world.engine.backtest(&tried, &october, &october).await.unwrap();
    world.bill("2026-10").await;
    let invoice = world.invoice("acme", 1).await.unwrap();
    // 15 of 31 days in October, one of them of 25 hours: 31 × 361 / 745 = 15.02, of which 5.00
    // were used.
    assert_eq!(invoice.body.subtotal, dollars("15.02"));
    assert_eq!(tested.rows[0].before, invoice.body.subtotal);
    assert_eq!(tested.rows[0].after, invoice.body.subtotal);
}
