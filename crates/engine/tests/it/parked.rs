//! Accounts that look wrong are parked with their reason; all others are billed.

use counterfoil_engine::run::Manifest;
use counterfoil_invoicing::{InvoiceState, ItemStatus, RunState};
use counterfoil_types::Quantity;

use crate::world::{With, World, at, billed, dollars, event};

fn book(version: &str, from: &str, plans: &[&str]) -> String {
    let mut text = format!(
        "[book]\nname = \"b\"\nversion = \"{version}\"\ncurrency = \"USD\"\neffective_from = \"{from}\"\n\
         [[meter]]\nkey = \"calls\"\nevent_type = \"call\"\naggregation = \"sum\"\n"
    );
    for plan in plans {
        text.push_str(&format!(
            "[[plan]]\nkey = \"{plan}\"\ninterval = \"month\"\n\
             [[plan.charge]]\nkey = \"calls\"\nmeter = \"calls\"\nmodel = \"graduated\"\n\
             tiers = [ {{ up_to = 100, unit_price = \"1\" }}, {{ unit_price = \"0.5\" }} ]\n"
        ));
    }
    text
}

async fn world(names: &[&str]) -> World {
    let world = World::new(2).await;
    world.publish(&book("1", "2026-01-01", &["p", "old"])).await;
    for name in names {
        world.customer(name, "UTC", None).await;
        let plan = if *name == "old" { "old" } else { "p" };
        world.subscribe(name, "b", plan, "2026-09-01").await;
    }
    world
}

async fn use_up(world: &World, id: &str, customer: &str, time: &str, amount: &str) {
    world.ingest(vec![event(id, customer, "call", at(time)).quantity(amount)]).await;
}

fn parked(manifest: &Manifest) -> Vec<(String, String)> {
    manifest
        .exceptions
        .iter()
        .filter(|item| item.status == ItemStatus::Parked)
        .map(|item| (item.subscription.to_string(), item.reason.clone().unwrap()))
        .collect()
}

#[tokio::test]
async fn an_account_out_of_bounds_is_parked_and_the_others_are_billed() {
    let mut world = world(&["big", "credit", "fine"]).await;
    world.options.bounds.max_total = Quantity::from(500);
    world.set_clock("2026-10-02T00:00:00Z");
    use_up(&world, "a", "big", "2026-09-10T00:00:00Z", "100000").await;
    use_up(&world, "b", "fine", "2026-09-10T00:00:00Z", "10").await;
    use_up(&world, "c", "credit", "2026-09-10T00:00:00Z", "-5").await;
    let run = world.bill("2026-09").await;
    let manifest = world.engine.manifest(run).await.unwrap();
    let found = parked(&manifest);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("big", "credit"));
    assert!(found[0].1.contains("above the bound of 500"), "{found:?}");
    assert!(found[1].1.contains("below zero"), "{found:?}");
    assert_eq!(world.invoice("fine", 1).await.unwrap().body.total, dollars("10"));
    assert!(world.invoice("big", 1).await.is_none(), "its draft goes, the item stays");
    // Once somebody has looked at it, a further run bills it, with the next number.
    world.options.accept.push("big".parse().unwrap());
    world.bill("2026-09").await;
    let invoice = world.invoice("big", 1).await.unwrap();
    assert_eq!(invoice.body.total, dollars("50050"));
    assert_eq!(invoice.number.as_deref(), Some("INV-2026-000002"));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn growth_beyond_the_bound_is_parked() {
    let world = world(&["acme"]).await;
    world.set_clock("2026-10-02T00:00:00Z");
    use_up(&world, "a", "acme", "2026-09-10T00:00:00Z", "60").await;
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    use_up(&world, "b", "acme", "2026-10-10T00:00:00Z", "6000").await;
    let run = world.compute("2026-10").await;
    let found = parked(&world.engine.manifest(run.clone()).await.unwrap());
    assert!(found[0].1.contains("more than 20 times"), "{found:?}");
    // A resume with the account accepted bills it in the same run.
    let mut options = world.options.clone();
    options.accept.push("acme".parse().unwrap());
    let books = std::sync::Arc::new(world.engine.books().await.unwrap());
    let run = world.engine.compute_run(&books, run, &options, &|_| {}).await.unwrap();
    world.finalize(run).await;
    assert_eq!(world.invoice("acme", 2).await.unwrap().body.total, dollars("3050"));
}

