//! Plan-level terms at work: bounds, commitments, hours of the day, zones, other periods, what is
//! settled after the end. Each worked by hand.

use counterfoil_engine::contracts::Effective;
use counterfoil_types::Zone;

use crate::{
    contracts::{assert_sound, change, on, plan, sub, told, used, world},
    world::{With, at, event, id},
};

#[tokio::test]
async fn minimum_maximum_and_discount_of_the_plan() {
    let world = world().await;
    for (name, calls) in [("low", "20"), ("mid", "60"), ("high", "100")] {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "b", "bounded", "2026-10-01").await;
        used(&world, name, "2026-10-02T00:00:00Z", calls).await;
    }
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let total = async |name: &str| world.invoice(name, 1).await.unwrap().body.total.to_plain();
    assert_eq!(total("low").await, "45.00");
    assert_eq!(total("mid").await, "54.00");
    assert_eq!(total("high").await, "72.00");
    // What comes late is held against the same bounds.
    used(&world, "low", "2026-10-30T00:00:00Z", "35").await;
    used(&world, "high", "2026-10-30T00:00:00Z", "35").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let corrected = async |name: &str| {
        let invoice = world.invoice(name, 2).await.unwrap();
        let late = invoice.body.lines.iter().filter(|line| line.origin.is_some());
        late.fold(counterfoil_types::Exact::ZERO, |sum, line| sum.add(&line.amount.exact()))
            .to_string()
    };
    assert_eq!(corrected("low").await, "4.5", "55 × 0.9 less 45");
    assert_eq!(corrected("high").await, "0", "the maximum was reached before");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_commitment_is_trued_up_at_the_end_of_its_term() {
    let world = world().await;
    for name in ["low", "high"] {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "b", "committed", "2026-07-01").await;
    }
    for month in ["07", "08", "09"] {
        used(&world, "low", &format!("2026-{month}-02T00:00:00Z"), "80").await;
        used(&world, "high", &format!("2026-{month}-02T00:00:00Z"), "120").await;
    }
    for (month, next) in [("07", "08"), ("08", "09"), ("09", "10")] {
        world.set_clock(&format!("2026-{next}-02T00:00:00Z"));
        world.bill(&format!("2026-{month}")).await;
    }
    assert_eq!(told(&world, "low", 2).await.len(), 1, "no true-up inside the term");
    assert_eq!(
        told(&world, "low", 3).await,
        [
            "Usage committed calls 09-01..10-01 80.00",
            "Commitment committed commitment 07-01..10-01 60.00",
        ]
    );
    assert_eq!(
        told(&world, "high", 3).await,
        [
            "Usage committed calls 09-01..10-01 120.00",
            "Commitment committed commitment_overage 07-01..10-01 30.00",
        ]
    );
    // Late usage of August eats into the true-up.
    used(&world, "low", "2026-08-20T00:00:00Z", "10").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let settled = told(&world, "low", 4).await;
    assert_eq!(
        settled[1..],
        [
            "LateUsage committed calls 08-01..09-01 10.00",
            "Adjustment committed commitment 07-01..10-01 -10.00",
        ]
    );
    assert_sound(&world).await;
}

#[tokio::test]
async fn usage_is_priced_by_the_hour_of_the_customers_day() {
    let world = world().await;
    world.customer("ann", "America/New_York", None).await;
    world.subscribe("ann", "b", "power", "2026-10-01").await;
    world.set_clock("2026-10-11T00:00:00Z");
    let energy = |name: &str, when: &str, quantity: &str| {
        event(name, "ann", "energy", at(when)).quantity(quantity)
    };
    world
        .ingest(vec![
            // Monday 08:00 and 07:59:59 in New York, Saturday noon, Friday 19:59.
            energy("a", "2026-10-05T12:00:00Z", "10"),
            energy("b", "2026-10-05T11:59:59Z", "10"),
            energy("c", "2026-10-10T16:00:00Z", "10"),
            energy("d", "2026-10-09T23:59:00Z", "10"),
        ])
        .await;
    world.set_clock("2026-11-02T12:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(told(&world, "ann", 1).await, ["Usage power energy 10-01..11-01 8.00"]);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_change_of_zone_bills_every_instant_once() {
    let world = world().await;
    world.customer("ann", "Europe/Berlin", None).await;
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    // Each hour around the boundary of October and November carries usage.
    let mut events = Vec::new();
    for hour in 0..96 {
        let when = at("2026-10-30T00:30:00Z").plus_micros(hour * 3_600_000_000);
        events.push(event(&format!("h{hour}"), "ann", "call", when).quantity("100"));
    }
    world.set_clock("2026-10-20T00:00:00Z");
    let zone: Zone = "America/Los_Angeles".parse().unwrap();
    world.engine.move_customer(&id("ann"), &zone, Effective::Now).await.unwrap();
    world.set_clock("2026-11-03T12:00:00Z");
    world.ingest(events).await;
    world.bill("2026-10").await;
    world.set_clock("2026-12-02T12:00:00Z");
    world.bill("2026-11").await;
    let metered = async |cycle: u32| {
        world.invoice("ann", cycle).await.unwrap().body.lines[0].metered.clone().unwrap()
    };
    let sum = metered(1).await.add(&metered(2).await);
    assert_eq!(sum.to_string(), "9600");
    let second = world.invoice("ann", 2).await.unwrap();
    assert_eq!(second.body.period.start, at("2026-10-31T23:00:00Z"), "as announced in Berlin");
    assert_eq!(second.body.period.end, at("2026-12-01T08:00:00Z"), "midnight in Los Angeles");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_plan_with_other_periods_begins_on_its_day() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    world.set_clock("2026-10-16T00:00:00Z");
    change(&world, "ann", "2026-10-16", plan("yearly")).await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(
        told(&world, "ann", 1).await,
        ["Usage small calls 10-01..10-16 0.00", "FeeAdvance yearly licence 10-16..10-16 3650.00",]
    );
    // What is invoiced for certain dates may not get others.
    let refused =
        world.engine.change_subscription(&sub("ann"), on("2026-10-10"), plan("yearly")).await;
    assert!(refused.unwrap_err().to_string().contains("choose a later day"));
    assert_sound(&world).await;
}

#[tokio::test]
async fn late_usage_of_an_ended_subscription_is_settled() {
    let world = world().await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "small", "2026-09-01").await;
    world.engine.end_subscription(&sub("ann"), on("2026-10-01")).await.unwrap();
    world.set_clock("2026-10-02T00:00:00Z");
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert!(world.invoice("ann", 2).await.is_none(), "nothing came");
    used(&world, "ann", "2026-09-20T00:00:00Z", "150").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    assert_eq!(told(&world, "ann", 3).await, ["LateUsage small calls 09-01..10-01 5.00"]);
    world.set_clock("2027-01-02T00:00:00Z");
    world.bill("2026-12").await;
    assert!(world.invoice("ann", 4).await.is_none(), "it is settled once");
    assert_sound(&world).await;
}
