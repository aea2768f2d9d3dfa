//! Content that goes into an archive and comes back: nothing else of the ledger changes.

use counterfoil_ledger::{Event, LaneId, Receipt, Reject, StoredEvent, Tree, content_hash};
use counterfoil_types::{Digest, MeterKey, Timestamp};

use super::support::{
    AnyStore, NOW, all_rows, amends, amount, append, assert_conflict, assert_whole, event,
    is_inserted, lane, reverses, tenant,
};
use crate::{ArchiveState, Manifest, Projection, StoreError, Tenant, archive::ARCHIVE_FORMAT};

const AT: Timestamp = NOW;

/// The manifest of rows, as if they lay in a file.
fn manifest(tenant: &Tenant, rows: &[StoredEvent]) -> Manifest {
    let mut tree = Tree::default();
    rows.iter().for_each(|row| tree.push(row.leaf));
    let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
    Manifest {
        format: ARCHIVE_FORMAT.to_owned(),
        tenant: tenant.id.clone(),
        lane: first.lane.0,
        first: first.position,
        last: last.position,
        rows: rows.len() as u64,
        earliest: rows.iter().map(StoredEvent::time).min().unwrap(),
        latest: rows.iter().map(StoredEvent::time).max().unwrap(),
        recorded_from: first.recorded_at,
        recorded_to: last.recorded_at,
        root: tree.root(),
        file: "rows.csv.gz".to_owned(),
        bytes: 1,
        sha256: Digest::of(b"rows"),
    }
}

async fn project(store: &AnyStore, lane: LaneId, from: u64, to: u64) {
    let meters = vec![MeterKey::new("m").unwrap()];
    let projection =
        Projection { lane, meters, from, to, buckets: vec![], members: vec![], fence: None };
    store.project(&projection).await.unwrap();
}

async fn rows(store: &AnyStore, lane: LaneId, first: u64, last: u64) -> Vec<StoredEvent> {
    store.read(lane, first - 1, last, None, 1000).await.unwrap()
}

/// Rows of one lane, the first `archived` of them archived. Gives what they were.
async fn archived(
    store: &AnyStore,
    case: &str,
    events: &[Event],
    archived: u64,
) -> (Tenant, LaneId, Vec<StoredEvent>) {
    let tenant = tenant(store, case).await;
    let lane = lane(&tenant, "acme");
    append(store, &tenant, events).await;
    project(store, lane, 0, events.len() as u64).await;
    let all = all_rows(store, &tenant).await;
    let part = rows(store, lane, 1, archived).await;
    store.drop_content(&tenant, &manifest(&tenant, &part), "dir", &part, AT).await.unwrap();
    (tenant, lane, all)
}

fn events(count: u64) -> Vec<Event> {
    (1..=count).map(|n| amount(&format!("e{n}"), "acme", &format!("{n}.5"))).collect()
}

fn is_archived<T: std::fmt::Debug>(outcome: Result<T, StoreError>, lane: LaneId, at: u64) {
    match outcome {
        Err(StoreError::Archived { lane: l, position }) if l == lane.0 && position == at => {}
        other => panic!("lane {lane} position {at} is archived, not {other:?}"),
    }
}

/// Seals, places, customers and times stay as they were; the content hash stands beside them.
pub async fn an_archived_row_keeps_its_place_and_its_seal(store: AnyStore) {
    let (tenant, lane, before) = archived(&store, "arc-seals", &events(5), 3).await;
    let seals = store.seals(lane, 0, 99, 99).await.unwrap();
    assert_eq!(seals.len(), 5);
    for (seal, row) in seals.iter().zip(&before) {
        let place = (seal.position, seal.recorded_at, seal.time(), seal.target, seal.leaf);
        let was = (row.position, row.recorded_at, row.time(), row.target_position, row.leaf);
        assert_eq!(place, was);
        assert_eq!(seal.customer, row.event.customer);
        let content = content_hash(&tenant.id, &row.event);
        assert_eq!(seal.archived, (row.position <= 3).then_some(content));
    }
    assert_eq!(store.seals(lane, 1, 4, 2).await.unwrap(), seals[1..3]);
    let heads = store.heads(&tenant).await.unwrap();
    assert!(heads.iter().any(|head| head.lane == lane && head.position == 5));
    let records = store.archives(&tenant.id).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].manifest, manifest(&tenant, &before[..3]));
    assert_eq!(records[0].state, ArchiveState::Archived);
    assert_eq!((records[0].place.as_str(), records[0].at), ("dir", AT));
    let facts = store.facts(&tenant.id, 0, 9).await.unwrap();
    assert_eq!(facts.len(), 1);
    assert_eq!(facts[0].fact.kind, "ledger.archived");
}

