//! A month that runs itself: computed on the first, signed off inside bounds or by a person, months
//! that were missed in order, three schedulers at once, every call of the store failing.

use std::sync::Arc;

use counterfoil_engine::{
    Engine,
    jobs::{AutoApprove, JobSettings, Scheduler, Timetable},
};
use counterfoil_invoicing::{InvoiceState, RunState};
use counterfoil_store::{
    InvoiceFilter, Store,
    faults::{FaultStore, Side, WRITES},
};
use counterfoil_store_postgres::{PostgresOptions, PostgresStore, testing};
use counterfoil_types::{FixedClock, Quantity, TenantId, Timestamp, Zone, timestamp::HOUR_MICROS};

use crate::{
    jobs::{Switch, effects, scheduler},
    world::{With, World, at, event, subscription},
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
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "10"
billing = "advance"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
"#;

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];

/// Customers with usage in October; the clock stands in it.
async fn october() -> World {
    let world = World::new(2).await;
    world.set_clock("2026-10-30T00:00:00Z");
    world.publish(BOOK).await;
    for name in NAMES {
        world.customer(name, "Europe/Berlin", None).await;
        world.subscribe(name, "b", "p", "2026-10-01").await;
        let calls = event(name, name, "call", at("2026-10-20T12:00:00Z")).quantity("40");
        world.ingest(vec![calls]).await;
    }
    world
}

fn table(bounds: Option<AutoApprove>) -> Timetable {
    let settings = JobSettings { auto_approve: bounds, ..JobSettings::default() };
    Timetable::standard(settings, Zone::utc()).unwrap()
}

fn wide() -> Option<AutoApprove> {
    let max_total = Quantity::from(1_000);
    Some(AutoApprove { max_total, max_invoice: None, max_growth: None, max_parked: 0 })
}

/// Lets time pass hour by hour, everything that is due being done.
async fn pass(world: &World, scheduler: &Scheduler, from: &str, to: &str) {
    pass_by(world, scheduler, (from, to), 1).await;
}

async fn pass_by(world: &World, scheduler: &Scheduler, (from, to): (&str, &str), hours: i64) {
    let (mut now, end) = (at(from), at(to));
    while now <= end {
        world.clock.set(now);
        scheduler.run_due(now).await.unwrap();
        now = now.plus_micros(hours * HOUR_MICROS);
    }
}

async fn runs(world: &World) -> Vec<(String, u32, RunState)> {
    let runs = world.engine.store().runs(&world.engine.tenant().id).await.unwrap();
    runs.into_iter().map(|run| (run.period, run.attempt, run.state)).collect()
}

/// What was billed: number and total by subscription and cycle.
async fn billed(store: &dyn Store, tenant: &TenantId) -> Vec<String> {
    let all = InvoiceFilter::default();
    let mut found = Vec::new();
    for summary in store.invoices(tenant, &all, None, 10_000).await.unwrap() {
        let invoice = store.invoice(tenant, &summary.id).await.unwrap().unwrap();
        assert_ne!(invoice.state, InvoiceState::Draft);
        found.push(format!(
            "{} {} {} {} {}",
            invoice.body.subscription,
            invoice.body.cycle,
            invoice.number.unwrap_or_default(),
            invoice.body.total,
            invoice.state.as_str()
        ));
    }
    found.sort();
    found
}

async fn numbers(world: &World) -> Vec<String> {
    billed(world.engine.store(), &world.engine.tenant().id).await
}

