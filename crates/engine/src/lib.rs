//! Use-cases over the storage ports: what Counterfoil does, without knowing where it stores it or
//! who asked.
//!
//! | file | use-case |
//! |---|---|
//! | [`ingest`] | events into the ledger, with receipts |
//! | [`events`], [`backfill`] | listing events, telling why one is (not) billed; loading history |
//! | [`project`], [`share`] | ledger into aggregates, incrementally; several projectors at once |
//! | [`usage`] | exact usage of a customer in any period, tail included |
//! | [`series`], [`analytics`] | usage over time, by property, by customer; by endpoint |
//! | [`entitlements`] | what plans give besides usage; retired price books |
//! | [`quotas`] | may this customer use more? checking and consuming |
//! | [`alerts`] | rules evaluated over usage, each alert once |
//! | [`keys`], [`origin`] | API keys; who asked, and once only |
//! | [`accounts`], [`books`] | customers, subscriptions, price books |
//! | [`contract`], [`contracts`] | what holds when; changing it |
//! | [`draft`], [`tax`] | one invoice, from usage, contract and price book |
//! | [`interim`] | billing inside a period |
//! | [`postings`] | accounts behind invoices: open, creditable, in credit, granted |
//! | [`payments`], [`credit_notes`], [`voiding`], [`overdue`] | what follows an invoice |
//! | [`grants`], [`statements`] | prepaid credits and units; one document for a parent and its children |
//! | [`test_clock`] | time frozen and advanced, in test mode |
//! | [`run`] | the invoice run |
//! | [`report`] | used, included, remaining, cost so far |
//! | [`backtest`] | real history under another price book |
//! | [`stripe`] | usage that Stripe is to hear of, each unit once |
//! | [`unbilled`] | accepted but not billed, and why |
//! | [`reports`] | the reports of finance |
//! | [`exports`] | events, lines, invoices, usage as rows for files |
//! | [`jobs`] | the scheduler: what is due is done, once, whoever crashes |
//! | [`archive`] | the content of old rows into files and back |
//! | [`recovery`] | a store that lies behind its anchor bills nothing |
//! | [`rebuild`], [`verify`] | projections from facts; proofs that all agree |
//!
//! Architecture invariant: no SQL, no adapter, no wall clock. Time comes from the [`Clock`] the
//! composition root passes in.

pub mod accounts;
pub mod alerts;

pub mod analytics;
pub mod archive;
pub mod backfill;
pub mod backtest;
pub mod books;
pub mod contract;
pub mod contracts;
pub mod credit_notes;
pub mod documents;
pub mod draft;
pub mod entitlements;
pub mod error;
pub mod events;
pub mod exports;
pub mod grants;
pub mod ingest;
pub mod interim;
pub mod jobs;
pub mod keys;
mod memory;
pub mod origin;
pub mod overdue;
pub mod payments;
pub mod postings;
pub mod project;
pub mod quotas;
pub mod rebuild;
pub mod recovery;
pub mod report;
pub mod reports;
pub mod run;
pub mod series;
pub mod share;
pub mod statements;
pub mod stripe;
pub mod tax;
pub mod test_clock;
pub mod unbilled;
pub mod usage;
pub mod verify;
pub mod voiding;

use std::sync::Arc;

use counterfoil_store::{Fence, Lease, Store, Tenant};
use counterfoil_types::{Clock, TenantId, Timestamp};

pub use books::Books;
pub use error::EngineError;

/// Engine of one tenant.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tax: Arc<dyn tax::TaxProvider>,
    pub(crate) clocks: test_clock::Clocks,
    pub(crate) memory: Arc<memory::Memory>,
    pub(crate) gate: Arc<quotas::Gate>,
    pub(crate) tallies: Arc<quotas::Tallies>,
    pub(crate) origin: Option<Arc<origin::Origin>>,
    pub(crate) tenant: Tenant,
    pub(crate) beside: Arc<archive::Beside>,
    pub(crate) fence: Option<Fence>,
}

impl Engine {
    /// Opens a tenant, creating it on first use with `lanes` lanes.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tenant: &TenantId,
        lanes: u16,
    ) -> Result<Self, EngineError> {
        let tenant = store.ensure_tenant(tenant, lanes).await?;
        let tax = Arc::new(tax::OwnRates);
        let clocks = test_clock::Clocks::default();
        let (memory, gate, tallies) = (Arc::default(), Arc::default(), Arc::default());
        let beside = Arc::default();
        let (origin, fence) = (None, None);
        Ok(Self { store, clock, tax, clocks, memory, gate, tallies, origin, tenant, beside, fence })
    }

    /// The same with another source of tax decisions.
    #[must_use]
    pub fn with_tax(self, tax: Arc<dyn tax::TaxProvider>) -> Self {
        Self { tax, ..self }
    }

    /// The same, but all it commits depends on a lease: once that has gone to another holder,
    /// nothing is written any more.
    #[must_use]
    pub fn under(&self, lease: &Lease) -> Self {
        Self { fence: Some(lease.fence()), ..self.clone() }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The store, for reads that need no use-case.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The store, for work that goes on beside the engine.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Now, by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clocks.tenant().unwrap_or_else(|| self.clock.now())
    }
}
