//! What is due is done, once: times that were missed, clocks that jump, leases that are lost, work
//! that fails.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use counterfoil_engine::{
    Engine, EngineError,
    jobs::{JobSettings, Ran, Scheduler, Timetable, Told, Turn, job, work::Worked},
};
use counterfoil_store::{Commit, Fact, JobFilter, JobRun, JobState, Write};
use counterfoil_types::{Timestamp, Zone, timestamp::DAY_MICROS};
use tokio::sync::{Notify, watch};

use crate::world::{World, at};

/// Who keeps the switch of a scheduler.
pub(crate) type Switch = watch::Sender<bool>;

pub(crate) fn scheduler(engine: &Engine, table: &Timetable, name: &str) -> (Scheduler, Switch) {
    let (switch, cut) = watch::channel(false);
    (Scheduler::new(engine.clone(), Arc::new(table.clone()), name.to_owned(), cut), switch)
}

fn empty() -> Timetable {
    Timetable::empty(JobSettings::default(), Zone::utc())
}

async fn to(world: &World, scheduler: &Scheduler, now: &str) -> Ran {
    world.set_clock(now);
    scheduler.run_due(at(now)).await.unwrap()
}

async fn history(world: &World, job: &str) -> Vec<JobRun> {
    let filter = JobFilter { job: Some(job.to_owned()), state: None };
    let tenant = &world.engine.tenant().id;
    let mut runs = world.engine.store().job_history(tenant, &filter, None, 10_000).await.unwrap();
    runs.reverse();
    runs
}

pub(crate) async fn effects(world: &World, kind: &str) -> Vec<String> {
    let effects = world.engine.store().effects(&world.engine.tenant().id, 0, 10_000).await;
    let of_kind = |effect: &counterfoil_store::Effect| effect.kind == kind;
    effects.unwrap().into_iter().filter(of_kind).map(|effect| effect.key).collect()
}

/// A job that counts how often it ran, on a schedule.
fn counting(cron: &'static str) -> (Timetable, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let mut table = empty();
    let counter = count.clone();
    table
        .add(job("count", "Counts.", cron, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Ok(Told::Done("counted".to_owned())) })
        }))
        .unwrap();
    (table, count)
}

