//! JSON: one document of rows with a summary behind them, and JSON lines. Cells without a value are
//! left out of their row. Decimals are strings, unless a layout has them as numbers; then they are
//! written digit by digit.

use std::io::Write;

use crate::{Cell, Column, ExportError, Options, Sink, text};

/// Bytes gathered before they go to the target.
const BLOCK: usize = 1 << 16;

/// The frame of a document in somebody else's layout.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Fields before the rows, as name and JSON text.
    pub head: Vec<(&'static str, String)>,
    /// Name of the rows.
    pub rows: &'static str,
}

/// Writes rows as objects.
struct Objects {
    target: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    names: Vec<Vec<u8>>,
    numbers: bool,
}

impl Objects {
    fn new(target: Box<dyn Write + Send>, numbers: bool) -> Self {
        Self { target, buffer: Vec::with_capacity(BLOCK + 4096), names: Vec::new(), numbers }
    }

    fn set(&mut self, format: &'static str, columns: &[Column]) -> Result<(), ExportError> {
        if !self.names.is_empty() {
            return Err(ExportError::OneTable(format));
        }
        let name = |column: &Column| {
            let mut name = Vec::new();
            text::json_string(&mut name, &column.name);
            name.push(b':');
            name
        };
        self.names = columns.iter().map(name).collect();
        Ok(())
    }

    fn value(out: &mut Vec<u8>, cell: &Cell<'_>, numbers: bool) {
        let (open, close): (&[u8], &[u8]) = (b"\"", b"\"");
        match cell {
            Cell::Empty => out.extend_from_slice(b"null"),
            Cell::Text(value) => text::json_string(out, value),
            Cell::Integer(value) => {
                let _ = write!(out, "{value}");
            }
            Cell::Decimal(value) if numbers => {
                let _ = write!(out, "{value}");
            }
            Cell::Decimal(value) => {
                let _ = write!(out, "\"{value}\"");
            }
            Cell::Exact(value) => text::json_string(out, value),
            Cell::Timestamp(at) => {
                out.extend_from_slice(open);
                text::instant(out, *at);
                out.extend_from_slice(close);
            }
            Cell::Date(day) => {
                let _ = write!(out, "\"{day}\"");
            }
            Cell::Json(json) => out.extend_from_slice(json.as_bytes()),
        }
    }

    fn object(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        let mut first = true;
        self.buffer.push(b'{');
        for (name, cell) in self.names.iter().zip(cells) {
            if *cell == Cell::Empty {
                continue;
            }
            if !first {
                self.buffer.push(b',');
            }
            first = false;
            self.buffer.extend_from_slice(name);
            Self::value(&mut self.buffer, cell, self.numbers);
        }
        self.buffer.push(b'}');
        if self.buffer.len() >= BLOCK { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> Result<(), ExportError> {
        self.target.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.pass_on()?;
        Ok(self.target.flush()?)
    }
}

/// The sink of JSON lines.
pub struct Ndjson(Objects);

impl Ndjson {
    /// JSON lines.
    #[must_use]
    pub fn new(target: Box<dyn Write + Send>, numbers: bool) -> Self {
        Self(Objects::new(target, numbers))
    }
}

impl Sink for Ndjson {
    fn table(&mut self, _name: &str, columns: &[Column]) -> Result<(), ExportError> {
        self.0.set("NDJSON", columns)
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        self.0.object(cells)?;
        self.0.buffer.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.0.flush()
    }

    fn finish(mut self: Box<Self>, _summary: &[(&str, String)]) -> Result<(), ExportError> {
        self.0.flush()
    }
}

/// The sink of one JSON document.
pub struct Json {
    objects: Objects,
    document: Option<Document>,
    any: bool,
}

impl Json {
    /// A JSON document.
    #[must_use]
    pub fn new(target: Box<dyn Write + Send>, options: &Options) -> Self {
        let objects = Objects::new(target, options.numbers);
        Self { objects, document: options.document.clone(), any: false }
    }
}

impl Sink for Json {
    fn table(&mut self, name: &str, columns: &[Column]) -> Result<(), ExportError> {
        self.objects.set("JSON", columns)?;
        let mut export = Vec::new();
        text::json_string(&mut export, name);
        let plain = Document {
            head: vec![("export", String::from_utf8_lossy(&export).into_owned())],
            rows: "rows",
        };
        let Document { head, rows } = self.document.take().unwrap_or(plain);
        let out = &mut self.objects.buffer;
        out.push(b'{');
        for (name, value) in head {
            let _ = writeln!(out, "\"{name}\":{value},");
        }
        let _ = write!(out, "\"{rows}\":[");
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        let before: &[u8] = if self.any { b",\n" } else { b"\n" };
        self.any = true;
        self.objects.buffer.extend_from_slice(before);
        self.objects.object(cells)
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.objects.flush()
    }

    fn finish(mut self: Box<Self>, summary: &[(&str, String)]) -> Result<(), ExportError> {
        let out = &mut self.objects.buffer;
        out.extend_from_slice(b"\n],\n\"summary\":{");
        for (number, (name, value)) in summary.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{name}\":{value}");
        }
        out.extend_from_slice(b"}}\n");
        self.objects.flush()
    }
}
