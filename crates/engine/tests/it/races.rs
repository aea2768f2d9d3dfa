//! Two programs at the same work.

use std::{sync::Arc, time::Duration};

use counterfoil_engine::{Engine, EngineError, run::RunOptions};
use counterfoil_invoicing::{InvoiceState, RunState};
use counterfoil_ledger::standing;
use counterfoil_metering::fold;
use counterfoil_store::{StoreError, faults::FaultStore};
use counterfoil_types::{Period, Quantity};
use tokio::task::JoinSet;

use crate::world::{With, World, at, dollars, event, id, shipped};

async fn world(accounts: usize) -> World {
    let world = World::new(2).await;
    world.engine.publish(&shipped("metering-engine.toml")).await.unwrap();
    world.set_clock("2026-10-31T00:00:00Z");
    let mut events = Vec::new();
    for number in 0..accounts {
        let name = format!("c{number:02}");
        world.customer(&name, "UTC", None).await;
        world.subscribe(&name, "metering-engine", "payg", "2026-10-01").await;
        let call = event(&format!("e{number}"), &name, "api.call", at("2026-10-20T12:30:00Z"));
        events.push(call.quantity("20000"));
    }
    world.ingest(events).await;
    world.set_clock("2026-11-02T00:00:00Z");
    world
}

/// One program's way through a month; losing a step to another program is no failure.
async fn whole_run(engine: Engine) -> Result<RunState, EngineError> {
    let options = RunOptions::default();
    let books = Arc::new(engine.books().await?);
    let run = engine.open_run(&"2026-10".parse()?, &options).await?;
    let run = engine.plan_run(&books, run).await?;
    let run = engine.compute_run(&books, run, &options, &|_| {}).await?;
    let run = engine.approve_run(run, "ann").await?;
    Ok(engine.finalize_run(run, &options, &|_| {}).await?.state)
}

#[tokio::test]
async fn three_programs_run_a_month_and_each_account_gets_one_invoice() {
    let world = world(20).await;
    let mut programs = JoinSet::new();
    for _ in 0..3 {
        programs.spawn(whole_run(world.engine.clone()));
    }
    let outcomes = programs.join_all().await;
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Ok(RunState::Finalized))));
    for outcome in outcomes {
        // A slower one may find that the run went on without it; then it has nothing to do.
        if let Err(error) = outcome {
            let told = matches!(&error, EngineError::Store(StoreError::Conflict { .. }))
                || matches!(&error, EngineError::Refused(_));
            assert!(told, "{error}");
        }
    }
    whole_run(world.engine.clone()).await.unwrap();
    let invoices = world.invoices().await;
    assert_eq!(invoices.len(), 20);
    assert!(invoices.iter().all(|invoice| invoice.state == InvoiceState::Pending));
    assert!(invoices.iter().all(|invoice| invoice.body.total == dollars("100")));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

