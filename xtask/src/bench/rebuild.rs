//! `rebuild`, `rebuild-postgres`: aggregates forgotten and projected again from the ledger.

use std::time::Instant;

use super::{
    figure::{Figure, per_second},
    month::{Kind, Month, events, runtime},
};
use crate::Outcome;

const GOAL: u64 = 500_000;

pub(super) fn run(count: u64, kind: Kind) -> Outcome<String> {
    let bench = match kind {
        Kind::Sqlite => "rebuild",
        Kind::Postgres => "rebuild-postgres",
    };
    runtime()?.block_on(async move {
        let month = Month::on(kind).await?;
        month.ingest(events(count, 100)?).await?;
        month.engine.project_all().await?;
        let start = Instant::now();
        let report = month.engine.rebuild().await?;
        let took = start.elapsed();
        if report.rows != count {
            return Err(format!("{} of {count} events were projected", report.rows).into());
        }
        month.store.close().await;
        Figure {
            bench,
            value: per_second(count, took),
            unit: "events/s",
            baseline: Some(("goal", GOAL)),
            goal: ">= 500,000 events/s",
            details: vec![(
                "events".into(),
                format!("{count}, 100 customers, 3 meters, one month"),
            )],
        }
        .report()
    })
}
