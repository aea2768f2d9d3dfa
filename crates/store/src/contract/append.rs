//! Receipts, dedupe and order.

use std::collections::BTreeMap;

use counterfoil_ledger::{Receipt, Reject, Scalar, content_hash};

use super::support::{
    AnyStore, NOW, all_rows, amount, append, assert_whole, event, is_inserted, lane, one_per_lane,
    position, prepared, quantity, reverses, tenant,
};

/// The same key with the same content: one row, and the first position again.
pub async fn dup_same_body_is_noop(store: AnyStore) {
    let tenant = tenant(&store, "dup-same").await;
    let first = append(&store, &tenant, &[event("a", "acme")]).await;
    assert_eq!(first, [Receipt::Inserted { lane: lane(&tenant, "acme"), position: 1 }]);
    for _ in 0..2 {
        let again = append(&store, &tenant, &[event("a", "acme")]).await;
        assert_eq!(again, [Receipt::Duplicate { lane: lane(&tenant, "acme"), position: 1 }]);
    }
    assert_eq!(all_rows(&store, &tenant).await.len(), 1);
    assert_whole(&store, &tenant).await;
}

/// The same key with other content: nothing stored, both hashes named.
pub async fn dup_other_body_is_conflict(store: AnyStore) {
    let tenant = tenant(&store, "dup-other").await;
    let (stored, given) = (amount("a", "acme", "1"), amount("a", "acme", "2"));
    append(&store, &tenant, std::slice::from_ref(&stored)).await;
    let receipts = append(&store, &tenant, std::slice::from_ref(&given)).await;
    let conflict = Receipt::Conflict {
        lane: lane(&tenant, "acme"),
        position: 1,
        stored: content_hash(&tenant.id, &stored),
        given: content_hash(&tenant.id, &given),
    };
    assert_eq!(receipts, [conflict]);
    let rows = all_rows(&store, &tenant).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].event, stored);
}

/// 1.10 and 1.1 are the same content; an absent time and a stated one are not.
pub async fn equal_numbers_written_differently_are_one_event(store: AnyStore) {
    let tenant = tenant(&store, "dup-equal").await;
    let mut first = amount("a", "acme", "1.10");
    first.properties = BTreeMap::from([("x".to_owned(), Scalar::Number(quantity("2.500")))]);
    let mut same = amount("a", "acme", "1.1");
    same.properties = BTreeMap::from([("x".to_owned(), Scalar::Number(quantity("2.5")))]);
    let mut text = same.clone();
    text.properties = BTreeMap::from([("x".to_owned(), Scalar::from("2.5"))]);
    let mut timeless = same.clone();
    timeless.time = None;
    let receipts = append(&store, &tenant, &[first, same, text, timeless]).await;
    assert!(is_inserted(&receipts[0]));
    assert!(matches!(receipts[1], Receipt::Duplicate { position: 1, .. }));
    assert!(matches!(receipts[2], Receipt::Conflict { position: 1, .. }));
    assert!(matches!(receipts[3], Receipt::Conflict { position: 1, .. }));
}

/// A key that stands twice in one batch is taken once.
pub async fn dup_within_a_batch_gets_the_first_position(store: AnyStore) {
    let tenant = tenant(&store, "dup-within").await;
    let batch = [
        event("a", "acme"),
        event("b", "acme"),
        event("a", "acme"),
        amount("b", "acme", "9"),
        event("a", "acme"),
        event("c", "acme"),
    ];
    let receipts = append(&store, &tenant, &batch).await;
    assert_eq!(receipts.iter().map(position).collect::<Vec<_>>(), [1, 2, 1, 2, 1, 3]);
    assert!(matches!(receipts[2], Receipt::Duplicate { .. }));
    assert!(matches!(receipts[3], Receipt::Conflict { .. }));
    assert!(matches!(receipts[4], Receipt::Duplicate { .. }));
    assert_whole(&store, &tenant).await;
}

/// Batches that overlap in any order and size store each key once.
pub async fn dup_across_batches_in_any_order(store: AnyStore) {
    let tenant = tenant(&store, "dup-across").await;
    let events: Vec<_> =
        (0..520).map(|n| event(&format!("e{n}"), &format!("c{}", n % 9))).collect();
    append(&store, &tenant, &events[100..300]).await;
    let mut rest = events.clone();
    rest.reverse();
    let receipts = append(&store, &tenant, &rest).await;
    let fresh = receipts.iter().filter(|receipt| is_inserted(receipt)).count();
    assert_eq!(fresh, 320);
    let again = append(&store, &tenant, &events).await;
    assert!(again.iter().all(|receipt| matches!(receipt, Receipt::Duplicate { .. })));
    for (receipt, twin) in receipts.iter().rev().zip(&again) {
        assert_eq!(position(receipt), position(twin), "a duplicate tells the first position");
    }
    assert_eq!(all_rows(&store, &tenant).await.len(), 520);
    assert_whole(&store, &tenant).await;
}

