//! The PostgreSQL adapter: the store of production, several processes on one database
//! (PostgreSQL 15 or newer). `synchronous_commit` is never off, so an acknowledged event survives a
//! crash of the server.
//!
//! | file | what |
//! |---|---|
//! | `open` | connecting, settings of a session, migrations |
//! | `append` | the ingest path: staging, probing, one transaction for a group of batches |
//! | `append/stage` | a batch made ready outside of any lock |
//! | `append/probe` | which keys are taken |
//! | `append/plan` | positions, receipts and rows, worked out in memory under the lane locks |
//! | `append/copy` | the binary `COPY` format |
//! | `append/queue` | group commit: batches that wait become one transaction |
//! | `distribute` | sharding by lane with Citus |
//! | `examine` | what `doctor` looks at: settings, clocks, rights |
//! | `scope` | which tenant a connection works for, where row-level security holds |
//! | `ledger`, `aggregates`, `archive`, `access`, `catalog`, `invoices`, `runs`, `journal`, `documents`, `leases`, `outbox`, `jobs` | one port each |
//! | `commit`, `finalize` | the one door for other writes; drafts and numbers by the page |
//! | `rows`, `error` | rows to values, driver errors to store errors |
//! | `testing` | (feature) a server of one's own for tests and benchmarks |
//!
//! SQL text is constant everywhere: lists travel as arrays (`= ANY`, `UNNEST`).
//!
//! Locks are taken in one order: lanes by number; the tenant's row (journal and invoice numbers);
//! then rows of one table by key. What deadlocks all the same was rolled back whole and is tried
//! again here.

mod access;
mod aggregates;
mod alerts;
mod append;
mod archive;
mod catalog;
mod commit;
mod distribute;
mod documents;
mod error;
mod examine;
mod finalize;
mod invoices;
mod jobs;
mod journal;
mod leases;
mod ledger;
#[cfg(target_os = "linux")]
mod nodelay;
#[cfg(not(target_os = "linux"))]
mod nodelay {
    /// Nothing to do it with.
    pub(crate) fn set(_port: u16) -> std::io::Result<usize> {
        Ok(0)
    }
}
mod open;
mod outbox;
mod rows;
mod runs;
mod scope;
#[cfg(feature = "testing")]
pub mod testing;

pub use distribute::Distributed;
pub use open::{PostgresOptions, PostgresStore};
