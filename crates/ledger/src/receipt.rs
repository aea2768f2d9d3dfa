//! Receipts: what became of each event that was handed in.

use counterfoil_types::{Digest, Timestamp};
use serde::Serialize;
use thiserror::Error;

use crate::lane::LaneId;

/// Why an event was not taken. Nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reject {
    /// Not readable at all.
    #[error("{0}")]
    Malformed(String),
    /// A field is missing.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field has a bad value.
    #[error("field `{field}`: {why}")]
    BadField {
        /// The field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The event's time is ahead of the clock.
    #[error(
        "time {time} is more than the allowed five minutes ahead of now ({now}); check the producer's clock"
    )]
    InTheFuture {
        /// The event's time.
        time: Timestamp,
        /// The ledger's now.
        now: Timestamp,
    },
    /// The event is older than the window.
    #[error(
        "time {time} is more than {days} days ago; send it as a backfill (--backfill) if it is meant"
    )]
    TooOld {
        /// The event's time.
        time: Timestamp,
        /// The window in days.
        days: i64,
    },
    /// A correction that cannot be applied.
    #[error("{0}")]
    Correction(String),
    /// A hard quota leaves no room for it.
    #[error("the quota of {0} is used up")]
    OverQuota(String),
    /// A correction of an event whose content is archived.
    #[error(
        "event {target:?} is archived (lane {lane} position {position}); put it back first: `counterfoil archive list`, then `counterfoil archive restore ID`"
    )]
    Archived {
        /// The event it names.
        target: String,
        /// Lane of that event.
        lane: LaneId,
        /// Position of that event.
        position: u64,
    },
    /// The line or body is larger than allowed.
    #[error("{what} is {size} bytes long; at most {max} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
}

impl Reject {
    /// Stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Missing(_) => "missing_field",
            Self::BadField { .. } => "bad_field",
            Self::InTheFuture { .. } => "in_the_future",
            Self::TooOld { .. } => "too_old",
            Self::Correction(_) => "bad_correction",
            Self::OverQuota(_) => "over_quota",
            Self::Archived { .. } => "archived",
            Self::TooLarge { .. } => "too_large",
        }
    }

    pub(crate) fn field(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::BadField { field: field.into(), why: why.to_string() }
    }
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Stored at this place.
    Inserted {
        /// Lane.
        lane: LaneId,
        /// Position.
        position: u64,
    },
    /// Already there with the same content; this is its first place.
    Duplicate {
        /// Lane.
        lane: LaneId,
        /// Position.
        position: u64,
    },
    /// The key is taken by other content. Nothing was stored.
    Conflict {
        /// Lane of the stored event.
        lane: LaneId,
        /// Position of the stored event.
        position: u64,
        /// Content hash of the stored event.
        stored: Digest,
        /// Content hash of the event handed in.
        given: Digest,
    },
    /// Not acceptable. Nothing was stored.
    Rejected(Reject),
}

/// How many events got which receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ReceiptCounts {
    /// Stored now.
    pub inserted: u64,
    /// Stored before.
    pub duplicate: u64,
    /// Refused: key taken by other content.
    pub conflict: u64,
    /// Refused: not acceptable.
    pub rejected: u64,
}

impl ReceiptCounts {
    /// Counts one receipt.
    pub fn count(&mut self, receipt: &Receipt) {
        match receipt {
            Receipt::Inserted { .. } => self.inserted += 1,
            Receipt::Duplicate { .. } => self.duplicate += 1,
            Receipt::Conflict { .. } => self.conflict += 1,
            Receipt::Rejected(_) => self.rejected += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.inserted + self.duplicate + self.conflict + self.rejected
    }
}