#[tokio::test]
async fn a_subscription_whose_plan_is_gone_is_parked_and_others_finish() {
    let world = world(&["fine", "old"]).await;
    world.publish(&book("2", "2026-10-01", &["p"])).await;
    world.set_clock("2026-10-02T00:00:00Z");
    use_up(&world, "a", "old", "2026-09-10T00:00:00Z", "7").await;
    use_up(&world, "b", "fine", "2026-10-01T00:00:00Z", "3").await;
    let run = world.bill("2026-09").await;
    let found = parked(&world.engine.manifest(run).await.unwrap());
    assert_eq!(found[0].0, "old");
    assert!(found[0].1.contains("plan"), "{found:?}");
    world.set_clock("2026-11-02T00:00:00Z");
    let run = world.bill("2026-10").await;
    assert_eq!(run.state, RunState::Finalized);
    let found = parked(&world.engine.manifest(run).await.unwrap());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(world.invoice("fine", 2).await.unwrap().body.total, dollars("3"));
    let period =
        counterfoil_types::Period::new(at("2026-09-01T00:00:00Z"), at("2026-11-01T00:00:00Z"));
    assert!(world.engine.unbilled(period).await.is_ok(), "a poison account stops no report");
    assert_eq!(world.problems().await, Vec::<String>::new());
}

/// A parked month holds nothing up, and what comes late around it is billed once.
#[tokio::test]
async fn late_events_around_a_parked_month_are_billed_once() {
    let mut world = world(&["acme"]).await;
    world.options.bounds.max_total = Quantity::from(500);
    world.set_clock("2026-10-02T00:00:00Z");
    use_up(&world, "a", "acme", "2026-09-10T00:00:00Z", "50").await;
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    use_up(&world, "b", "acme", "2026-10-10T00:00:00Z", "2000").await;
    world.bill("2026-10").await;
    assert!(world.invoice("acme", 2).await.is_none());
    use_up(&world, "late-1", "acme", "2026-09-11T00:00:00Z", "40").await;
    use_up(&world, "late-2", "acme", "2026-10-11T00:00:00Z", "30").await;
    world.set_clock("2026-12-02T00:00:00Z");
    use_up(&world, "c", "acme", "2026-11-10T00:00:00Z", "5").await;
    world.bill("2026-11").await;
    assert_eq!(world.invoice("acme", 3).await.unwrap().body.total, dollars("45"));
    use_up(&world, "late-3", "acme", "2026-09-12T00:00:00Z", "20").await;
    use_up(&world, "late-4", "acme", "2026-11-12T00:00:00Z", "1").await;
    world.options.accept.push("acme".parse().unwrap());
    world.bill("2026-10").await;
    world.set_clock("2027-01-02T00:00:00Z");
    world.bill("2026-12").await;
    let invoices = world.invoices().await;
    let sums: Vec<String> = billed(&invoices).into_values().map(|sum| sum.to_string()).collect();
    // September: 100 + 10 × 0.5; October: 100 + 1930 × 0.5; November: 6
    assert_eq!(sums, ["105", "1065", "6"]);
    assert_eq!(world.problems().await, Vec::<String>::new());
}

/// A draft that does not hold any more leaves with the run.
#[tokio::test]
async fn no_draft_is_left_behind() {
    let mut world = world(&["acme", "fine"]).await;
    world.options.bounds.max_total = Quantity::from(500);
    world.set_clock("2026-11-02T00:00:00Z");
    use_up(&world, "a", "acme", "2026-10-10T00:00:00Z", "100000").await;
    world.bill("2026-09").await;
    let run = world.compute("2026-10").await;
    assert_eq!(world.invoice("acme", 2).await.unwrap().state, InvoiceState::Draft);
    let acme = "acme".parse().unwrap();
    world.engine.end_subscription(&acme, "2026-09-20".parse().unwrap()).await.unwrap();
    let books = std::sync::Arc::new(world.engine.books().await.unwrap());
    let run = world.engine.compute_run(&books, run, &world.options, &|_| {}).await.unwrap();
    let run = world.finalize(run).await;
    let manifest = world.engine.manifest(run).await.unwrap();
    assert_eq!(manifest.totals.items["skipped"], 1);
    assert!(world.invoices().await.iter().all(|invoice| invoice.state != InvoiceState::Draft));
}
