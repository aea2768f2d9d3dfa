//! Usage arrives once, whatever fails on the way.

#![cfg(test)]

use counterfoil_store::{
    AttemptOutcome, Commit, DeliveryState, Write,
    stripe::{self, Link, Mode},
};
use counterfoil_types::Exact;

use crate::{
    proxy::Cut,
    server::Instead,
    world::{World, on_both},
};

const EVENTS: &str = "/v1/billing/meter_events";

fn units(text: &str) -> Exact {
    Exact::parse(text).unwrap()
}

/// F16: time-outs, cut connections, 409, 429 and 5xx, arrived or not: the same key until there is an
/// answer, and each unit counts once.
#[tokio::test]
async fn usage_is_counted_once_whatever_fails_on_the_way() {
    on_both(async |world: World| {
        world.meter_events().await;
        let cuts = [Cut::Before, Cut::After, Cut::Hangs];
        let answers = [
            (409, "", false),
            (429, "retry-after: 7\r\n", false),
            (500, "", false),
            (500, "", true),
            (503, "stripe-should-retry: true\r\n", true),
            (502, "", true),
        ];
        let mut sum = Exact::ZERO;
        for step in 0..cuts.len() + answers.len() {
            let quantity = format!("{}.25", step + 1);
            let name = format!("e{step}");
            world.ingest("ann", &name, &quantity, "2026-10-05T09:00:00Z").await;
            sum = sum.add(&units(&quantity));
            assert!(world.push().await > 0);
            match cuts.get(step) {
                Some(cut) => world.proxy.cut("POST /meter_events", *cut),
                None => {
                    let (status, headers, persisted) = answers[step - cuts.len()];
                    let path = "/meter_events";
                    world.server.instead(Instead { path, status, headers, persisted });
                }
            }
            world.settle().await;
            assert!(world.proxy.is_done(), "step {step} cut nothing");
            assert!(world.server.state.lock().unwrap().instead.is_empty());
            assert_eq!(world.server.used("cus_ann", "calls"), sum, "after step {step}");
            assert_eq!(world.server.used("cus_ann", "peak"), units(&quantity));
        }
        assert!(world.deliveries(DeliveryState::Parked).await.is_empty());
        // Each was tried under one key, which is its identifier.
        for request in world.server.posts(EVENTS) {
            assert_eq!(
                request.key.as_deref(),
                request.fields.get("identifier").map(String::as_str)
            );
        }
    })
    .await;
}

/// F16: what is refused for good is parked with what Stripe said, and holds up nothing else.
#[tokio::test]
async fn a_refusal_is_parked_and_a_wish_to_wait_is_granted() {
    on_both(async |world: World| {
        world.meter_events().await;
        world.ingest("ann", "a", "3", "2026-10-05T09:00:00Z").await;
        assert_eq!(world.push().await, 2);
        let path = "/meter_events";
        world.server.instead(Instead { path, status: 400, headers: "", persisted: false });
        let headers = "retry-after: 900\r\n";
        world.server.instead(Instead { path, status: 429, headers, persisted: false });
        let report = world.deliver().await;
        assert_eq!((report.parked, report.retried), (1, 1));
        let parked = world.deliveries(DeliveryState::Parked).await;
        assert!(parked[0].reason.as_ref().unwrap().contains("400"), "{parked:?}");
        world.later(899);
        assert_eq!(world.deliver().await.delivered, 0);
        world.later(1);
        assert_eq!(world.deliver().await.delivered, 1);
        // Somebody looked, and lets it go.
        let keys = vec![parked[0].effect.key.clone()];
        let now = counterfoil_types::Clock::now(&*world.clock);
        let again = world.store.deliver_again(world.tenant(), stripe::TARGET, &keys, now).await;
        assert_eq!(again.unwrap(), 1);
        world.settle().await;
        assert_eq!(world.server.used("cus_ann", "calls"), units("3"));
        assert_eq!(world.server.used("cus_ann", "peak"), units("3"));
    })
    .await;
}

