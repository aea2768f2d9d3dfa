//! A store to measure on: temporary directory, price book with three metered charges, customers,
//! subscriptions, events.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{Engine, ingest::IngestOptions};
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_ledger::{Event, Scalar};
use counterfoil_store::Store;
use counterfoil_store_postgres::{
    PostgresOptions, PostgresStore,
    testing::{Disk, Server},
};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Currency, CustomerId, FixedClock, Quantity, TenantId, Timestamp, Zone};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::ingest_postgres::SETTINGS;
use crate::{Outcome, random::Random};

const BOOK: &str = include_str!("bench-book.toml");

/// First instant of the measured month, October 2026.
pub(super) const OCTOBER: i64 = 1_790_812_800_000_000;
const OCTOBER_SECONDS: u64 = 31 * 86_400;

/// Which store is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

/// The store that is measured.
pub(super) enum Backend {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Backend {
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// An engine over a fresh store.
pub(super) struct Month {
    pub(super) engine: Engine,
    pub(super) store: Backend,
    pub(super) path: PathBuf,
    pub(super) clock: Arc<FixedClock>,
    _directory: TempDir,
    /// The server a PostgreSQL store runs on, which stops with this.
    _server: Option<Server>,
}

impl Month {
    /// A fresh SQLite store with the price book.
    pub(super) async fn new() -> Outcome<Self> {
        Self::on(Kind::Sqlite).await
    }

    /// A fresh store with the price book, as durable as in production.
    pub(super) async fn on(kind: Kind) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("bench.db");
        let (shared, store, server): (Arc<dyn Store>, Backend, Option<Server>) = match kind {
            Kind::Sqlite => {
                let store = SqliteStore::open(&path).await?;
                (Arc::new(store.clone()), Backend::Sqlite(store), None)
            }
            Kind::Postgres => {
                let server = Server::start(Disk::Durable, &SETTINGS)?;
                let url = server.empty_database().await?;
                let store = PostgresStore::connect(&url, PostgresOptions::default()).await?;
                (Arc::new(store.clone()), Backend::Postgres(store), Some(server))
            }
        };
        let now = Timestamp::from_micros(OCTOBER).plus_micros(33 * 86_400_000_000);
        let clock = Arc::new(FixedClock::new(now));
        let tenant = TenantId::new("bench")?;
        let engine = Engine::open(shared, clock.clone(), &tenant, 8).await?;
        engine.publish(&PriceBook::parse("bench-book.toml", BOOK)?).await?;
        Ok(Self { engine, store, path, clock, _directory: directory, _server: server })
    }

    /// Adds customers with one subscription each.
    pub(super) async fn subscribe(&self, count: u64) -> Outcome<()> {
        subscribe(&self.engine, count, "three").await
    }

    /// Ingests events in batches.
    pub(super) async fn ingest(&self, events: Vec<Event>) -> Outcome<()> {
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let batch: Vec<Event> = events.by_ref().take(5_000).collect();
            self.engine.ingest(batch, IngestOptions { backfill: true }).await?;
        }
        Ok(())
    }
}

/// Adds customers with one subscription each, several at once.
pub(super) async fn subscribe(engine: &Engine, count: u64, plan: &'static str) -> Outcome<()> {
    const AT_ONCE: u64 = 16;
    let mut tasks: JoinSet<Result<(), String>> = JoinSet::new();
    for first in 0..AT_ONCE {
        let engine = engine.clone();
        tasks.spawn(async move {
            for number in (first..count).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
                one(&engine, number, plan).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn one(engine: &Engine, number: u64, plan: &str) -> Outcome<()> {
    let id = CustomerId::new(customer(number))?;
    let name = format!("Customer {number}");
    let customer = Customer::new(id.clone(), name, Currency::USD, Zone::utc());
    let subscription = Subscription::new(
        format!("s-{number}").parse()?,
        id,
        "bench",
        plan.parse()?,
        "2026-10-01".parse()?,
    );
    engine.put_customer(&customer).await?;
    engine.start_subscription(&subscription).await?;
    Ok(())
}

pub(super) fn customer(number: u64) -> String {
    format!("customer-{number:06}")
}

/// Events with random ids over October, by three types, for `customers` customers.
pub(super) fn events(count: u64, customers: u64) -> Outcome<Vec<Event>> {
    EventStream::new(count, customers).collect()
}

/// The same events, one by one.
pub(super) struct EventStream {
    random: Random,
    number: u64,
    count: u64,
    customers: u64,
}

impl EventStream {
    pub(super) fn new(count: u64, customers: u64) -> Self {
        Self { random: Random::named("bench events"), number: 0, count, customers }
    }

    fn make(&mut self) -> Outcome<Event> {
        let random = &mut self.random;
        let types = ["bench.calls", "bench.bytes", "bench.seconds"];
        // Time goes on with the number, as it does in life; ids are random.
        let second = u64::try_from(
            u128::from(self.number) * u128::from(OCTOBER_SECONDS) / u128::from(self.count.max(1)),
        )?;
        let micros = OCTOBER + i64::try_from(second * 1_000_000 + random.below(1_000_000))?;
        let id = format!("{:016x}{:016x}", random.below(u64::MAX), random.below(u64::MAX));
        let endpoint = format!("/v1/things/{}", random.below(20));
        Ok(Event {
            id,
            source: "bench".to_owned(),
            customer: CustomerId::new(customer(random.below(self.customers)))?,
            event_type: types.get(random.index(types.len())).copied().unwrap_or("x").to_owned(),
            time: Some(Timestamp::from_micros(micros)),
            quantity: Quantity::from(u32::try_from(random.between(1, 5_000))?),
            unit: None,
            properties: BTreeMap::from([
                ("endpoint".to_owned(), Scalar::Text(endpoint)),
                ("status".to_owned(), Scalar::Number(Quantity::from(200))),
            ]),
            subject: None,
            resource: None,
            user: None,
            correction: None,
        })
    }
}

impl Iterator for EventStream {
    type Item = Outcome<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.number >= self.count {
            return None;
        }
        let event = self.make();
        self.number += 1;
        Some(event)
    }
}

/// A runtime like the product's.
pub(super) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
