//! Rollback detection: a store that lies behind its anchor, or is another one, bills nothing until
//! somebody acknowledges it.

use std::sync::Arc;

use counterfoil_archive::AnchorFile;
use counterfoil_engine::{Engine, EngineError, ingest::IngestOptions};
use counterfoil_store::StoreError;

use crate::world::{With, World, at, event};

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
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
"#;

/// A world with a month billed, and its anchor.
async fn anchored() -> (World, Arc<AnchorFile>) {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "p", "2026-10-01").await;
    world.set_clock("2026-10-20T00:00:00Z");
    world.ingest(vec![event("a", "ann", "call", at("2026-10-10T00:00:00Z")).quantity("8")]).await;
    let anchor = Arc::new(AnchorFile::new(world.path().join("anchor.json")));
    world.engine.clone().with_anchor(anchor.clone()).take_anchor(true).await.unwrap();
    (world, anchor)
}

async fn bill(world: &World, engine: &Engine, month: &str) -> Result<(), EngineError> {
    let books = Arc::new(engine.books().await?);
    let run = engine.open_run(&month.parse()?, &world.options).await?;
    let run = engine.plan_run(&books, run).await?;
    let run = engine.compute_run(&books, run, &world.options, &|_| {}).await?;
    let run = engine.approve_run(run, "ann").await?;
    engine.finalize_run(run, &world.options, &|_| {}).await?;
    Ok(())
}

fn is_refused(outcome: Result<(), EngineError>) -> String {
    match outcome {
        Err(EngineError::Store(StoreError::RolledBack(why))) => why,
        other => panic!("refused as rolled back, not {other:?}"),
    }
}

async fn call(engine: &Engine, id: &str) {
    let event = event(id, "ann", "call", at("2026-10-11T00:00:00Z"));
    engine.ingest(vec![event], IngestOptions { backfill: true }).await.unwrap();
}

#[tokio::test]
async fn a_restored_backup_bills_nothing_until_it_is_acknowledged() {
    let (world, anchor) = anchored().await;
    let backup = world.copy().await;
    let live = world.engine.clone().with_anchor(anchor.clone());
    world.set_clock("2026-11-02T00:00:00Z");
    call(&live, "b").await;
    bill(&world, &live, "2026-10").await.unwrap();
    assert_eq!(live.verify().await.unwrap().problems, Vec::<String>::new());

    let restored = || backup.engine.clone().with_anchor(anchor.clone());
    let problems = restored().verify().await.unwrap().problems;
    assert!(problems.iter().any(|p| p.contains("rolled back: lane")), "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("INV-2026-000001")), "{problems:?}");
    let why = is_refused(bill(&backup, &restored(), "2026-10").await);
    assert!(why.contains("ends at position 1, and was at 2 before"), "{why}");
    assert!(backup.invoices().await.iter().all(|invoice| invoice.number.is_none()));
    // Other rows at the same places are no better, and the anchor is not moved by that.
    call(&restored(), "other").await;
    call(&restored(), "and more").await;
    restored().take_anchor(true).await.unwrap();
    let why = is_refused(bill(&backup, &restored(), "2026-10").await);
    assert!(why.contains("position 2 is another row"), "{why}");

    let error = restored().acknowledge_rollback("  ", "ann").await.unwrap_err();
    assert!(error.to_string().contains("--reason"), "{error}");
    let engine = restored();
    let findings = engine.acknowledge_rollback("disk died, backup of Monday", "ann").await.unwrap();
    assert!(!findings.is_empty());
    let facts = engine.store().facts(&engine.tenant().id, 0, 999).await.unwrap();
    let fact = facts.iter().find(|fact| fact.fact.kind == "recovery.acknowledged").unwrap();
    assert_eq!(fact.fact.body["reason"], "disk died, backup of Monday");
    bill(&backup, &restored(), "2026-10").await.unwrap();
    assert_eq!(restored().verify().await.unwrap().problems, Vec::<String>::new());
    let error = restored().acknowledge_rollback("again", "ann").await.unwrap_err();
    assert!(error.to_string().contains("nothing is to be acknowledged"), "{error}");
}

#[tokio::test]
async fn an_anchor_that_lags_or_is_not_there_is_no_finding() {
    let (world, anchor) = anchored().await;
    let live = || world.engine.clone().with_anchor(anchor.clone());
    call(&world.engine, "b").await;
    call(&world.engine, "c").await;
    live().may_bill().await.unwrap();
    assert_eq!(live().verify().await.unwrap().problems, Vec::<String>::new());
    live().take_anchor(false).await.unwrap();
    live().may_bill().await.unwrap();
    assert_eq!(live().verify().await.unwrap().problems, Vec::<String>::new());
    let nowhere = AnchorFile::new(world.path().join("none.json"));
    let engine = world.engine.clone().with_anchor(Arc::new(nowhere));
    engine.may_bill().await.unwrap();
    assert_eq!(engine.verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_anchor_stops_billing_and_is_told() {
    let (world, anchor) = anchored().await;
    std::fs::write(world.path().join("anchor.json"), "{").unwrap();
    let engine = world.engine.clone().with_anchor(anchor);
    assert!(engine.may_bill().await.unwrap_err().to_string().contains("anchor.json"));
    let problems = engine.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("anchor.json")), "{problems:?}");
    world.set_clock("2026-11-02T00:00:00Z");
    is_refused(bill(&world, &engine, "2026-10").await);
    engine.acknowledge_rollback("the file was cut off", "ann").await.unwrap();
    engine.may_bill().await.unwrap();
}

#[tokio::test]
async fn history_rewritten_with_fresh_seals_differs_from_the_anchored_tree() {
    let (world, anchor) = anchored().await;
    call(&world.engine, "b").await;
    let engine = world.engine.clone().with_anchor(anchor);
    engine.take_anchor(true).await.unwrap();
    // The first row is replaced by one with a seal that fits it; the last one stays.
    let tenant = engine.tenant().clone();
    let lane = tenant.lane_of(&crate::world::id("ann"));
    let mut row = engine.store().rows_at(lane, &[1]).await.unwrap().remove(0);
    row.event.quantity = "4".parse().unwrap();
    let content = counterfoil_ledger::content_hash(&tenant.id, &row.event);
    let leaf = counterfoil_ledger::leaf_hash(&tenant.id, lane, 1, row.recorded_at, &content);
    let mut other = world.intruder().await;
    sqlx::raw_sql("DROP TRIGGER usage_event_no_update").execute(&mut other).await.unwrap();
    sqlx::query("UPDATE usage_event SET quantity = '4', leaf = ? WHERE position = 1")
        .bind(leaf.0.to_vec())
        .execute(&mut other)
        .await
        .unwrap();
    let problems = engine.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("rewritten")), "{problems:?}");
}
