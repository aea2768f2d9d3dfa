//! Asking for many at once is asking for each of them.

use counterfoil_metering::{BucketKey, GroupKey, Level, State};
use counterfoil_types::{
    CustomerId, Exact, MeterKey, Period, SubscriptionId, Timestamp,
    timestamp::{DAY_MICROS, HOUR_MICROS},
};

use super::support::{
    AnyStore, customer, customer_id, draft, finalize, lane, subscription, tenant, write,
};
use crate::{Bucket, Projection, TouchWanted, UsageWanted, Write};

fn hour(number: i64) -> Timestamp {
    Timestamp::from_micros(number * HOUR_MICROS)
}

fn sorted(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    buckets.sort_by(|a, b| a.key.cmp(&b.key));
    buckets
}

/// Customers and subscriptions by name: those that exist, each once.
pub async fn many_customers_and_subscriptions_are_found_by_name(store: AnyStore) {
    let (tenant, other) = (tenant(&store, "named").await, tenant(&store, "named-other").await);
    for number in 0..70 {
        let (id, owner) = (format!("s{number}"), format!("c{number}"));
        write(&store, &tenant, Write::PutCustomer(customer(&owner))).await.unwrap();
        write(&store, &tenant, Write::PutSubscription(subscription(&id, &owner))).await.unwrap();
    }
    for count in [0, 1, 63, 90] {
        let ids: Vec<CustomerId> = (0..count).map(|n| customer_id(&format!("c{n}"))).collect();
        let mut found = store.customers_named(&tenant.id, &ids).await.unwrap();
        found.sort_by_key(|customer| customer.id.clone());
        let mut expected = Vec::new();
        for id in &ids {
            expected.extend(store.customer(&tenant.id, id).await.unwrap());
        }
        expected.sort_by_key(|customer| customer.id.clone());
        assert_eq!(found, expected);
        let ids: Vec<SubscriptionId> =
            (0..count).map(|n| format!("s{n}").parse().unwrap()).collect();
        let mut found = store.subscriptions_named(&tenant.id, &ids).await.unwrap();
        found.sort_by_key(|subscription| subscription.id.clone());
        let mut expected = Vec::new();
        for id in &ids {
            expected.extend(store.subscription(&tenant.id, id).await.unwrap());
        }
        expected.sort_by_key(|subscription| subscription.id.clone());
        assert_eq!(found, expected);
        assert!(store.subscriptions_named(&other.id, &ids).await.unwrap().is_empty());
    }
}

/// Summaries of many cycles are those of each, in order, drafts and finalized ones alike.
pub async fn summaries_of_many_cycles_are_those_of_each(store: AnyStore) {
    let tenant = tenant(&store, "cycles").await;
    for name in ["a", "b", "c"] {
        for cycle in 0..12 {
            let draft = draft(&tenant, name, cycle, "5");
            write(&store, &tenant, Write::PutDraft(draft.clone())).await.unwrap();
            if cycle % 2 == 0 {
                write(&store, &tenant, finalize(&draft, "A-")).await.unwrap();
            }
        }
    }
    let mut cycles: Vec<(SubscriptionId, u32)> = Vec::new();
    for name in ["c", "a", "nobody"] {
        cycles.extend((3..14).rev().map(|cycle| (name.parse().unwrap(), cycle)));
    }
    let found = store.summaries_among(&tenant.id, &cycles).await.unwrap();
    let mut expected = Vec::new();
    cycles.sort();
    for (id, cycle) in &cycles {
        expected.extend(store.cycle_summaries(&tenant.id, id, *cycle).await.unwrap());
    }
    assert_eq!(found.len(), 18);
    assert_eq!(found, expected);
    assert!(store.summaries_among(&tenant.id, &[]).await.unwrap().is_empty());
}

/// Usage of many customers is that of each, of the meters asked for, with where the lane stood; so
/// is whether they were touched.
pub async fn usage_of_many_is_that_of_each(store: AnyStore) {
    let tenant = tenant(&store, "among").await;
    let lane = lane(&tenant, "acme");
    let meters: Vec<MeterKey> = ["m", "n", "o"].map(|key| key.parse().unwrap()).to_vec();
    let mut buckets = Vec::new();
    let mut touched = 0u64;
    for (level, count, step) in [(Level::Hour, 96, 1), (Level::Day, 4, 24)] {
        for name in ["a", "b", "Ü"] {
            for meter in &meters {
                for start in 0..count {
                    touched += 1;
                    let key = BucketKey {
                        customer: customer_id(name),
                        meter: meter.clone(),
                        group: GroupKey::from_stored(
                            if start % 2 == 0 { "" } else { "[1]" }.into(),
                        ),
                        level,
                        start: hour(start * step),
                    };
                    let day = BucketKey {
                        level: Level::Day,
                        start: key.start.bucket(DAY_MICROS),
                        ..key.clone()
                    };
                    let state = State::Sum { n: 1, sum: Exact::from(touched % 7 + 1) };
                    for key in [key, day] {
                        buckets.retain(|bucket: &Bucket| bucket.key != key);
                        let state = state.clone();
                        buckets.push(Bucket { key, state, first: 1, last: 2, touched });
                    }
                }
            }
        }
    }
    let projection = Projection {
        lane,
        meters: meters.clone(),
        from: 0,
        to: 9,
        buckets,
        members: Vec::new(),
        fence: None,
    };
    store.project(&projection).await.unwrap();
    let span = |from, to| Period::new(hour(from), hour(to));
    let want = |name: &str, days: &[Period], hours: &[Period]| UsageWanted {
        customer: customer_id(name),
        days: days.to_vec(),
        hours: hours.to_vec(),
    };
    let wanted = [
        want("a", &[span(24, 72)], &[span(5, 24), span(72, 75)]),
        want("b", &[], &[span(30, 31)]),
        want("nobody", &[span(0, 96)], &[]),
        want("a", &[span(0, 24), span(48, 96)], &[]),
        want("Ü", &[span(24, 24)], &[span(7, 7)]),
        want("Ü", &[span(0, 96)], &[span(0, 96)]),
    ];
    let of = &meters[..2];
    let read = store.usage_among(lane, of, &wanted).await.unwrap();
    let mut progress = store.progress(lane).await.unwrap();
    progress.sort();
    let mut then = read.progress;
    then.sort();
    assert_eq!(then, progress);
    assert_eq!(read.found.len(), wanted.len());
    for (want, found) in wanted.iter().zip(read.found) {
        let mut expected =
            store.usage(lane, &want.customer, None, &want.days, &want.hours).await.unwrap();
        expected.retain(|bucket| of.contains(&bucket.key.meter));
        assert_eq!(sorted(found), sorted(expected), "{want:?}");
    }
    let read = store.usage_among(lane, &[], &wanted[..1]).await.unwrap();
    assert_eq!(read.found, [Vec::new()]);
    assert!(store.usage_among(lane, of, &[]).await.unwrap().found.is_empty());
    let mut asked = Vec::new();
    for name in ["a", "b", "nobody", "Ü"] {
        for (before, after) in [(96, 0), (24, 80), (0, 0), (50, 300), (96, 100_000)] {
            let (customer, before) = (customer_id(name), hour(before));
            asked.push(TouchWanted { customer, before, after });
        }
    }
    let mut expected = Vec::new();
    for want in &asked {
        let TouchWanted { customer, before, after } = want;
        expected.push(store.touched_after(lane, customer, *before, *after).await.unwrap());
    }
    assert!(expected.contains(&true) && expected.contains(&false));
    assert_eq!(store.touched_among(lane, &asked).await.unwrap(), expected);
}
