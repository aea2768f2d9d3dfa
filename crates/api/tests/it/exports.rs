//! Exports and reports of usage over HTTP: formats, whose they are, refusals.

use serde_json::json;

use crate::{finance::billed, world::World};

const MARCH: &str = "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z";

#[tokio::test]
async fn exports_are_downloads_of_every_kind() {
    let (world, number) = billed().await;
    let events = world.get(&format!("/v1/exports/events?{MARCH}")).await.is(200);
    assert!(events.header("content-type").starts_with("text/csv"));
    assert!(events.header("content-disposition").contains("events.csv"));
    assert_eq!(events.text.lines().count(), 106, "the header and all that was sent");
    let lines = world.get("/v1/exports/lines?format=ndjson").await.is(200);
    assert!(lines.text.contains(&number), "{}", lines.text);
    let whole = world.get("/v1/exports/invoices?format=json").await.is(200);
    assert!(whole.text.contains(&number), "{}", whole.text);
    let usage = world.get(&format!("/v1/exports/usage?{MARCH}")).await.is(200);
    assert!(usage.text.lines().count() > 1, "{}", usage.text);
    let book = world.get(&format!("/v1/exports/usage?{MARCH}&format=xlsx")).await.is(200);
    assert!(book.header("content-disposition").contains(".xlsx"));
    world.get("/v1/exports/events?format=odt").await.is(400);
    world.get("/v1/exports/usage?from=2026-03-01T00:00:00Z").await.is(400);
}

#[tokio::test]
async fn a_customer_exports_and_reports_its_own_usage_and_no_others() {
    let (world, _) = billed().await;
    World::customer(&world, "bob").await;
    let token = world.post("/v1/customers/acme/tokens", json!({})).await.is(201).at("/secret");
    let ask = async |path: &str| world.ask("GET", path, &token, &[], None).await;
    let own = ask(&format!("/v1/customers/acme/exports/usage?{MARCH}")).await.is(200);
    assert!(own.text.contains("acme"), "{}", own.text);
    ask(&format!("/v1/customers/bob/exports/usage?{MARCH}")).await.is(404);
    ask(&format!("/v1/exports/usage?{MARCH}")).await.is(403);
    let report = ask("/v1/customers/acme/reports/usage?from=2026-03&to=2026-03").await.is(200);
    assert_eq!(report.at("/kind"), "usage");
    assert!(report.text.contains("105"), "{}", report.text);
    ask("/v1/customers/bob/reports/usage").await.is(404);
    ask("/v1/customers/acme/reports/usage?customer=bob").await.is(400);
    ask("/v1/customers/acme/reports/revenue").await.is(404);
    ask("/v1/reports/usage").await.is(403);
}
