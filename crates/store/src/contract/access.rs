//! Keys, claims, the audit log, and appending after what was seen.

use std::sync::Arc;

use counterfoil_types::{Digest, Timestamp, timestamp::DAY_MICROS};

use super::support::{
    AnyStore, NOW, all_rows, append, assert_conflict, assert_whole, customer_id, event, lane,
    prepared, tenant, write,
};
use crate::{ApiKey, AuditEntry, Commit, Seen, StoreError, Write};

fn key(id: &str, prefix: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        prefix: prefix.to_owned(),
        digest: Digest::of(prefix.as_bytes()),
        name: format!("key {id}"),
        scopes: vec!["ingest".to_owned(), "read".to_owned()],
        customer: None,
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

fn entry(operation: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        actor: "key:a".to_owned(),
        operation: operation.to_owned(),
        subject: "s".to_owned(),
        request: "r".to_owned(),
    }
}

fn claim(fingerprint: &str) -> Write {
    Write::Claim { key: "k".to_owned(), fingerprint: Digest::of(fingerprint.as_bytes()), at: NOW }
}

/// A key is found by its prefix with its tenant, its times move, what is revoked stays revoked,
/// and its secret and rights never change.
pub async fn a_key_is_found_by_prefix_and_keeps_its_rights(store: AnyStore) {
    let ours = tenant(&store, "keys").await;
    let other = tenant(&store, "other-keys").await;
    let first = key("a", "cfk_a1");
    write(&store, &ours, Write::PutKey(first.clone())).await.unwrap();
    write(&store, &ours, Write::PutKey(first.clone())).await.unwrap();
    write(&store, &other, Write::PutKey(key("a", "cfk_b1"))).await.unwrap();
    assert!(write(&store, &other, Write::PutKey(key("b", "cfk_a1"))).await.is_err());
    let (whose, found) = store.key_with_prefix("cfk_a1").await.unwrap().unwrap();
    assert_eq!((whose, &found), (ours.id.clone(), &first));
    assert!(store.key_with_prefix("cfk_a").await.unwrap().is_none());
    let stolen = ApiKey { digest: Digest::of(b"x"), ..first.clone() };
    assert_conflict(write(&store, &ours, Write::PutKey(stolen)).await);
    let wider = ApiKey { scopes: vec!["admin".to_owned()], ..first.clone() };
    assert_conflict(write(&store, &ours, Write::PutKey(wider)).await);
    let narrower = ApiKey { customer: Some(customer_id("acme")), ..first.clone() };
    assert_conflict(write(&store, &ours, Write::PutKey(narrower)).await);
    let later = NOW.plus_micros(5);
    let used = ApiKey { last_used_at: Some(later), ..first.clone() };
    let revoked = ApiKey { revoked_at: Some(NOW), expires_at: Some(later), ..first.clone() };
    for change in [used, revoked, first.clone()] {
        write(&store, &ours, Write::PutKey(change)).await.unwrap();
    }
    let (_, found) = store.key_with_prefix("cfk_a1").await.unwrap().unwrap();
    assert_eq!(found, ApiKey { revoked_at: Some(NOW), last_used_at: Some(later), ..first });
    write(&store, &ours, Write::PutKey(key("c", "cfk_c"))).await.unwrap();
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let found = store.api_keys(&ours.id, prefix, after, limit).await.unwrap();
        found.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 9).await, ["a", "c"]);
    assert_eq!(list("cfk_c", None, 9).await, ["c"]);
    assert_eq!(list("", None, 1).await, ["a"]);
    assert_eq!(list("", Some("a"), 9).await, ["c"]);
    assert!(list("%", None, 9).await.is_empty());
}

/// A claim is made with its effect or not at all, keeps its first answer, and refuses another
/// request under its key.
pub async fn a_claim_is_made_with_its_effect(store: AnyStore) {
    let ours = tenant(&store, "claims").await;
    let set = |value: &str| Write::Set { key: "s".to_owned(), value: Some(value.to_owned()) };
    let mut first = Commit::of(claim("one"));
    first.writes.push(set("1"));
    store.commit(&ours.id, &first).await.unwrap();
    store.commit(&ours.id, &first).await.unwrap();
    let mut other = Commit::of(set("2"));
    other.writes.push(claim("two"));
    assert_conflict(store.commit(&ours.id, &other).await);
    assert_eq!(store.settings(&ours.id, "s").await.unwrap(), [("s".into(), "1".into())]);
    let found = store.claim(&ours.id, "k").await.unwrap().unwrap();
    assert_eq!((found.fingerprint, found.at, found.answer), (Digest::of(b"one"), NOW, None));
    for (status, body) in [(201, "{}"), (500, "no")] {
        let answer = Write::Answer { key: "k".to_owned(), status, body: body.to_owned() };
        write(&store, &ours, answer).await.unwrap();
    }
    let found = store.claim(&ours.id, "k").await.unwrap().unwrap();
    assert_eq!(found.answer, Some((201, "{}".to_owned())));
    assert!(store.claim(&tenant(&store, "not-ours").await.id, "k").await.unwrap().is_none());
}