#[tokio::test]
async fn the_run_waits_for_a_signature_and_reminds_each_day() {
    let world = october().await;
    let (scheduler, _switch) = scheduler(&world.engine, &table(None), "one");
    pass(&world, &scheduler, "2026-10-30T00:30:00Z", "2026-11-01T12:30:00Z").await;
    assert_eq!(runs(&world).await, [], "not over everywhere, with the grace");
    pass(&world, &scheduler, "2026-11-01T13:30:00Z", "2026-11-03T20:30:00Z").await;
    assert_eq!(runs(&world).await, [("2026-10".to_owned(), 1, RunState::Review)]);
    assert_eq!(effects(&world, "run.waiting").await.len(), 3, "at once, and each day after");
    assert_eq!(effects(&world, "run.computed").await.len(), 1);
    let tenant = &world.engine.tenant().id;
    let run = world.engine.store().runs(tenant).await.unwrap().remove(0);
    world.engine.approve_run(run, "ann").await.unwrap();
    pass(&world, &scheduler, "2026-11-03T20:40:00Z", "2026-11-05T20:30:00Z").await;
    assert_eq!(runs(&world).await, [("2026-10".to_owned(), 1, RunState::Finalized)]);
    assert_eq!(effects(&world, "run.waiting").await.len(), 3, "nobody is reminded any more");
    assert_eq!(effects(&world, "run.finalized").await.len(), 1);
    // An opening and a closing invoice each.
    assert_eq!(numbers(&world).await.len(), 2 * NAMES.len());
    assert_eq!(effects(&world, "invoice.issued").await.len(), 2 * NAMES.len());
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn only_runs_inside_all_bounds_are_signed_off_by_themselves() {
    let bounds = wide().unwrap();
    let narrow = [
        AutoApprove { max_total: Quantity::from(100), ..bounds.clone() },
        AutoApprove { max_invoice: Some(Quantity::from(9)), ..bounds.clone() },
        AutoApprove { max_growth: Some(Quantity::from(3)), ..bounds.clone() },
    ];
    for bounds in narrow {
        let world = october().await;
        let (scheduler, _switch) = scheduler(&world.engine, &table(Some(bounds.clone())), "one");
        world.set_clock("2026-11-02T00:00:00Z");
        scheduler.run_due(at("2026-11-02T00:00:00Z")).await.unwrap();
        assert_eq!(runs(&world).await[0].2, RunState::Review, "{bounds:?}");
        let body = world.engine.store().effects(&world.engine.tenant().id, 0, 1_000).await.unwrap();
        let body = body.into_iter().find(|effect| effect.kind == "run.waiting").unwrap().body;
        assert!(body["why"].as_str().unwrap().contains("USD"), "{body}");
    }
    let world = october().await;
    let (scheduler, _switch) = scheduler(&world.engine, &table(Some(bounds)), "one");
    world.set_clock("2026-11-02T00:00:00Z");
    scheduler.run_due(at("2026-11-02T00:00:00Z")).await.unwrap();
    assert_eq!(runs(&world).await[0].2, RunState::Finalized);
    let run = world.engine.store().runs(&world.engine.tenant().id).await.unwrap().remove(0);
    assert_eq!(run.approved_by.as_deref(), Some("auto-approval"));
}

#[tokio::test]
async fn a_parked_account_keeps_a_run_from_signing_itself_off() {
    let world = october().await;
    let mut table = table(wide());
    table.settings.run.bounds.max_total = Quantity::from(9);
    let table = Timetable::standard(table.settings, Zone::utc()).unwrap();
    let (scheduler, _switch) = scheduler(&world.engine, &table, "one");
    world.set_clock("2026-11-02T00:00:00Z");
    scheduler.run_due(at("2026-11-02T00:00:00Z")).await.unwrap();
    assert_eq!(runs(&world).await[0].2, RunState::Review);
}

#[tokio::test]
async fn missed_months_are_run_in_order_and_a_long_jump_waits_for_somebody() {
    let undisturbed = october().await;
    let (one, _a) = scheduler(&undisturbed.engine, &table(wide()), "one");
    let time = ("2026-10-31T00:30:00Z", "2027-01-05T00:30:00Z");
    pass_by(&undisturbed, &one, time, 24).await;
    let wanted = numbers(&undisturbed).await;
    let months = ["2026-10", "2026-11", "2026-12"].map(|m| (m.to_owned(), 1, RunState::Finalized));
    assert_eq!(runs(&undisturbed).await, months);

    let world = october().await;
    let table = table(wide());
    let (scheduler, _b) = scheduler(&world.engine, &table, "one");
    pass(&world, &scheduler, "2026-10-31T00:30:00Z", "2026-10-31T02:30:00Z").await;
    // Nobody looks for two months.
    pass(&world, &scheduler, "2027-01-05T00:30:00Z", "2027-01-05T03:30:00Z").await;
    assert_eq!(runs(&world).await, [], "closing rests");
    assert_eq!(effects(&world, "job.parked").await.len(), 1, "and operators hear of it");
    for job in ["invoice-run", "finalize-runs", "dunning", "grants"] {
        let view = world.engine.job(&table, job).await.unwrap();
        assert_eq!(view.pause.expect(job).by, "the clock");
        world.engine.resume_job(&table, job).await.unwrap();
    }
    pass(&world, &scheduler, "2027-01-05T04:30:00Z", "2027-01-05T05:30:00Z").await;
    assert_eq!(runs(&world).await, months, "each month once, in order");
    // What is numbered in which order is the same; so are the amounts.
    assert_eq!(
        numbers(&world).await,
        wanted.iter().map(|text| text.replace("overdue", "pending")).collect::<Vec<_>>()
    );
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_clock_that_goes_back_closes_nothing_twice() {
    let world = october().await;
    let (scheduler, _switch) = scheduler(&world.engine, &table(wide()), "one");
    pass(&world, &scheduler, "2026-10-31T20:30:00Z", "2026-11-02T20:30:00Z").await;
    let once = numbers(&world).await;
    assert_eq!(once.len(), 2 * NAMES.len());
    pass(&world, &scheduler, "2026-10-30T20:30:00Z", "2026-11-03T20:30:00Z").await;
    assert_eq!(numbers(&world).await, once);
    assert_eq!(runs(&world).await.len(), 1);
    assert_eq!(effects(&world, "run.finalized").await.len(), 1);
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_month_that_somebody_ran_by_hand_is_not_run_again() {
    let world = october().await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let (scheduler, _switch) = scheduler(&world.engine, &table(wide()), "one");
    pass(&world, &scheduler, "2026-11-02T00:30:00Z", "2026-11-02T06:30:00Z").await;
    assert_eq!(runs(&world).await, [("2026-10".to_owned(), 1, RunState::Finalized)]);
}

#[tokio::test]
async fn a_tenant_without_subscriptions_has_no_runs() {
    let world = World::new(1).await;
    let (scheduler, _switch) = scheduler(&world.engine, &table(wide()), "one");
    pass(&world, &scheduler, "2026-11-02T00:30:00Z", "2026-11-02T06:30:00Z").await;
    assert_eq!(runs(&world).await, []);
}

/// Three schedulers tick at once through the end of a month.
async fn three_at_once(store: &Arc<dyn Store>, clock: &Arc<FixedClock>, tenant: &TenantId) {
    let mut table = table(wide());
    // A real server's clock is not the one of this test, which health would tell.
    table.adjust("health", None, None, Some(false)).unwrap();
    let mut workers: Vec<(Scheduler, Switch)> = Vec::new();
    for name in ["one", "two", "three"] {
        let engine = Engine::open(store.clone(), clock.clone(), tenant, 2).await.unwrap();
        workers.push(scheduler(&engine, &table, name));
    }
    let mut now = at("2026-10-31T20:30:00Z");
    while now <= at("2026-11-02T06:30:00Z") {
        clock.set(now);
        // Twice: what another was at in the first round is looked at again.
        for _ in 0..2 {
            let tasks: Vec<_> = workers
                .iter()
                .map(|(worker, _)| {
                    let worker = worker.clone();
                    tokio::spawn(async move { worker.run_due(now).await })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        }
        now = now.plus_micros(2 * HOUR_MICROS);
    }
}

async fn told(store: &dyn Store, tenant: &TenantId) -> Vec<String> {
    let effects = store.effects(tenant, 0, 10_000).await.unwrap();
    let mut keys: Vec<String> = effects.into_iter().map(|effect| effect.key).collect();
    keys.sort();
    keys
}

async fn alone() -> (World, Vec<String>, Vec<String>) {
    let world = october().await;
    let (one, _switch) = scheduler(&world.engine, &table(wide()), "one");
    let mut now = at("2026-10-31T20:30:00Z");
    while now <= at("2026-11-02T06:30:00Z") {
        world.clock.set(now);
        one.run_due(now).await.unwrap();
        now = now.plus_micros(2 * HOUR_MICROS);
    }
    let tenant = world.engine.tenant().id.clone();
    let store = world.engine.shared_store();
    let (billed, told) = (billed(&*store, &tenant).await, told(&*store, &tenant).await);
    (world, billed, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_schedulers_without_a_leader_do_the_month_once() {
    let (_alone, wanted, wanted_told) = alone().await;
    assert_eq!(wanted.len(), 2 * NAMES.len());
    let world = october().await;
    let (store, tenant) = (world.engine.shared_store(), &world.engine.tenant().id);
    three_at_once(&store, &world.clock, tenant).await;
    assert_eq!(billed(&*store, tenant).await, wanted);
    assert_eq!(told(&*store, tenant).await, wanted_told);
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_schedulers_on_postgres_do_the_month_once() {
    let (_alone, wanted, wanted_told) = alone().await;
    let server = testing::shared().unwrap_or_else(|error| panic!("{error}"));
    let url = server.database().await.unwrap();
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let clock = Arc::new(FixedClock::new(at("2026-10-30T00:00:00Z")));
    let tenant = TenantId::new("acme").unwrap();
    let engine = Engine::open(shared.clone(), clock.clone(), &tenant, 2).await.unwrap();
    fill(&engine).await;
    three_at_once(&shared, &clock, &tenant).await;
    assert_eq!(billed(&*shared, &tenant).await, wanted);
    assert_eq!(told(&*shared, &tenant).await, wanted_told);
    assert_eq!(engine.verify().await.unwrap().problems, Vec::<String>::new());
    store.close().await;
}

/// As [`october`], on any store.
async fn fill(engine: &Engine) {
    use counterfoil_engine::ingest::IngestOptions;
    use counterfoil_invoicing::Customer;
    use counterfoil_types::Currency;
    let book = counterfoil_catalog::PriceBook::parse("b.toml", BOOK).unwrap();
    engine.publish(&book).await.unwrap();
    for name in NAMES {
        let zone = "Europe/Berlin".parse().unwrap();
        let named = format!("{name} Ltd");
        let customer = Customer::new(crate::world::id(name), named, Currency::USD, zone);
        engine.put_customer(&customer).await.unwrap();
        engine.start_subscription(&subscription(name, "b", "p", "2026-10-01")).await.unwrap();
        let calls = event(name, name, "call", at("2026-10-20T12:00:00Z")).quantity("40");
        engine.ingest(vec![calls], IngestOptions { backfill: true }).await.unwrap();
    }
}

/// The times at which the workers of the fault loop look.
fn looks() -> Vec<Timestamp> {
    ["2026-10-31T23:00:00Z", "2026-11-02T00:00:00Z", "2026-11-02T10:00:00Z", "2026-12-05T10:00:00Z"]
        .map(at)
        .to_vec()
}

/// The month through a store that may fail; whatever fails, the same worker looks again.
async fn month(world: &World, store: Arc<dyn Store>) {
    let engine = crate::faults::until_done(async || world.through(store.clone()).await).await;
    let (worker, _switch) = scheduler(&engine, &table(wide()), "one");
    for now in looks() {
        world.clock.set(now);
        crate::faults::until_done(async || worker.run_due(now).await).await;
        // A lease that a failed call left behind runs out.
        let later = now.plus_micros(31_000_000);
        world.clock.set(later);
        crate::faults::until_done(async || worker.run_due(now).await).await;
    }
}

/// What the month came to: all that anybody is told or owes.
async fn state(world: &World) -> Vec<String> {
    let (store, tenant) = (world.engine.store(), &world.engine.tenant().id);
    let mut state = numbers(world).await;
    state.extend(told(store, tenant).await);
    let facts = store.facts(tenant, 0, 10_000).await.unwrap();
    let mut facts: Vec<String> = facts.into_iter().map(|fact| fact.fact.key).collect();
    facts.sort();
    state.extend(facts);
    for run in store.runs(tenant).await.unwrap() {
        for item in store.run_items(tenant, &run.id, &[], None, 100).await.unwrap() {
            state.push(format!("{item:?}"));
        }
        state.push(format!("{} {} {:?}", run.period, run.attempt, run.state));
    }
    let open = store.unsettled_job_runs(tenant).await.unwrap();
    state.extend(open.iter().map(|run| format!("{} {}", run.job, run.scheduled_for)));
    let mut jobs: Vec<String> = Vec::new();
    let all = counterfoil_store::JobFilter::default();
    for run in store.job_history(tenant, &all, None, 10_000).await.unwrap() {
        jobs.push(format!("{} {} {}", run.job, run.scheduled_for, run.state.as_str()));
    }
    state.extend(jobs);
    state
}

#[tokio::test]
async fn every_store_call_of_a_scheduled_month_may_fail() {
    let base = october().await;
    let clean_world = base.copy().await;
    let recorder = Arc::new(FaultStore::new(Arc::new(clean_world.sqlite.clone())));
    month(&clean_world, recorder.clone()).await;
    let clean = state(&clean_world).await;
    assert!(clean.iter().any(|line| line.starts_with("2026-11 1 Finalized")), "{clean:#?}");
    assert_eq!(clean_world.problems().await, Vec::<String>::new());
    let calls = recorder.calls();
    // Each call once before its effect; writes after it as well. A step that divides nothing keeps the test
    // short and meets every kind of call in some build; all of them with the variable set.
    let step = if std::env::var_os("COUNTERFOIL_TEST_ALL").is_some() { 1 } else { 7 };
    for (number, name) in calls.iter().enumerate().step_by(step) {
        let sides: &[Side] =
            if WRITES.contains(name) { &[Side::Before, Side::After] } else { &[Side::Before] };
        for side in sides {
            let world = base.copy().await;
            let inner: Arc<dyn Store> = Arc::new(world.sqlite.clone());
            let faulty = Arc::new(FaultStore::failing(inner, number, *side));
            month(&world, faulty.clone()).await;
            let found = state(&world).await;
            for (found, expected) in found.iter().zip(&clean) {
                assert_eq!(found, expected, "after {name} (call {number}) failed {side:?}");
            }
            assert_eq!(found.len(), clean.len(), "after {name} (call {number}) failed {side:?}");
            world.sqlite.close().await;
        }
    }
    let writes = calls.iter().filter(|name| WRITES.contains(name)).count();
    assert!(writes >= 60, "the month writes through every job, not {writes} times");
}
