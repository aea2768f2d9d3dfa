//! Leases, and writes that depend on one.

use counterfoil_types::{MeterKey, Timestamp};

use super::support::{AnyStore, NOW, assert_conflict, customer, customer_id, lane, tenant};
use crate::{Commit, Lease, Projection, StoreError, Write};

const TTL: i64 = 10_000_000;

fn later(micros: i64) -> Timestamp {
    NOW.plus_micros(micros)
}

async fn take(store: &AnyStore, name: &str, holder: &str, after: i64) -> Option<Lease> {
    store.acquire(name, holder, later(after), TTL).await.unwrap()
}

fn assert_lost<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::LeaseLost(_))), "a lost lease, not {outcome:?}");
}

/// One holder at a time; whoever comes after the time ran out, or after it was given back, has a
/// greater token.
pub async fn a_lease_has_one_holder_and_a_greater_token_for_each(store: AnyStore) {
    let first = take(&store, "one", "ann", 0).await.unwrap();
    assert_eq!(first.name, "one");
    assert_eq!(take(&store, "one", "bob", TTL - 1).await, None, "ann has it");
    let aside = take(&store, "other", "bob", 0).await.unwrap();
    assert_eq!(aside.name, "other", "names have nothing to do with one another");
    let second = take(&store, "one", "bob", TTL).await.unwrap();
    assert!(second.token > first.token);
    assert_eq!(take(&store, "one", "ann", TTL).await, None, "now bob has it");
    // Ann comes too late to keep it or to give it back.
    assert_lost(store.renew(&first, later(TTL), TTL).await);
    store.release(&first).await.unwrap();
    assert_eq!(take(&store, "one", "ann", TTL).await, None);
    store.release(&second).await.unwrap();
    let third = take(&store, "one", "ann", TTL).await.unwrap();
    assert!(third.token > second.token);
    // Who holds it and asks again has lost an answer, or was restarted.
    let fourth = take(&store, "one", "ann", TTL).await.unwrap();
    assert!(fourth.token > third.token);
    assert_lost(store.renew(&third, later(TTL), TTL).await);
}

/// A lease that is kept lasts from the last time it was kept, and never shorter than before.
pub async fn a_lease_is_kept_as_long_as_it_is_renewed(store: AnyStore) {
    let lease = take(&store, "kept", "ann", 0).await.unwrap();
    store.renew(&lease, later(TTL - 1), TTL).await.unwrap();
    assert_eq!(take(&store, "kept", "bob", 2 * TTL - 2).await, None);
    // A clock that went back takes nothing away.
    store.renew(&lease, later(-TTL), TTL).await.unwrap();
    assert_eq!(take(&store, "kept", "bob", 2 * TTL - 2).await, None);
    // Its time ran out, and nobody came.
    store.renew(&lease, later(5 * TTL), TTL).await.unwrap();
    assert_eq!(take(&store, "kept", "bob", 6 * TTL - 1).await, None);
    assert!(take(&store, "kept", "bob", 6 * TTL).await.unwrap().token > lease.token);
}

/// A commit or projection under a lease that changed hands is refused whole, whatever else would
/// have let it through; one under a lease that is held takes effect.
pub async fn a_write_behind_a_lost_lease_leaves_nothing(store: AnyStore) {
    let tenant = tenant(&store, "fenced").await;
    let lane = lane(&tenant, "acme");
    let name = format!("fenced/{lane}");
    let meter: MeterKey = "m".parse().unwrap();
    let step = |from: u64, lease: &Lease| Projection {
        lane,
        meters: vec![meter.clone()],
        from,
        to: from + 10,
        buckets: Vec::new(),
        members: Vec::new(),
        fence: Some(lease.fence()),
    };
    let put = |id: &str, lease: &Lease| {
        Commit::of(Write::PutCustomer(customer(id)))
            .fact("k", format!("fact/{id}"), NOW, serde_json::Value::Null)
            .fenced(lease.fence())
    };
    let old = take(&store, &name, "ann", 0).await.unwrap();
    store.project(&step(0, &old)).await.unwrap();
    store.commit(&tenant.id, &put("one", &old)).await.unwrap();
    let new = take(&store, &name, "bob", TTL).await.unwrap();
    // Bob has written nothing yet: but for the fence these would go through.
    assert_lost(store.project(&step(10, &old)).await);
    assert_lost(store.commit(&tenant.id, &put("two", &old)).await);
    assert_eq!(store.progress(lane).await.unwrap(), [(meter.clone(), 10)]);
    assert!(store.customer(&tenant.id, &customer_id("two")).await.unwrap().is_none());
    assert_eq!(store.facts(&tenant.id, 0, 10).await.unwrap().len(), 1);
    store.project(&step(10, &new)).await.unwrap();
    store.commit(&tenant.id, &put("two", &new)).await.unwrap();
    assert_eq!(store.facts(&tenant.id, 0, 10).await.unwrap().len(), 2);
    // The holder of a lease may still be slower than somebody without one.
    assert_conflict(store.project(&step(10, &new)).await);
    store.release(&new).await.unwrap();
    assert_lost(store.project(&step(20, &new)).await);
    let never = Lease { name: "fenced/nobody".to_owned(), token: 1 };
    assert_lost(store.commit(&tenant.id, &put("three", &never)).await);
}

/// Many ask at once: one gets it.
pub async fn one_of_many_gets_a_lease(store: AnyStore) {
    for round in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                let (holder, now) = (format!("h{number}"), later(round * TTL));
                store.acquire("racing", &holder, now, TTL).await.unwrap()
            });
        }
        let leases: Vec<Lease> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(leases.len(), 1, "round {round}");
    }
}
