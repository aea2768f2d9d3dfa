//! The service on a real socket, over a store of its own, and what latencies look like from there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use counterfoil_api::{
    Listen, Options, Shared,
    limits::{InMemory, Limits},
};
use counterfoil_client::{Client, ClientOptions, SystemRandom};
use counterfoil_engine::{Engine, keys::KeyRequest, run::RunOptions};
use counterfoil_store::Store;
use counterfoil_types::{Clock, TenantId};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::Outcome;

/// A service in this process.
pub(super) struct Service {
    pub(super) engine: Engine,
    address: SocketAddr,
    key: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Service {
    pub(super) async fn over(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Outcome<Self> {
        let tenant = TenantId::new("bench")?;
        let options = Options {
            lanes: 8,
            test_mode: false,
            home: tenant.clone(),
            max_body: 1024 * 1024,
            max_batch_body: 5 * 1024 * 1024,
            max_batch: 5_000,
            body_timeout: Duration::from_secs(30),
            in_flight: 1_024,
            tenant_in_flight: 768,
            over_quota_status: 402,
            guard: counterfoil_delivery::Guard::default(),
            unsubscribe: None,
            stripe_secrets: Vec::new(),
            upgrade_url: None,
            enforce_quotas_at_ingest: false,
            run: RunOptions::default(),
            jobs: Arc::new(counterfoil_engine::jobs::Timetable::empty(
                counterfoil_engine::jobs::JobSettings::default(),
                counterfoil_types::Zone::utc(),
            )),
            documents: Arc::default(),
            furnish: std::sync::Arc::new(|engine| engine),
            on_request: std::sync::Arc::new(|_, _| ()),
            limits: Limits {
                limiter: Arc::new(InMemory::default()),
                rules: Vec::new(),
                fail_open: true,
            },
        };
        let shared = Shared::new(store, clock, Arc::new(SystemRandom), options);
        let engine = shared.engine(&tenant).await.map_err(|problem| problem.detail.clone())?;
        let request = KeyRequest {
            id: None,
            name: "bench".to_owned(),
            scopes: vec!["admin".to_owned()],
            customer: None,
            expires_at: None,
        };
        let key = engine.create_key(request, &SystemRandom).await?.secret;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = shared.clone();
        let tasks = vec![
            tokio::spawn(async move {
                let never = std::future::pending();
                counterfoil_api::serve(&serving, listener, Listen::default(), never).await;
            }),
            tokio::spawn(async move {
                counterfoil_api::project(shared).await;
            }),
        ];
        Ok(Self { engine, address, key, tasks })
    }

    /// A client with connections of its own.
    pub(super) fn client(&self) -> Outcome<Client> {
        let options = ClientOptions { idle_connections: 1, ..ClientOptions::default() };
        Ok(Client::with_options(&format!("http://{}", self.address), &self.key, &options)?)
    }

    pub(super) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // It ends because it was aborted.
            let _ = task.await;
        }
    }
}

/// Latencies, sorted.
#[derive(Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// In microseconds.
    pub(super) fn percentile(&self, percent: usize) -> u128 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0, Duration::as_micros)
    }

    pub(super) fn shown(&self) -> String {
        let [p50, p95, p99, max] = [50, 95, 99, 100].map(|percent| self.percentile(percent));
        format!("p50 {p50} µs, p95 {p95} µs, p99 {p99} µs, max {max} µs")
    }
}
