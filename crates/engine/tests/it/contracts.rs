//! Contracts that change: each worked by hand, with invoices that can be derived again at the end.

use std::sync::Arc;

use counterfoil_engine::contracts::Effective;
use counterfoil_invoicing::{ChangeKind, Customer, LineKind, Patch, Subscription};
use counterfoil_types::{Currency, SubscriptionId, Zone};

use crate::world::{With, World, at, event, id, lines, subscription};

pub(crate) const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "USD"
effective_from = "2025-01-01"
[[currency]]
code = "EUR"
rate = "0.9"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[meter]]
key = "energy"
event_type = "energy"
aggregation = "sum"

[[plan]]
key = "small"
interval = "month"
[[plan.charge]]
key = "base"
model = "flat"
amount = "100"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
included = 100
unit_price = "0.10"

[[plan]]
key = "big"
interval = "month"
[[plan.charge]]
key = "base"
model = "flat"
amount = "310"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
included = 100
unit_price = "0.05"

[[plan]]
key = "seats"
interval = "month"
[[plan.charge]]
key = "seats"
model = "per_unit"
licensed = true
unit_price = "31"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "graduated"
tiers = [ { up_to = 10, unit_price = "1" }, { unit_price = "0.5" } ]

[[plan]]
key = "support"
interval = "month"
[[plan.charge]]
key = "support"
model = "flat"
amount = "62"

[[plan]]
key = "annual"
interval = "month"
[[plan.charge]]
key = "licence"
model = "flat"
amount = "1200"
interval = "year"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "1"

[[plan]]
key = "yearly"
interval = "year"
alignment = "anniversary"
[[plan.charge]]
key = "licence"
model = "flat"
amount = "3650"

[[plan]]
key = "ramp"
interval = "month"
[[plan.phase]]
key = "free"
days = 10
trial = true
[[plan.phase]]
key = "half"
months = 1
discounts = [ { percent = "50", name = "Half price" } ]
[[plan.charge]]
key = "base"
model = "flat"
amount = "310"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "1"

[[plan]]
key = "bounded"
interval = "month"
minimum = "50"
maximum = "80"
discounts = [ { percent = "10", name = "Partner" } ]
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "1"

[[plan]]
key = "committed"
interval = "month"
[plan.commitment]
amount = "300"
interval = "quarter"
overage_factor = "1.5"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "1"

[[plan]]
key = "power"
interval = "month"
[[plan.charge]]
key = "energy"
meter = "energy"
model = "time_of_day"
windows = [ { name = "peak", days = ["mon","tue","wed","thu","fri"], from = "08:00", to = "20:00", unit_price = "0.30" } ]
default_unit_price = "0.10"
"#;

pub(crate) async fn world() -> World {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world
}

pub(crate) async fn used(world: &World, customer: &str, when: &str, calls: &str) {
    let name = format!("{customer}-{when}-{calls}");
    if world.engine.now() < at(when) {
        world.set_clock(when);
    }
    world.ingest(vec![event(&name, customer, "call", at(when)).quantity(calls)]).await;
}

pub(crate) fn sub(name: &str) -> SubscriptionId {
    name.parse().unwrap()
}

pub(crate) fn on(day: &str) -> Effective {
    Effective::On(day.parse().unwrap())
}

pub(crate) fn plan(key: &str) -> ChangeKind {
    ChangeKind::Plan { plan: key.parse().unwrap(), book: None, pinned: None }
}

pub(crate) async fn change(world: &World, name: &str, day: &str, what: ChangeKind) -> Subscription {
    world.engine.change_subscription(&sub(name), on(day), what).await.unwrap()
}

/// The lines of a cycle's invoice: kind, plan, charge, first and last local day, amount.
pub(crate) async fn told(world: &World, name: &str, cycle: u32) -> Vec<String> {
    let invoice = world.invoice(name, cycle).await.expect("an invoice");
    let day = |at: counterfoil_types::Timestamp| at.to_string()[5..10].to_owned();
    invoice
        .body
        .lines
        .iter()
        .map(|line| {
            format!(
                "{:?} {} {} {}..{} {}",
                line.kind,
                line.plan,
                line.charge,
                day(line.period.start),
                day(line.period.end),
                line.amount.to_plain()
            )
        })
        .collect()
}

