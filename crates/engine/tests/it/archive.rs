//! Archiving, and what must stay true while rows lie in files: every answer is the same or is
//! refused naming what to restore, and what is restored is what was there.

use std::{path::PathBuf, sync::Arc};

use counterfoil_archive::ArchiveDir;
use counterfoil_engine::{
    Engine, EngineError,
    archive::{ArchiveOptions, ArchiveReport},
    ingest::IngestOptions,
};
use counterfoil_ledger::{Event, Receipt, Reject, StoredEvent};
use counterfoil_types::Period;

use crate::world::{With, World, at, event, id};

const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[meter]]
key = "peak"
event_type = "call"
aggregation = "max"
value = "quantity"
[[meter]]
key = "level"
event_type = "level"
aggregation = "time_weighted_level"
per = "day"
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
[[plan.charge]]
key = "level"
meter = "level"
model = "per_unit"
unit_price = "0.1"
"#;

/// Two customers, three months billed, the fourth open; halves of hours are cut by Kolkata's zone.
pub(crate) struct Old {
    pub(crate) world: World,
    pub(crate) engine: Engine,
    pub(crate) dir: PathBuf,
}

fn month_of_events(month: u32) -> Vec<Event> {
    let mut events = Vec::new();
    for day in [1, 2, 15, 27] {
        for (name, customer) in [("a", "ann"), ("k", "kim")] {
            let time = at(&format!("2026-{month:02}-{day:02}T18:{:02}:00Z", 15 + day));
            let id = format!("{name}{month}-{day}");
            let amount = (day * month).to_string();
            events.push(event(&id, customer, "call", time).quantity(&amount));
        }
        let time = at(&format!("2026-{month:02}-{day:02}T03:10:00Z"));
        let id = format!("l{month}-{day}");
        events.push(event(&id, "ann", "level", time).quantity(&day.to_string()));
    }
    events
}

pub(crate) async fn billed(world: &World) {
    world.publish(BOOK).await;
    world.customer("ann", "UTC", None).await;
    world.customer("kim", "Asia/Kolkata", None).await;
    world.subscribe("ann", "b", "p", "2026-06-01").await;
    world.subscribe("kim", "b", "p", "2026-06-01").await;
    for month in 6..=9 {
        world.set_clock(&format!("2026-{month:02}-28T00:00:00Z"));
        world.ingest(month_of_events(month)).await;
        if month == 6 {
            let time = at("2026-06-28T00:00:00Z");
            let correction = event("fix", "ann", "call", time).quantity("7").amends("a6-15");
            world.ingest(vec![correction]).await;
        }
        if month < 9 {
            world.set_clock(&format!("2026-{:02}-02T00:00:00Z", month + 1));
            world.bill(&format!("2026-{month:02}")).await;
        }
    }
    world.set_clock("2026-09-29T00:00:00Z");
    world.engine.project_all().await.unwrap();
}

impl Old {
    pub(crate) async fn new() -> Self {
        let world = World::new(2).await;
        billed(&world).await;
        let dir = world.path().join("archive");
        let engine = world.engine.clone().with_archives(Arc::new(ArchiveDir::new(&dir)));
        Self { world, engine, dir }
    }

    pub(crate) async fn archive(&self, before: &str) -> ArchiveReport {
        let options = ArchiveOptions { rows_per_file: 5, ..ArchiveOptions::before(at(before)) };
        self.engine.archive(&options).await.unwrap()
    }

    async fn restore_all(&self) {
        let mut records = self.engine.archives().await.unwrap();
        records.reverse();
        for record in records {
            self.engine.restore_archive(&record.manifest.id()).await.unwrap();
        }
    }

    /// All rows of the store, as text.
    async fn rows(&self) -> Vec<StoredEvent> {
        let mut rows = Vec::new();
        for lane in self.engine.tenant().lane_ids() {
            rows.extend(self.engine.store().read(lane, 0, 1 << 40, None, 9_999).await.unwrap());
        }
        rows
    }

    async fn buckets(&self) -> Vec<String> {
        let mut buckets = Vec::new();
        for lane in self.engine.tenant().lane_ids() {
            let all = self.engine.store().all_buckets(lane, None, 9_999).await.unwrap();
            buckets.extend(all.into_iter().map(|bucket| format!("{bucket:?}")));
        }
        buckets
    }

