//! Backfills over HTTP: loaded once, their effect told in money, taken back without a trace in it.

use serde_json::{Value, json};

use crate::world::{World, call};

fn old(id: &str, day: u32) -> Value {
    let mut event = call(id, "acme");
    event["time"] = json!(format!("2026-01-{day:02}T00:00:00Z"));
    event
}

async fn cost(world: &World) -> String {
    let usage = world.get("/v1/customers/acme/usage?at=2026-01-15T00:00:00Z").await.is(200);
    usage.at("/subscriptions/0/cost/amount")
}

#[tokio::test]
async fn a_backfill_is_loaded_looked_at_and_taken_back() {
    let world = World::furnished().await;
    let live: Vec<Value> = (1..=6).map(|n| old(&format!("live{n}"), n)).collect();
    world.post("/v1/events?backfill=true", json!(live)).await.is(200);
    assert_eq!(cost(&world).await, "0.01");
    let opened = json!({"id": "jan", "reason": "lost export"});
    world.post("/v1/backfills", opened.clone()).await.is(201);
    world.post("/v1/backfills", opened).await.is(201);
    world.post("/v1/backfills", json!({"id": "jan", "reason": "other"})).await.is(422);
    let mut batch: Vec<Value> = (1..=20).map(|n| old(&format!("b{n}"), n)).collect();
    batch.push(old("live1", 1));
    batch.push(json!({"id": "bad"}));
    for expected in ["inserted", "duplicate"] {
        let loaded = world.post("/v1/backfills/jan/events", json!(batch)).await.is(207);
        assert_eq!(loaded.at("/receipts/0/status"), expected);
        assert_eq!(loaded.at("/receipts/20/status"), "duplicate");
        assert_eq!(loaded.at("/receipts/21/status"), "rejected");
    }
    let effect = world.get("/v1/backfills/jan").await.is(200);
    assert_eq!(effect.at("/loaded/0/events"), "20");
    assert_eq!(effect.at("/costs/0/before/amount"), "0.01");
    assert_eq!(effect.at("/costs/0/after/amount"), "0.21");
    assert_eq!(effect.at("/costs/0/period/start"), "2026-01-01T00:00:00Z");
    world.post("/v1/backfills/jan/close", json!({})).await.is(200);
    world.post("/v1/backfills/jan/events", json!([old("late", 3)])).await.is(422);
    world.post("/v1/backfills/jan/revert", json!({})).await.is(200);
    world.post("/v1/backfills/jan/revert", json!({})).await.is(200);
    assert_eq!(cost(&world).await, "0.01");
    let effect = world.get("/v1/backfills/jan").await.is(200);
    assert_eq!((effect.at("/loaded"), effect.at("/costs")), ("[]".into(), "[]".into()));
    world.post("/v1/backfills/jan/close", json!({})).await.is(422);
    let list = world.get("/v1/backfills").await.is(200);
    assert_eq!(list.at("/items/0/state"), "reverted");
}
