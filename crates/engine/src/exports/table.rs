//! A report's table in a file: its rows, then its totals as a table of their own where a format
//! holds several.

use std::borrow::Cow;

use counterfoil_exports::{Cell, Column, ExportError, Kind, Sink};

use crate::reports::{self, Report, Table};

/// Columns of a table: what its cells are, or text where they differ.
#[must_use]
pub fn table_columns(table: &Table) -> Vec<Column> {
    let kind = |cell: &reports::Cell| match cell {
        reports::Cell::Empty => None,
        reports::Cell::Text(_) => Some(Kind::Text),
        reports::Cell::Count(_) => Some(Kind::Integer),
        reports::Cell::Money(_) => Some(Kind::Decimal),
        reports::Cell::Exact(_) => Some(Kind::Exact),
        reports::Cell::Time(_) => Some(Kind::Timestamp),
    };
    let columns = table.columns.iter().enumerate().map(|(at, name)| {
        let mut kinds = table.rows.iter().filter_map(|row| row.get(at).and_then(kind));
        let first = kinds.next().unwrap_or(Kind::Text);
        // Text takes anything.
        Column::new(name, if kinds.all(|other| other == first) { first } else { Kind::Text })
    });
    columns.collect()
}

fn cell<'a>(cell: &'a reports::Cell, kind: Kind) -> Cell<'a> {
    match (cell, kind) {
        (reports::Cell::Empty, _) => Cell::Empty,
        (reports::Cell::Text(text), _) => Cell::text(text.as_str()),
        (reports::Cell::Count(count), Kind::Integer) => super::events::integer(*count),
        (reports::Cell::Money(money), Kind::Decimal) => Cell::Decimal(money.amount()),
        (reports::Cell::Exact(_), Kind::Exact) => Cell::Exact(Cow::Owned(cell.plain())),
        (reports::Cell::Time(at), Kind::Timestamp) => Cell::Timestamp(*at),
        (other, _) => Cell::Exact(Cow::Owned(other.plain())),
    }
}

fn write(name: &str, table: &Table, sink: &mut dyn Sink) -> Result<(), ExportError> {
    let columns = table_columns(table);
    sink.table(name, &columns)?;
    for row in &table.rows {
        let cells: Vec<Cell<'_>> =
            row.iter().zip(&columns).map(|(value, column)| cell(value, column.kind)).collect();
        sink.row(&cells)?;
    }
    Ok(())
}

/// Writes a report; with its totals where the format holds several tables.
///
/// # Errors
/// As the sink has them.
pub fn write_report(report: &Report, totals: bool, sink: &mut dyn Sink) -> Result<(), ExportError> {
    write(report.kind.as_str(), &report.table, sink)?;
    if totals && !report.totals.columns.is_empty() {
        write("totals", &report.totals, sink)?;
    }
    Ok(())
}
