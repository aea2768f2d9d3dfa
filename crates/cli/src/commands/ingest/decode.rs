//! Lines and rows to events.

use std::path::Path;

use counterfoil_engine::{
    Engine,
    ingest::{IngestOptions, Prepared},
};
use counterfoil_exports::csv::unescape;
use counterfoil_ledger::{
    Event, Reject,
    csv_map::{Mapping, check_native_header, is_exported, read_exported, read_native},
    decode::{Defaults, decode_json},
};
use tokio::sync::mpsc;

use super::{Decoded, exported};
use crate::{
    args::Format,
    error::CliError,
    source::{Line, MAX_LINE, Source, next_line},
};

/// How a file's lines become events.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    mapping: Option<Mapping>,
    defaults: Defaults,
}

/// Reads a mapping file.
pub(crate) fn read_mapping(path: &Path) -> Result<Mapping, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CliError::file(path.display(), error))?;
    toml::from_str(&text).map_err(|error| CliError::file(path.display(), error))
}

/// Collects decoded events and hands them on batch by batch.
pub(super) struct Batches<'a> {
    engine: &'a Engine,
    options: IngestOptions,
    size: usize,
    send: &'a mpsc::Sender<Vec<Decoded>>,
    waiting: Vec<Decoded>,
}

impl Batches<'_> {
    /// Takes an event or a refusal; false when nobody listens any more.
    pub(super) fn push(&mut self, line: u64, text: String, event: Result<Event, Reject>) -> bool {
        let prepared = match event {
            Ok(event) => self.engine.prepare(event, self.options, self.engine.now()),
            Err(reject) => Prepared::Refused(reject),
        };
        self.waiting.push(Decoded { line, text, prepared });
        self.waiting.len() < self.size || self.flush()
    }

    fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.waiting);
        batch.is_empty() || self.send.blocking_send(batch).is_ok()
    }
}

impl Decoder {
    pub(crate) fn new(mapping: Option<Mapping>, source: Option<String>) -> Self {
        Self { mapping, defaults: Defaults { source } }
    }

    /// Reads the whole source. Ends early, without error, when the writer has failed: its error
    /// is the one to report.
    pub(super) fn read(
        &self,
        source: Source,
        engine: &Engine,
        options: IngestOptions,
        size: usize,
        send: &mpsc::Sender<Vec<Decoded>>,
    ) -> Result<(), CliError> {
        let mut batches =
            Batches { engine, options, size, send, waiting: Vec::with_capacity(size) };
        match source.format {
            Format::Jsonl => self.read_lines(source, &mut batches)?,
            Format::Csv => self.read_rows(source, &mut batches)?,
            Format::Json => exported::document(source, &self.defaults, &mut batches)?,
            Format::Parquet => exported::parquet(source, &mut batches)?,
        }
        batches.flush();
        Ok(())
    }

    fn read_lines(&self, mut source: Source, batches: &mut Batches<'_>) -> Result<(), CliError> {
        let name = source.name.clone();
        let mut number = 0;
        loop {
            let line = next_line(source.reader.as_mut())
                .map_err(|error| CliError::file(&name, format!("line {}: {error}", number + 1)))?;
            let Some(line) = line else { return Ok(()) };
            number += 1;
            let (text, event) = match line {
                Line::TooLong(size) => {
                    let reject = Reject::TooLarge { what: "line", size, max: MAX_LINE };
                    (String::new(), Err(reject))
                }
                Line::Text(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => continue,
                Line::Text(bytes) => {
                    let event = decode_json(&bytes, &self.defaults);
                    (String::from_utf8_lossy(&bytes).into_owned(), event)
                }
            };
            if !batches.push(number, text, event) {
                return Ok(());
            }
        }
    }

    fn read_rows(&self, source: Source, batches: &mut Batches<'_>) -> Result<(), CliError> {
        let name = source.name.clone();
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(source.reader);
        let header: Vec<String> = rows
            .headers()
            .map_err(|error| CliError::file(&name, error))?
            .iter()
            .map(str::to_owned)
            .collect();
        if header.is_empty() || header.iter().all(String::is_empty) {
            return Ok(());
        }
        let mapped = self.mapping.as_ref().map(|mapping| mapping.bind(&header)).transpose()?;
        if mapped.is_none() {
            check_native_header(&header)?;
        }
        let exported = mapped.is_none() && is_exported(&header);
        for (number, row) in (1u64..).zip(rows.records()) {
            let row = match row {
                Ok(row) => row,
                Err(error) if error.is_io_error() => return Err(CliError::file(&name, error)),
                Err(error) => {
                    let reject = Reject::Malformed(error.to_string());
                    if !batches.push(number + 1, String::new(), Err(reject)) {
                        return Ok(());
                    }
                    continue;
                }
            };
            // The reader's own count stands still at CR LF; cells may hold line breaks.
            let line = row.position().map_or(0, csv::Position::line).max(number + 1);
            let text = row.iter().collect::<Vec<_>>().join(",");
            let free = |(cell, name): (&str, &String)| match name.as_str() {
                "properties" | "quantity" => cell.to_owned(),
                _ if exported => unescape(cell).to_owned(),
                _ => cell.to_owned(),
            };
            let plain = std::iter::repeat(&name);
            let cells: Vec<String> = row.iter().zip(header.iter().chain(plain)).map(free).collect();
            let size: usize = cells.iter().map(String::len).sum();
            let events = if size > MAX_LINE {
                Err(Reject::TooLarge { what: "row", size, max: MAX_LINE })
            } else {
                match &mapped {
                    Some(reader) => reader.read(number, &cells),
                    None if exported => read_exported(&header, &cells).map(|event| vec![event]),
                    None => read_native(&header, &cells, self.defaults.source.as_deref())
                        .map(|event| vec![event]),
                }
            };
            let heard = match events {
                Ok(events) => {
                    events.into_iter().all(|event| batches.push(line, text.clone(), Ok(event)))
                }
                Err(reject) => batches.push(line, text, Err(reject)),
            };
            if !heard {
                return Ok(());
            }
        }
        Ok(())
    }
}
