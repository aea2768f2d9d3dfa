//! Projectors that share lanes by lease: at once, one that sleeps past its lease and wakes late,
//! and calls that fail. What they leave is what one projector alone leaves.

use std::sync::{Arc, Mutex};

use counterfoil_engine::{
    Engine,
    share::{Shared, Sharing},
};
use counterfoil_store::{
    Store, StoreError,
    faults::{FaultStore, Side},
};

use crate::{
    random::Random,
    usage::{books, random_events},
    world::World,
};

const TTL: i64 = 30_000_000;

async fn world(seed: u64, lanes: u16, batches: usize) -> World {
    let mut random = Random::new(seed);
    let world = World::new(lanes).await;
    books(&world).await;
    world.set_clock("2026-10-31T00:00:00Z");
    let mut sent = Vec::new();
    for _ in 0..batches {
        world.ingest(random_events(&mut random, &mut sent, 12)).await;
    }
    world
}

async fn heads(world: &World) -> u64 {
    let heads = world.engine.store().heads(world.engine.tenant()).await.unwrap();
    heads.iter().map(|head| head.position).sum()
}

/// Everything is projected, and is what the fold over the ledger comes to.
async fn assert_projected(world: &World, context: &str) {
    for head in world.engine.store().heads(world.engine.tenant()).await.unwrap() {
        let progress = world.engine.store().progress(head.lane).await.unwrap();
        assert!(progress.iter().all(|(_, at)| *at == head.position), "{context}: {progress:?}");
    }
    let check = world.engine.check_aggregates().await.unwrap();
    assert_eq!(check.difference_count, 0, "{context}: {:?}", check.differences);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projectors_that_share_lanes_come_to_the_fold() {
    for seed in 0..4 {
        let world = world(seed, 4, 5).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..3 {
            let engine = world.engine.clone();
            tasks.spawn(async move {
                let sharing = Sharing { chunks: 1, ..Sharing::default() };
                engine.project_some(&format!("p{number}"), &sharing).await.unwrap()
            });
        }
        let outcomes = tasks.join_all().await;
        // What one left because another was at it, that other one has done.
        let left = world.engine.project_some("last", &Sharing::default()).await.unwrap();
        let rows: u64 = outcomes.iter().chain([&left]).map(|shared| shared.rows).sum();
        assert!(rows >= heads(&world).await, "seed {seed}: {outcomes:?}");
        assert!(outcomes.iter().all(|shared| shared.lost == 0), "seed {seed}: {outcomes:?}");
        assert_projected(&world, &format!("seed {seed}")).await;
    }
}

/// Right before its first chunk is written the projector is stopped, for longer than its lease. The
/// other one takes the lane. Waking up, the first one is refused and leaves the lane to it.
#[tokio::test]
async fn a_projector_that_wakes_after_its_lease_writes_nothing() {
    for other_has_written in [true, false] {
        let world = world(7, 1, 4).await;
        let lane = world.engine.tenant().lane_ids()[0];
        let store = Arc::new(FaultStore::new(Arc::new(world.sqlite.clone())));
        let sleeper = world.through(store.clone()).await.unwrap();
        let (clock, engine) = (world.clock.clone(), world.engine.clone());
        let seen: Arc<Mutex<Vec<Shared>>> = Arc::default();
        let told = seen.clone();
        store.interrupt("project", async move {
            clock.set(counterfoil_types::Clock::now(clock.as_ref()).plus_micros(TTL));
            if other_has_written {
                let shared = engine.project_some("quick", &Sharing::default()).await.unwrap();
                told.lock().unwrap().push(shared);
            } else {
                // It has the lane and has not written yet: the watermark alone would let us pass.
                let name = format!("project/{lane}");
                let now = counterfoil_types::Clock::now(clock.as_ref());
                engine.store().acquire(&name, "quick", now, TTL).await.unwrap().unwrap();
            }
        });
        let slept = sleeper.project_some("slow", &Sharing::default()).await.unwrap();
        assert_eq!((slept.rows, slept.lost), (0, 1), "{slept:?}");
        let total = heads(&world).await;
        if other_has_written {
            assert_eq!(seen.lock().unwrap()[0].rows, total);
        } else {
            assert_eq!(slept.busy, 0, "it left the lane alone after it lost it");
            assert!(world.engine.store().progress(lane).await.unwrap().is_empty());
            // The one that took it asks again, as after a restart.
            let shared = world.engine.project_some("quick", &Sharing::default()).await.unwrap();
            assert_eq!(shared.rows, total);
        }
        assert_projected(&world, &format!("other has written: {other_has_written}")).await;
    }
}

/// A lane with a long tail does not keep a projector from the others, nor others from it.
#[tokio::test]
async fn a_lane_that_is_held_is_left_and_the_others_go_on() {
    let world = world(11, 4, 6).await;
    let lanes = world.engine.tenant().lane_ids();
    let now = counterfoil_types::Clock::now(world.clock.as_ref());
    let store = world.engine.store();
    let mut behind = Vec::new();
    for head in store.heads(world.engine.tenant()).await.unwrap() {
        if head.position > 0 {
            behind.push(head.lane);
        }
    }
    assert!(behind.len() > 1, "{behind:?} of {lanes:?}");
    let held = format!("project/{}", behind[0]);
    store.acquire(&held, "somebody", now, TTL).await.unwrap().unwrap();
    let shared = world.engine.project_some("p", &Sharing::default()).await.unwrap();
    assert_eq!(shared.busy, 1, "{shared:?}");
    assert!(store.progress(behind[0]).await.unwrap().is_empty());
    assert!(!store.progress(behind[1]).await.unwrap().is_empty());
    // Somebody never comes back: after its time the lane is free.
    world.clock.set(now.plus_micros(TTL));
    let shared = world.engine.project_some("p", &Sharing::default()).await.unwrap();
    assert_eq!((shared.busy, shared.lost), (0, 0));
    assert_projected(&world, "after the lease ran out").await;
}

/// Each call fails once, before and after its effect; a projector of the same name starts again.
#[tokio::test]
async fn a_projector_may_be_stopped_at_any_call() {
    let calls = {
        let world = world(3, 2, 2).await;
        let store = Arc::new(FaultStore::new(Arc::new(world.sqlite.clone())));
        let engine = world.through(store.clone()).await.unwrap();
        engine.project_some("p", &Sharing::default()).await.unwrap();
        store.calls().len()
    };
    assert!(calls > 10);
    for call in 1..calls {
        for side in [Side::Before, Side::After] {
            let world = world(3, 2, 2).await;
            let sharing = Sharing { at_once: 1, ..Sharing::default() };
            let inner: Arc<dyn Store> = Arc::new(world.sqlite.clone());
            let store = Arc::new(FaultStore::failing(inner, call, side));
            let engine: Engine = world.through(store.clone()).await.unwrap();
            let context = format!("call {call} {side:?}");
            match engine.project_some("p", &sharing).await {
                Ok(_) => assert!(!store.hit(), "{context}: the fault was not told"),
                Err(counterfoil_engine::EngineError::Store(StoreError::Unavailable(_))) => {
                    engine.project_some("p", &sharing).await.unwrap();
                }
                Err(error) => panic!("{context}: {error}"),
            }
            assert_projected(&world, &context).await;
        }
    }
}
