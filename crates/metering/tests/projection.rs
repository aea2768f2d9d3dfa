//! The projector's incremental states equal the fold over the same events, whatever the order,
//! the chunks and the corrections.

#![cfg(test)]

use std::collections::{BTreeMap, HashMap};

use counterfoil_ledger::{
    Correction, CorrectionKind, Event, LaneId, Scalar, StoredEvent, effective_as_of, standing,
};
use counterfoil_metering::{
    Aggregation, BucketKey, ChunkDelta, Level, Meter, MeterIndex, MeterSpec, State, fold,
};
use counterfoil_types::{
    CustomerId, Digest, MeterKey, Period, Quantity, Timestamp, timestamp::HOUR_MICROS,
};
use proptest::prelude::*;

const ALL: [Aggregation; 9] = [
    Aggregation::Count,
    Aggregation::Sum,
    Aggregation::Max,
    Aggregation::Min,
    Aggregation::Average,
    Aggregation::Latest,
    Aggregation::UniqueCount,
    Aggregation::TimeWeightedSum,
    Aggregation::TimeWeightedLevel,
];

fn meter(aggregation: Aggregation) -> Meter {
    let spec = MeterSpec {
        key: MeterKey::new(format!("{aggregation:?}")).unwrap(),
        name: None,
        event_type: "t".to_owned(),
        aggregation,
        value: (aggregation == Aggregation::UniqueCount).then(|| "user".to_owned()),
        filters: Vec::new(),
        group_by: vec!["g".to_owned()],
        unit: None,
        multiply: None,
        divide: None,
        decimals: None,
        rounding: None,
        per: None,
    };
    Meter::try_from(&spec).unwrap()
}

#[derive(Clone, Debug)]
struct Step {
    minute: i64,
    quantity: i32,
    user: u8,
    group: u8,
    correct: Option<(prop::sample::Index, bool)>,
}

fn step() -> impl Strategy<Value = Step> {
    (
        0i64..60 * 5,
        -50i32..50,
        0u8..4,
        0u8..2,
        prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<bool>())),
    )
        .prop_map(|(minute, quantity, user, group, correct)| Step {
            minute,
            quantity,
            user,
            group,
            correct,
        })
}

/// Turns steps into ledger rows; a correction aims at some standing original.
fn rows(steps: &[Step]) -> Vec<StoredEvent> {
    let mut rows: Vec<StoredEvent> = Vec::new();
    let mut reversed = Vec::new();
    for (step, position) in steps.iter().zip(1u64..) {
        let originals: Vec<u64> = rows
            .iter()
            .filter(|row| row.event.correction.is_none() && !reversed.contains(&row.position))
            .map(|row| row.position)
            .collect();
        let target = match &step.correct {
            Some((index, reverse)) if !originals.is_empty() => {
                Some((originals[index.index(originals.len())], *reverse))
            }
            _ => None,
        };
        if let Some((target, true)) = target {
            reversed.push(target);
        }
        rows.push(StoredEvent {
            lane: LaneId(1),
            position,
            recorded_at: Timestamp::from_micros(0),
            target_position: target.map(|(target, _)| target),
            leaf: Digest::of(b""),
            event: Event {
                id: position.to_string(),
                source: "s".to_owned(),
                customer: CustomerId::new("c").unwrap(),
                event_type: "t".to_owned(),
                time: Some(Timestamp::from_micros(step.minute * 60_000_000)),
                quantity: step.quantity.to_string().parse::<Quantity>().unwrap(),
                unit: None,
                properties: BTreeMap::from([
                    ("user".to_owned(), Scalar::Text(step.user.to_string())),
                    ("g".to_owned(), Scalar::Text(step.group.to_string())),
                ]),
                subject: None,
                resource: None,
                user: None,
                correction: target.map(|(target, reverse)| Correction {
                    kind: if reverse { CorrectionKind::Reverses } else { CorrectionKind::Amends },
                    target: target.to_string(),
                }),
            },
        });
    }
    rows
}

fn hour(start: Timestamp) -> Period {
    Period::new(start, start.plus_micros(HOUR_MICROS))
}

