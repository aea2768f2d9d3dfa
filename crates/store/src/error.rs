//! What can go wrong with a store, sorted by what the caller can do about it.

use thiserror::Error;

/// A storage error.
#[derive(Debug, Error)]
pub enum StoreError {
    /// What was committed in the meantime contradicts this write. Read again and decide again.
    #[error("{what} was changed in the meantime: {why}")]
    Conflict {
        /// The thing.
        what: String,
        /// How it stands.
        why: String,
    },
    /// The lease that a write was made under has changed hands. Nothing was written; whoever holds
    /// it now goes on.
    #[error(
        "lease {0} is held by another program by now, or was given back: nothing was written. Leave the work to that program, or take the lease again"
    )]
    LeaseLost(String),
    /// The store does not answer, is locked or lost the connection; trying again may help.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// No space is left.
    #[error(
        "the store is full: {0}. Free disk space, then repeat the command; nothing was half-done"
    )]
    Full(String),
    /// The store may not be written.
    #[error("the store cannot be written: {0}. Check the permissions of the data directory")]
    ReadOnly(String),
    /// Another process holds the store.
    #[error(
        "the store is locked by another process: {0}. Wait for it to finish or stop it, then repeat"
    )]
    Locked(String),
    /// The store was written by a newer program.
    #[error(
        "the store has schema version {found}, this program knows versions up to {known}; use a newer counterfoil"
    )]
    NewerSchema {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// Something stored makes no sense.
    #[error("stored data is damaged: {table}, {row}: {why}. Run `counterfoil verify`")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Which row.
        row: String,
        /// What is wrong.
        why: String,
    },
    /// The content of a row is archived.
    #[error(
        "lane {lane} position {position} is archived; see `counterfoil archive list`, then put it back with `counterfoil archive restore ID`"
    )]
    Archived {
        /// The lane.
        lane: i64,
        /// The first such position that was met.
        position: u64,
    },
    /// The store is not the one that was anchored.
    #[error(
        "the store is not the one that was anchored: {0}. Was an older backup restored? Nothing is billed until somebody looked (`counterfoil verify`) and said so (`counterfoil recover acknowledge --reason TEXT`)"
    )]
    RolledBack(String),
    /// The tenant does not exist.
    #[error("there is no tenant {0:?}")]
    NoTenant(String),
    /// Anything else the driver said.
    #[error("the store failed: {0}")]
    Driver(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anything else changing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Locked(_))
    }

    /// A contradiction found while writing.
    pub fn conflict(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Conflict { what: what.into(), why: why.into() }
    }

    /// Damage found while reading.
    pub fn corrupt(table: &'static str, row: impl ToString, why: impl ToString) -> Self {
        Self::Corrupt { table, row: row.to_string(), why: why.to_string() }
    }
}
