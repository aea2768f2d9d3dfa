//! The shipped sample is the generator's, and the ledger can read every line of it.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_ledger::{
    Event,
    decode::{Defaults, decode_json},
};

use super::{customers, make, pack, unpack};

fn events(usage: &str) -> Vec<Event> {
    usage
        .lines()
        .map(|line| decode_json(line.as_bytes(), &Defaults::default()).expect(line))
        .collect()
}

#[test]
fn the_shipped_sample_is_what_the_generator_writes() {
    super::check(&crate::repository().join("sample")).unwrap();
}

#[test]
fn packing_gives_the_same_bytes_and_they_unpack() {
    let usage = make().unwrap().usage;
    let packed = pack(&usage).unwrap();
    assert_eq!(packed, pack(&make().unwrap().usage).unwrap());
    assert!(packed.len() <= 450_000, "{} bytes are too many to ship", packed.len());
    assert_eq!(unpack(&packed).unwrap(), usage);
}

#[test]
fn every_line_is_an_event_and_the_odd_ones_are_counted() {
    let sample = make().unwrap();
    let events = events(&sample.usage);
    let known: BTreeSet<&str> = customers::ALL.iter().map(|customer| customer.id).collect();
    let mut seen: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
    let (mut duplicates, mut conflicts, mut strangers) = (0, 0, 0);
    for event in &events {
        strangers += usize::from(!known.contains(event.customer.as_str()));
        let key = (event.source.as_str(), event.id.as_str());
        match seen.get(&key) {
            Some(first) if *first == event => duplicates += 1,
            Some(_) => conflicts += 1,
            None => {
                if let Some(correction) = &event.correction {
                    let target = seen[&(event.source.as_str(), correction.target.as_str())];
                    assert_eq!(target.customer, event.customer);
                    assert_eq!(target.event_type, event.event_type);
                    assert!(target.correction.is_none());
                }
                seen.insert(key, event);
            }
        }
    }
    assert_eq!(duplicates, sample.oddities.duplicates);
    assert_eq!(conflicts, sample.oddities.conflicts);
    assert_eq!(strangers, sample.oddities.unknown_customer);

    let (in_time, late) = events.split_at(events.len() - sample.oddities.late);
    let end = in_time.iter().filter_map(|event| event.time).max().unwrap();
    let days = 20 * counterfoil_types::timestamp::DAY_MICROS;
    assert!(late.iter().all(|event| event.time.unwrap() < end.plus_micros(-days)));
}

#[test]
fn usage_keeps_to_the_local_month_of_its_customer() {
    let sample = make().unwrap();
    for event in events(&sample.usage) {
        let Some(customer) = customers::ALL.iter().find(|c| c.id == event.customer.as_str()) else {
            continue;
        };
        let zone: counterfoil_types::Zone = customer.zone.parse().unwrap();
        let local = zone.civil(event.time.unwrap()).unwrap();
        assert_eq!((local.year(), local.month()), (2026, 10), "{event:?}");
    }
}
