//! The service: what all requests share, and the router made from the table of operations.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::DefaultBodyLimit, middleware, response::IntoResponse};
use counterfoil_engine::Engine;
use counterfoil_store::{ApiKey, Store};
use counterfoil_types::{Clock, Random, TenantId, Timestamp};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};

use crate::{
    guard,
    health::Monitor,
    limits::Limits,
    metrics::Metrics,
    openapi,
    operation::{Operation, Routes},
    problem::Problem,
    routes,
};

/// How long a key that was found is taken for granted, in microseconds.
const KEY_KEPT_FOR: i64 = 5_000_000;
/// Most keys remembered.
const MOST_KEYS: usize = 50_000;

/// How the service behaves.
#[derive(Clone)]
pub struct Options {
    /// Lanes of a tenant made on first use.
    pub lanes: u16,
    /// Whether test clocks are honoured.
    pub test_mode: bool,
    /// The tenant that the service's own health is told to, and that Stripe's messages are about.
    pub home: TenantId,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// Largest body of a batch of events, in bytes; a stream of lines has no limit.
    pub max_batch_body: usize,
    /// Most events in a batch.
    pub max_batch: usize,
    /// How long a body may take, and how long a stream may pause.
    pub body_timeout: Duration,
    /// Most requests answered at once.
    pub in_flight: usize,
    /// Most of them for one tenant.
    pub tenant_in_flight: usize,
    /// Status of a use that a quota denies: 402 or 403.
    pub over_quota_status: u16,
    /// Which addresses web hooks may be sent to.
    pub guard: counterfoil_delivery::Guard,
    /// How customers unsubscribe from mails.
    pub unsubscribe: Option<counterfoil_delivery::mail::Unsubscribe>,
    /// Signing secrets of Stripe's web hooks to the home tenant; several during a rotation.
    pub stripe_secrets: Vec<String>,
    /// Where an over-quota customer can get more.
    pub upgrade_url: Option<String>,
    /// Whether events beyond a hard quota are rejected at ingest.
    pub enforce_quotas_at_ingest: bool,
    /// Writes documents.
    pub documents: Arc<counterfoil_documents::Renderer>,
    /// How invoices are made.
    pub run: counterfoil_engine::run::RunOptions,
    /// The jobs there are. The service lists, pauses and triggers them; workers do them.
    pub jobs: Arc<counterfoil_engine::jobs::Timetable>,
    /// Rate limits.
    pub limits: Limits,
    /// What every engine gets once it is open, for example files beside the store.
    pub furnish: Arc<dyn Fn(Engine) -> Engine + Send + Sync>,
    /// Told of the span of each request that is traced, and of its headers.
    pub on_request: OnRequest,
}

/// See [`Options::on_request`].
pub type OnRequest = Arc<dyn Fn(&tracing::Span, &axum::http::HeaderMap) + Send + Sync>;

/// Everything requests share.
#[derive(Clone)]
pub struct Shared(pub(crate) Arc<Inner>);

type KnownKey = (Timestamp, TenantId, Arc<ApiKey>);

#[doc(hidden)]
pub struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    pub(crate) monitor: Monitor,
    /// Wakes the projector.
    pub(crate) appended: Notify,
    pub(crate) room: Arc<Semaphore>,
    rooms: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
    engines: AsyncMutex<HashMap<TenantId, Engine>>,
    keys: Mutex<HashMap<String, KnownKey>>,
    claims: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    used: Mutex<HashMap<String, Timestamp>>,
    pub(crate) document: serde_json::Value,
    pub(crate) operations: Vec<Operation>,
}

impl std::ops::Deref for Shared {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The table of operations.
fn table() -> Routes {
    let mut routes = Routes::default();
    routes::register(&mut routes);
    routes
}

/// The OpenAPI document.
#[must_use]
pub fn openapi_document() -> serde_json::Value {
    openapi::document(&mut table())
}

/// All operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    table().operations.into_iter().map(|(operation, _)| operation).collect()
}

