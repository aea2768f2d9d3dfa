//! An event with its place in the ledger.

use counterfoil_types::{Digest, TenantId, Timestamp};

use crate::{
    canonical::{content_hash, leaf_hash},
    event::Event,
    lane::LaneId,
};

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The lane it lies in.
    pub lane: LaneId,
    /// Its position there, from 1 without gaps.
    pub position: u64,
    /// When the ledger took it; never decreases within a lane.
    pub recorded_at: Timestamp,
    /// Position of the corrected event, for corrections.
    pub target_position: Option<u64>,
    /// What the producer said.
    pub event: Event,
    /// The seal.
    pub leaf: Digest,
}

impl StoredEvent {
    /// When the usage happened: the producer's word, else when the ledger took it.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.event.time.unwrap_or(self.recorded_at)
    }

    /// Whether the row still is what was sealed.
    #[must_use]
    pub fn seal_holds(&self, tenant: &TenantId) -> bool {
        let content = content_hash(tenant, &self.event);
        leaf_hash(tenant, self.lane, self.position, self.recorded_at, &content) == self.leaf
    }
}