/// A read that would return an archived row says so; it never returns less than was asked for.
pub async fn reads_of_archived_rows_are_refused_and_never_short(store: AnyStore) {
    let events = [events(4), vec![amends("x", "acme", "e4", "9")]].concat();
    let (tenant, lane, before) = archived(&store, "arc-reads", &events, 3).await;
    is_archived(store.read(lane, 0, 99, None, 99).await, lane, 1);
    is_archived(store.read(lane, 2, 99, None, 99).await, lane, 3);
    let acme = before[0].event.customer.clone();
    is_archived(store.read(lane, 1, 99, Some(&acme), 99).await, lane, 2);
    is_archived(store.rows_at(lane, &[5, 2]).await, lane, 2);
    is_archived(store.find(&tenant.id, "svc", "e1").await, lane, 1);
    assert_eq!(rows(&store, lane, 4, 5).await, before[3..]);
    assert_eq!(store.rows_at(lane, &[4]).await.unwrap(), before[3..4]);
    assert_eq!(store.corrections_of(lane, 4, 4).await.unwrap(), before[4..]);
    // Corrections that stand after a position, of archived rows as well.
    assert_eq!(store.corrections_after(lane, 1, 4, 4).await.unwrap(), before[4..]);
    assert!(store.corrections_after(lane, 1, 4, 5).await.unwrap().is_empty());
    // A customer of the lane without archived rows is not concerned.
    let other =
        (0..).map(|n| format!("o{n}")).find(|name| super::support::lane(&tenant, name) == lane);
    let other = super::support::customer_id(&other.unwrap());
    assert!(store.read(lane, 0, 99, Some(&other), 99).await.unwrap().is_empty());
}

/// Same key: duplicate with the first position. Other content: conflict with both hashes.
pub async fn dedupe_holds_for_archived_rows(store: AnyStore) {
    let (tenant, lane, before) = archived(&store, "arc-dedupe", &events(4), 3).await;
    let other = amount("e2", "acme", "7");
    let receipts =
        append(&store, &tenant, &[before[0].event.clone(), other.clone(), event("new", "acme")])
            .await;
    assert_eq!(receipts[0], Receipt::Duplicate { lane, position: 1 });
    let stored = content_hash(&tenant.id, &before[1].event);
    let given = content_hash(&tenant.id, &other);
    assert_eq!(receipts[1], Receipt::Conflict { lane, position: 2, stored, given });
    assert_eq!(receipts[2], Receipt::Inserted { lane, position: 5 });
    for (id, at) in [("e3", 2), ("e4", 3)] {
        let known = store.known(&tenant.id, "svc", id).await.unwrap().unwrap();
        let content = content_hash(&tenant.id, &before[at].event);
        assert_eq!((known.lane, known.position, known.content), (lane, at as u64 + 1, content));
    }
    assert!(store.known(&tenant.id, "svc", "never").await.unwrap().is_none());
}

