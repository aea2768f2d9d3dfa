//! `ingest-naive`: what most programs do: one `INSERT` an event, each its own transaction, and
//! batches of a hundred in one transaction, with `ON CONFLICT DO NOTHING`; from as many tasks and into
//! the same tables as `ingest-postgres`. No receipts, no order of lanes, no seals.

use std::time::{Duration, Instant};

use counterfoil_store::{CatalogStore, Pending};
use counterfoil_store_postgres::{
    PostgresOptions, PostgresStore,
    testing::{
        Disk, Server,
        bare::{NaiveRow, insert},
    },
};
use counterfoil_types::TenantId;
use tokio::task::JoinSet;

use super::{
    figure::{Figure, per_second},
    ingest_postgres::SETTINGS,
    month::{events, runtime},
};
use crate::Outcome;

const TASKS: usize = 8;

pub(super) fn run(count: u64) -> Outcome<String> {
    let server = Server::start(Disk::Durable, &SETTINGS)?;
    runtime()?.block_on(async move {
        // A tenth of the events one by one: each waits for the disk.
        let single = timed(&server, count / 10, 1).await?;
        let hundred = timed(&server, count, 100).await?;
        Figure {
            bench: "ingest-naive",
            value: per_second(count, hundred),
            unit: "events/s",
            baseline: Some(("one row a transaction", per_second(count / 10, single))),
            goal: "none: the table in README",
            details: vec![(
                "events".into(),
                format!("{count} by batches of 100, a tenth of them one by one, {TASKS} tasks"),
            )],
        }
        .report()
    })
}

async fn timed(server: &Server, count: u64, batch: usize) -> Outcome<Duration> {
    let url = server.empty_database().await?;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await?;
    let tenant = store.ensure_tenant(&TenantId::new("bench")?, 8).await?;
    let mut hands: Vec<Vec<NaiveRow>> = (0..TASKS).map(|_| Vec::new()).collect();
    for (number, event) in events(count, 1_000)?.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(number % TASKS) {
            let position = i64::try_from(number)? + 1;
            hand.push(NaiveRow { pending: Pending::new(&tenant, event), position });
        }
    }
    server.settle().await?;
    let mut tasks: JoinSet<Result<(), String>> = JoinSet::new();
    let start = Instant::now();
    for hand in hands {
        let store = store.clone();
        tasks.spawn(async move {
            for rows in hand.chunks(batch) {
                insert(&store, rows).await.map_err(|error| error.to_string())?;
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
