//! Archives that somebody changed are found, and every store call of an archiving may fail.

use std::sync::Arc;

use counterfoil_archive::ArchiveDir;
use counterfoil_engine::archive::ArchiveOptions;
use counterfoil_store::{
    ArchiveFiles, Store,
    faults::{FaultStore, Side, WRITES},
};

use crate::{
    archive::{Old, billed},
    faults::until_done,
    world::{World, at},
};

#[tokio::test]
async fn tampering_with_what_stays_of_a_row_is_found() {
    let found = async |sql: &'static str, word: &str| {
        let old = Old::new().await;
        old.archive("2026-08-01T00:00:00Z").await;
        let mut other = old.world.intruder().await;
        let allowed = sqlx::raw_sql(sql).execute(&mut other).await;
        assert!(allowed.is_err(), "{sql}");
        for trigger in [
            "usage_event_no_update",
            "usage_event_no_delete",
            "archive_immutable",
            "archive_no_delete",
        ] {
            let sql = format!("DROP TRIGGER {trigger}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut other).await.unwrap();
        }
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
        let problems = old.engine.verify().await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains(word)), "{sql}: {problems:?}");
    };
    found(
        "UPDATE usage_event SET archived = zeroblob(48) WHERE position = 2",
        "not what was sealed",
    )
    .await;
    found("UPDATE usage_event SET leaf = zeroblob(32) WHERE position = 2", "not what was sealed")
        .await;
    found(
        "UPDATE usage_event SET recorded_at = recorded_at + 1 WHERE position = 2",
        "not what was sealed",
    )
    .await;
    found("DELETE FROM usage_event WHERE position = 3", "position 3 is missing").await;
    found(
        "UPDATE usage_event SET archived = zeroblob(48), type = '', source = '', id = '', quantity = '', body = NULL WHERE customer = 'ann' AND time > 1788000000000000",
        "no archive holds it",
    )
    .await;
    found(
        "UPDATE archive SET manifest = replace(manifest, '\"bytes\": ', '\"bytes\": 1')",
        "journal",
    )
    .await;
    found("DELETE FROM archive", "no archive holds it").await;
}

#[tokio::test]
async fn a_damaged_file_is_found_and_restores_nothing() {
    let old = Old::new().await;
    let report = old.archive("2026-08-01T00:00:00Z").await;
    let last = report.archives.last().unwrap();
    let path = old.dir.join(&last.file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let fresh = old.world.engine.clone().with_archives(Arc::new(ArchiveDir::new(&old.dir)));
    let error = fresh.restore_archive(&last.id()).await.unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    let checks = fresh.check_archives().await.unwrap();
    let wrong: Vec<_> = checks.iter().filter(|check| check.problem.is_some()).collect();
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].archive, last.id());
    let problems = fresh.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("SHA-256")), "{problems:?}");
}

/// Archive all that may go, and bring it back.
async fn there_and_back(world: &World, store: Arc<dyn Store>, dir: &std::path::Path) {
    let files: Arc<dyn ArchiveFiles> = Arc::new(ArchiveDir::new(dir));
    let engine = until_done(async || world.through(store.clone()).await).await;
    let engine = engine.with_archives(files);
    let options =
        ArchiveOptions { rows_per_file: 9, ..ArchiveOptions::before(at("2026-08-01T00:00:00Z")) };
    until_done(async || engine.archive(&options).await).await;
    let mut records = until_done(async || engine.archives().await).await;
    records.reverse();
    if let Some(record) = records.first() {
        let id = record.manifest.id();
        until_done(async || engine.restore_archive(&id).await).await;
    }
}

async fn seals(world: &World) -> Vec<String> {
    let store = world.engine.store();
    let mut seals = Vec::new();
    for lane in world.engine.tenant().lane_ids() {
        for seal in store.seals(lane, 0, 1 << 40, 9_999).await.unwrap() {
            seals.push(format!("{seal:?}"));
        }
    }
    for record in store.archives(&world.engine.tenant().id).await.unwrap() {
        seals.push(format!("{:?} {:?}", record.manifest, record.state));
    }
    for fact in store.facts(&world.engine.tenant().id, 0, 9_999).await.unwrap() {
        seals.push(format!("{fact:?}"));
    }
    seals
}

#[tokio::test]
async fn every_store_call_of_an_archiving_may_fail_and_repeating_converges() {
    let base = World::new(1).await;
    billed(&base).await;
    let copy = async || base.copy().await;
    let clean = copy().await;
    let recorder = Arc::new(FaultStore::new(Arc::new(clean.sqlite.clone())));
    there_and_back(&clean, recorder.clone(), &clean.path().join("archive")).await;
    let wanted = seals(&clean).await;
    let calls = recorder.calls();
    assert!(calls.iter().filter(|name| **name == "drop_content").count() >= 3);
    for (number, name) in calls.iter().enumerate() {
        let sides: &[Side] =
            if WRITES.contains(name) { &[Side::Before, Side::After] } else { &[Side::Before] };
        for side in sides {
            let world = copy().await;
            let store =
                Arc::new(FaultStore::failing(Arc::new(world.sqlite.clone()), number, *side));
            there_and_back(&world, store.clone(), &world.path().join("archive")).await;
            assert!(store.hit(), "call {number} ({name})");
            assert_eq!(seals(&world).await, wanted, "call {number} ({name}), {side:?}");
            let engine = world.engine.clone();
            let files = ArchiveDir::new(world.path().join("archive"));
            let verified = engine.with_archives(Arc::new(files)).verify().await.unwrap();
            assert_eq!((verified.problems, verified.unchecked), (vec![], vec![]));
        }
    }
}
