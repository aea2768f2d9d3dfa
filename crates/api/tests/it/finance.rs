//! A month of finance over HTTP: run, approval, invoice, payment, credit note, void; and books.

use serde_json::{Value, json};

use crate::world::{BOOK, World, at, call};

pub(crate) async fn billed() -> (World, String) {
    let world = World::furnished().await;
    let batch: Vec<Value> = (0..105).map(|n| call(&format!("c{n}"), "acme")).collect();
    world.post("/v1/events", json!(batch)).await.is(200);
    world.clock.set(at("2026-04-01T14:00:00Z"));
    // January and February come first, empty; each has an invoice.
    let dry = world.post("/v1/runs", json!({"period": "2026-03", "dry_run": true})).await.is(200);
    assert!(dry.at("/totals").contains("1.00"), "{}", dry.text);
    assert_eq!(world.get("/v1/runs").await.is(200).at("/items"), "[]");
    let run = world.post("/v1/runs", json!({"period": "2026-03"})).await.is(200);
    let id = run.at("/run/id");
    world.post(&format!("/v1/runs/{id}/finalize"), json!({})).await.is(422);
    world.post(&format!("/v1/runs/{id}/approve"), json!({"by": " "})).await.is(422);
    world.post(&format!("/v1/runs/{id}/approve"), json!({"by": "fin"})).await.is(200);
    let done = world.post(&format!("/v1/runs/{id}/finalize"), json!({})).await.is(200);
    assert_eq!(done.at("/run/state"), "finalized");
    let list = world.get("/v1/invoices?customer=acme").await.is(200);
    let found =
        list.body["items"].as_array().unwrap().iter().find(|i| i["total"]["amount"] == "1.00");
    let number = found.unwrap()["number"].as_str().unwrap().to_owned();
    (world, number)
}

#[tokio::test]
async fn a_month_is_run_approved_paid_and_credited() {
    let (world, number) = billed().await;
    let invoice = world.get(&format!("/v1/invoices/{number}")).await.is(200);
    assert_eq!(
        (invoice.at("/state"), invoice.at("/open/amount")),
        ("pending".into(), "1.00".into())
    );
    let lines = world.get(&format!("/v1/invoices/{number}/explain")).await.is(200);
    assert!(lines.text.contains("100"), "{}", lines.text);
    let note = json!({"invoice": number, "amount": {"amount": "0.40", "currency": "USD"}, "reason": "sorry"});
    let note = world.post("/v1/credit-notes", note).await.is(201);
    assert_eq!(note.at("/total/amount"), "0.40");
    let too_much =
        json!({"invoice": number, "amount": {"amount": "0.61", "currency": "USD"}, "reason": "x"});
    world.post("/v1/credit-notes", too_much).await.is(422);
    let payment =
        json!({"id": "p", "customer": "acme", "amount": {"amount": "1.00", "currency": "USD"}});
    let paid = world.post("/v1/payments", payment).await.is(201);
    assert_eq!(paid.at("/applied/to_balance/amount"), "0.40");
    assert_eq!(world.get(&format!("/v1/invoices/{number}")).await.at("/state"), "paid");
    let refund = |amount: &str| json!({"id": "r", "customer": "acme", "amount": {"amount": amount, "currency": "USD"}});
    world.post("/v1/refunds", refund("0.41")).await.is(422);
    world.post("/v1/refunds", refund("0.40")).await.is(204);
    for kind in
        ["revenue", "mrr", "ageing", "rounding", "late", "unbilled", "reconciliation", "manifest"]
    {
        world.get(&format!("/v1/reports/{kind}")).await.is(200);
    }
    world.get("/v1/reports/nothing").await.is(404);
    world.get("/v1/reports/revenue?from=March").await.is(400);
    let journal = world.get("/v1/journal?limit=1000").await.is(200);
    assert!(journal.text.contains("invoice.finalized"));
}

