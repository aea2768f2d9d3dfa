//! Effects that are spread, claimed, attempted and delivered.

use std::collections::BTreeMap;

use counterfoil_types::Timestamp;

use super::support::{AnyStore, NOW, tenant};
use crate::{
    Attempt, AttemptOutcome, Commit, Delivery, DeliveryFilter, DeliveryState, Next, Route, Tenant,
    Write,
};

const TTL: i64 = 10_000_000;

fn later(micros: i64) -> Timestamp {
    NOW.plus_micros(micros)
}

async fn queue(store: &AnyStore, tenant: &Tenant, key: &str) {
    let write = Write::Queue {
        key: key.to_owned(),
        kind: key.split('/').next().unwrap_or_default().to_owned(),
        body: serde_json::json!({"says": key, "exact": "0.10"}),
        at: NOW,
    };
    store.commit(&tenant.id, &Commit::of(write)).await.unwrap();
}

fn route(key: &str, aggregate: &str, targets: &[&str]) -> Route {
    Route {
        key: key.to_owned(),
        aggregate: aggregate.to_owned(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
    }
}

async fn claim(store: &AnyStore, tenant: &Tenant, holder: &str, after: i64) -> Vec<Delivery> {
    store.claim_due(&tenant.id, "mail", holder, later(after), TTL, 100).await.unwrap()
}

fn keys(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.effect.key.as_str()).collect()
}

fn attempt(delivery: &Delivery, outcome: AttemptOutcome, at: i64) -> Attempt {
    Attempt {
        target: delivery.target.clone(),
        key: delivery.effect.key.clone(),
        token: delivery.token,
        at: later(at),
        outcome,
        code: Some(if outcome == AttemptOutcome::Delivered { 200 } else { 503 }),
        error: (outcome != AttemptOutcome::Delivered).then(|| "it said\0 no".to_owned()),
        micros: 1_234,
    }
}

async fn record(store: &AnyStore, tenant: &Tenant, one: Attempt, next: Next) -> bool {
    store.record_attempts(&tenant.id, &[(one, next)]).await.unwrap() == [true]
}

/// An effect is spread once, to the targets that were chosen first; its words come back as they
/// were queued, in the order in which they were queued.
pub async fn an_effect_is_spread_once(store: AnyStore) {
    let tenant = tenant(&store, "spread").await;
    for key in ["b/1", "a/1", "c/1"] {
        queue(&store, &tenant, key).await;
    }
    queue(&store, &tenant, "a/1").await;
    let waiting = store.unspread(&tenant.id, 10).await.unwrap();
    let order: Vec<&str> = waiting.iter().map(|effect| effect.key.as_str()).collect();
    assert_eq!(order, ["b/1", "a/1", "c/1"]);
    assert_eq!(waiting[0].kind, "b");
    assert_eq!(waiting[0].body, serde_json::json!({"says": "b/1", "exact": "0.10"}));
    assert!(waiting[0].position < waiting[1].position);
    assert_eq!(store.unspread(&tenant.id, 2).await.unwrap(), waiting[..2]);
    let routes = [route("b/1", "", &["mail", "hook"]), route("a/1", "", &[])];
    store.spread(&tenant.id, &routes, NOW).await.unwrap();
    // Somebody with another list comes too late.
    store.spread(&tenant.id, &[route("b/1", "", &["other"])], NOW).await.unwrap();
    store.spread(&tenant.id, &routes, NOW).await.unwrap();
    assert_eq!(store.unspread(&tenant.id, 10).await.unwrap(), waiting[2..]);
    let made = store.deliveries(&tenant.id, &DeliveryFilter::default(), None, 10).await.unwrap();
    let targets: Vec<&str> = made.iter().map(|delivery| delivery.target.as_str()).collect();
    assert_eq!(targets, ["hook", "mail"]);
    assert!(made.iter().all(|d| d.effect == waiting[0] && d.state == DeliveryState::Due));
    let past = Some((made[0].effect.position, "hook"));
    let rest = store.deliveries(&tenant.id, &DeliveryFilter::default(), past, 10).await.unwrap();
    assert_eq!(rest, made[1..]);
    assert_eq!(store.effects(&tenant.id, waiting[0].position, 10).await.unwrap(), waiting[1..]);
}

