//! What the tests share: both stores, a clock that stands, a relay over a guard that trusts
//! loopback, effects and what became of them.

#![cfg(test)]

use std::{sync::Arc, time::Duration};

use counterfoil_delivery::{
    Guard, Relay, RelayOptions, Report, Sender, WebSender,
    connect::SystemResolver,
    endpoint,
    endpoint::{Endpoint, NewEndpoint},
};
use counterfoil_store::{Attempt, Commit, Delivery, DeliveryFilter, DeliveryState, Store, Write};
use counterfoil_store_postgres::{PostgresOptions, PostgresStore, testing};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Clock, FixedClock, Random, TenantId, Timestamp};
use tokio_rustls::rustls::RootCertStore;

/// 2025-10-09T08:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_759_996_800_000_000);

/// Randomness that can be foreseen.
pub(crate) struct Foreseen;
impl Random for Foreseen {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(7..) {
            *byte = value;
        }
    }
}

/// A store with a tenant, and a clock.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tenant: TenantId,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) guard: Guard,
    pub(crate) mail: Option<Arc<dyn Sender>>,
}

/// Runs a test on SQLite and on PostgreSQL.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    test(World::on(Arc::new(sqlite.clone())).await).await;
    sqlite.close().await;
    let url = match testing::shared() {
        Ok(server) => server.database().await.unwrap(),
        Err(error) => panic!("{error}"),
    };
    let postgres = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    test(World::on(Arc::new(postgres.clone())).await).await;
    postgres.close().await;
}

/// A world on PostgreSQL with so few connections.
pub(crate) async fn with_connections(max_connections: u32) -> (World, PostgresStore) {
    let url = match testing::shared() {
        Ok(server) => server.database().await.unwrap(),
        Err(error) => panic!("{error}"),
    };
    let options = PostgresOptions { max_connections, ..PostgresOptions::default() };
    let postgres = PostgresStore::connect(&url, options).await.unwrap();
    (World::on(Arc::new(postgres.clone())).await, postgres)
}

impl World {
    pub(crate) async fn on(store: Arc<dyn Store>) -> Self {
        let tenant = TenantId::new("t").unwrap();
        store.ensure_tenant(&tenant, 2).await.unwrap();
        let guard = Guard {
            allow_hosts: vec!["127.0.0.1".to_owned()],
            allow_http: true,
            ..Guard::default()
        };
        Self { store, tenant, clock: Arc::new(FixedClock::new(NOW)), guard, mail: None }
    }

    pub(crate) fn later(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus_micros(seconds * 1_000_000));
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn web(&self, timeout: Duration) -> Arc<dyn Sender> {
        let (store, guard) = (self.store.clone(), self.guard.clone());
        let resolver = Arc::new(SystemResolver);
        Arc::new(WebSender::with(store, guard, resolver, RootCertStore::empty(), timeout).unwrap())
    }

    pub(crate) fn relay(&self, holder: &str) -> Relay {
        self.relay_over(holder, self.web(Duration::from_millis(700)))
    }

    pub(crate) fn relay_over(&self, holder: &str, web: Arc<dyn Sender>) -> Relay {
        Relay::new(
            self.store.clone(),
            self.tenant.clone(),
            self.clock.clone(),
            Arc::new(Foreseen),
            RelayOptions { limit: 6, ..RelayOptions::of(holder) },
            (web, self.mail.clone()),
        )
    }

    pub(crate) async fn deliver(&self) -> Report {
        self.relay("ann").deliver_due().await.unwrap()
    }

    pub(crate) async fn endpoint(&self, id: &str, url: String, kinds: &[&str]) -> Endpoint {
        let new = NewEndpoint {
            id: Some(id.to_owned()),
            url,
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            secret: None,
        };
        let (store, now) = (self.store.as_ref(), self.clock.now());
        endpoint::add(store, &self.tenant, &self.guard, new, &Foreseen, now).await.unwrap()
    }

    pub(crate) async fn queue(&self, kind: &str, id: &str, body: serde_json::Value) -> String {
        let key = format!("{kind}/{id}");
        let (kind, at) = (kind.to_owned(), self.clock.now());
        let write = Write::Queue { key: key.clone(), kind, body, at };
        self.store.commit(&self.tenant, &Commit::of(write)).await.unwrap();
        key
    }

    pub(crate) async fn deliveries(&self, state: Option<DeliveryState>) -> Vec<Delivery> {
        let filter = DeliveryFilter { state, ..DeliveryFilter::default() };
        self.store.deliveries(&self.tenant, &filter, None, 1_000).await.unwrap()
    }

    pub(crate) async fn attempts(&self, key: &str) -> Vec<Attempt> {
        self.store.attempts(&self.tenant, key).await.unwrap()
    }
}
