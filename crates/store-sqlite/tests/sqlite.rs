//! What only SQLite can do wrong: full disks, locks, foreign schemas, other programs.

#![cfg(test)]

use std::{collections::BTreeMap, path::PathBuf};

use counterfoil_invoicing::{Inputs, Invoice, InvoiceBody, Subscription, TaxDecision};
use counterfoil_ledger::{Event, Receipt};
use counterfoil_store::{
    BookRow, CatalogStore, Commit, InvoiceStore, LedgerStore, Pending, Store, StoreError, Tenant,
    Write,
};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{
    BookRef, Currency, CustomerId, Digest, Money, Period, Quantity, TenantId, Timestamp, Zone,
};
use sqlx::{Connection, Row, SqliteConnection};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_micros(1_759_996_800_000_000);

struct Fixture {
    directory: TempDir,
    store: SqliteStore,
    tenant: Tenant,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        let tenant = store.ensure_tenant(&TenantId::new("t").unwrap(), 2).await.unwrap();
        Self { directory, store, tenant }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    fn batch(&self, from: usize, count: usize) -> Vec<Pending> {
        let event = |number: usize| Event {
            id: format!("e{number}"),
            source: "svc".to_owned(),
            customer: CustomerId::new("acme").unwrap(),
            event_type: "api.call".to_owned(),
            time: Some(NOW),
            quantity: Quantity::ONE,
            unit: None,
            properties: BTreeMap::new(),
            subject: Some("x".repeat(500)),
            resource: None,
            user: None,
            correction: None,
        };
        (from..from + count).map(|number| Pending::new(&self.tenant, event(number))).collect()
    }

    async fn append(&self, from: usize, count: usize) -> Result<Vec<Receipt>, StoreError> {
        self.store.append(&self.tenant, &self.batch(from, count), NOW).await
    }

    async fn pragma(&self, sql: &'static str) -> i64 {
        sqlx::query(sql).fetch_one(self.store.writer()).await.unwrap().get(0)
    }

    /// Another program with the file open.
    async fn intruder(&self) -> SqliteConnection {
        SqliteConnection::connect(&format!("sqlite://{}", self.path().display())).await.unwrap()
    }

