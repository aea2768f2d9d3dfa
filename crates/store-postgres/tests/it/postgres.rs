//! What only PostgreSQL can do wrong: schemas, settings, locks, other programs, restarts.

#![cfg(test)]

use std::{collections::BTreeMap, time::Duration};

use counterfoil_store::{
    BookRow, CatalogStore, Commit, InvoiceStore, LedgerStore, Store, StoreError, Write,
};
use counterfoil_store_postgres::{
    PostgresOptions, PostgresStore,
    testing::{Disk, Server, shared},
};
use counterfoil_types::{BookRef, Digest, TenantId};
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, NOW, connect, draft, whole};

fn described(facts: Vec<(String, String)>) -> BTreeMap<String, String> {
    facts.into_iter().collect()
}

#[tokio::test]
async fn commits_are_synchronous_whatever_the_servers_default() {
    let server = Server::start(Disk::Durable, &["synchronous_commit=off"]).unwrap();
    let store = connect(&server.empty_database().await.unwrap()).await;
    let facts = described(store.describe().await.unwrap());
    assert_eq!(facts["synchronous"], "full");
    assert_eq!(facts["synchronous_commit"], "on", "off at the server");
    assert!(facts["store"].starts_with("PostgreSQL 1"), "{facts:?}");
    // The shared server of the tests forces nothing to the disk, and doctor must say so.
    let fixture = Fixture::new().await;
    let facts = described(fixture.store.describe().await.unwrap());
    assert_eq!((facts["fsync"].as_str(), facts["synchronous"].as_str()), ("off", "NOT full"));
    assert!(!facts["database"].contains('@'), "no user, no password: {facts:?}");
}

#[tokio::test]
async fn several_programs_may_open_a_new_database_at_once() {
    let url = shared().unwrap().empty_database().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        tasks.spawn(async move {
            let store = connect(&url).await;
            store.ensure_tenant(&TenantId::new("t").unwrap(), 2).await.unwrap().number
        });
    }
    assert!(tasks.join_all().await.iter().all(|number| *number == 1));
}

#[tokio::test]
async fn opening_a_database_again_applies_no_migration_twice() {
    let fixture = Fixture::new().await;
    fixture.append(0, 5).await.unwrap();
    let count = "SELECT count(*) FROM _sqlx_migrations";
    let applied: i64 = sqlx::query_scalar(count).fetch_one(fixture.store.pool()).await.unwrap();
    let again = connect(&fixture.url).await;
    let second: i64 = sqlx::query_scalar(count).fetch_one(again.pool()).await.unwrap();
    assert_eq!(applied, second);
    assert_eq!(whole(&again, &fixture.tenant).await.len(), 5);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let fixture = Fixture::new().await;
    sqlx::raw_sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'from the future', true, '', 0)")
        .execute(fixture.store.pool())
        .await
        .unwrap();
    match PostgresStore::connect(&fixture.url, PostgresOptions::default()).await {
        Err(StoreError::NewerSchema { found: 9999, known }) => assert!(known < 9999),
        other => panic!("a newer schema, not {other:?}"),
    }
}

