//! Events, invoice lines, invoices and usage as rows for files. An [`Export`] hands out its rows by
//! the chunk, in an order that does not change; [`write_out`] takes them to a sink, reading and
//! writing at once. What the columns mean stands in `docs/exports.md`.
//!
//! | file | what it holds |
//! |---|---|
//! | [`events`] | rows of the ledger with how they stand |
//! | [`records`] | the layout `usage-records`: what counts, newest first, with its cost |
//! | [`cost`] | what an event's share of its meter's cost is |
//! | [`invoices`] | invoices and their lines |
//! | [`usage`] | usage per customer, meter and local day |
//! | [`table`] | a report's table in a file |
//!
//! An export of events sees the ledger as of its beginning: what is appended meanwhile is not in
//! it, and two exports as of the same heads are the same byte by byte.

mod cost;
mod events;
mod invoices;
mod records;
mod table;
mod usage;

use counterfoil_exports::{Column, ExportError, Sink, json::Document};
use counterfoil_store::LaneHead;
use counterfoil_types::{CustomerId, MeterKey, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use invoices::line_cells;
pub use table::{table_columns, write_report};

use crate::{Engine, EngineError};

/// Chunks that wait between reader and writer.
const WAITING: usize = 2;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Rows of the ledger.
    Events,
    /// Lines of invoices.
    Lines,
    /// Invoices.
    Invoices,
    /// Usage by customer, meter and day.
    Usage,
}

impl What {
    /// The name users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Lines => "lines",
            Self::Invoices => "invoices",
            Self::Usage => "usage",
        }
    }
}

/// How events are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// All fields; can be read back.
    #[default]
    Native,
    /// What counts, newest first, with its cost.
    UsageRecords,
}

/// Which rows are wanted, and how. All that is given must fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// What.
    pub what: What,
    /// How events are laid out.
    pub layout: Layout,
    /// From here on: the event's time, the day of usage, the time a cycle fell due.
    pub from: Option<Timestamp>,
    /// Up to here, exclusive.
    pub to: Option<Timestamp>,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// Events of this type.
    pub event_type: Option<String>,
    /// Usage by this meter.
    pub meter: Option<MeterKey>,
    /// Whether times of `usage-records` are written as JSON has them.
    pub json: bool,
}

