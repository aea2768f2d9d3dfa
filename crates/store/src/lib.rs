//! Storage ports: one trait per noun. Backends live in `store-sqlite` and `store-postgres`.
//!
//! | port | noun | guarantees it gives |
//! |---|---|---|
//! | [`LedgerStore`] | usage events | dedupe, order and receipts in one transaction |
//! | [`AggregateStore`] | aggregates | buckets and watermark move together, or not at all |
//! | [`ArchiveStore`] | archived usage events | seals and keys stay, content goes and comes back |
//! | [`CatalogStore`] | tenants, customers, subscriptions, price books, meters | reads of what was committed |
//! | [`InvoiceStore`] | invoices | drafts replaceable, finalized ones immutable, numbers gap-free |
//! | [`RunStore`] | invoice runs | items with their status |
//! | [`JournalStore`] | billing facts | append-only, contiguous |
//! | [`DocumentStore`] | documents, accounts, settings | documents immutable, accounts never below zero |
//! | [`AccessStore`] | API keys, claims, the audit log | a claim is written with its effect; the log is append-only |
//! | [`JobStore`] | jobs, their runs and items | a run exists once per time it is due; written under a lease |
//! | [`LeaseStore`] | leases | one holder at a time, a greater token for each |
//! | [`AlertStore`] | alerts that fired | each once; told of by one effect |
//! | [`OutboxStore`] | effects, deliveries, attempts | claimed by one at a time, every attempt kept, order per aggregate |
//!
//! [`ArchiveFiles`] and [`AnchorStore`] are ports to files beside the store.
//!
//! All writes other than ledger appends and projections go through one door,
//! [`Store::commit`]: a [`Commit`] is a list of facts and changes that take effect together.
//!
//! To add a backend: implement the traits, map driver errors to [`StoreError`], run
//! [`contract`] (feature `testing`) against it. To add a noun: a trait here, a section in the
//! contract, then the backends.
//!
//! Architecture invariant: no SQL and no driver types here; a backend decides how, this crate what.

pub mod access;
pub mod aggregate;
pub mod alert;
pub mod archive;
pub mod catalog;
pub mod commit;
#[cfg(feature = "testing")]
pub mod contract;
pub mod document;
pub mod error;
#[cfg(feature = "testing")]
pub mod faults;
pub mod files;
pub mod hours;
pub mod invoice;
pub mod job;
pub mod journal;
pub mod lease;
pub mod ledger;
pub mod outbox;
pub mod run;
pub mod stripe;

use async_trait::async_trait;
use counterfoil_types::{TenantId, Timestamp};

pub use access::{AccessStore, ApiKey, AuditEntry, Claim, RecordedAudit};
pub use aggregate::{
    AggregateStore, Bucket, MemberDelta, Projection, TouchWanted, UsageRead, UsageWanted,
};
pub use alert::{Alert, AlertFilter, AlertState, AlertStore, Fired};
pub use archive::{ArchiveRecord, ArchiveState, ArchiveStore, Known, Manifest, Seal};
pub use catalog::{BookRow, CatalogStore, MeterRow, Tenant};
pub use commit::{Commit, Write};
pub use document::{
    Account, AccountFilter, Document, DocumentFilter, DocumentStore, Posting, RecordedPosting,
};
pub use error::StoreError;
pub use files::{Anchor, AnchorStore, ArchiveFiles, FileError, LaneAnchor};
pub use invoice::{InvoiceFilter, InvoiceStore, InvoiceSummary};
pub use job::{JobFilter, JobItem, JobPause, JobRow, JobRun, JobState, JobStore};
pub use journal::{Fact, JournalStore, RecordedFact};
pub use lease::{Fence, Lease, LeaseStore};
pub use ledger::{LaneHead, LedgerStore, Pending, Seen};
pub use outbox::{
    Attempt, AttemptOutcome, Delivery, DeliveryFilter, DeliveryState, Effect, Next, OutboxStore,
    Route,
};
pub use run::RunStore;

/// Something `doctor` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether billing is in danger; otherwise it is good to know.
    pub grave: bool,
    /// What is found, and what to do.
    pub text: String,
}

impl Finding {
    /// Billing is in danger.
    pub fn grave(text: impl Into<String>) -> Self {
        Self { grave: true, text: text.into() }
    }

    /// Good to know.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { grave: false, text: text.into() }
    }
}

/// Everything a backend offers.
#[async_trait]
pub trait Store:
    LedgerStore
    + AggregateStore
    + ArchiveStore
    + CatalogStore
    + InvoiceStore
    + RunStore
    + JournalStore
    + DocumentStore
    + AccessStore
    + LeaseStore
    + OutboxStore
    + AlertStore
    + JobStore
{
    /// Makes the changes and records the facts of `commit` together, or none of them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when something in the way shows that the caller decided on stale
    /// data; [`StoreError::LeaseLost`] when its fence does not hold; other errors as the backend has
    /// them. An error other than `Conflict` leaves unknown
    /// whether the commit took effect: every [`Write`] may be repeated.
    async fn commit(&self, tenant: &TenantId, commit: &Commit) -> Result<(), StoreError>;

    /// What is wrong with the store or how it is set up, for `doctor`. `now` is this program's time.
    async fn examine(&self, now: Timestamp) -> Result<Vec<Finding>, StoreError>;

    /// A few words on what the store is and where, for `doctor`.
    async fn describe(&self) -> Result<Vec<(String, String)>, StoreError>;
}
