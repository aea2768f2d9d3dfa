//! CSV by RFC 4180: header, CR LF, quotes doubled. Text that a spreadsheet would take for a formula
//! gets an apostrophe in front; [`unescape`] takes it off again. Numbers, times and JSON are written
//! by the program itself and stay as they are: none of them can begin a formula but a negative
//! number, which is one.

use std::{borrow::Cow, io::Write};

use crate::{Cell, Column, ExportError, Sink, text};

/// Bytes gathered before they go to the target.
const BLOCK: usize = 1 << 16;

/// Whether a spreadsheet takes a text that begins like this for a formula (OWASP, CSV injection):
/// the full-width signs are taken for the plain ones in some languages.
fn begins_formula(text: &str) -> bool {
    matches!(
        text.chars().next(),
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')
    )
}

/// A text as a CSV cell holds it. An apostrophe more also where apostrophes stand before what looks
/// like a formula, so that [`unescape`] finds back what was there.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if begins_formula(text.trim_start_matches('\'')) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text that a CSV cell stands for.
#[must_use]
pub fn unescape(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if begins_formula(rest.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| !matches!(byte, b'"' | b',' | b'\r' | b'\n');
    if text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (number, piece) in text.split('"').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'"');
}

/// Appends a cell.
pub fn cell(out: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Empty => {}
        Cell::Text(text) => quoted(out, &escape(text)),
        Cell::Integer(value) => {
            let _ = write!(out, "{value}");
        }
        Cell::Decimal(value) => {
            let _ = write!(out, "{value}");
        }
        Cell::Exact(value) => quoted(out, value),
        Cell::Timestamp(at) => text::instant(out, *at),
        Cell::Date(day) => {
            let _ = write!(out, "{day}");
        }
        Cell::Json(json) => quoted(out, json),
    }
}

/// Appends a row.
pub fn row(out: &mut Vec<u8>, cells: &[Cell<'_>]) {
    for (number, value) in cells.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        cell(out, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The CSV sink.
pub struct Csv {
    target: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    resumed: bool,
    tables: u32,
}

impl Csv {
    /// A CSV file; without header when it goes on with one that was begun.
    #[must_use]
    pub fn new(target: Box<dyn Write + Send>, resumed: bool) -> Self {
        Self { target, buffer: Vec::with_capacity(BLOCK + 4096), resumed, tables: 0 }
    }

    fn pass_on(&mut self) -> Result<(), ExportError> {
        self.target.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Sink for Csv {
    fn table(&mut self, _name: &str, columns: &[Column]) -> Result<(), ExportError> {
        self.tables += 1;
        if self.tables > 1 {
            return Err(ExportError::OneTable("CSV"));
        }
        if !self.resumed {
            let names: Vec<Cell<'_>> =
                columns.iter().map(|column| Cell::text(column.name.as_ref())).collect();
            row(&mut self.buffer, &names);
        }
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        row(&mut self.buffer, cells);
        if self.buffer.len() >= BLOCK { self.pass_on() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.pass_on()?;
        Ok(self.target.flush()?)
    }

    fn finish(mut self: Box<Self>, _summary: &[(&str, String)]) -> Result<(), ExportError> {
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaped_text_reads_back_and_begins_no_formula(text in "['=+@\\-\\t\\r\\n＝a, \"é]{0,6}") {
            let escaped = escape(&text);
            prop_assert!(!begins_formula(&escaped));
            prop_assert_eq!(unescape(&escaped), text.as_str());
        }

        #[test]
        fn rows_read_back_with_another_reader(cells in prop::collection::vec("[=,'\"\\r\\na é]{0,8}", 2..5)) {
            let given: Vec<Cell<'_>> = cells.iter().map(|text| Cell::text(text.as_str())).collect();
            let mut out = Vec::new();
            row(&mut out, &given);
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(&out[..]);
            let read = reader.records().next().unwrap().unwrap();
            let read: Vec<&str> = read.iter().map(unescape).collect();
            prop_assert_eq!(read, cells);
        }
    }

    #[test]
    fn csv_cells_never_start_a_formula() {
        for evil in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"] {
            assert!(escape(evil).starts_with('\''), "{evil:?}");
        }
        assert_eq!(escape("Acme, \"Ltd\""), "Acme, \"Ltd\"");
        let mut out = Vec::new();
        let number = Cell::Decimal(rust_decimal::Decimal::new(-15, 1));
        row(&mut out, &[Cell::text("a,b"), Cell::text("say \"hi\""), number]);
        assert_eq!(out, b"\"a,b\",\"say \"\"hi\"\"\",-1.5\r\n");
    }
}
