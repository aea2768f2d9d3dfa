//! The oracle: usage computed from effective events alone, no stored state involved.

use std::collections::{BTreeMap, HashMap};

use counterfoil_ledger::{Effective, Event};
use counterfoil_types::{Period, Timestamp};

use crate::{
    bucket::BucketKey,
    group::GroupKey,
    measure::{Measured, Measurement, measure},
    meter::{Aggregation, Meter},
    project::MeterIndex,
    state::State,
};

/// A value with its place, waiting to be put in order.
type Placed = (Timestamp, u64, Measured);

/// Folds values in order of time, where every merge is an append and none can fail.
fn fold_in_order(aggregation: Aggregation, mut values: Vec<Placed>) -> Option<State> {
    values.sort_by_key(|(time, position, _)| (*time, *position));
    let mut folded: Option<State> = None;
    for (time, position, value) in values {
        let single = State::single(aggregation, &value, time, position);
        match &mut folded {
            Some(state) => {
                let merged = state.merge(&single);
                debug_assert!(merged.is_ok(), "values in order always merge");
            }
            None => folded = Some(single),
        }
    }
    folded
}

/// Folds the events inside `period` into one state per group.
#[must_use]
pub fn fold<'a>(
    meter: &Meter,
    events: impl IntoIterator<Item = &'a Effective>,
    period: &Period,
) -> BTreeMap<GroupKey, State> {
    let mut measured: BTreeMap<GroupKey, Vec<Placed>> = BTreeMap::new();
    for event in events.into_iter().filter(|event| period.contains(event.time)) {
        if let Measurement::Value { group, value } = measure(meter, &event.event) {
            measured.entry(group).or_default().push((event.time, event.position, value));
        }
    }
    measured
        .into_iter()
        .filter_map(|(group, values)| Some((group, fold_in_order(meter.aggregation, values)?)))
        .collect()
}

/// Folds a whole lane into hour buckets, event by event, for checking what is stored. Sums are
/// kept as sums; values whose order matters wait until the end.
#[derive(Debug, Default)]
pub struct LaneFold {
    sums: HashMap<BucketKey, State>,
    ordered: HashMap<BucketKey, (Aggregation, Vec<Placed>)>,
}

impl LaneFold {
    /// Adds a standing event.
    pub fn push(&mut self, meters: &MeterIndex, event: &Event, time: Timestamp, position: u64) {
        meters.each(event, time, |key, aggregation, value| {
            if aggregation == Aggregation::TimeWeightedLevel {
                let (_, values) =
                    self.ordered.entry(key).or_insert_with(|| (aggregation, Vec::new()));
                values.push((time, position, value));
                return;
            }
            let single = State::single(aggregation, &value, time, position);
            match self.sums.get_mut(&key) {
                Some(state) => {
                    let merged = state.merge(&single);
                    debug_assert!(merged.is_ok(), "only stated levels depend on order");
                }
                None => {
                    self.sums.insert(key, single);
                }
            }
        });
    }

    /// The buckets.
    #[must_use]
    pub fn finish(self) -> HashMap<BucketKey, State> {
        let mut buckets = self.sums;
        for (key, (aggregation, values)) in self.ordered {
            if let Some(state) = fold_in_order(aggregation, values) {
                buckets.insert(key, state);
            }
        }
        buckets
    }
}
