//! `report`: reports of money and of usage, as table, CSV or JSON.

use counterfoil_engine::{
    Engine,
    reports::{Report, Table},
};
use counterfoil_exports::{Cell, csv};

use super::Verdict;
use crate::{args, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    args: &args::Report,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let report = engine.report(args.kind.into(), &args.wanted()?).await?;
    if let Some(format) = args.format {
        let output = args.output.as_deref();
        super::export::report(&report, format.into(), output, engine.now(), out)?;
        return Ok(Verdict::unless(report.wants_decision));
    }
    out.value(&report)?;
    if args.csv {
        csv(&report.table, out)?;
    } else {
        show(&report, out)?;
    }
    Ok(Verdict::unless(report.wants_decision))
}

/// A header and the rows; totals are for people, who have no spreadsheet at hand.
fn csv(table: &Table, out: &mut Out) -> Result<(), CliError> {
    let mut text = Vec::new();
    let names: Vec<Cell<'_>> = table.columns.iter().map(|name| Cell::text(*name)).collect();
    csv::row(&mut text, &names);
    for row in &table.rows {
        let cells = row.iter().map(|cell| {
            let plain = cell.plain();
            // Numbers stay numbers; what somebody named must not start a formula.
            if cell.is_text() { Cell::text(plain) } else { Cell::Exact(plain.into()) }
        });
        csv::row(&mut text, &cells.collect::<Vec<_>>());
    }
    out.bytes(&text)
}

fn show(report: &Report, out: &mut Out) -> Result<(), CliError> {
    let table = &report.table;
    if table.rows.is_empty() {
        out.line(format_args!("report {}: there is nothing to show", report.kind.as_str()))?;
        return Ok(());
    }
    out.table(&table.columns, table.plain().collect(), &table.numeric())?;
    let totals = &report.totals;
    if !totals.rows.is_empty() {
        out.line("")?;
        out.table(&totals.columns, totals.plain().collect(), &totals.numeric())?;
    }
    Ok(())
}