#[tokio::test]
async fn a_customer_reads_its_own_invoices_and_no_others() {
    let (world, number) = billed().await;
    world.customer("bob").await;
    let token = world.post("/v1/customers/acme/tokens", json!({})).await.is(201).at("/secret");
    let ask = async |path: String| world.ask("GET", &path, &token, &[], None).await;
    let own = ask("/v1/customers/acme/invoices".to_owned()).await.is(200);
    assert!(own.text.contains(&number));
    // Drafts are not the customer's yet.
    world.clock.set(at("2026-05-01T14:00:00Z"));
    world.post("/v1/runs", json!({"period": "2026-04"})).await.is(200);
    assert!(world.get("/v1/customers/acme/invoices").await.text.contains("\"draft\""));
    let token = world.post("/v1/customers/acme/tokens", json!({})).await.is(201).at("/secret");
    let list = world.ask("GET", "/v1/customers/acme/invoices", &token, &[], None).await.is(200);
    assert!(!list.text.contains("\"draft\""), "{}", list.text);
    world.clock.set(at("2026-04-01T14:00:00Z"));
    ask(format!("/v1/customers/acme/invoices/{number}")).await.is(200);
    ask(format!("/v1/customers/bob/invoices/{number}")).await.is(404);
    ask(format!("/v1/invoices/{number}")).await.is(403);
    // Nor through a customer of its own that the invoice does not belong to.
    world.get(&format!("/v1/customers/bob/invoices/{number}")).await.is(404);
    world.clock.set(at("2026-04-01T14:15:00Z"));
    ask("/v1/customers/acme/invoices".to_owned()).await.is(401);
}

#[tokio::test]
async fn a_finalized_invoice_is_voided_and_issued_again_never_changed() {
    let (world, number) = billed().await;
    let path = format!("/v1/invoices/{number}");
    world.post(&format!("{path}/reissue"), json!({})).await.is(422);
    let void = world.post(&format!("{path}/void"), json!({"reason": "wrong"})).await.is(200);
    assert_eq!(void.at("/state"), "void");
    world.post(&format!("{path}/void"), json!({"reason": " "})).await;
    let again = world.post(&format!("{path}/reissue"), json!({})).await.is(200);
    assert_ne!(again.at("/number"), number);
    world.post(&format!("{path}/write-off"), json!({"reason": "x"})).await.is(422);
    world.get("/v1/invoices?state=void").await.is(200);
    world.get("/v1/invoices?state=lost").await.is(400);
}

#[tokio::test]
async fn books_are_published_compared_and_retired() {
    let world = World::furnished().await;
    let edited = BOOK.replace("0.01", "0.02");
    world.post("/v1/books", json!({"text": edited})).await.is(422);
    let next =
        edited.replace("version = \"1\"", "version = \"2\"").replace("2026-01-01", "2026-05-01");
    let toml = [("content-type", "application/toml")];
    world.post_as("/v1/books/check", &toml, next.clone()).await.is(200);
    let diff = world.post("/v1/books/diff", json!({"from": "test@1", "text": next})).await.is(200);
    assert!(diff.text.contains("plan.basic.charge.calls.unit_price"), "{}", diff.text);
    world.post_as("/v1/books", &toml, next).await.is(201);
    let text = world.get("/v1/books/test/2").await.is(200);
    assert!(text.text.contains("0.02"));
    world.ask("POST", "/v1/books/test/1/retire", &world.admin, &[], Some(json!({}))).await.is(204);
    let late = json!({"id": "s", "customer": "acme", "book": "test", "plan": "basic", "start": "2027-01-01", "pinned": "1"});
    let refused = world.post("/v1/subscriptions", late).await.is(422);
    assert!(refused.at("/detail").contains("retired"));
    let list = world.get("/v1/books").await.is(200);
    assert_eq!(
        (list.at("/items/0/retired"), list.at("/items/1/retired")),
        ("true".into(), "false".into())
    );
}

#[tokio::test]
async fn subscriptions_change_and_end_on_their_days() {
    let world = World::furnished().await;
    let path = "/v1/subscriptions/acme-sub";
    let pause = json!({"change": "pause", "when": "2026-04-01"});
    let paused = world.post(&format!("{path}/changes"), pause).await.is(200);
    assert_eq!(paused.at("/changes/0/on"), "2026-04-01");
    let odd = json!({"change": "plan", "plan": "nothing"});
    world.post(&format!("{path}/changes"), odd).await.is(404);
    world.post(&format!("{path}/changes"), json!({"change": "dance"})).await.is(422);
    let ended = world.post(&format!("{path}/end"), json!({"when": "period_end"})).await.is(200);
    assert_eq!(ended.at("/end"), "2026-04-01");
    let calendar = world.get(&format!("{path}/calendar?limit=5")).await.is(200);
    assert_eq!(calendar.body["items"].as_array().unwrap().len(), 3);
    let grant = json!({"id": "g", "customer": "acme", "kind": "promotional", "unit": {"currency": "USD"}, "amount": "5"});
    let answer = world.post("/v1/grants", grant).await;
    assert!(matches!(answer.status, 201 | 422), "{}", answer.text);
}
