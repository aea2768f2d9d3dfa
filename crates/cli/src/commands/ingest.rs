//! `ingest`: files into the ledger. One thread reads, decodes and hashes; the engine appends, a
//! batch at a time. What is rejected goes to a file with its line and reason; nothing is lost, and
//! running the same file again inserts nothing.

mod decode;
mod exported;
mod rejects;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use counterfoil_engine::{
    Engine,
    ingest::{IngestOptions, Prepared},
};
use counterfoil_ledger::ReceiptCounts;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

pub(crate) use self::{decode::Decoder, rejects::Rejects};
use super::Verdict;
use crate::{args::Ingest, config::Config, error::CliError, output::Out, source::Source};

/// Batches waiting between reader and writer.
const WAITING: usize = 4;

/// A decoded event or the reason why not, with where it stood.
pub(super) struct Decoded {
    pub(super) line: u64,
    pub(super) text: String,
    pub(super) prepared: Prepared,
}

/// What became of one file.
#[derive(Debug, Serialize)]
pub(crate) struct FileReport {
    /// The file.
    pub(crate) file: String,
    /// Events by receipt.
    #[serde(flatten)]
    pub(crate) counts: ReceiptCounts,
    /// Where rejects and conflicts went.
    pub(crate) rejects: Option<String>,
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    args: &Ingest,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let mapping = args.map.as_deref().map(decode::read_mapping).transpose()?;
    let mut reports = Vec::new();
    let mut used = BTreeSet::new();
    for path in &args.files {
        let format = args.format.or(mapping.as_ref().map(|_| crate::args::Format::Csv));
        let source = Source::open(path, format)?;
        let decoder = Decoder::new(mapping.clone(), args.source.clone());
        let rejects = args.rejects.clone().unwrap_or_else(|| rejects_path(config, path));
        let options = IngestOptions { backfill: args.backfill };
        if args.rejects.is_none() {
            make_room(&rejects)?;
        }
        let rejects = Rejects::at(rejects.clone(), !used.insert(rejects))?;
        let report = file(engine, source, decoder, rejects, options, args.batch).await?;
        print(out, &report)?;
        reports.push(report);
    }
    engine.project_all().await?;
    out.value(&reports)?;
    let refused = |report: &FileReport| report.counts.rejected + report.counts.conflict > 0;
    Ok(Verdict::unless(reports.iter().any(refused)))
}

/// Beside the store: that directory can be written, the input's perhaps not.
fn rejects_path(config: &Config, path: &Path) -> PathBuf {
    let input = if path.as_os_str() == "-" { None } else { path.file_name() };
    let mut name = input.unwrap_or("stdin".as_ref()).to_owned();
    name.push(".rejects.jsonl");
    config.database.with_file_name(name)
}

/// Makes the directory of a file of rejects that nobody named: an embedded store has made it, with
/// a server nobody has. One that was named must be there: a slip of the pen makes no directories.
pub(crate) fn make_room(rejects: &Path) -> Result<(), CliError> {
    let directory = rejects.parent().filter(|path| !path.as_os_str().is_empty());
    directory
        .map_or(Ok(()), std::fs::create_dir_all)
        .map_err(|error| CliError::file(rejects.display(), error))
}

pub(crate) fn print(out: &mut Out, report: &FileReport) -> Result<(), CliError> {
    let counts = &report.counts;
    out.line(format_args!(
        "{}: {} events: {} inserted, {} duplicate, {} conflict, {} rejected",
        report.file,
        counts.total(),
        counts.inserted,
        counts.duplicate,
        counts.conflict,
        counts.rejected
    ))?;
    if let Some(rejects) = &report.rejects {
        out.line(format_args!("  refused events with line and reason: {rejects}"))?;
    }
    Ok(())
}

/// Loads one source.
pub(crate) async fn file(
    engine: &Engine,
    source: Source,
    decoder: Decoder,
    mut rejects: Rejects,
    options: IngestOptions,
    batch: u32,
) -> Result<FileReport, CliError> {
    let name = source.name.clone();
    let bar = progress_bar(&source);
    let read = source.read.clone();
    let (send, mut receive) = mpsc::channel::<Vec<Decoded>>(WAITING);
    let reader_engine = engine.clone();
    let reader = tokio::task::spawn_blocking(move || {
        decoder.read(source, &reader_engine, options, batch as usize, &send)
    });
    let mut counts = ReceiptCounts::default();
    while let Some(decoded) = receive.recv().await {
        let mut places = Vec::with_capacity(decoded.len());
        let mut prepared = Vec::with_capacity(decoded.len());
        for item in decoded {
            places.push((item.line, item.text));
            prepared.push(item.prepared);
        }
        let receipts = engine.append_prepared(prepared, engine.now()).await?;
        for (receipt, (line, text)) in receipts.iter().zip(places) {
            counts.count(receipt);
            rejects.note(&name, line, &text, receipt)?;
        }
        bar.set_position(read.load(std::sync::atomic::Ordering::Relaxed));
        bar.set_message(format!("{} events", counts.total()));
    }
    reader.await.map_err(|error| CliError::asked(format!("the reader stopped: {error}")))??;
    bar.finish_and_clear();
    Ok(FileReport { file: name, counts, rejects: rejects.finish()? })
}

fn progress_bar(source: &Source) -> ProgressBar {
    let style = |template: &str| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    // Drawn only where somebody looks: indicatif hides it when standard error is no terminal.
    let bar = match source.size {
        Some(size) => ProgressBar::new(size).with_style(style(
            "{elapsed_precise} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {msg}",
        )),
        None => ProgressBar::new_spinner()
            .with_style(style("{elapsed_precise} {bytes} {bytes_per_sec} {msg}")),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
