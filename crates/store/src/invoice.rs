//! The invoices port.

use async_trait::async_trait;
use counterfoil_invoicing::{Invoice, InvoiceState, cycle::CycleNumber};
use counterfoil_types::{CustomerId, InvoiceId, Money, SubscriptionId, TenantId, Timestamp};
use serde::Serialize;

use crate::error::StoreError;

/// Which invoices to list.
#[derive(Clone, Debug, Default)]
pub struct InvoiceFilter {
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// Of this subscription only.
    pub subscription: Option<SubscriptionId>,
    /// In this state only.
    pub state: Option<InvoiceState>,
}

/// An invoice without its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct InvoiceSummary {
    /// Id.
    pub id: InvoiceId,
    /// Number.
    pub number: Option<String>,
    /// State.
    pub state: InvoiceState,
    /// Who pays.
    pub customer: CustomerId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The cycle.
    pub cycle: CycleNumber,
    /// The revision.
    pub revision: u32,
    /// 0, or the part of a cycle that was billed before it closed.
    pub part: u32,
    /// When the cycle fell due.
    pub due_cycle_at: Timestamp,
    /// Ledger watermark it was computed at.
    pub position: u64,
    /// Total.
    pub total: Money,
    /// When it was finalized.
    pub issued_at: Option<Timestamp>,
}

/// Reading invoices.
#[async_trait]
pub trait InvoiceStore: Send + Sync {
    /// An invoice by id.
    async fn invoice(
        &self,
        tenant: &TenantId,
        invoice: &InvoiceId,
    ) -> Result<Option<Invoice>, StoreError>;

    /// An invoice by number.
    async fn invoice_numbered(
        &self,
        tenant: &TenantId,
        number: &str,
    ) -> Result<Option<Invoice>, StoreError>;

    /// All invoices of a subscription, drafts included, by cycle, revision and part.
    async fn invoices_of(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
    ) -> Result<Vec<Invoice>, StoreError>;

    /// Summaries of the invoices of a subscription for one cycle, by revision and part.
    async fn cycle_summaries(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
        cycle: CycleNumber,
    ) -> Result<Vec<InvoiceSummary>, StoreError>;

    /// Summaries of the invoices of these cycles, by subscription, cycle, revision and part.
    async fn summaries_among(
        &self,
        tenant: &TenantId,
        cycles: &[(SubscriptionId, CycleNumber)],
    ) -> Result<Vec<InvoiceSummary>, StoreError>;

    /// Summaries in order of due time, then id, after `after`, at most `limit`.
    async fn invoices(
        &self,
        tenant: &TenantId,
        filter: &InvoiceFilter,
        after: Option<(Timestamp, InvoiceId)>,
        limit: u32,
    ) -> Result<Vec<InvoiceSummary>, StoreError>;
}
