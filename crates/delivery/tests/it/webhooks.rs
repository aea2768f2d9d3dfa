//! Web hooks: signed, constant, bounded, behind the guard.

#![cfg(test)]

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use counterfoil_delivery::{Guard, WebSender, connect::Resolve, endpoint};
use counterfoil_store::{AttemptOutcome, DeliveryState};
use counterfoil_types::timestamp::DAY_MICROS;
use serde_json::json;
use tokio_rustls::rustls::RootCertStore;

use crate::{
    receiver::Receiver,
    world::{Foreseen, World, on_both},
};

/// F30: what was signed says who, when and what, with every secret of a rotation; a receiver with
/// another implementation of the specification accepts it and nothing else.
#[tokio::test]
async fn signatures_hold_through_a_rotation() {
    on_both(async |world: World| {
        let receiver = Receiver::start().await;
        let old = world.endpoint("crm", receiver.url("ok"), &[]).await;
        let (store, now) = (world.store.as_ref(), counterfoil_types::Clock::now(&*world.clock));
        let both = endpoint::rotate(store, &world.tenant, "crm", &Foreseen, now).await.unwrap();
        assert_eq!(both.secrets_at(now).count(), 2);
        world.queue("invoice.issued", "1", json!({"invoice": "i-1", "total": "0.10"})).await;
        assert_eq!(world.deliver().await.delivered, 1);
        let request = receiver.requests().remove(0);
        let signature = &request.headers["webhook-signature"];
        assert_eq!(signature.split(' ').count(), 2);
        let seconds: i64 = request.headers["webhook-timestamp"].parse().unwrap();
        assert_eq!(seconds, now.micros() / 1_000_000);
        for secret in [&old.secrets[0].secret, &both.secrets[0].secret] {
            let other = standardwebhooks::Webhook::new(secret).unwrap();
            let id = &request.headers["webhook-id"];
            let theirs = other.sign(id, seconds, request.body.as_bytes()).unwrap();
            assert!(signature.split(' ').any(|ours| ours == theirs));
        }
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["type"], "invoice.issued");
        assert_eq!(body["data"]["total"], "0.10");
        assert_eq!(body["id"], request.headers["webhook-id"].as_str());
        // A day later only the new one signs.
        let later = now.plus_micros(DAY_MICROS);
        assert_eq!(both.secrets_at(later).count(), 1);
    })
    .await;
}

/// D2, F29: whatever a receiver does, an attempt ends, what it came to is written down, and it is
/// sent again under the same id. A delivery is never taken for done that nobody confirmed.
#[tokio::test]
async fn a_receiver_that_misbehaves_is_sent_to_again_under_the_same_id() {
    on_both(async |world: World| {
        let receiver = Receiver::start().await;
        let expected = [
            ("cut", AttemptOutcome::Unknown, None),
            ("hang", AttemptOutcome::Unknown, None),
            ("drip", AttemptOutcome::Unknown, None),
            ("huge", AttemptOutcome::Refused, Some(500)),
            ("redirect", AttemptOutcome::Refused, Some(302)),
            ("503", AttemptOutcome::Refused, Some(503)),
            ("504", AttemptOutcome::Unknown, Some(504)),
            ("404", AttemptOutcome::Refused, Some(404)),
        ];
        for (path, ..) in expected {
            world.endpoint(path, receiver.url(path), &[]).await;
        }
        world.endpoint("fine", receiver.url("ok"), &[]).await;
        let key = world.queue("k", "1", json!({})).await;
        let report = world.deliver().await;
        assert_eq!((report.spread, report.delivered, report.retried), (1, 1, 8));
        let attempts = world.attempts(&key).await;
        for (path, outcome, code) in expected {
            let target = format!("webhook/{path}");
            let attempt = attempts.iter().find(|attempt| attempt.target == target).unwrap();
            assert_eq!((attempt.outcome, attempt.code), (outcome, code), "{path}: {attempt:?}");
            let error = attempt.error.as_deref().unwrap();
            assert!(error.len() < 600 && !error.chars().any(char::is_control), "{error:?}");
        }
        assert_eq!(world.deliver().await.delivered, 0, "none is due before its time");
        world.later(60);
        assert_eq!(world.deliver().await.retried, 8);
        let ids = receiver.ids();
        assert_eq!(ids.len(), 1, "one event, one id: {ids:?}");
        assert_eq!(ids.values().sum::<usize>(), 17);
        assert!(receiver.requests().iter().all(|request| !request.path.contains("meta-data")));
    })
    .await;
}

/// D1: after the last attempt a delivery is parked with its reason; let go, it is sent again.
#[tokio::test]
async fn a_delivery_is_parked_after_the_limit_and_let_go() {
    on_both(async |world: World| {
        let receiver = Receiver::start().await;
        world.endpoint("crm", receiver.url("503"), &["a.*"]).await;
        let key = world.queue("a.b", "1", json!({})).await;
        world.queue("b.c", "1", json!({})).await;
        for _ in 0..6 {
            world.deliver().await;
            world.later(3_600);
        }
        let parked = world.deliveries(Some(DeliveryState::Parked)).await;
        assert_eq!(parked.len(), 1);
        assert!(parked[0].reason.as_deref().unwrap().contains("given up after 6 attempts"));
        assert_eq!(world.attempts(&key).await.len(), 6, "every attempt is kept");
        assert_eq!(world.deliver().await.retried, 0);
        let now = counterfoil_types::Clock::now(&*world.clock);
        let again = world.store.deliver_again(&world.tenant, "webhook/crm", &[key], now).await;
        assert_eq!(again.unwrap(), 1);
        assert_eq!(world.deliver().await.retried, 1);
    })
    .await;
}

