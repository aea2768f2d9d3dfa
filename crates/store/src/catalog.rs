//! The catalog port: tenants, customers, subscriptions, price books, meters.

use async_trait::async_trait;
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_ledger::{Guards, LaneId, lane_of};
use counterfoil_metering::MeterSpec;
use counterfoil_types::{BookRef, CustomerId, Digest, SubscriptionId, TenantId, Timestamp};

use crate::error::StoreError;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// Its number, unique in the store.
    pub number: i64,
    /// Lanes of its ledger, fixed at creation.
    pub lanes: u16,
    /// Its time guards.
    pub guards: Guards,
}

impl Tenant {
    /// The lane a customer's events lie in.
    #[must_use]
    pub fn lane_of(&self, customer: &CustomerId) -> LaneId {
        LaneId::new(self.number, lane_of(customer, self.lanes))
    }

    /// All its lanes.
    #[must_use]
    pub fn lane_ids(&self) -> Vec<LaneId> {
        (0..self.lanes).map(|lane| LaneId::new(self.number, lane)).collect()
    }
}

/// A published price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookRow {
    /// Name and version.
    pub reference: BookRef,
    /// Hash of its content.
    pub digest: Digest,
    /// First local day it may price a period that starts.
    pub effective_from: String,
    /// Its text as published.
    pub text: String,
    /// When it was published.
    pub published_at: Timestamp,
}

/// A registered meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterRow {
    /// Its definition.
    pub spec: MeterSpec,
    /// Hash of what it measures.
    pub definition: Digest,
}

/// Reading the catalog.
#[async_trait]
pub trait CatalogStore: Send + Sync {
    /// Creates a tenant if it does not exist; returns it as it is.
    async fn ensure_tenant(&self, tenant: &TenantId, lanes: u16) -> Result<Tenant, StoreError>;

    /// A tenant.
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, StoreError>;

    /// A customer.
    async fn customer(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
    ) -> Result<Option<Customer>, StoreError>;

    /// Customers in order of id after `after`, at most `limit`.
    async fn customers(
        &self,
        tenant: &TenantId,
        after: Option<&CustomerId>,
        limit: u32,
    ) -> Result<Vec<Customer>, StoreError>;

    /// Those of these customers that exist, in any order.
    async fn customers_named(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
    ) -> Result<Vec<Customer>, StoreError>;

    /// A subscription.
    async fn subscription(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Those of these subscriptions that exist, in any order.
    async fn subscriptions_named(
        &self,
        tenant: &TenantId,
        subscriptions: &[SubscriptionId],
    ) -> Result<Vec<Subscription>, StoreError>;

    /// Subscriptions in order of id after `after`, at most `limit`; of one customer only, when
    /// given.
    async fn subscriptions(
        &self,
        tenant: &TenantId,
        customer: Option<&CustomerId>,
        after: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// The subscriptions of these customers, in any order.
    async fn subscriptions_among(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
    ) -> Result<Vec<Subscription>, StoreError>;

    /// All published price books, in order of name, then effective date, then version.
    async fn books(&self, tenant: &TenantId) -> Result<Vec<BookRow>, StoreError>;

    /// All registered meters, in order of key.
    async fn meters(&self, tenant: &TenantId) -> Result<Vec<MeterRow>, StoreError>;
}
