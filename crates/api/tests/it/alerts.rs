//! Alerts, web hook endpoints, deliveries and mail over HTTP.

use counterfoil_delivery::mail::Unsubscribe;
use counterfoil_types::{CustomerId, TenantId};
use serde_json::{Value, json};

use crate::world::World;

async fn ask(world: &World, method: &str, path: &str, body: Option<Value>) -> crate::world::Answer {
    world.ask(method, path, &world.admin, &[], body).await
}

fn kinds(effects: &[counterfoil_store::Effect]) -> Vec<&str> {
    effects.iter().map(|effect| effect.kind.as_str()).collect()
}

#[tokio::test]
async fn rules_are_made_edited_by_version_and_removed() {
    let world = World::furnished().await;
    let list = ask(&world, "GET", "/v1/alert-rules", None).await.is(200);
    assert_eq!(list.at("/items/0/id"), "included");
    let body = json!({"id": "big", "meter": "calls",
        "watch": {"kind": "usage", "thresholds": ["3"], "window": "day"}});
    let made = ask(&world, "POST", "/v1/alert-rules", Some(body.clone())).await.is(201);
    let tag = made.header("etag").to_owned();
    ask(&world, "POST", "/v1/alert-rules", Some(body.clone())).await.is(201);
    let other = json!({"id": "big", "watch": {"kind": "included"}});
    ask(&world, "POST", "/v1/alert-rules", Some(other.clone())).await.is(409);
    let path = "/v1/alert-rules/big";
    let stale = [("if-match", "\"0\"")];
    world.ask("PUT", path, &world.admin, &stale, Some(other.clone())).await.is(412);
    world.ask("DELETE", path, &world.admin, &stale, Some(json!({}))).await.is(412);
    let fresh = [("if-match", tag.as_str())];
    world.ask("PUT", path, &world.admin, &fresh, Some(other)).await.is(200);
    for wrong in [
        json!({"id": "x y", "watch": {"kind": "included"}}),
        json!({"id": "x", "watch": {"kind": "usage", "thresholds": ["1"]}}),
        json!({"id": "x", "watch": {"kind": "moon"}}),
        json!({"id": "x", "watch": {"kind": "included", "thresholds": []}}),
    ] {
        ask(&world, "POST", "/v1/alert-rules", Some(wrong)).await.is(422);
    }
    let missing = json!({"id": "x", "meter": "moon", "watch": {"kind": "included"}});
    ask(&world, "POST", "/v1/alert-rules", Some(missing)).await.is(404);
    ask(&world, "DELETE", path, Some(json!({}))).await.is(204);
    ask(&world, "GET", path, None).await.is(404);
}

#[tokio::test]
async fn alerts_are_evaluated_listed_acknowledged_and_snoozed() {
    let world = World::furnished().await;
    for number in 0..5 {
        let body = json!({"id": format!("u{number}"), "customer": "acme", "meter": "calls"});
        ask(&world, "POST", "/v1/quotas/consume", Some(body)).await.is(200);
    }
    world.engine("home").await.project_all().await.unwrap();
    let done = ask(&world, "POST", "/v1/alerts/evaluate", Some(json!({}))).await.is(200);
    assert_eq!((done.at("/fired"), done.at("/told")), ("5".to_owned(), "1".to_owned()));
    let first = ask(&world, "GET", "/v1/alerts?customer=acme&limit=2", None).await.is(200);
    let next = first.at("/next");
    let rest = ask(&world, "GET", &format!("/v1/alerts?cursor={next}"), None).await.is(200);
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 3);
    let id = first.at("/items/0/id");
    let path = format!("/v1/alerts/{id}");
    let snooze = format!("{path}/snooze");
    ask(&world, "POST", &snooze, Some(json!({"until": "2020-01-01T00:00:00Z"}))).await.is(422);
    let until = json!({"until": "2026-03-11T00:00:00Z"});
    let snoozed = ask(&world, "POST", &snooze, Some(until)).await.is(200);
    assert_eq!(snoozed.at("/state"), "snoozed");
    let acknowledge = format!("{path}/acknowledge");
    let acknowledged = ask(&world, "POST", &acknowledge, Some(json!({}))).await.is(200);
    assert_eq!(acknowledged.at("/state"), "acknowledged");
    assert!(acknowledged.at("/changed_by").starts_with("key:"));
    ask(&world, "GET", "/v1/alerts/alr_none", None).await.is(404);
    ask(&world, "POST", "/v1/alerts/alr_none/acknowledge", Some(json!({}))).await.is(404);
    ask(&world, "GET", "/v1/alerts?cursor=x", None).await.is(400);
}

