//! Projections, buckets, members.

use counterfoil_ledger::LaneId;
use counterfoil_metering::{BucketKey, GroupKey, Level, State};
use counterfoil_types::{
    Exact, MeterKey, Period, Timestamp,
    timestamp::{DAY_MICROS, HOUR_MICROS},
};

use super::support::{AnyStore, assert_conflict, customer_id, lane, tenant};
use crate::{Bucket, MemberDelta, Projection};

fn meter(key: &str) -> MeterKey {
    key.parse().unwrap()
}

fn hour(number: i64) -> Timestamp {
    Timestamp::from_micros(number * HOUR_MICROS)
}

fn bucket(customer: &str, key: &str, group: &str, level: Level, start: i64, sum: &str) -> Bucket {
    Bucket {
        key: BucketKey {
            customer: customer_id(customer),
            meter: meter(key),
            group: GroupKey::from_stored(group.to_owned()),
            level,
            start: hour(start),
        },
        state: State::Sum { n: 2, sum: Exact::parse(sum).unwrap() },
        first: 3,
        last: 9,
        touched: 11,
    }
}

/// The step, with the days that its hours lie in where they are not stated.
fn step(lane: LaneId, meters: &[&str], from: u64, to: u64, buckets: &[Bucket]) -> Projection {
    let mut buckets = buckets.to_vec();
    for bucket in buckets.clone() {
        let start = bucket.key.start.bucket(DAY_MICROS);
        let key = BucketKey { level: Level::Day, start, ..bucket.key.clone() };
        if !buckets.iter().any(|other| other.key == key) {
            buckets.push(Bucket { key, ..bucket });
        }
    }
    Projection {
        lane,
        meters: meters.iter().map(|key| meter(key)).collect(),
        from,
        to,
        buckets,
        members: Vec::new(),
        fence: None,
    }
}

fn member(hour_number: i64, group: &str, name: &str, by: i64) -> MemberDelta {
    MemberDelta {
        customer: customer_id("acme"),
        meter: meter("u"),
        group: GroupKey::from_stored(group.to_owned()),
        hour: hour(hour_number),
        member: name.to_owned(),
        by,
    }
}

fn sorted(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    buckets.sort_by(|a, b| a.key.cmp(&b.key));
    buckets
}

/// Buckets read back as written, by key, and a later step replaces them.
pub async fn buckets_read_back_as_projected(store: AnyStore) {
    let tenant = tenant(&store, "buckets").await;
    let lane = lane(&tenant, "acme");
    assert!(store.progress(lane).await.unwrap().is_empty());
    let mut buckets: Vec<Bucket> = (0..450)
        .map(|n| bucket("acme", "m", "", Level::Hour, n, "0.1234567890123456789012345678"))
        .collect();
    buckets.push(bucket("acme", "m", "[\"Ünï\",null]", Level::Day, 0, "-7/3"));
    store.project(&step(lane, &["m", "n"], 0, 20, &buckets)).await.unwrap();
    let keys: Vec<BucketKey> = buckets.iter().map(|bucket| bucket.key.clone()).collect();
    assert_eq!(sorted(store.buckets(lane, &keys).await.unwrap()), sorted(buckets.clone()));
    let mut absent = keys[0].clone();
    absent.meter = meter("n");
    assert!(store.buckets(lane, &[absent]).await.unwrap().is_empty());
    let newer = Bucket { touched: 30, ..bucket("acme", "m", "", Level::Hour, 0, "5") };
    store.project(&step(lane, &["m"], 20, 30, std::slice::from_ref(&newer))).await.unwrap();
    assert_eq!(store.buckets(lane, &keys[..1]).await.unwrap(), [newer]);
    assert_eq!(store.buckets(lane, &keys[1..24]).await.unwrap().len(), 23, "its neighbours stay");
    let mut progress = store.progress(lane).await.unwrap();
    progress.sort();
    assert_eq!(progress, [(meter("m"), 30), (meter("n"), 20)]);
}

