//! What Stripe counts against what we count, and what is made there on request.

#![cfg(test)]

use counterfoil_engine::stripe::hold::{Difference, Reconciled};
use counterfoil_store::stripe::{self, Link, Mode};
use counterfoil_stripe::{setup, usage::counted};
use counterfoil_types::{Clock, Exact};

use crate::world::{World, at, id, on_both};

/// Totals are asked for per customer, meter and period; usage that was left out shows.
#[tokio::test]
async fn totals_at_stripe_are_held_against_ours() {
    on_both(async |world: World| {
        world.meter_events().await;
        world.ingest("ann", "a", "5.5", "2026-10-05T09:00:00Z").await;
        world.push().await;
        world.settle().await;
        let compare = async || {
            let mut differing = Vec::new();
            let standings = world.engine.stripe_standings(world.clock.now()).await.unwrap();
            assert_eq!((standings.found.len(), standings.failed.len()), (4, 0));
            for standing in standings.found {
                let period = standing.pushed.period;
                let theirs = counted(&world.client, &standing.address, period).await.unwrap();
                if theirs != standing.total.exact() {
                    differing.push((standing.pushed.meter.to_string(), theirs));
                }
            }
            differing
        };
        assert_eq!(compare().await, []);
        world.server.state.lock().unwrap().events.pop();
        world.ingest("ann", "b", "0.5", "2026-10-05T09:00:00Z").await;
        let differing = compare().await;
        assert!(!differing.is_empty() && differing.len() <= 2, "{differing:?}");
        assert!(differing.iter().all(|(_, theirs)| *theirs != Exact::parse("6").unwrap()));
    })
    .await;
}

/// A run waits while Stripe counts otherwise, if the tenant wants that.
#[tokio::test]
async fn a_difference_holds_a_run() {
    on_both(async |world: World| {
        let link = Link { hold: true, ..Link::new(Mode::MeterEvents, "n".to_owned()) };
        world.link(link).await;
        world.clock.set(at("2026-11-02T10:00:00Z"));
        let (options, month) = (Default::default(), "2026-10".parse().unwrap());
        let engine = &world.engine;
        let books = std::sync::Arc::new(engine.books().await.unwrap());
        let run = engine.open_run(&month, &options).await.unwrap();
        let run = engine.plan_run(&books, run).await.unwrap();
        let run = engine.compute_run(&books, run, &options, &|_| {}).await.unwrap();
        let run = engine.approve_run(run, "ann").await.unwrap();
        let held = engine.finalize_run(run.clone(), &options, &|_| {}).await.unwrap_err();
        assert!(held.to_string().contains("not yet compared"), "{held}");
        let period =
            counterfoil_types::Period::new(at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z"));
        let difference = Difference {
            customer: id("ann"),
            meter: Some("calls".parse().unwrap()),
            invoice: None,
            period,
            ours: "6".to_owned(),
            queued: "6".to_owned(),
            theirs: "5".to_owned(),
        };
        let mut found = Reconciled::begun(world.clock.now());
        found.compared = 4;
        engine.keep_reconciled(found.clone()).await.unwrap();
        assert!(!engine.stripe_is_asked_for().await.unwrap());
        // Those beyond the ones that are kept count as well.
        for _ in 0..300 {
            found.differs(difference.clone());
        }
        engine.keep_reconciled(found.clone()).await.unwrap();
        let held = engine.finalize_run(run.clone(), &options, &|_| {}).await.unwrap_err();
        assert!(held.to_string().contains("300 of 4"), "{held}");
        assert!(held.to_string().contains("--hold false"), "{held}");
        let kept = engine.reconciled().await.unwrap().unwrap();
        assert_eq!((kept.differences.len(), kept.differing, kept.over), (200, 300, 300));
        let mut found = Reconciled::begun(world.clock.now());
        found.failed.push((id("bob"), "no answer".to_owned()));
        engine.keep_reconciled(found.clone()).await.unwrap();
        let held = engine.finalize_run(run.clone(), &options, &|_| {}).await.unwrap_err();
        assert!(held.to_string().contains("1 customers could not"), "{held}");
        found.failed.clear();
        // An hour before it was signed off is too long ago.
        found.at = found.at.plus_micros(-3_600_000_000);
        engine.keep_reconciled(found.clone()).await.unwrap();
        assert!(engine.stripe_is_asked_for().await.unwrap());
        let held = engine.finalize_run(run.clone(), &options, &|_| {}).await.unwrap_err();
        assert!(held.to_string().contains("stripe-before-finalizing"), "{held}");
        found.at = world.clock.now();
        engine.keep_reconciled(found).await.unwrap();
        engine.finalize_run(run, &options, &|_| {}).await.unwrap();
    })
    .await;
}

/// Making customers and meters twice makes them once, also when the key is long forgotten.
#[tokio::test]
async fn what_is_there_is_not_made_again() {
    on_both(async |world: World| {
        let link = Link::new(Mode::MeterEvents, "n".to_owned());
        let customer = world.engine.customer(&id("ann")).await.unwrap();
        let (meter, tenant) = ("calls".parse().unwrap(), world.tenant());
        let mut seen = Vec::new();
        for _ in 0..3 {
            let made = setup::customer(&world.client, tenant, &link, &customer).await.unwrap();
            let known =
                setup::meter(&world.client, tenant, &link, &meter, "Calls", 2).await.unwrap();
            seen.push((made, known));
            world.later(30 * 3_600);
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        assert_eq!(seen[0].1.event_name, "calls");
        let state = world.server.state.lock().unwrap();
        assert_eq!((state.customers.len(), state.meters.len()), (1, 1));
        assert!(stripe::CUSTOMERS.ends_with('/'));
    })
    .await;
}
