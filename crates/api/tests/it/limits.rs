//! Rate limits: of the service and of customers, in memory and in a real Redis.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use counterfoil_api::{
    Options,
    limits::{By, InMemory, InRedis, Limiter, Limits, Rate, RateRule},
};
use counterfoil_rating::quota::RateWindow;
use serde_json::json;

use crate::world::{World, at, options};

fn limited(limiter: Arc<dyn Limiter>, fail_open: bool) -> Options {
    let rules = vec![
        RateRule {
            operation: None,
            by: By::Tenant,
            limit: 100,
            per: RateWindow::Hour,
            burst: None,
        },
        RateRule {
            operation: Some("meters.list".to_owned()),
            by: By::Key,
            limit: 3,
            per: RateWindow::Minute,
            burst: None,
        },
    ];
    Options { limits: Limits { limiter, rules, fail_open }, ..options() }
}

#[tokio::test]
async fn calls_beyond_a_limit_are_told_when_to_come_back() {
    let world = World::with(limited(Arc::new(InMemory::default()), true)).await;
    for left in [2, 1, 0] {
        let answer = world.get("/v1/meters").await.is(200);
        assert_eq!(answer.header("x-ratelimit-remaining"), left.to_string());
        assert_eq!(answer.header("ratelimit-policy"), "\"meters.list\";q=3;w=60");
    }
    let refused = world.get("/v1/meters").await.is(429);
    assert_eq!((refused.at("/code"), refused.header("retry-after")), ("rate_limited".into(), "20"));
    assert_eq!(refused.header("x-ratelimit-limit"), "3");
    // Another key and another operation have limits of their own.
    let other = world.key("home", &["read"]).await;
    world.ask("GET", "/v1/meters", &other, &[], None).await.is(200);
    let list = world.get("/v1/customers").await.is(200);
    assert_eq!(list.header("x-ratelimit-limit"), "100");
    world.clock.set(at("2026-03-10T12:00:20Z"));
    world.get("/v1/meters").await.is(200);
    world.get("/v1/meters").await.is(429);
}

#[tokio::test]
async fn a_customers_calls_are_counted_against_its_plan() {
    let world = World::furnished().await;
    let ask = async |endpoint: &str| {
        let body = json!({"customer": "acme", "endpoint": endpoint});
        world.post("/v1/limits/check", body).await
    };
    assert_eq!(ask("/search").await.is(200).at("/remaining"), "1");
    ask("/search").await.is(200);
    assert_eq!(ask("/search").await.is(429).header("retry-after"), "1");
    assert_eq!(ask("/other").await.is(200).at("/allowed"), "true");
    world.clock.set(at("2026-03-10T12:00:00.5Z"));
    ask("/search").await.is(200);
    ask("/search").await.is(429);
}

/// A Redis on a port of its own, stopped when dropped.
struct Redis {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Redis {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; the test command installs it"));
        let redis = Self { child, port, _directory: directory };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return redis;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("redis-server does not answer");
    }

    fn stop(&mut self) {
        // It may have stopped by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test]
async fn processes_that_share_a_redis_share_a_limit() {
    let redis = Redis::start().await;
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let (one, two) = (InRedis::connect(&url).await.unwrap(), InRedis::connect(&url).await.unwrap());
    let rate = Rate::new(5, RateWindow::Hour, None);
    let mut allowed = 0;
    for number in 0..20 {
        let limiter = if number % 2 == 0 { &one } else { &two };
        let decision = limiter.decide("shared", &rate, 0).await.unwrap();
        allowed += u32::from(decision.allowed);
        if !decision.allowed {
            assert!(decision.retry_after > 600_000_000 && decision.retry_after <= 720_000_000);
        }
    }
    assert_eq!(allowed, 5);
}

#[tokio::test]
async fn the_script_decides_as_the_program_does() {
    let redis = Redis::start().await;
    let limiter = InRedis::connect(&format!("redis://127.0.0.1:{}", redis.port)).await.unwrap();
    for (limit, per, burst) in [
        (1, RateWindow::Hour, None),
        (10, RateWindow::Hour, Some(3)),
        (1_000, RateWindow::Hour, Some(7)),
    ] {
        let rate = Rate::new(limit, per, burst);
        let key = format!("same/{limit}");
        let mut until = None;
        for _ in 0..12 {
            let theirs = limiter.decide(&key, &rate, 0).await.unwrap();
            // The server's clock is the one that counts: what it said tells what time it was.
            let now = theirs.until - theirs.reset_after;
            let ours = rate.decide(until, now);
            until = Some(ours.until);
            assert_eq!(ours, theirs, "{limit} {burst:?}");
        }
    }
}

#[tokio::test]
async fn without_its_redis_the_service_goes_on_or_refuses_as_it_was_told() {
    for fail_open in [true, false] {
        let mut redis = Redis::start().await;
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let limiter = Arc::new(InRedis::connect(&url).await.unwrap());
        let world = World::with(limited(limiter, fail_open)).await;
        world.get("/v1/meters").await.is(200);
        redis.stop();
        let answer = world.get("/v1/meters").await;
        assert_eq!(answer.status, if fail_open { 200 } else { 503 }, "{}", answer.text);
    }
}
