//! Use-cases over the storage ports: what Counterfoil does, without knowing where it stores it or
//! who asked.
//!
//! | file | use-case |
//! |---|---|
//! | [`ingest`] | events into the ledger, with receipts |
//! | [`project`] | ledger into aggregates, incrementally |
//! | [`usage`] | exact usage of a customer in any period, tail included |
//! | [`accounts`], [`books`] | customers, subscriptions, price books |
//! | [`draft`] | one invoice, from usage and price book |
//! | [`run`] | the invoice run |
//! | [`report`] | used, included, remaining, cost so far |
//! | [`backtest`] | real history under another price book |
//! | [`unbilled`] | accepted but not billed, and why |
//! | [`rebuild`], [`verify`] | projections from facts; proofs that all agree |
//!
//! Architecture invariant: no SQL, no adapter, no wall clock. Time comes from the [`Clock`] the
//! composition root passes in.

pub mod accounts;
pub mod backtest;
pub mod books;
pub mod draft;
pub mod error;
pub mod ingest;
pub mod project;
pub mod rebuild;
pub mod report;
pub mod run;
pub mod unbilled;
pub mod usage;
pub mod verify;

use std::sync::Arc;

use counterfoil_store::{Store, Tenant};
use counterfoil_types::{Clock, TenantId, Timestamp};

pub use books::Books;
pub use error::EngineError;

/// Engine of one tenant.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: Tenant,
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
        Ok(Self { store, clock, tenant })
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

    /// Now, by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
