//! Connections that break before and after COMMIT, through a proxy that listens to what passes;
//! and a server that is killed in the middle of ingesting.

#![cfg(test)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use counterfoil_ledger::Receipt;
use counterfoil_store::{Commit, InvoiceStore, LedgerStore, Store, StoreError, Write};
use counterfoil_store_postgres::testing::{Disk, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::fixture::{Fixture, NOW, batch, connect, draft, is_inserted, tenant, whole};

/// When the proxy cuts the connection that commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The server never hears of the COMMIT.
    Before,
    /// The server commits; its answer is lost.
    After,
}

/// Passes bytes on to a server. While armed, it cuts a connection at its next COMMIT.
#[derive(Clone)]
struct Proxy {
    port: u16,
    armed: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(target: String, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, armed: Arc::default(), cuts: Arc::default() };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(shared.clone().pass(client, server, cut));
            }
        });
        proxy
    }

    async fn pass(self, mut client: TcpStream, mut server: TcpStream, cut: Cut) {
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    let bytes = &up[..length];
                    let commits = bytes.windows(7).any(|window| window == b"COMMIT\0");
                    let hit = commits && self.armed.swap(false, Ordering::SeqCst);
                    if hit {
                        self.cuts.fetch_add(1, Ordering::SeqCst);
                    }
                    if hit && cut == Cut::Before {
                        return;
                    }
                    if server.write_all(bytes).await.is_err() {
                        return;
                    }
                    if hit {
                        // The server has answered, so it has committed; nobody else hears of it.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// A fixture, and the way to its database through a proxy.
async fn through_proxy(cut: Cut) -> (Fixture, Proxy, String) {
    let fixture = Fixture::new().await;
    let rest = fixture.url.split_once('@').unwrap().1;
    let (host, database) = rest.split_once('/').unwrap();
    let proxy = Proxy::start(host.to_owned(), cut).await;
    // Plain bytes, so that the proxy can see what passes.
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", proxy.port);
    (fixture, proxy, url)
}

async fn an_append_cut(cut: Cut, stored: usize) {
    let (fixture, proxy, url) = through_proxy(cut).await;
    let store = connect(&url).await;
    let first = store.append(&fixture.tenant, &fixture.batch(0, 20), NOW).await.unwrap();
    assert!(first.iter().all(is_inserted));
    proxy.arm();
    let batch = fixture.batch(10, 20);
    let error = store.append(&fixture.tenant, &batch, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.is_transient() && error.to_string().contains("unknown"), "{error}");
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), stored);
    // The same store goes on, and sending again is safe.
    let again = store.append(&fixture.tenant, &batch, NOW).await.unwrap();
    let fresh = again.iter().filter(|receipt| is_inserted(receipt)).count();
    assert_eq!(fresh, 30 - stored, "only what was not committed is new");
    assert!(again[..10].iter().all(|receipt| matches!(receipt, Receipt::Duplicate { .. })));
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 30);
}

#[tokio::test]
async fn a_connection_cut_before_commit_stores_nothing_and_may_be_repeated() {
    an_append_cut(Cut::Before, 20).await;
}

#[tokio::test]
async fn a_connection_cut_after_commit_stores_all_and_may_be_repeated() {
    an_append_cut(Cut::After, 30).await;
}

#[tokio::test]
async fn a_finalization_cut_after_commit_gives_no_second_number() {
    for cut in [Cut::Before, Cut::After] {
        let (fixture, proxy, url) = through_proxy(cut).await;
        let store = connect(&url).await;
        let draft = draft(&fixture.tenant, "s", "5");
        let put = Commit::of(Write::PutDraft(Box::new(draft.clone())));
        store.commit(&fixture.tenant.id, &put).await.unwrap();
        let finalize = Commit::of(Write::Finalize {
            invoice: draft.id,
            series: "A-".to_owned(),
            at: NOW,
            due_at: NOW,
        });
        proxy.arm();
        let error = store.commit(&fixture.tenant.id, &finalize).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("unknown"), "{error}");
        store.commit(&fixture.tenant.id, &finalize).await.unwrap();
        let last: i64 = sqlx::query_scalar("SELECT last FROM invoice_series")
            .fetch_one(fixture.store.pool())
            .await
            .unwrap();
        assert_eq!(last, 1, "{cut:?}: one number was taken");
        let stored = store.invoice(&fixture.tenant.id, &draft.id).await.unwrap().unwrap();
        assert_eq!(stored.number.as_deref(), Some("A-000001"));
        let effects: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox")
            .fetch_one(fixture.store.pool())
            .await
            .unwrap();
        assert_eq!(effects, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gives_up_takes_nobody_with_it() {
    let fixture = Fixture::new().await;
    let mut other = fixture.intruder().await;
    sqlx::raw_sql("BEGIN; SELECT 1 FROM lane FOR UPDATE").execute(&mut other).await.unwrap();
    let send = |number: usize| {
        let (store, tenant) = (fixture.store.clone(), fixture.tenant.clone());
        let mine = batch(&tenant, number * 5, 5);
        tokio::spawn(async move { store.append(&tenant, &mine, NOW).await })
    };
    let writing = send(0);
    // The first one is at the lanes' locks; what comes now waits for its turn.
    loop {
        let blocked: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut other)
        .await
        .unwrap();
        if blocked {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (given_up, patient) = (send(1), send(2));
    while fixture.store.waiting() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writing.abort();
    given_up.abort();
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let receipts = patient.await.unwrap().unwrap();
    assert!(receipts.iter().all(is_inserted));
    // Whether or not those that gave up were written, nothing is half there.
    let rows = whole(&fixture.store, &fixture.tenant).await.len();
    assert!([5, 10, 15].contains(&rows), "{rows} rows of three batches of five");
    for number in 0..3 {
        send(number).await.unwrap().unwrap();
    }
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_ingesting_keeps_what_was_acknowledged() {
    const TASKS: usize = 4;
    let mut server = Server::start(Disk::Durable, &[]).unwrap();
    let url = server.empty_database().await.unwrap();
    let store = connect(&url).await;
    let tenant = tenant(&store).await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (store, tenant, acknowledged) = (store.clone(), tenant.clone(), acknowledged.clone());
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..60 {
                let mine = batch(&tenant, (round * TASKS + task) * 50, 50);
                // Sent again until there is an answer, as a producer does.
                receipts.push(loop {
                    match store.append(&tenant, &mine, NOW).await {
                        Ok(receipts) => break receipts,
                        Err(error) => assert!(error.is_transient(), "{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                });
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            (task, receipts)
        });
    }
    for at in [20, 90, 160] {
        while acknowledged.load(Ordering::SeqCst) < at {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.kill().unwrap();
        server.restart().unwrap();
    }
    let outcomes = tasks.join_all().await;
    let rows = whole(&store, &tenant).await;
    assert_eq!(rows.len(), TASKS * 60 * 50, "each event once");
    // Every receipt names the place where its event lies.
    for (task, batches) in &outcomes {
        for (round, receipts) in batches.iter().enumerate() {
            let first = (round * TASKS + task) * 50;
            for (offset, receipt) in receipts.iter().enumerate() {
                let (Receipt::Inserted { lane, position } | Receipt::Duplicate { lane, position }) =
                    receipt
                else {
                    panic!("{receipt:?}");
                };
                let row = rows.iter().find(|row| (row.lane, row.position) == (*lane, *position));
                assert_eq!(row.unwrap().event.id, format!("e{}", first + offset));
            }
        }
    }
}
