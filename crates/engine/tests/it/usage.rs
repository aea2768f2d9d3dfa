//! Usage read through buckets and tail equals a fold over the ledger, for every shipped meter and
//! every aggregation, wherever the period is cut and however far the projector lags.

use std::collections::BTreeMap;

use counterfoil_ledger::{Event, standing};
use counterfoil_metering::{
    Aggregation, GroupKey, Meter, PeriodUsage, State, fold, value::closing_level, value_of,
};
use counterfoil_types::{CustomerId, Exact, Period, Timestamp};

use crate::{
    random::Random,
    world::{With, World, at, event, id, shipped},
};

/// The aggregations that no shipped book uses, and groups.
const REST: &str = r#"
[book]
name = "rest"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "least"
event_type = "storage.sample"
aggregation = "min"
group_by = ["direction"]
[[meter]]
key = "mean"
event_type = "storage.sample"
aggregation = "average"
[[meter]]
key = "latest"
event_type = "storage.sample"
aggregation = "latest"
group_by = ["direction", "model"]
[[meter]]
key = "seats"
event_type = "storage.sample"
aggregation = "time_weighted_sum"
per = "day"
group_by = ["direction"]
[[meter]]
key = "mean_level"
event_type = "storage.level"
aggregation = "time_weighted_level"
value = "bytes"
per = "period"
group_by = ["model"]
[[meter]]
key = "models"
event_type = "llm.tokens"
aggregation = "unique_count"
value = "model"
group_by = ["direction"]
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "1"
"#;

const TYPES: [&str; 10] = [
    "api.request",
    "storage.level",
    "bandwidth.transfer",
    "compute.usage",
    "database.query",
    "function.invocation",
    "api.call",
    "storage.sample",
    "llm.tokens",
    "unknown.type",
];
const FIRST: Timestamp = Timestamp::from_micros(1_791_000_000_000_000);
const MINUTE: i64 = 60_000_000;
/// Twelve days, so that periods hold whole days, whole hours and cut ones.
const SPAN: i64 = 12 * 24 * 60;

pub(crate) async fn books(world: &World) {
    let names = ["six-services.toml", "metering-engine.toml", "saas-plans.toml", "llm-tokens.toml"];
    for name in names {
        world.engine.publish(&shipped(name)).await.unwrap();
    }
    world.publish(REST).await;
}

/// Random events of all types over twelve days, in any order, with corrections of earlier ones.
pub(crate) fn random_events(
    random: &mut Random,
    sent: &mut Vec<Event>,
    count: usize,
) -> Vec<Event> {
    let mut batch = Vec::new();
    for number in 0..count {
        let name = format!("e{number}-{}", random.below(1 << 50));
        let amount = format!("{}.{}", random.below(200) - 50, random.below(10));
        let mut new = if !sent.is_empty() && random.chance(20) {
            let target = random.pick(sent);
            let base = Event { id: name, ..target.clone() };
            if random.chance(40) {
                sent.retain(|event| event.id != target.id);
                batch.push(base.reverses(&target.id));
                continue;
            }
            base.amends(&target.id)
        } else {
            // Many events share minutes, some share hours, all days are met.
            let minute = if random.chance(50) { random.below(90) } else { random.below(SPAN) };
            let customer = random.pick(&["ann", "ann", "bob", "cat"]);
            event(&name, customer, random.pick(&TYPES), FIRST.plus_micros(minute * MINUTE))
        };
        new = new.quantity(&amount);
        if random.chance(90) {
            new = new.number("bytes", &random.below(1_000_000_000_000).to_string());
        }
        new = new
            .number("cpu_seconds", &random.below(10_000).to_string())
            .text("model", random.pick(&["small", "large"]));
        if random.chance(80) {
            let directions = ["egress", "ingress", "input", "output"];
            new = new.text("direction", random.pick(&directions));
        }
        new = new.text("user", &format!("u{}", random.below(6)));
        if new.correction.is_none() {
            sent.push(new.clone());
        }
        batch.push(new);
    }
    batch
}