/// A correction of an archived row is refused, telling to restore it; its neighbours are taken.
pub async fn corrections_of_archived_rows_are_refused(store: AnyStore) {
    let (tenant, lane, before) = archived(&store, "arc-corrections", &events(4), 3).await;
    let batch = [
        reverses("r1", "acme", "e1"),
        event("new", "acme"),
        amends("a4", "acme", "e4", "1"),
        amends("a2", "acme", "e2", "1"),
    ];
    let receipts = append(&store, &tenant, &batch).await;
    for (at, target, position) in [(0, "e1", 1), (3, "e2", 2)] {
        let target = target.to_owned();
        let refused = Receipt::Rejected(Reject::Archived { target, lane, position });
        assert_eq!(receipts[at], refused);
    }
    assert!(is_inserted(&receipts[1]) && is_inserted(&receipts[2]));
    let part = &before[..3];
    assert_eq!(store.put_back(&tenant, &manifest(&tenant, part), part, AT).await.unwrap(), 3);
    assert!(is_inserted(&append(&store, &tenant, &batch[..1]).await[0]));
    assert_whole(&store, &tenant).await;
}

/// What is put back is what was there, to the byte; doing it again puts nothing back.
pub async fn what_is_put_back_is_what_was_there(store: AnyStore) {
    let strange = Event {
        unit: Some("GB \"x\",\n".to_owned()),
        subject: Some(String::new()),
        time: None,
        ..amount("strange, \"id\"", "acme", "-0.000000000000000000000000001")
    };
    let all = [events(2), vec![strange, amends("a", "acme", "e1", "12345678901234567890.5")]];
    let (tenant, lane, before) = archived(&store, "arc-back", &all.concat(), 4).await;
    let manifest = manifest(&tenant, &before);
    assert_eq!(store.put_back(&tenant, &manifest, &before, AT).await.unwrap(), 4);
    assert_eq!(all_rows(&store, &tenant).await, before);
    assert_eq!(store.put_back(&tenant, &manifest, &before, AT).await.unwrap(), 0);
    assert_eq!(store.archives(&tenant.id).await.unwrap()[0].state, ArchiveState::Restored);
    assert_eq!(store.corrections_of(lane, 1, 1).await.unwrap(), before[3..]);
    assert_whole(&store, &tenant).await;
    // And away again.
    store.drop_content(&tenant, &manifest, "else", &before, AT).await.unwrap();
    store.drop_content(&tenant, &manifest, "else", &before, AT).await.unwrap();
    let records = store.archives(&tenant.id).await.unwrap();
    assert_eq!((records.len(), records[0].place.as_str()), (1, "else"));
}

/// Archived rows are a prefix: archives follow one another and are restored from the last.
pub async fn archived_rows_are_a_prefix_of_their_lane(store: AnyStore) {
    let (tenant, lane, before) = archived(&store, "arc-prefix", &events(6), 2).await;
    let gap = manifest(&tenant, &before[3..4]);
    assert_conflict(store.drop_content(&tenant, &gap, "dir", &before[3..4], AT).await);
    let next = manifest(&tenant, &before[2..4]);
    store.drop_content(&tenant, &next, "dir", &before[2..4], AT).await.unwrap();
    let first = manifest(&tenant, &before[..2]);
    assert_conflict(store.put_back(&tenant, &first, &before[..2], AT).await);
    assert_eq!(store.put_back(&tenant, &next, &before[2..4], AT).await.unwrap(), 2);
    assert_eq!(rows(&store, lane, 3, 6).await, before[2..]);
    let longer = manifest(&tenant, &before[2..5]);
    store.drop_content(&tenant, &longer, "dir", &before[2..5], AT).await.unwrap();
    // Its rows lie in another archive by now.
    assert_conflict(store.put_back(&tenant, &next, &before[2..4], AT).await);
    assert_eq!(store.put_back(&tenant, &longer, &before[2..5], AT).await.unwrap(), 3);
    assert_eq!(store.put_back(&tenant, &first, &before[..2], AT).await.unwrap(), 2);
    assert_eq!(all_rows(&store, &tenant).await, before);
}

