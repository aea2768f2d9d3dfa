//! Rows into files. A caller states columns and hands over rows of typed cells; a sink writes them
//! as they come, so memory does not grow with the number of rows.
//!
//! | file | what it holds |
//! |---|---|
//! | [`cell`] | columns, cells, what they look like as text |
//! | [`csv`] | RFC 4180; text that a spreadsheet would take for a formula is escaped, and can be read back |
//! | [`json`] | one JSON document with a summary; JSON lines |
//! | [`xlsx`] | typed cells, frozen header, totals as formulas |
//! | `parquet` | feature `parquet`: decimal128, zstd |
//! | [`sort`] | sorting more rows than memory holds |
//! | [`file`] | a file that appears under its name only when it is whole; going on after an interruption |
//!
//! Nothing here knows what is exported. Architecture invariant: no engine, no store, no clock.

pub mod cell;
pub mod csv;
pub mod file;
pub mod json;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod sort;
mod text;
pub mod xlsx;

use std::io::{self, Write};

use counterfoil_types::Timestamp;
use thiserror::Error;

pub use cell::{Cell, Column, Kind};

/// Decimals of a number in Parquet unless another scale is asked for: 26 digits stand before the point.
pub const PARQUET_SCALE: i8 = 12;

/// What can go wrong while writing.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The target does not take what is written.
    #[error("writing the export: {0}")]
    Io(#[from] io::Error),
    /// A value that the format cannot hold.
    #[error("row {row}, column {column}: {why}")]
    Value {
        /// Number of the row, from 1.
        row: u64,
        /// The column.
        column: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A format holds one table only.
    #[error("{0} holds one table; write the parts to a directory (--output DIR/), or use xlsx")]
    OneTable(&'static str),
    /// This program was built without a format.
    #[error("this program was built without {0}; build it with `--features {0}`")]
    NotBuilt(&'static str),
    /// Something of the format's own.
    #[error("{0}")]
    Format(String),
    /// A file.
    #[error("{path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// A spreadsheet.
    Xlsx,
    /// Columns for programs.
    Parquet,
}

impl Format {
    /// How file names end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Xlsx => "xlsx",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Whether a terminal can show it.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Json | Self::Ndjson)
    }
}

/// How a file is to be written.
#[derive(Clone, Debug)]
pub struct Options {
    /// When the file says it was made: the same input gives the same bytes, so no clock is read.
    pub made_at: Timestamp,
    /// Decimals of numbers in Parquet.
    pub scale: i8,
    /// Whether JSON has decimals as numbers; else as strings, which no reader rounds.
    pub numbers: bool,
    /// Goes on with rows of a text that was begun before: no header.
    pub resumed: bool,
    /// Fields before the rows of a JSON document, as name and JSON text; replaces `export` and the
    /// name of the rows, for layouts of others.
    pub document: Option<json::Document>,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(made_at: Timestamp) -> Self {
        Self { made_at, scale: PARQUET_SCALE, numbers: false, resumed: false, document: None }
    }
}

/// Takes rows.
pub trait Sink: Send {
    /// Begins a table. Formats other than XLSX hold one.
    ///
    /// # Errors
    /// When there is one already, or the target fails.
    fn table(&mut self, name: &str, columns: &[Column]) -> Result<(), ExportError>;

    /// Writes a row: a cell per column.
    ///
    /// # Errors
    /// When the format cannot hold a value, or the target fails.
    fn row(&mut self, row: &[Cell<'_>]) -> Result<(), ExportError>;

    /// Hands all that was written on to the target.
    ///
    /// # Errors
    /// When the target fails.
    fn flush(&mut self) -> Result<(), ExportError>;

    /// Ends the file; `summary` are names and JSON texts for formats that have a place for them.
    ///
    /// # Errors
    /// When the target fails. What was written then is no whole file.
    fn finish(self: Box<Self>, summary: &[(&str, String)]) -> Result<(), ExportError>;
}

/// A sink for a format.
///
/// # Errors
/// When this program was built without it, or the target fails.
pub fn sink(
    format: Format,
    target: Box<dyn Write + Send>,
    options: &Options,
) -> Result<Box<dyn Sink>, ExportError> {
    Ok(match format {
        Format::Csv => Box::new(csv::Csv::new(target, options.resumed)),
        Format::Json => Box::new(json::Json::new(target, options)),
        Format::Ndjson => Box::new(json::Ndjson::new(target, options.numbers)),
        Format::Xlsx => Box::new(xlsx::Xlsx::new(target, options.made_at)?),
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(parquet::Parquet::new(target, options.scale)),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => return Err(ExportError::NotBuilt("parquet")),
    })
}
