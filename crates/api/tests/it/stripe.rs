//! What Stripe tells: signed, in any order, as often as it likes; each change happens once.

#![cfg(test)]

use axum::{body::Body, http::Request};
use counterfoil_types::Clock;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{finance::billed, world::World};

pub(crate) async fn send(world: &World, event: &Value, secret: &str, late: i64) -> u16 {
    let body = event.to_string();
    let seconds = world.clock.now().micros() / 1_000_000 - late;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let request = Request::post("/stripe/webhook")
        .header("stripe-signature", format!("t={seconds},v1={signature}"))
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    world.send(request).await.status
}

pub(crate) fn event(id: &str, kind: &str, invoice: Option<&str>, more: Value) -> Value {
    let mut object = json!({
        "id": "in_1", "currency": "usd", "charge": "ch_1", "attempt_count": 2,
        "amount_paid": 100, "status_transitions": {"paid_at": 1_793_700_000},
    });
    if let Some(invoice) = invoice {
        object["metadata"] = json!({"counterfoil_invoice": invoice, "counterfoil_tenant": "home"});
    }
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    json!({"id": id, "type": kind, "created": 1_793_700_100, "data": {"object": object}})
}

/// F16: payments, disputes and voids take effect once, repeated and in any order; what is not signed
/// within five minutes, or is about others, changes nothing.
#[tokio::test]
async fn what_stripe_tells_takes_effect_once_in_any_order() {
    let (world, number) = billed().await;
    let path = format!("/v1/invoices/{number}");
    let id = world.get(&path).await.is(200).at("/id");
    let paid = event("evt_1", "invoice.paid", Some(&id), json!({}));
    let forged = event("evt_1", "invoice.paid", Some(&id), json!({"amount_paid": 1}));
    assert_eq!(send(&world, &paid, "whsec_wrong", 0).await, 401);
    assert_eq!(send(&world, &paid, "whsec_new", 301).await, 401);
    assert_eq!(send(&world, &paid, "whsec_new", -301).await, 401);
    assert_eq!(send(&world, &forged, "", 0).await, 401);
    assert_eq!(world.get(&path).await.at("/state"), "pending");
    let failed = event("evt_0", "invoice.payment_failed", Some(&id), json!({}));
    let twin = event("evt_2", "invoice.payment_succeeded", Some(&id), json!({}));
    let elsewhere = event("evt_3", "invoice.paid", Some(&id), json!({"paid_out_of_band": true}));
    let mut other = event("evt_4", "invoice.paid", Some(&id), json!({"id": "in_2"}));
    other["data"]["object"]["metadata"]["counterfoil_tenant"] = json!("somebody");
    let unknown = event("evt_5", "customer.created", None, json!({}));
    let voided = event("evt_6", "invoice.voided", Some(&id), json!({}));
    let disputed =
        event("evt_7", "charge.dispute.created", None, json!({"status": "needs_response"}));
    let all =
        [&elsewhere, &other, &unknown, &twin, &paid, &disputed, &failed, &voided, &paid, &failed];
    for (at, event) in all.into_iter().chain(all).enumerate() {
        let secret = if at % 2 == 0 { "whsec_new" } else { "whsec_old" };
        assert_eq!(send(&world, event, secret, 299).await, 204, "{event}");
    }
    let after = world.get(&path).await.is(200);
    assert_eq!((after.at("/state"), after.at("/open/amount")), ("paid".into(), "0.00".into()));
    let payments = world.get("/v1/journal?limit=1000").await.is(200);
    let facts = payments.body["items"].as_array().unwrap();
    let of = |kind: &str| facts.iter().filter(|fact| fact["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("payment.recorded").len(), 1);
    assert_eq!(of("invoice.payment_failed").len(), 1);
    // It was paid here, so it cannot be voided: somebody is told.
    assert_eq!(of("invoice.differs").len(), 1);
    let disputes = of("invoice.disputed");
    assert_eq!((disputes.len(), disputes[0]["body"]["invoice"].as_str()), (1, Some(id.as_str())));
}

/// A body that is too large or no event of Stripe is refused, whoever signed it.
#[tokio::test]
async fn what_is_no_event_is_refused() {
    let (world, _) = billed().await;
    assert_eq!(send(&world, &json!({"id": "evt_1"}), "whsec_new", 0).await, 400);
    let large = json!({"id": "x".repeat(2 * 1024 * 1024)});
    assert_eq!(send(&world, &large, "whsec_new", 0).await, 413);
    let gone =
        event("evt_9", "invoice.paid", Some("018f0000-0000-8000-8000-000000000000"), json!({}));
    assert_eq!(send(&world, &gone, "whsec_new", 0).await, 204);
}
