//! Late events and corrections: whatever arrives after the invoice, all invoices together come to
//! what one computation with full knowledge comes to.

use counterfoil_invoicing::{InvoiceState, LineKind};
use counterfoil_ledger::Event;
use counterfoil_types::{Exact, Timestamp, timestamp::HOUR_MICROS};

use crate::{
    random::Random,
    world::{With, World, at, billed, dollars, event},
};

/// All that depends on the whole period: tiers with fees, a volume price, a cap, a minimum of the
/// plan, a maximum, a unique count, a level.
const BOOK: &str = r#"
[book]
name = "late"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[meter]]
key = "peak"
event_type = "call"
aggregation = "max"
[[meter]]
key = "users"
event_type = "call"
aggregation = "unique_count"
value = "user"
[[meter]]
key = "level"
event_type = "level"
aggregation = "time_weighted_level"
per = "day"

[[plan]]
key = "monthly"
interval = "month"
minimum = "40"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "10"
billing = "arrears"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "graduated"
included = 10
tiers = [
  { up_to = 50, unit_price = "0.333" },
  { up_to = 200, unit_price = "0.1", flat_fee = "3" },
  { unit_price = "0.05" },
]
maximum = "60"
[[plan.charge]]
key = "peak"
meter = "peak"
model = "volume"
tiers = [ { up_to = 20, unit_price = "0.5" }, { unit_price = "0.25" } ]
[[plan.charge]]
key = "users"
meter = "users"
model = "per_unit"
unit_price = "1.5"
[[plan.charge]]
key = "level"
meter = "level"
model = "per_unit"
unit_price = "0.07"

[[plan]]
key = "weekly"
interval = "week"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "graduated"
tiers = [ { up_to = 20, unit_price = "0.5" }, { unit_price = "0.1" } ]
[[plan.charge]]
key = "level"
meter = "level"
model = "per_unit"
unit_price = "0.07"

[[plan]]
key = "reported"
interval = "month"
late_events = "report_only"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "1"
"#;

async fn world(customers: &[(&str, &str)], accept: bool) -> World {
    let mut world = World::new(2).await;
    world.publish(BOOK).await;
    for (name, plan) in customers {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "late", plan, "2026-09-01").await;
        if accept {
            // Months with more taken back than used come to less than nothing; that is right here.
            world.options.accept.push(name.parse().unwrap());
        }
    }
    world
}

