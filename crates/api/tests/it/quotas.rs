//! Quotas over HTTP: exact under races, on both stores, told in headers, set per customer.

use std::sync::Arc;

use counterfoil_store::Store;
use serde_json::{Value, json};

use crate::world::{World, at, call, options};

fn use_one(id: &str) -> Value {
    json!({"id": id, "customer": "acme", "meter": "calls"})
}

async fn consume(world: &World, id: &str) -> u16 {
    world.post("/v1/quotas/consume", use_one(id)).await.status
}

async fn check(world: &World) -> crate::world::Answer {
    world.post("/v1/quotas/check", json!({"customer": "acme", "meter": "calls"})).await.is(200)
}

#[tokio::test]
async fn a_hard_limit_is_reached_and_not_passed_and_a_soft_one_warns() {
    let world = World::furnished().await;
    for number in 0..8 {
        let answer = world.post("/v1/quotas/consume", use_one(&format!("u{number}"))).await.is(200);
        assert_eq!(answer.at("/quotas/0/verdict"), "allowed");
        assert_eq!(answer.header("x-quota-remaining"), (9 - number).to_string());
    }
    assert_eq!(check(&world).await.at("/verdict"), "warning");
    let ninth = world.post("/v1/quotas/consume", use_one("u8")).await.is(200);
    assert_eq!(ninth.at("/quotas/0/verdict"), "warning");
    assert_eq!(consume(&world, "u9").await, 200);
    let denied = world.post("/v1/quotas/consume", use_one("u10")).await.is(402);
    assert_eq!(denied.at("/code"), "over_quota");
    assert_eq!(denied.at("/upgrade"), "https://example.com/upgrade");
    assert_eq!(denied.at("/quotas/0/resets_at"), "2026-04-01T00:00:00Z");
    assert_eq!((denied.header("x-quota-limit"), denied.header("x-quota-remaining")), ("10", "0"));
    assert_eq!(denied.header("x-quota-reset"), (22 * 86_400 - 43_200).to_string());
    let asked = check(&world).await;
    assert_eq!((asked.at("/allowed"), asked.at("/used")), ("false".into(), "10".into()));
    // Nothing of the denied use is stored, and a new month begins anew.
    world.get("/v1/events/find?source=quota&id=u10").await.is(404);
    world.clock.set(at("2026-04-01T00:00:00Z"));
    assert_eq!(consume(&world, "u10").await, 200);
}

#[tokio::test]
async fn a_use_that_is_sent_again_counts_once_even_at_the_limit() {
    let world = World::furnished().await;
    for number in 0..10 {
        assert_eq!(consume(&world, &format!("u{number}")).await, 200);
    }
    let again = world.post("/v1/quotas/consume", use_one("u3")).await.is(200);
    assert_eq!(again.at("/receipt/status"), "duplicate");
    assert_eq!(consume(&world, "new").await, 402);
    let other = json!({"id": "u3", "customer": "acme", "meter": "calls", "properties": {"a": 1}});
    world.post("/v1/quotas/consume", other).await.is(409);
}

