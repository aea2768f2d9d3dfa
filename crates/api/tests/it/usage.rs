//! Usage, cost, forecast, series, breakdown, ranking: what is read is what the ledger says.

use serde_json::{Value, json};

use crate::world::{World, at, call, options};

async fn with_usage() -> World {
    let world = World::furnished().await;
    let mut batch: Vec<Value> = Vec::new();
    for number in 0..20 {
        let mut event = call(&format!("c{number}"), "acme");
        event["time"] = json!(format!("2026-03-{:02}T{:02}:30:00Z", 1 + number % 10, number % 12));
        event["properties"] = json!({"endpoint": if number % 4 == 0 { "/a" } else { "/b" }});
        batch.push(event);
    }
    for number in 0..6 {
        batch.push(json!({"id": format!("t{number}"), "source": "svc", "customer": "acme",
            "type": "answer", "time": "2026-03-05T10:00:00Z", "properties": {"tokens": 100}}));
    }
    world.post("/v1/events", json!(batch)).await.is(200);
    world
}

#[tokio::test]
async fn an_acknowledged_event_is_seen_at_once_with_cost_and_forecast() {
    let world = with_usage().await;
    let usage = world.get("/v1/customers/acme/usage").await.is(200);
    assert_eq!(usage.at("/subscriptions/0/charges/0/used"), "20");
    assert_eq!(usage.at("/subscriptions/0/charges/0/included"), "5");
    assert_eq!(usage.at("/subscriptions/0/charges/0/overage"), "15");
    assert_eq!(usage.at("/subscriptions/0/charges/0/cost/amount"), "0.15");
    // 20 in 9.5 of 31 days.
    assert_eq!(usage.at("/subscriptions/0/charges/0/forecast"), "65.26");
    assert_eq!(usage.at("/subscriptions/0/cost/amount"), "0.75");
    world.post("/v1/events", call("more", "acme")).await.is(201);
    let usage = world.get("/v1/customers/acme/usage").await.is(200);
    assert_eq!(usage.at("/subscriptions/0/charges/0/used"), "21");
    let position: u64 = usage.at("/subscriptions/0/position").parse().unwrap();
    let before = format!("/v1/customers/acme/usage?as_of={}", position - 1);
    assert_eq!(world.get(&before).await.is(200).at("/subscriptions/0/charges/0/used"), "20");
    world.get("/v1/customers/acme/usage?as_of=99999").await.is(422);
    world.get("/v1/customers/nobody/usage").await.is(404);
}

#[tokio::test]
async fn series_and_breakdowns_add_up_to_the_total() {
    let world = with_usage().await;
    let range = "meter=calls&from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z";
    for step in ["hour", "day", "week", "month"] {
        let series = world
            .get(&format!("/v1/customers/acme/usage/series?{range}&step={step}"))
            .await
            .is(200);
        let points = series.body["points"].as_array().unwrap();
        let total: u64 =
            points.iter().map(|p| p["value"].as_str().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(total, 20, "{step}");
        let ends: Vec<_> =
            points.iter().map(|p| (&p["period"]["start"], &p["period"]["end"])).collect();
        assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0), "{step}: steps tile time");
    }
    let path = format!("/v1/customers/acme/usage/breakdown?{range}&by=endpoint");
    let by = world.get(&path).await.is(200);
    assert_eq!((by.at("/items/0/value"), by.at("/items/0/usage")), ("/b".into(), "15".into()));
    assert_eq!(by.at("/items/1/usage"), "5");
    let top = world.get(&format!("{path}&top=1")).await.is(200);
    assert_eq!((top.at("/items/1/rest"), top.at("/items/1/usage")), ("true".into(), "5".into()));
    let years = "meter=calls&from=2020-01-01T00:00:00Z&to=2026-04-01T00:00:00Z&step=hour";
    world.get(&format!("/v1/customers/acme/usage/series?{years}")).await.is(422);
    let backwards = "meter=calls&from=2026-04-01T00:00:00Z&to=2026-03-01T00:00:00Z";
    world.get(&format!("/v1/customers/acme/usage/series?{backwards}")).await.is(400);
}

#[tokio::test]
async fn steps_follow_the_customers_clock() {
    let world = World::furnished().await;
    let berlin = json!({"id": "b", "name": "b", "currency": "USD", "zone": "Europe/Berlin"});
    world.put("/v1/customers/b", berlin).await.is(200);
    let range = "meter=calls&from=2026-03-28T00:00:00Z&to=2026-03-31T00:00:00Z&step=day";
    let series = world.get(&format!("/v1/customers/b/usage/series?{range}")).await.is(200);
    assert_eq!(series.at("/points/1/period/start"), "2026-03-28T23:00:00Z");
    // The clocks go forward: that day has 23 hours.
    assert_eq!(series.at("/points/1/period/end"), "2026-03-29T22:00:00Z");
}