/// A claim keeps others away until its time is over; from then on what its holder records is
/// refused once somebody else has claimed.
pub async fn a_late_relay_records_nothing(store: AnyStore) {
    let tenant = tenant(&store, "late-relay").await;
    queue(&store, &tenant, "k/1").await;
    store.spread(&tenant.id, &[route("k/1", "", &["mail"])], NOW).await.unwrap();
    assert!(claim(&store, &tenant, "ann", -1).await.is_empty(), "not due yet");
    let first = claim(&store, &tenant, "ann", 0).await;
    assert_eq!(keys(&first), ["k/1"]);
    assert_eq!(first[0].tries, 1);
    assert!(claim(&store, &tenant, "bob", TTL - 1).await.is_empty(), "ann has it");
    let second = claim(&store, &tenant, "bob", TTL).await;
    assert_eq!(second[0].tries, 2);
    assert!(second[0].token > first[0].token);
    let delivered = |of: &Delivery| attempt(of, AttemptOutcome::Delivered, TTL);
    assert!(!record(&store, &tenant, delivered(&first[0]), Next::Done).await);
    assert_eq!(store.attempts(&tenant.id, "k/1").await.unwrap(), []);
    assert!(record(&store, &tenant, delivered(&second[0]), Next::Done).await);
    // Its answer was lost: again, and nothing more happens.
    assert!(record(&store, &tenant, delivered(&second[0]), Next::Park("no".into())).await);
    let kept = store.attempts(&tenant.id, "k/1").await.unwrap();
    assert_eq!(kept, [delivered(&second[0])]);
    assert!(claim(&store, &tenant, "bob", 9 * TTL).await.is_empty(), "it is done");
    // A claim whose time ran out, and nobody came: what was done counts.
    queue(&store, &tenant, "k/2").await;
    store.spread(&tenant.id, &[route("k/2", "", &["mail"])], NOW).await.unwrap();
    let slow = claim(&store, &tenant, "ann", 0).await;
    assert!(
        record(&store, &tenant, attempt(&slow[0], AttemptOutcome::Delivered, 5 * TTL), Next::Done)
            .await
    );
}

/// Each attempt is kept; one that failed comes back at its time, or is parked with its reason until
/// somebody lets it go; since when a target fails is known.
pub async fn every_attempt_is_kept(store: AnyStore) {
    let tenant = tenant(&store, "attempts").await;
    queue(&store, &tenant, "k/1").await;
    store.spread(&tenant.id, &[route("k/1", "", &["mail"])], NOW).await.unwrap();
    assert_eq!(store.failing_since(&tenant.id, "mail").await.unwrap(), None);
    let refused = AttemptOutcome::Refused;
    let one = claim(&store, &tenant, "ann", 0).await.remove(0);
    assert!(record(&store, &tenant, attempt(&one, refused, 1), Next::RetryAt(later(50))).await);
    assert!(claim(&store, &tenant, "ann", 49).await.is_empty());
    let two = claim(&store, &tenant, "ann", 50).await.remove(0);
    assert_eq!(two.tries, 2);
    let unknown = attempt(&two, AttemptOutcome::Unknown, 60);
    assert!(record(&store, &tenant, unknown.clone(), Next::Park("too often".into())).await);
    assert!(claim(&store, &tenant, "ann", TTL).await.is_empty(), "it is parked");
    let parked = DeliveryFilter { state: Some(DeliveryState::Parked), ..Default::default() };
    let listed = store.deliveries(&tenant.id, &parked, None, 10).await.unwrap();
    assert_eq!(listed[0].reason.as_deref(), Some("too often"));
    assert_eq!(store.failing_since(&tenant.id, "mail").await.unwrap(), Some(later(1)));
    let again = ["k/1".to_owned(), "k/none".to_owned()];
    assert_eq!(store.deliver_again(&tenant.id, "mail", &again, later(70)).await.unwrap(), 1);
    assert_eq!(store.deliver_again(&tenant.id, "mail", &again, later(70)).await.unwrap(), 0);
    let three = claim(&store, &tenant, "ann", 70).await.remove(0);
    assert_eq!((three.tries, three.reason.clone()), (1, None));
    let delivered = attempt(&three, AttemptOutcome::Delivered, 80);
    assert!(record(&store, &tenant, delivered.clone(), Next::Done).await);
    assert_eq!(store.failing_since(&tenant.id, "mail").await.unwrap(), None);
    let kept = store.attempts(&tenant.id, "k/1").await.unwrap();
    assert_eq!(kept, [attempt(&one, refused, 1), unknown, delivered]);
    // Done, and wanted once more; then its target goes away.
    assert_eq!(store.deliver_again(&tenant.id, "mail", &again, later(90)).await.unwrap(), 1);
    assert_eq!(store.deliver_again(&tenant.id, "new", &again, later(90)).await.unwrap(), 1);
    assert_eq!(store.park_target(&tenant.id, "mail", "gone", later(90)).await.unwrap(), 1);
    assert!(claim(&store, &tenant, "ann", 2 * TTL).await.is_empty());
}

