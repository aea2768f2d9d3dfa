//! `export`: events, lines, invoices, usage, a month into files or to standard output. A file appears
//! under its name only when it is whole; an export of events to CSV or NDJSON notes its place as it
//! goes, so that `--resume` goes on with it.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use counterfoil_engine::{
    Engine, EngineError,
    exports::{Export, Layout, Wanted, What, write_out},
    run::Month,
};
use counterfoil_exports::{ExportError, Format, Options, Sink, file::Whole, sink};
use serde::Serialize;

use super::Verdict;
use crate::{
    args::{self, ExportKind},
    error::CliError,
    output::Out,
};

/// Rows after which the place is noted.
const NOTED: u64 = 200_000;

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: String,
    rows: u64,
    bytes: u64,
}

pub(super) async fn run(
    engine: &Engine,
    args: &args::Export,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let format = args.file.format.into();
    let wanted = |what: What| Wanted {
        what,
        layout: args.layout.into(),
        from: args.from,
        to: args.to,
        customer: args.customer.clone(),
        event_type: args.event_type.clone(),
        meter: args.meter.clone(),
        json: matches!(format, Format::Json | Format::Ndjson),
    };
    let what = match args.what {
        ExportKind::Events => What::Events,
        ExportKind::Lines => What::Lines,
        ExportKind::Invoices => What::Invoices,
        ExportKind::Usage => What::Usage,
        ExportKind::Month => return month(engine, args, format, out).await,
    };
    if args.month.is_some() {
        return Err(CliError::asked("--month is for `export month`; give --from and --to"));
    }
    one(engine, wanted(what), args, format, out).await?;
    Ok(Verdict::Done)
}

fn asked_for_stream(args: &args::Export, format: Format) -> bool {
    match &args.file.output {
        Some(path) => path.as_os_str() == "-",
        None => format.is_text() && !args.resume,
    }
}

/// The file to write: as named, or named by itself in a directory.
fn file(args: &args::Export, wanted: &Wanted, format: Format) -> Result<PathBuf, CliError> {
    let named = |directory: &Path| directory.join(name(wanted, format));
    let Some(path) = &args.file.output else { return Ok(named(Path::new(""))) };
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        std::fs::create_dir_all(path).map_err(|error| CliError::file(path.display(), error))?;
        return Ok(named(path));
    }
    Ok(if path.is_dir() { named(path) } else { path.clone() })
}

/// For example `events-acme-2026-10-01-2026-11-01.csv`: a name that says what is in it.
fn name(wanted: &Wanted, format: Format) -> String {
    let mut parts = vec![match wanted.layout {
        Layout::Native => wanted.what.as_str().to_owned(),
        Layout::UsageRecords => "usage-records".to_owned(),
    }];
    let customer = wanted.customer.as_ref().map(ToString::to_string);
    let meter = wanted.meter.as_ref().map(ToString::to_string);
    for part in [customer, meter, wanted.event_type.clone()].into_iter().flatten() {
        let plain = |c: char| if c.is_alphanumeric() || "._".contains(c) { c } else { '-' };
        parts.push(part.chars().map(plain).take(60).collect());
    }
    for at in [wanted.from, wanted.to].into_iter().flatten() {
        let text = at.to_string();
        let text = text.strip_suffix("T00:00:00Z").unwrap_or(&text);
        parts.push(text.replace(':', ""));
    }
    format!("{}.{}", parts.join("-"), format.extension())
}

fn options(export: &Export, wanted: &Wanted, scale: i8) -> Options {
    Options {
        scale,
        numbers: wanted.layout == Layout::UsageRecords,
        document: export.document(),
        ..Options::new(export.made_at())
    }
}

