//! Output: tables for people, JSON for programs. Everything goes through one buffered writer, so
//! a closed pipe is an error like any other and not a panic.

use std::io::{BufWriter, Stdout, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::error::CliError;

/// A line under the header, nothing else: easy to read and to cut.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// Standard output.
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    json: bool,
}

impl Out {
    /// Output as the user wants it.
    pub(crate) fn new(json: bool) -> Self {
        Self { writer: BufWriter::new(std::io::stdout()), json }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line of text, for people only.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), CliError> {
        if !self.json {
            writeln!(self.writer, "{text}")?;
        }
        Ok(())
    }

    /// Raw text, whoever reads it.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), CliError> {
        self.writer.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Raw bytes, whoever reads them.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer.write_all(bytes)?;
        Ok(())
    }

    /// A value, for programs only.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        if self.json {
            serde_json::to_writer_pretty(&mut self.writer, value).map_err(|error| {
                // A closed pipe must stay recognizable.
                if error.is_io() { CliError::Io(error.into()) } else { CliError::from(error) }
            })?;
            writeln!(self.writer)?;
        }
        Ok(())
    }

    /// A table, for people only. Columns named in `right` are aligned to the right.
    pub(crate) fn table(
        &mut self,
        head: &[&str],
        rows: Vec<Vec<String>>,
        right: &[usize],
    ) -> Result<(), CliError> {
        if self.json {
            return Ok(());
        }
        let mut table = Table::new();
        table
            .load_style(STYLE)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(head.to_vec());
        for row in rows {
            table.add_row(row);
        }
        for at in right {
            if let Some(column) = table.column_mut(*at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(self.writer, "{table}")?;
        Ok(())
    }

    /// Writes out what is buffered.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.writer.flush()?)
    }
}

/// Says on standard error what went wrong.
pub(crate) fn complain(error: &CliError) {
    // Nothing is left to be done when standard error is closed too.
    let _ = writeln!(std::io::stderr(), "counterfoil: {error}");
}
