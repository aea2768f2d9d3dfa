//! Several relays, relays that die, and calls of the store that fail.

#![cfg(test)]

use std::{sync::Arc, time::Duration};

use counterfoil_delivery::run;
use counterfoil_store::{
    DeliveryState,
    faults::{FaultStore, Side, WRITES},
};
use serde_json::json;

use crate::{
    receiver::Receiver,
    world::{World, on_both, with_connections},
};

const EVENTS: usize = 60;

async fn fill(world: &World, receiver: &Receiver) {
    world.endpoint("crm", receiver.url("ok"), &[]).await;
    for number in 0..EVENTS {
        let body = json!({"invoice": format!("i-{}", number % 20)});
        world.queue("invoice.x", &number.to_string(), body).await;
    }
}

/// F23, J2: three relays at once deliver everything, each event once, those of an invoice in order.
#[tokio::test]
async fn three_relays_deliver_everything_once_and_in_order() {
    on_both(async |world: World| {
        let receiver = Receiver::start().await;
        fill(&world, &receiver).await;
        let mut relays = tokio::task::JoinSet::new();
        for holder in ["ann", "bob", "eve"] {
            let (relay, world) = (world.relay(holder), world.clone());
            relays.spawn(async move {
                let stop = async move {
                    while world.deliveries(Some(DeliveryState::Done)).await.len() < EVENTS {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                run(relay, Duration::from_millis(5), stop).await
            });
        }
        let reports = relays.join_all().await;
        assert_eq!(reports.iter().map(|report| report.delivered).sum::<u64>(), EVENTS as u64);
        let ids = receiver.ids();
        assert_eq!(ids.len(), EVENTS);
        assert!(ids.values().all(|times| *times == 1), "{ids:?}");
        let mut last = std::collections::BTreeMap::new();
        for request in receiver.requests() {
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let invoice = body["data"]["invoice"].to_string();
            let id = body["id"].as_str().unwrap().to_owned();
            last.entry(invoice).or_insert_with(Vec::new).push(id);
        }
        let mut wanted = std::collections::BTreeMap::new();
        for delivery in world.deliveries(None).await {
            let parcel = counterfoil_delivery::Parcel {
                tenant: world.tenant.clone(),
                target: delivery.target,
                now: delivery.effect.at,
                effect: delivery.effect,
            };
            let invoice = parcel.effect.body["invoice"].to_string();
            wanted.entry(invoice).or_insert_with(Vec::new).push(parcel.id());
        }
        assert_eq!(last, wanted);
    })
    .await;
}

/// F11: more deliveries at once than the store has connections wait for one another, not for ever.
#[tokio::test]
async fn more_deliveries_at_once_than_connections_come_to_an_end() {
    let (world, store) = with_connections(2).await;
    let receiver = Receiver::start().await;
    world.endpoint("crm", receiver.url("ok"), &[]).await;
    for number in 0..EVENTS {
        world.queue("customer.x", &number.to_string(), json!({})).await;
    }
    let report = world.relay("ann").deliver_due().await.unwrap();
    assert_eq!(report.delivered, EVENTS as u64);
    assert_eq!(receiver.ids().len(), EVENTS);
    store.close().await;
}

/// D2: every call of the store fails once, before and after it took effect. Whatever was lost, the
/// next relay delivers everything, and only what was on its way then comes twice, under its id.
#[tokio::test]
async fn every_store_call_may_fail_and_nothing_is_lost() {
    let mut call = 0;
    loop {
        let mut reached = false;
        for side in [Side::Before, Side::After] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let sqlite = counterfoil_store_sqlite::SqliteStore::open(&path).await.unwrap();
            let receiver = Receiver::start().await;
            let world = World::on(Arc::new(sqlite.clone())).await;
            world.endpoint("crm", receiver.url("ok"), &[]).await;
            world.endpoint("erp", receiver.url("busy-once"), &["b"]).await;
            for (kind, number) in [("a", 0), ("a", 1), ("b", 2)] {
                world.queue(kind, &number.to_string(), json!({})).await;
            }
            let faulty = Arc::new(FaultStore::failing(world.store.clone(), call, side));
            let through = World { store: faulty.clone(), ..world.clone() };
            let outcome = through.relay("ann").deliver_due().await;
            let hit = faulty.hit();
            reached |= hit;
            let name = faulty.calls().get(call).copied().unwrap_or_default();
            assert!(!hit || outcome.is_err() || !WRITES.contains(&name), "{name} was swallowed");
            // The claims of the one that failed run out.
            for _ in 0..6 {
                world.later(130);
                world.relay("bob").deliver_due().await.unwrap();
            }
            let ids = receiver.ids();
            assert_eq!(ids.len(), 3, "call {call} {side:?} {name}: {ids:?}");
            let done = world.deliveries(Some(DeliveryState::Done)).await;
            assert_eq!(done.len(), 4, "call {call} {side:?} {name}");
            assert!(ids.values().all(|times| *times <= 4), "{ids:?}");
            sqlite.close().await;
        }
        if !reached {
            break;
        }
        call += 1;
    }
    assert!(call > 8, "only {call} calls were failed");
}