#[tokio::test]
async fn a_lock_held_for_long_is_told_and_passes() {
    let fixture = Fixture::new().await;
    let options =
        PostgresOptions { lock_timeout: Duration::from_millis(50), ..PostgresOptions::default() };
    let hasty = PostgresStore::connect(&fixture.url, options).await.unwrap();
    let mut other = fixture.intruder().await;
    sqlx::raw_sql("BEGIN; SELECT 1 FROM lane FOR UPDATE").execute(&mut other).await.unwrap();
    let batch = fixture.batch(0, 3);
    let error = hasty.append(&fixture.tenant, &batch, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert!(error.is_transient());
    assert_eq!(hasty.heads(&fixture.tenant).await.unwrap().len(), 2, "reads go on");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    hasty.append(&fixture.tenant, &batch, NOW).await.unwrap();
}

#[tokio::test]
async fn a_database_that_may_only_be_read_is_told() {
    let fixture = Fixture::new().await;
    let name = fixture.url.rsplit('/').next().unwrap();
    let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(fixture.store.pool()).await.unwrap();
    let store = connect(&fixture.url).await;
    let error = store.append(&fixture.tenant, &fixture.batch(0, 1), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert!(!error.is_transient());
    assert_eq!(store.heads(&fixture.tenant).await.unwrap().len(), 2, "reads go on");
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_without_the_password() {
    for url in ["postgres://u:secret@127.0.0.1:1/x", "postgres://u:secret@[bad", "mysql:secret"] {
        let error = PostgresStore::connect(url, PostgresOptions::default()).await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn nobody_connected_can_rewrite_history() {
    let fixture = Fixture::new().await;
    fixture.append(0, 3).await.unwrap();
    let book = BookRow {
        reference: BookRef { name: "b".to_owned(), version: "1".to_owned() },
        digest: Digest::of(b"x"),
        effective_from: "2026-01-01".to_owned(),
        text: "x".to_owned(),
        published_at: NOW,
    };
    let draft = draft(&fixture.tenant, "s", "5");
    let commit = Commit {
        writes: vec![
            Write::PublishBook(book),
            Write::PutDraft(Box::new(draft.clone())),
            Write::Finalize { invoice: draft.id, series: "A-".to_owned(), at: NOW, due_at: NOW },
        ],
        ..Commit::default()
    };
    fixture.store.commit(&fixture.tenant.id, &commit).await.unwrap();
    for sql in [
        "UPDATE usage_event SET quantity = 2",
        "UPDATE usage_event SET archived = decode(repeat('00', 48), 'hex')",
        "UPDATE usage_event SET archived = decode(repeat('00', 48), 'hex'), type = '', source = '', id = '', quantity = 0, body = NULL",
        "DELETE FROM archive",
        "TRUNCATE archive",
        "DELETE FROM usage_event WHERE position = 1",
        "TRUNCATE usage_event",
        "UPDATE journal SET body = '{}'",
        "DELETE FROM journal",
        "TRUNCATE journal",
        "UPDATE price_book SET text = 'y'",
        "DELETE FROM price_book",
        "TRUNCATE price_book",
        "UPDATE invoice SET body = '{}'",
        "UPDATE invoice SET digest = ''",
        "UPDATE invoice SET number = NULL, state = 'draft'",
        "UPDATE invoice SET total = 4",
        "UPDATE invoice SET customer = 'else'",
        "UPDATE invoice SET position = 9",
        "UPDATE invoice SET issued_at = 0",
        "UPDATE invoice SET due_at = due_at + 1",
        "DELETE FROM invoice",
        "TRUNCATE invoice",
    ] {
        let outcome = sqlx::raw_sql(sql).execute(fixture.store.pool()).await;
        let error = outcome.expect_err(sql).to_string();
        let told = ["never", "append-only"].iter().any(|word| error.contains(word));
        assert!(told, "{sql}: {error}");
    }
    sqlx::raw_sql("UPDATE invoice SET state = 'void'").execute(fixture.store.pool()).await.unwrap();
    let stored = fixture.store.invoice(&fixture.tenant.id, &draft.id).await.unwrap().unwrap();
    assert_eq!((stored.digest, stored.body), (draft.digest, draft.body), "bytes as digested");
}

#[tokio::test]
async fn damage_in_a_row_of_the_database_names_the_row() {
    let fixture = Fixture::new().await;
    fixture.append(0, 14).await.unwrap();
    for sql in [
        "ALTER TABLE usage_event DISABLE TRIGGER usage_event_updates",
        "UPDATE usage_event SET quantity = 'NaN' WHERE position = 2",
    ] {
        sqlx::raw_sql(sql).execute(fixture.store.pool()).await.unwrap();
    }
    let lane = fixture.tenant.lane_ids()[0];
    let error = fixture.store.read(lane, 0, 99, None, 99).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("position 2"), "{error}");
}

#[tokio::test]
async fn a_head_that_lies_behind_its_rows_is_damage_and_stores_nothing() {
    let fixture = Fixture::new().await;
    fixture.append(0, 14).await.unwrap();
    sqlx::raw_sql("UPDATE lane SET position = position - 1")
        .execute(fixture.store.pool())
        .await
        .unwrap();
    let error = fixture.append(14, 14).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_event")
        .fetch_one(fixture.store.pool())
        .await
        .unwrap();
    assert_eq!(rows, 14);
}

#[tokio::test]
async fn numbers_beyond_what_a_float_holds_are_summed_by_sql_as_by_us() {
    let fixture = Fixture::new().await;
    let mut batch = fixture.batch(0, 3);
    let texts = ["9007199254740993.0000000001", "-0.0000000001", "0.1"];
    for (pending, text) in batch.iter_mut().zip(texts) {
        pending.event.quantity = text.parse().unwrap();
        *pending = counterfoil_store::Pending::new(&fixture.tenant, pending.event.clone());
    }
    fixture.store.append(&fixture.tenant, &batch, NOW).await.unwrap();
    let sum: String = sqlx::query_scalar("SELECT sum(quantity)::text FROM usage_event")
        .fetch_one(fixture.store.pool())
        .await
        .unwrap();
    assert_eq!(sum, "9007199254740993.1000000000");
}
