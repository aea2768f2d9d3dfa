//! The invoice runs port.

use async_trait::async_trait;
use counterfoil_invoicing::{ItemStatus, Run, RunItem, cycle::CycleNumber};
use counterfoil_types::{RunId, SubscriptionId, TenantId};

use crate::error::StoreError;

/// Reading invoice runs.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// A run.
    async fn run(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Run>, StoreError>;

    /// All runs, oldest first.
    async fn runs(&self, tenant: &TenantId) -> Result<Vec<Run>, StoreError>;

    /// One item of a run.
    async fn run_item(
        &self,
        tenant: &TenantId,
        run: &RunId,
        subscription: &SubscriptionId,
        cycle: CycleNumber,
    ) -> Result<Option<RunItem>, StoreError>;

    /// Items of a run in order of (subscription, cycle) after `after`, at most `limit`; with one
    /// of `statuses` only, unless that is empty.
    async fn run_items(
        &self,
        tenant: &TenantId,
        run: &RunId,
        statuses: &[ItemStatus],
        after: Option<&(SubscriptionId, CycleNumber)>,
        limit: u32,
    ) -> Result<Vec<RunItem>, StoreError>;
}
