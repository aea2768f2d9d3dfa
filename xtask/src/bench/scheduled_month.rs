//! `month`: October as it runs by itself, on a test clock moved on by a day at a time: events come
//! in and are projected, alerts are judged, jobs that are due run; on 2 November somebody signs and
//! the run is finalized. The time that is told is all of it; memory is the most this process held.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use counterfoil_engine::{
    alerts::Sweep,
    ingest::IngestOptions,
    jobs::{JobSettings, Scheduler, Timetable},
};
use counterfoil_invoicing::RunState;
use counterfoil_types::{Timestamp, Zone, timestamp::DAY_MICROS};
use tokio::{sync::watch, task::JoinSet};

use super::{
    figure::{Figure, per_second},
    month::{EventStream, Kind, Month, OCTOBER, runtime},
};
use crate::Outcome;

/// Events of one customer.
const EACH: u64 = 1_000;
const DAYS: i64 = 34;
const BATCH: usize = 5_000;
/// Batches under way at once.
const TASKS: usize = 4;

#[derive(Default)]
struct Spent {
    ingest: Duration,
    project: Duration,
    alerts: Duration,
    jobs: Duration,
    fired: u64,
    runs: usize,
}

pub(super) fn run(count: u64, kind: Kind) -> Outcome<String> {
    let customers = (count / EACH).max(1);
    runtime()?.block_on(async move {
        let month = Month::on(kind).await?;
        let at = |day: i64| Timestamp::from_micros(OCTOBER).plus_micros(day * DAY_MICROS);
        month.clock.set(at(0));
        month.subscribe(customers).await?;
        let engine = &month.engine;
        engine.evaluate_alerts(Sweep::All).await?;
        let table = Timetable::standard(JobSettings::default(), Zone::utc())?;
        let (_switch, cut) = watch::channel(false);
        let scheduler = Scheduler::new(engine.clone(), Arc::new(table), "bench".to_owned(), cut);
        let mut events = EventStream::new(count, customers).peekable();
        let mut spent = Spent::default();
        let start = Instant::now();
        for day in 1..=DAYS {
            let now = at(day);
            month.clock.set(now);
            let began = Instant::now();
            let mut tasks: JoinSet<Result<(), String>> = JoinSet::new();
            loop {
                let mut batch = Vec::with_capacity(BATCH);
                while batch.len() < BATCH
                    && let Some(event) = events.next_if(|event| match event {
                        Ok(event) => event.time.is_none_or(|time| time < now),
                        Err(_) => true,
                    })
                {
                    batch.push(event?);
                }
                if batch.is_empty() {
                    break;
                }
                if tasks.len() >= TASKS
                    && let Some(done) = tasks.join_next().await
                {
                    done??;
                }
                let engine = engine.clone();
                tasks.spawn(async move {
                    let done = engine.ingest(batch, IngestOptions::default()).await;
                    done.map(|_| ()).map_err(|error| error.to_string())
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            let ingested = Instant::now();
            engine.project_all().await?;
            let projected = Instant::now();
            spent.fired += engine.alerts_after_projection().await?.fired;
            let judged = Instant::now();
            for run in engine.store().runs(&engine.tenant().id).await? {
                if run.state == RunState::Review {
                    engine.approve_run(run, "bench").await?;
                }
            }
            let ran = scheduler.run_due(now).await?;
            if let Some((job, why)) = ran.again.first().or(ran.parked.first()) {
                return Err(format!("job {job}: {why}").into());
            }
            spent.runs += ran.done.len();
            spent.ingest += ingested - began;
            spent.project += projected - ingested;
            spent.alerts += judged - projected;
            spent.jobs += judged.elapsed();
        }
        let took = start.elapsed();
        let runs = engine.store().runs(&engine.tenant().id).await?;
        let october = runs.into_iter().find(|run| run.period == "2026-10");
        let finalized = october.as_ref().is_some_and(|run| run.state == RunState::Finalized);
        if !finalized || events.next().is_some() {
            return Err(format!("the month did not come to its end: {october:?}").into());
        }
        month.store.close().await;
        let seconds =
            |time: Duration| format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100);
        Figure {
            bench: "month",
            value: u64::try_from(took.as_millis())?,
            unit: "ms for the whole month",
            baseline: None,
            goal: "none; total time and memory",
            details: vec![
                (
                    "size".into(),
                    format!("{count} events, {customers} customers, three charges each"),
                ),
                ("events/s over all of it".into(), per_second(count, took).to_string()),
                ("ingest".into(), seconds(spent.ingest)),
                ("project".into(), seconds(spent.project)),
                ("alerts".into(), format!("{}, {} fired", seconds(spent.alerts), spent.fired)),
                ("jobs".into(), format!("{}, {} runs", seconds(spent.jobs), spent.runs)),
                ("most memory of this process".into(), most_memory()),
            ],
        }
        .report()
    })
}

/// The high-water mark of resident memory, as Linux tells it.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "not known here".to_owned(), |text| text.trim().to_owned())
}
