//! The contract suite: what every backend must do, as one public function per promise.
//!
//! | file | promises about |
//! |---|---|
//! | [`access`] | API keys, claims, the audit log, appending after what was seen |
//! | [`append`] | receipts, dedupe, order |
//! | [`archive`] | content that goes into an archive and comes back |
//! | [`corrections`] | reversals and amendments |
//! | [`reads`] | reading the ledger back, exactly |
//! | [`concurrent`] | many writers at once |
//! | [`aggregates`] | projections, buckets, members |
//! | [`among`] | asking for many at once |
//! | [`catalog`] | tenants, customers, subscriptions, price books, meters |
//! | [`documents`] | documents, accounts that never go below zero, settings |
//! | [`invoices`] | drafts, finalization, numbers |
//! | [`runs`] | invoice runs and their items |
//! | [`jobs`] | jobs, their runs and items |
//! | [`leases`] | leases, and writes that depend on one |
//! | [`alerts`] | alerts that fire once and are told of once |
//! | [`outbox`] | effects that are spread, claimed, attempted and delivered |
//! | [`journal`] | facts, and commits that take effect together or not at all |
//! | [`tenants`] | isolation |
//!
//! Each function takes a store and works under a tenant of its own, so a backend may run all of
//! them against one database. A broken promise panics with what was expected.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test suite: a broken promise panics")]

pub mod access;
pub mod aggregates;
pub mod alerts;
pub mod among;
pub mod append;
pub mod archive;
pub mod catalog;
pub mod concurrent;
pub mod corrections;
pub mod documents;
pub mod invoices;
pub mod jobs;
pub mod journal;
pub mod leases;
pub mod outbox;
pub mod reads;
pub mod runs;
mod support;
pub mod tenants;