impl Shared {
    /// A service over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        options: Options,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            random,
            metrics: Metrics::default(),
            monitor: Monitor::default(),
            appended: Notify::new(),
            room: Arc::new(Semaphore::new(options.in_flight)),
            rooms: Mutex::default(),
            engines: AsyncMutex::default(),
            keys: Mutex::default(),
            claims: Mutex::default(),
            used: Mutex::default(),
            document: openapi_document(),
            operations: operations(),
            options,
        }))
    }

    /// The router.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for (operation, method) in table().operations {
            let operation = Arc::new(operation);
            let path = operation.path;
            let state = (self.clone(), operation);
            let guarded = method.layer(middleware::from_fn_with_state(state, guard::guard));
            router = router.route(path, guarded);
        }
        let missing = || async {
            Problem::new("not_found", "there is no such path; see /docs").into_response()
        };
        let wrong = || async {
            Problem::new("method_not_allowed", "see /docs for the methods there are")
                .into_response()
        };
        router
            .fallback(missing)
            .method_not_allowed_fallback(wrong)
            .layer(DefaultBodyLimit::max(self.options.max_batch_body))
            .with_state(self.clone())
    }

    /// The engine of a tenant.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn engine(&self, tenant: &TenantId) -> Result<Engine, Problem> {
        let mut engines = self.engines.lock().await;
        if let Some(engine) = engines.get(tenant) {
            return Ok(engine.clone());
        }
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let engine = Engine::open(store, clock, tenant, self.options.lanes).await?;
        let mut engine = (self.options.furnish)(engine);
        if self.options.test_mode {
            engine = engine.with_test_clocks().await?;
        }
        engines.insert(tenant.clone(), engine.clone());
        Ok(engine)
    }

    /// The engines that are open.
    pub(crate) async fn engines(&self) -> Vec<Engine> {
        self.engines.lock().await.values().cloned().collect()
    }

    /// Forgets a tenant's engine, so that it is opened anew.
    pub(crate) async fn reopen(&self, tenant: &TenantId) {
        self.engines.lock().await.remove(tenant);
    }

    /// The key of a secret, and whose it is.
    pub(crate) async fn authenticate(
        &self,
        secret: &str,
    ) -> Result<Option<(TenantId, Arc<ApiKey>)>, Problem> {
        let now = self.clock.now();
        // Remembered under the digest: memory holds no secrets.
        let name = counterfoil_types::Digest::of(secret.as_bytes()).to_string();
        let known = self.keys().get(&name).cloned();
        if let Some((since, tenant, key)) = known
            && since <= now
            && now < since.plus_micros(KEY_KEPT_FOR)
        {
            return Ok(key.is_valid(now).then_some((tenant, key)));
        }
        let found = counterfoil_engine::keys::authenticate(&self.store, secret, now).await?;
        let Some((tenant, key)) = found else { return Ok(None) };
        let key = Arc::new(key);
        let mut keys = self.keys();
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        keys.insert(name, (now, tenant.clone(), Arc::clone(&key)));
        Ok(Some((tenant, key)))
    }

    /// Whether this is the first use of a key in a minute, as far as this process knows.
    pub(crate) fn first_use(&self, key: &str, now: Timestamp) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MOST_KEYS {
            used.clear();
        }
        let last = used.insert(key.to_owned(), now);
        match last {
            Some(last) if now < last.plus_micros(60_000_000) => {
                used.insert(key.to_owned(), last);
                false
            }
            _ => true,
        }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashMap<String, KnownKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets keys, because one was changed.
    pub(crate) fn forget_keys(&self) {
        self.keys().clear();
    }

    /// The room of a tenant.
    pub(crate) fn room_of(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.options.tenant_in_flight;
        Arc::clone(rooms.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(size))))
    }

    /// The turn of an idempotency key: requests with the same one follow one another.
    pub(crate) fn claim_turn(&self, tenant: &TenantId, key: &str) -> Arc<AsyncMutex<()>> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.len() > 10_000 {
            claims.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(claims.entry(format!("{tenant}\n{key}")).or_default())
    }
}