#[tokio::test]
async fn a_late_event_is_a_delta_on_the_next_invoice() {
    let world = world(&[("acme", "monthly"), ("quiet", "monthly")], false).await;
    let call = |id: &str, time: &str, amount: &str| {
        event(id, "acme", "call", at(time)).quantity(amount).text("user", "u")
    };
    world.set_clock("2026-10-02T00:00:00Z");
    world.ingest(vec![call("a", "2026-09-10T00:00:00Z", "100")]).await;
    world.bill("2026-09").await;
    let first = world.invoice("acme", 1).await.unwrap();
    // 40 × 0.333 + 50 × 0.1 + 3 = 21.32; peak 100 × 0.25; one user; the fee
    assert_eq!(first.body.total, dollars("57.82"));
    world.set_clock("2026-11-02T00:00:00Z");
    world.ingest(vec![call("b", "2026-09-30T23:59:59Z", "150")]).await;
    world.ingest(vec![call("c", "2026-10-01T00:00:00Z", "30")]).await;
    world.bill("2026-10").await;
    let second = world.invoice("acme", 2).await.unwrap();
    let late: Vec<_> =
        second.body.lines.iter().filter(|line| line.kind == LineKind::LateUsage).collect();
    // calls: 40 × 0.333 + 150 × 0.1 + 3 + 50 × 0.05 = 33.82, less 21.32; peak 150 × 0.25, less 25
    let told: Vec<_> = late.iter().map(|line| (line.charge.as_str(), line.amount)).collect();
    assert_eq!(told, [("calls", dollars("12.50")), ("peak", dollars("12.50"))]);
    for line in &late {
        assert_eq!(line.period, first.body.period, "it keeps its period");
        assert!(line.already_billed.is_some_and(|billed| !billed.is_zero()));
    }
    assert_eq!(world.invoice("acme", 1).await.unwrap(), first, "the invoice stays as it was");
    let quiet = world.invoice("quiet", 2).await.unwrap();
    assert!(quiet.body.lines.iter().all(|line| line.kind != LineKind::LateUsage));
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let third = world.invoice("acme", 3).await.unwrap();
    assert!(third.body.lines.iter().all(|line| line.kind != LineKind::LateUsage), "billed once");
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_minimum_of_a_plan_counts_late_usage() {
    let world = world(&[("acme", "monthly")], false).await;
    world.set_clock("2026-10-02T00:00:00Z");
    world.bill("2026-09").await;
    let first = world.invoice("acme", 1).await.unwrap();
    assert_eq!(first.body.total, dollars("40"), "10 of fee, raised to the minimum");
    world.set_clock("2026-11-02T00:00:00Z");
    let late = event("a", "acme", "call", at("2026-09-10T00:00:00Z")).quantity("20");
    world.ingest(vec![late.text("user", "u")]).await;
    world.bill("2026-10").await;
    let second = world.invoice("acme", 2).await.unwrap();
    // Late: 10 × 0.333 + 20 × 0.5 + 1.5 = 14.83, still under September's minimum. October: 40.
    assert_eq!(second.body.total, dollars("40"), "{:?}", crate::world::lines(&second));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn report_only_never_bills_late_events() {
    let world = world(&[("acme", "reported")], false).await;
    world.set_clock("2026-10-02T00:00:00Z");
    world.ingest(vec![event("a", "acme", "call", at("2026-09-10T00:00:00Z"))]).await;
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.ingest(vec![event("b", "acme", "call", at("2026-09-11T00:00:00Z"))]).await;
    world.bill("2026-10").await;
    assert_eq!(world.invoice("acme", 1).await.unwrap().body.total, dollars("1"));
    let second = world.invoice("acme", 2).await.unwrap();
    assert_eq!((second.body.total, second.state), (dollars("0"), InvoiceState::Paid));
    assert_eq!(world.problems().await, Vec::<String>::new());
}

/// A late event that arrives while the invoice of its period waits for review.
#[tokio::test]
async fn an_event_that_comes_between_review_and_sign_off_is_billed_once() {
    for plan in ["monthly", "weekly"] {
        let world = world(&[("acme", plan)], false).await;
        let call = |id: &str, time: &str| {
            event(id, "acme", "call", at(time)).quantity("100").text("user", "u")
        };
        world.set_clock("2026-10-02T00:00:00Z");
        world.ingest(vec![call("a", "2026-09-10T00:00:00Z")]).await;
        let review = world.compute("2026-09").await;
        world.ingest(vec![call("b", "2026-09-11T00:00:00Z")]).await;
        world.finalize(review).await;
        world.set_clock("2026-11-02T00:00:00Z");
        world.bill("2026-10").await;
        world.set_clock("2026-12-02T00:00:00Z");
        world.bill("2026-11").await;
        let invoices = world.invoices().await;
        let late = invoices.iter().flat_map(|invoice| &invoice.body.lines);
        let late = late.filter(|line| line.kind == LineKind::LateUsage && line.charge == "calls");
        assert_eq!(late.count(), 1, "{plan}");
        assert_eq!(world.problems().await, Vec::<String>::new());
    }
}

/// Months are billed in order: what one leaves open, the next could not see.
#[tokio::test]
async fn a_month_waits_for_the_run_of_the_one_before() {
    let world = world(&[("acme", "monthly")], false).await;
    world.set_clock("2026-11-02T00:00:00Z");
    let review = world.compute("2026-09").await;
    let october = "2026-10".parse().unwrap();
    let error = world.engine.open_run(&october, &world.options).await.unwrap_err();
    assert!(error.to_string().contains("2026-09"), "{error}");
    world.finalize(review).await;
    world.engine.open_run(&october, &world.options).await.unwrap();
}

/// One random event of September to November, or a correction of an earlier one.
fn random_event(
    random: &mut Random,
    number: usize,
    now: Timestamp,
    sent: &mut Vec<Event>,
) -> Event {
    let customer = random.pick(&["mona", "willi"]);
    let id = format!("e{number}");
    let own: Vec<Event> =
        sent.iter().filter(|event| event.customer.as_str() == customer).cloned().collect();
    let amount = (random.below(60)).to_string();
    let user = format!("u{}", random.below(5));
    if !own.is_empty() && random.chance(25) {
        let target = random.pick(&own);
        let base = Event { id, ..target.clone() };
        if random.chance(40) {
            sent.retain(|event| event.id != target.id);
            return base.reverses(&target.id);
        }
        return base.quantity(&amount).text("user", &user).amends(&target.id);
    }
    let kind = random.pick(&["call", "call", "level"]);
    let start = at("2026-09-01T00:00:00Z");
    let minutes = (now.micros() - start.micros()) / (HOUR_MICROS / 60);
    let minute = random.below(minutes.min(91 * 24 * 60));
    let time = start.plus_micros(minute * HOUR_MICROS / 60);
    let event = event(&id, customer, kind, time).quantity(&amount).text("user", &user);
    sent.push(event.clone());
    event
}

#[tokio::test]
async fn late_deltas_come_to_what_full_knowledge_comes_to() {
    const MONTHS: [&str; 4] = ["2026-09", "2026-10", "2026-11", "2026-12"];
    const NOWS: [&str; 4] = [
        "2026-10-02T00:00:00Z",
        "2026-11-02T00:00:00Z",
        "2026-12-02T00:00:00Z",
        "2027-01-02T00:00:00Z",
    ];
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let customers = [("mona", "monthly"), ("willi", "weekly")];
        let (late, told) = (world(&customers, true).await, world(&customers, true).await);
        let (mut all, mut sent) = (Vec::new(), Vec::new());
        for (month, now) in MONTHS.iter().zip(NOWS) {
            late.set_clock(now);
            let arrivals = |random: &mut Random, sent: &mut Vec<Event>, all: &mut Vec<Event>| {
                let from = all.len();
                for _ in 0..random.below(12) {
                    let event = random_event(random, all.len(), at(now), sent);
                    all.push(event);
                }
                all[from..].to_vec()
            };
            if *month != "2026-12" {
                let batch = arrivals(&mut random, &mut sent, &mut all);
                late.ingest(batch).await;
            }
            let review = late.compute(month).await;
            if *month != "2026-12" && random.chance(50) {
                let batch = arrivals(&mut random, &mut sent, &mut all);
                late.ingest(batch).await;
            }
            late.finalize(review).await;
        }
        told.set_clock(NOWS[3]);
        told.ingest(all).await;
        for month in MONTHS {
            told.bill(month).await;
        }
        let (deltas, whole) = (late.invoices().await, told.invoices().await);
        let unbilled: Vec<_> = deltas.iter().filter(|i| i.state == InvoiceState::Draft).collect();
        assert!(unbilled.is_empty());
        assert_eq!(billed(&deltas), billed(&whole), "seed {seed}");
        let sum = |invoices: &[counterfoil_invoicing::Invoice]| -> Exact {
            invoices.iter().fold(Exact::ZERO, |sum, i| sum.add(&i.body.total.exact()))
        };
        assert_eq!(sum(&deltas), sum(&whole), "seed {seed}");
        assert!(whole.iter().flat_map(|i| &i.body.lines).all(|l| l.kind != LineKind::LateUsage));
        for world in [late, told] {
            assert_eq!(world.problems().await, Vec::<String>::new(), "seed {seed}");
        }
    }
}
