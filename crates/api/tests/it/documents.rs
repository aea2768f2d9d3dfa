//! Documents over HTTP: formats, whose they are, branding and addresses.

use serde_json::json;

use crate::{finance::billed, world::World};

fn branding() -> serde_json::Value {
    json!({"seller": {"name": "Acme Cloud B.V.", "country": "NL", "registration": "KvK 12345678"}})
}

#[tokio::test]
async fn an_invoice_is_read_as_a_page_and_as_xml_once_the_parties_are_known() {
    let (world, number) = billed().await;
    let path = |format: &str| format!("/v1/invoices/{number}/document?format={format}");
    let page = world.get(&path("html")).await.is(200);
    assert!(page.text.contains(&number) && page.text.contains("$1.00"), "{}", page.text);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-disposition").contains(&format!("invoice-{number}.html")));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(page.text, world.get(&path("html")).await.text, "the same every time");
    world.get(&path("odt")).await.is(400);
    let refused = world.get(&path("xml-ubl")).await.is(422);
    assert!(refused.text.contains("branding set"), "{}", refused.text);
    world.put("/v1/branding", json!({"colour": "red"})).await.is(422);
    world.put("/v1/branding", branding()).await.is(200);
    world.put("/v1/customers/nobody/billing-details", json!({})).await.is(404);
    let at = "/v1/customers/acme/billing-details";
    world.put(at, json!({"country": "Germany"})).await.is(422);
    world.put(at, json!({"country": "DE", "city": "München"})).await.is(200);
    assert_eq!(world.get(at).await.is(200).at("/city"), "München");
    let ubl = world.get(&path("xml-ubl")).await.is(200);
    assert!(ubl.text.contains("<cbc:PayableAmount currencyID=\"USD\">1.00</cbc:PayableAmount>"));
    assert!(ubl.header("content-disposition").starts_with("attachment"));
    let annex = world.get(&format!("{}&annex=true", path("html"))).await.is(200);
    assert!(annex.text.contains("<svg") && annex.text.contains("Usage by day"));
}

#[tokio::test]
async fn notes_receipts_and_statements_say_what_moved() {
    let (world, number) = billed().await;
    let money = |amount: &str| json!({"amount": amount, "currency": "USD"});
    let note = json!({"id": "n1", "invoice": number, "amount": money("0.40"), "reason": "sorry"});
    world.post("/v1/credit-notes", note).await.is(201);
    let paid = json!({"id": "p1", "customer": "acme", "amount": money("1.00")});
    world.post("/v1/payments", paid).await.is(201);
    let note = world.get("/v1/credit-notes/n1/document").await.is(200);
    assert!(note.text.contains("Credit note") && note.text.contains("$0.40"));
    let receipt = world.get("/v1/payments/p1/receipt").await.is(200);
    assert!(receipt.text.contains(&number) && receipt.text.contains("$0.60"), "{}", receipt.text);
    world.get("/v1/payments/nothing/receipt").await.is(404);
    let range = "from=2026-04-01T00:00:00Z&to=2026-05-01T00:00:00Z";
    let path = format!("/v1/customers/acme/statement?{range}");
    let statement = world.get(&path).await.is(200);
    for needle in ["Balance due", "Payment p1", "Credit note CN-2026", "−$0.40"] {
        assert!(statement.text.contains(needle), "{needle}: {}", statement.text);
    }
    assert!(statement.text.contains("−$0.40</bdi></td></tr>"), "what is in credit is at the end");
    let wrong = "/v1/customers/acme/statement?from=2026-04-02T00:00:00Z&to=2026-04-01T00:00:00Z";
    world.get(wrong).await.is(400);
}

#[tokio::test]
async fn a_customer_reads_its_own_documents_and_no_others() {
    let (world, number) = billed().await;
    World::customer(&world, "bob").await;
    let token = world.post("/v1/customers/acme/tokens", json!({})).await.is(201).at("/secret");
    let ask = async |path: String| world.ask("GET", &path, &token, &[], None).await;
    ask(format!("/v1/customers/acme/invoices/{number}/document")).await.is(200);
    ask(format!("/v1/customers/bob/invoices/{number}/document")).await.is(404);
    ask(format!("/v1/invoices/{number}/document")).await.is(403);
    let of_bob = format!("/v1/customers/bob/invoices/{number}/document");
    world.get(&of_bob).await.is(404);
}
