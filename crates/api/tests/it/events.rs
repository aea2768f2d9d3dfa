//! Events over HTTP: every way they can come, receipts, corrections, explanations.

use std::io::Write;

use axum::body::Body;
use serde_json::{Value, json};

use crate::world::{World, call};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn dup_same_body_is_noop_and_other_body_is_conflict_over_http() {
    let world = World::furnished().await;
    let first = world.post("/v1/events", call("e1", "acme")).await.is(201);
    let again = world.post("/v1/events", call("e1", "acme")).await.is(200);
    assert_eq!(again.at("/receipts/0/status"), "duplicate");
    assert_eq!(again.at("/receipts/0/position"), first.at("/receipts/0/position"));
    let mut other = call("e1", "acme");
    other["quantity"] = json!("2");
    let conflict = world.post("/v1/events", other).await.is(409);
    assert_eq!(conflict.at("/receipts/0/status"), "conflict");
    assert_ne!(conflict.at("/receipts/0/stored"), conflict.at("/receipts/0/given"));
    assert_eq!(world.get("/v1/events").await.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn of_64_callers_with_one_event_one_wins_and_all_hear_of_it() {
    let world = std::sync::Arc::new(World::furnished().await);
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let world = std::sync::Arc::clone(&world);
            tokio::spawn(async move { world.post("/v1/events", call("one", "acme")).await })
        })
        .collect();
    let mut inserted = 0;
    for caller in callers {
        let answer = caller.await.unwrap();
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
        inserted += u32::from(answer.status == 201);
        assert_eq!(answer.at("/receipts/0/position"), "1");
    }
    assert_eq!(inserted, 1);
}

#[tokio::test]
async fn one_bad_event_sinks_no_neighbour() {
    let world = World::furnished().await;
    let mut bad = call("bad", "acme");
    bad["quantity"] = json!("1e40");
    let mut late = call("late", "acme");
    late["time"] = json!("2020-01-01T00:00:00Z");
    let batch = json!([call("a", "acme"), bad, 7, call("b", "acme"), late, call("a", "acme")]);
    let answer = world.post("/v1/events", batch).await.is(207);
    let statuses: Vec<String> =
        (0..6).map(|at| answer.at(&format!("/receipts/{at}/status"))).collect();
    let expected = ["inserted", "rejected", "rejected", "inserted", "rejected", "duplicate"];
    assert_eq!(statuses, expected, "{}", answer.text);
    assert_eq!(answer.at("/receipts/4/code"), "too_old");
    assert_eq!(answer.at("/counts/inserted"), "2");
    let mut late = call("late", "acme");
    late["time"] = json!("2025-12-01T00:00:00Z");
    world.post("/v1/events?backfill=true", late).await.is(201);
}

#[tokio::test]
async fn numbers_come_back_digit_by_digit() {
    let world = World::furnished().await;
    let text = r#"{"id":"n","source":"svc","customer":"acme","type":"answer","time":"2026-03-10T12:00:00Z","quantity":0.1234567890123456789,"properties":{"tokens":123456789012345678.123456789,"a":"x","b":true}}"#;
    world.post_as("/v1/events", &[("content-type", "application/json")], text).await.is(201);
    let found = world.get("/v1/events/find?source=svc&id=n").await.is(200);
    assert_eq!(found.at("/quantity"), "0.1234567890123456789");
    assert!(found.text.contains("\"tokens\":123456789012345678.123456789"), "{}", found.text);
    let from = "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z";
    let usage = world.get(&format!("/v1/customers/acme/usage/meters?{from}")).await.is(200);
    assert_eq!(usage.at("/items/0/value"), "123456789012345678.123456789");
}

#[tokio::test]
async fn cloudevents_come_structured_batched_and_binary() {
    let world = World::furnished().await;
    let cloud = |id: &str| {
        json!({"specversion": "1.0", "id": id, "source": "svc", "type": "answer",
            "subject": "acme", "time": "2026-03-10T12:00:00Z", "data": {"tokens": 5}})
    };
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    world.post_as("/v1/events", &structured, cloud("c1").to_string()).await.is(201);
    let batched = [("content-type", "application/cloudevents-batch+json")];
    let batch = json!([cloud("c1"), cloud("c2")]).to_string();
    let answer = world.post_as("/v1/events", &batched, batch).await.is(200);
    assert_eq!(
        (answer.at("/counts/duplicate"), answer.at("/counts/inserted")),
        ("1".into(), "1".into())
    );
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "c%33"),
        ("ce-source", "svc"),
        ("ce-type", "answer"),
        ("ce-subject", "acme"),
        ("ce-time", "2026-03-10T12:00:00Z"),
    ];
    world.post_as("/v1/events", &binary, r#"{"tokens": 5}"#).await.is(201);
    let found = world.get("/v1/events/find?source=svc&id=c3").await.is(200);
    assert_eq!(found.at("/properties/tokens"), "5");
    // The three modes of one event are one event.
    let again = world.post_as("/v1/events", &structured, cloud("c3").to_string()).await.is(200);
    assert_eq!(again.at("/receipts/0/status"), "duplicate");
}

