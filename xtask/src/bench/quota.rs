//! `quota`: checks at 5,000 a second, uses that are durable when answered, and 64 consumers that
//! race for one quota; over loopback HTTP, on PostgreSQL and SQLite.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use counterfoil_catalog::PriceBook;
use counterfoil_client::Client;
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_store::Store;
use counterfoil_store_postgres::testing::{Disk, Server};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Currency, CustomerId, FixedClock, Quantity, Zone};
use tokio::task::JoinSet;

use super::{
    figure::{Figure, per_second},
    http::{Latencies, Service},
    ingest_postgres::{SETTINGS, fresh, now},
    month::runtime,
};
use crate::Outcome;

const RATE: u64 = 5_000;
const CONNECTIONS: usize = 16;
const CUSTOMERS: u64 = 100;
const USES: u64 = 5_000;
const RACERS: u64 = 64;
/// What the racers share, and how often each of them tries.
const SHARED: u64 = 1_000;
const TRIES: u64 = 25;

const BOOK: &str = r#"
[book]
name = "quota"
version = "1"
currency = "USD"
effective_from = "2026-01-01"

[[meter]]
key = "calls"
event_type = "call"
aggregation = "count"
unit = "calls"

[[plan]]
key = "limited"
interval = "month"

[[plan.quota]]
meter = "calls"
hard = "1000"
window = "monthly"

[[plan.charge]]
key = "calls"
model = "per_unit"
meter = "calls"
unit_price = "0.01"
"#;

struct Measured {
    checks: (Duration, Latencies),
    uses: (Duration, Latencies),
    race: (Duration, Latencies),
    won: u64,
}

pub(super) fn run(checks: u64) -> Outcome<String> {
    let server = Server::start(Disk::Durable, &SETTINGS)?;
    let postgres = runtime()?.block_on(async {
        let (_, store) = fresh(&server).await?;
        let measured = measure(Arc::new(store.clone()), checks).await?;
        store.close().await;
        Outcome::Ok(measured)
    })?;
    let sqlite = runtime()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let store = SqliteStore::open(&directory.path().join("bench.db")).await?;
        let measured = measure(Arc::new(store.clone()), checks).await?;
        store.close().await;
        Outcome::Ok(measured)
    })?;
    let mut details = Vec::new();
    for (name, measured) in [("PostgreSQL", &postgres), ("SQLite", &sqlite)] {
        let told = |what: &str, count: u64, (took, latencies): &(Duration, Latencies)| {
            let rate = per_second(count, *took);
            (format!("{name}, {what}"), format!("{rate}/s, {}", latencies.shown()))
        };
        details.push(told("checks (wanted: 5,000/s)", checks, &measured.checks));
        details.push(told("uses, durable, of 100 customers, 16 connections", USES, &measured.uses));
        details.push(told(
            "64 racing for 1,000 uses of one customer",
            RACERS * TRIES,
            &measured.race,
        ));
        details.push((format!("{name}, uses the racers got"), measured.won.to_string()));
    }
    Figure {
        bench: "quota",
        value: u64::try_from(postgres.checks.1.percentile(99))?,
        unit: "µs p99 of a check",
        baseline: None,
        goal: "check p99 <= 1 ms at 5,000/s; use p99 <= 10 ms",
        details,
    }
    .report()
}

async fn measure(store: Arc<dyn Store>, checks: u64) -> Outcome<Measured> {
    let service = Service::over(store, Arc::new(FixedClock::new(now()))).await?;
    service.engine.publish(&PriceBook::parse("quota.toml", BOOK)?).await?;
    for number in 0..=CUSTOMERS {
        let id = CustomerId::new(name(number))?;
        let customer = Customer::new(id.clone(), id.to_string(), Currency::USD, Zone::utc());
        service.engine.put_customer(&customer).await?;
        let subscription = Subscription::new(
            format!("s-{number}").parse()?,
            id,
            "quota",
            "limited".parse()?,
            "2026-10-01".parse()?,
        );
        service.engine.start_subscription(&subscription).await?;
    }
    // Once before it counts: connections are made, caches filled.
    paced(&service, checks / 10 + 1).await?;
    let checks = paced(&service, checks).await?;
    let uses = together(&service, CONNECTIONS as u64, USES / CONNECTIONS as u64, |who, number| {
        (format!("u-{who}-{number}"), name((who * 31 + number) % CUSTOMERS))
    })
    .await?;
    let race = together(&service, RACERS, TRIES, |who, number| {
        (format!("r-{who}-{number}"), name(CUSTOMERS))
    })
    .await?;
    service.stop().await;
    if race.2 != SHARED.min(RACERS * TRIES) {
        return Err(format!("the racers got {} uses of {SHARED}", race.2).into());
    }
    let won = race.2;
    Ok(Measured { checks, uses: (uses.0, uses.1), race: (race.0, race.1), won })
}

fn name(number: u64) -> String {
    format!("customer-{number}")
}

/// Checks at the wanted rate. A check's latency counts from when it was due.
async fn paced(service: &Service, count: u64) -> Outcome<(Duration, Latencies)> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks: JoinSet<Result<Vec<Duration>, String>> = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        let (client, next) = (service.client()?, Arc::clone(&next));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(latencies);
                }
                let due = start + Duration::from_micros(number * 1_000_000 / RATE);
                // The timer's tick is a millisecond: it is asked a tick early rather than late, and
                // then its latency counts from there.
                let early = due.checked_sub(Duration::from_millis(2)).unwrap_or(start);
                if early > Instant::now() {
                    tokio::time::sleep_until(early.into()).await;
                }
                let asked = Instant::now().min(due);
                check(&client, number % CUSTOMERS).await?;
                latencies.push(asked.elapsed());
            }
        });
    }
    collect(tasks, start).await
}

async fn check(client: &Client, number: u64) -> Result<(), String> {
    let verdict = client.check_quota(&name(number), "calls", Quantity::ONE).await;
    verdict.map(|_| ()).map_err(|error| error.to_string())
}

/// Uses by so many at once; the third number is how many went on.
async fn together(
    service: &Service,
    who: u64,
    times: u64,
    what: impl Fn(u64, u64) -> (String, String) + Copy + Send + 'static,
) -> Outcome<(Duration, Latencies, u64)> {
    let won = Arc::new(AtomicU64::new(0));
    let mut tasks: JoinSet<Result<Vec<Duration>, String>> = JoinSet::new();
    let start = Instant::now();
    for me in 0..who {
        let (client, won) = (service.client()?, Arc::clone(&won));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for number in 0..times {
                let (id, customer) = what(me, number);
                let sent = Instant::now();
                match client.consume(&id, &customer, "calls", Quantity::ONE).await {
                    Ok(_) => {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) if error.problem().is_some_and(|p| p.code == "over_quota") => {}
                    Err(error) => return Err(error.to_string()),
                }
                latencies.push(sent.elapsed());
            }
            Ok(latencies)
        });
    }
    let (took, latencies) = collect(tasks, start).await?;
    Ok((took, latencies, won.load(Ordering::Relaxed)))
}

async fn collect(
    mut tasks: JoinSet<Result<Vec<Duration>, String>>,
    start: Instant,
) -> Outcome<(Duration, Latencies)> {
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies??);
    }
    Ok((start.elapsed(), Latencies::of(all)))
}