/// What is not projected, corrected meanwhile, not what is stored, or of somebody else stays.
pub async fn only_projected_rows_that_are_what_they_say_are_dropped(store: AnyStore) {
    let tenant = tenant(&store, "arc-refused").await;
    let lane = lane(&tenant, "acme");
    append(&store, &tenant, &events(4)).await;
    let all = all_rows(&store, &tenant).await;
    let two = manifest(&tenant, &all[..2]);
    let drop = async |manifest: &Manifest, rows: &[StoredEvent]| {
        store.drop_content(&tenant, manifest, "dir", rows, AT).await
    };
    assert_conflict(drop(&two, &all[..2]).await);
    project(&store, lane, 0, 1).await;
    assert_conflict(drop(&two, &all[..2]).await);
    project(&store, lane, 1, 4).await;
    append(&store, &tenant, &[reverses("r", "acme", "e2")]).await;
    assert_conflict(drop(&two, &all[..2]).await);
    project(&store, lane, 4, 5).await;
    let mut forged = all[..2].to_vec();
    forged[1].event.quantity = counterfoil_types::Quantity::from(77);
    assert_conflict(drop(&two, &forged).await);
    assert_conflict(drop(&two, &all[..1]).await);
    let wrong = Manifest { root: Digest::of(b"else"), ..two.clone() };
    assert_conflict(drop(&wrong, &all[..2]).await);
    let foreign = super::support::tenant(&store, "arc-foreign").await;
    assert_conflict(store.drop_content(&foreign, &two, "dir", &all[..2], AT).await);
    assert_eq!(all_rows(&store, &tenant).await[..4], all, "nothing was dropped");
    assert!(store.archives(&tenant.id).await.unwrap().is_empty());
    drop(&two, &all[..2]).await.unwrap();
    // The store believes its own record, not the manifest it is handed.
    assert_conflict(store.put_back(&tenant, &wrong, &all[..2], AT).await);
    let renamed = Manifest { file: "else".to_owned(), ..two.clone() };
    assert_conflict(store.put_back(&tenant, &renamed, &all[..2], AT).await);
    assert_conflict(store.put_back(&tenant, &two, &forged, AT).await);
    assert_eq!(store.put_back(&tenant, &two, &all[..2], AT).await.unwrap(), 2);
}

/// Corrections that race with an archiving are projected before the content goes, or refused.
pub async fn corrections_that_race_with_an_archiving_are_projected_or_refused(store: AnyStore) {
    const EVENTS: u64 = 40;
    let tenant = tenant(&store, "arc-race").await;
    let lane = lane(&tenant, "acme");
    append(&store, &tenant, &events(EVENTS)).await;
    let part = rows(&store, lane, 1, EVENTS).await;
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let (store, tenant) = (store.clone(), tenant.clone());
            tokio::spawn(async move {
                let mut taken = 0;
                for n in (1..=EVENTS).filter(|n| n % 4 == writer) {
                    let correction = amends(&format!("x{n}"), "acme", &format!("e{n}"), "1");
                    match append(&store, &tenant, &[correction]).await.remove(0) {
                        Receipt::Inserted { .. } => taken += 1,
                        Receipt::Rejected(Reject::Archived { .. }) => {}
                        other => panic!("taken or refused as archived, not {other:?}"),
                    }
                }
                taken
            })
        })
        .collect();
    let mut projected = 0;
    loop {
        let heads = store.heads(&tenant).await.unwrap();
        let head = heads.iter().find(|head| head.lane == lane).unwrap().position;
        if head > projected {
            project(&store, lane, projected, head).await;
            projected = head;
        }
        match store.drop_content(&tenant, &manifest(&tenant, &part), "dir", &part, AT).await {
            Ok(()) => break,
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("dropped or a conflict, not {other}"),
        }
    }
    let mut taken = 0;
    for writer in writers {
        taken += writer.await.unwrap();
    }
    let seals = store.seals(lane, 0, 999, 999).await.unwrap();
    let corrections: Vec<u64> =
        seals.iter().filter(|seal| seal.target.is_some()).map(|seal| seal.position).collect();
    assert_eq!(corrections.len() as u64, taken);
    assert!(corrections.iter().all(|position| *position <= projected), "{corrections:?}");
    store.put_back(&tenant, &manifest(&tenant, &part), &part, AT).await.unwrap();
    assert_whole(&store, &tenant).await;
}
