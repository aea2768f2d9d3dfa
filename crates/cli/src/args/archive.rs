//! Arguments of archives, recovery and backup.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use counterfoil_types::{Timestamp, timestamp::DAY_MICROS};

/// A length of time in days, written `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days(pub(crate) u32);

impl Days {
    /// In microseconds.
    pub(crate) fn micros(self) -> i64 {
        i64::from(self.0) * DAY_MICROS
    }
}

impl std::str::FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        days.map(Self).ok_or_else(|| format!("{text:?} is no number of days; write 90d"))
    }
}

/// A day (its first instant in UTC) or an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
        whole.parse().map(Self).map_err(|error| format!("{error}; write 2026-07-01"))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Archive {
    /// Move the content of old events into files. Keys, seals and positions stay in the ledger.
    #[command(
        after_help = "Examples:\n  counterfoil archive run\n  counterfoil archive run --older-than 365d --to /mnt/archive"
    )]
    Run {
        /// Events older than this, for example 90d [default: retention.raw of the configuration].
        #[arg(long, value_name = "DAYS", conflicts_with = "before")]
        older_than: Option<Days>,
        /// Events before this day or instant.
        #[arg(long, value_name = "DATE")]
        before: Option<Moment>,
        /// Where the files go [default: archive_dir of the configuration].
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Format of the files.
        #[arg(long, value_enum, default_value = "csv")]
        format: ArchiveFormat,
    },
    /// List archives.
    List,
    /// Hold every archive against the store's record of it: file, rows, seals.
    Verify,
    /// Put the content of an archive back; the last one of a lane comes first.
    #[command(
        after_help = "Examples:\n  counterfoil archive restore 64-1-5000\n  counterfoil archive restore /mnt/archive/default-lane-64-000000000001-000000005000.json"
    )]
    Restore {
        /// Its name, or the path of its manifest or file of rows.
        archive: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchiveFormat {
    /// Gzip CSV.
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recover {
    /// Say that an older backup was restored on purpose, so that billing may go on.
    #[command(
        after_help = "Example:\n  counterfoil recover acknowledge --reason 'disk died, backup of Monday'"
    )]
    Acknowledge {
        /// Why; it is written into the journal.
        #[arg(long)]
        reason: String,
        /// Who says so.
        #[arg(long, env = "USER", default_value = "unknown")]
        by: String,
    },
}