async fn race(worlds: Vec<Arc<World>>) {
    let racing: Vec<_> = (0..64)
        .map(|number| {
            let world = Arc::clone(&worlds[number % worlds.len()]);
            tokio::spawn(async move { consume(&world, &format!("r{number}")).await })
        })
        .collect();
    let mut allowed = 0;
    for one in racing {
        match one.await.unwrap() {
            200 => allowed += 1,
            402 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(allowed, 10);
    let events = worlds[0].get("/v1/events?customer=acme&limit=1000").await;
    assert_eq!(events.body["items"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn of_64_racing_uses_as_many_go_through_as_the_limit_allows() {
    race(vec![Arc::new(World::furnished().await)]).await;
}

#[tokio::test]
async fn racing_uses_through_two_processes_do_not_pass_the_limit() {
    let first = Arc::new(World::furnished().await);
    let second = World::over_with(Arc::clone(&first.store), options(), &first.admin);
    race(vec![first, Arc::new(second)]).await;
}

#[tokio::test]
async fn racing_uses_on_postgresql_do_not_pass_the_limit() {
    let server = counterfoil_store_postgres::testing::shared().unwrap();
    let url = server.database().await.unwrap();
    let open = async || {
        let options = counterfoil_store_postgres::PostgresOptions::default();
        let store = counterfoil_store_postgres::PostgresStore::connect(&url, options).await;
        Arc::new(store.unwrap()) as Arc<dyn Store>
    };
    let first = World::over(open().await, options()).await;
    first.furnish().await;
    let second = World::over_with(open().await, options(), &first.admin);
    race(vec![Arc::new(first), Arc::new(second)]).await;
}

#[tokio::test]
async fn events_that_come_the_other_way_count_and_corrections_give_back() {
    let world = World::furnished().await;
    let batch: Vec<Value> = (0..9).map(|n| call(&format!("e{n}"), "acme")).collect();
    world.post("/v1/events", json!(batch)).await.is(200);
    assert_eq!(check(&world).await.at("/used"), "9");
    assert_eq!(consume(&world, "u0").await, 200);
    assert_eq!(consume(&world, "u1").await, 402);
    let mut back = call("back", "acme");
    back["reverses"] = json!("e0");
    world.post("/v1/events", back).await.is(201);
    assert_eq!(consume(&world, "u1").await, 200);
    assert_eq!(consume(&world, "u2").await, 402);
}

#[tokio::test]
async fn a_customers_own_quota_replaces_the_plans() {
    let world = World::furnished().await;
    let path = "/v1/customers/acme/quotas/calls";
    let own = json!({"meter": "calls", "hard": "2", "window": "hourly"});
    let set = world.put(path, own).await.is(200);
    assert_eq!((set.at("/source"), set.at("/window")), ("customer".into(), "hourly".into()));
    assert_eq!(consume(&world, "a").await, 200);
    assert_eq!(consume(&world, "b").await, 200);
    assert_eq!(consume(&world, "c").await, 402);
    world.clock.set(at("2026-03-10T13:00:00Z"));
    assert_eq!(consume(&world, "c").await, 200);
    let body = Some(json!({}));
    world.ask("DELETE", path, &world.admin, &[], body).await.is(204);
    let states = world.get("/v1/customers/acme/quotas").await.is(200);
    assert_eq!(
        (states.at("/items/0/source"), states.at("/items/0/hard")),
        ("plan".into(), "10".into())
    );
    let wrong = json!({"meter": "calls", "soft": "3", "hard": "2"});
    world.put(path, wrong).await.is(422);
    let rolling = json!({"meter": "calls", "hard": "2", "window": "rolling", "hours": 24});
    world.put(path, rolling).await.is(200);
    assert_eq!(consume(&world, "d").await, 402);
    world.clock.set(at("2026-03-11T12:00:00.000001Z"));
    assert_eq!(consume(&world, "d").await, 200);
}

#[tokio::test]
async fn sums_count_what_the_event_says_and_unlimited_is_said_so() {
    let world = World::furnished().await;
    let use_tokens =
        |id: &str, n: &str| json!({"id": id, "customer": "acme", "meter": "tokens", "quantity": n});
    let free = world.post("/v1/quotas/consume", use_tokens("t0", "7.5")).await.is(200);
    assert_eq!(free.at("/quotas"), "[]");
    let check = json!({"customer": "acme", "meter": "tokens"});
    let asked = world.post("/v1/quotas/check", check).await.is(200);
    assert_eq!(asked.at("/verdict"), "unlimited");
    let own = json!({"meter": "tokens", "hard": "10", "window": "daily"});
    world.put("/v1/customers/acme/quotas/tokens", own).await.is(200);
    world.post("/v1/quotas/consume", use_tokens("t1", "2.6")).await.is(402);
    world.post("/v1/quotas/consume", use_tokens("t2", "2.5")).await.is(200);
    let unknown = json!({"id": "x", "customer": "acme", "meter": "nothing"});
    world.post("/v1/quotas/consume", unknown).await.is(404);
    let two = json!({"id": "x", "customer": "acme", "meter": "calls", "quantity": "2"});
    world.post("/v1/quotas/consume", two).await.is(422);
}

#[tokio::test]
async fn ingest_rejects_what_a_hard_quota_denies_where_it_is_asked_to() {
    let world = World::with(counterfoil_api::Options {
        enforce_quotas_at_ingest: true,
        over_quota_status: 403,
        ..options()
    })
    .await;
    world.furnish().await;
    let mut batch: Vec<Value> = (0..12).map(|n| call(&format!("e{n}"), "acme")).collect();
    batch.push(call("free", "nobody"));
    let answer = world.post("/v1/events", json!(batch)).await.is(207);
    assert_eq!(
        (answer.at("/counts/inserted"), answer.at("/counts/rejected")),
        ("11".into(), "2".into())
    );
    assert_eq!(answer.at("/receipts/10/code"), "over_quota");
    assert_eq!(consume(&world, "u").await, 403);
    let again = world.post("/v1/events", json!(batch)).await.is(207);
    assert_eq!(again.at("/counts/duplicate"), "11");
}

#[tokio::test]
async fn corrections_among_uses_give_room_and_count_for_nothing_else() {
    let world =
        World::with(counterfoil_api::Options { enforce_quotas_at_ingest: true, ..options() }).await;
    world.furnish().await;
    let reversal = |id: &str, target: &str| {
        let mut event = call(id, "acme");
        event["reverses"] = json!(target);
        event
    };
    // Of ten: eight, less two, then four more, and none beyond.
    let mut batch: Vec<Value> = (0..8).map(|n| call(&format!("e{n}"), "acme")).collect();
    batch.extend([reversal("r0", "e0"), reversal("r1", "e1")]);
    batch.extend((8..13).map(|n| call(&format!("e{n}"), "acme")));
    let answer = world.post("/v1/events", json!(batch)).await.is(207);
    assert_eq!(
        (answer.at("/counts/inserted"), answer.at("/counts/rejected")),
        ("14".into(), "1".into())
    );
    assert_eq!(answer.at("/receipts/14/code"), "over_quota");
    let freed = world.post("/v1/events", json!([reversal("r2", "e2")])).await;
    assert_eq!(freed.at("/counts/inserted"), "1");
    assert_eq!((consume(&world, "u0").await, consume(&world, "u1").await), (200, 402));
}

#[tokio::test]
async fn a_denial_is_queued_once_per_window() {
    let world = World::furnished().await;
    for number in 0..14 {
        consume(&world, &format!("u{number}")).await;
    }
    let entitled = world.get("/v1/customers/acme/entitlements").await.is(200);
    assert_eq!(
        (entitled.at("/entitlements/projects"), entitled.at("/entitlements/sso")),
        ("3".into(), "false".into())
    );
    assert_eq!(entitled.at("/quotas/0/remaining"), "0");
    let metrics = world.get("/metrics").await;
    assert!(metrics.text.contains("counterfoil_quota_denials_total 4"), "{}", metrics.text);
}
