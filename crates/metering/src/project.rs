//! What a chunk of the ledger changes: deltas per hour bucket, to be merged into what is stored.
//!
//! Appends become states to merge. Corrections take the old standing back and add the new one;
//! where a state cannot be taken back (max, min, latest, stated levels) the bucket is marked and
//! the engine folds it again from its events.

use std::collections::{BTreeMap, HashMap};

use counterfoil_ledger::{Effective, Event};
use counterfoil_types::{Exact, MeterKey, Timestamp, timestamp::HOUR_MICROS};

use crate::{
    bucket::{BucketKey, Level},
    group::GroupKey,
    measure::{Measured, Measurement, measure},
    meter::{Aggregation, EVENTS_METER, Meter, UNUSABLE_METER},
    state::State,
};

/// What the chunk does to one hour bucket.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Signed state to merge; meaningless when `refold` is set.
    pub state: Option<State>,
    /// The bucket must be folded again from its events.
    pub refold: bool,
    /// Least position of an original event seen in the bucket by this chunk.
    pub first: u64,
    /// Greatest position of an original event seen in the bucket by this chunk.
    pub last: u64,
    /// Greatest position of anything that touched it.
    pub touched: u64,
}

/// The deltas of a chunk, by hour bucket.
#[derive(Debug, Default)]
pub struct ChunkDelta {
    /// The deltas.
    pub buckets: HashMap<BucketKey, Delta>,
}

impl ChunkDelta {
    /// A new event counts.
    pub fn added(&mut self, meters: &MeterIndex, event: &Event, time: Timestamp, position: u64) {
        self.add(meters, event, time, position, position);
    }

    /// The correction at `position` replaced the standing `before` by `after` (`None`: it counts
    /// for nothing).
    pub fn corrected(
        &mut self,
        meters: &MeterIndex,
        before: Option<&Effective>,
        after: Option<&Effective>,
        position: u64,
    ) {
        if let Some(old) = before {
            meters.each(&old.event, old.time, |key, aggregation, value| {
                let single = State::single(aggregation, &value, old.time, old.position);
                self.put(key, old.position, position, single.inverse().ok(), true);
            });
        }
        if let Some(new) = after {
            self.add(meters, &new.event, new.time, new.position, position);
        }
    }

    fn add(
        &mut self,
        meters: &MeterIndex,
        event: &Event,
        time: Timestamp,
        position: u64,
        touched: u64,
    ) {
        let correction = touched != position;
        meters.each(event, time, |key, aggregation, value| {
            let state = State::single(aggregation, &value, time, position);
            self.put(key, position, touched, Some(state), correction);
        });
    }

    /// `correction`: the state stems from a correction, so a kind that has no inverse must be
    /// folded again.
    fn put(
        &mut self,
        key: BucketKey,
        position: u64,
        touched: u64,
        state: Option<State>,
        correction: bool,
    ) {
        let delta = self.buckets.entry(key).or_insert(Delta {
            state: None,
            refold: false,
            first: position,
            last: position,
            touched,
        });
        delta.first = delta.first.min(position);
        delta.last = delta.last.max(position);
        delta.touched = delta.touched.max(touched);
        let Some(state) = state else {
            delta.refold = true;
            return;
        };
        if correction && state.inverse().is_err() {
            delta.refold = true;
            return;
        }
        match &mut delta.state {
            Some(sum) => delta.refold |= sum.merge(&state).is_err(),
            None => delta.state = Some(state),
        }
    }
}

/// The group of an event type in the count of all events.
fn type_group(event_type: &str) -> GroupKey {
    GroupKey::of(&[Some(event_type.to_owned())])
}

/// Meters arranged by event type, so that an event meets only those that may want it.
#[derive(Debug)]
pub struct MeterIndex {
    by_type: BTreeMap<String, (GroupKey, Vec<Meter>)>,
    events: Option<MeterKey>,
    unusable: Option<MeterKey>,
}

impl MeterIndex {
    /// Arranges `meters`. `count_events` keeps the engine's count of all events as well; what a
    /// meter cannot use is always kept, since it belongs to that meter's own projection.
    #[must_use]
    pub fn new(meters: impl IntoIterator<Item = Meter>, count_events: bool) -> Self {
        let mut by_type: BTreeMap<String, (GroupKey, Vec<Meter>)> = BTreeMap::new();
        for meter in meters {
            let group = || (type_group(&meter.event_type), Vec::new());
            by_type.entry(meter.event_type.clone()).or_insert_with(group).1.push(meter);
        }
        let events = count_events.then(|| MeterKey::new(EVENTS_METER).ok()).flatten();
        Self { by_type, events, unusable: MeterKey::new(UNUSABLE_METER).ok() }
    }

    /// The meter with this key.
    #[must_use]
    pub fn get(&self, key: &MeterKey) -> Option<&Meter> {
        self.by_type.values().flat_map(|(_, meters)| meters).find(|meter| meter.key == *key)
    }

    /// Calls `take` for each bucket the event counts in.
    pub(crate) fn each(
        &self,
        event: &Event,
        time: Timestamp,
        mut take: impl FnMut(BucketKey, Aggregation, Measured),
    ) {
        let start = time.bucket(HOUR_MICROS);
        let key = |meter: &MeterKey, group: GroupKey| BucketKey {
            customer: event.customer.clone(),
            meter: meter.clone(),
            group,
            level: Level::Hour,
            start,
        };
        let one = || Measured::Number(Exact::ONE);
        let known = self.by_type.get(&event.event_type);
        if let Some(meter) = &self.events {
            let group = match known {
                Some((group, _)) => group.clone(),
                None => type_group(&event.event_type),
            };
            take(key(meter, group), Aggregation::Count, one());
        }
        for meter in known.into_iter().flat_map(|(_, meters)| meters) {
            match measure(meter, event) {
                Measurement::NotMine => {}
                Measurement::Value { group, value } => {
                    take(key(&meter.key, group), meter.aggregation, value);
                }
                Measurement::Unusable(reason) => {
                    if let Some(engine) = &self.unusable {
                        let group = GroupKey::of(&[
                            Some(event.event_type.clone()),
                            Some(meter.key.to_string()),
                            Some(reason.to_owned()),
                        ]);
                        take(key(engine, group), Aggregation::Count, one());
                    }
                }
            }
        }
    }
}
