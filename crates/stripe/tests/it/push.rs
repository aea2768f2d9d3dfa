//! What is queued: each unit once, whoever crashes or races; late usage while the period takes it.

#![cfg(test)]

use std::sync::Arc;

use counterfoil_engine::Engine;
use counterfoil_store::{
    Store,
    faults::{FaultStore, Side, WRITES},
    stripe::{self, Link, Mode},
};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::Exact;

use crate::world::{World, at, on_both};

fn queued(pushes: &[stripe::UsagePush], meter: &str) -> Exact {
    let of = pushes.iter().filter(|push| push.meter.as_str() == meter);
    of.map(|push| push.delta.exact()).fold(Exact::ZERO, |sum, delta| sum.add(&delta))
}

/// The watermark moves with the effect: what was queued is never queued again, and corrections go
/// out as differences, whatever the aggregation.
#[tokio::test]
async fn each_difference_is_queued_once() {
    on_both(async |world: World| {
        world.meter_events().await;
        assert_eq!(world.push().await, 0, "nothing was used");
        world.ingest("ann", "a", "5", "2026-10-05T09:00:00Z").await;
        world.ingest("ann", "b", "2.345", "2026-10-05T09:10:00Z").await;
        world.ingest("bob", "z", "1", "2026-10-05T09:10:00Z").await;
        assert_eq!(world.push().await, 4);
        assert_eq!(world.push().await, 0);
        world.ingest("ann", "c", "0.001", "2026-10-05T09:20:00Z").await;
        // 7.346 is 7.35, and so was 7.345: nothing is lost in small steps.
        assert_eq!(world.push().await, 0);
        world.ingest("ann", "d", "-3", "2026-10-05T09:30:00Z").await;
        assert_eq!(world.push().await, 1, "the sum fell, the maximum stands");
        let pushes = world.pushes().await;
        let ann: Vec<_> =
            pushes.into_iter().filter(|push| push.customer.as_str() == "ann").collect();
        assert_eq!(queued(&ann, "calls"), Exact::parse("4.35").unwrap());
        assert_eq!(queued(&ann, "peak"), Exact::parse("5").unwrap());
        let calls: Vec<_> = ann.iter().filter(|push| push.meter.as_str() == "calls").collect();
        assert_eq!(calls.iter().map(|push| push.count).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(calls[0].after, calls[1].before);
        assert_ne!(calls[0].id, calls[1].id);
        world.settle().await;
        assert_eq!(world.server.used("cus_ann", "calls"), Exact::parse("4.35").unwrap());
    })
    .await;
}

/// Four programs at once queue each unit once.
#[tokio::test]
async fn programs_that_race_queue_each_unit_once() {
    on_both(async |world: World| {
        world.meter_events().await;
        for round in 0..4 {
            world.ingest("ann", &format!("a{round}"), "5", "2026-10-05T09:00:00Z").await;
            let mut racing = Vec::new();
            for holder in ["one", "two", "three", "four"] {
                let engine = world.engine.clone();
                racing.push(tokio::spawn(async move {
                    // Whoever finds another at it leaves it to that one.
                    engine.queue_usage_for_stripe(holder).await.map_or(0, |queued| queued.effects)
                }));
            }
            let mut effects = 0;
            for racer in racing {
                effects += racer.await.unwrap();
            }
            assert_eq!(effects, if round == 0 { 2 } else { 1 });
        }
        assert_eq!(queued(&world.pushes().await, "calls"), Exact::parse("20").unwrap());
    })
    .await;
}

/// Usage of a period is pushed until its end and an hour beyond, at a time inside of it; later usage
/// is left to the late policy, and shown by reconciliation.
#[tokio::test]
async fn stragglers_count_in_their_period() {
    on_both(async |world: World| {
        world.meter_events().await;
        world.ingest("ann", "a", "5", "2026-10-05T09:00:00Z").await;
        world.push().await;
        world.clock.set(at("2026-11-01T00:30:00Z"));
        world.ingest("ann", "b", "2", "2026-10-31T23:59:59Z").await;
        world.ingest("ann", "c", "7", "2026-11-01T00:10:00Z").await;
        world.push().await;
        let pushes = world.pushes().await;
        let october = at("2026-10-01T00:00:00Z");
        let last = pushes.iter().rfind(|p| p.period.start == october && p.count == 2).unwrap();
        assert_eq!(last.time, at("2026-10-31T23:59:59Z"));
        let november = pushes.iter().find(|p| p.period.start != october).unwrap();
        assert_eq!(november.time, at("2026-11-01T00:30:00Z"));
        assert_eq!(november.delta.to_string(), "7");
        world.clock.set(at("2026-11-01T01:00:01Z"));
        world.ingest("ann", "d", "100", "2026-10-31T23:00:00Z").await;
        assert_eq!(world.push().await, 0, "October is closed at Stripe");
        world.settle().await;
        assert_eq!(world.server.used("cus_ann", "calls"), Exact::parse("14").unwrap());
        let standings = world.engine.stripe_standings(october).await.unwrap();
        let calls = standings
            .found
            .iter()
            .find(|s| s.pushed.period.start == october && s.pushed.meter.as_str() == "calls");
        let calls = calls.unwrap();
        assert_eq!(
            (calls.total.to_string(), calls.pushed.total.to_string()),
            ("107".into(), "7".into())
        );
    })
    .await;
}

async fn scenario(store: Arc<dyn Store>, world: &World) {
    let engine = loop {
        let tenant = world.tenant();
        match Engine::open(store.clone(), world.clock.clone(), tenant, 2).await {
            Ok(engine) => break engine,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    for name in ["a", "b"] {
        world.ingest("ann", name, "5", "2026-10-05T09:00:00Z").await;
        let mut tries = 0;
        while let Err(error) = engine.queue_usage_for_stripe("ann").await {
            assert!(error.is_transient(), "a fault must stay recognisable: {error}");
            // What died held the lease.
            world.later(120);
            tries += 1;
            assert!(tries < 3);
        }
    }
}

/// Every call to the store fails once, before and after its effect: the same is queued.
#[tokio::test]
async fn whatever_call_fails_the_same_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let new = async |name: String| {
        let sqlite = SqliteStore::open(&directory.path().join(name)).await.unwrap();
        let world = World::on(Arc::new(sqlite.clone())).await;
        world.link(Link::new(Mode::MeterEvents, "n".to_owned())).await;
        (sqlite, world)
    };
    let says = |pushes: Vec<stripe::UsagePush>| -> Vec<String> {
        pushes.iter().map(|p| format!("{} {} {} {}", p.id, p.chain, p.before, p.after)).collect()
    };
    let (sqlite, world) = new("clean".to_owned()).await;
    let recorder = Arc::new(FaultStore::new(Arc::new(sqlite)));
    scenario(recorder.clone(), &world).await;
    let clean = says(world.pushes().await);
    assert_eq!(clean.len(), 3);
    let calls = recorder.calls();
    for (number, name) in calls.iter().enumerate() {
        let sides: &[Side] =
            if WRITES.contains(name) { &[Side::Before, Side::After] } else { &[Side::Before] };
        for side in sides {
            let (sqlite, world) = new(format!("{number}{side:?}")).await;
            let faulty = Arc::new(FaultStore::failing(Arc::new(sqlite.clone()), number, *side));
            scenario(faulty.clone(), &world).await;
            assert!(faulty.hit(), "call {number} ({name}) was never made");
            assert_eq!(says(world.pushes().await), clean, "{name} ({number}) failed {side:?}");
            sqlite.close().await;
        }
    }
    assert!(calls.iter().filter(|name| WRITES.contains(name)).count() >= 7);
}
