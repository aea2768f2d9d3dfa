//! Jobs over HTTP: looked at, paused, triggered, let go.

use counterfoil_store::{Commit, JobItem, JobRun, JobState, Write};
use serde_json::json;

use crate::world::{World, at};

#[tokio::test]
async fn jobs_are_listed_paused_triggered_and_let_go() {
    let world = World::new().await;
    let all = world.get("/v1/jobs").await.is(200);
    assert_eq!(all.at("/items/0/name"), "invoice-run");
    assert_eq!(all.at("/items/0/cron"), "0 2 1 * *");
    world.post("/v1/jobs/health/pause", json!({"by": " "})).await.is(422);
    let paused = json!({"by": "ann", "reason": "moving"});
    let paused = world.post("/v1/jobs/health/pause", paused).await.is(200);
    assert_eq!(paused.at("/pause/reason"), "moving");
    let resumed = world.post("/v1/jobs/health/resume", json!({})).await.is(200);
    assert_eq!(resumed.at("/pause"), "null");
    let asked = world.post("/v1/jobs/health/run", json!({"by": "bob"})).await.is(202);
    assert_eq!((asked.at("/asked_by"), asked.at("/state")), ("bob".into(), "due".into()));
    world.get("/v1/jobs/nobody").await.is(404);
    world.post("/v1/jobs/nobody/run", json!({"by": "bob"})).await.is(404);

    let tenant = counterfoil_types::TenantId::new("home").unwrap();
    let then = at("2026-01-01T00:00:00Z");
    let parked = JobRun {
        state: JobState::Parked,
        error: Some("no".to_owned()),
        ..JobRun::due("dunning", then, then)
    };
    let item = JobItem {
        job: "grants".to_owned(),
        item: "grant/x".to_owned(),
        attempts: 5,
        parked: true,
        at: then,
        error: "no".to_owned(),
    };
    let mut commit = Commit::of(Write::PutJobRun(Box::new(parked)));
    commit.writes.push(Write::PutJobItem(item));
    world.store.commit(&tenant, &commit).await.unwrap();
    let found = world.get("/v1/parked-jobs").await.is(200);
    assert_eq!(
        (found.at("/runs/0/job"), found.at("/items/0/item")),
        ("dunning".into(), "grant/x".into())
    );
    let one = json!({"item": "grant/x"});
    assert_eq!(world.post("/v1/jobs/grants/unpark", one.clone()).await.is(200).at("/count"), "1");
    world.post("/v1/jobs/grants/unpark", one).await.is(404);
    world.post("/v1/jobs/dunning/unpark", json!({})).await.is(200);
    let page = world.get("/v1/job-runs?limit=1").await.is(200);
    assert_eq!(page.at("/items/0/job"), "health");
    let next = page.at("/next");
    let rest = world.get(&format!("/v1/job-runs?limit=1&cursor={next}")).await.is(200);
    assert_eq!(
        (rest.at("/items/0/job"), rest.at("/items/0/state")),
        ("dunning".into(), "due".into())
    );
    let due = world.get("/v1/job-runs?state=parked").await.is(200);
    assert_eq!(due.at("/items"), "[]");
    world.get("/v1/job-runs?cursor=odd").await.is(400);
}