/// A projector over memory: the same steps the engine takes over a store.
fn project(meters: &MeterIndex, rows: &[StoredEvent], chunk: usize) -> HashMap<BucketKey, State> {
    let mut stored: HashMap<BucketKey, State> = HashMap::new();
    let mut done = 0;
    while done < rows.len() {
        let upto = (done + chunk).min(rows.len());
        let mut delta = ChunkDelta::default();
        for row in &rows[done..upto] {
            match row.target_position {
                None => delta.added(meters, &row.event, row.time(), row.position),
                Some(target) => {
                    let original = &rows[usize::try_from(target).unwrap() - 1];
                    let corrections =
                        || rows.iter().filter(|other| other.target_position == Some(target));
                    let before = effective_as_of(original, corrections(), row.position - 1);
                    let after = effective_as_of(original, corrections(), row.position);
                    delta.corrected(meters, before.as_ref(), after.as_ref(), row.position);
                }
            }
        }
        for (key, delta) in delta.buckets {
            let merged = match (stored.get(&key).cloned(), delta.state) {
                (Some(mut state), Some(more)) if !delta.refold => {
                    state.merge(&more).is_ok().then_some(state)
                }
                (None, Some(more)) if !delta.refold => Some(more),
                _ => None,
            };
            let state = merged.or_else(|| {
                let as_of = u64::try_from(upto).unwrap();
                let events = standing(&rows[..upto], as_of);
                let meter = meters.get(&key.meter).unwrap();
                fold(meter, &events, &hour(key.start)).remove(&key.group)
            });
            match state {
                Some(state) => stored.insert(key, state),
                None => stored.remove(&key),
            };
        }
        done = upto;
    }
    stored.retain(|_, state| state.events() != 0);
    stored
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn projection_equals_fold(
        steps in proptest::collection::vec(step(), 0..40),
        chunk in 1usize..12,
    ) {
        let rows = rows(&steps);
        let meters: Vec<Meter> = ALL.into_iter().map(meter).collect();
        let index = MeterIndex::new(meters.clone(), false);
        let projected = project(&index, &rows, chunk);
        let events = standing(&rows, u64::MAX);
        let mut expected = HashMap::new();
        for meter in &meters {
            for number in 0..5 {
                let start = Timestamp::from_micros(number * HOUR_MICROS);
                for (group, state) in fold(meter, &events, &hour(start)) {
                    let key = BucketKey {
                        customer: CustomerId::new("c").unwrap(),
                        meter: meter.key.clone(), group, level: Level::Hour, start,
                    };
                    expected.insert(key, state);
                }
            }
        }
        prop_assert_eq!(projected, expected);
    }

    #[test]
    fn any_arrival_order_gives_the_same_value(
        mut steps in proptest::collection::vec(step(), 0..25),
        seed in any::<u64>(),
    ) {
        // Without corrections and with distinct times, order of arrival must not matter.
        for (step, minute) in steps.iter_mut().zip(0..) {
            step.correct = None;
            step.minute = minute * 7;
        }
        let forward = standing(&rows(&steps), u64::MAX);
        let count = steps.len().max(1);
        steps.rotate_left(usize::try_from(seed % 1000).unwrap() % count);
        steps.reverse();
        let backward = standing(&rows(&steps), u64::MAX);
        let period = Period::new(Timestamp::from_micros(0), Timestamp::from_micros(10 * HOUR_MICROS));
        for meter in ALL.into_iter().map(meter) {
            let value = |events: &[counterfoil_ledger::Effective]| {
                fold(&meter, events, &period).into_iter().map(|(group, state)| {
                    let members = match &state {
                        State::Unique { members, .. } => members.len() as u64,
                        _ => 0,
                    };
                    let usage = counterfoil_metering::PeriodUsage {
                        inside: Some(state), opening: None, members,
                    };
                    (group, counterfoil_metering::value_of(&meter, &usage, &period).unwrap())
                }).collect::<Vec<_>>()
            };
            prop_assert_eq!(value(&forward), value(&backward));
        }
    }
}