/// F16: a try whose outcome is unknown and older than Stripe keeps keys is looked up first.
#[tokio::test]
async fn an_old_try_is_looked_up_before_it_is_sent_again() {
    for cut in [Cut::Before, Cut::After] {
        on_both(async |world: World| {
            world.meter_events().await;
            world.ingest("ann", "a", "5", "2026-10-05T09:00:00Z").await;
            world.push().await;
            world.proxy.cut("POST /meter_events", cut);
            let report = world.deliver().await;
            assert_eq!(report.retried, 1, "{report:?}");
            let before = world.server.posts(EVENTS).len();
            // Stripe has forgotten key and identifier by then.
            world.later(26 * 3_600);
            world.settle().await;
            let sent = world.server.posts(EVENTS).len() - before;
            assert_eq!(sent, usize::from(cut == Cut::Before), "{cut:?}");
            assert_eq!(world.server.used("cus_ann", "calls"), units("5"));
            assert_eq!(world.server.used("cus_ann", "peak"), units("5"));
            let asked = world.proxy.seen();
            assert!(asked.iter().any(|line| line.contains("/event_summaries?")), "{asked:?}");
        })
        .await;
    }
}

/// F16: where what Stripe counts fits neither, nothing is sent, and in the end somebody looks.
#[tokio::test]
async fn what_cannot_be_looked_up_is_not_sent_on_a_guess() {
    on_both(async |world: World| {
        world.meter_events().await;
        world.ingest("ann", "a", "5", "2026-10-05T09:00:00Z").await;
        world.push().await;
        world.server.state.lock().unwrap().events.push(crate::server::Event {
            name: "calls".to_owned(),
            customer: "cus_ann".to_owned(),
            value: units("1"),
            time: 1_791_190_800,
        });
        world.later(26 * 3_600);
        let (mut tries, key) = (0, world.pushes().await[0].id.clone());
        while world.deliveries(DeliveryState::Parked).await.is_empty() {
            world.deliver().await;
            world.later(50_000);
            tries += 1;
            assert!(tries < 20);
        }
        assert!(
            world.server.posts(EVENTS).iter().all(|request| request.fields["event_name"] == "peak")
        );
        let parked = world.deliveries(DeliveryState::Parked).await;
        let attempts = world.store.attempts(world.tenant(), &parked[0].effect.key).await.unwrap();
        assert!(attempts.iter().all(|attempt| attempt.outcome == AttemptOutcome::Refused));
        let reason = parked[0].reason.as_ref().unwrap();
        assert!(reason.contains("reconcile"), "{reason} {key}");
    })
    .await;
}

/// Usage records, by increments and by totals, under the version that has them.
#[tokio::test]
async fn usage_records_arrive_once_by_increment_and_by_total() {
    for set in [false, true] {
        on_both(async |world: World| {
            let link = Link { set, ..Link::new(Mode::UsageRecords, "n".to_owned()) };
            world.link(link).await;
            let key = format!("{}calls/ann", stripe::ITEMS);
            let item = Write::Set { key, value: Some("si_1".to_owned()) };
            world.engine.commit(&Commit::of(item)).await.unwrap();
            let mut sum = 0;
            for (step, cut) in [Cut::Before, Cut::After, Cut::Hangs].into_iter().enumerate() {
                sum += step + 2;
                let (name, quantity) = (format!("e{step}"), (step + 2).to_string());
                world.ingest("ann", &name, &quantity, "2026-10-05T09:00:00Z").await;
                assert_eq!(world.push().await, 1);
                world.proxy.cut("POST /usage_records", cut);
                world.settle().await;
                assert!(world.proxy.is_done());
                let total: Exact = world.server.state.lock().unwrap().records.values().sum();
                assert_eq!(total, units(&sum.to_string()), "{cut:?} set {set}");
            }
            // Something is taken back.
            world.ingest("ann", "minus", "-1", "2026-10-05T09:30:00Z").await;
            world.push().await;
            world.settle().await;
            let total: Exact = world.server.state.lock().unwrap().records.values().sum();
            let parked = world.deliveries(DeliveryState::Parked).await;
            if set {
                assert_eq!((total, parked.len()), (units(&(sum - 1).to_string()), 0));
            } else {
                assert_eq!((total, parked.len()), (units(&sum.to_string()), 1));
            }
            let old = world.server.state.lock().unwrap().requests.clone();
            assert!(old.iter().all(|request| request.path.ends_with("/usage_records")));
        })
        .await;
    }
}
