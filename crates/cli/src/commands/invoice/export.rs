//! `invoice export`: CSV of lines (as `export lines` has them) or JSON Lines of whole invoices,
//! streamed. A file appears under its name only when it is whole.

use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::Path,
};

use counterfoil_engine::{
    Engine, EngineError,
    exports::{Wanted, What, write_out},
};
use counterfoil_exports::{Format, Options, file::Whole, sink};
use counterfoil_store::InvoiceFilter;

use crate::{args::ExportFormat, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    filter: &InvoiceFilter,
    format: ExportFormat,
    path: Option<&Path>,
    out: &mut Out,
) -> Result<(), CliError> {
    let Some(path) = path else {
        let target = Box::new(BufWriter::new(std::io::stdout()));
        return write(engine, filter, format, target).await.map(|_| ());
    };
    // A pipe or device is written to; putting a file in its place would destroy it.
    let count = if path.exists() && !path.is_file() {
        let target = OpenOptions::new().write(true).open(path);
        let target = target.map_err(|error| CliError::file(path.display(), error))?;
        write(engine, filter, format, Box::new(BufWriter::new(target))).await?
    } else {
        let whole = Whole::create(path, true, false)?;
        let target = Box::new(BufWriter::with_capacity(1 << 16, whole.target()));
        let count = write(engine, filter, format, target).await?;
        whole.finish()?;
        count
    };
    let what = match format {
        ExportFormat::Csv => "lines of invoices",
        ExportFormat::Jsonl => "invoices",
    };
    out.line(format_args!("{count} {what} written to {}", path.display()))
}

async fn write(
    engine: &Engine,
    filter: &InvoiceFilter,
    format: ExportFormat,
    mut target: Box<dyn Write + Send>,
) -> Result<u64, CliError> {
    if format == ExportFormat::Csv {
        let wanted = Wanted { customer: filter.customer.clone(), ..Wanted::all(What::Lines) };
        let export = engine.export(wanted, None).await?;
        let sink = sink(Format::Csv, target, &Options::new(export.made_at()))?;
        return match write_out(export, sink, true, 0, |_, _, _| Ok(())).await {
            Ok((count, _)) => Ok(count),
            Err(EngineError::Export(error)) => Err(error.into()),
            Err(other) => Err(other.into()),
        };
    }
    let mut count = 0;
    let mut after = None;
    loop {
        let page = engine.store().invoices(&engine.tenant().id, filter, after, 200).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.due_cycle_at, last.id));
        for summary in page {
            let found = engine.store().invoice(&engine.tenant().id, &summary.id).await?;
            let Some(invoice) = found else { continue };
            count += 1;
            writeln!(target, "{}", serde_json::to_string(&invoice)?)?;
        }
    }
    target.flush()?;
    Ok(count)
}
