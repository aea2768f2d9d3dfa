//! Two worlds get the same events; in one of them things are archived and restored at random. All
//! answers are the same.

use std::sync::Arc;

use counterfoil_archive::ArchiveDir;
use counterfoil_engine::{Engine, archive::ArchiveOptions, ingest::IngestOptions};
use counterfoil_ledger::{Event, Receipt, Reject};
use counterfoil_types::{Period, Timestamp, timestamp::DAY_MICROS};

use crate::{
    random::Random,
    world::{With, World, at, event, id},
};

const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[meter]]
key = "last"
event_type = "call"
aggregation = "latest"
value = "quantity"
[[meter]]
key = "users"
event_type = "call"
aggregation = "unique_count"
value = "user"
[[meter]]
key = "level"
event_type = "call"
aggregation = "time_weighted_level"
per = "day"
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "1"
"#;

const START: &str = "2026-06-01T00:00:00Z";
const CUSTOMERS: [&str; 3] = ["ann", "bob", "cat"];

fn moment(random: &mut Random, days: i64) -> Timestamp {
    at(START).plus_micros(random.below(days * 86_400) * 1_000_000)
}

/// An event of the first `day` days, or a correction of one before.
fn some_event(random: &mut Random, number: i64, day: i64) -> Event {
    let customer = random.pick(&CUSTOMERS);
    // Mostly of today, now and then of any day before.
    let today = at(START).plus_micros(day * DAY_MICROS);
    let time = match random.below(6) {
        0 => moment(random, day + 1),
        _ => today.plus_micros(random.below(86_400) * 1_000_000),
    };
    let user = format!("u{}", random.below(5));
    let plain = event(&format!("{customer}{number}"), customer, "call", time)
        .quantity(&random.below(90).to_string())
        .text("user", &user);
    let target = format!("{customer}{}", random.below(number.max(1)));
    match random.below(9) {
        0 => plain.amends(&target),
        1 => plain.reverses(&target),
        _ => plain,
    }
}

async fn answers(engine: &Engine, periods: &[Period]) -> Vec<String> {
    let books = engine.books().await.unwrap();
    let meters: Vec<_> = books.meters().values().collect();
    let mut told = Vec::new();
    for customer in CUSTOMERS {
        for period in periods {
            let usage = engine.usage(&id(customer), *period, &meters).await.unwrap();
            for meter in &meters {
                let (values, events) = (usage.values(meter), usage.events(&meter.key));
                told.push(format!("{customer} {period} {}: {values:?} {events}", meter.key));
            }
        }
    }
    told
}

#[tokio::test]
async fn whatever_is_archived_and_restored_answers_stay_the_same() {
    let (mut dropped, mut restored, mut refused) = (0, 0, 0);
    for seed in 0..6 {
        let mut random = Random::new(7_000 + seed);
        let (world, plain) = (World::new(2).await, World::new(2).await);
        let dir = Arc::new(ArchiveDir::new(world.path().join("archive")));
        let engine = world.engine.clone().with_archives(dir);
        for world in [&world, &plain] {
            world.publish(BOOK).await;
        }
        let options = IngestOptions { backfill: true };
        let mut number = 0;
        for day in 0..12 {
            let now = at(START).plus_micros((day + 1) * DAY_MICROS);
            world.clock.set(now);
            plain.clock.set(now);
            for _ in 0..random.below(12) {
                number += 1;
                let event = some_event(&mut random, number, day);
                let here = engine.ingest(vec![event.clone()], options).await.unwrap().remove(0);
                if let Receipt::Rejected(Reject::Archived { .. }) = here {
                    refused += 1;
                    continue;
                }
                let there = plain.engine.ingest(vec![event], options).await.unwrap().remove(0);
                assert_eq!(here, there, "seed {seed}");
            }
            match random.below(5) {
                0 => drop(engine.project_all().await.unwrap()),
                1 | 2 => {
                    let options = ArchiveOptions {
                        before: moment(&mut random, day + 2),
                        rows_per_file: random.pick(&[1, 3, 9]),
                    };
                    dropped += engine.archive(&options).await.unwrap().rows;
                }
                3 => {
                    let mut records = engine.archives().await.unwrap();
                    records
                        .retain(|record| record.state == counterfoil_store::ArchiveState::Archived);
                    records.sort_by_key(|record| std::cmp::Reverse(record.manifest.first));
                    for record in records.iter().take(3) {
                        // Where a later archive of the lane is in the way, another time.
                        let id = record.manifest.id();
                        restored += engine.restore_archive(&id).await.unwrap_or(0);
                    }
                }
                _ => {}
            }
            let mut periods = Vec::new();
            for _ in 0..4 {
                let (a, b) = (moment(&mut random, day + 2), moment(&mut random, day + 2));
                if a != b {
                    periods.push(Period::new(a.min(b), a.max(b)));
                }
            }
            let here = answers(&engine, &periods).await;
            assert_eq!(here, answers(&plain.engine, &periods).await, "seed {seed} day {day}");
        }
        let verified = engine.verify().await.unwrap();
        assert_eq!((verified.problems, verified.unchecked), (vec![], vec![]), "seed {seed}");
        engine.rebuild().await.unwrap();
        assert_eq!(engine.check_aggregates().await.unwrap().difference_count, 0, "seed {seed}");
    }
    assert!(dropped > 100 && restored > 10 && refused > 5, "{dropped} {restored} {refused}");
}