#[tokio::test]
async fn calls_are_told_by_endpoint() {
    let world = World::furnished().await;
    let batch: Vec<Value> = (1..=100)
        .map(|n| {
            json!({"id": format!("r{n}"), "source": "svc", "customer": "acme",
                "type": "api.request", "time": "2026-03-05T10:00:00Z", "properties": {
                    "endpoint": "/v1/maps", "method": "GET", "latency_ms": n,
                    "status": if n > 97 { 503 } else if n > 90 { 404 } else { 200 }}})
        })
        .collect();
    world.post("/v1/events", json!(batch)).await.is(200);
    let range = "from=2026-03-05T00:00:00Z&to=2026-03-06T00:00:00Z";
    let told = world.get(&format!("/v1/customers/acme/endpoints?{range}")).await.is(200);
    assert_eq!(
        (told.at("/items/0/requests"), told.at("/items/0/errors")),
        ("100".into(), "10".into())
    );
    assert_eq!(told.at("/items/0/failures"), "3");
    assert_eq!(
        (told.at("/items/0/latency_ms/p50"), told.at("/items/0/latency_ms/p99")),
        ("50".into(), "99".into())
    );
    let none = world.get(&format!("/v1/customers/acme/endpoints?{range}&type=other")).await.is(200);
    assert_eq!(none.at("/items"), "[]");
}

#[tokio::test]
async fn many_customers_are_read_at_once_and_ranked() {
    let world = with_usage().await;
    world.customer("bob").await;
    world.post("/v1/events", call("b", "bob")).await.is(201);
    let body = json!({"customers": ["bob", "nobody", "acme"]});
    let batch = world.post("/v1/usage/batch", body).await.is(200);
    assert_eq!(batch.at("/items/0/subscriptions/0/charges/0/used"), "1");
    assert_eq!(batch.at("/items/1/problem/code"), "not_found");
    assert_eq!(batch.at("/items/2/subscriptions/0/charges/0/used"), "20");
    let top = world
        .get("/v1/meters/calls/top?from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z")
        .await
        .is(200);
    assert_eq!(
        (top.at("/items/0/customer"), top.at("/items/0/usage")),
        ("acme".into(), "20".into())
    );
    assert_eq!(top.at("/items/1/customer"), "bob");
    world.post("/v1/events", call("lost", "nobody")).await.is(201);
    let range = "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z";
    let unbilled = world.get(&format!("/v1/unbilled?{range}")).await.is(200);
    assert_eq!(unbilled.at("/items/0/reason"), "unknown customer");
}

#[tokio::test]
async fn health_tells_what_users_feel_and_opens_an_incident() {
    let world = World::furnished().await;
    assert_eq!(world.get("/health").await.is(200).at("/status"), "healthy");
    world.get("/ready").await.is(200).at("/ready");
    let system = world.get("/v1/system").await.is(200);
    assert_eq!(system.at("/events"), "0");
    let opened = json!({"title": "Slow", "message": "We look at it"});
    let incident = world.post("/v1/incidents", opened).await.is(201);
    let path = format!("/v1/incidents/{}", incident.at("/id"));
    world.clock.set(at("2026-03-10T12:05:00Z"));
    let over = json!({"stage": "resolved", "message": "Over"});
    world.post(&format!("{path}/updates"), over).await.is(200);
    let read = world.get(&path).await.is(200);
    assert_eq!(
        (read.at("/stage"), read.at("/resolved_at")),
        ("resolved".into(), "2026-03-10T12:05:00Z".into())
    );
    assert_eq!(read.body["timeline"].as_array().unwrap().len(), 2);
}
#[tokio::test]
async fn what_one_process_published_is_known_to_the_other_at_once() {
    let world = World::new().await;
    let other = World::over_with(std::sync::Arc::clone(&world.store), options(), &world.admin);
    // The other one remembers that there is nothing.
    other.get("/v1/customers/acme/usage").await.is(404);
    other.get("/v1/meters").await.is(200);
    let customer = json!({"id": "early", "name": "e", "currency": "USD", "zone": "UTC"});
    other.put("/v1/customers/early", customer).await.is(200);
    other.get("/v1/customers/early/usage").await.is(200);
    world.furnish().await;
    other.get("/v1/customers/acme/usage").await.is(200);
    other.get("/v1/customers/acme/quotas").await.is(200).at("/items/0/meter");
}
