//! Ports to what lies beside the store: archive files and the anchor. They are files on a disk, so
//! their methods block; a caller in a runtime hands them to a thread for that.

use std::collections::BTreeMap;

use counterfoil_ledger::{StoredEvent, Tree};
use counterfoil_types::{Digest, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::archive::{ArchiveRecord, Manifest};

/// What can be wrong with a file beside the store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FileError {
    /// It is not there.
    #[error("{path} is not there; put it back, or name the directory it is in with --to DIR")]
    Missing {
        /// The file.
        path: String,
    },
    /// It is not what it should be.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The disk is full.
    #[error(
        "no space is left for {path}. Free disk space, then repeat the command; nothing was half-done"
    )]
    Full {
        /// The file.
        path: String,
    },
    /// Anything else.
    #[error("{path}: {why}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
}

/// Archive files.
pub trait ArchiveFiles: Send + Sync {
    /// Where new ones go.
    fn place(&self) -> String;

    /// Writes an archive of `rows` (one lane, contiguous), reads it back and compares. When this
    /// returns, file and manifest are on disk under their names; after an error none of them is
    /// that was not there before. The same rows again give the same files.
    ///
    /// # Errors
    /// See [`FileError`].
    fn write(&self, tenant: &TenantId, rows: &[StoredEvent]) -> Result<Manifest, FileError>;

    /// The rows of an archive, every one checked against the manifest in the store's record.
    ///
    /// # Errors
    /// See [`FileError`].
    fn read(&self, record: &ArchiveRecord) -> Result<Vec<StoredEvent>, FileError>;
}

/// Where a lane stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneAnchor {
    /// Its last position.
    pub position: u64,
    /// The seal of the row there.
    pub leaf: Option<Digest>,
    /// The tree over its first seals: as many as were read when it was last extended.
    pub tree: Tree,
}

/// Where a tenant's part of the store stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The tenant.
    pub tenant: TenantId,
    /// When it was taken.
    pub at: Timestamp,
    /// Lanes, by number.
    pub lanes: BTreeMap<i64, LaneAnchor>,
    /// The last fact of the journal; 0 when there is none.
    pub journal: u64,
    /// Digest of that fact.
    pub fact: Option<Digest>,
    /// The last invoice number of each series.
    pub series: BTreeMap<String, String>,
}

/// The anchor of one tenant.
pub trait AnchorStore: Send + Sync {
    /// Where it is kept.
    fn place(&self) -> String;

    /// The anchor; `None` when none was written yet.
    ///
    /// # Errors
    /// See [`FileError`].
    fn read(&self) -> Result<Option<Anchor>, FileError>;

    /// Replaces it, all of it or nothing.
    ///
    /// # Errors
    /// See [`FileError`].
    fn write(&self, anchor: &Anchor) -> Result<(), FileError>;
}