/// A step from the wrong place is refused and leaves nothing: no bucket, member or watermark.
pub async fn a_losing_projector_leaves_nothing(store: AnyStore) {
    let tenant = tenant(&store, "cas").await;
    let lane = lane(&tenant, "acme");
    store.project(&step(lane, &["m"], 0, 10, &[])).await.unwrap();
    let lost = [bucket("acme", "m", "", Level::Hour, 1, "1")];
    // "n" stands at 0, so it moves first; "m" then refuses and takes it back.
    for (meters, from) in [(&["m"][..], 0), (&["m"], 9), (&["m"], 11), (&["n", "m"], 0)] {
        let mut projection = step(lane, meters, from, 20, &lost);
        projection.members = vec![member(1, "", "x", 1)];
        assert_conflict(store.project(&projection).await);
    }
    // A meter never projected stands at 0, nowhere else.
    assert_conflict(store.project(&step(lane, &["new"], 5, 20, &lost)).await);
    assert_eq!(store.progress(lane).await.unwrap(), [(meter("m"), 10)]);
    assert!(store.buckets(lane, &[lost[0].key.clone()]).await.unwrap().is_empty());
    let hours = Period::new(hour(0), hour(10));
    assert!(
        store.members(lane, &customer_id("acme"), &meter("u"), &hours).await.unwrap().is_empty()
    );
}

/// Day buckets by spans of days, hour buckets by spans of hours, half-open, of one meter or all.
pub async fn usage_reads_exactly_the_spans(store: AnyStore) {
    let tenant = tenant(&store, "spans").await;
    let lane = lane(&tenant, "acme");
    let mut buckets = Vec::new();
    for n in 0..72 {
        buckets.push(bucket("acme", "m", "", Level::Hour, n, "1"));
    }
    for day in 0..3 {
        buckets.push(bucket("acme", "m", "", Level::Day, day * 24, "24"));
        buckets.push(bucket("acme", "n", "[\"g\"]", Level::Day, day * 24, "7"));
        buckets.push(bucket("acmf", "m", "", Level::Day, day * 24, "99"));
    }
    store.project(&step(lane, &["m", "n"], 0, 9, &buckets)).await.unwrap();
    let days = [Period::new(hour(24), hour(72)), Period::new(hour(5), hour(5))];
    let hours = [Period::new(hour(2), hour(4)), Period::new(hour(23), hour(24))];
    let acme = customer_id("acme");
    let found = store.usage(lane, &acme, None, &days, &hours).await.unwrap();
    let place = |bucket: &Bucket| {
        (bucket.key.level, bucket.key.start.micros() / HOUR_MICROS, bucket.key.meter.to_string())
    };
    let mut places: Vec<_> = found.iter().map(place).collect();
    places.sort();
    let at = |level, start, key: &str| (level, start, key.to_owned());
    let of_m = [
        at(Level::Hour, 2, "m"),
        at(Level::Hour, 3, "m"),
        at(Level::Hour, 23, "m"),
        at(Level::Day, 24, "m"),
        at(Level::Day, 48, "m"),
    ];
    let mut all = of_m.to_vec();
    all.extend([at(Level::Day, 24, "n"), at(Level::Day, 48, "n")]);
    all.sort();
    assert_eq!(places, all);
    let one = store.usage(lane, &acme, Some(&meter("m")), &days, &hours).await.unwrap();
    let mut places: Vec<_> = one.iter().map(place).collect();
    places.sort();
    assert_eq!(places, of_m);
    let hours = Period::new(hour(1), hour(3));
    let of_meter = store.meter_buckets(lane, &meter("m"), &hours).await.unwrap();
    assert_eq!(
        of_meter.iter().map(place).collect::<Vec<_>>(),
        [at(Level::Hour, 1, "m"), at(Level::Hour, 2, "m")]
    );
}

