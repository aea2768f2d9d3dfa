//! What an event counts for once its corrections are applied.

use std::collections::BTreeMap;

use counterfoil_types::{Quantity, Timestamp};

use crate::{
    event::{CorrectionKind, Event, Scalar},
    stored::StoredEvent,
};

/// The standing of an original event as of some position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Position of the original event.
    pub position: u64,
    /// When the usage happened.
    pub time: Timestamp,
    /// The original with quantity and properties as last amended.
    pub event: Event,
}

impl Effective {
    /// The original as it was recorded.
    #[must_use]
    pub fn original(row: &StoredEvent) -> Self {
        Self { position: row.position, time: row.time(), event: row.event.clone() }
    }

    fn amended(mut self, quantity: Quantity, properties: &BTreeMap<String, Scalar>) -> Self {
        self.event.quantity = quantity;
        self.event.properties = properties.clone();
        self
    }
}

/// Applies corrections (in position order, all naming `original`) up to and including position
/// `as_of`. `None`: the event is reversed and counts for nothing.
#[must_use]
pub fn effective_as_of<'a>(
    original: &StoredEvent,
    corrections: impl IntoIterator<Item = &'a StoredEvent>,
    as_of: u64,
) -> Option<Effective> {
    let mut standing = Some(Effective::original(original));
    for row in corrections.into_iter().filter(|row| row.position <= as_of) {
        standing = match row.event.correction.as_ref().map(|correction| correction.kind) {
            Some(CorrectionKind::Reverses) => None,
            Some(CorrectionKind::Amends) => {
                standing.map(|s| s.amended(row.event.quantity, &row.event.properties))
            }
            None => standing,
        };
    }
    standing
}

/// The standing of every original event among `rows` (position order) as of position `as_of`.
/// Corrections whose original is not among the rows are passed over: the caller chose the rows.
#[must_use]
pub fn standing(rows: &[StoredEvent], as_of: u64) -> Vec<Effective> {
    let mut corrections: BTreeMap<u64, Vec<&StoredEvent>> = BTreeMap::new();
    for row in rows {
        if let Some(target) = row.target_position {
            corrections.entry(target).or_default().push(row);
        }
    }
    rows.iter()
        .filter(|row| row.event.correction.is_none() && row.position <= as_of)
        .filter_map(|row| {
            let own = corrections.get(&row.position).into_iter().flatten().copied();
            effective_as_of(row, own, as_of)
        })
        .collect()
}