impl Wanted {
    /// Everything of a kind.
    #[must_use]
    pub fn all(what: What) -> Self {
        Self {
            what,
            layout: Layout::Native,
            from: None,
            to: None,
            customer: None,
            event_type: None,
            meter: None,
            json: false,
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && to <= from
        {
            return Err(EngineError::refused(format!(
                "the range is empty: {to} is not after {from}"
            )));
        }
        if self.event_type.is_some() && self.what != What::Events {
            return Err(EngineError::refused("only events have a type (--type)"));
        }
        if self.meter.is_some() && self.what != What::Usage {
            return Err(EngineError::refused("only usage is by meter (--meter)"));
        }
        if self.layout != Layout::Native && self.what != What::Events {
            return Err(EngineError::refused("only events have the layout usage-records"));
        }
        Ok(())
    }

    fn holds(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}

enum Source {
    Events(events::Events),
    Records(Box<records::Records>),
    Invoices(invoices::Pages),
    Usage(Box<usage::Usage>),
}

/// Rows on their way out.
pub struct Export {
    engine: Engine,
    wanted: Wanted,
    heads: Vec<LaneHead>,
    source: Source,
}

/// Some rows.
pub enum Chunk {
    /// Rows of the ledger.
    Events(Vec<events::Row>),
    /// Rows of `usage-records`.
    Records(Vec<records::Record>, bool),
    /// Invoices, by line or whole.
    Invoices(Vec<counterfoil_invoicing::Invoice>, bool),
    /// Usage by day.
    Usage(Vec<usage::Day>),
}

impl Chunk {
    /// Writes the rows; how many there were.
    ///
    /// # Errors
    /// As the sink has them.
    pub fn write(&self, sink: &mut dyn Sink) -> Result<u64, ExportError> {
        match self {
            Self::Events(rows) => {
                rows.iter().try_for_each(|row| sink.row(&events::cells(row)))?;
                Ok(rows.len() as u64)
            }
            Self::Records(rows, json) => {
                rows.iter().try_for_each(|row| sink.row(&row.cells(*json)))?;
                Ok(rows.len() as u64)
            }
            Self::Invoices(all, false) => {
                all.iter().try_for_each(|invoice| sink.row(&invoices::cells(invoice)))?;
                Ok(all.len() as u64)
            }
            Self::Invoices(all, true) => {
                let mut count = 0;
                for invoice in all {
                    for (number, line) in (1..).zip(&invoice.body.lines) {
                        sink.row(&invoices::line_cells(invoice, number, line))?;
                        count += 1;
                    }
                }
                Ok(count)
            }
            Self::Usage(rows) => {
                rows.iter().try_for_each(|row| sink.row(&row.cells()))?;
                Ok(rows.len() as u64)
            }
        }
    }
}

/// What an export of events goes on from: the heads as of which it was begun, and its place.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    heads: Vec<(u64, i64)>,
    lane: usize,
    position: u64,
}

impl Engine {
    /// Begins an export, or goes on with one from the place it noted.
    ///
    /// # Errors
    /// When what is wanted contradicts itself or the place is none.
    pub async fn export(&self, wanted: Wanted, place: Option<&str>) -> Result<Export, EngineError> {
        wanted.check()?;
        let mut heads = self.store.heads(&self.tenant).await?;
        let mark: Option<Mark> = match place {
            Some(_) if wanted.what != What::Events || wanted.layout != Layout::Native => {
                return Err(EngineError::refused("only an export of events can go on"));
            }
            Some(place) => Some(serde_json::from_str(place)?),
            None => None,
        };
        if let Some(mark) = &mark {
            for (head, (position, recorded)) in heads.iter_mut().zip(&mark.heads) {
                if head.position < *position {
                    return Err(EngineError::refused(
                        "the ledger is shorter than when the export was begun; begin anew",
                    ));
                }
                head.position = *position;
                head.recorded_at = Timestamp::from_micros(*recorded);
            }
        }
        let at = mark.map_or((0, 0), |mark| (mark.lane, mark.position));
        let source = match (wanted.what, wanted.layout) {
            (What::Events, Layout::Native) => Source::Events(events::Events::new(at)),
            (What::Events, Layout::UsageRecords) => Source::Records(Box::default()),
            (What::Lines | What::Invoices, _) => Source::Invoices(invoices::Pages::default()),
            (What::Usage, _) => Source::Usage(Box::new(usage::Usage::of(self, &wanted).await?)),
        };
        Ok(Export { engine: self.clone(), wanted, heads, source })
    }
}

impl Export {
    /// The columns.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        match (self.wanted.what, self.wanted.layout) {
            (What::Events, Layout::Native) => events::COLUMNS.to_vec(),
            (What::Events, Layout::UsageRecords) => records::columns(self.wanted.json),
            (What::Lines, _) => invoices::LINES.to_vec(),
            (What::Invoices, _) => invoices::INVOICES.to_vec(),
            (What::Usage, _) => usage::COLUMNS.to_vec(),
        }
    }

    /// The name of the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.wanted.what.as_str()
    }

    /// When it says it was made: when the last row that it can hold was recorded.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        let last = self.heads.iter().map(|head| head.recorded_at).max();
        last.unwrap_or(Timestamp::from_micros(0)).max(Timestamp::from_micros(0))
    }

    /// What is exported, in words that differ for all that differs.
    ///
    /// # Errors
    /// Never for what this crate makes.
    pub fn describe(&self) -> Result<String, EngineError> {
        Ok(format!("{} {}", self.engine.tenant.id, serde_json::to_string(&self.wanted)?))
    }

    /// The frame of a JSON document in the layout `usage-records`.
    #[must_use]
    pub fn document(&self) -> Option<Document> {
        if self.wanted.layout == Layout::Native {
            return None;
        }
        let text = |value: Option<String>| {
            value.map_or("null".to_owned(), |text| serde_json::Value::String(text).to_string())
        };
        let time = |at: Option<Timestamp>| text(at.map(|at| at.to_string()));
        let customer = self.wanted.customer.as_ref().map(ToString::to_string);
        let period =
            format!("{{\"start\":{},\"end\":{}}}", time(self.wanted.from), time(self.wanted.to));
        Some(Document {
            head: vec![
                ("customer_id", text(customer)),
                ("export_date", time(Some(self.made_at()))),
                ("period", period),
            ],
            rows: "usage_records",
        })
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn next(&mut self) -> Result<Option<Chunk>, EngineError> {
        let Self { engine, wanted, heads, source } = self;
        match source {
            Source::Events(events) => {
                Ok(events.next(engine, wanted, heads).await?.map(Chunk::Events))
            }
            Source::Records(records) => {
                let rows = records.next(engine, wanted, heads).await?;
                Ok(rows.map(|rows| Chunk::Records(rows, wanted.json)))
            }
            Source::Invoices(pages) => {
                let lines = wanted.what == What::Lines;
                Ok(pages.next(engine, wanted).await?.map(|page| Chunk::Invoices(page, lines)))
            }
            Source::Usage(usage) => Ok(usage.next(engine, wanted).await?.map(Chunk::Usage)),
        }
    }

    /// From where an export of events goes on after the rows handed out so far; `None` for others.
    ///
    /// # Errors
    /// Never for what this crate makes.
    pub fn place(&self) -> Result<Option<String>, EngineError> {
        let Source::Events(events) = &self.source else { return Ok(None) };
        let (lane, position) = events.at();
        let heads =
            self.heads.iter().map(|head| (head.position, head.recorded_at.micros())).collect();
        Ok(Some(serde_json::to_string(&Mark { heads, lane, position })?))
    }

    /// What a JSON document says behind its rows, once all are handed out.
    fn summary(&self, rows: u64) -> Result<Vec<(&'static str, String)>, EngineError> {
        match &self.source {
            Source::Records(records) => records.summary(rows),
            _ => {
                let heads: Vec<String> =
                    self.heads.iter().map(|head| head.position.to_string()).collect();
                Ok(vec![
                    ("rows", rows.to_string()),
                    ("made_at", serde_json::to_string(&self.made_at())?),
                    ("heads", format!("[{}]", heads.join(","))),
                ])
            }
        }
    }
}