#[tokio::test]
async fn endpoints_are_made_changed_and_removed_without_showing_secrets_twice() {
    let world = World::furnished().await;
    let body = json!({"id": "crm", "url": "https://crm.example/hook", "kinds": ["invoice.*"]});
    let keyed = [("idempotency-key", "k1")];
    let path = "/v1/webhook-endpoints";
    let made = world.ask("POST", path, &world.admin, &keyed, Some(body.clone())).await.is(201);
    let secret = made.at("/secret");
    assert!(secret.starts_with("whsec_"));
    world.ask("POST", path, &world.admin, &keyed, Some(body.clone())).await.is(409);
    ask(&world, "POST", path, Some(body)).await.is(409);
    for wrong in ["http://crm.example/hook", "https://127.0.0.1/hook", "nonsense"] {
        ask(&world, "POST", path, Some(json!({"url": wrong}))).await.is(422);
    }
    let one = "/v1/webhook-endpoints/crm";
    let read = ask(&world, "GET", one, None).await.is(200);
    assert!(!read.text.contains("whsec_"));
    let tag = read.header("etag").to_owned();
    let change = Some(json!({"kinds": []}));
    world.ask("PATCH", one, &world.admin, &[("if-match", "\"0\"")], change.clone()).await.is(412);
    let changed =
        world.ask("PATCH", one, &world.admin, &[("if-match", &tag)], change).await.is(200);
    assert_eq!(changed.at("/kinds"), "[]");
    let to_us = Some(json!({"url": "https://10.0.0.1/"}));
    ask(&world, "PATCH", one, to_us).await.is(422);
    let rotated = ask(&world, "POST", &format!("{one}/rotate"), Some(json!({}))).await.is(200);
    assert_ne!(rotated.at("/secret"), secret);
    assert_eq!(rotated.at("/secrets"), "2");
    let off = ask(&world, "POST", &format!("{one}/disable"), Some(json!({}))).await.is(200);
    assert_eq!(off.at("/enabled"), "false");
    let on = ask(&world, "POST", &format!("{one}/enable"), Some(json!({}))).await.is(200);
    assert_eq!(on.at("/enabled"), "true");
    let again = ask(&world, "POST", &format!("{one}/replay"), Some(json!({}))).await.is(200);
    assert_eq!(again.at("/deliveries"), "1", "what was caused before the endpoint was made");
    let list = ask(&world, "GET", path, None).await.is(200);
    assert!(!list.text.contains("whsec_") && list.text.contains("crm.example"));
    ask(&world, "DELETE", one, Some(json!({}))).await.is(204);
    ask(&world, "GET", one, None).await.is(404);
    let audit = ask(&world, "GET", "/v1/audit?limit=1000", None).await.is(200);
    for operation in ["webhooks.create", "webhooks.update", "webhooks.replay", "webhooks.delete"] {
        assert!(audit.text.contains(operation), "{operation} is in the audit log");
    }
    assert!(!crate::world::log().contains(&secret), "a secret is never logged");
}

#[tokio::test]
async fn parked_deliveries_are_seen_and_let_go() {
    let world = World::furnished().await;
    let engine = world.engine("home").await;
    let (store, tenant) = (engine.store(), engine.tenant().id.clone());
    let queue = counterfoil_store::Write::Queue {
        key: "invoice.issued/1".to_owned(),
        kind: "invoice.issued".to_owned(),
        body: json!({}),
        at: engine.now(),
    };
    engine.commit(&counterfoil_store::Commit::of(queue)).await.unwrap();
    let route = counterfoil_store::Route {
        key: "invoice.issued/1".to_owned(),
        aggregate: String::new(),
        targets: vec!["mail".to_owned()],
    };
    store.spread(&tenant, &[route], engine.now()).await.unwrap();
    store.park_target(&tenant, "mail", "it is gone", engine.now()).await.unwrap();
    let path = "/v1/deliveries?state=parked&target=mail";
    let parked = ask(&world, "GET", path, None).await.is(200);
    assert_eq!(parked.at("/items/0/reason"), "it is gone");
    let go = ask(&world, "POST", "/v1/deliveries/unpark", Some(json!({"target": "mail"}))).await;
    assert_eq!(go.is(200).at("/deliveries"), "1");
    assert_eq!(ask(&world, "GET", path, None).await.is(200).at("/items"), "[]");
    let key = "/v1/deliveries/attempts?key=invoice.issued/1";
    ask(&world, "GET", key, None).await.is(200);
}

