//! `report`: the monthly report of 10,000 customers, usage and cost by meter, against summing the
//! raw events of the month in SQL, which gives no costs.

use std::time::{Duration, Instant};

use counterfoil_engine::{
    ingest::IngestOptions,
    reports::{By, Kind as Report, Range, Wanted},
};
use counterfoil_store_postgres::testing::bare;
use counterfoil_types::Timestamp;

use super::{
    figure::{Figure, per_second},
    month::{Backend, EventStream, Kind, Month, OCTOBER, runtime},
    usage_read::peak,
};
use crate::Outcome;

const CUSTOMERS: u64 = 10_000;
const BATCH: usize = 5_000;
/// Times the report is made; the best counts, for both sides.
const TIMES: usize = 3;

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn run(count: u64) -> Outcome<String> {
    runtime()?.block_on(measure(count))
}

async fn measure(count: u64) -> Outcome<String> {
    let month = Month::on(Kind::Postgres).await?;
    month.subscribe(CUSTOMERS).await?;
    let mut stream = EventStream::new(count, CUSTOMERS);
    let begun = Instant::now();
    loop {
        let batch = stream.by_ref().take(BATCH).collect::<Outcome<Vec<_>>>()?;
        if batch.is_empty() {
            break;
        }
        month.engine.ingest(batch, IngestOptions { backfill: true }).await?;
    }
    month.engine.project_all().await?;
    let ingested = per_second(count, begun.elapsed());
    let Backend::Postgres(store) = &month.store else {
        return Err("this is measured on PostgreSQL".into());
    };
    bare::analyze(store).await?;
    let wanted = Wanted {
        range: Range::parse(Some("2026-10"), Some("2026-10"))?,
        by: Some(By::Customer),
        ..Wanted::default()
    };
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let (mut rows, mut sums) = (0, 0);
    for _ in 0..TIMES {
        let start = Instant::now();
        let report = month.engine.report(Report::Usage, &wanted).await?;
        ours.push(start.elapsed());
        rows = report.table.rows.len();
        let start = Instant::now();
        let from = Timestamp::from_micros(OCTOBER);
        sums = bare::sums(store, from, from.plus_micros(31 * 86_400_000_000)).await?;
        raw.push(start.elapsed());
    }
    if rows < sums {
        return Err(format!("the report has {rows} rows, the raw events {sums} groups").into());
    }
    let best = |all: &[Duration]| all.iter().min().copied().map_or(0, millis);
    Figure {
        bench: "report",
        value: best(&ours),
        unit: "ms",
        baseline: Some(("summing the raw events in SQL, without costs", best(&raw))),
        goal: "<= 2,000 ms for 10,000 customers and 10M events",
        details: vec![
            ("events".into(), format!("{count}, {CUSTOMERS} customers, 3 priced meters")),
            ("rows of the report".into(), rows.to_string()),
            ("ingested and projected".into(), format!("{ingested} events/s")),
            ("peak memory of the program".into(), format!("{} MiB", peak() / 1024)),
        ],
    }
    .report()
}