/// Takes the rows of an export to a sink, which is ended if `end`; the sink itself where not, for
/// further tables. `noted` is told after each chunk that was written how many rows that makes and
/// the place to go on from.
///
/// # Errors
/// As reading and writing have them; the file is not whole then.
pub async fn write_out(
    mut export: Export,
    mut sink: Box<dyn Sink>,
    end: bool,
    rows_before: u64,
    mut noted: impl FnMut(&mut dyn Sink, u64, Option<String>) -> Result<(), ExportError>
    + Send
    + 'static,
) -> Result<(u64, Option<Box<dyn Sink>>), EngineError> {
    let (send, mut receive) = mpsc::channel::<(Chunk, Option<String>)>(WAITING);
    let (name, columns) = (export.name(), export.columns());
    let writer = tokio::task::spawn_blocking(move || {
        sink.table(name, &columns)?;
        let mut rows = rows_before;
        while let Some((chunk, place)) = receive.blocking_recv() {
            rows += chunk.write(sink.as_mut())?;
            noted(sink.as_mut(), rows, place)?;
        }
        Ok::<_, ExportError>((rows, sink))
    });
    let mut failure = None;
    loop {
        match export.next().await {
            Ok(Some(chunk)) => {
                let place = match export.place() {
                    Ok(place) => place,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                };
                // The writer has failed: its error is the one to report.
                if send.send((chunk, place)).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    drop(send);
    let stopped = |error| EngineError::refused(format!("writing stopped: {error}"));
    let (rows, sink) = writer.await.map_err(stopped)??;
    if let Some(error) = failure {
        // A sink may block while it lets go of what it holds.
        let _ = tokio::task::spawn_blocking(move || drop(sink)).await;
        return Err(error);
    }
    if !end {
        return Ok((rows, Some(sink)));
    }
    let summary = export.summary(rows);
    let ended = tokio::task::spawn_blocking(move || match summary {
        Ok(summary) => Ok(sink.finish(&summary)?),
        Err(error) => Err(error),
    });
    ended.await.map_err(stopped)??;
    Ok((rows, None))
}
