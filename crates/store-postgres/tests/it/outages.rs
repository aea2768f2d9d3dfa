//! A server that is gone, full, busy or strict: what was acknowledged is there, what was not may be
//! sent again, and the same program goes on without a restart.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use counterfoil_ledger::Receipt;
use counterfoil_store::{CatalogStore, LedgerStore, StoreError};
use counterfoil_store_postgres::{
    PostgresOptions, PostgresStore,
    testing::{Disk, Server},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, NOW, batch, connect, is_inserted, tenant, whole};

fn place(receipt: &Receipt) -> (i64, u64) {
    match receipt {
        Receipt::Inserted { lane, position } | Receipt::Duplicate { lane, position } => {
            (lane.0, *position)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_has_all_that_was_acknowledged() {
    const TASKS: usize = 4;
    const BATCH: usize = 40;
    let mut primary = Server::start(Disk::Durable, &[]).unwrap();
    let url = primary.empty_database().await.unwrap();
    let store = connect(&url).await;
    let tenant = tenant(&store).await;
    let standby = primary.standby().await.unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, tenant, acknowledged) = (store.clone(), tenant.clone(), acknowledged.clone());
        tasks.spawn(async move {
            let mut sent = Vec::new();
            for round in 0..10_000 {
                let first = (round * TASKS + task) * BATCH;
                let outcome = store.append(&tenant, &batch(&tenant, first, BATCH), NOW).await;
                let ended = outcome.is_err();
                sent.push((first, outcome));
                if ended {
                    break;
                }
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            sent
        });
    }
    while acknowledged.load(Ordering::SeqCst) < 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    primary.kill().unwrap();
    let sent: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    standby.promote().await.unwrap();
    let url = standby.url(url.rsplit('/').next().unwrap());
    let store = connect(&url).await;
    let rows = whole(&store, &tenant).await;
    let places: BTreeMap<(i64, u64), &str> =
        rows.iter().map(|row| ((row.lane.0, row.position), row.event.id.as_str())).collect();
    let mut lost = 0;
    for (first, outcome) in &sent {
        match outcome {
            Ok(receipts) => {
                for (number, receipt) in receipts.iter().enumerate() {
                    let id = format!("e{}", first + number);
                    assert_eq!(places.get(&place(receipt)), Some(&id.as_str()));
                }
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                lost += 1;
            }
        }
    }
    assert_eq!(lost, TASKS, "each was in the middle of something");
    // What was not acknowledged is sent again, whatever became of it.
    for (first, _) in &sent {
        let again = store.append(&tenant, &batch(&tenant, *first, BATCH), NOW).await.unwrap();
        assert_eq!(again.len(), BATCH);
        again.iter().for_each(|receipt| {
            place(receipt);
        });
    }
    assert_eq!(whole(&store, &tenant).await.len(), sent.len() * BATCH);
}

/// A small file system of its own, taken away again.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Needs the right to mount.
    fn new() -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("counterfoil-disk-").tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs"])
            .arg(directory.path())
            .output();
        done.is_ok_and(|done| done.status.success()).then_some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server that lay on it may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Appends until the server is full, makes room, and goes on with the same store.
async fn fill(store: &PostgresStore, make_room: impl AsyncFnOnce()) {
    let tenant = tenant(store).await;
    let mut first = 0;
    let error = loop {
        assert!(first < 2_000_000, "it does not fill up");
        match store.append(&tenant, &batch(&tenant, first, 2_000), NOW).await {
            Ok(receipts) => assert!(receipts.iter().all(is_inserted)),
            Err(error) => break error,
        }
        first += 2_000;
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(store.heads(&tenant).await.unwrap().len(), 2, "reads go on");
    make_room().await;
    let again = store.append(&tenant, &batch(&tenant, first, 2_000), NOW).await.unwrap();
    assert!(again.iter().all(is_inserted), "nothing of it was stored");
    assert_eq!(whole(store, &tenant).await.len(), first + 2_000);
}

/// On a real small disk where this program may mount one; otherwise the server is made to say what
/// it says on one, from a certain row on.
#[tokio::test]
async fn a_full_disk_of_the_server_is_told_and_loses_nothing() {
    let server = Server::start(Disk::Lazy, &[]).unwrap();
    let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
    if let Some(disk) = SmallDisk::new() {
        let place = disk.0.path();
        let ballast = place.join("ballast");
        std::fs::write(&ballast, vec![1; 6 << 20]).unwrap();
        let table_space = place.join("space");
        std::fs::create_dir(&table_space).unwrap();
        let done = Command::new("chown").arg("postgres").arg(&table_space).status();
        assert!(done.unwrap().success());
        let sql = format!("CREATE TABLESPACE small LOCATION '{}'", table_space.display());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        let url = server.empty_database().await.unwrap();
        let store = connect(&url).await;
        for sql in [
            "ALTER TABLE usage_event SET TABLESPACE small",
            "ALTER INDEX usage_event_pkey SET TABLESPACE small",
            "ALTER INDEX usage_event_key SET TABLESPACE small",
        ] {
            sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
        }
        fill(&store, async || std::fs::remove_file(&ballast).unwrap()).await;
        store.close().await;
    }
    let url = server.empty_database().await.unwrap();
    let store = connect(&url).await;
    sqlx::raw_sql(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$; CREATE TRIGGER no_room BEFORE INSERT ON usage_event FOR EACH ROW WHEN (NEW.position > 5000) EXECUTE FUNCTION no_room()",
    )
    .execute(store.pool())
    .await
    .unwrap();
    let pool = store.pool().clone();
    fill(&store, async || {
        sqlx::raw_sql("DROP TRIGGER no_room ON usage_event").execute(&pool).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pool_without_connections_is_told_and_passes() {
    let fixture = Fixture::new().await;
    let options = PostgresOptions {
        max_connections: 2,
        acquire_timeout: Duration::from_millis(100),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(&fixture.url, options).await.unwrap();
    let held = [store.pool().acquire().await.unwrap(), store.pool().acquire().await.unwrap()];
    let mine = fixture.batch(0, 5);
    let append = store.append(&fixture.tenant, &mine, NOW).await.unwrap_err();
    let read = store.heads(&fixture.tenant).await.unwrap_err();
    for error in [append, read] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(error.is_transient());
    }
    drop(held);
    assert!(store.append(&fixture.tenant, &mine, NOW).await.unwrap().iter().all(is_inserted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_do_not_serialize_are_tried_again() {
    let fixture = Fixture::new().await;
    let name = fixture.url.rsplit('/').next().unwrap();
    let sql = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(fixture.store.pool()).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..3 {
        let store = connect(&fixture.url).await;
        let tenant = fixture.tenant.clone();
        tasks.spawn(async move {
            for round in 0..10 {
                let mine = batch(&tenant, (round * 3 + number) * 20, 20);
                loop {
                    match store.append(&tenant, &mine, NOW).await {
                        Ok(receipts) => {
                            assert_eq!(receipts.len(), 20);
                            break;
                        }
                        // Many times in a row: told as what it is, and the sender tries again.
                        Err(error) => assert!(error.is_transient(), "{error}"),
                    }
                }
            }
            store.ensure_tenant(&tenant.id, 2).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 600);
}
