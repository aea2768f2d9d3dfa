//! `rebuild` and `verify`.

use counterfoil_engine::Engine;

use super::Verdict;
use crate::{error::CliError, output::Out};

pub(super) async fn run(engine: &Engine, check: bool, out: &mut Out) -> Result<Verdict, CliError> {
    let report = if check { engine.check_aggregates().await? } else { engine.rebuild().await? };
    out.value(&report)?;
    if check {
        out.line(format_args!(
            "{} events folded, {} aggregates compared: {} differences",
            report.rows, report.buckets, report.difference_count
        ))?;
        for difference in &report.differences {
            out.line(format_args!("  {difference}"))?;
        }
        if report.difference_count > 0 {
            out.line("run `counterfoil rebuild` to make the aggregates again from the ledger")?;
        }
    } else {
        out.line(format_args!("aggregates rebuilt from {} events", report.rows))?;
    }
    Ok(Verdict::unless(report.difference_count > 0))
}

pub(super) async fn verify(engine: &Engine, out: &mut Out) -> Result<Verdict, CliError> {
    let report = engine.verify().await?;
    out.value(&report)?;
    out.line(format_args!(
        "{} events, {} aggregates, {} invoices checked: {} problems",
        report.events,
        report.buckets,
        report.invoices,
        report.problems.len()
    ))?;
    if report.archived > 0 {
        out.line(format_args!(
            "{} of the events are archived; {} things could not be checked without their files",
            report.archived,
            report.unchecked.len()
        ))?;
    }
    for unchecked in &report.unchecked {
        out.line(format_args!("  not checked: {unchecked}"))?;
    }
    for problem in &report.problems {
        out.line(format_args!("  {problem}"))?;
    }
    if report.problems.is_empty() {
        engine.take_anchor(true).await?;
    }
    Ok(Verdict::unless(!report.problems.is_empty()))
}
