//! Every call to the store fails once, before and after its effect; the step that failed is
//! repeated, as a restarted process would. The end is the same as without the fault.

use std::sync::Arc;

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{
    Engine, EngineError,
    ingest::IngestOptions,
    run::{Month, RunOptions},
};
use counterfoil_invoicing::Customer;
use counterfoil_ledger::Event;
use counterfoil_store::{
    Store,
    faults::{FaultStore, Side, WRITES},
};
use counterfoil_types::{BookRef, Currency, Quantity, RunId};
use sqlx::Row;

use crate::world::{With, World, at, event, id, subscription};

const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[meter]]
key = "users"
event_type = "call"
aggregation = "unique_count"
value = "user"
[[meter]]
key = "level"
event_type = "level"
aggregation = "time_weighted_level"
per = "day"
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "10"
billing = "advance"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
[[plan.charge]]
key = "users"
meter = "users"
model = "per_unit"
unit_price = "1"
[[plan.charge]]
key = "level"
meter = "level"
model = "per_unit"
unit_price = "0.1"
"#;

fn batches() -> [Vec<Event>; 2] {
    let noon = at("2026-10-20T12:30:00Z");
    let call = |name: &str, customer: &str, user: &str| {
        event(name, customer, "call", noon).quantity("8").text("user", user)
    };
    let first = vec![
        call("a", "ann", "u1"),
        call("b", "ann", "u2"),
        call("c", "bob", "u1"),
        event("d", "cat", "level", at("2026-10-05T06:30:00Z")).quantity("3"),
    ];
    let second = vec![
        call("b", "ann", "u2"),
        call("b2", "ann", "u3").quantity("2").amends("b"),
        call("c2", "bob", "u1").reverses("c"),
        event("e", "cat", "level", at("2026-10-03T06:30:00Z")).quantity("5"),
    ];
    [first, second]
}

/// Repeats a step until it succeeds; only the injected fault may stop it, and only once.
pub(crate) async fn until_done<T>(mut step: impl AsyncFnMut() -> Result<T, EngineError>) -> T {
    match step().await {
        Ok(done) => done,
        Err(error) => {
            assert!(error.is_transient(), "a fault must stay recognisable: {error}");
            step().await.unwrap()
        }
    }
}

/// From an empty store to numbered invoices.
async fn scenario(world: &World, store: Arc<dyn Store>) {
    world.set_clock("2026-10-31T00:00:00Z");
    let engine: Engine = until_done(async || world.through(store.clone()).await).await;
    let book = PriceBook::parse("b.toml", BOOK).unwrap();
    until_done(async || engine.publish(&book).await).await;
    for name in ["ann", "bob", "cat"] {
        let customer = Customer::new(id(name), name, Currency::USD, "UTC".parse().unwrap());
        until_done(async || engine.put_customer(&customer).await).await;
        let subscription = subscription(name, "b", "p", "2026-10-01");
        until_done(async || engine.start_subscription(&subscription).await).await;
    }
    let options = IngestOptions { backfill: true };
    for batch in batches() {
        until_done(async || engine.ingest(batch.clone(), options).await).await;
    }
    until_done(async || engine.project_all().await).await;
    world.set_clock("2026-11-02T00:00:00Z");
    let month: Month = "2026-10".parse().unwrap();
    // Cat's bill is out of bounds: parked runs are part of the picture.
    let mut options = RunOptions::default();
    options.bounds.max_total = Quantity::from(15);
    let opened = until_done(async || engine.open_run(&month, &options).await).await;
    let run: RunId = opened.id;
    let books = Arc::new(until_done(async || engine.books().await).await);
    until_done(async || engine.plan_run(&books, engine.run(&run).await?).await).await;
    until_done(async || {
        engine.compute_run(&books, engine.run(&run).await?, &options, &|_| {}).await
    })
    .await;
    until_done(async || engine.approve_run(engine.run(&run).await?, "ann").await).await;
    until_done(async || engine.finalize_run(engine.run(&run).await?, &options, &|_| {}).await)
        .await;
}

/// All that is stored, as text.
async fn state(world: &World) -> Vec<String> {
    let store = world.engine.store();
    let tenant = world.engine.tenant();
    let mut state = Vec::new();
    for lane in tenant.lane_ids() {
        for row in store.read(lane, 0, 1 << 40, None, 1000).await.unwrap() {
            state.push(format!("{row:?}"));
        }
        for bucket in store.all_buckets(lane, None, 1000).await.unwrap() {
            state.push(format!("{bucket:?}"));
        }
        state.push(format!("{:?}", store.progress(lane).await.unwrap()));
    }
    for invoice in world.invoices().await {
        state.push(format!("{invoice:?}"));
    }
    for run in store.runs(&tenant.id).await.unwrap() {
        for item in store.run_items(&tenant.id, &run.id, &[], None, 100).await.unwrap() {
            state.push(format!("{item:?}"));
        }
        state.push(format!("{run:?}"));
    }
    for fact in store.facts(&tenant.id, 0, 1000).await.unwrap() {
        state.push(format!("{fact:?}"));
    }
    for sql in [
        "SELECT key || ' ' || kind || ' ' || body FROM outbox ORDER BY key",
        "SELECT customer || meter || hour || grp || member || n FROM aggregate_member ORDER BY 1",
        "SELECT series || last FROM invoice_series ORDER BY 1",
    ] {
        for row in sqlx::query(sql).fetch_all(world.sqlite.writer()).await.unwrap() {
            state.push(row.get(0));
        }
    }
    let reference = BookRef { name: "b".to_owned(), version: "1".to_owned() };
    assert!(world.engine.books().await.unwrap().exact(&reference).is_some());
    state
}

#[tokio::test]
async fn every_store_call_may_fail_before_or_after_its_effect() {
    let world = World::new(1).await;
    let recorder = Arc::new(FaultStore::new(Arc::new(world.sqlite.clone())));
    scenario(&world, recorder.clone()).await;
    let clean = state(&world).await;
    assert_eq!(world.problems().await, Vec::<String>::new());
    let invoices = world.invoices().await;
    assert_eq!(invoices.len(), 5, "three openings, ann and bob; cat is parked");
    let calls = recorder.calls();
    for (number, name) in calls.iter().enumerate() {
        let sides: &[Side] =
            if WRITES.contains(name) { &[Side::Before, Side::After] } else { &[Side::Before] };
        for side in sides {
            let world = World::new(1).await;
            let faulty =
                Arc::new(FaultStore::failing(Arc::new(world.sqlite.clone()), number, *side));
            scenario(&world, faulty.clone()).await;
            assert!(faulty.hit(), "call {number} ({name}) was never made");
            let found = state(&world).await;
            for (found, expected) in found.iter().zip(&clean) {
                assert_eq!(found, expected, "after {name} (call {number}) failed {side:?}");
            }
            assert_eq!(found.len(), clean.len());
            world.sqlite.close().await;
        }
    }
    let writes = calls.iter().filter(|name| WRITES.contains(name)).count();
    assert!(writes >= 15, "the scenario writes through every use-case, not {writes} times");
}
