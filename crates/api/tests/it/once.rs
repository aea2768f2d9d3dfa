//! A request with an idempotency key takes effect once, whatever becomes of its answers; edits see
//! what they change.

use std::sync::Arc;

use counterfoil_store::faults::{FaultStore, Side};
use counterfoil_store_sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::world::{World, options};

fn payment(amount: &str) -> Value {
    json!({"customer": "acme", "amount": {"amount": amount, "currency": "USD"}})
}

async fn pay(world: &World, key: &str, amount: &str) -> crate::world::Answer {
    let headers = [("idempotency-key", key)];
    world.ask("POST", "/v1/payments", &world.admin, &headers, Some(payment(amount))).await
}

async fn payments(world: &World) -> usize {
    world.get("/v1/payments").await.is(200).body["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::furnished().await;
    let first = pay(&world, "k", "5.00").await.is(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = pay(&world, "k", "5.00").await.is(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.text, first.text);
    let other = pay(&world, "k", "6.00").await.is(409);
    assert_eq!(other.at("/code"), "key_reused");
    pay(&world, "k2", "5.00").await.is(201);
    assert_eq!(payments(&world).await, 2);
    let spaced = [("idempotency-key", "a b")];
    let body = Some(payment("1.00"));
    world.ask("POST", "/v1/payments", &world.admin, &spaced, body).await.is(400);
}

#[tokio::test]
async fn a_request_that_had_no_effect_may_be_corrected_under_its_key() {
    let world = World::furnished().await;
    pay(&world, "k", "-1.00").await.is(422);
    pay(&world, "k", "1.00").await.is(201);
    assert_eq!(payments(&world).await, 1);
}

#[tokio::test]
async fn racing_requests_with_one_key_take_effect_once() {
    let world = Arc::new(World::furnished().await);
    let racing: Vec<_> = (0..32)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { pay(&world, "k", "5.00").await.is(201).text })
        })
        .collect();
    let mut texts = std::collections::BTreeSet::new();
    for one in racing {
        texts.insert(one.await.unwrap());
    }
    assert_eq!((texts.len(), payments(&world).await), (1, 1));
}

#[tokio::test]
async fn a_lost_store_call_anywhere_leaves_one_effect_after_a_repetition() {
    let directory = tempfile::tempdir().unwrap();
    for side in [Side::Before, Side::After] {
        for call in 0.. {
            let path = directory.path().join(format!("{side:?}{call}.db"));
            let store = Arc::new(SqliteStore::open(&path).await.unwrap());
            let clean = World::over(store.clone(), options()).await;
            clean.furnish().await;
            let faulty = Arc::new(FaultStore::failing(store, call, side));
            let world = World::over_with(faulty.clone(), options(), &clean.admin);
            let mut last = None;
            for _ in 0..3 {
                let answer = pay(&world, "k", "5.00").await;
                assert!(matches!(answer.status, 201 | 503), "{}", answer.text);
                last = Some(answer.status);
                if answer.status == 201 {
                    break;
                }
            }
            assert_eq!(last, Some(201), "call {call} {side:?}");
            assert_eq!(payments(&clean).await, 1, "call {call} {side:?}");
            let audit = clean.get("/v1/audit?limit=1000").await;
            let entries = audit.body["items"].as_array().unwrap();
            let paid = entries.iter().filter(|entry| entry["operation"] == "payments.record");
            assert!(paid.count() >= 1, "call {call} {side:?}");
            if !faulty.hit() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_edit_that_did_not_see_the_latest_version_is_refused() {
    let world = World::furnished().await;
    let read = world.get("/v1/customers/acme").await.is(200);
    let tag = read.header("etag").to_owned();
    assert!(tag.starts_with('"'));
    let named = |name: &str| json!({"id": "acme", "name": name, "currency": "USD", "zone": "UTC"});
    let put = async |name: &str, tag: &str| {
        let headers = [("if-match", tag)];
        world.ask("PUT", "/v1/customers/acme", &world.admin, &headers, Some(named(name))).await
    };
    let changed = put("First", &tag).await.is(200);
    assert_ne!(changed.header("etag"), tag);
    let refused = put("Second", &tag).await.is(412);
    assert_eq!(refused.header("etag"), changed.header("etag"));
    assert_eq!(world.get("/v1/customers/acme").await.at("/name"), "First");
    put("Second", changed.header("etag")).await.is(200);
    let headers = [("if-match", "*")];
    let new = json!({"id": "new", "name": "n", "currency": "USD", "zone": "UTC"});
    world.ask("PUT", "/v1/customers/new", &world.admin, &headers, Some(new)).await.is(412);
}