pub(crate) async fn assert_sound(world: &World) {
    assert_eq!(world.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_upgrade_in_mid_month_is_prorated_both_ways() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    world.set_clock("2026-10-16T09:00:00Z");
    change(&world, "ann", "2026-10-16", plan("big")).await;
    used(&world, "ann", "2026-10-02T00:00:00Z", "200").await;
    used(&world, "ann", "2026-10-20T00:00:00Z", "300").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    // The opening was computed after the change: both halves are known.
    assert_eq!(
        told(&world, "ann", 0).await,
        ["FeeAdvance small base 10-01..10-16 48.39", "FeeAdvance big base 10-16..11-01 160.00"]
    );
    assert_eq!(
        told(&world, "ann", 1).await,
        [
            "Usage small calls 10-01..10-16 10.00",
            "Usage big calls 10-16..11-01 10.00",
            "FeeAdvance big base 11-01..12-01 310.00",
        ]
    );
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_downgrade_after_the_fee_was_invoiced_comes_back_on_the_next_invoice() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "big", "2026-10-01").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(
        told(&world, "ann", 1).await.last().unwrap(),
        "FeeAdvance big base 11-01..12-01 310.00"
    );
    world.set_clock("2026-11-10T00:00:00Z");
    change(&world, "ann", "2026-11-25", plan("small")).await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    // 310 × 24/30 and 100 × 6/30.
    assert_eq!(
        told(&world, "ann", 2).await,
        [
            "Usage big calls 11-01..11-25 0.00",
            "Usage small calls 11-25..12-01 0.00",
            "FeeAdvance small base 12-01..01-01 100.00",
            "Adjustment big base 11-01..11-25 -62.00",
            "Adjustment small base 11-25..12-01 20.00",
        ]
    );
    assert_sound(&world).await;
}