#[tokio::test]
async fn a_denial_and_a_flood_of_calls_are_told_once() {
    let world = World::furnished().await;
    for number in 0..14 {
        let body = json!({"id": format!("u{number}"), "customer": "acme", "meter": "calls"});
        ask(&world, "POST", "/v1/quotas/consume", Some(body)).await;
        let call = json!({"customer": "acme", "endpoint": "/search"});
        ask(&world, "POST", "/v1/limits/check", Some(call)).await;
    }
    let engine = world.engine("home").await;
    let effects = engine.store().effects(&engine.tenant().id, 0, 1_000).await.unwrap();
    for effect in &effects {
        let problems = crate::schema::data_problems(&effect.kind, &effect.body);
        assert_eq!(problems, Vec::<String>::new());
    }
    let kinds = kinds(&effects);
    for kind in ["quota.exceeded", "api.quota.exceeded", "api.rate_limit.exceeded"] {
        assert_eq!(kinds.iter().filter(|one| **one == kind).count(), 1, "{kind} in {kinds:?}");
    }
}

#[tokio::test]
async fn a_customer_unsubscribes_with_one_click_and_nobody_else_can() {
    let world = World::furnished().await;
    let how = Unsubscribe { url: "/unsubscribe".to_owned(), key: b"0123456789abcdef".to_vec() };
    let (tenant, acme) = (TenantId::new("home").unwrap(), CustomerId::new("acme").unwrap());
    let link = how.link(&tenant, &acme, "alert.warning").unwrap();
    // Looking changes nothing: scanners follow links.
    let page = world.ask("GET", &link, "", &[], None).await.is(200);
    assert!(page.text.contains("<form method=\"post\">") && !page.text.contains("acme"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let stands = "/v1/customers/acme/mail";
    assert_eq!(ask(&world, "GET", stands, None).await.is(200).at("/unsubscribed"), "[]");
    world.ask("POST", &link, "", &[], None).await.is(200);
    world.ask("POST", &link, "", &[], None).await.is(200);
    let after = ask(&world, "GET", stands, None).await.is(200);
    assert_eq!(after.at("/unsubscribed"), "[\"alert.warning\"]");
    let forged = Unsubscribe { key: b"another key 16 b".to_vec(), ..how };
    let forged = forged.link(&tenant, &acme, "alert.warning").unwrap();
    for wrong in [forged.as_str(), "/unsubscribe?token=x", "/unsubscribe"] {
        world.ask("GET", wrong, "", &[], None).await.is(404);
        world.ask("POST", wrong, "", &[], None).await.is(404);
    }
    let again = format!("{stands}/unsubscribed/alert.warning");
    let resumed = ask(&world, "DELETE", &again, Some(json!({}))).await.is(200);
    assert_eq!(resumed.at("/unsubscribed"), "[]");
}

#[tokio::test]
async fn a_bounce_is_recorded_shown_and_reset() {
    let world = World::furnished().await;
    let path = "/v1/customers/acme/mail/bounce";
    let body = json!({"address": "pay@acme.example", "reason": "550 5.1.1\r\nno such user"});
    ask(&world, "POST", path, Some(body)).await.is(200);
    let engine = world.engine("home").await;
    let (tenant, acme) = (engine.tenant().id.clone(), CustomerId::new("acme").unwrap());
    let kept = counterfoil_delivery::mail::bounce::of(engine.store(), &tenant, &acme).await;
    assert_eq!(kept.unwrap().unwrap().reason, "550 5.1.1  no such user");
    ask(&world, "DELETE", path, Some(json!({}))).await.is(200);
    let kept = counterfoil_delivery::mail::bounce::of(engine.store(), &tenant, &acme).await;
    assert_eq!(kept.unwrap(), None);
}
