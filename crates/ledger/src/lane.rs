//! Lanes: the parts a tenant's ledger is split in. A customer always lives in one lane, so its
//! events are serial there.

use counterfoil_types::{CanonicalWriter, CustomerId};

/// Most lanes a tenant may have.
pub const MAX_LANES: u16 = 64;
/// Lanes of a tenant unless it asks otherwise (see docs/adr/0003-lanes.md).
pub const DEFAULT_LANES: u16 = 8;

/// A lane of one tenant, unique in the whole store: tenant number × 64 + lane number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub i64);

impl LaneId {
    /// Lane `lane` of the tenant with this number.
    #[must_use]
    pub fn new(tenant_number: i64, lane: u16) -> Self {
        Self(tenant_number * i64::from(MAX_LANES) + i64::from(lane))
    }
}

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The lane a customer belongs to: the first eight bytes of a SHA-256 of its id, modulo the
/// number of lanes. Fixed for ever, whatever the platform.
#[must_use]
pub fn lane_of(customer: &CustomerId, lanes: u16) -> u16 {
    let mut writer = CanonicalWriter::new("lane", 1);
    writer.str(customer.as_str());
    let head =
        writer.digest().0.iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    u16::try_from(head % u64::from(lanes.max(1))).unwrap_or(0)
}
