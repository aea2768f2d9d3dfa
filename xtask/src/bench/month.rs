//! A store to measure on: temporary directory, price book with three metered charges, customers,
//! subscriptions, events.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{Engine, ingest::IngestOptions};
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_ledger::{Event, Scalar};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Currency, CustomerId, FixedClock, Quantity, TenantId, Timestamp, Zone};
use tempfile::TempDir;

use crate::{Outcome, random::Random};

const BOOK: &str = include_str!("bench-book.toml");

/// First instant of the measured month, October 2026.
pub(super) const OCTOBER: i64 = 1_790_812_800_000_000;
const OCTOBER_SECONDS: u64 = 31 * 86_400;

/// An engine over a fresh store.
pub(super) struct Month {
    pub(super) engine: Engine,
    pub(super) store: SqliteStore,
    pub(super) path: PathBuf,
    _directory: TempDir,
}

impl Month {
    /// A fresh store with the price book.
    pub(super) async fn new() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("bench.db");
        let store = SqliteStore::open(&path).await?;
        let now = Timestamp::from_micros(OCTOBER).plus_micros(33 * 86_400_000_000);
        let clock = Arc::new(FixedClock::new(now));
        let tenant = TenantId::new("bench")?;
        let engine = Engine::open(Arc::new(store.clone()), clock, &tenant, 8).await?;
        engine.publish(&PriceBook::parse("bench-book.toml", BOOK)?).await?;
        Ok(Self { engine, store, path, _directory: directory })
    }

    /// Adds customers with one subscription each.
    pub(super) async fn subscribe(&self, count: u64) -> Outcome<()> {
        for number in 0..count {
            let id = CustomerId::new(customer(number))?;
            let name = format!("Customer {number}");
            let customer = Customer::new(id.clone(), name, Currency::USD, Zone::utc());
            let subscription = Subscription::new(
                format!("s-{number}").parse()?,
                id,
                "bench",
                "three".parse()?,
                "2026-10-01".parse()?,
            );
            self.engine.put_customer(&customer).await?;
            self.engine.start_subscription(&subscription).await?;
        }
        Ok(())
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

fn customer(number: u64) -> String {
    format!("customer-{number:06}")
}

/// Events with random ids over October, by three types, for `customers` customers.
pub(super) fn events(count: u64, customers: u64) -> Outcome<Vec<Event>> {
    let mut random = Random::named("bench events");
    let types = ["bench.calls", "bench.bytes", "bench.seconds"];
    let mut events = Vec::new();
    for number in 0..count {
        // Time goes on with the number, as it does in life; ids are random.
        let second = u64::try_from(
            u128::from(number) * u128::from(OCTOBER_SECONDS) / u128::from(count.max(1)),
        )?;
        let micros = OCTOBER + i64::try_from(second * 1_000_000 + random.below(1_000_000))?;
        let id = format!("{:016x}{:016x}", random.below(u64::MAX), random.below(u64::MAX));
        let endpoint = format!("/v1/things/{}", random.below(20));
        events.push(Event {
            id,
            source: "bench".to_owned(),
            customer: CustomerId::new(customer(random.below(customers)))?,
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
        });
    }
    Ok(events)
}

/// A runtime like the product's.
pub(super) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