/// The fold, put together here from rows and nothing else.
async fn expected(
    world: &World,
    customer: &CustomerId,
    meter: &Meter,
    period: &Period,
) -> BTreeMap<GroupKey, (Exact, u64)> {
    let lane = world.engine.tenant().lane_of(customer);
    let store = world.engine.store();
    let rows = store.read(lane, 0, 1 << 40, Some(customer), 100_000).await.unwrap();
    let events = standing(&rows, u64::MAX);
    let mut usage: BTreeMap<GroupKey, PeriodUsage> = BTreeMap::new();
    for (group, state) in fold(meter, &events, period) {
        let slot = usage.entry(group).or_default();
        if let State::Unique { members, .. } = &state {
            slot.members = members.len() as u64;
        }
        slot.inside = Some(state);
    }
    let weighted = [Aggregation::TimeWeightedSum, Aggregation::TimeWeightedLevel];
    if weighted.contains(&meter.aggregation) {
        let before = Period::new(at("0001-01-01T00:00:00Z"), period.start);
        for (group, state) in fold(meter, &events, &before) {
            usage.entry(group).or_default().opening = Some(closing_level(&Exact::ZERO, &state));
        }
    }
    let value = |usage: &PeriodUsage| value_of(meter, usage, period).unwrap();
    usage.into_iter().map(|(group, usage)| (group, (value(&usage), usage.events()))).collect()
}

async fn compare(world: &World, period: Period, seed: u64) {
    let books = world.engine.books().await.unwrap();
    let meters: Vec<&Meter> = books.meters().values().collect();
    let something =
        |(_, (value, events)): &(GroupKey, (Exact, u64))| *events > 0 || !value.is_zero();
    for customer in ["ann", "bob", "cat", "nobody"] {
        let customer = id(customer);
        let usage = world.engine.usage(&customer, period, &meters).await.unwrap();
        for meter in &meters {
            let read: BTreeMap<GroupKey, (Exact, u64)> = usage
                .values(meter)
                .unwrap()
                .into_iter()
                .map(|(group, value)| {
                    let events = usage.meters[&meter.key].groups[&group].events();
                    (group, (value, events))
                })
                .filter(something)
                .collect();
            let folded: BTreeMap<GroupKey, (Exact, u64)> =
                expected(world, &customer, meter, &period)
                    .await
                    .into_iter()
                    .filter(something)
                    .collect();
            assert_eq!(read, folded, "seed {seed}, {} of {customer} in {period}", meter.key);
        }
    }
}

#[tokio::test]
async fn usage_equals_the_fold_over_the_ledger() {
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let world = World::new(2).await;
        world.set_clock("2026-10-31T00:00:00Z");
        books(&world).await;
        let mut sent = Vec::new();
        for _ in 0..6 {
            let batch = random_events(&mut random, &mut sent, 14);
            world.ingest(batch).await;
            if random.chance(50) {
                world.engine.project_all().await.unwrap();
            }
            // From the midst of the first hours to any minute later; and over everything.
            let from = random.below(3 * 60);
            let longest = random.pick(&[180, SPAN]);
            let until = from + 1 + random.below(longest);
            let start = FIRST.plus_micros(from * MINUTE + random.below(MINUTE));
            let end = FIRST.plus_micros(until * MINUTE + random.below(MINUTE));
            compare(&world, Period::new(start, end), seed).await;
        }
        let whole = Period::new(at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z"));
        compare(&world, whole, seed).await;
    }
}