/// Old claims and expired keys of single customers are forgotten; what is younger, and keys of
/// programs, stay.
pub async fn old_claims_and_customer_keys_are_forgotten(store: AnyStore) {
    let ours = tenant(&store, "forgetting").await;
    let at = |days: i64| NOW.plus_micros(days * DAY_MICROS);
    write(&store, &ours, claim("one")).await.unwrap();
    let short = |id: &str, expires: Timestamp| ApiKey {
        customer: Some(customer_id("acme")),
        expires_at: Some(expires),
        ..key(id, id)
    };
    let program = ApiKey { expires_at: Some(at(0)), ..key("program", "p") };
    for key in [short("old", at(0)), short("young", at(2)), program] {
        write(&store, &ours, Write::PutKey(key)).await.unwrap();
    }
    write(&store, &ours, Write::Forget { before: at(0) }).await.unwrap();
    assert!(store.claim(&ours.id, "k").await.unwrap().is_some());
    write(&store, &ours, Write::Forget { before: at(1) }).await.unwrap();
    assert!(store.claim(&ours.id, "k").await.unwrap().is_none());
    let left = store.api_keys(&ours.id, "", None, 9).await.unwrap();
    assert_eq!(left.into_iter().map(|key| key.id).collect::<Vec<_>>(), ["program", "young"]);
}

/// The audit log is contiguous, in order, and each tenant's own.
pub async fn the_audit_log_is_contiguous(store: AnyStore) {
    let ours = tenant(&store, "audit").await;
    let other = tenant(&store, "audit-other").await;
    let mut both = Commit::of(Write::Audit(entry("one")));
    both.writes.push(Write::Audit(entry("two")));
    store.commit(&ours.id, &both).await.unwrap();
    write(&store, &other, Write::Audit(entry("theirs"))).await.unwrap();
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let (store, tenant) = (Arc::clone(&store), ours.clone());
            tokio::spawn(async move {
                write(&store, &tenant, Write::Audit(entry("more"))).await.unwrap()
            })
        })
        .collect();
    for task in racing {
        task.await.unwrap();
    }
    let all = store.audit(&ours.id, 0, 100).await.unwrap();
    let positions: Vec<u64> = all.iter().map(|entry| entry.position).collect();
    assert_eq!(positions, (1..=10).collect::<Vec<_>>());
    assert_eq!(all.first().map(|first| first.entry.clone()), Some(entry("one")));
    assert_eq!(store.audit(&ours.id, 9, 100).await.unwrap().len(), 1);
    assert_eq!(store.audit(&other.id, 0, 100).await.unwrap().len(), 1);
}

/// What was decided on what was seen is written only while that still is all there is.
pub async fn append_after_refuses_what_was_decided_too_early(store: AnyStore) {
    let ours = tenant(&store, "seen").await;
    let seen =
        |position| Seen { customer: customer_id("acme"), lane: lane(&ours, "acme"), position };
    let try_one = async |id: &str, position: u64| {
        let batch = prepared(&ours, &[event(id, "acme")]);
        let receipts = store.append_after(&ours, &batch, NOW, &[seen(position)]).await.unwrap();
        receipts.into_iter().next().flatten()
    };
    assert!(try_one("e1", 0).await.is_some());
    assert!(try_one("e2", 0).await.is_none());
    assert!(try_one("e2", 1).await.is_some());
    // A neighbour in the same lane is in nobody's way.
    let other = (0..)
        .map(|n| format!("n{n}"))
        .find(|name| lane(&ours, name) == lane(&ours, "acme"))
        .unwrap();
    append(&store, &ours, &[event("e3", &other)]).await;
    assert!(try_one("e4", 2).await.is_some());
    // Of several customers in one batch each goes by what was seen of it; one that is not named
    // goes in any case.
    let mixed = prepared(&ours, &[event("e5", "acme"), event("e6", &other), event("e7", "free")]);
    let of = |name: &str, position| Seen {
        customer: customer_id(name),
        lane: lane(&ours, name),
        position,
    };
    let sights = [of("acme", 4), of(&other, 2)];
    let receipts = store.append_after(&ours, &mixed, NOW, &sights).await.unwrap();
    let stored: Vec<bool> = receipts.iter().map(Option::is_some).collect();
    assert_eq!(stored, [true, false, true]);
    // What is stored already is a duplicate, not a second row.
    let again = try_one("e4", 5).await.unwrap();
    assert!(matches!(again, counterfoil_ledger::Receipt::Duplicate { .. }));
    assert_whole(&store, &ours).await;
    assert_eq!(all_rows(&store, &ours).await.len(), 6);
}

/// Of many who decide on the same sight, one writes at a time.
pub async fn racing_appends_after_the_same_sight_do_not_pass_a_limit(store: AnyStore) {
    let ours = tenant(&store, "racing-seen").await;
    let acme = lane(&ours, "acme");
    let racing: Vec<_> = (0..16)
        .map(|number| {
            let (store, tenant) = (Arc::clone(&store), ours.clone());
            tokio::spawn(async move {
                loop {
                    let rows = store.read(acme, 0, u64::MAX >> 1, None, 100).await.unwrap();
                    // At most five.
                    if rows.len() >= 5 {
                        return false;
                    }
                    let position = rows.last().map_or(0, |row| row.position);
                    let customer = customer_id("acme");
                    let seen = Seen { customer, lane: acme, position };
                    let batch = prepared(&tenant, &[event(&format!("e{number}"), "acme")]);
                    match store.append_after(&tenant, &batch, NOW, &[seen]).await.as_deref() {
                        Ok([Some(_)]) => return true,
                        Ok(_) | Err(StoreError::Unavailable(_) | StoreError::Locked(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let mut written = 0;
    for task in racing {
        written += usize::from(task.await.unwrap());
    }
    assert_eq!(written, 5);
    assert_whole(&store, &ours).await;
    assert_eq!(all_rows(&store, &ours).await.len(), 5);
}