/// F29: an endpoint that takes nothing for five days is switched off, with a notice in the same
/// commit; switched on again it gets what is queued from then on, and what is asked for.
#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_switched_off_with_a_notice() {
    on_both(async |world: World| {
        let receiver = Receiver::start().await;
        world.endpoint("crm", receiver.url("503"), &["a"]).await;
        world.endpoint("gone", receiver.url("410"), &["g"]).await;
        world.endpoint("ops", receiver.url("ok"), &["webhook.disabled"]).await;
        for day in 0..7 {
            world.queue("a", &day.to_string(), json!({})).await;
            world.deliver().await;
            world.later(86_400);
        }
        world.queue("g", "1", json!({})).await;
        world.deliver().await;
        world.deliver().await;
        let told: Vec<serde_json::Value> = receiver
            .requests()
            .iter()
            .filter(|request| request.path == "/ok")
            .map(|request| serde_json::from_str(&request.body).unwrap())
            .collect();
        let mut named: Vec<&str> =
            told.iter().map(|told| told["data"]["endpoint"].as_str().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, ["crm", "gone"]);
        let crm = endpoint::named(world.store.as_ref(), &world.tenant, "crm").await.unwrap();
        assert!(!crm.enabled && crm.disabled_because.unwrap().contains("five days"));
        let before = receiver.requests().len();
        world.queue("a", "later", json!({})).await;
        world.later(86_400);
        world.deliver().await;
        assert_eq!(receiver.requests().len(), before, "nothing goes to it");
        let now = counterfoil_types::Clock::now(&*world.clock);
        endpoint::enable(world.store.as_ref(), &world.tenant, "crm", now).await.unwrap();
        world.deliver().await;
        assert!(receiver.requests().len() > before);
        let crm = endpoint::named(world.store.as_ref(), &world.tenant, "crm").await.unwrap();
        assert!(crm.enabled, "the old failures count no more");
    })
    .await;
}

/// Resolves every name to this machine, as a name may do the moment after it was looked at.
struct ToThisMachine(AtomicUsize, SocketAddr);

#[async_trait]
impl Resolve for ToThisMachine {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(vec![self.1])
    }
}

/// F28: what is connected to is looked at when it is connected to: names of this machine in any
/// spelling, and names that resolve to something else the second time, reach nothing.
#[tokio::test]
async fn no_web_hook_reaches_this_machine() {
    on_both(async |mut world: World| {
        let receiver = Receiver::start().await;
        let port = receiver.address.port();
        world.guard = Guard { ports: vec![port], allow_http: true, ..Guard::default() };
        for (id, host) in [("a", "localhost"), ("b", "0x7f.1"), ("c", "127.1"), ("d", "2130706433")]
        {
            world.endpoint(id, format!("http://{host}:{port}/ok"), &[]).await;
        }
        // Kept before the rules were as they are.
        for (id, host) in [("e", "127.0.0.1"), ("f", "[::ffff:127.0.0.1]"), ("g", "[::1]")] {
            let trusting = Guard {
                allow_hosts: vec![host.trim_matches(['[', ']']).into()],
                ..world.guard.clone()
            };
            let there = World { guard: trusting, ..world.clone() };
            there.endpoint(id, format!("http://{host}:{port}/ok"), &[]).await;
        }
        let key = world.queue("k", "1", json!({})).await;
        let report = world.deliver().await;
        assert_eq!((report.delivered, report.retried), (0, 7));
        let attempts = world.attempts(&key).await;
        assert!(attempts.iter().all(|attempt| attempt.outcome == AttemptOutcome::Refused));
        let named =
            attempts.iter().filter(|a| a.error.as_deref().unwrap().contains("this machine"));
        assert!(named.count() >= 5, "{attempts:?}");
        // A name that looks public, and is not when it is connected to.
        world.endpoint("h", format!("http://hooks.example:{port}/ok"), &["h"]).await;
        let key = world.queue("h", "1", json!({})).await;
        let resolver = Arc::new(ToThisMachine(AtomicUsize::new(0), receiver.address));
        let web = WebSender::with(
            world.store.clone(),
            world.guard.clone(),
            resolver.clone(),
            RootCertStore::empty(),
            Duration::from_millis(500),
        );
        let relay = world.relay_over("ann", Arc::new(web.unwrap()));
        assert_eq!(relay.deliver_due().await.unwrap().delivered, 0);
        let attempts = world.attempts(&key).await;
        let said = attempts.iter().find(|attempt| attempt.target == "webhook/h").unwrap();
        assert!(said.error.as_deref().unwrap().contains("this machine"), "{said:?}");
        assert!(resolver.0.load(Ordering::SeqCst) > 0);
        assert_eq!(receiver.requests().len(), 0);
    })
    .await;
}
