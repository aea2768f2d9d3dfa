//! Bodies that are too large, too deep, packed too well, of the wrong kind, or not what they say.

use std::io::Write;

use serde_json::json;

use crate::world::{World, call};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn huge_deep_and_packed_bodies_are_refused() {
    let world = World::furnished().await;
    let post = async |headers: &[(&str, &str)], body: Vec<u8>| {
        let answer = world.post_as("/v1/events", headers, body).await;
        (answer.status, answer.at("/code"))
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    let big = vec![b' '; 5 * 1024 * 1024 + 1];
    assert_eq!(post(&[JSON], big).await, is(413, "too_large"));
    let many: Vec<_> = (0..5_001).map(|n| call(&n.to_string(), "acme")).collect();
    assert_eq!(post(&[JSON], json!(many).to_string().into()).await, is(413, "too_large"));
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(post(&[JSON], deep.into()).await, is(400, "malformed"));
    let deep = format!("{{\"a\":{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_001));
    assert_eq!(post(&[JSON], deep.into()).await, is(400, "malformed"));
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        bomb.write_all(&[b' '; 1024 * 1024]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let packed = [JSON, ("content-encoding", "gzip")];
    assert_eq!(post(&packed, bomb).await, is(413, "too_large"));
    assert_eq!(post(&packed, b"no gzip".to_vec()).await, is(400, "malformed"));
    let strange = [JSON, ("content-encoding", "br")];
    assert_eq!(post(&strange, b"{}".to_vec()).await, is(415, "unsupported_media_type"));
    assert_eq!(
        post(&[("content-type", "text/csv")], b"a".to_vec()).await,
        is(415, "unsupported_media_type")
    );
    assert_eq!(post(&[JSON], b"".to_vec()).await, is(400, "malformed"));
    assert_eq!(post(&[JSON], b"[{}".to_vec()).await, is(400, "malformed"));
    assert_eq!(post(&[JSON], b"\"text\"".to_vec()).await, is(400, "malformed"));
    assert_eq!(world.get("/v1/events").await.at("/items"), "[]");
}

#[tokio::test]
async fn a_gigabyte_is_refused_by_its_length_alone() {
    let world = World::furnished().await;
    // No byte of it is sent: were it read, this would never end.
    let body = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let headers = [JSON, ("content-length", "1073741824")];
    let answer = world.post_as("/v1/events", &headers, body).await.is(413);
    assert_eq!(answer.header("connection"), "close");
    let body = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let request = axum::http::Request::builder()
        .method("PUT")
        .uri("/v1/customers/acme")
        .header("authorization", format!("Bearer {}", world.admin))
        .header("content-type", "application/json")
        .header("content-length", "1048577")
        .body(body)
        .unwrap();
    world.send(request).await.is(413);
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_told_what_is_wrong() {
    let world = World::furnished().await;
    let put = async |body: serde_json::Value| world.put("/v1/customers/acme", body).await;
    let unknown = json!({"id": "acme", "name": "A", "currency": "USD", "zone": "UTC", "colour": 1});
    assert!(put(unknown).await.is(422).at("/detail").contains("colour"));
    let zone = json!({"id": "acme", "name": "A", "currency": "USD", "zone": "Mars/Base"});
    assert!(put(zone).await.is(422).at("/detail").contains("Mars/Base"));
    let other = json!({"id": "bob", "name": "A", "currency": "USD", "zone": "UTC"});
    put(other).await.is(422);
    let kind = [("content-type", "text/plain")];
    world.post_as("/v1/payments", &kind, "{}").await.is(415);
    world.post_as("/v1/payments", &[JSON], "{").await.is(400);
    let book = world.post("/v1/books", json!({"text": "[book]\nname = 1"})).await.is(422);
    assert_eq!(book.at("/line"), "2");
    let missing = world.get("/v1/customers/nobody").await.is(404);
    assert_eq!(missing.at("/type"), "urn:counterfoil:problem:not_found");
    assert_eq!(missing.at("/request_id"), missing.header("x-request-id"));
    world.get("/v1/nothing").await.is(404);
    let wrong = world.ask("PATCH", "/v1/customers/acme", &world.admin, &[], None).await.is(405);
    assert_eq!(wrong.at("/code"), "method_not_allowed");
}