/// Of one aggregate one delivery is on its way to a target at a time, in order; a parked one is not
/// waited for, other aggregates and targets go on.
pub async fn deliveries_of_one_aggregate_keep_their_order(store: AnyStore) {
    let tenant = tenant(&store, "in-order").await;
    let mut routes = Vec::new();
    for (key, aggregate) in [("z/1", "i"), ("y/1", "i"), ("x/1", "i"), ("w/1", "j"), ("v/1", "")] {
        queue(&store, &tenant, key).await;
        routes.push(route(key, aggregate, &["mail", "hook"]));
    }
    store.spread(&tenant.id, &routes, NOW).await.unwrap();
    let first = claim(&store, &tenant, "ann", 0).await;
    assert_eq!(keys(&first), ["z/1", "w/1", "v/1"]);
    assert!(claim(&store, &tenant, "bob", 0).await.is_empty(), "the first of i is on its way");
    let refused = |of: &Delivery| attempt(of, AttemptOutcome::Refused, 1);
    assert!(record(&store, &tenant, refused(&first[0]), Next::RetryAt(later(100))).await);
    assert!(claim(&store, &tenant, "bob", 50).await.is_empty(), "the second waits for it");
    let again = claim(&store, &tenant, "bob", 100).await;
    assert_eq!(keys(&again), ["z/1"]);
    assert!(record(&store, &tenant, refused(&again[0]), Next::Park("no".into())).await);
    let second = claim(&store, &tenant, "ann", 100).await;
    assert_eq!(keys(&second), ["y/1"], "a parked one is not waited for");
    let taken = attempt(&second[0], AttemptOutcome::Delivered, 101);
    assert!(record(&store, &tenant, taken, Next::Done).await);
    assert_eq!(keys(&claim(&store, &tenant, "ann", 102).await), ["x/1"]);
    let other = store.claim_due(&tenant.id, "hook", "ann", NOW, TTL, 2).await.unwrap();
    assert_eq!(keys(&other), ["z/1", "w/1"], "at most so many, the longest due first");
}

/// Relays that spread, claim and record at once: every delivery is done, by one of them.
pub async fn relays_at_once_share_the_work(store: AnyStore) {
    let tenant = tenant(&store, "relays").await;
    for number in 0..60 {
        queue(&store, &tenant, &format!("k/{number}")).await;
    }
    let mut relays = tokio::task::JoinSet::new();
    for name in ["ann", "bob", "eve"] {
        let (store, tenant) = (store.clone(), tenant.clone());
        relays.spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..200 {
                let waiting = store.unspread(&tenant.id, 7).await.unwrap();
                let routes: Vec<Route> = waiting
                    .iter()
                    .map(|e| route(&e.key, &(e.position % 5).to_string(), &["mail"]))
                    .collect();
                store.spread(&tenant.id, &routes, NOW).await.unwrap();
                let page = store.claim_due(&tenant.id, "mail", name, NOW, TTL, 4).await.unwrap();
                let told: Vec<_> = page
                    .iter()
                    .map(|d| (attempt(d, AttemptOutcome::Delivered, 0), Next::Done))
                    .collect();
                assert!(!store.record_attempts(&tenant.id, &told).await.unwrap().contains(&false));
                if waiting.is_empty() && page.is_empty() {
                    let due = DeliveryFilter {
                        state: Some(DeliveryState::Due),
                        ..DeliveryFilter::default()
                    };
                    if store.deliveries(&tenant.id, &due, None, 1).await.unwrap().is_empty() {
                        break;
                    }
                }
                sent.extend(page.into_iter().map(|d| d.effect.key));
            }
            sent
        });
    }
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for key in relays.join_all().await.into_iter().flatten() {
        *times.entry(key).or_default() += 1;
    }
    assert_eq!(times.len(), 60);
    assert!(times.values().all(|times| *times == 1), "sent once each: {times:?}");
}
