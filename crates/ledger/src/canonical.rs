//! Canonical form of events and the three hashes made from it:
//!
//! | hash | over | used for |
//! |---|---|---|
//! | key | tenant, source, id | dedupe, for ever |
//! | content | tenant and all the producer said | telling `duplicate` from `conflict` |
//! | leaf | 0x00, tenant, lane, position, recorded time, content hash | the row's seal; leaf of the Merkle log (RFC 9162) |
//!
//! Numbers enter as canonical text (1.10 and 1.1 are the same quantity), absent and empty text
//! differ, and every field carries its length.

use counterfoil_types::{CanonicalWriter, Digest, TenantId, Timestamp};

use crate::{
    event::{CorrectionKind, Event, Scalar},
    lane::LaneId,
};

/// Identity of an event within its tenant.
#[must_use]
pub fn key_hash(tenant: &TenantId, source: &str, id: &str) -> Digest {
    let mut writer = CanonicalWriter::new("key", 1);
    writer.str(tenant.as_str()).str(source).str(id);
    writer.digest()
}

/// Hash of all a producer said in an event.
#[must_use]
pub fn content_hash(tenant: &TenantId, event: &Event) -> Digest {
    let mut writer = CanonicalWriter::new("event", 1);
    writer
        .str(tenant.as_str())
        .str(&event.source)
        .str(&event.id)
        .str(event.customer.as_str())
        .str(&event.event_type);
    match event.time {
        Some(time) => writer.u8(1).i64(time.micros()),
        None => writer.u8(0),
    };
    writer.str(&event.quantity.to_string()).opt_str(event.unit.as_deref());
    writer.u64(event.properties.len() as u64);
    for (name, value) in &event.properties {
        writer.str(name);
        match value {
            Scalar::Text(text) => writer.u8(b't').str(text),
            Scalar::Number(number) => writer.u8(b'n').str(&number.to_string()),
            Scalar::Bool(flag) => writer.u8(b'b').u8(u8::from(*flag)),
        };
    }
    writer
        .opt_str(event.subject.as_deref())
        .opt_str(event.resource.as_deref())
        .opt_str(event.user.as_deref());
    match &event.correction {
        None => writer.u8(0),
        Some(correction) => {
            let kind = match correction.kind {
                CorrectionKind::Reverses => 1,
                CorrectionKind::Amends => 2,
            };
            writer.u8(kind).str(&correction.target)
        }
    };
    writer.digest()
}

/// The seal of a stored row.
#[must_use]
pub fn leaf_hash(
    tenant: &TenantId,
    lane: LaneId,
    position: u64,
    recorded_at: Timestamp,
    content: &Digest,
) -> Digest {
    let mut writer = CanonicalWriter::new("leaf", 1);
    writer
        .str(tenant.as_str())
        .i64(lane.0)
        .u64(position)
        .i64(recorded_at.micros())
        .bytes(&content.0);
    Digest::leaf(writer.as_bytes())
}
