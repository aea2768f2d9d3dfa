//! A service over a store of its own, on a clock that stands still, and short words for asking it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use counterfoil_api::{
    Options, Shared,
    limits::{By, InMemory, Limits, RateRule},
};
use counterfoil_engine::{Engine, keys::KeyRequest, run::RunOptions};
use counterfoil_rating::quota::RateWindow;
use counterfoil_store::Store;
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{CustomerId, FixedClock, Random, TenantId, Timestamp};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const NOW: &str = "2026-03-10T12:00:00Z";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that was logged by any test so far.
pub(crate) fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

fn listen() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter("info,counterfoil_api=trace,counterfoil_engine=trace,sqlx=debug")
            .with_writer(|| Log)
            .init();
    });
}

/// Bytes that differ each time and are the same in each run.
#[derive(Default)]
pub(crate) struct Counted(AtomicU64);

impl Random for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let digest = counterfoil_types::Digest::of(&number.to_be_bytes());
        for (byte, random) in bytes.iter_mut().zip(digest.0.iter().cycle()) {
            *byte = *random;
        }
    }
}

pub(crate) const BOOK: &str = r#"
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
key = "tokens"
event_type = "answer"
aggregation = "sum"
value = "tokens"
unit = "tokens"

[[plan]]
key = "basic"
interval = "month"

[plan.entitlements]
projects = 3
sso = false

[[plan.quota]]
meter = "calls"
soft = "8"
hard = "10"
window = "monthly"

[[plan.rate_limit]]
endpoint = "/search"
limit = 2
per = "second"

[[plan.charge]]
key = "calls"
model = "per_unit"
meter = "calls"
unit_price = "0.01"
included = "5"

[[plan.charge]]
key = "tokens"
model = "per_unit"
meter = "tokens"
unit_price = "0.001"
"#;

/// See the module header.
pub(crate) struct World {
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shared: Shared,
    pub(crate) router: Router,
    pub(crate) admin: String,
    _directory: Option<TempDir>,
}

/// What the service said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    /// The value at a JSON pointer, as text.
    pub(crate) fn at(&self, pointer: &str) -> String {
        match self.body.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => format!("nothing at {pointer} in {}", self.text),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

pub(crate) fn options() -> Options {
    Options {
        lanes: 4,
        test_mode: false,
        home: TenantId::new("home").unwrap(),
        max_body: 1024 * 1024,
        max_batch_body: 5 * 1024 * 1024,
        max_batch: 5_000,
        body_timeout: Duration::from_secs(30),
        in_flight: 512,
        tenant_in_flight: 256,
        over_quota_status: 402,
        guard: counterfoil_delivery::Guard::default(),
        unsubscribe: Some(counterfoil_delivery::mail::Unsubscribe {
            url: "https://seller.example/unsubscribe".to_owned(),
            key: b"0123456789abcdef".to_vec(),
        }),
        stripe_secrets: vec!["whsec_new".to_owned(), "whsec_old".to_owned()],
        upgrade_url: Some("https://example.com/upgrade".to_owned()),
        enforce_quotas_at_ingest: false,
        run: RunOptions::default(),
        jobs: Arc::new(
            counterfoil_engine::jobs::Timetable::standard(
                counterfoil_engine::jobs::JobSettings::default(),
                counterfoil_types::Zone::utc(),
            )
            .unwrap(),
        ),
        limits: Limits {
            limiter: Arc::new(InMemory::default()),
            rules: vec![RateRule {
                operation: None,
                by: By::Key,
                limit: 1_000_000,
                per: RateWindow::Minute,
                burst: None,
            }],
            fail_open: true,
        },
        documents: Arc::default(),
        furnish: Arc::new(|engine| engine),
        on_request: std::sync::Arc::new(|_, _| ()),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        let mut world = Self::over(Arc::new(store), options).await;
        world._directory = Some(directory);
        world
    }

    /// Over a store that is there.
    pub(crate) async fn over(store: Arc<dyn Store>, options: Options) -> Self {
        let mut world = Self::over_with(store, options, "");
        world.admin = world.key("home", &["admin"]).await;
        world
    }

    /// Over a store that is there, with a key that is; nothing is asked of the store.
    pub(crate) fn over_with(store: Arc<dyn Store>, options: Options, admin: &str) -> Self {
        listen();
        let clock = Arc::new(FixedClock::new(at(NOW)));
        let shared =
            Shared::new(Arc::clone(&store), clock.clone(), Arc::new(Counted::default()), options);
        let router = shared.router();
        Self { clock, store, shared, router, admin: admin.to_owned(), _directory: None }
    }

    /// With a price book, a customer and its subscription.
    pub(crate) async fn furnished() -> Self {
        let world = Self::new().await;
        world.furnish().await;
        world
    }

    pub(crate) async fn furnish(&self) {
        self.post("/v1/books", json!({"text": BOOK})).await.is(201);
        self.customer("acme").await;
    }

    pub(crate) async fn customer(&self, id: &str) {
        let customer = json!({"id": id, "name": id, "currency": "USD", "zone": "UTC"});
        self.put(&format!("/v1/customers/{id}"), customer).await.is(200);
        let subscription = json!({"id": format!("{id}-sub"), "customer": id, "book": "test",
            "plan": "basic", "start": "2026-01-01"});
        self.post("/v1/subscriptions", subscription).await.is(201);
    }

    pub(crate) async fn engine(&self, tenant: &str) -> Engine {
        let tenant = TenantId::new(tenant).unwrap();
        self.shared.engine(&tenant).await.unwrap()
    }

    /// A key with scopes; of one customer, where the only scope reads `customer:NAME`.
    pub(crate) async fn key(&self, tenant: &str, scopes: &[&str]) -> String {
        let customer = scopes.first().and_then(|scope| scope.strip_prefix("customer:"));
        let scopes = match customer {
            Some(_) => vec!["customer".to_owned()],
            None => scopes.iter().map(ToString::to_string).collect(),
        };
        let request = KeyRequest {
            id: None,
            name: "test".to_owned(),
            scopes,
            customer: customer.map(|name| CustomerId::new(name).unwrap()),
            expires_at: None,
        };
        let random = Counted(AtomicU64::new(1_000_000 + self.next()));
        self.engine(tenant).await.create_key(request, &random).await.unwrap().secret
    }

    fn next(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(10, Ordering::SeqCst)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, body, text }
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &self.admin, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &self.admin, &[], Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path, &self.admin, &[], Some(body)).await
    }

    /// Posts text of another kind.
    pub(crate) async fn post_as(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method("POST")
            .uri(path)
            .header("authorization", format!("Bearer {}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

pub(crate) fn call(id: &str, customer: &str) -> Value {
    json!({"id": id, "source": "svc", "customer": customer, "type": "call", "time": NOW})
}
