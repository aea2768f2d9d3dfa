//! `archive`: the content of old events into files, and back.

use std::{path::Path, sync::Arc};

use counterfoil_archive::ArchiveDir;
use counterfoil_engine::{Engine, EngineError, archive::ArchiveOptions};
use counterfoil_store::ArchiveState;

use super::Verdict;
use crate::{
    args::{Archive, ArchiveFormat},
    config::Config,
    error::CliError,
    output::Out,
};

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: Archive,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        Archive::Run { older_than, before, to, format: ArchiveFormat::Csv } => {
            let older_than = older_than.or(config.retention);
            let before = match (before, older_than) {
                (Some(moment), _) => moment.0,
                (None, Some(days)) => engine.now().plus_micros(-days.micros()),
                (None, None) => {
                    return Err(CliError::asked(
                        "retention.raw is \"forever\"; say --older-than or --before",
                    ));
                }
            };
            let to = to.as_deref().unwrap_or(&config.archives);
            archive(engine, ArchiveOptions::before(before), to, out).await
        }
        Archive::List => list(engine, out).await,
        Archive::Verify => verify(engine, out).await,
        Archive::Restore { archive } => restore(engine, &archive, out).await,
    }
}

async fn archive(
    engine: &Engine,
    options: ArchiveOptions,
    to: &Path,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let engine = engine.clone().with_archives(Arc::new(ArchiveDir::new(to)));
    let report = engine.archive(&options).await?;
    out.value(&report)?;
    out.line(format_args!(
        "{} events before {} archived in {} files in {}",
        report.rows,
        report.before,
        report.archives.len(),
        report.place
    ))?;
    for archive in &report.archives {
        out.line(format_args!("  {}: {}", archive.id(), archive.file))?;
    }
    for held in &report.held_back {
        out.line(format_args!(
            "lane {} stays from position {} on (customer {}): {}",
            held.lane, held.position, held.customer, held.reason
        ))?;
    }
    Ok(Verdict::Done)
}

async fn list(engine: &Engine, out: &mut Out) -> Result<Verdict, CliError> {
    let records = engine.archives().await?;
    out.value(&records)?;
    let rows = records.iter().map(|record| {
        let manifest = &record.manifest;
        vec![
            manifest.id(),
            manifest.rows.to_string(),
            manifest.earliest.to_string(),
            manifest.latest.to_string(),
            record.state.as_str().to_owned(),
            Path::new(&record.place).join(&manifest.file).display().to_string(),
        ]
    });
    let head = ["archive", "events", "earliest", "latest", "state", "file"];
    out.table(&head, rows.collect(), &[1])?;
    Ok(Verdict::Done)
}

async fn verify(engine: &Engine, out: &mut Out) -> Result<Verdict, CliError> {
    let checks = engine.check_archives().await?;
    out.value(&checks)?;
    for check in &checks {
        let found = match (&check.problem, check.state) {
            (Some(problem), _) => problem.as_str(),
            (None, ArchiveState::Archived) => "whole",
            (None, ArchiveState::Restored) => "restored, its file is not needed",
        };
        out.line(format_args!("{}: {} events, {found}", check.archive, check.rows))?;
    }
    let wrong = checks.iter().filter(|check| check.problem.is_some()).count();
    out.line(format_args!("{} archives checked: {wrong} problems", checks.len()))?;
    Ok(Verdict::unless(wrong > 0))
}

async fn restore(engine: &Engine, what: &str, out: &mut Out) -> Result<Verdict, CliError> {
    let path = Path::new(what);
    let (id, rows) = if path.is_file() {
        let manifest = ArchiveDir::manifest(path).map_err(EngineError::from)?;
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        let rows = ArchiveDir::rows(directory, &manifest).map_err(EngineError::from)?;
        (manifest.id(), engine.restore_rows(&manifest, &rows).await?)
    } else {
        (what.to_owned(), engine.restore_archive(what).await?)
    };
    out.value(&serde_json::json!({"archive": id, "rows": rows}))?;
    if rows == 0 {
        out.line(format_args!("{id} was restored already"))?;
    } else {
        out.line(format_args!("{id}: the content of {rows} events is back"))?;
    }
    Ok(Verdict::Done)
}