async fn one(
    engine: &Engine,
    wanted: Wanted,
    args: &args::Export,
    format: Format,
    out: &mut Out,
) -> Result<(), CliError> {
    let can_go_on = wanted.what == What::Events
        && wanted.layout == Layout::Native
        && matches!(format, Format::Csv | Format::Ndjson);
    if args.resume && !can_go_on {
        return Err(CliError::asked(
            "only an export of events to CSV or NDJSON in the native layout can go on; leave --resume out",
        ));
    }
    if asked_for_stream(args, format) {
        if args.resume {
            return Err(CliError::asked("--resume needs a file: give --output"));
        }
        let export = engine.export(wanted.clone(), None).await?;
        let options = options(&export, &wanted, args.file.scale);
        let target = Box::new(BufWriter::new(std::io::stdout()));
        return stream(export, sink(format, target, &options)?).await;
    }
    let path = file(args, &wanted, format)?;
    // A pipe or device is written to; putting a file in its place would destroy it.
    if path.exists() && !path.is_file() && !path.is_dir() {
        let target = std::fs::OpenOptions::new().write(true).open(&path);
        let target = target.map_err(|error| CliError::file(path.display(), error))?;
        let export = engine.export(wanted.clone(), None).await?;
        let options = options(&export, &wanted, args.file.scale);
        let sink = sink(format, Box::new(BufWriter::new(target)), &options)?;
        return stream(export, sink).await;
    }
    let fresh = engine.export(wanted.clone(), None).await?;
    let what = format!("{} as {}", fresh.describe()?, format.extension());
    let begun = if args.resume { Whole::resume(&path, &what)? } else { None };
    let (whole, export, before, resumed) = match begun {
        Some((whole, state)) => {
            let export = engine.export(wanted.clone(), Some(&state.place)).await?;
            (whole, export, state.rows, true)
        }
        None => (Whole::create(&path, args.file.force, can_go_on)?, fresh, 0, false),
    };
    let options = Options { resumed, ..options(&export, &wanted, args.file.scale) };
    let sink = sink(format, Box::new(whole.target()), &options)?;
    let whole = std::sync::Arc::new(whole);
    let (noting, mut last) = (whole.clone(), before);
    let note = move |sink: &mut dyn Sink, rows: u64, place: Option<String>| {
        if let Some(place) = place.filter(|_| can_go_on && rows - last >= NOTED) {
            sink.flush()?;
            noting.note(&what, &place, rows)?;
            last = rows;
        }
        Ok::<_, ExportError>(())
    };
    let outcome = write_out(export, sink, true, before, note).await;
    let whole = std::sync::Arc::into_inner(whole)
        .ok_or_else(|| CliError::asked("the file is still being written"))?;
    let (rows, _) = outcome.map_err(|error| with_advice(error, &whole))?;
    let bytes = whole.finish()?;
    told(out, Written { file: path.display().to_string(), rows, bytes })
}

/// Names the file, and says how to go on where that is possible.
fn with_advice(error: EngineError, whole: &Whole) -> CliError {
    match error {
        EngineError::Export(ExportError::Io(error)) => {
            let how = if whole.can_go_on() {
                "; what was written is kept: when there is room, run the same with --resume"
            } else {
                "; nothing is left of it"
            };
            CliError::file(whole.path().display(), format!("{error}{how}"))
        }
        other => other.into(),
    }
}

fn told(out: &mut Out, written: Written) -> Result<(), CliError> {
    out.value(&written)?;
    out.line(format_args!("{} rows, {} bytes: {}", written.rows, written.bytes, written.file))
}

async fn stream(export: Export, sink: Box<dyn Sink>) -> Result<(), CliError> {
    match write_out(export, sink, true, 0, |_, _, _| Ok(())).await {
        Ok(_) => Ok(()),
        Err(EngineError::Export(error)) => Err(error.into()),
        Err(other) => Err(other.into()),
    }
}

