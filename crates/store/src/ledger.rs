//! The ledger port.

use async_trait::async_trait;
use counterfoil_ledger::{Event, LaneId, Receipt, StoredEvent, body, content_hash, key_hash};
use counterfoil_types::{CustomerId, Digest, TenantId, Timestamp};

use crate::{catalog::Tenant, error::StoreError};

/// An event on its way into the ledger, hashed and sorted into its lane.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The lane of its customer.
    pub lane: LaneId,
    /// Its identity.
    pub key: Digest,
    /// Hash of its content.
    pub content: Digest,
    /// The event.
    pub event: Event,
    /// Its quantity as stored text.
    pub quantity: String,
    /// Its optional parts as stored (see `counterfoil_ledger::body`).
    pub body: Option<String>,
}

impl Pending {
    /// Prepares an event for `tenant`.
    #[must_use]
    pub fn new(tenant: &Tenant, event: Event) -> Self {
        Self {
            lane: tenant.lane_of(&event.customer),
            key: key_hash(&tenant.id, &event.source, &event.id),
            content: content_hash(&tenant.id, &event),
            quantity: event.quantity.to_string(),
            body: body::encode(&event),
            event,
        }
    }
}

/// How far a lane reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneHead {
    /// The lane.
    pub lane: LaneId,
    /// Its last position; 0 when empty.
    pub position: u64,
    /// When its last row was recorded.
    pub recorded_at: Timestamp,
}

/// How much of a customer's usage a caller looked at before it decided to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The customer.
    pub customer: CustomerId,
    /// Its lane.
    pub lane: LaneId,
    /// Rows of the lane up to this position were looked at.
    pub position: u64,
}

impl Seen {
    /// Most rows of the lane that are looked through for one of the customer's.
    pub const MOST: u64 = 2_000;
}

/// Appending to and reading from the ledger.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Appends a batch in one transaction and gives each event its receipt, in order.
    ///
    /// Positions are contiguous per lane and follow the order of the batch; `recorded_at` is
    /// `now`, or the lane's last recorded time where that is later. An event whose key is taken
    /// gets `Duplicate` or `Conflict` with the first position, also within the batch. A correction
    /// is checked against the event it names under the same transaction.
    ///
    /// # Errors
    /// As the backend has them; then it is unknown whether the batch took effect, and sending it
    /// again is safe.
    async fn append(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
    ) -> Result<Vec<Receipt>, StoreError>;

    /// As [`LedgerStore::append`], but an event of a customer that is named in `seen` is appended
    /// only if no row of that customer came after what was seen: that is checked under the lock of
    /// its lane. `None` for each event of a customer of which one did, or that was looked at more
    /// than [`Seen::MOST`] rows ago. Customers that are not named are appended as they are.
    async fn append_after(
        &self,
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
        seen: &[Seen],
    ) -> Result<Vec<Option<Receipt>>, StoreError>;

    /// The heads of all lanes of a tenant, in lane order.
    async fn heads(&self, tenant: &Tenant) -> Result<Vec<LaneHead>, StoreError>;

    /// Rows of a lane with `after < position ≤ upto`, in order, at most `limit`; of one customer
    /// only, when given.
    async fn read(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
        customer: Option<&CustomerId>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// The row at each of these positions that exists, in order.
    async fn rows_at(
        &self,
        lane: LaneId,
        positions: &[u64],
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// All corrections of events at positions `first..=last`, in order of their own position.
    async fn corrections_of(
        &self,
        lane: LaneId,
        first: u64,
        last: u64,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// The event with this identity.
    async fn find(
        &self,
        tenant: &TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<StoredEvent>, StoreError>;

    /// The customers of the rows of a lane after position `after` up to `upto`, each once, in order
    /// of id; archived rows included.
    async fn customers_between(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
    ) -> Result<Vec<CustomerId>, StoreError>;
}
