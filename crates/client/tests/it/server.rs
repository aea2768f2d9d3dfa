//! A service in a runtime of its own, which can be cut off in the middle of anything and started
//! again at the same address over the same store; and a proxy that loses answers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use counterfoil_api::{
    Listen, Options, Shared,
    limits::{InMemory, Limits},
};
use counterfoil_client::{Client, ClientOptions, SystemClock, SystemRandom};
use counterfoil_engine::{keys::KeyRequest, run::RunOptions};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::TenantId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BOOK: &str = r#"
[book]
name = "test"
version = "1"
currency = "USD"
effective_from = "2026-01-01"

[[meter]]
key = "calls"
event_type = "call"
aggregation = "count"
unit = "calls"

[[meter]]
key = "requests"
event_type = "api.request"
aggregation = "count"
unit = "requests"

[[plan]]
key = "basic"
interval = "month"

[plan.entitlements]
projects = 3

[[plan.quota]]
meter = "requests"
hard = "3"
window = "monthly"

[[plan.rate_limit]]
limit = 2
per = "hour"

[[plan.charge]]
key = "calls"
model = "per_unit"
meter = "calls"
unit_price = "0.01"
included = "5"
"#;

fn options() -> Options {
    Options {
        lanes: 4,
        test_mode: false,
        home: tenant(),
        max_body: 1024 * 1024,
        max_batch_body: 5 * 1024 * 1024,
        max_batch: 5_000,
        body_timeout: Duration::from_secs(30),
        in_flight: 512,
        tenant_in_flight: 256,
        over_quota_status: 402,
        guard: counterfoil_delivery::Guard::default(),
        unsubscribe: None,
        stripe_secrets: Vec::new(),
        upgrade_url: Some("https://example.com/upgrade".to_owned()),
        enforce_quotas_at_ingest: false,
        run: RunOptions::default(),
        on_request: Arc::new(|_, _| ()),
        jobs: Arc::new(
            counterfoil_engine::jobs::Timetable::standard(
                counterfoil_engine::jobs::JobSettings::default(),
                counterfoil_types::Zone::utc(),
            )
            .unwrap(),
        ),
        documents: Arc::default(),
        furnish: std::sync::Arc::new(|engine| engine),
        limits: Limits { limiter: Arc::new(InMemory::default()), rules: vec![], fail_open: true },
    }
}

fn tenant() -> TenantId {
    TenantId::new("home").unwrap()
}

async fn shared(path: &Path) -> Shared {
    let store = Arc::new(SqliteStore::open(path).await.unwrap());
    Shared::new(store, Arc::new(SystemClock), Arc::new(SystemRandom), options())
}

/// A service that runs until it is cut off.
pub(crate) struct Server {
    directory: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    runtime: Option<Runtime>,
}

impl Server {
    /// A service with a price book and the customer `acme`.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let engine = shared(&directory.path().join("store.db")).await.engine(&tenant()).await;
        let request = KeyRequest {
            id: None,
            name: "test".to_owned(),
            scopes: vec!["admin".to_owned()],
            customer: None,
            expires_at: None,
        };
        let key = engine.unwrap().create_key(request, &SystemRandom).await.unwrap().secret;
        let mut server = Self { directory, address, key, runtime: None };
        server.serve(listener);
        let client = server.client();
        let made: Value = client.post("/v1/books", &json!({"text": BOOK})).await.unwrap();
        assert_eq!(made["name"], "test", "{made}");
        server.customer("acme").await;
        server
    }

    pub(crate) async fn customer(&self, id: &str) {
        let body = json!({"id": id, "name": id, "currency": "USD", "zone": "UTC"});
        let path = format!("/v1/customers/{id}");
        self.put(&path, &body);
        let subscription = json!({"id": format!("{id}-sub"), "customer": id, "book": "test",
            "plan": "basic", "start": "2026-01-01"});
        let _: Value = self.client().post("/v1/subscriptions", &subscription).await.unwrap();
    }

    fn put(&self, path: &str, body: &Value) {
        let body = body.to_string();
        let text = format!(
            "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn serve(&mut self, listener: TcpListener) {
        let path = self.directory.path().join("store.db");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let shared = shared(&path).await;
            tokio::spawn(counterfoil_api::project(shared.clone()));
            counterfoil_api::serve(&shared, listener, Listen::default(), std::future::pending())
                .await
        });
        self.runtime = Some(runtime);
    }

    /// Ends it as a crash does: nothing is drained, sockets just close.
    pub(crate) fn cut_off(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it again, at the same address over the same store.
    pub(crate) async fn start_again(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.serve(listener);
    }

    pub(crate) fn client(&self) -> Client {
        self.client_at(self.address)
    }

    pub(crate) fn client_at(&self, address: SocketAddr) -> Client {
        let options = ClientOptions { timeout: Duration::from_secs(5), ..ClientOptions::default() };
        Client::with_options(&format!("http://{address}"), &self.key, &options).unwrap()
    }

    /// Ids of all stored events, sorted.
    pub(crate) async fn stored(&self) -> Vec<String> {
        let (client, mut ids, mut cursor) = (self.client(), Vec::new(), String::new());
        loop {
            let page: Value = client.get(&format!("/v1/events?limit=1000{cursor}")).await.unwrap();
            let items = page["items"].as_array().unwrap();
            ids.extend(items.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        ids.sort();
        ids
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut_off();
    }
}

/// A way to the service on which the first so many answers get lost: the request arrives, then
/// the connection breaks.
pub(crate) fn losing_answers(to: SocketAddr, lost: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicU32::new(lost));
    let counter = Arc::clone(&left);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (Ok(mut near), Ok(mut far)) = (socket, TcpStream::connect(to)) else { return };
            let left = Arc::clone(&counter);
            std::thread::spawn(move || {
                let (mut from_near, mut to_far) =
                    (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_near, &mut to_far));
                let mut piece = [0_u8; 65_536];
                while let Ok(read) = far.read(&mut piece)
                    && read > 0
                {
                    let lose = left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                            left.checked_sub(1)
                        })
                        .is_ok();
                    if lose || near.write_all(&piece[..read]).is_err() {
                        break;
                    }
                }
                let _ = near.shutdown(std::net::Shutdown::Both);
                let _ = far.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (address, left)
}
