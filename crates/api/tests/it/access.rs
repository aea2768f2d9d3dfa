//! Who may do what: every operation of the table is walked, none is tried by hand.

use counterfoil_api::{operation::Operation, operations, scope::Scope};
use serde_json::json;

use crate::world::{World, at};

/// A path with something in place of its parameters.
fn filled(operation: &Operation) -> String {
    operation
        .path
        .replace("{customer}", "acme")
        .replace("{subscription}", "acme-sub")
        .replace("{meter}", "calls")
        .replace("{name}", "test")
        .replace("{version}", "1")
        .replace("{invoice}", "INV-2026-000001")
        .replace("{run}", "6a9d7d0e-0000-8000-8000-000000000000")
        .replace("{key}", "key_x")
        .replace("{kind}", "ageing")
        .replace("{grant}", "g")
        .replace("{incident}", "inc_x")
        .replace("{backfill}", "b")
        .replace("{rule}", "included")
        .replace("{alert}", "alr_x")
        .replace("{endpoint}", "crm")
}

async fn asked(world: &World, operation: &Operation, key: &str) -> u16 {
    let body = operation.changes().then(|| json!({}));
    let method = operation.method.as_str();
    world.ask(method, &filled(operation), key, &[], body).await.status
}

fn guarded() -> Vec<Operation> {
    let all = operations();
    assert!(all.len() > 60, "the table is smaller than it was");
    all.into_iter().filter(|operation| operation.scope != Scope::Public).collect()
}