#[tokio::test]
async fn times_that_were_missed_are_one_run() {
    let world = World::new(1).await;
    let (table, count) = counting("0 * * * *");
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    // Seen for the first time: the last time that passed counts.
    to(&world, &scheduler, "2026-10-01T00:30:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    to(&world, &scheduler, "2026-10-01T00:59:59Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 1, "not due");
    to(&world, &scheduler, "2026-10-01T01:00:00Z").await;
    to(&world, &scheduler, "2026-10-01T01:00:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 2, "due once");
    to(&world, &scheduler, "2026-10-09T17:20:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 3, "nine days are one run");
    let times: Vec<_> = history(&world, "count").await.iter().map(|r| r.scheduled_for).collect();
    let wanted = ["2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z", "2026-10-09T17:00:00Z"];
    assert_eq!(times, wanted.map(at));
}

#[tokio::test]
async fn a_job_follows_its_zone_over_a_change_of_clocks() {
    let world = World::new(1).await;
    let (mut table, _) = counting("30 2 * * *");
    table.adjust("count", None, Some("Europe/Berlin".parse().unwrap()), None).unwrap();
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    // Every quarter of an hour over both changes of 2026.
    for (from, to) in [
        ("2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z"),
        ("2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z"),
    ] {
        let mut now = at(from);
        while now < at(to) {
            world.clock.set(now);
            scheduler.run_due(now).await.unwrap();
            now = now.plus_micros(900_000_000);
        }
    }
    let times: Vec<String> =
        history(&world, "count").await.iter().map(|run| run.scheduled_for.to_string()).collect();
    let wanted = [
        "2026-03-27T01:30:00Z",
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-30T00:30:00Z",
        "2026-10-23T00:30:00Z",
        "2026-10-24T00:30:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-26T01:30:00Z",
    ];
    assert_eq!(times, wanted);
}

#[tokio::test]
async fn a_clock_that_went_back_leaves_nothing_waiting_for_it() {
    let world = World::new(1).await;
    let (table, count) = counting("0 * * * *");
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    to(&world, &scheduler, "2026-10-05T12:00:00Z").await;
    // Far ahead by mistake, and back again.
    to(&world, &scheduler, "2027-10-05T12:00:00Z").await;
    to(&world, &scheduler, "2026-10-05T12:10:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 2, "12:00 was done");
    to(&world, &scheduler, "2026-10-05T13:00:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 3, "and 13:00 does not wait for a year");
    to(&world, &scheduler, "2026-10-05T12:30:00Z").await;
    to(&world, &scheduler, "2026-10-05T13:30:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 3, "no time twice");
}

/// A job that fails until it is told not to.
fn failing() -> (Timetable, Arc<AtomicU32>) {
    let fail = Arc::new(AtomicU32::new(1));
    let switch = fail.clone();
    let mut table = empty();
    table
        .add(job("bad", "Fails.", "0 0 * * *", move |_| {
            let fails = switch.load(Ordering::SeqCst) > 0;
            Box::pin(async move {
                if fails {
                    return Err(EngineError::refused("the pen is empty"));
                }
                Ok(Told::Done("written".to_owned()))
            })
        }))
        .unwrap();
    let good = job("good", "Goes on.", "0 * * * *", |_| {
        Box::pin(async { Ok(Told::Done("well".to_owned())) })
    });
    table.add(good).unwrap();
    (table, fail)
}

#[tokio::test]
async fn a_run_that_keeps_failing_is_parked_and_told_once_while_others_go_on() {
    let world = World::new(1).await;
    let (table, fail) = failing();
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    let mut now = at("2026-10-05T00:00:00Z");
    let mut tries = 0;
    while now < at("2026-10-05T20:00:00Z") {
        world.clock.set(now);
        let ran = scheduler.run_due(now).await.unwrap();
        tries += ran.again.len() + ran.parked.len();
        now = now.plus_micros(60_000_000);
    }
    assert_eq!(tries, 8, "eight tries, further and further apart");
    let parked = world.engine.parked_jobs().await.unwrap();
    assert_eq!(parked.runs.len(), 1);
    assert_eq!(parked.runs[0].error.as_deref(), Some("the pen is empty"));
    assert_eq!(effects(&world, "job.parked").await.len(), 1);
    let good = history(&world, "good").await;
    assert_eq!(good.len(), 20);
    assert!(good.iter().all(|run| run.state == JobState::Done));
    // Somebody looked: what is parked goes again, and is done.
    fail.store(0, Ordering::SeqCst);
    assert_eq!(world.engine.unpark_job(&table, "bad", None).await.unwrap(), 1);
    let ran = to(&world, &scheduler, "2026-10-05T20:01:00Z").await;
    assert_eq!(ran.done.iter().filter(|(job, _)| job == "bad").count(), 1);
    assert!(world.engine.parked_jobs().await.unwrap().runs.is_empty());
    let nothing = world.engine.unpark_job(&table, "bad", None).await;
    assert!(matches!(nothing, Err(EngineError::NotFound { .. })));
}

#[tokio::test]
async fn a_job_rests_while_it_is_paused_and_runs_when_asked() {
    let world = World::new(1).await;
    let (table, count) = counting("0 * * * *");
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    let engine = &world.engine;
    to(&world, &scheduler, "2026-10-05T10:00:00Z").await;
    engine.pause_job(&table, "count", "ann", "moving house").await.unwrap();
    to(&world, &scheduler, "2026-10-05T12:00:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let view = engine.job(&table, "count").await.unwrap();
    assert_eq!(view.pause.unwrap().reason, "moving house");
    assert_eq!(view.next, Some(at("2026-10-05T13:00:00Z")));
    world.set_clock("2026-10-05T12:10:00Z");
    engine.trigger_job(&table, "count", "bob").await.unwrap();
    to(&world, &scheduler, "2026-10-05T12:10:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 2, "whoever asks gets it");
    engine.resume_job(&table, "count").await.unwrap();
    to(&world, &scheduler, "2026-10-05T12:20:00Z").await;
    assert_eq!(count.load(Ordering::SeqCst), 3, "what was missed is caught up, once");
    let unknown = engine.pause_job(&table, "nobody", "ann", "").await;
    assert!(matches!(unknown, Err(EngineError::NotFound { .. })));
}

/// A job that waits inside, then writes a fact.
fn slow(gate: &Arc<Notify>, inside: &Arc<Notify>) -> Timetable {
    let mut table = empty();
    let (gate, inside) = (gate.clone(), inside.clone());
    table
        .add(job("slow", "Waits.", "0 * * * *", move |turn: Arc<Turn>| {
            let (gate, inside) = (gate.clone(), inside.clone());
            Box::pin(async move {
                inside.notify_one();
                gate.notified().await;
                let (kind, key) = ("note".to_owned(), format!("note/{}", turn.holder));
                let fact = Fact { kind, key, at: turn.now, body: serde_json::json!({}) };
                turn.engine.commit(&Commit { facts: vec![fact], ..Commit::default() }).await?;
                Ok(Told::Done(turn.holder.clone()))
            })
        }))
        .unwrap();
    table
}

async fn notes(world: &World) -> usize {
    let facts = world.engine.store().facts(&world.engine.tenant().id, 0, 100).await.unwrap();
    facts.iter().filter(|fact| fact.fact.kind == "note").count()
}

#[tokio::test]
async fn a_worker_that_slept_past_its_lease_writes_nothing() {
    let world = World::new(1).await;
    let (gate, inside) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let table = slow(&gate, &inside);
    let (first, _a) = scheduler(&world.engine, &table, "one");
    let (second, _b) = scheduler(&world.engine, &table, "two");
    let now = at("2026-10-05T10:00:00Z");
    world.clock.set(now);
    let run = first.due(now).await.unwrap().remove(0);
    let sleeper = {
        let run = run.clone();
        tokio::spawn(async move { first.work_on(&run, now).await.unwrap() })
    };
    inside.notified().await;
    assert_eq!(second.work_on(&run, now).await.unwrap(), Worked::Busy);
    // It gives no sign of life for longer than its lease.
    let later = now.plus_micros(31_000_000);
    world.clock.set(later);
    let taker = tokio::spawn(async move { second.work_on(&run, later).await.unwrap() });
    inside.notified().await;
    // Both wake. Only the second one's word counts.
    gate.notify_one();
    let lost = sleeper.await.unwrap();
    assert_eq!(lost, Worked::Lost);
    assert_eq!(notes(&world).await, 0);
    gate.notify_one();
    assert!(matches!(taker.await.unwrap(), Worked::Done(by) if by.starts_with("two/")));
    assert_eq!(notes(&world).await, 1);
    let runs = history(&world, "slow").await;
    assert_eq!((runs.len(), runs[0].starts, runs[0].state), (1, 0, JobState::Done));
}

#[tokio::test]
async fn work_that_is_cut_off_is_free_for_the_next_worker_at_once() {
    let world = World::new(1).await;
    let (gate, inside) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let table = slow(&gate, &inside);
    let (first, switch) = scheduler(&world.engine, &table, "one");
    let now = at("2026-10-05T10:00:00Z");
    world.clock.set(now);
    let stopped = tokio::spawn(async move { first.run_due(now).await.unwrap() });
    inside.notified().await;
    switch.send(true).unwrap();
    assert_eq!(stopped.await.unwrap().again[0].1, "the worker was stopped");
    let (second, _b) = scheduler(&world.engine, &table, "two");
    gate.notify_one();
    // No time passes: the lease was given back.
    assert_eq!(second.run_due(now).await.unwrap().done.len(), 1);
    assert_eq!(notes(&world).await, 1);
}

const QUOTAS: &str = r#"
[book]
name = "q"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
[[plan.quota]]
meter = "calls"
hard = "100"
window = "daily"
rollover = "30"
"#;

async fn resets(world: &World) -> Vec<(String, serde_json::Value)> {
    let facts = world.engine.store().facts(&world.engine.tenant().id, 0, 1_000).await.unwrap();
    facts
        .into_iter()
        .filter(|fact| fact.fact.kind == "quota.reset")
        .map(|fact| (format!("{} {}", fact.fact.body["customer"], fact.fact.at), fact.fact.body))
        .collect()
}

#[tokio::test]
async fn each_quota_window_is_a_fact_at_its_start_with_what_rolled_over() {
    let world = World::new(1).await;
    world.publish(QUOTAS).await;
    world.customer("ann", "Europe/Berlin", None).await;
    world.subscribe("ann", "q", "p", "2026-09-01").await;
    let mut table = Timetable::standard(JobSettings::default(), Zone::utc()).unwrap();
    let others: Vec<String> =
        table.entries().iter().map(|entry| entry.job.name().to_owned()).collect();
    for name in others.iter().filter(|name| *name != "quota-reset") {
        table.adjust(name, None, None, Some(false)).unwrap();
    }
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    to(&world, &scheduler, "2026-10-05T10:05:00Z").await;
    assert!(resets(&world).await.is_empty(), "a window under way does not begin");
    let used = crate::world::event("e", "ann", "call", at("2026-10-05T10:00:00Z"));
    world.ingest(vec![crate::world::With::quantity(used, "85")]).await;
    // The worker is away for two nights.
    to(&world, &scheduler, "2026-10-07T10:05:00Z").await;
    to(&world, &scheduler, "2026-10-07T11:05:00Z").await;
    let found = resets(&world).await;
    let when: Vec<&str> = found.iter().map(|(when, _)| when.as_str()).collect();
    assert_eq!(when, ["\"ann\" 2026-10-05T22:00:00Z", "\"ann\" 2026-10-06T22:00:00Z"]);
    let said = |at: usize| (found[at].1["carried"].to_string(), found[at].1["hard"].to_string());
    assert_eq!(said(0), ("\"15\"".to_owned(), "\"115\"".to_owned()));
    assert_eq!(said(1), ("\"30\"".to_owned(), "\"130\"".to_owned()));
}

#[tokio::test]
async fn a_customer_that_cannot_be_read_is_parked_while_others_go_on() {
    let world = World::new(1).await;
    world.publish(QUOTAS).await;
    for name in ["ann", "bad", "cat"] {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "q", "p", "2026-09-01").await;
    }
    // A contract that an older program wrote, with a plan that there is not.
    let broken = crate::world::subscription("bad", "q", "gone", "2026-09-01");
    let commit = Commit::of(Write::PutSubscription(broken));
    world.engine.store().commit(&world.engine.tenant().id, &commit).await.unwrap();
    let table = Timetable::standard(JobSettings::default(), Zone::utc()).unwrap();
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    for day in 5..15 {
        for hour in ["00", "06", "12", "18"] {
            to(&world, &scheduler, &format!("2026-10-{day:02}T{hour}:05:00Z")).await;
        }
    }
    let parked = world.engine.parked_jobs().await.unwrap();
    let items: Vec<&str> = parked.items.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(items, ["customer/bad"]);
    assert_eq!(parked.items[0].attempts, 5, "tried a few times, then left alone");
    assert!(parked.runs.is_empty());
    assert_eq!(effects(&world, "job.parked").await.len(), 1);
    let found = resets(&world).await;
    for name in ["ann", "cat"] {
        let front = format!("\"{name}\"");
        assert_eq!(found.iter().filter(|(when, _)| when.starts_with(&front)).count(), 10);
    }
    // Mended and let go: it is part of the work again.
    let mended = crate::world::subscription("bad", "q", "p", "2026-09-01");
    let commit = Commit::of(Write::PutSubscription(mended));
    world.engine.store().commit(&world.engine.tenant().id, &commit).await.unwrap();
    world.engine.unpark_job(&table, "quota-reset", Some("customer/bad")).await.unwrap();
    to(&world, &scheduler, "2026-10-15T00:05:00Z").await;
    to(&world, &scheduler, "2026-10-15T01:05:00Z").await;
    assert!(world.engine.parked_jobs().await.unwrap().items.is_empty());
}

#[tokio::test]
async fn old_runs_are_forgotten_and_parked_ones_are_not() {
    let world = World::new(1).await;
    let table = Timetable::standard(JobSettings::default(), Zone::utc()).unwrap();
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    let start = at("2026-10-01T00:00:00Z");
    for day in 0..100 {
        let now = start.plus_micros(day * DAY_MICROS);
        world.clock.set(now);
        scheduler.run_due(now).await.unwrap();
    }
    let old: Timestamp = start.plus_micros(9 * DAY_MICROS);
    let runs = history(&world, "health").await;
    assert!(runs.iter().all(|run| run.scheduled_for >= old), "{:?}", runs.first());
    assert!(runs.len() > 80);
}
