//! The SQLite adapter: the embedded default. One file in WAL mode, one writing connection, a few
//! reading ones. `synchronous = FULL`, so an acknowledged event survives a power cut.
//!
//! | file | what |
//! |---|---|
//! | [`open`](SqliteStore::open) | connecting, pragmas, migrations |
//! | `append` | the ingest path |
//! | `ledger`, `aggregates`, `archive`, `access`, `catalog`, `invoices`, `runs`, `journal`, `documents`, `leases`, `outbox`, `jobs` | one port each |
//! | `commit`, `finalize` | the one door for other writes; drafts and numbers by the page |
//! | `multi` | multi-row statements: the only place where SQL text is built |
//! | `rows`, `error` | rows to values, driver errors to store errors |

mod access;
mod aggregates;
mod alerts;
mod append;
mod archive;
mod catalog;
mod commit;
mod documents;
mod error;
mod finalize;
mod group;
mod invoices;
mod jobs;
mod journal;
mod leases;
mod ledger;
mod multi;
mod open;
mod outbox;
mod rows;
mod runs;

pub use open::SqliteStore;
