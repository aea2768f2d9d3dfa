//! The oracle: usage computed from effective events alone, no stored state involved.

use std::collections::BTreeMap;

use counterfoil_ledger::Effective;
use counterfoil_types::Period;

use crate::{
    group::GroupKey,
    measure::{Measurement, measure},
    meter::Meter,
    state::State,
};

/// Folds the events inside `period` into one state per group.
#[must_use]
pub fn fold<'a>(
    meter: &Meter,
    events: impl IntoIterator<Item = &'a Effective>,
    period: &Period,
) -> BTreeMap<GroupKey, State> {
    let mut measured = Vec::new();
    for event in events.into_iter().filter(|event| period.contains(event.time)) {
        if let Measurement::Value { group, value } = measure(meter, &event.event) {
            measured.push((event.time, event.position, group, value));
        }
    }
    // In order of time every merge is an append, so none can need a refold.
    measured.sort_by_key(|(time, position, ..)| (*time, *position));
    let mut states: BTreeMap<GroupKey, State> = BTreeMap::new();
    for (time, position, group, value) in measured {
        let single = State::single(meter.aggregation, &value, time, position);
        match states.get_mut(&group) {
            Some(state) => {
                let merged = state.merge(&single);
                debug_assert!(merged.is_ok(), "events in order always merge");
            }
            None => {
                states.insert(group, single);
            }
        }
    }
    states
}
