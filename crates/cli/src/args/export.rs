//! Arguments of exports.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use counterfoil_engine::exports::Layout;
use counterfoil_exports::Format;
use counterfoil_types::{CustomerId, MeterKey, TimeError, Timestamp, Zone};

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// What.
    #[arg(value_enum, value_name = "WHAT")]
    pub(crate) what: ExportKind,
    /// From this day (UTC) or instant on.
    #[arg(long, value_name = "DAY|TIME", value_parser = instant)]
    pub(crate) from: Option<Timestamp>,
    /// Up to this day (UTC) or instant, which is not part of it.
    #[arg(long, value_name = "DAY|TIME", value_parser = instant)]
    pub(crate) to: Option<Timestamp>,
    /// The month, for `month` [for example 2026-10].
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub(crate) month: Option<String>,
    /// Of this customer only.
    #[arg(long)]
    pub(crate) customer: Option<CustomerId>,
    /// Events of this type only.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Usage by this meter only.
    #[arg(long)]
    pub(crate) meter: Option<MeterKey>,
    #[command(flatten)]
    pub(crate) file: ExportFile,
    /// How events are laid out: all fields, or what counts with its cost, newest first.
    #[arg(long, value_enum, default_value = "native")]
    pub(crate) layout: LayoutName,
    /// Go on with an export of events to CSV or NDJSON that was interrupted.
    #[arg(long)]
    pub(crate) resume: bool,
}

/// Which file, and how it is written.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExportFile {
    /// File format.
    #[arg(long, value_enum, default_value = "csv")]
    pub(crate) format: FileFormat,
    /// The file, a directory (ending in /) in which files are named by themselves, or - for
    /// standard output [default: standard output for text, a file named by itself for others].
    #[arg(long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that exists.
    #[arg(long)]
    pub(crate) force: bool,
    /// Decimals of numbers in Parquet, which holds 38 digits.
    #[arg(long, default_value_t = counterfoil_exports::PARQUET_SCALE, value_parser = clap::value_parser!(i8).range(0..=28))]
    pub(crate) scale: i8,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportKind {
    /// Rows of the ledger; `ingest` reads them back.
    Events,
    /// Lines of invoices.
    Lines,
    /// Invoices.
    Invoices,
    /// Usage by customer, meter and local day.
    Usage,
    /// Invoices, lines and usage of a month: sheets of one XLSX, or files in a directory.
    Month,
}

/// File formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Comma-separated values, for spreadsheets and programs.
    Csv,
    /// One JSON document with a summary.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// A workbook.
    Xlsx,
    /// Columns, compressed (feature `parquet` of this program).
    Parquet,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Csv => Self::Csv,
            FileFormat::Json => Self::Json,
            FileFormat::Ndjson => Self::Ndjson,
            FileFormat::Xlsx => Self::Xlsx,
            FileFormat::Parquet => Self::Parquet,
        }
    }
}

/// Layouts of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// All fields.
    Native,
    /// What counts, newest first: timestamp, service, quantity, unit_cost, total_cost, metadata.
    UsageRecords,
}

impl From<LayoutName> for Layout {
    fn from(layout: LayoutName) -> Self {
        match layout {
            LayoutName::Native => Self::Native,
            LayoutName::UsageRecords => Self::UsageRecords,
        }
    }
}

/// An instant, or the first one of a UTC day.
fn instant(text: &str) -> Result<Timestamp, TimeError> {
    match text.parse::<jiff::civil::Date>() {
        Ok(day) if text.len() == 10 => Zone::utc().instant(day.at(0, 0, 0, 0)),
        _ => text.parse(),
    }
}