#[tokio::test]
async fn seats_are_prorated_and_do_not_cut_the_tiers_of_usage() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    let mut start = subscription("ann", "b", "seats", "2026-10-01");
    start.quantities.insert("seats".to_owned(), 5.into());
    world.engine.start_subscription(&start).await.unwrap();
    used(&world, "ann", "2026-10-02T00:00:00Z", "8").await;
    used(&world, "ann", "2026-10-20T00:00:00Z", "8").await;
    world.set_clock("2026-10-16T00:00:00Z");
    let seven = ChangeKind::Quantity { charge: "seats".to_owned(), quantity: 7.into() };
    change(&world, "ann", "2026-10-16", seven).await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(
        told(&world, "ann", 0).await,
        ["FeeAdvance seats seats 10-01..10-16 75.00", "FeeAdvance seats seats 10-16..11-01 112.00",]
    );
    // 10 × 1 + 6 × 0.5: one stretch, one ladder of tiers.
    let closing = told(&world, "ann", 1).await;
    assert_eq!(closing[0], "Usage seats calls 10-01..11-01 13.00");
    assert_eq!(closing[1], "FeeAdvance seats seats 11-01..12-01 217.00");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_cancellation_gives_back_what_was_paid_in_advance() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "big", "2026-10-01").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    used(&world, "ann", "2026-11-03T00:00:00Z", "1100").await;
    let ended = world.engine.end_subscription(&sub("ann"), on("2026-11-07")).await.unwrap();
    assert_eq!(ended.end.unwrap().to_string(), "2026-11-07");
    world.set_clock("2026-12-02T00:00:00Z");
    let mut run = world.compute("2026-11").await;
    // 50 of usage less 248 of fee: below zero, so somebody must look at it.
    let parked = world.engine.manifest(run.clone()).await.unwrap();
    assert!(parked.exceptions[0].reason.as_ref().unwrap().contains("below zero"));
    let mut options = world.options.clone();
    options.accept = vec![sub("ann")];
    let books = Arc::new(world.engine.books().await.unwrap());
    run = world.engine.compute_run(&books, run, &options, &|_| {}).await.unwrap();
    world.finalize(run).await;
    assert_eq!(
        told(&world, "ann", 2).await,
        ["Usage big calls 11-01..11-07 50.00", "Adjustment big base 11-01..11-07 -248.00"]
    );
    // Two fees of 310 were open: what she has in credit went to the older one.
    let open = async |cycle: u32| {
        let invoice = world.invoice("ann", cycle).await.unwrap();
        let account = format!("receivable/{}", invoice.id);
        world.engine.money_on(&account, Currency::USD).await.unwrap().to_plain()
    };
    assert_eq!((open(0).await, open(1).await), ("112.00".into(), "310.00".into()));
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_cancellation_at_the_end_of_the_period_costs_the_period() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "big", "2026-10-01").await;
    world.set_clock("2026-10-12T00:00:00Z");
    let ended = world.engine.end_subscription(&sub("ann"), Effective::AtPeriodEnd).await.unwrap();
    assert_eq!(ended.end.unwrap().to_string(), "2026-11-01");
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(told(&world, "ann", 0).await, ["FeeAdvance big base 10-01..11-01 310.00"]);
    assert_eq!(told(&world, "ann", 1).await, ["Usage big calls 10-01..11-01 0.00"]);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_pause_costs_nothing_and_its_usage_is_listed_as_unbilled() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "big", "2026-10-01").await;
    change(&world, "ann", "2026-10-11", ChangeKind::Pause).await;
    change(&world, "ann", "2026-10-21", ChangeKind::Resume).await;
    used(&world, "ann", "2026-10-02T00:00:00Z", "300").await;
    used(&world, "ann", "2026-10-15T00:00:00Z", "5000").await;
    used(&world, "ann", "2026-10-30T00:00:00Z", "300").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(
        told(&world, "ann", 0).await,
        ["FeeAdvance big base 10-01..10-11 100.00", "FeeAdvance big base 10-21..11-01 110.00",]
    );
    let closing = told(&world, "ann", 1).await;
    assert_eq!(
        closing[..2],
        ["Usage big calls 10-01..10-11 10.00", "Usage big calls 10-21..11-01 10.00"]
    );
    let october =
        counterfoil_types::Period::new(at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z"));
    let unbilled = world.engine.unbilled(october).await.unwrap();
    assert_eq!((unbilled.len(), unbilled[0].events), (1, 1));
    assert_eq!(unbilled[0].reason, "the subscription is paused");
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_add_on_is_billed_on_the_same_invoice_from_its_day() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    let support = ChangeKind::AddOn { plan: "support".parse().unwrap() };
    change(&world, "ann", "2026-10-17", support.clone()).await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let opening = told(&world, "ann", 0).await;
    assert_eq!(opening[1], "FeeAdvance support support 10-17..11-01 30.00");
    let again = world.engine.change_subscription(&sub("ann"), on("2026-11-20"), support).await;
    assert!(again.unwrap_err().to_string().contains("has plan support"));
    let yearly = ChangeKind::AddOn { plan: "yearly".parse().unwrap() };
    let refused = world.engine.change_subscription(&sub("ann"), on("2026-11-20"), yearly).await;
    assert!(refused.unwrap_err().to_string().contains("keeps its plan's periods"));
    let drop = ChangeKind::DropAddOn { plan: "support".parse().unwrap() };
    change(&world, "ann", "2026-11-16", drop).await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let closing = told(&world, "ann", 2).await;
    assert_eq!(closing.last().unwrap(), "Adjustment support support 11-01..11-16 -31.00");
    assert_sound(&world).await;
}

