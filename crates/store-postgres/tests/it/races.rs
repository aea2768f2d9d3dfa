//! Many at once on one database: each with a store of its own, as several processes have.

#![cfg(test)]

use std::{collections::BTreeMap, sync::Arc};

use counterfoil_ledger::{Correction, CorrectionKind, Event, Receipt, Reject};
use counterfoil_metering::{BucketKey, GroupKey, Level, State};
use counterfoil_store::{
    AggregateStore, Bucket, CatalogStore, Commit, InvoiceStore, JournalStore, LedgerStore,
    MemberDelta, Pending, Projection, Store, StoreError, Write,
};
use counterfoil_types::{Exact, Period, TenantId, Timestamp, timestamp::HOUR_MICROS};
use tokio::task::JoinSet;

use crate::fixture::{
    Fixture, NOW, batch, connect, customer, database, draft, event, is_inserted, pending, tenant,
    trusting_store, whole,
};

fn place(receipt: &Receipt) -> (i64, u64) {
    match receipt {
        Receipt::Inserted { lane, position }
        | Receipt::Duplicate { lane, position }
        | Receipt::Conflict { lane, position, .. } => (lane.0, *position),
        Receipt::Rejected(reject) => panic!("rejected: {reject}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_programs_store_each_event_once() {
    let fixture = Fixture::new().await;
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        // A store of its own each: no queue in common.
        let store = connect(&fixture.url).await;
        let tenant = fixture.tenant.clone();
        tasks.spawn(async move {
            let mut outcome = Vec::new();
            for round in 0..8 {
                // Neighbours overlap by half, half of them in the other order.
                let mut mine = batch(&tenant, (round * 4 + number) * 30, 60);
                if number % 2 == 1 {
                    mine.reverse();
                }
                let receipts = store.append(&tenant, &mine, NOW).await.unwrap();
                outcome.extend(mine.into_iter().map(|item| item.event.id).zip(receipts));
            }
            outcome
        });
    }
    let mut places: BTreeMap<String, ((i64, u64), usize)> = BTreeMap::new();
    for (id, receipt) in tasks.join_all().await.into_iter().flatten() {
        let seen = places.entry(id).or_insert((place(&receipt), 0));
        assert_eq!(seen.0, place(&receipt), "all receipts of an event name one place");
        seen.1 += usize::from(is_inserted(&receipt));
    }
    assert!(places.values().all(|(_, inserted)| *inserted == 1), "one of them stored it");
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), places.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_for_customers_of_two_lanes_is_one_event_and_conflicts() {
    let fixture = Fixture::new().await;
    let customers = fixture.customers();
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let store = connect(&fixture.url).await;
        let (tenant, customer) = (fixture.tenant.clone(), customers[number % 2].clone());
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..20 {
                let mine = [pending(&tenant, &format!("k{round}"), &customer)];
                receipts.extend(store.append(&tenant, &mine, NOW).await.unwrap());
            }
            receipts
        });
    }
    let outcomes = tasks.join_all().await;
    for round in 0..20 {
        let of_key: Vec<&Receipt> = outcomes.iter().map(|receipts| &receipts[round]).collect();
        let inserted = of_key.iter().filter(|receipt| is_inserted(receipt)).count();
        let conflicts =
            of_key.iter().filter(|receipt| matches!(receipt, Receipt::Conflict { .. })).count();
        assert_eq!((inserted, conflicts), (1, 4), "the other lane's four hear of a conflict");
        assert!(of_key.iter().all(|receipt| place(receipt) == place(of_key[0])));
    }
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_crossed_between_two_lanes_end_in_receipts_not_errors() {
    let fixture = Fixture::new().await;
    let [one, two] = fixture.customers();
    let mut tasks = JoinSet::new();
    for (number, customer) in [one, two].into_iter().enumerate() {
        let store = connect(&fixture.url).await;
        let tenant = fixture.tenant.clone();
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..3 {
                // The same keys in opposite order: each waits for what the other has stored.
                let mut mine: Vec<Pending> = (0..400)
                    .map(|n| pending(&tenant, &format!("x{round}-{n}"), &customer))
                    .collect();
                if number == 1 {
                    mine.reverse();
                }
                let mut part = store.append(&tenant, &mine, NOW).await.unwrap();
                if number == 1 {
                    part.reverse();
                }
                receipts.extend(part);
            }
            receipts
        });
    }
    let outcomes = tasks.join_all().await;
    for (one, two) in outcomes[0].iter().zip(&outcomes[1]) {
        assert!(is_inserted(one) != is_inserted(two), "one stored, the other a conflict");
        assert_eq!(place(one), place(two));
    }
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 1200);
}