#[tokio::test]
async fn every_operation_refuses_no_key_a_wrong_key_and_a_forged_one() {
    let world = World::furnished().await;
    let forged = {
        let mut key = world.admin.clone();
        let last = if key.ends_with('0') { '1' } else { '0' };
        key.pop();
        key.push(last);
        key
    };
    for operation in guarded() {
        for key in ["", "nonsense", "cf_000000000000_0", forged.as_str()] {
            assert_eq!(asked(&world, &operation, key).await, 401, "{} {key:?}", operation.id);
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_revoked_and_expired_keys() {
    let world = World::furnished().await;
    let engine = world.engine("home").await;
    let revoked = world.key("home", &["admin"]).await;
    let id = format!("key_{}", revoked.get(3..15).unwrap());
    world
        .ask("DELETE", &format!("/v1/keys/{id}"), &world.admin, &[], Some(json!({})))
        .await
        .is(200);
    let request = counterfoil_engine::keys::KeyRequest {
        id: None,
        name: "short".to_owned(),
        scopes: vec!["admin".to_owned()],
        customer: None,
        expires_at: Some(at("2026-03-10T12:00:10Z")),
    };
    let short = engine.create_key(request, &crate::world::Counted::default()).await.unwrap().secret;
    assert_eq!(world.ask("GET", "/v1/meters", &short, &[], None).await.status, 200);
    world.clock.set(at("2026-03-10T12:00:10Z"));
    for operation in guarded() {
        for key in [&revoked, &short] {
            assert_eq!(asked(&world, &operation, key).await, 401, "{}", operation.id);
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_keys_of_other_scopes() {
    let world = World::furnished().await;
    for scope in counterfoil_api::scope::SCOPES {
        let key = world.key("home", &[scope]).await;
        for operation in guarded() {
            let covered = operation.scope.is_covered_by(&[scope.to_owned()]);
            let status = asked(&world, &operation, &key).await;
            assert_eq!(status == 403, !covered, "{} with {scope}: {status}", operation.id);
            assert_ne!(status, 401, "{} with {scope}", operation.id);
            assert!(status < 500, "{} with {scope}: {status}", operation.id);
        }
    }
}

#[tokio::test]
async fn a_scope_covers_what_it_says_and_nothing_wider() {
    let covers = |scope: &str, operation: Scope| operation.is_covered_by(&[scope.to_owned()]);
    assert!(!covers("ingest", Scope::Read) && !covers("read", Scope::Ingest));
    assert!(!covers("quota", Scope::Read) && !covers("read", Scope::Finance));
    assert!(covers("finance", Scope::Read) && !covers("finance", Scope::Admin));
    assert!(!covers("finance", Scope::Ingest) && covers("admin", Scope::Ingest));
    assert!(!Scope::Read.is_covered_by(&[]) && !covers("customer", Scope::Read));
}

#[tokio::test]
async fn a_customers_key_sees_that_customer_and_nothing_else() {
    let world = World::furnished().await;
    world.customer("bob").await;
    let key = world.key("home", &["customer:acme"]).await;
    for operation in guarded() {
        let own = asked(&world, &operation, &key).await;
        let path = filled(&operation).replace("acme", "bob");
        let body = operation.changes().then(|| json!({}));
        let other = world.ask(operation.method.as_str(), &path, &key, &[], body).await.status;
        if operation.for_customers {
            assert!(own < 500 && own != 403, "{}: {own}", operation.id);
            assert_eq!(other, 404, "{} of another customer", operation.id);
        } else {
            assert_eq!((own, other), (403, 403), "{}", operation.id);
        }
    }
    let answer = world.ask("GET", "/v1/customers/acme/usage", &key, &[], None).await;
    assert_eq!(answer.is(200).at("/customer"), "acme");
}

#[tokio::test]
async fn another_tenants_things_do_not_exist() {
    let world = World::furnished().await;
    let stranger = world.key("elsewhere", &["admin"]).await;
    let ours = [
        "customer",
        "subscription",
        "meter",
        "name",
        "key",
        "grant",
        "incident",
        "invoice",
        "backfill",
    ];
    for operation in guarded() {
        let named = ours.iter().any(|name| operation.path.contains(&format!("{{{name}}}")));
        if !named || operation.changes() {
            continue;
        }
        let path = filled(&operation);
        let query = if operation.query.is_some() {
            "?from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&meter=calls&by=x"
        } else {
            ""
        };
        let status = world.ask("GET", &format!("{path}{query}"), &stranger, &[], None).await.status;
        assert_eq!(status, 404, "{}", operation.id);
    }
    // What changes things: none of ours may be changed by a stranger.
    for (method, path, body) in [
        ("POST", "/v1/subscriptions/acme-sub/end", json!({})),
        ("POST", "/v1/customers/acme/tokens", json!({})),
        ("POST", "/v1/customers/acme/move", json!({"zone": "UTC"})),
        ("POST", "/v1/books/test/1/retire", json!({})),
        ("POST", "/v1/quotas/check", json!({"customer": "acme", "meter": "calls"})),
        ("POST", "/v1/quotas/consume", json!({"id": "1", "customer": "acme", "meter": "calls"})),
        ("DELETE", "/v1/customers/acme/quotas/calls", json!({})),
    ] {
        let status = world.ask(method, path, &stranger, &[], Some(body)).await.status;
        assert_eq!(status, 404, "{method} {path}");
    }
    let list = world.ask("GET", "/v1/customers", &stranger, &[], None).await.is(200);
    assert_eq!(list.at("/items"), "[]");
    let event = crate::world::call("e", "acme");
    world.ask("POST", "/v1/events", &stranger, &[], Some(event)).await.is(201);
    assert_eq!(world.get("/v1/events").await.at("/items"), "[]");
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_show_their_last_use() {
    let world = World::new().await;
    let wrong = json!({"name": "x", "scopes": ["root"]});
    world.post("/v1/keys", wrong).await.is(422);
    let made =
        world.post("/v1/keys", json!({"name": "svc", "scopes": ["ingest", "read"]})).await.is(201);
    let (id, secret) = (made.at("/id"), made.at("/secret"));
    assert!(secret.starts_with(&made.at("/prefix")));
    world.ask("GET", "/v1/meters", &secret, &[], None).await.is(200);
    let listed = world.get(&format!("/v1/keys?prefix={}", made.at("/prefix"))).await.is(200);
    assert_eq!(listed.at("/items/0/id"), id);
    assert!(!listed.text.contains(&secret), "a list tells no secret");
    let rotated =
        world.post(&format!("/v1/keys/{id}/rotate"), json!({"overlap_seconds": 60})).await.is(201);
    assert_eq!(rotated.at("/scopes"), r#"["ingest","read"]"#);
    let new = rotated.at("/secret");
    assert_eq!(world.ask("GET", "/v1/meters", &secret, &[], None).await.status, 200);
    assert_eq!(world.ask("GET", "/v1/meters", &new, &[], None).await.status, 200);
    world.clock.set(at("2026-03-10T12:01:00Z"));
    assert_eq!(world.ask("GET", "/v1/meters", &secret, &[], None).await.status, 401);
    assert_eq!(world.ask("GET", "/v1/meters", &new, &[], None).await.status, 200);
    for _ in 0..200 {
        let listed = world.get("/v1/keys").await;
        let used = listed.body.pointer("/items").and_then(|items| items.as_array()).unwrap();
        if used.iter().any(|key| key["id"] == id && key["last_used_at"] == "2026-03-10T12:00:00Z") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the last use was not written down");
}

#[tokio::test]
async fn what_was_done_stands_in_the_audit_log_and_what_was_refused_does_not() {
    let world = World::furnished().await;
    let before = world.get("/v1/audit?limit=1000").await.body["items"].as_array().unwrap().len();
    let reader = world.key("home", &["read"]).await;
    let customer = json!({"id": "eve", "name": "e", "currency": "USD", "zone": "UTC"});
    world.ask("PUT", "/v1/customers/eve", &reader, &[], Some(customer.clone())).await.is(403);
    world.put("/v1/customers/eve", json!({"id": "eve"})).await.is(422);
    world.put("/v1/customers/eve", customer).await.is(200);
    let log = world.get("/v1/audit?limit=1000").await;
    let entries = log.body["items"].as_array().unwrap();
    assert_eq!(entries.len(), before + 1);
    let last = entries.last().unwrap();
    assert_eq!(
        (last["operation"].as_str(), last["subject"].as_str()),
        (Some("customers.put"), Some("eve"))
    );
    assert!(last["actor"].as_str().unwrap().starts_with("key:key_"));
}

#[tokio::test]
async fn secrets_are_neither_stored_nor_logged() {
    let secrets = {
        let world = World::furnished().await;
        let made = world.post("/v1/keys", json!({"name": "s", "scopes": ["read"]})).await.is(201);
        let secret = made.at("/secret");
        world.ask("GET", "/v1/meters", &secret, &[], None).await.is(200);
        world.ask("GET", "/v1/meters", &format!("{secret}x"), &[], None).await.is(401);
        world.ask("GET", "/v1/meters", "", &[("x-api-key", &secret)], None).await.is(200);
        // With an idempotency key, too: the kept answer holds no secret.
        let body = json!({"name": "again", "scopes": ["read"]});
        let headers = [("idempotency-key", "make-a-key")];
        let first =
            world.ask("POST", "/v1/keys", &world.admin, &headers, Some(body.clone())).await.is(201);
        world.ask("POST", "/v1/keys", &world.admin, &headers, Some(body)).await.is(409);
        let claim = world
            .store
            .claim(&counterfoil_types::TenantId::new("home").unwrap(), "make-a-key")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(claim.answer, None);
        vec![secret, first.at("/secret"), world.admin.clone()]
    };
    // The log of everything this program did so far, at its most talkative.
    let text = crate::world::log();
    assert!(text.contains("keys.create"), "the log was looked at");
    for secret in secrets {
        let random = secret.rsplit_once('_').unwrap().1;
        assert!(!text.contains(random), "a secret stands in the log");
    }
}