/// A program that still computes when another one signs off changes nothing of what was signed.
#[tokio::test]
async fn what_is_signed_off_is_not_computed_again() {
    let mut world = world(2).await;
    world.options.bounds.max_total = Quantity::from(50);
    let review = world.compute("2026-10").await;
    let approved = world.engine.approve_run(review.clone(), "ann").await.unwrap();
    // The slow one has seen the run in review, and would bill the parked accounts.
    let books = Arc::new(world.engine.books().await.unwrap());
    let run =
        world.engine.compute_run(&books, review, &RunOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((run.state, run.approved_by.as_deref()), (RunState::Approved, Some("ann")));
    world.engine.finalize_run(approved, &world.options, &|_| {}).await.unwrap();
    assert!(world.invoices().await.is_empty(), "nobody signed these off");
}

#[tokio::test]
async fn a_second_signature_does_not_replace_the_first() {
    let world = world(1).await;
    let review = world.compute("2026-10").await;
    world.engine.approve_run(review.clone(), "ann").await.unwrap();
    let run = world.engine.approve_run(review, "bob").await.unwrap();
    assert_eq!(run.approved_by.as_deref(), Some("ann"));
    assert_eq!(world.engine.run(&run.id).await.unwrap(), run);
}

/// Usage is of one prefix of the ledger, whatever is written and projected meanwhile.
#[tokio::test]
async fn usage_is_of_one_prefix_while_others_write() {
    let world = World::new(1).await;
    world.engine.publish(&shipped("metering-engine.toml")).await.unwrap();
    world.set_clock("2026-10-31T00:00:00Z");
    let engine = world.engine.clone();
    let writer = tokio::spawn(async move {
        for number in 0..150 {
            let time = at("2026-10-20T00:10:00Z").plus_micros(number % 7 * 1_800_000_000);
            let call = event(&format!("e{number}"), "acme", "api.call", time).quantity("3");
            engine.ingest(vec![call], Default::default()).await.unwrap();
            engine.project_all().await.unwrap();
        }
    });
    let books = world.engine.books().await.unwrap();
    let meter = books.meters().values().find(|meter| meter.key.as_str() == "api_calls").unwrap();
    let period = Period::new(at("2026-10-01T00:00:00Z"), at("2026-10-20T02:20:00Z"));
    let lane = world.engine.tenant().lane_of(&id("acme"));
    let mut reads = 0;
    while !writer.is_finished() {
        let usage = world.engine.usage(&id("acme"), period, &[meter]).await.unwrap();
        let store = world.engine.store();
        let rows = store.read(lane, 0, usage.position, None, 1000).await.unwrap();
        let folded = fold(meter, &standing(&rows, usage.position), &period);
        let expected: i64 = folded.values().map(counterfoil_metering::State::events).sum();
        assert_eq!(i64::try_from(usage.events(&meter.key)).unwrap(), expected);
        reads += 1;
    }
    writer.await.unwrap();
    assert!(reads > 10);
}

/// Rows that come and are projected between reading the head and reading the watermarks belong to
/// the answer, and the answer says so.
#[tokio::test]
async fn usage_never_holds_more_than_the_position_it_names() {
    for call in ["heads", "progress", "usage"] {
        let world = world(1).await;
        world.engine.project_all().await.unwrap();
        let store = Arc::new(FaultStore::new(Arc::new(world.sqlite.clone())));
        let reader = world.through(store.clone()).await.unwrap();
        let books = reader.books().await.unwrap();
        let meters: Vec<_> = books.meters().values().collect();
        let writer = world.engine.clone();
        store.interrupt(call, async move {
            let more = event("more", "c00", "api.call", at("2026-10-21T12:30:00Z"));
            writer.ingest(vec![more.quantity("5")], Default::default()).await.unwrap();
            writer.project_all().await.unwrap();
        });
        let period = Period::new(at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z"));
        let usage = reader.usage(&id("c00"), period, &meters).await.unwrap();
        let events = usage.events(&meters[0].key);
        assert_eq!((meters[0].key.as_str(), usage.position), ("api_calls", events), "{call}");
    }
}

/// A meter that was registered just now is not projected yet: reading waits for nobody.
#[tokio::test]
async fn current_usage_answers_while_a_new_meter_lags() {
    let world = world(1).await;
    world.engine.project_all().await.unwrap();
    world.engine.publish(&shipped("saas-plans.toml")).await.unwrap();
    let acme = id("c00");
    let reading = world.engine.current_usage(&acme, at("2026-10-20T00:00:00Z"), None);
    let usage = tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
    assert_eq!(usage[0].cost, dollars("100"));
}

/// A run reads usage by the page. Whatever is written and projected while it reads, what it bills is
/// the fold over the prefix that the invoice names.
#[tokio::test]
async fn a_page_that_is_overtaken_by_a_projector_is_read_again() {
    for call in ["heads", "progress", "usage_among", "touched_among", "summaries_among"] {
        let world = world(6).await;
        world.engine.project_all().await.unwrap();
        let store = Arc::new(FaultStore::new(Arc::new(world.sqlite.clone())));
        let slow = world.through(store.clone()).await.unwrap();
        let options = RunOptions::default();
        let books = Arc::new(slow.books().await.unwrap());
        let run = slow.open_run(&"2026-10".parse().unwrap(), &options).await.unwrap();
        let run = slow.plan_run(&books, run).await.unwrap();
        let other = world.engine.clone();
        let run = {
            let meanwhile = async move {
                let late = (0..6).map(|number| {
                    let name = format!("c{number:02}");
                    let time = at("2026-10-21T12:30:00Z");
                    event(&format!("l{number}"), &name, "api.call", time).quantity("20000")
                });
                let options = counterfoil_engine::ingest::IngestOptions { backfill: true };
                other.ingest(late.collect(), options).await.unwrap();
                other.project_all().await.unwrap();
            };
            slow.project_all().await.unwrap();
            store.interrupt(call, meanwhile);
            slow.compute_run(&books, run, &options, &|_| {}).await.unwrap()
        };
        world.finalize(run).await;
        let billed: Vec<_> = world.invoices().await.iter().map(|i| i.body.total).collect();
        assert_eq!(billed.len(), 6);
        let wholly = |total| billed.iter().all(|billed| *billed == dollars(total));
        assert!(wholly("100") || wholly("300"), "{call}: {billed:?}");
        assert_eq!(world.problems().await, Vec::<String>::new(), "{call}");
    }
}
