//! `ingest-sqlite`: events through the engine (hashes, dedupe, receipts, durable commits) against
//! a bare prepared-insert loop of the same rows into the same schema with the same durability and
//! the same size of transaction.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use counterfoil_engine::ingest::{IngestOptions, Prepared};
use counterfoil_ledger::{Event, ReceiptCounts, body, leaf_hash};
use counterfoil_store::Pending;
use tokio::sync::mpsc;

use super::{
    figure::{Figure, per_second},
    month::{Month, events, runtime},
};
use crate::Outcome;

const BATCH: usize = 5_000;
const ROUNDS: usize = 3;

pub(super) fn run(count: u64) -> Outcome<String> {
    let mut engine = Vec::new();
    let mut bare = Vec::new();
    let mut again = Duration::ZERO;
    // In turns, so that both meet the same noise; the medians are compared.
    for _ in 0..ROUNDS {
        let events = events(count, 1_000)?;
        bare.push(bare_loop(&events)?);
        let (first, second) = runtime()?.block_on(through_engine(events))?;
        engine.push(first);
        again = second;
    }
    engine.sort();
    bare.sort();
    let median = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default();
    let value = per_second(count, median(&engine));
    let baseline = per_second(count, median(&bare));
    Figure {
        bench: "ingest-sqlite",
        value,
        unit: "events/s",
        baseline: Some(("bare prepared-insert loop, same schema and durability", baseline)),
        goal: "ratio >= 0.7",
        details: vec![
            (
                "events".into(),
                format!("{count}, random ids, batches of {BATCH}, {ROUNDS} rounds, median"),
            ),
            (
                "the same events again (all duplicates)".into(),
                format!("{} events/s", per_second(count, again)),
            ),
        ],
    }
    .report()
}

/// Hashing on one task, appending on another, as the command line does it.
async fn load(month: &Month, events: Vec<Event>) -> Outcome<(Duration, ReceiptCounts)> {
    let start = Instant::now();
    let (send, mut receive) = mpsc::channel::<Vec<Prepared>>(4);
    let engine = month.engine.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let options = IngestOptions { backfill: true };
        let mut batch = Vec::with_capacity(BATCH);
        for event in events {
            batch.push(engine.prepare(event, options, engine.now()));
            if batch.len() == BATCH && send.blocking_send(std::mem::take(&mut batch)).is_err() {
                return;
            }
        }
        // An error here means that the writer failed; its error is the one to report.
        let _ = send.blocking_send(batch);
    });
    let mut counts = ReceiptCounts::default();
    while let Some(batch) = receive.recv().await {
        for receipt in month.engine.append_prepared(batch, month.engine.now()).await? {
            counts.count(&receipt);
        }
    }
    reader.await?;
    Ok((start.elapsed(), counts))
}

async fn through_engine(events: Vec<Event>) -> Outcome<(Duration, Duration)> {
    let month = Month::new().await?;
    let copy = events.clone();
    let total = events.len() as u64;
    let (first, counts) = load(&month, events).await?;
    if counts.inserted != total {
        return Err(format!("not all events were inserted: {counts:?}").into());
    }
    let (second, counts) = load(&month, copy).await?;
    if counts.duplicate != total {
        return Err(format!("not all events were duplicates: {counts:?}").into());
    }
    month.store.close().await;
    Ok((first, second))
}

struct Row {
    lane: i64,
    position: i64,
    key: Vec<u8>,
    leaf: Vec<u8>,
    time: Option<i64>,
    quantity: String,
    body: Option<String>,
    pending: Pending,
}

/// The same rows, ready to be bound, in the same order.
async fn rows(month: &Month, events: &[Event]) -> Outcome<Vec<Row>> {
    let tenant = month.engine.tenant();
    let now = month.engine.now();
    let mut heads = std::collections::BTreeMap::<i64, u64>::new();
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let pending = Pending::new(tenant, event.clone());
        let position = heads.entry(pending.lane.0).or_default();
        *position += 1;
        let leaf = leaf_hash(&tenant.id, pending.lane, *position, now, &pending.content);
        rows.push(Row {
            lane: pending.lane.0,
            position: i64::try_from(*position)?,
            key: pending.key.prefix16().to_vec(),
            leaf: leaf.0.to_vec(),
            time: event.time.map(counterfoil_types::Timestamp::micros),
            quantity: event.quantity.to_string(),
            body: body::encode(event),
            pending,
        });
    }
    Ok(rows)
}

fn bare_loop(events: &[Event]) -> Outcome<Duration> {
    let runtime = runtime()?;
    // The engine makes the schema; then it steps aside.
    let month = runtime.block_on(Month::new())?;
    let rows = runtime.block_on(rows(&month, events))?;
    runtime.block_on(month.store.close());
    let now = month.engine.now().micros();
    insert(&month.path, &rows, now)
}

fn insert(path: &Path, rows: &[Row], now: i64) -> Outcome<Duration> {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    let start = Instant::now();
    for batch in rows.chunks(BATCH) {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO usage_event (lane_id, position, key, leaf, recorded_at, time, customer, type, source, id, quantity, body, target) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            )?;
            for row in batch {
                let event = &row.pending.event;
                insert.execute(rusqlite::params![
                    row.lane,
                    row.position,
                    row.key,
                    row.leaf,
                    now,
                    row.time,
                    event.customer.as_str(),
                    event.event_type,
                    event.source,
                    event.id,
                    row.quantity,
                    row.body,
                ])?;
            }
        }
        transaction.commit()?;
    }
    Ok(start.elapsed())
}
