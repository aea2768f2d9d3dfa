//! A store that fails under the service: what is acknowledged is there, what is not may be sent
//! again, and the caller is told which.

use std::sync::Arc;

use counterfoil_store::faults::{FaultStore, Side};
use counterfoil_store_sqlite::SqliteStore;
use serde_json::json;

use crate::world::{World, call, options};

#[tokio::test]
async fn an_answer_lost_after_the_commit_is_found_again_by_sending_again() {
    let directory = tempfile::tempdir().unwrap();
    for side in [Side::Before, Side::After] {
        let store = Arc::new(
            SqliteStore::open(&directory.path().join(format!("{side:?}.db"))).await.unwrap(),
        );
        let clean = World::over(store.clone(), options()).await;
        clean.furnish().await;
        let mut hit = 0;
        for number in 0..8 {
            let faulty = Arc::new(FaultStore::failing(store.clone(), number, side));
            let world = World::over_with(faulty.clone(), options(), &clean.admin);
            let event = call(&format!("e{number}"), "acme");
            let mut statuses = Vec::new();
            for _ in 0..3 {
                let answer = world.post("/v1/events", event.clone()).await;
                statuses.push(answer.status);
                if answer.status < 300 {
                    break;
                }
                assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
                assert!(!answer.text.contains("was made to fail"), "inner errors stay inside");
            }
            assert!(statuses.last().is_some_and(|last| *last < 300), "{statuses:?}");
            hit += u32::from(faulty.hit());
        }
        assert!(hit >= 2, "{side:?}");
        let events = clean.get("/v1/events?limit=100").await;
        assert_eq!(events.body["items"].as_array().unwrap().len(), 8, "{side:?}");
    }
}

#[tokio::test]
async fn a_use_whose_answer_was_lost_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    for side in [Side::Before, Side::After] {
        for number in 0..24 {
            let path = directory.path().join(format!("{side:?}{number}.db"));
            let store = Arc::new(SqliteStore::open(&path).await.unwrap());
            let clean = World::over(store.clone(), options()).await;
            clean.furnish().await;
            let faulty = Arc::new(FaultStore::failing(store, number, side));
            let world = World::over_with(faulty.clone(), options(), &clean.admin);
            for use_number in 0..12 {
                let id = format!("u{use_number}");
                let body = json!({"id": id, "customer": "acme", "meter": "calls"});
                let mut status = 0;
                for _ in 0..3 {
                    status = world.post("/v1/quotas/consume", body.clone()).await.status;
                    if status != 503 {
                        break;
                    }
                }
                assert_eq!(
                    status,
                    if use_number < 10 { 200 } else { 402 },
                    "{side:?} {number} {id}"
                );
            }
            let events = clean.get("/v1/events?limit=100").await;
            assert_eq!(events.body["items"].as_array().unwrap().len(), 10, "{side:?} {number}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_told_by_health_and_readiness() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("store.db")).await.unwrap());
    let world = World::over(store.clone(), options()).await;
    world.get("/ready").await.is(200);
    let watched = tokio::spawn(counterfoil_api::watch(
        world.shared.clone(),
        std::time::Duration::from_millis(10),
    ));
    store.close().await;
    world.get("/ready").await.is(503);
    for _ in 0..500 {
        if world.get("/health").await.status == 503 {
            watched.abort();
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("health did not notice");
}
