//! Reversals and amendments.

use counterfoil_ledger::{Event, Receipt, Reject};

use super::support::{
    AnyStore, all_rows, amends, append, assert_whole, event, is_inserted, lane, one_per_lane,
    position, reverses, tenant,
};

fn reason(receipt: &Receipt) -> String {
    match receipt {
        Receipt::Rejected(Reject::Correction(reason)) => reason.clone(),
        other => panic!("a refused correction, not {other:?}"),
    }
}

/// A correction is a row of its own that names the position it corrects.
pub async fn corrections_name_the_position_they_correct(store: AnyStore) {
    let tenant = tenant(&store, "corrections").await;
    append(&store, &tenant, &[event("a", "acme"), event("b", "acme")]).await;
    let receipts =
        append(&store, &tenant, &[amends("b2", "acme", "b", "7"), reverses("a2", "acme", "a")])
            .await;
    assert_eq!(receipts.iter().map(position).collect::<Vec<_>>(), [3, 4]);
    let rows = all_rows(&store, &tenant).await;
    let targets: Vec<Option<u64>> = rows.iter().map(|row| row.target_position).collect();
    assert_eq!(targets, [None, None, Some(2), Some(1)]);
    assert_eq!(rows[0].event, event("a", "acme"), "the original stays as it is");
    assert_eq!(rows[2].event, amends("b2", "acme", "b", "7"));
    assert_whole(&store, &tenant).await;
}

/// Corrections of a range of originals come in order of their own position.
pub async fn corrections_are_found_by_the_positions_they_correct(store: AnyStore) {
    let tenant = tenant(&store, "corrections-of").await;
    let events: Vec<Event> = (1..=5).map(|n| event(&format!("e{n}"), "acme")).collect();
    append(&store, &tenant, &events).await;
    let corrections = [
        amends("x1", "acme", "e4", "1"),
        amends("x2", "acme", "e2", "2"),
        amends("x3", "acme", "e4", "3"),
        reverses("x4", "acme", "e5"),
    ];
    append(&store, &tenant, &corrections).await;
    let lane = lane(&tenant, "acme");
    let ids = |rows: Vec<counterfoil_ledger::StoredEvent>| {
        rows.into_iter().map(|row| row.event.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(store.corrections_of(lane, 1, 4).await.unwrap()), ["x1", "x2", "x3"]);
    assert_eq!(ids(store.corrections_of(lane, 4, 4).await.unwrap()), ["x1", "x3"]);
    assert_eq!(ids(store.corrections_of(lane, 5, 9).await.unwrap()), ["x4"]);
    assert!(store.corrections_of(lane, 1, 1).await.unwrap().is_empty());
}

/// Unknown target, other customer, other type, a correction as target: refused with the reason.
pub async fn corrections_of_the_wrong_event_are_refused(store: AnyStore) {
    let tenant = tenant(&store, "wrong-target").await;
    let customers = one_per_lane(&tenant);
    let (own, other) = (customers[0].as_str(), customers[1].as_str());
    append(&store, &tenant, &[event("a", own), event("b", other), amends("a2", own, "a", "3")])
        .await;
    let foreign_source = Event { source: "else".to_owned(), ..reverses("x0", own, "a") };
    let other_type = Event { event_type: "storage".to_owned(), ..reverses("x3", own, "a") };
    let batch = [
        reverses("x1", own, "never-sent"),
        reverses("x2", own, "b"),
        other_type,
        reverses("x4", own, "a2"),
        foreign_source,
    ];
    let receipts = append(&store, &tenant, &batch).await;
    assert!(reason(&receipts[0]).contains("never sent"));
    assert!(reason(&receipts[1]).contains("customer"));
    assert!(reason(&receipts[2]).contains("type"));
    assert!(reason(&receipts[3]).contains("itself a correction"));
    assert!(reason(&receipts[4]).contains("never sent"));
    assert_eq!(all_rows(&store, &tenant).await.len(), 3, "a refused correction stores nothing");
}

/// An event is reversed once; what was reversed cannot be amended any more.
pub async fn a_reversed_event_takes_no_more_corrections(store: AnyStore) {
    let tenant = tenant(&store, "reversed").await;
    append(&store, &tenant, &[event("a", "acme"), amends("a1", "acme", "a", "2")]).await;
    let receipts = append(
        &store,
        &tenant,
        &[
            amends("a2", "acme", "a", "3"),
            reverses("a3", "acme", "a"),
            reverses("a4", "acme", "a"),
            amends("a5", "acme", "a", "4"),
        ],
    )
    .await;
    assert!(is_inserted(&receipts[0]) && is_inserted(&receipts[1]));
    assert!(reason(&receipts[2]).contains("reversed before"));
    assert!(reason(&receipts[3]).contains("reversed before"));
    assert_whole(&store, &tenant).await;
}

/// A correction sent again is a duplicate, also when its target was reversed in between.
pub async fn a_correction_sent_twice_is_one(store: AnyStore) {
    let tenant = tenant(&store, "correction-twice").await;
    let amend = amends("a1", "acme", "a", "2");
    append(&store, &tenant, &[event("a", "acme"), amend.clone()]).await;
    append(&store, &tenant, &[reverses("a2", "acme", "a")]).await;
    let receipts = append(&store, &tenant, &[amend, amends("a1", "acme", "a", "5")]).await;
    assert!(matches!(receipts[0], Receipt::Duplicate { position: 2, .. }));
    assert!(matches!(receipts[1], Receipt::Conflict { position: 2, .. }));
    assert_eq!(all_rows(&store, &tenant).await.len(), 3);
}

/// Within a batch a correction may follow its target, but not come before it.
pub async fn a_correction_may_follow_its_target_in_one_batch(store: AnyStore) {
    let tenant = tenant(&store, "same-batch").await;
    let batch = [
        reverses("early", "acme", "a"),
        event("a", "acme"),
        event("b", "acme"),
        amends("a1", "acme", "a", "2"),
        reverses("b1", "acme", "b"),
        amends("b2", "acme", "b", "2"),
        event("c", "acme"),
    ];
    let receipts = append(&store, &tenant, &batch).await;
    assert!(reason(&receipts[0]).contains("never sent"));
    assert!(reason(&receipts[5]).contains("reversed before"));
    let places: Vec<u64> = [1, 2, 3, 4, 6].into_iter().map(|at| position(&receipts[at])).collect();
    assert_eq!(places, [1, 2, 3, 4, 5]);
    assert_whole(&store, &tenant).await;
}