#[tokio::test]
async fn usage_is_billed_monthly_under_a_yearly_fee() {
    let world = world().await;
    world.customer("ann", "Europe/Berlin", None).await;
    world.subscribe("ann", "b", "annual", "2025-10-01").await;
    let mut fees = Vec::new();
    for (year, month) in (10..=12).map(|m| (2025, m)).chain((1..=12).map(|m| (2026, m))) {
        let (y, m) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        world.set_clock(&format!("{y}-{m:02}-02T00:00:00Z"));
        world.bill(&format!("{year}-{month:02}")).await;
    }
    for invoice in world.invoices().await {
        for (kind, charge, amount) in lines(&invoice) {
            if charge == "licence" {
                assert_eq!(kind, LineKind::FeeAdvance);
                fees.push((invoice.body.cycle, amount));
            }
        }
    }
    // On the calendar: a part for 92 of 365 days and the hour that autumn has more,
    // then each January.
    let expected = [(0, "302.60"), (3, "1200.00"), (15, "1200.00")];
    assert_eq!(fees, expected.map(|(cycle, fee)| (cycle, fee.to_owned())));
    assert_eq!(world.invoices().await.len(), 16, "an opening, and fifteen months of usage");
    assert_sound(&world).await;
}

#[tokio::test]
async fn trials_phases_and_ramps_follow_one_another() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "ramp", "2026-10-01").await;
    used(&world, "ann", "2026-10-05T00:00:00Z", "40").await;
    used(&world, "ann", "2026-10-15T00:00:00Z", "40").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    assert_eq!(
        told(&world, "ann", 0).await,
        ["FeeAdvance ramp base 10-01..10-11 0.00", "FeeAdvance ramp base 10-11..11-01 105.00",]
    );
    assert_eq!(
        told(&world, "ann", 1).await,
        [
            "Usage ramp calls 10-01..10-11 0.00",
            "Usage ramp calls 10-11..11-01 20.00",
            "FeeAdvance ramp base 11-01..11-11 51.67",
            "FeeAdvance ramp base 11-11..12-01 206.67",
        ]
    );
    let invoice = world.invoice("ann", 1).await.unwrap();
    assert_eq!(invoice.body.lines[0].phase.as_deref(), Some("free"));
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_trial_of_the_subscription_costs_nothing() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    let mut start = subscription("ann", "b", "small", "2026-10-01");
    start.trial_days = Some(14);
    world.engine.start_subscription(&start).await.unwrap();
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(
        told(&world, "ann", 0).await,
        ["FeeAdvance small base 10-01..10-15 0.00", "FeeAdvance small base 10-15..11-01 54.84",]
    );
    assert_sound(&world).await;
}

#[tokio::test]
async fn prices_of_one_customer_and_of_another_currency() {
    let world = world().await;
    let euro = Customer::new(id("eva"), "Eva", Currency::EUR, Zone::utc());
    world.engine.put_customer(&euro).await.unwrap();
    let mut start = subscription("eva", "b", "small", "2026-10-01");
    let patch: Patch = serde_json::from_str(r#"{"unit_price":"0.08","included":null}"#).unwrap();
    start.overrides.insert("calls".to_owned(), patch);
    world.engine.start_subscription(&start).await.unwrap();
    used(&world, "eva", "2026-10-02T00:00:00Z", "100").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(told(&world, "eva", 0).await, ["FeeAdvance small base 10-01..11-01 90.00"]);
    assert_eq!(told(&world, "eva", 1).await[0], "Usage small calls 10-01..11-01 7.20");
    let invoice = world.invoice("eva", 1).await.unwrap();
    assert_eq!(invoice.body.currency, Currency::EUR);
    let mut wrong = subscription("two", "b", "support", "2026-10-01");
    wrong.customer = id("eva");
    wrong.overrides.insert("nothing".to_owned(), Patch::new());
    let refused = world.engine.start_subscription(&wrong).await.unwrap_err().to_string();
    assert!(refused.contains("no charge \"nothing\""), "{refused}");
    assert_sound(&world).await;
}
