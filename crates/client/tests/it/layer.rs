//! The layer around an axum router: requests become usage, quotas become answers.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    routing::get,
};
use counterfoil_client::{Client, ClientError, MeterLayer, MeterOptions, QuotaCheck, Writer};
use counterfoil_types::Quantity;
use serde_json::Value;
use tower::ServiceExt;

use crate::{server::Server, writer::quick};

fn customer(parts: &axum::http::request::Parts) -> Option<String> {
    Some(parts.headers.get("x-customer")?.to_str().ok()?.to_owned())
}

fn app(writer: &Writer, quota: Option<QuotaCheck>) -> Router {
    let mut options = MeterOptions::new(customer);
    options.quota = quota;
    options.endpoint = std::sync::Arc::new(|parts| {
        let matched = parts.extensions.get::<axum::extract::MatchedPath>();
        matched.map_or("", |matched| matched.as_str()).to_owned()
    });
    Router::new()
        .route("/items/{id}", get(async || "an item"))
        .route_layer(MeterLayer::new(writer.clone(), options))
}

async fn ask(app: &Router, customer: Option<&str>) -> Response<Body> {
    let mut request = Request::builder().uri("/items/17");
    if let Some(customer) = customer {
        request = request.header("x-customer", customer);
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn requests_are_metered_by_endpoint_and_refused_over_quota() {
    let server = Server::start().await;
    let writer = Writer::start(server.client(), quick()).unwrap();
    let app = app(&writer, Some(generous(server.client())));
    assert_eq!(ask(&app, None).await.status(), StatusCode::OK, "nobody's request passes");
    for left in ["3", "2", "1"] {
        let response = ask(&app, Some("acme")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "x-quota-limit"), "3");
        assert_eq!(header(&response, "x-quota-remaining"), left);
        assert!(header(&response, "x-quota-reset").parse::<u64>().unwrap() > 0);
        writer.flush().await.unwrap();
        used(&server, left.parse::<u32>().unwrap() - 1).await;
    }
    let denied = ask(&app, Some("acme")).await;
    assert_eq!(denied.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(header(&denied, "content-type"), "application/problem+json");
    assert_eq!(header(&denied, "x-quota-remaining"), "0");
    let body = axum::body::to_bytes(denied.into_body(), 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], "over_quota");
    assert_eq!(body["upgrade"], "https://example.com/upgrade");
    writer.close().await;
    let events: Value = server.client().get("/v1/events").await.unwrap();
    let events = events["items"].as_array().unwrap().clone();
    assert_eq!(events.len(), 3);
    for event in events {
        assert_eq!(event["type"], "api.request");
        assert_eq!(event["properties"]["endpoint"], "/items/{id}");
        assert_eq!(event["properties"]["method"], "GET");
        assert_eq!(event["properties"]["status"], 200);
        assert!(event["properties"]["latency_ms"].is_number());
    }
}

fn generous(client: Client) -> QuotaCheck {
    QuotaCheck { within: Duration::from_secs(10), ..QuotaCheck::new(client, "requests") }
}

/// Waits until the check has seen the use: it may rest on usage read a second ago.
async fn used(server: &Server, left: u32) {
    loop {
        let verdict = server.client().check_quota("acme", "requests", Quantity::ONE).await.unwrap();
        if verdict.quota.remaining.unwrap().to_string() == left.to_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_service_that_is_away_lets_requests_pass_or_not_as_set() {
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let client = Client::new(&format!("http://{nowhere}"), "cf_any").unwrap();
    let writer = Writer::start(client.clone(), quick()).unwrap();
    let open = app(&writer, Some(QuotaCheck::new(client.clone(), "requests")));
    assert_eq!(ask(&open, Some("acme")).await.status(), StatusCode::OK);
    let closed = QuotaCheck { fail_open: false, ..QuotaCheck::new(client, "requests") };
    let response = ask(&app(&writer, Some(closed)), Some("acme")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "1");
}

#[tokio::test]
async fn typed_calls_read_what_the_service_says() {
    let server = Server::start().await;
    let client = server.client();
    let consumed = client.consume("u1", "acme", "requests", Quantity::ONE).await.unwrap();
    assert_eq!(consumed.quotas[0].remaining.as_ref().unwrap().to_string(), "2");
    client.consume("u2", "acme", "requests", Quantity::ONE).await.unwrap();
    client.consume("u2", "acme", "requests", Quantity::ONE).await.unwrap();
    client.consume("u3", "acme", "requests", Quantity::ONE).await.unwrap();
    let over = client.consume("u4", "acme", "requests", Quantity::ONE).await.unwrap_err();
    let problem = over.problem().unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (402, "over_quota"));
    assert_eq!(problem.more["upgrade"], "https://example.com/upgrade");

    assert!(client.check_limits("acme", Some("/x")).await.unwrap().allowed);
    client.check_limits("acme", None).await.unwrap();
    let limited = client.check_limits("acme", None).await.unwrap_err();
    assert_eq!(limited.problem().unwrap().code, "rate_limited");
    assert!(limited.retry_after().unwrap() > Duration::ZERO);

    let entitled = client.entitlements("acme").await.unwrap();
    assert_eq!(entitled.entitlements["projects"], 3);
    assert_eq!(entitled.quotas[0].used.to_string(), "3");
    let none = client.invoices("acme", None).await.unwrap();
    assert!(none.items.is_empty() && none.next.is_none());
    let missing = client.usage("nobody/here").await.unwrap_err();
    assert_eq!(missing.problem().unwrap().code, "not_found");
    let wrong = Client::new(&format!("http://{}", server.address), "cf_wrong").unwrap();
    let refused = wrong.usage("acme").await.unwrap_err();
    assert_eq!(refused.problem().unwrap().status, 401);
    assert!(matches!(Client::new("localhost", "k"), Err(ClientError::Setting(_))));
}