#[tokio::test]
async fn a_stream_of_lines_is_stored_whatever_some_lines_hold() {
    let world = World::furnished().await;
    let mut lines = Vec::new();
    for number in 0..2_500 {
        lines.push(call(&format!("l{number}"), "acme").to_string());
        if number % 1_000 == 7 {
            lines.push("{not json".to_owned());
            lines.push(String::new());
        }
    }
    let text = lines.join("\n");
    let answer = world.post_as("/v1/events", &[NDJSON], text.clone()).await.is(207);
    assert_eq!(answer.at("/counts/inserted"), "2500");
    assert_eq!(answer.body["receipts"].as_array().unwrap().len(), 3);
    assert_eq!(answer.at("/receipts/0/index"), "8");
    let packed = [NDJSON, ("content-encoding", "gzip")];
    let answer = world.post_as("/v1/events", &packed, gzip(&text)).await.is(207);
    assert_eq!(answer.at("/counts/duplicate"), "2500");
    let all = world.post_as("/v1/events?receipts=all", &[NDJSON], text).await.is(200);
    let receipts: Vec<Value> =
        all.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(receipts.len(), 2_504);
    assert_eq!(receipts.last().unwrap()["counts"]["duplicate"], 2_500);
}

#[tokio::test]
async fn a_line_beyond_the_limit_is_refused_alone() {
    let world = World::furnished().await;
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let text = format!("{}\n{long}\n{}\n", call("a", "acme"), call("b", "acme"));
    let answer = world.post_as("/v1/events", &[NDJSON], text).await.is(207);
    assert_eq!(answer.at("/counts/inserted"), "2");
    assert_eq!(answer.at("/receipts/0/code"), "too_large");
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_how_far_it_came() {
    let world = World::furnished().await;
    let first: Vec<String> =
        (0..1_500).map(|n| call(&format!("p{n}"), "acme").to_string() + "\n").collect();
    let pieces: Vec<Result<String, std::io::Error>> =
        vec![Ok(first.concat()), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let answer = world.post_as("/v1/events", &[NDJSON], body).await.is(400);
    assert_eq!(answer.at("/counts/inserted"), "1000");
    // Sending all of it again stores the rest.
    let answer = world.post_as("/v1/events", &[NDJSON], first.concat()).await.is(200);
    assert_eq!(
        (answer.at("/counts/duplicate"), answer.at("/counts/inserted")),
        ("1000".into(), "500".into())
    );
}

#[tokio::test]
async fn events_are_listed_page_by_page_and_filtered() {
    let world = World::furnished().await;
    world.customer("bob").await;
    let batch: Vec<Value> = (0..30)
        .map(|n| {
            let mut event = call(&format!("e{n}"), if n % 3 == 0 { "bob" } else { "acme" });
            event["time"] = json!(format!("2026-03-0{}T00:00:00Z", 1 + n % 9));
            event
        })
        .collect();
    world.post("/v1/events", json!(batch)).await.is(200);
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(&format!("/v1/events?limit=7{cursor}")).await.is(200);
        for event in page.body["items"].as_array().unwrap() {
            found.push(event["id"].as_str().unwrap().to_owned());
        }
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 30);
    let count = async |query: &str| {
        let page = world.get(&format!("/v1/events?{query}")).await.is(200);
        page.body["items"].as_array().unwrap().len()
    };
    assert_eq!(count("customer=bob").await, 10);
    assert_eq!(count("customer=acme&from=2026-03-09T00:00:00Z").await, 3);
    assert_eq!(count("type=nothing").await, 0);
    world.get("/v1/events?cursor=99.99").await.is(400);
    world.get("/v1/events?cursor=x").await.is(400);
    world.get("/v1/events?limit=0").await.is(400);
    world.get("/v1/events?from=yesterday").await.is(400);
}

#[tokio::test]
async fn an_event_explains_where_it_is_billed_or_why_it_is_not() {
    let world = World::furnished().await;
    world.post("/v1/events", call("ok", "acme")).await.is(201);
    world.post("/v1/events", call("who", "nobody")).await.is(201);
    let mut strange = call("strange", "acme");
    strange["type"] = json!("unheard.of");
    world.post("/v1/events", strange).await.is(201);
    let mut empty = call("empty", "acme");
    empty["type"] = json!("answer");
    world.post("/v1/events", empty).await.is(201);
    let mut back = call("back", "acme");
    back["reverses"] = json!("ok");
    let explain =
        async |id: &str| world.get(&format!("/v1/events/explain?source=svc&id={id}")).await.is(200);
    let ok = explain("ok").await;
    assert_eq!(ok.at("/standing"), "counts");
    assert_eq!(ok.at("/billed_by/0/charges/0"), "calls");
    assert_eq!(ok.at("/unbilled"), "null");
    assert!(explain("who").await.at("/unbilled").contains("unknown customer"));
    assert!(explain("strange").await.at("/unbilled").contains("no meter measures"));
    assert!(explain("empty").await.at("/unbilled").contains("cannot use it"));
    world.post("/v1/events", back).await.is(201);
    let ok = explain("ok").await;
    assert_eq!((ok.at("/standing"), ok.at("/corrected_by")), ("reversed".into(), "[4]".into()));
    world.get("/v1/events/explain?source=svc&id=missing").await.is(404);
}
