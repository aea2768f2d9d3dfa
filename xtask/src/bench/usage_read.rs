//! `usage-read`: current usage and cost of one customer, in a ledger of 100,000 events and in one of
//! the given size, against summing the raw events. On the way there: how fast events go in at first
//! and at last, and how much memory that took.

use std::time::{Duration, Instant};

use counterfoil_engine::ingest::IngestOptions;
use counterfoil_store_postgres::testing::bare;
use counterfoil_types::{CustomerId, Timestamp};

use super::{
    figure::{Figure, per_second},
    month::{Backend, EventStream, Kind, Month, OCTOBER, customer, runtime},
};
use crate::{Outcome, random::Random};

const SMALL: u64 = 100_000;
const CUSTOMERS: u64 = 1_000;
const READS: usize = 1_000;
/// Raw sums are slow; fewer tell enough.
const SUMS: usize = 30;
const BATCH: usize = 5_000;

struct Measured {
    reads: Vec<Duration>,
    sums: Vec<Duration>,
    /// Events a second in the first and the last tenth.
    first: u64,
    last: u64,
    /// Most resident memory of this process, in KiB.
    peak: u64,
}

pub(super) fn run(count: u64) -> Outcome<String> {
    // The large one first: memory is looked at before anything was projected.
    let large = runtime()?.block_on(measure(count))?;
    let small = runtime()?.block_on(measure(SMALL))?;
    let micros = |times: &[Duration], percent: usize| {
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    };
    let growth = micros(&large.reads, 99) * 1000 / micros(&small.reads, 99).max(1);
    Figure {
        bench: "usage-read",
        value: micros(&large.reads, 99),
        unit: "µs (p99)",
        baseline: Some(("summing the customer's raw events, p50", micros(&large.sums, 50))),
        goal: "p99 <= 5 ms, and <= 1.5 times its value at 100,000 events",
        details: vec![
            ("events".into(), format!("{count}, {CUSTOMERS} customers, {READS} reads")),
            ("p50 / p99 at 100,000 events".into(), both(&small.reads, micros)),
            ("p50 / p99 now".into(), both(&large.reads, micros)),
            ("growth of p99".into(), format!("{}.{:03}", growth / 1000, growth % 1000)),
            ("raw sum p50 at 100,000 events".into(), format!("{} µs", micros(&small.sums, 50))),
            (
                "ingest, first and last tenth".into(),
                format!("{} and {} events/s", large.first, large.last),
            ),
            ("peak memory of the program".into(), format!("{} MiB", large.peak / 1024)),
        ],
    }
    .report()
}

fn both(times: &[Duration], micros: impl Fn(&[Duration], usize) -> u64) -> String {
    format!("{} / {} µs", micros(times, 50), micros(times, 99))
}

/// Most memory this process was resident with, in KiB.
pub(super) fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

async fn measure(count: u64) -> Outcome<Measured> {
    let month = Month::on(Kind::Postgres).await?;
    month.subscribe(CUSTOMERS).await?;
    let mut stream = EventStream::new(count, CUSTOMERS);
    let tenth = (count / 10).max(1);
    let (mut done, mut marks) = (0_u64, vec![Instant::now()]);
    loop {
        let batch = stream.by_ref().take(BATCH).collect::<Outcome<Vec<_>>>()?;
        if batch.is_empty() {
            break;
        }
        done += batch.len() as u64;
        month.engine.ingest(batch, IngestOptions { backfill: true }).await?;
        while done >= tenth * marks.len() as u64 && marks.len() <= 10 {
            marks.push(Instant::now());
        }
    }
    let rate = |from: usize, to: usize| match (marks.get(from), marks.get(to)) {
        (Some(from), Some(to)) => per_second(tenth, to.duration_since(*from)),
        _ => 0,
    };
    let (first, last) = (rate(0, 1), rate(9, 10));
    let peak = peak();
    month.engine.project_all().await?;
    let Backend::Postgres(store) = &month.store else {
        return Err("this is measured on PostgreSQL".into());
    };
    let mut random = Random::named("usage reads");
    let at = Timestamp::from_micros(OCTOBER).plus_micros(20 * 86_400_000_000);
    let mut pick = || CustomerId::new(customer(random.below(CUSTOMERS)));
    let mut reads = Vec::with_capacity(READS);
    for _ in 0..READS {
        let customer = pick()?;
        let start = Instant::now();
        let found = month.engine.current_usage(&customer, at, None).await?;
        reads.push(start.elapsed());
        if found.is_empty() {
            return Err("a customer has no usage".into());
        }
    }
    let mut sums = Vec::with_capacity(SUMS);
    let to = Timestamp::from_micros(OCTOBER).plus_micros(31 * 86_400_000_000);
    for _ in 0..SUMS {
        let customer = pick()?;
        let lane = month.engine.tenant().lane_of(&customer).0;
        let start = Instant::now();
        bare::sum(store, lane, customer.as_str(), Timestamp::from_micros(OCTOBER), to).await?;
        sums.push(start.elapsed());
    }
    reads.sort();
    sums.sort();
    month.store.close().await;
    Ok(Measured { reads, sums, first, last, peak })
}
