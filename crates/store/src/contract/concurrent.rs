//! Many writers at once.

use std::{collections::BTreeMap, future::Future};

use counterfoil_ledger::{Event, Receipt};
use tokio::task::JoinSet;

use super::support::{
    AnyStore, NOW, all_rows, assert_whole, draft, event, finalize, is_inserted, lane, position,
    prepared, tenant, write,
};
use crate::{Projection, StoreError, Write};

/// Runs `count` tasks at once and returns what they came to.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    task: impl Fn(usize) -> F,
) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        tasks.spawn(task(number));
    }
    tasks.join_all().await
}

/// 64 tasks send the same key: one is inserted, all others hear its position.
pub async fn dup_concurrent_has_exactly_one_winner(store: AnyStore) {
    let tenant = tenant(&store, "racing-key").await;
    let receipts = at_once(64, |_| {
        let (store, tenant) = (store.clone(), tenant.clone());
        async move {
            let batch = prepared(&tenant, &[event("a", "acme")]);
            store.append(&tenant, &batch, NOW).await.unwrap().remove(0)
        }
    })
    .await;
    assert_eq!(receipts.iter().filter(|receipt| is_inserted(receipt)).count(), 1);
    assert!(receipts.iter().all(|receipt| position(receipt) == 1));
    assert_whole(&store, &tenant).await;
}

/// Tasks append overlapping batches over all lanes: each key once, positions contiguous, every
/// receipt of a key names the same position.
pub async fn overlapping_batches_at_once_store_each_key_once(store: AnyStore) {
    let tenant = tenant(&store, "racing-batches").await;
    let events: Vec<Event> =
        (0..200).map(|n| event(&format!("e{n}"), &format!("c{}", n % 13))).collect();
    let outcomes = at_once(16, |number| {
        let (store, tenant) = (store.clone(), tenant.clone());
        let mut mine: Vec<Event> = events.iter().skip(number * 10).take(60).cloned().collect();
        if number % 2 == 1 {
            mine.reverse();
        }
        async move {
            let receipts = store.append(&tenant, &prepared(&tenant, &mine), NOW).await.unwrap();
            mine.into_iter().map(|event| event.id).zip(receipts).collect::<Vec<_>>()
        }
    })
    .await;
    let mut places: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    for (id, receipt) in outcomes.into_iter().flatten() {
        let place = places.entry(id).or_insert((position(&receipt), 0));
        assert_eq!(place.0, position(&receipt));
        place.1 += usize::from(is_inserted(&receipt));
        assert!(!matches!(receipt, Receipt::Conflict { .. } | Receipt::Rejected(_)));
    }
    assert_eq!(places.len(), 200);
    assert!(places.values().all(|(_, inserted)| *inserted == 1));
    assert_eq!(all_rows(&store, &tenant).await.len(), 200);
    assert_whole(&store, &tenant).await;
}

/// A reader that follows the heads while others write sees every row, in order.
pub async fn a_reader_skips_no_row_while_others_write(store: AnyStore) {
    let tenant = tenant(&store, "no-gap").await;
    let wanted = lane(&tenant, "acme");
    let writers = {
        let (store, tenant) = (store.clone(), tenant.clone());
        tokio::spawn(async move {
            at_once(8, |number| {
                let (store, tenant) = (store.clone(), tenant.clone());
                async move {
                    for round in 0..10 {
                        let id = format!("{number}-{round}");
                        let batch = prepared(&tenant, &[event(&id, "acme")]);
                        store.append(&tenant, &batch, NOW).await.unwrap();
                    }
                }
            })
            .await
        })
    };
    let mut seen = Vec::new();
    while seen.len() < 80 {
        let after = seen.len() as u64;
        let rows = store.read(wanted, after, u64::MAX >> 1, None, 1000).await.unwrap();
        if rows.is_empty() && writers.is_finished() {
            let rows = store.read(wanted, after, u64::MAX >> 1, None, 1000).await.unwrap();
            assert!(!rows.is_empty(), "only {after} of 80 rows can be read");
        }
        seen.extend(rows.into_iter().map(|row| row.position));
        tokio::task::yield_now().await;
    }
    writers.await.unwrap();
    assert_eq!(seen, (1..=80).collect::<Vec<u64>>());
}

/// Projectors race for the same step: one wins, the others hear of a conflict.
pub async fn one_of_many_projectors_wins_each_step(store: AnyStore) {
    let tenant = tenant(&store, "racing-projectors").await;
    let lane = lane(&tenant, "acme");
    let meter: counterfoil_types::MeterKey = "m".parse().unwrap();
    for step in 0..3 {
        let outcomes = at_once(8, |_| {
            let projection = Projection {
                lane,
                meters: vec![meter.clone()],
                from: step * 10,
                to: (step + 1) * 10,
                buckets: Vec::new(),
                members: Vec::new(),
                fence: None,
            };
            let store = store.clone();
            async move { store.project(&projection).await }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let conflict =
            |outcome: &&Result<(), StoreError>| matches!(outcome, Err(StoreError::Conflict { .. }));
        assert_eq!(outcomes.iter().filter(conflict).count(), 7);
    }
    assert_eq!(store.progress(lane).await.unwrap(), [(meter, 30)]);
}

/// 32 finalizers of the same 32 drafts, each in another order: one number each, no gap.
pub async fn double_finalization_gives_one_number(store: AnyStore) {
    let tenant = tenant(&store, "racing-finalizers").await;
    let mut drafts = Vec::new();
    for number in 0..32 {
        let draft = draft(&tenant, &format!("s{number}"), 1, "5");
        write(&store, &tenant, Write::PutDraft(draft.clone())).await.unwrap();
        drafts.push(draft);
    }
    at_once(32, |number| {
        let (store, tenant, mut mine) = (store.clone(), tenant.clone(), drafts.clone());
        mine.rotate_left(number);
        async move {
            for draft in mine {
                write(&store, &tenant, finalize(&draft, "INV-2025-")).await.unwrap();
            }
        }
    })
    .await;
    let mut numbers = Vec::new();
    for draft in &drafts {
        let invoice = store.invoice(&tenant.id, &draft.id).await.unwrap().unwrap();
        numbers.push(invoice.number.unwrap());
    }
    numbers.sort();
    let expected: Vec<String> = (1..=32).map(|n| format!("INV-2025-{n:06}")).collect();
    assert_eq!(numbers, expected);
    let facts = store.facts(&tenant.id, 0, 1000).await.unwrap();
    let finalized = facts.iter().filter(|fact| fact.fact.kind == "invoice.finalized");
    assert_eq!(finalized.count(), 32, "one fact for each");
}
