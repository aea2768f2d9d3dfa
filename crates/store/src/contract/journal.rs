//! Facts, and commits that take effect together or not at all.

use counterfoil_types::{BookRef, Digest};

use super::support::{
    AnyStore, NOW, assert_conflict, customer, customer_id, draft, finalize, run, subscription,
    tenant, write,
};
use crate::{BookRow, Commit, Write};

/// A fact is recorded once by its key; positions are contiguous from 1.
pub async fn facts_are_unique_by_key_and_contiguous(store: AnyStore) {
    let tenant = tenant(&store, "facts").await;
    for (number, key) in ["a", "b", "a", "c", "b", "d"].into_iter().enumerate() {
        let body = serde_json::json!({"n": number, "text": "Ünï \"quoted\"", "nested": [1, null]});
        let commit = Commit::default().fact("thing.happened", key.to_owned(), NOW, body);
        store.commit(&tenant.id, &commit).await.unwrap();
    }
    let facts = store.facts(&tenant.id, 0, 100).await.unwrap();
    let told: Vec<(u64, &str, i64)> = facts
        .iter()
        .map(|fact| (fact.position, fact.fact.key.as_str(), fact.fact.body["n"].as_i64().unwrap()))
        .collect();
    assert_eq!(told, [(1, "a", 0), (2, "b", 1), (3, "c", 3), (4, "d", 5)], "the first one stays");
    assert_eq!(facts[0].fact.body["text"], "Ünï \"quoted\"");
    assert_eq!((facts[0].fact.kind.as_str(), facts[0].fact.at), ("thing.happened", NOW));
    let page = store.facts(&tenant.id, 1, 2).await.unwrap();
    assert_eq!(page.iter().map(|fact| fact.position).collect::<Vec<_>>(), [2, 3]);
}

/// Many facts in one commit keep their order.
pub async fn facts_of_a_commit_keep_their_order(store: AnyStore) {
    let tenant = tenant(&store, "fact-order").await;
    let mut commit = Commit::default();
    for key in ["z", "y", "x"] {
        commit = commit.fact("k", key.to_owned(), NOW, serde_json::Value::Null);
    }
    store.commit(&tenant.id, &commit).await.unwrap();
    store.commit(&tenant.id, &commit).await.unwrap();
    let facts = store.facts(&tenant.id, 0, 100).await.unwrap();
    assert_eq!(
        facts.iter().map(|fact| fact.fact.key.as_str()).collect::<Vec<_>>(),
        ["z", "y", "x"]
    );
}

/// One refused write takes all others of its commit back, whatever they were.
pub async fn a_failed_write_leaves_nothing_of_its_commit(store: AnyStore) {
    let tenant = tenant(&store, "atomic").await;
    let finalized = draft(&tenant, "done", 1, "5");
    let open = draft(&tenant, "open", 1, "5");
    for write_first in [Write::PutDraft(finalized.clone()), Write::PutDraft(open.clone())] {
        write(&store, &tenant, write_first).await.unwrap();
    }
    write(&store, &tenant, finalize(&finalized, "A-")).await.unwrap();
    let facts = store.facts(&tenant.id, 0, 100).await.unwrap();
    let run = run(&tenant, 1);
    let book = BookRow {
        reference: BookRef { name: "b".to_owned(), version: "1".to_owned() },
        digest: Digest::of(b"x"),
        effective_from: "2026-01-01".to_owned(),
        text: "x".to_owned(),
        published_at: NOW,
    };
    let mut commit = Commit::default().fact("k", "never".to_owned(), NOW, serde_json::json!({}));
    commit.writes = vec![
        Write::PutCustomer(customer("acme")),
        Write::PutSubscription(subscription("s", "acme")),
        Write::PublishBook(book),
        Write::CreateRun(run.clone()),
        Write::PutDraft(draft(&tenant, "new", 1, "1")),
        Write::DropDraft(open.id),
        finalize(&draft(&tenant, "new", 1, "1"), "A-"),
        Write::PutDraft(finalized.clone()),
    ];
    assert_conflict(store.commit(&tenant.id, &commit).await);
    assert!(store.customer(&tenant.id, &customer_id("acme")).await.unwrap().is_none());
    assert!(store.subscription(&tenant.id, &"s".parse().unwrap()).await.unwrap().is_none());
    assert!(store.books(&tenant.id).await.unwrap().is_empty());
    assert!(store.runs(&tenant.id).await.unwrap().is_empty());
    let new = draft(&tenant, "new", 1, "1").id;
    assert!(store.invoice(&tenant.id, &new).await.unwrap().is_none());
    assert!(store.invoice(&tenant.id, &open.id).await.unwrap().is_some());
    assert_eq!(store.facts(&tenant.id, 0, 100).await.unwrap(), facts);
    // The same without the offender goes through, with the next number.
    commit.writes.pop();
    store.commit(&tenant.id, &commit).await.unwrap();
    let new = store.invoice(&tenant.id, &new).await.unwrap().unwrap();
    assert_eq!(new.number.as_deref(), Some("A-000002"));
    assert!(store.run(&tenant.id, &run.id).await.unwrap().is_some());
}

/// Repeating a whole commit, as after a lost acknowledgement, changes nothing more.
pub async fn a_commit_sent_twice_is_one(store: AnyStore) {
    let tenant = tenant(&store, "twice").await;
    let invoice = draft(&tenant, "s", 1, "5");
    write(&store, &tenant, Write::PutDraft(invoice.clone())).await.unwrap();
    let mut commit = Commit::of(finalize(&invoice, "A-")).fact(
        "k",
        "once".to_owned(),
        NOW,
        serde_json::json!({"n": 1}),
    );
    commit.writes.push(Write::PutCustomer(customer("acme")));
    commit.writes.push(Write::CreateRun(run(&tenant, 1)));
    store.commit(&tenant.id, &commit).await.unwrap();
    let state = async || {
        (
            store.facts(&tenant.id, 0, 100).await.unwrap(),
            store.invoice(&tenant.id, &invoice.id).await.unwrap(),
            store.runs(&tenant.id).await.unwrap(),
        )
    };
    let before = state().await;
    store.commit(&tenant.id, &commit).await.unwrap();
    assert_eq!(state().await, before);
    assert_eq!(before.0.len(), 2);
}