/// Members count up and down; who counts zero times is no member.
pub async fn members_count_up_and_down(store: AnyStore) {
    let tenant = tenant(&store, "members").await;
    let lane = lane(&tenant, "acme");
    let acme = customer_id("acme");
    let mut project = step(lane, &["u"], 0, 5, &[]);
    project.members = vec![
        member(1, "", "ann", 2),
        member(1, "", "bob", 1),
        member(2, "", "ann", 1),
        member(2, "[\"g\"]", "Ünï", 1),
        member(1, "", "ann", 1),
    ];
    store.project(&project).await.unwrap();
    let read = async |from, to| {
        let hours = Period::new(hour(from), hour(to));
        let mut found = store.members(lane, &acme, &meter("u"), &hours).await.unwrap();
        found.sort();
        found
            .into_iter()
            .map(|(group, name)| format!("{}{name}", group.as_str()))
            .collect::<Vec<_>>()
    };
    assert_eq!(read(1, 3).await, ["ann", "bob", "[\"g\"]Ünï"], "each once");
    assert_eq!(read(2, 3).await, ["ann", "[\"g\"]Ünï"]);
    let mut project = step(lane, &["u"], 5, 6, &[]);
    project.members = vec![member(1, "", "bob", -1), member(1, "", "ann", -2)];
    store.project(&project).await.unwrap();
    assert_eq!(read(1, 2).await, ["ann"]);
    let mut project = step(lane, &["u"], 6, 7, &[]);
    project.members = vec![member(1, "", "ann", -1), member(1, "", "bob", 1)];
    store.project(&project).await.unwrap();
    assert_eq!(read(1, 2).await, ["bob"]);
}

/// Late events and corrections are seen by the position that touched the bucket.
pub async fn late_changes_are_noticed_by_position(store: AnyStore) {
    let tenant = tenant(&store, "touched").await;
    let lane = lane(&tenant, "acme");
    let mut day = bucket("acme", "m", "", Level::Day, 24, "1");
    day.touched = 40;
    store.project(&step(lane, &["m"], 0, 50, &[day])).await.unwrap();
    let acme = customer_id("acme");
    let touched = |before, after| store.touched_after(lane, &acme, hour(before), after);
    assert!(touched(48, 39).await.unwrap());
    assert!(!touched(48, 40).await.unwrap(), "what was looked at is not late");
    assert!(!touched(24, 0).await.unwrap(), "what lies later is not late");
    assert!(touched(25, 0).await.unwrap());
    let other = customer_id("acmf");
    assert!(!store.touched_after(lane, &other, hour(99), 0).await.unwrap());
}

/// All buckets of a lane, hours and days, page by page: each once, whatever the page size.
pub async fn all_buckets_come_page_by_page(store: AnyStore) {
    let tenant = tenant(&store, "paging").await;
    let lane = lane(&tenant, "acme");
    let mut buckets = Vec::new();
    for customer in ["a", "b", "Ü"] {
        for key in ["m", "n"] {
            for group in ["", "[\"x\"]"] {
                for start in [0, 1, 25] {
                    buckets.push(bucket(customer, key, group, Level::Hour, start, "1"));
                }
                for start in [0, 24] {
                    buckets.push(bucket(customer, key, group, Level::Day, start, "2"));
                }
            }
        }
    }
    store.project(&step(lane, &["m", "n"], 0, 9, &buckets)).await.unwrap();
    for limit in [1, 5, 1000] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.all_buckets(lane, after.as_ref(), limit).await.unwrap();
            assert!(page.len() <= usize::try_from(limit).unwrap());
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            all.extend(page);
        }
        assert_eq!(all.len(), buckets.len(), "pages of {limit}");
        assert!(sorted(all) == sorted(buckets.clone()), "pages of {limit}");
    }
}

/// Forgetting a lane forgets all of it, and nothing of another.
pub async fn forgetting_a_lane_leaves_the_others(store: AnyStore) {
    let tenant = tenant(&store, "forget").await;
    let lanes = tenant.lane_ids();
    let day = Period::new(hour(0), Timestamp::from_micros(DAY_MICROS));
    for lane in &lanes[..2] {
        let mut project =
            step(*lane, &["u"], 0, 9, &[bucket("acme", "u", "", Level::Hour, 1, "1")]);
        project.members = vec![member(1, "", "ann", 1)];
        store.project(&project).await.unwrap();
    }
    store.forget(lanes[0]).await.unwrap();
    store.forget(lanes[0]).await.unwrap();
    let acme = customer_id("acme");
    for (lane, left) in [(lanes[0], 0), (lanes[1], 1)] {
        assert_eq!(store.progress(lane).await.unwrap().len(), left);
        assert_eq!(store.all_buckets(lane, None, 10).await.unwrap().len(), 2 * left);
        assert_eq!(store.members(lane, &acme, &meter("u"), &day).await.unwrap().len(), left);
    }
    store.project(&step(lanes[0], &["u"], 0, 3, &[])).await.unwrap();
}