    /// An invoice over nothing, finalized.
    async fn finalized(&self) -> Invoice {
        let zero = Money::zero(Currency::USD);
        let body = InvoiceBody {
            tenant: self.tenant.id.clone(),
            customer: CustomerId::new("acme").unwrap(),
            customer_name: "Acme".to_owned(),
            subscription: "s".parse().unwrap(),
            cycle: 1,
            revision: 0,
            part: 0,
            payer: None,
            due_cycle_at: NOW,
            period: Period::new(NOW, NOW),
            zone: Zone::utc(),
            currency: Currency::USD,
            lines: Vec::new(),
            subtotal: zero,
            credits: Vec::new(),
            granted: Vec::new(),
            credited: Vec::new(),
            taxes: Vec::new(),
            tax: zero,
            total: zero,
            inputs: Inputs {
                lane: 0,
                position: 1,
                engine: "1".to_owned(),
                subscription: Subscription::new(
                    "s".parse().unwrap(),
                    "acme".parse().unwrap(),
                    "book",
                    "plan".parse().unwrap(),
                    "2025-10-01".parse().unwrap(),
                ),
                zone: Zone::utc(),
                late_events: None,
                until: None,
                compared: false,
                withdrawn: Vec::new(),
                billed_by: Vec::new(),
                credited_by: Vec::new(),
                credits: Vec::new(),
                grants: Vec::new(),
                tax: TaxDecision::default(),
            },
        };
        let draft = Invoice::draft(body).unwrap();
        let mut commit = Commit::of(Write::PutDraft(Box::new(draft.clone())));
        let series = "A-".to_owned();
        commit.writes.push(Write::Finalize { invoice: draft.id, series, at: NOW, due_at: NOW });
        self.store.commit(&self.tenant.id, &commit).await.unwrap();
        self.store.invoice(&self.tenant.id, &draft.id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn the_file_is_durable_wal_with_full_sync() {
    let fixture = Fixture::new().await;
    let described: BTreeMap<String, String> =
        fixture.store.describe().await.unwrap().into_iter().collect();
    assert_eq!(described["journal mode"], "wal");
    assert_eq!(described["synchronous"], "full");
    assert_eq!(fixture.pragma("PRAGMA synchronous").await, 2, "the writer too");
    assert_eq!(fixture.pragma("PRAGMA foreign_keys").await, 1);
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    let fixture = Fixture::new().await;
    fixture.append(0, 10).await.unwrap();
    let pages = fixture.pragma("PRAGMA page_count").await;
    let limit = format!("PRAGMA max_page_count = {}", pages + 10);
    sqlx::raw_sql(sqlx::AssertSqlSafe(limit)).execute(fixture.store.writer()).await.unwrap();
    let mut kept = 10;
    let error = loop {
        match fixture.append(kept, 10).await {
            Ok(_) => kept += 10,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(error.to_string().contains("Free disk space"), "{error}");
    let lane = fixture.tenant.lane_of(&CustomerId::new("acme").unwrap());
    let rows = fixture.store.read(lane, 0, 1 << 40, None, 100_000).await.unwrap();
    assert_eq!(rows.len(), kept, "reads go on, and hold all that was acknowledged");
    sqlx::raw_sql("PRAGMA max_page_count = 1000000").execute(fixture.store.writer()).await.unwrap();
    // The same store goes on: nobody has to restart it.
    let receipts = fixture.append(0, kept + 10).await.unwrap();
    let fresh = receipts.iter().filter(|r| matches!(r, Receipt::Inserted { .. })).count();
    assert_eq!(fresh, 10, "the batch that failed was not half there");
    let rows = fixture.store.read(lane, 0, 1 << 40, None, 100_000).await.unwrap();
    assert!(rows.iter().zip(1u64..).all(|(row, at)| row.position == at));
}

#[tokio::test]
async fn an_unwritable_directory_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-file");
    std::fs::write(&file, "no directory").unwrap();
    let error = SqliteStore::open(&file.join("sub").join("store.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    let error = SqliteStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "a directory is no store: {error}");
}

#[tokio::test]
async fn a_file_that_may_only_be_read_is_told() {
    let fixture = Fixture::new().await;
    sqlx::raw_sql("PRAGMA query_only = 1").execute(fixture.store.writer()).await.unwrap();
    let error = fixture.append(0, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_lock_held_by_another_program_is_told_and_passes() {
    let fixture = Fixture::new().await;
    sqlx::raw_sql("PRAGMA busy_timeout = 50").execute(fixture.store.writer()).await.unwrap();
    let mut other = fixture.intruder().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = fixture.append(0, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert!(error.is_transient());
    assert_eq!(fixture.store.heads(&fixture.tenant).await.unwrap().len(), 2, "reads go on");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    fixture.append(0, 1).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let fixture = Fixture::new().await;
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(fixture.store.writer())
    .await
    .unwrap();
    fixture.store.close().await;
    match SqliteStore::open(&fixture.path()).await {
        Err(StoreError::NewerSchema { found: 9999, known }) => assert!(known < 9999),
        other => panic!("a newer schema, not {other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_is_no_store_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    std::fs::write(&path, "this is a text, not a database. ".repeat(100)).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn opening_again_applies_no_migration_twice() {
    let fixture = Fixture::new().await;
    fixture.append(0, 5).await.unwrap();
    let applied = fixture.pragma("SELECT count(*) FROM _sqlx_migrations").await;
    let second = SqliteStore::open(&fixture.path()).await.unwrap();
    fixture.store.close().await;
    second.close().await;
    let third = SqliteStore::open(&fixture.path()).await.unwrap();
    let again: i64 = sqlx::query("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(third.writer())
        .await
        .unwrap()
        .get(0);
    assert_eq!(applied, again);
    assert!(third.heads(&fixture.tenant).await.unwrap().iter().any(|head| head.position == 5));
}

#[tokio::test]
async fn two_programs_may_open_a_new_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let path = path.clone();
        tasks.spawn(async move {
            let store = SqliteStore::open(&path).await.unwrap();
            store.ensure_tenant(&TenantId::new("t").unwrap(), 2).await.unwrap().number
        });
    }
    assert!(tasks.join_all().await.iter().all(|number| *number == 1));
}

#[tokio::test]
async fn other_programs_cannot_rewrite_history() {
    let fixture = Fixture::new().await;
    fixture.append(0, 3).await.unwrap();
    let book = BookRow {
        reference: BookRef { name: "b".to_owned(), version: "1".to_owned() },
        digest: Digest::of(b"x"),
        effective_from: "2026-01-01".to_owned(),
        text: "x".to_owned(),
        published_at: NOW,
    };
    let commit = Commit::of(Write::PublishBook(book)).fact(
        "k",
        "key".to_owned(),
        NOW,
        serde_json::json!({}),
    );
    fixture.store.commit(&fixture.tenant.id, &commit).await.unwrap();
    fixture.finalized().await;
    let mut other = fixture.intruder().await;
    for sql in [
        "UPDATE usage_event SET quantity = '2'",
        "UPDATE usage_event SET customer = 'else' WHERE position = 1",
        "UPDATE usage_event SET archived = zeroblob(48)",
        "UPDATE usage_event SET archived = zeroblob(48), type = '', source = '', id = '', quantity = '', body = NULL",
        "DELETE FROM usage_event WHERE position = 3",
        "DELETE FROM usage_event",
        "UPDATE journal SET body = '{}'",
        "DELETE FROM journal",
        "UPDATE price_book SET text = 'y'",
        "DELETE FROM price_book",
        "UPDATE invoice SET body = '{}'",
        "UPDATE invoice SET digest = x'00'",
        "UPDATE invoice SET number = 'A-000007'",
        "UPDATE invoice SET number = NULL",
        "UPDATE invoice SET total = '5'",
        "UPDATE invoice SET currency = 'EUR'",
        "UPDATE invoice SET customer = 'else'",
        "UPDATE invoice SET subscription = 'else'",
        "UPDATE invoice SET cycle = 2",
        "UPDATE invoice SET revision = 1",
        "UPDATE invoice SET position = 9",
        "UPDATE invoice SET due_cycle_at = 0",
        "UPDATE invoice SET issued_at = 0",
        "UPDATE invoice SET due_at = due_at + 1",
        "UPDATE invoice SET id = 'else'",
        "UPDATE invoice SET state = 'draft', number = NULL, issued_at = NULL",
        "DELETE FROM invoice",
    ] {
        let outcome = sqlx::raw_sql(sql).execute(&mut other).await;
        let error = outcome.expect_err(sql).to_string();
        let told = ["never", "append-only"].iter().any(|word| error.contains(word));
        assert!(told, "{sql}: {error}");
    }
    sqlx::raw_sql("UPDATE invoice SET state = 'void'").execute(&mut other).await.unwrap();
}

#[tokio::test]
async fn damage_in_a_row_names_the_row() {
    let fixture = Fixture::new().await;
    fixture.append(0, 3).await.unwrap();
    let invoice = fixture.finalized().await;
    let mut other = fixture.intruder().await;
    for sql in [
        "DROP TRIGGER usage_event_no_update",
        "DROP TRIGGER invoice_immutable",
        "UPDATE usage_event SET quantity = 'many' WHERE position = 2",
        "UPDATE invoice SET body = '{'",
    ] {
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    }
    let lane = fixture.tenant.lane_of(&CustomerId::new("acme").unwrap());
    let error = fixture.store.read(lane, 0, 3, None, 9).await.unwrap_err();
    assert!(error.to_string().contains("position 2"), "{error}");
    let error = fixture.store.invoice(&fixture.tenant.id, &invoice.id).await.unwrap_err();
    assert!(error.to_string().contains(&invoice.id.to_string()), "{error}");
}

#[tokio::test]
async fn a_store_opens_and_reads_while_another_program_writes() {
    let fixture = Fixture::new().await;
    fixture.append(0, 5).await.unwrap();
    let mut other = fixture.intruder().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let second = SqliteStore::open(&fixture.path()).await.unwrap();
    let heads = second.heads(&fixture.tenant).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.position).sum::<u64>(), 5);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    second.close().await;
}
