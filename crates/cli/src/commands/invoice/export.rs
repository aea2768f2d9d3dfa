//! `invoice export`: CSV of lines or JSON Lines of whole invoices, streamed. A file appears under
//! its name only when it is whole.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use counterfoil_engine::Engine;
use counterfoil_invoicing::{Invoice, InvoiceLine};
use counterfoil_store::InvoiceFilter;

use crate::{args::ExportFormat, error::CliError, output::Out};

const HEAD: [&str; 18] = [
    "invoice",
    "state",
    "customer",
    "customer_name",
    "subscription",
    "cycle",
    "line",
    "kind",
    "charge",
    "name",
    "period_start",
    "period_end",
    "units",
    "unit",
    "amount_exact",
    "amount",
    "currency",
    "price_book",
];

pub(super) async fn run(
    engine: &Engine,
    filter: &InvoiceFilter,
    format: ExportFormat,
    path: Option<&Path>,
    out: &mut Out,
) -> Result<(), CliError> {
    let Some(path) = path else {
        let mut bytes = Vec::new();
        write(engine, filter, format, &mut bytes).await?;
        return out.raw(&String::from_utf8_lossy(&bytes));
    };
    let failed = |error: std::io::Error| CliError::file(path.display(), error);
    // A pipe or device is written to; putting a file in its place would destroy it.
    let special = path.exists() && !path.is_file();
    if special {
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let count = write(engine, filter, format, &mut file).await?;
        file.flush().map_err(failed)?;
        return out.line(format_args!("{count} invoices written to {}", path.display()));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = BufWriter::new(File::create(&partial).map_err(failed)?);
    let count = match write(engine, filter, format, &mut file).await {
        Ok(count) => count,
        Err(error) => {
            let _ = std::fs::remove_file(&partial);
            return Err(error);
        }
    };
    file.flush().map_err(failed)?;
    file.get_ref().sync_all().map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)?;
    out.line(format_args!("{count} invoices written to {}", path.display()))
}

async fn write(
    engine: &Engine,
    filter: &InvoiceFilter,
    format: ExportFormat,
    target: &mut (dyn Write + Send),
) -> Result<u64, CliError> {
    if format == ExportFormat::Csv {
        target.write_all(&row(HEAD)?)?;
    }
    let mut count = 0;
    let mut after = None;
    loop {
        let page = engine.store().invoices(&engine.tenant().id, filter, after, 200).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after = Some((last.due_cycle_at, last.id));
        for summary in page {
            let found = engine.store().invoice(&engine.tenant().id, &summary.id).await?;
            let Some(invoice) = found else { continue };
            count += 1;
            match format {
                ExportFormat::Jsonl => writeln!(target, "{}", serde_json::to_string(&invoice)?)?,
                ExportFormat::Csv => {
                    for (number, line) in (1..).zip(&invoice.body.lines) {
                        target.write_all(&row(cells(&invoice, number, line))?)?;
                    }
                }
            }
        }
    }
}

/// One record as CSV (RFC 4180).
pub(crate) fn row<I>(cells: I) -> Result<Vec<u8>, CliError>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF) // RFC 4180
        .from_writer(Vec::new());
    writer.write_record(cells).map_err(|error| CliError::asked(error.to_string()))?;
    writer.into_inner().map_err(|error| CliError::asked(error.to_string()))
}

fn cells(invoice: &Invoice, number: usize, line: &InvoiceLine) -> Vec<String> {
    let body = &invoice.body;
    let kind = serde_json::to_value(line.kind).ok();
    vec![
        text(invoice.number.as_deref().unwrap_or_default()),
        invoice.state.as_str().to_owned(),
        text(body.customer.as_str()),
        text(&body.customer_name),
        text(body.subscription.as_str()),
        body.cycle.to_string(),
        number.to_string(),
        kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default(),
        text(&line.charge),
        text(&line.name),
        line.period.start.to_string(),
        line.period.end.to_string(),
        line.rated.units.to_string(),
        text(line.unit.as_deref().unwrap_or_default()),
        line.rated.exact.to_string(),
        line.amount.to_plain(),
        body.currency.to_string(),
        text(&line.book.to_string()),
    ]
}

/// A text cell that no spreadsheet takes for a formula (OWASP, CSV injection).
pub(crate) fn text(cell: &str) -> String {
    match cell.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{cell}"),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_cells_never_start_a_formula() {
        for evil in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert!(text(evil).starts_with('\''), "{evil:?}");
        }
        assert_eq!(text("Acme, \"Ltd\""), "Acme, \"Ltd\"");
        let line = String::from_utf8(row(["a,b", "say \"hi\"", "x"]).unwrap()).unwrap();
        assert_eq!(line, "\"a,b\",\"say \"\"hi\"\"\",x\r\n");
    }
}
