//! `http-ingest`: events over loopback HTTP, batches of 500 from 8 connections, durable receipts,
//! against the same batches handed to the engine without HTTP, on the same PostgreSQL server in the
//! same run. Beside it requests of a single event, and both on SQLite. Service, clients and database
//! share the machine.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use counterfoil_ledger::{Event, Scalar};
use counterfoil_store::Store;
use counterfoil_store_postgres::testing::{Disk, Server};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::FixedClock;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    figure::{Figure, per_second},
    http::{Latencies, Service},
    ingest_postgres::{SETTINGS, fresh, now, through_engine},
    month::{events, runtime},
};
use crate::Outcome;

const BATCH: usize = 500;
const CONNECTIONS: usize = 8;
/// Connections that send single events; a commit takes in what waits.
const SINGLE_CONNECTIONS: usize = 64;
/// The share of the events that is sent singly.
const SINGLES: usize = 20;
const ROUNDS: usize = 3;

/// What a store made of it.
struct Measured {
    batches: Duration,
    batch: Latencies,
    singles: Duration,
    single: Latencies,
}

pub(super) fn run(count: u64) -> Outcome<String> {
    let server = Server::start(Disk::Durable, &SETTINGS)?;
    let mut rounds = Vec::new();
    // In turns, so that both meet the same noise; the medians are compared.
    for _ in 0..ROUNDS {
        let all = events(count, 1_000)?;
        let bodies = bodies(&all, BATCH)?;
        let singles = bodies_of_singles(count)?;
        let (bare, ..) = runtime()?.block_on(through_engine(&server, all))?;
        let over_http = runtime()?.block_on(async {
            let (url, store) = fresh(&server).await?;
            server.settle().await?;
            let measured = measure(Arc::new(store.clone()), bodies, singles).await?;
            store.close().await;
            server.drop_database(&url).await?;
            Outcome::Ok(measured)
        })?;
        rounds.push((over_http, bare));
    }
    rounds.sort_by_key(|(measured, _)| measured.batches);
    let rates: Vec<u64> =
        rounds.iter().map(|(measured, _)| per_second(count, measured.batches)).collect();
    let mut bare: Vec<Duration> = rounds.iter().map(|(_, bare)| *bare).collect();
    bare.sort_unstable();
    let baseline = per_second(count, bare.get(ROUNDS / 2).copied().unwrap_or_default());
    let middle = rounds.swap_remove(ROUNDS / 2).0;
    let sqlite = runtime()?.block_on(on_sqlite(count))?;
    let number = count.div_ceil(SINGLES as u64);
    let line = |measured: &Measured| {
        let rate = per_second(number, measured.singles);
        format!(
            "{rate} requests/s from {SINGLE_CONNECTIONS} connections, {}",
            measured.single.shown()
        )
    };
    Figure {
        bench: "http-ingest",
        value: per_second(count, middle.batches),
        unit: "events/s",
        baseline: Some(("the engine without HTTP, same batches, tasks and server", baseline)),
        goal: "ratio >= 0.8; single events >= 10,000 requests/s with p99 <= 20 ms",
        details: vec![
            (
                "events".to_owned(),
                format!("{count}, random ids, batches of {BATCH} from {CONNECTIONS} connections, {ROUNDS} rounds, median"),
            ),
            ("rounds, events/s".to_owned(), format!("{rates:?}")),
            ("a batch".to_owned(), middle.batch.shown()),
            ("single events".to_owned(), line(&middle)),
            (
                "SQLite, batches".to_owned(),
                format!("{} events/s, {}", per_second(count, sqlite.batches), sqlite.batch.shown()),
            ),
            ("SQLite, single events".to_owned(), line(&sqlite)),
        ],
    }
    .report()
}

async fn on_sqlite(count: u64) -> Outcome<Measured> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(&directory.path().join("bench.db")).await?;
    let all = events(count, 1_000)?;
    let bodies = bodies(&all, BATCH)?;
    let measured = measure(Arc::new(store.clone()), bodies, bodies_of_singles(count)?).await?;
    store.close().await;
    Ok(measured)
}

async fn measure(
    store: Arc<dyn Store>,
    bodies: Vec<Bytes>,
    singles: Vec<Bytes>,
) -> Outcome<Measured> {
    let service = Service::over(store, Arc::new(FixedClock::new(now()))).await?;
    let (batches, batch) = send(&service, bodies, CONNECTIONS).await?;
    let (singles, single) = send(&service, singles, SINGLE_CONNECTIONS).await?;
    service.stop().await;
    Ok(Measured { batches, batch, singles, single })
}

/// Sends bodies from so many connections; each waits for its receipts before it sends the next.
async fn send(
    service: &Service,
    bodies: Vec<Bytes>,
    connections: usize,
) -> Outcome<(Duration, Latencies)> {
    let mut hands: Vec<Vec<Bytes>> = (0..connections).map(|_| Vec::new()).collect();
    for (number, body) in bodies.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(number % connections) {
            hand.push(body);
        }
    }
    let mut tasks: JoinSet<Result<Vec<Duration>, String>> = JoinSet::new();
    let start = Instant::now();
    for hand in hands {
        let client = service.client()?;
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(hand.len());
            for body in hand {
                let sent = Instant::now();
                let receipts = client.send_json(body).await.map_err(|error| error.to_string())?;
                latencies.push(sent.elapsed());
                if receipts.counts.inserted != receipts.receipts.len() as u64 {
                    return Err(format!("not all events were inserted: {:?}", receipts.counts));
                }
            }
            Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies??);
    }
    Ok((start.elapsed(), Latencies::of(all)))
}

/// Events other than those of the batches.
fn bodies_of_singles(count: u64) -> Outcome<Vec<Bytes>> {
    let mut singles = events(count.div_ceil(SINGLES as u64), 1_000)?;
    singles.iter_mut().for_each(|event| event.source = "bench-single".to_owned());
    bodies(&singles, 1)
}

fn bodies(events: &[Event], batch: usize) -> Outcome<Vec<Bytes>> {
    let body = |events: &[Event]| -> Outcome<Bytes> {
        let events: Vec<Value> = events.iter().map(body).collect();
        Ok(serde_json::to_vec(&events)?.into())
    };
    events.chunks(batch).map(body).collect()
}

fn body(event: &Event) -> Value {
    let properties: serde_json::Map<String, Value> = event
        .properties
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Scalar::Text(text) => json!(text),
                Scalar::Number(number) => json!(number),
                Scalar::Bool(flag) => json!(flag),
            };
            (name.clone(), value)
        })
        .collect();
    json!({"id": event.id, "source": event.source, "customer": event.customer,
        "type": event.event_type, "time": event.time, "quantity": event.quantity,
        "properties": properties})
}