#[tokio::test]
async fn a_series_is_the_usage_of_each_of_its_steps() {
    use counterfoil_engine::series::Step;

    for seed in 20..24 {
        let mut random = Random::new(seed);
        let world = World::new(2).await;
        world.set_clock("2026-10-31T00:00:00Z");
        books(&world).await;
        world.customer("ann", "Asia/Kolkata", None).await;
        world.customer("bob", "America/New_York", None).await;
        let mut sent = Vec::new();
        for round in 0..4 {
            let batch = random_events(&mut random, &mut sent, 30);
            world.ingest(batch).await;
            if random.chance(60) {
                world.engine.project_all().await.unwrap();
            }
            let start = FIRST.plus_micros(random.below(MINUTE * 60));
            let end = start.plus_micros(MINUTE * (90 + random.below(30 * 60)));
            let step = if round % 2 == 0 { Step::Hour } else { Step::Day };
            let meters = world.engine.books().await.unwrap();
            for customer in ["ann", "bob"] {
                for meter in meters.meters().values() {
                    let period = Period::new(start, end);
                    let series =
                        world.engine.usage_series(&id(customer), &meter.key, period, step).await;
                    let series = series.unwrap();
                    assert_eq!(series.first().unwrap().period.start, start);
                    assert_eq!(series.last().unwrap().period.end, end);
                    for point in series {
                        let alone = world
                            .engine
                            .usage(&id(customer), point.period, &[meter])
                            .await
                            .unwrap();
                        let alone = (alone.total(meter).unwrap(), alone.events(&meter.key));
                        let key = &meter.key;
                        let told = (point.value, point.events);
                        assert_eq!(
                            told, alone,
                            "seed {seed}, {key} of {customer} in {}",
                            point.period
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn usage_is_exact_while_some_meters_lag() {
    let mut random = Random::new(7);
    let world = World::new(1).await;
    world.set_clock("2026-10-31T00:00:00Z");
    world.engine.publish(&shipped("six-services.toml")).await.unwrap();
    let mut sent = Vec::new();
    world.ingest(random_events(&mut random, &mut sent, 40)).await;
    world.engine.project_all().await.unwrap();
    books(&world).await;
    world.ingest(random_events(&mut random, &mut sent, 20)).await;
    for (from, until) in [(30, 31), (17, 8 * 60 + 5), (59, 11 * 24 * 60 + 1)] {
        let at = |minute: i64| FIRST.plus_micros(minute * MINUTE);
        compare(&world, Period::new(at(from), at(until)), 7).await;
    }
}

#[tokio::test]
async fn usage_as_of_a_recorded_time_is_that_prefix() {
    use counterfoil_engine::report::AsOf;

    let world = World::new(1).await;
    world.publish(&shipped("metering-engine.toml").text).await;
    world.customer("acme", "UTC", None).await;
    world.subscribe("acme", "metering-engine", "payg", "2026-09-01").await;
    let mut recorded = Vec::new();
    for day in 1..=5 {
        let text = format!("2026-10-{day:02}T12:00:00Z");
        let now = at(&text);
        world.set_clock(&text);
        let sent = event(&format!("e{day}"), "acme", "api.call", now).quantity("10");
        world.ingest(vec![sent]).await;
        recorded.push(now);
    }
    // The period is read up to now, which is not part of it.
    world.set_clock("2026-10-05T13:00:00Z");
    let engine = &world.engine;
    let used = async |as_of| {
        let found = engine.current_usage(&id("acme"), recorded[4], Some(as_of)).await.unwrap();
        found[0].charges[0].used.to_string()
    };
    for (number, time) in (1..).zip(&recorded) {
        let want = (number * 10).to_string();
        assert_eq!(used(AsOf::Recorded(*time)).await, want);
        assert_eq!(used(AsOf::Recorded(time.plus_micros(1))).await, want);
        assert_eq!(used(AsOf::Position(number)).await, want);
    }
    assert_eq!(used(AsOf::Recorded(recorded[0].plus_micros(-1))).await, "0");
    let beyond = engine.current_usage(&id("acme"), recorded[4], Some(AsOf::Position(6))).await;
    assert!(beyond.unwrap_err().to_string().contains("position 5"));
}