#[tokio::test]
async fn a_reader_skips_nothing_while_an_older_append_is_open() {
    let fixture = Fixture::new().await;
    let [slow, quick] = fixture.customers();
    let lanes = fixture.tenant.lane_ids();
    fixture
        .store
        .append(&fixture.tenant, &[pending(&fixture.tenant, "first", &slow)], NOW)
        .await
        .unwrap();
    // Another program has locked the first lane and takes its time.
    let mut other = fixture.intruder().await;
    for sql in [
        "BEGIN",
        "SELECT position FROM lane ORDER BY lane_id LIMIT 1 FOR UPDATE",
        "INSERT INTO usage_event (lane_id, position, recorded_at, key, leaf, customer, type, source, id, quantity) SELECT lane_id, 2, recorded_at, '00000000-0000-0000-0000-000000000001', leaf, customer, type, source, 'held', quantity FROM usage_event",
        "UPDATE lane SET position = 2 WHERE lane_id = (SELECT min(lane_id) FROM lane)",
    ] {
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    }
    // One more for the same lane waits; the other lane goes on.
    let waiting = {
        let (store, tenant) = (connect(&fixture.url).await, fixture.tenant.clone());
        let late = pending(&tenant, "later", &slow);
        tokio::spawn(async move { store.append(&tenant, &[late], NOW).await.unwrap() })
    };
    let free = fixture.intruder_store().await;
    let receipts = free
        .append(&fixture.tenant, &[pending(&fixture.tenant, "aside", &quick)], NOW)
        .await
        .unwrap();
    assert_eq!(place(&receipts[0]), (lanes[1].0, 1));
    let read = async |lane: usize| -> Vec<(u64, String)> {
        let rows = fixture.store.read(lanes[lane], 0, 100, None, 100).await.unwrap();
        rows.into_iter().map(|row| (row.position, row.event.id)).collect()
    };
    let heads = fixture.store.heads(&fixture.tenant).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.position).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(read(0).await, [(1, "first".to_owned())], "what is not committed is not there");
    assert!(!waiting.is_finished(), "position 3 must not be seen before position 2");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let receipts = waiting.await.unwrap();
    assert_eq!(place(&receipts[0]), (lanes[0].0, 3));
    let names: Vec<String> = read(0).await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(names, ["first", "held", "later"]);
    let heads = fixture.store.heads(&fixture.tenant).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.position).collect::<Vec<_>>(), [3, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_reversed_once_however_many_try() {
    let fixture = Fixture::new().await;
    let target = [pending(&fixture.tenant, "a", "c1")];
    fixture.store.append(&fixture.tenant, &target, NOW).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let store = connect(&fixture.url).await;
        let tenant = fixture.tenant.clone();
        tasks.spawn(async move {
            let correction = Correction { kind: CorrectionKind::Reverses, target: "a".to_owned() };
            let event =
                Event { correction: Some(correction), ..event(&format!("r{number}"), "c1") };
            store.append(&tenant, &[Pending::new(&tenant, event)], NOW).await.unwrap().remove(0)
        });
    }
    let receipts = tasks.join_all().await;
    assert_eq!(receipts.iter().filter(|receipt| is_inserted(receipt)).count(), 1);
    let refused = receipts
        .iter()
        .filter(|receipt| matches!(receipt, Receipt::Rejected(Reject::Correction(_))));
    assert_eq!(refused.count(), 7);
    whole(&fixture.store, &fixture.tenant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_projectors_count_nothing_twice() {
    let fixture = Fixture::new().await;
    let lane = fixture.tenant.lane_ids()[0];
    let meter: counterfoil_types::MeterKey = "m".parse().unwrap();
    let hour = Timestamp::from_micros(5 * HOUR_MICROS);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::new(connect(&fixture.url).await);
        let meter = meter.clone();
        tasks.spawn(async move {
            let mut won = 0;
            for step in 0..15u64 {
                let key = BucketKey {
                    customer: customer("acme"),
                    meter: meter.clone(),
                    group: GroupKey::from_stored(String::new()),
                    level: Level::Day,
                    start: Timestamp::from_micros(0),
                };
                let state = State::Sum { n: 1, sum: Exact::parse(&step.to_string()).unwrap() };
                let day = Bucket { key, state, first: 1, last: step + 1, touched: step + 1 };
                let projection = Projection {
                    lane,
                    meters: vec![meter.clone()],
                    from: step,
                    to: step + 1,
                    buckets: vec![day],
                    members: vec![MemberDelta {
                        customer: customer("acme"),
                        meter: meter.clone(),
                        group: GroupKey::from_stored(String::new()),
                        hour,
                        member: "ann".to_owned(),
                        by: 1,
                    }],
                    fence: None,
                };
                match store.project(&projection).await {
                    Ok(()) => won += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        });
    }
    assert_eq!(tasks.join_all().await.iter().sum::<i32>(), 15, "each step by one of them");
    assert_eq!(fixture.store.progress(lane).await.unwrap(), [(meter.clone(), 15)]);
    let counted: i64 = sqlx::query_scalar("SELECT n FROM aggregate_member")
        .fetch_one(fixture.store.pool())
        .await
        .unwrap();
    assert_eq!(counted, 15);
    let hours = Period::new(hour, hour.plus_micros(HOUR_MICROS));
    let members = fixture.store.members(lane, &customer("acme"), &meter, &hours).await.unwrap();
    assert_eq!(members.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_finalize_at_once_leave_no_gap_in_numbers_or_journal() {
    let fixture = Fixture::new().await;
    let drafts: Vec<_> =
        (0..40).map(|n| draft(&fixture.tenant, &format!("s{n:02}"), "5")).collect();
    let mut commit = Commit::default();
    commit.writes.extend(drafts.iter().map(|draft| Write::PutDraft(Box::new(draft.clone()))));
    fixture.store.commit(&fixture.tenant.id, &commit).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let store = connect(&fixture.url).await;
        let (id, mut mine) = (fixture.tenant.id.clone(), drafts.clone());
        mine.rotate_left(number * 7);
        if number % 2 == 1 {
            mine.reverse();
        }
        tasks.spawn(async move {
            for page in mine.chunks(9) {
                let mut commit = Commit::default();
                commit.writes.extend(page.iter().map(|draft| Write::Finalize {
                    invoice: draft.id,
                    series: "A-".to_owned(),
                    at: NOW,
                    due_at: NOW,
                }));
                // Others record facts meanwhile; and what fails takes no number.
                let fact = format!("page/{number}/{}", page[0].id);
                let commit = commit.fact("page", fact, NOW, serde_json::json!({}));
                store.commit(&id, &commit).await.unwrap();
                let ghost = Write::Finalize {
                    invoice: counterfoil_types::InvoiceId::derive(&["ghost"]),
                    series: "A-".to_owned(),
                    at: NOW,
                    due_at: NOW,
                };
                let failed = store.commit(&id, &Commit::of(ghost)).await;
                assert!(matches!(failed, Err(StoreError::Conflict { .. })), "{failed:?}");
            }
        });
    }
    tasks.join_all().await;
    let mut numbers = Vec::new();
    for draft in &drafts {
        let invoice = fixture.store.invoice(&fixture.tenant.id, &draft.id).await.unwrap();
        numbers.push(invoice.unwrap().number.unwrap());
    }
    numbers.sort();
    let expected: Vec<String> = (1..=40).map(|n| format!("A-{n:06}")).collect();
    assert_eq!(numbers, expected);
    let facts = fixture.store.facts(&fixture.tenant.id, 0, 1000).await.unwrap();
    assert!(facts.iter().zip(1u64..).all(|(fact, at)| fact.position == at), "no gap");
    let finalized = facts.iter().filter(|fact| fact.fact.kind == "invoice.finalized").count();
    assert_eq!(finalized, 40);
    let effects: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox")
        .fetch_one(fixture.store.pool())
        .await
        .unwrap();
    assert_eq!(effects, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_made_at_once_get_numbers_of_their_own() {
    let url = database().await;
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let store = connect(&url).await;
        tasks.spawn(async move {
            let own = TenantId::new(format!("t{}", number % 3)).unwrap();
            store.ensure_tenant(&own, 4).await.unwrap()
        });
    }
    let tenants: BTreeMap<String, i64> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|tenant| (tenant.id.to_string(), tenant.number))
        .collect();
    let mut numbers: Vec<i64> = tenants.into_values().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    let store = connect(&url).await;
    tenant(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_wait_become_few_transactions() {
    let fixture = Fixture::new().await;
    // The lanes are held, so that all batches are waiting when they are let go.
    let mut other = fixture.intruder().await;
    sqlx::raw_sql("BEGIN; SELECT 1 FROM lane FOR UPDATE").execute(&mut other).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..30 {
        let (store, tenant) = (fixture.store.clone(), fixture.tenant.clone());
        tasks.spawn(async move {
            let mine = batch(&tenant, number * 10, 10);
            store
                .append(&tenant, &mine, NOW.plus_micros(i64::try_from(number).unwrap()))
                .await
                .unwrap()
        });
    }
    while fixture.store.waiting() < 25 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let outcomes = tasks.join_all().await;
    assert!(outcomes.iter().all(|receipts| receipts.len() == 10));
    assert!(outcomes.iter().flatten().all(is_inserted));
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 300);
    let transactions: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM usage_event")
            .fetch_one(fixture.store.pool())
            .await
            .unwrap();
    assert!(transactions < 10, "{transactions} transactions for 30 batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_taken_without_our_knowing_sinks_no_neighbour() {
    let store = trusting_store().await;
    let tenant = tenant(&store).await;
    let first = store.append(&tenant, &batch(&tenant, 0, 10), NOW).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..12 {
        let (store, tenant) = (store.clone(), tenant.clone());
        tasks.spawn(async move {
            // Every third one begins with an event that is stored already.
            let mut mine = batch(&tenant, 100 + number * 10, 10);
            if number % 3 == 0 {
                mine.insert(0, pending(&tenant, "e0", "c0"));
            }
            (number, store.append(&tenant, &mine, NOW).await.unwrap())
        });
    }
    for (number, receipts) in tasks.join_all().await {
        let known = receipts.len() - 10;
        assert_eq!(known, usize::from(number % 3 == 0));
        assert!(receipts[known..].iter().all(is_inserted));
        assert!(receipts[..known].iter().all(|receipt| {
            matches!(receipt, Receipt::Duplicate { .. }) && place(receipt) == place(&first[0])
        }));
    }
    assert_eq!(whole(&store, &tenant).await.len(), 130);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_with_another_program_is_tried_again() {
    const HOLD: &str = "INSERT INTO usage_event (lane_id, position, recorded_at, key, leaf, customer, type, source, id, quantity) SELECT lane_id, $1, recorded_at, $2, leaf, customer, type, source, id, quantity FROM usage_event WHERE position = 1 LIMIT 1";
    let fixture = Fixture::new().await;
    fixture.append(0, 1).await.unwrap();
    let mine = fixture.batch(10, 2);
    let key = |at: usize| uuid::Uuid::from_bytes(mine[at].key.prefix16());
    // The other program has our second key and will want the first one.
    let mut other = fixture.intruder().await;
    sqlx::raw_sql("BEGIN").execute(&mut other).await.unwrap();
    sqlx::query(HOLD).bind(900i64).bind(key(1)).execute(&mut other).await.unwrap();
    let writing = {
        let (store, tenant, mine) = (fixture.store.clone(), fixture.tenant.clone(), mine.clone());
        tokio::spawn(async move { store.append(&tenant, &mine, NOW).await })
    };
    loop {
        let blocked: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut other)
        .await
        .unwrap();
        if blocked {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Whoever began to wait first looks for a deadlock first, and gives way.
    sqlx::query(HOLD).bind(901i64).bind(key(0)).execute(&mut other).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(writing.await.unwrap().unwrap().iter().all(is_inserted));
    assert_eq!(whole(&fixture.store, &fixture.tenant).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_record_facts_at_once_leave_no_gap() {
    let fixture = Fixture::new().await;
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let (store, id) = (connect(&fixture.url).await, fixture.tenant.id.clone());
        tasks.spawn(async move {
            for round in 0..30 {
                // Every second fact is one that all of them record.
                let who = if round % 2 == 0 { "all".to_owned() } else { number.to_string() };
                let key = format!("{who}/{round}");
                let commit = Commit::default().fact("k", key, NOW, serde_json::Value::Null);
                store.commit(&id, &commit).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let facts = fixture.store.facts(&fixture.tenant.id, 0, 1000).await.unwrap();
    assert!(facts.iter().zip(1u64..).all(|(fact, at)| fact.position == at), "no gap");
    assert_eq!(facts.len(), 15 + 6 * 15);
}
