//! `run`: the invoice run, step by step, resumable at each.

use std::sync::Arc;

use counterfoil_engine::{
    Engine,
    run::{Manifest, Month, RunOptions},
};
use counterfoil_invoicing::{ItemStatus, RunItem, RunState};
use counterfoil_types::Money;
use indicatif::ProgressBar;

use super::Verdict;
use crate::{args::Run, config::Config, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    args: &Run,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    if args.list {
        return list(engine, out).await;
    }
    for subscription in &args.accept {
        engine.subscription(subscription).await?;
    }
    let options = RunOptions { accept: args.accept.clone(), ..config.run_options() };
    if args.dry_run {
        let month: Month = args.period.as_deref().unwrap_or_default().parse()?;
        let manifest = engine.dry_run(&month, &options).await?;
        print(&manifest, true, out)?;
        return Ok(verdict(&manifest));
    }
    let started = match (&args.resume, &args.period) {
        (Some(id), _) => engine.run(id).await?,
        (None, Some(period)) => engine.open_run(&period.parse()?, &options).await?,
        (None, None) => return Err(CliError::asked("say --period YYYY-MM or --resume ID")),
    };
    let manifest = work(engine, started, &options, args.approve.then_some(&args.by), out).await?;
    print(&manifest, false, out)?;
    if manifest.run.state == RunState::Review {
        out.line(format_args!(
            "\nNothing is finalized yet. To sign off:  counterfoil run --resume {} --approve --by NAME",
            manifest.run.id
        ))?;
    }
    Ok(verdict(&manifest))
}

/// Takes a run as far as it may go: to review, or with a signature to the end.
pub(crate) async fn work(
    engine: &Engine,
    run: counterfoil_invoicing::Run,
    options: &RunOptions,
    signature: Option<&String>,
    out: &mut Out,
) -> Result<Manifest, CliError> {
    let bar = if out.is_json() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let tick = |done: u64| {
        bar.inc(done);
        bar.set_message(format!("{} accounts", bar.position()));
    };
    let books = Arc::new(engine.books().await?);
    let run = engine.plan_run(&books, run).await?;
    let mut run = engine.compute_run(&books, run, options, &tick).await?;
    if let Some(by) = signature {
        run = engine.approve_run(run, by).await?;
    }
    // A run that was signed off and then interrupted is finished without another signature.
    if run.state == RunState::Approved {
        bar.set_position(0);
        run = engine.finalize_run(run, options, &tick).await?;
    }
    bar.finish_and_clear();
    Ok(engine.manifest(run).await?)
}

fn verdict(manifest: &Manifest) -> Verdict {
    let open = [ItemStatus::Parked, ItemStatus::Failed];
    Verdict::unless(manifest.exceptions.iter().any(|item| open.contains(&item.status)))
}

fn amount(money: Option<Money>) -> String {
    money.map_or_else(|| "–".to_owned(), |money| money.to_string())
}

fn change(item: &RunItem) -> String {
    match (item.total, item.before) {
        (Some(total), Some(before)) => match total.checked_sub(before) {
            Ok(change) if change.amount().is_sign_negative() => change.to_plain(),
            Ok(change) => format!("+{}", change.to_plain()),
            Err(_) => "another currency".to_owned(),
        },
        (Some(_), None) => "new".to_owned(),
        _ => String::new(),
    }
}

/// Prints the manifest.
pub(crate) fn print(manifest: &Manifest, dry: bool, out: &mut Out) -> Result<(), CliError> {
    out.value(manifest)?;
    let run = &manifest.run;
    if dry {
        out.line(format_args!("Dry run of {}: nothing was written", run.period))?;
    } else {
        out.line(format_args!(
            "Run of {} (attempt {}, {}): {}",
            run.period,
            run.attempt,
            run.id,
            run.state.as_str()
        ))?;
    }
    let counts: Vec<String> =
        manifest.totals.items.iter().map(|(status, count)| format!("{count} {status}")).collect();
    out.line(format_args!(
        "  billing cycles: {}",
        if counts.is_empty() { "none due".to_owned() } else { counts.join(", ") }
    ))?;
    for total in manifest.totals.totals.values() {
        out.line(format_args!("  total: {total}"))?;
    }
    if let (Some(by), Some(at)) = (&run.approved_by, run.approved_at) {
        out.line(format_args!("  signed off by {by} at {at}"))?;
    }
    let open: Vec<&RunItem> =
        manifest.exceptions.iter().filter(|item| item.status != ItemStatus::Skipped).collect();
    if !open.is_empty() {
        out.line("\nNot billed, and waiting for a decision:")?;
        let rows = open.iter().map(|item| {
            vec![
                item.subscription.to_string(),
                item.cycle.to_string(),
                item.status.as_str().to_owned(),
                item.reason.clone().unwrap_or_default(),
            ]
        });
        out.table(&["subscription", "cycle", "status", "why"], rows.collect(), &[1])?;
        if manifest.exception_count > manifest.exceptions.len() as u64 {
            out.line(format_args!("  … and more; {} in all", manifest.exception_count))?;
        }
    }
    if !manifest.changes.is_empty() {
        out.line("\nAgainst the cycle before, greatest change first:")?;
        let rows = manifest.changes.iter().map(|item| {
            vec![
                item.subscription.to_string(),
                item.cycle.to_string(),
                item.customer.to_string(),
                amount(item.before),
                amount(item.total),
                change(item),
            ]
        });
        out.table(
            &["subscription", "cycle", "customer", "before", "now", "change"],
            rows.collect(),
            &[1, 3, 4, 5],
        )?;
    }
    Ok(())
}

async fn list(engine: &Engine, out: &mut Out) -> Result<Verdict, CliError> {
    let runs = engine.store().runs(&engine.tenant().id).await?;
    out.value(&runs)?;
    let rows = runs.iter().map(|run| {
        vec![
            run.period.clone(),
            run.attempt.to_string(),
            run.state.as_str().to_owned(),
            run.started_at.to_string(),
            run.approved_by.clone().unwrap_or_default(),
            run.id.to_string(),
        ]
    });
    out.table(
        &["period", "attempt", "state", "started", "signed off by", "id"],
        rows.collect(),
        &[1],
    )?;
    Ok(Verdict::Done)
}
