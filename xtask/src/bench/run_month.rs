//! `run-sqlite`, `run-postgres`: an invoice run of subscriptions with three metered charges each: planned,
//! computed, signed off and finalized.

use std::{sync::Arc, time::Instant};

use counterfoil_engine::run::{Month as CalendarMonth, RunOptions};
use counterfoil_invoicing::RunState;

use super::{
    figure::{Figure, per_second},
    month::{Kind, Month, events, runtime},
};
use crate::Outcome;

pub(super) fn run(subscriptions: u64, kind: Kind) -> Outcome<String> {
    let (bench, goal, text) = match kind {
        Kind::Sqlite => ("run-sqlite", 1_000, ">= 1,000 invoices/s"),
        Kind::Postgres => ("run-postgres", 2_000, ">= 2,000 invoices/s"),
    };
    runtime()?.block_on(async move {
        let month = Month::on(kind).await?;
        month.subscribe(subscriptions).await?;
        month.ingest(events(subscriptions * 30, subscriptions)?).await?;
        month.engine.project_all().await?;
        let engine = &month.engine;
        let options = RunOptions::default();
        let october: CalendarMonth = "2026-10".parse()?;
        let start = Instant::now();
        let books = Arc::new(engine.books().await?);
        let run = engine.open_run(&october, &options).await?;
        let run = engine.plan_run(&books, run).await?;
        let planned = start.elapsed();
        let run = engine.compute_run(&books, run, &options, &|_| {}).await?;
        let computed = start.elapsed();
        let run = engine.approve_run(run, "bench").await?;
        let run = engine.finalize_run(run, &options, &|_| {}).await?;
        let took = start.elapsed();
        let manifest = engine.manifest(run).await?;
        let done = manifest.totals.items.get("finalized").copied().unwrap_or(0);
        if manifest.run.state != RunState::Finalized || done != subscriptions {
            return Err(format!("not all were finalized: {:?}", manifest.totals).into());
        }
        month.store.close().await;
        Figure {
            bench,
            value: per_second(subscriptions, took),
            unit: "invoices/s",
            baseline: Some(("goal", goal)),
            goal: text,
            details: vec![
                ("subscriptions".into(), format!("{subscriptions} × 3 charges, 30 events each")),
                ("plan".into(), format!("{} ms", planned.as_millis())),
                ("compute".into(), format!("{} ms", (computed - planned).as_millis())),
                ("approve and finalize".into(), format!("{} ms", (took - computed).as_millis())),
            ],
        }
        .report()
    })
}