/// Invoices, lines and usage of a month.
async fn month(
    engine: &Engine,
    args: &args::Export,
    format: Format,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let Some(month) = &args.month else {
        return Err(CliError::asked("which month? Give --month, for example --month 2026-10"));
    };
    let month: Month = month.parse()?;
    let first = month.first();
    let next =
        first.last_of_month().tomorrow().map_err(|error| CliError::asked(error.to_string()))?;
    let utc = counterfoil_types::Zone::utc();
    let instant = |day: jiff::civil::Date| utc.instant(day.at(0, 0, 0, 0));
    let (start, end) = (instant(first)?, instant(next)?);
    // Invoices of a month's usage fall due when the month ends, wherever the customer is.
    let due_from = instant(first.tomorrow().map_err(|error| CliError::asked(error.to_string()))?)?;
    let due_to = instant(next.tomorrow().map_err(|error| CliError::asked(error.to_string()))?)?;
    let part = |what: What| {
        let (from, to) = if what == What::Usage { (start, end) } else { (due_from, due_to) };
        Wanted {
            from: Some(from),
            to: Some(to),
            customer: args.customer.clone(),
            ..Wanted::all(what)
        }
    };
    let parts = [What::Invoices, What::Lines, What::Usage];
    if format != Format::Xlsx {
        if args.file.output.is_none() {
            return Err(CliError::asked(
                "a month is several tables: give --output DIR/, or --format xlsx",
            ));
        }
        for what in parts {
            one(engine, part(what), args, format, out).await?;
        }
        return Ok(Verdict::Done);
    }
    let path = match &args.file.output {
        Some(path) if path.as_os_str() == "-" => {
            return Err(CliError::asked("a workbook of a month goes to a file: give --output"));
        }
        Some(path) if !path.is_dir() && !path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            path.clone()
        }
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .map_err(|error| CliError::file(directory.display(), error))?;
            directory.join(format!("month-{}.xlsx", month.label()))
        }
        None => PathBuf::from(format!("month-{}.xlsx", month.label())),
    };
    let whole = Whole::create(&path, args.file.force, false)?;
    let made_at = engine.export(part(What::Invoices), None).await?.made_at();
    let mut target = Some(sink(format, Box::new(whole.target()), &Options::new(made_at))?);
    let mut rows = 0;
    for (number, what) in (1..).zip(parts) {
        let export = engine.export(part(what), None).await?;
        let Some(sink) = target.take() else { break };
        let written = write_out(export, sink, number == parts.len(), 0, |_, _, _| Ok(())).await;
        let (count, left) = written.map_err(|error| with_advice(error, &whole))?;
        (rows, target) = (rows + count, left);
    }
    let bytes = whole.finish()?;
    told(out, Written { file: path.display().to_string(), rows, bytes })?;
    Ok(Verdict::Done)
}

/// A table of a report into a file or to standard output.
pub(super) fn report(
    report: &counterfoil_engine::reports::Report,
    format: Format,
    output: Option<&Path>,
    made_at: counterfoil_types::Timestamp,
    out: &mut Out,
) -> Result<(), CliError> {
    let options = Options::new(made_at);
    let write = |target: Box<dyn Write + Send>| -> Result<(), ExportError> {
        let mut sink = sink(format, target, &options)?;
        let several = format == Format::Xlsx;
        counterfoil_engine::exports::write_report(report, several, sink.as_mut())?;
        sink.finish(&[("rows", report.table.rows.len().to_string())])
    };
    let path = match output {
        Some(path) if path.as_os_str() != "-" => path.to_owned(),
        None if !format.is_text() => {
            PathBuf::from(format!("{}.{}", report.kind.as_str(), format.extension()))
        }
        _ => return Ok(write(Box::new(BufWriter::new(std::io::stdout())))?),
    };
    let whole = Whole::create(&path, false, false)?;
    write(Box::new(whole.target()))?;
    let bytes = whole.finish()?;
    let rows = report.table.rows.len() as u64;
    told(out, Written { file: path.display().to_string(), rows, bytes })
}