    /// Usage over periods that cut hours, days and months.
    async fn usage(&self, engine: &Engine) -> Vec<Result<String, EngineError>> {
        let books = engine.books().await.unwrap();
        let meters: Vec<_> = books.meters().values().collect();
        let mut told = Vec::new();
        for customer in ["ann", "kim"] {
            for (from, to) in [
                ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"),
                ("2026-06-15T18:20:00Z", "2026-08-02T18:17:00Z"),
                ("2026-06-30T18:30:00Z", "2026-07-31T18:30:00Z"),
                ("2026-06-02T18:17:00Z", "2026-06-02T18:17:01Z"),
                ("2026-09-01T18:20:00Z", "2026-09-15T18:20:00Z"),
            ] {
                let period = Period::new(at(from), at(to));
                let usage = engine.usage(&id(customer), period, &meters).await;
                told.push(usage.map(|usage| format!("{:?}", usage.meters)));
            }
        }
        told
    }
}

fn all_ok(told: Vec<Result<String, EngineError>>) -> Vec<String> {
    told.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn every_answer_is_the_same_while_rows_lie_in_files_and_after_they_came_back() {
    let old = Old::new().await;
    let (rows, buckets) = (old.rows().await, old.buckets().await);
    let invoices = old.world.invoices().await;
    let usage = all_ok(old.usage(&old.engine).await);
    let report = old.archive("2026-08-01T00:00:00Z").await;
    assert_eq!(report.rows, 25, "June and July, and the correction");
    assert!(report.archives.len() >= 5, "files are small here");
    assert_eq!(all_ok(old.usage(&old.engine).await), usage);
    let verified = old.engine.verify().await.unwrap();
    assert_eq!((verified.problems, verified.unchecked), (vec![], vec![]));
    assert_eq!((verified.archived, verified.events), (25, rows.len() as u64));
    old.engine.rebuild().await.unwrap();
    assert_eq!(old.buckets().await, buckets, "rebuilt through the files");
    let again = old.archive("2026-08-01T00:00:00Z").await;
    assert_eq!((again.rows, again.archives.len()), (0, 0), "once");

    old.restore_all().await;
    assert_eq!(old.rows().await, rows, "to the byte");
    assert_eq!(old.buckets().await, buckets);
    assert_eq!(old.world.problems().await, Vec::<String>::new());
    assert_eq!(old.world.invoices().await, invoices);
    old.restore_all().await;
    assert_eq!(old.rows().await, rows);
}

#[tokio::test]
async fn without_the_files_answers_are_the_same_or_refused_by_name() {
    let old = Old::new().await;
    let usage = all_ok(old.usage(&old.engine).await);
    let buckets = old.buckets().await;
    old.archive("2026-08-01T00:00:00Z").await;
    std::fs::rename(&old.dir, old.dir.with_extension("away")).unwrap();
    let none = ArchiveDir::new(&old.dir);
    let fresh = old.world.engine.clone().with_archives(Arc::new(none));
    let mut refused = 0;
    for (told, expected) in old.usage(&fresh).await.into_iter().zip(&usage) {
        match told {
            Ok(told) => assert_eq!(told, *expected, "never less"),
            Err(EngineError::Archived { why, .. }) => {
                assert!(why.contains("is not there"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused >= 4, "hours that a boundary cuts: {refused}");
    let verified = fresh.verify().await.unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert_eq!(verified.archived, 25, "their seals were checked all the same");
    assert!(verified.unchecked.iter().any(|what| what.contains("content was not read")));
    assert!(verified.unchecked.iter().any(|what| what.contains("INV-2026-000001")));
    let error = fresh.rebuild().await.unwrap_err();
    assert!(matches!(error, EngineError::Archived { .. }), "{error}");
    assert_eq!(old.buckets().await, buckets, "nothing was forgotten");
    // The next month is billed from what is here.
    old.world.set_clock("2026-10-02T00:00:00Z");
    old.world.bill("2026-09").await;
    assert!(old.world.invoice("kim", 4).await.is_some());
}

#[tokio::test]
async fn what_holds_rows_back_is_said() {
    let old = Old::new().await;
    let before = at("2026-10-01T00:00:00Z");
    let report = old.engine.archive(&ArchiveOptions::before(before)).await.unwrap();
    assert!(report.rows > 0);
    assert!(!report.held_back.is_empty());
    for held in &report.held_back {
        let starts = ["2026-09-01T00:00:00Z", "2026-08-31T18:30:00Z"];
        let named = starts.iter().any(|start| held.reason.contains(start));
        assert!(named && held.reason.contains("is not invoiced for"), "{held:?}");
    }
    let seals = old.engine.archives().await.unwrap();
    assert!(seals.iter().all(|record| record.manifest.latest < at("2026-09-01T00:00:00Z")));
    // A young row ends the prefix; that it does is said only while older ones stand behind it.
    let old = Old::new().await;
    let report = old.archive("2026-07-01T00:00:00Z").await;
    assert_eq!(report.held_back, []);
    let late = event("late", "ann", "call", at("2026-06-20T00:00:00Z"));
    old.world.ingest(vec![late]).await;
    let report = old.archive("2026-07-01T00:00:00Z").await;
    assert_eq!(report.rows, 0);
    assert!(report.held_back[0].reason.contains("is not before 2026-07-01"), "{report:?}");
}

#[tokio::test]
async fn late_events_and_corrections_of_archived_months_are_exact_or_refused() {
    let old = Old::new().await;
    old.archive("2026-08-01T00:00:00Z").await;
    let options = IngestOptions { backfill: true };
    let take = async |events: Vec<Event>| old.engine.ingest(events, options).await.unwrap();
    let time = at("2026-06-15T18:30:00Z");
    let receipts = take(vec![
        event("late", "ann", "call", time).quantity("1000"),
        event("high", "ann", "level", at("2026-06-15T03:40:00Z")).quantity("50"),
        event("r", "ann", "call", time).reverses("a6-15"),
        event("a6-15", "ann", "call", at("2026-06-15T18:30:00Z")).quantity("90"),
        event("a6-15", "ann", "call", at("2026-06-15T18:30:00Z")).quantity("91"),
    ])
    .await;
    assert!(matches!(receipts[0], Receipt::Inserted { .. }));
    assert!(matches!(receipts[1], Receipt::Inserted { .. }));
    assert!(
        matches!(&receipts[2], Receipt::Rejected(Reject::Archived { target, .. }) if target == "a6-15")
    );
    assert!(matches!(receipts[3], Receipt::Duplicate { .. }));
    assert!(matches!(receipts[4], Receipt::Conflict { .. }));
    // Exact while not projected, while projected (levels are folded again), and settled.
    let archived = all_ok(old.usage(&old.engine).await);
    old.engine.project_all().await.unwrap();
    assert_eq!(all_ok(old.usage(&old.engine).await), archived);
    assert_eq!(old.engine.verify().await.unwrap().problems, Vec::<String>::new());
    old.world.set_clock("2026-10-02T00:00:00Z");
    let books = Arc::new(old.engine.books().await.unwrap());
    let month = "2026-09".parse().unwrap();
    let run = old.engine.open_run(&month, &old.world.options).await.unwrap();
    let run = old.engine.plan_run(&books, run).await.unwrap();
    let run = old.engine.compute_run(&books, run, &old.world.options, &|_| {}).await.unwrap();
    old.world.finalize(run).await;
    let invoice = old.world.invoice("ann", 4).await.unwrap();
    let late: Vec<_> = invoice
        .body
        .lines
        .iter()
        .filter(|line| line.period.start < at("2026-07-01T00:00:00Z"))
        .collect();
    assert!(late.iter().any(|line| line.charge == "calls" && line.amount.to_plain() == "250.00"));
    old.restore_all().await;
    assert_eq!(all_ok(old.usage(&old.engine).await), archived);
    assert_eq!(old.world.problems().await, Vec::<String>::new());
    let receipts = take(vec![event("r", "ann", "call", time).reverses("a6-15")]).await;
    assert!(matches!(receipts[0], Receipt::Inserted { .. }));
}

#[tokio::test]
async fn a_meter_registered_after_archiving_still_sees_the_past() {
    let old = Old::new().await;
    old.archive("2026-08-01T00:00:00Z").await;
    let next = BOOK.replace("version = \"1\"", "version = \"2\"");
    let more = next.replace("2026-01-01", "2026-10-01").replace(
        "[[plan]]",
        "[[meter]]\nkey = \"events\"\nevent_type = \"call\"\naggregation = \"count\"\n[[plan]]",
    );
    old.world.publish(&more).await;
    old.engine.project_all().await.unwrap();
    let verified = old.engine.verify().await.unwrap();
    assert_eq!((verified.problems, verified.unchecked), (vec![], vec![]));
    let books = old.engine.books().await.unwrap();
    let meter = books.meters().values().find(|meter| meter.key.as_str() == "events").unwrap();
    let june = Period::new(at("2026-06-01T00:00:00Z"), at("2026-07-01T00:00:00Z"));
    let usage = old.engine.usage(&id("ann"), june, &[meter]).await.unwrap();
    assert_eq!(usage.events(&meter.key), 4);
}

#[tokio::test]
async fn a_contract_that_cannot_be_read_holds_back_its_own_events_only() {
    let old = Old::new().await;
    let mut other = old.world.intruder().await;
    // Ann's book is gone; Kim, whose lane may be another, is billed as before.
    let sql = "UPDATE subscription SET body = replace(body, '\"b\"', '\"gone\"') WHERE id = 'ann'";
    sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    let report = old.archive("2026-08-01T00:00:00Z").await;
    let ann = report.held_back.iter().filter(|held| held.customer.as_str() == "ann");
    assert!(ann.clone().all(|held| held.reason.contains("cannot be read")), "{report:?}");
    assert_eq!(ann.count(), 1, "{report:?}");
}