/// Conflicts and duplicates inside a batch leave the others as they are, at every place.
pub async fn conflict_inside_a_batch_sinks_no_neighbour(store: AnyStore) {
    let tenant = tenant(&store, "neighbour").await;
    append(&store, &tenant, &[event("taken", "acme")]).await;
    for bad in 0..7 {
        let mut batch: Vec<_> = (0..7).map(|n| event(&format!("{bad}-{n}"), "acme")).collect();
        batch[bad] = amount("taken", "acme", "5");
        let receipts = append(&store, &tenant, &batch).await;
        for (number, receipt) in receipts.iter().enumerate() {
            let conflict = matches!(receipt, Receipt::Conflict { position: 1, .. });
            assert_eq!(conflict, number == bad, "item {number} of the batch with {bad} bad");
            assert_eq!(is_inserted(receipt), number != bad);
        }
    }
    assert_eq!(all_rows(&store, &tenant).await.len(), 1 + 7 * 6);
    assert_whole(&store, &tenant).await;
}

/// The key belongs to the tenant, not to the customer: another customer cannot take it.
pub async fn same_key_for_a_customer_of_another_lane_is_conflict(store: AnyStore) {
    let tenant = tenant(&store, "other-lane").await;
    let customers = one_per_lane(&tenant);
    append(&store, &tenant, &[event("a", &customers[0])]).await;
    for other in &customers[1..] {
        assert_ne!(lane(&tenant, other), lane(&tenant, &customers[0]));
        let receipts = append(&store, &tenant, &[event("x", other), event("a", other)]).await;
        match &receipts[1] {
            Receipt::Conflict { lane: stored, position: 1, .. } => {
                assert_eq!(*stored, lane(&tenant, &customers[0]));
            }
            other => panic!("a conflict, not {other:?}"),
        }
    }
    assert_whole(&store, &tenant).await;
}

/// Positions have no gaps in any lane and follow the order of the batch.
pub async fn positions_are_contiguous_and_follow_the_batch(store: AnyStore) {
    let tenant = tenant(&store, "positions").await;
    for batch in 0..3 {
        let events: Vec<_> =
            (0..300).map(|n| event(&format!("{batch}-{n:03}"), &format!("c{}", n % 11))).collect();
        append(&store, &tenant, &events).await;
    }
    for lane in tenant.lane_ids() {
        let rows = store.read(lane, 0, 10_000, None, 10_000).await.unwrap();
        assert!(rows.is_sorted_by_key(|row| row.event.id.clone()), "batch order is lane order");
    }
    assert_whole(&store, &tenant).await;
}

/// A refused correction frees its key; the second use of that key still keeps its place.
pub async fn order_holds_when_the_key_of_a_refused_event_returns(store: AnyStore) {
    let tenant = tenant(&store, "refused-key").await;
    let batch = [
        reverses("k", "acme", "a"),
        event("a", "acme"),
        reverses("k", "acme", "a"),
        event("last", "acme"),
    ];
    let receipts = append(&store, &tenant, &batch).await;
    assert!(matches!(receipts[0], Receipt::Rejected(Reject::Correction(_))));
    assert_eq!(receipts[1..].iter().map(position).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(receipts[1..].iter().all(is_inserted));
    assert_whole(&store, &tenant).await;
}

/// The recorded time follows the clock forward and stands still while the clock is behind.
pub async fn recorded_at_never_decreases_when_the_clock_jumps_back(store: AnyStore) {
    let tenant = tenant(&store, "clock").await;
    let day = 86_400_000_000;
    for (number, offset) in [0, -day, 5, -1, day, 0].into_iter().enumerate() {
        let batch = prepared(&tenant, &[event(&format!("e{number}"), "acme")]);
        store.append(&tenant, &batch, NOW.plus_micros(offset)).await.unwrap();
    }
    let rows = all_rows(&store, &tenant).await;
    let recorded: Vec<i64> =
        rows.iter().map(|row| row.recorded_at.micros() - NOW.micros()).collect();
    assert_eq!(recorded, [0, 0, 5, 5, day, day]);
    assert_whole(&store, &tenant).await;
}

/// Nothing in, nothing out.
pub async fn an_empty_batch_is_nothing(store: AnyStore) {
    let tenant = tenant(&store, "empty").await;
    assert!(append(&store, &tenant, &[]).await.is_empty());
    assert!(store.heads(&tenant).await.unwrap().iter().all(|head| head.position == 0));
}
