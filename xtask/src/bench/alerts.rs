//! `alerts`: customers with usage in a period that is open; a projection chunk of events of as many
//! customers; then the evaluation that follows it, and one of everybody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{Engine, alerts::Sweep, ingest::IngestOptions};
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_ledger::Event;
use counterfoil_store::{Commit, Store, Write};
use counterfoil_store_postgres::testing::{Disk, Server};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{
    Currency, CustomerId, FixedClock, Quantity, TenantId, Timestamp, Zone, timestamp::DAY_MICROS,
};

use super::{
    figure::Figure,
    ingest_postgres::{SETTINGS, fresh},
    month::runtime,
};
use crate::Outcome;

/// Rows of a projection chunk.
const CHUNK: u64 = 20_000;
/// Days of the period that have usage.
const DAYS: i64 = 5;
/// 2026-10-12T12:00:00Z.
const NOW: Timestamp = Timestamp::from_micros(1_791_806_400_000_000);

const BOOK: &str = r#"
[book]
name = "alerts"
version = "1"
currency = "USD"
effective_from = "2026-01-01"

[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
unit = "calls"

[[plan]]
key = "p"
interval = "month"

[[plan.charge]]
key = "calls"
model = "per_unit"
meter = "calls"
unit_price = "0.01"
included = "1000"
"#;

struct Measured {
    chunk: Duration,
    evaluated: u64,
    fired: u64,
    everybody: Duration,
}

pub(super) fn run(customers: u64) -> Outcome<String> {
    let server = Server::start(Disk::Durable, &SETTINGS)?;
    let postgres = runtime()?.block_on(async {
        let (_, store) = fresh(&server).await?;
        let measured = measure(Arc::new(store.clone()), customers).await?;
        store.close().await;
        Outcome::Ok(measured)
    })?;
    let sqlite = runtime()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let store = SqliteStore::open(&directory.path().join("bench.db")).await?;
        let measured = measure(Arc::new(store.clone()), customers).await?;
        store.close().await;
        Outcome::Ok(measured)
    })?;
    let mut details = vec![("customers".to_owned(), customers.to_string())];
    for (name, measured) in [("PostgreSQL", &postgres), ("SQLite", &sqlite)] {
        details.push((
            format!("{name}, after a chunk of {CHUNK} events"),
            format!(
                "{} ms, {} customers looked at, {} alerts fired",
                measured.chunk.as_millis(),
                measured.evaluated,
                measured.fired
            ),
        ));
        details.push((
            format!("{name}, everybody, nothing new"),
            format!("{} ms", measured.everybody.as_millis()),
        ));
    }
    Figure {
        bench: "alerts",
        value: u64::try_from(postgres.chunk.as_millis())?,
        unit: "ms after a projection chunk",
        baseline: None,
        goal: "<= 2 s with 100k customers",
        details,
    }
    .report()
}

fn name(number: u64) -> String {
    format!("customer-{number}")
}

fn event(id: String, customer: u64, time: Timestamp, quantity: u32) -> Outcome<Event> {
    Ok(Event {
        id,
        source: "bench".to_owned(),
        customer: CustomerId::new(name(customer))?,
        event_type: "call".to_owned(),
        time: Some(time),
        quantity: Quantity::from(quantity),
        unit: None,
        properties: std::collections::BTreeMap::new(),
        subject: None,
        resource: None,
        user: None,
        correction: None,
    })
}

async fn ingest(engine: &Engine, events: Vec<Event>) -> Outcome<()> {
    for batch in events.chunks(5_000) {
        engine.ingest(batch.to_vec(), IngestOptions { backfill: true }).await?;
    }
    Ok(())
}

async fn measure(store: Arc<dyn Store>, customers: u64) -> Outcome<Measured> {
    let clock = Arc::new(FixedClock::new(NOW));
    let engine = Engine::open(store, clock, &TenantId::new("bench")?, 8).await?;
    engine.publish(&PriceBook::parse("alerts.toml", BOOK)?).await?;
    let mut writes = Vec::new();
    for number in 0..customers {
        let id = CustomerId::new(name(number))?;
        let customer = Customer::new(id.clone(), id.to_string(), Currency::USD, Zone::utc());
        let (plan, start) = ("p".parse()?, "2026-10-01".parse()?);
        let subscription = Subscription::new(name(number).parse()?, id, "alerts", plan, start);
        writes.push(Write::PutCustomer(customer));
        writes.push(Write::PutSubscription(subscription));
    }
    for page in writes.chunks(2_000) {
        engine.commit(&Commit { writes: page.to_vec(), ..Commit::default() }).await?;
    }
    for day in 0..DAYS {
        let time = NOW.plus_micros(-(day + 1) * DAY_MICROS);
        let of_day = (0..customers)
            .map(|number| event(format!("{day}/{number}"), number, time, 120))
            .collect::<Outcome<Vec<Event>>>()?;
        ingest(&engine, of_day).await?;
    }
    engine.project_all().await?;
    engine.evaluate_alerts(Sweep::All).await?;
    // One in fifty passes a threshold.
    let chunk = (0..CHUNK.min(customers))
        .map(|number| {
            let quantity = if number % 50 == 0 { 200 } else { 1 };
            let at = NOW.plus_micros(-60_000_000);
            event(format!("c/{number}"), number * (customers / CHUNK).max(1), at, quantity)
        })
        .collect::<Outcome<Vec<Event>>>()?;
    ingest(&engine, chunk).await?;
    engine.project_all().await?;
    let start = Instant::now();
    let report = engine.alerts_after_projection().await?;
    let chunk = start.elapsed();
    let start = Instant::now();
    engine.evaluate_alerts(Sweep::All).await?;
    let everybody = start.elapsed();
    Ok(Measured { chunk, evaluated: report.customers, fired: report.fired, everybody })
}
