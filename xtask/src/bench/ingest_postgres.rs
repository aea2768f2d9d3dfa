//! `ingest-postgres`: events through the engine (hashes, dedupe, receipts, durable commits) against
//! bare `COPY` commands of the same rows, encoded beforehand, into the same tables with the same
//! indexes. Both from as many tasks in batches of the same size, on a server of its own with fsync
//! and synchronous_commit on. Needs PostgreSQL installed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use counterfoil_engine::{Engine, ingest::IngestOptions};
use counterfoil_ledger::{Event, ReceiptCounts};
use counterfoil_store::{CatalogStore, Pending, Store};
use counterfoil_store_postgres::{
    PostgresOptions, PostgresStore,
    testing::{
        Disk, Server,
        bare::{self, BareRows},
    },
};
use counterfoil_types::{FixedClock, TenantId, Timestamp};
use tokio::task::JoinSet;

use super::{
    figure::{Figure, per_second},
    month::{OCTOBER, events, runtime},
};
use crate::Outcome;

const BATCH: usize = 500;
const TASKS: usize = 8;
const ROUNDS: usize = 3;
const LANES: u16 = 8;
/// More than the defaults of 1996, less than a machine of its own would be given.
pub(super) const SETTINGS: [&str; 2] = ["shared_buffers=512MB", "max_wal_size=4GB"];

pub(super) fn run(count: u64) -> Outcome<String> {
    let server = Server::start(Disk::Durable, &SETTINGS)?;
    let (mut ours, mut bare, mut again) = (Vec::new(), Vec::new(), Duration::ZERO);
    let mut about = Vec::new();
    // In turns, so that both meet the same noise; the medians are compared.
    for _ in 0..ROUNDS {
        let events = events(count, 1_000)?;
        bare.push(runtime()?.block_on(bare_copy(&server, &events))?);
        let (first, second, facts) = runtime()?.block_on(through_engine(&server, events))?;
        ours.push(first);
        again = second;
        about = facts;
    }
    ours.sort();
    bare.sort();
    let median = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default();
    let value = per_second(count, median(&ours));
    let baseline = per_second(count, median(&bare));
    let shown = ["store", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size"];
    about.retain(|(name, _)| shown.contains(&name.as_str()));
    let all = |times: &[Duration]| {
        times.iter().map(|took| per_second(count, *took).to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut details = vec![
        (
            "events".to_owned(),
            format!(
                "{count}, random ids, batches of {BATCH} from {TASKS} tasks, {LANES} lanes, {ROUNDS} rounds, median"
            ),
        ),
        ("rounds, events/s".to_owned(), all(&ours)),
        ("rounds of the baseline".to_owned(), all(&bare)),
        (
            "the same events again (all duplicates)".to_owned(),
            format!("{} events/s", per_second(count, again)),
        ),
    ];
    details.extend(about);
    Figure {
        bench: "ingest-postgres",
        value,
        unit: "events/s",
        baseline: Some(("bare COPY, same rows, tables, indexes, tasks and batches", baseline)),
        goal: "ratio >= 0.7",
        details,
    }
    .report()
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_micros(OCTOBER).plus_micros(33 * 86_400_000_000)
}

pub(super) async fn fresh(server: &Server) -> Outcome<(String, PostgresStore)> {
    let url = server.empty_database().await?;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await?;
    Ok((url, store))
}

/// Deals items out to tasks, one by one.
fn deal<T>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut hands: Vec<Vec<T>> = (0..TASKS).map(|_| Vec::new()).collect();
    for (number, item) in items.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(number % TASKS) {
            hand.push(item);
        }
    }
    hands
}

async fn bare_copy(server: &Server, events: &[Event]) -> Outcome<Duration> {
    let (url, store) = fresh(server).await?;
    let tenant = store.ensure_tenant(&TenantId::new("bench")?, LANES).await?;
    let prepare = |batch: &[Event]| -> Vec<Pending> {
        batch.iter().map(|event| Pending::new(&tenant, event.clone())).collect()
    };
    let batches: Vec<Vec<Pending>> = events.chunks(BATCH).map(prepare).collect();
    let rows = bare::encode(&tenant, &batches, now())?;
    drop(batches);
    let mut tasks: JoinSet<Result<(), String>> = JoinSet::new();
    server.settle().await?;
    let start = Instant::now();
    for hand in deal::<BareRows>(rows) {
        let store = store.clone();
        tasks.spawn(async move {
            for rows in &hand {
                bare::copy(&store, rows).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    let took = start.elapsed();
    store.close().await;
    server.drop_database(&url).await?;
    Ok(took)
}

async fn load(engine: &Engine, events: Vec<Event>) -> Outcome<(Duration, ReceiptCounts)> {
    let mut batches: Vec<Vec<Event>> = Vec::new();
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        batches.push(events.by_ref().take(BATCH).collect());
    }
    let mut tasks: JoinSet<Result<ReceiptCounts, String>> = JoinSet::new();
    let start = Instant::now();
    for hand in deal(batches) {
        let engine = engine.clone();
        tasks.spawn(async move {
            let mut counts = ReceiptCounts::default();
            for batch in hand {
                let options = IngestOptions { backfill: true };
                let receipts =
                    engine.ingest(batch, options).await.map_err(|error| error.to_string())?;
                receipts.iter().for_each(|receipt| counts.count(receipt));
            }
            Ok(counts)
        });
    }
    let mut counts = ReceiptCounts::default();
    while let Some(outcome) = tasks.join_next().await {
        let part = outcome??;
        counts.inserted += part.inserted;
        counts.duplicate += part.duplicate;
    }
    Ok((start.elapsed(), counts))
}

pub(super) type Facts = Vec<(String, String)>;

pub(super) async fn through_engine(
    server: &Server,
    events: Vec<Event>,
) -> Outcome<(Duration, Duration, Facts)> {
    let (url, store) = fresh(server).await?;
    let clock = Arc::new(FixedClock::new(now()));
    let engine =
        Engine::open(Arc::new(store.clone()), clock, &TenantId::new("bench")?, LANES).await?;
    let (copy, total) = (events.clone(), events.len() as u64);
    server.settle().await?;
    let (first, counts) = load(&engine, events).await?;
    if counts.inserted != total {
        return Err(format!("not all events were inserted: {counts:?}").into());
    }
    let (second, counts) = load(&engine, copy).await?;
    if counts.duplicate != total {
        return Err(format!("not all events were duplicates: {counts:?}").into());
    }
    let facts = store.describe().await?;
    store.close().await;
    server.drop_database(&url).await?;
    Ok((first, second, facts))
}
