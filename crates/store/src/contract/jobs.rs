//! Jobs, their runs and items.

use counterfoil_types::Timestamp;

use super::support::{AnyStore, NOW, tenant, write};
use crate::{
    Commit, JobFilter, JobItem, JobPause, JobRun, JobState, StoreError, Tenant, Write,
    job::lease_name,
};

const TTL: i64 = 10_000_000;

fn later(micros: i64) -> Timestamp {
    NOW.plus_micros(micros)
}

fn schedule(job: &str, through: i64, times: &[i64], collapse: bool) -> Write {
    Write::ScheduleJob {
        job: job.to_owned(),
        through: later(through),
        times: times.iter().map(|at| later(*at)).collect(),
        collapse,
    }
}

async fn unsettled(store: &AnyStore, tenant: &Tenant) -> Vec<(String, i64)> {
    let runs = store.unsettled_job_runs(&tenant.id).await.unwrap();
    runs.into_iter().map(|run| (run.job, run.scheduled_for.micros() - NOW.micros())).collect()
}

fn at(job: &str, time: i64) -> (String, i64) {
    (job.to_owned(), time)
}

/// A run exists once for each time, whoever makes it; where a job collapses, a run that is open
/// stands for what comes after it. Schedule and pause of a job do not touch each other.
pub async fn a_job_is_due_once_however_many_schedule_it(store: AnyStore) {
    let tenant = tenant(&store, "due-once").await;
    let other = super::support::tenant(&store, "due-once-2").await;
    assert!(store.jobs(&tenant.id).await.unwrap().is_empty());
    for _ in 0..2 {
        write(&store, &tenant, schedule("each", 20, &[5, 15], false)).await.unwrap();
        write(&store, &tenant, schedule("alone", 20, &[10], true)).await.unwrap();
    }
    write(&store, &tenant, schedule("alone", 30, &[25], true)).await.unwrap();
    let all = [at("alone", 10), at("each", 5), at("each", 15)];
    assert_eq!(unsettled(&store, &tenant).await, all);
    assert!(unsettled(&store, &other).await.is_empty());
    let run = store.job_run(&tenant.id, "each", later(5)).await.unwrap().unwrap();
    assert_eq!(run, JobRun::due("each", later(5), later(5)));
    assert!(run.is_open());
    assert_eq!(store.job_run(&tenant.id, "each", later(6)).await.unwrap(), None);
    // Many at once.
    let racing = (0..8).map(|n| {
        let (store, tenant) = (store.clone(), tenant.clone());
        tokio::spawn(async move {
            write(&store, &tenant, schedule("raced", 40 + n, &[31, 32], false)).await
        })
    });
    for task in racing.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    let raced = unsettled(&store, &tenant).await;
    assert_eq!(raced.iter().filter(|(job, _)| job == "raced").count(), 2);

    let pause = JobPause { by: "ann".to_owned(), reason: "a\0 reason".to_owned(), at: later(1) };
    let rest = |pause| Write::PauseJob { job: "alone".to_owned(), pause };
    write(&store, &tenant, rest(Some(pause.clone()))).await.unwrap();
    let rows = store.jobs(&tenant.id).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.job.as_str()).collect();
    assert_eq!(names, ["alone", "each", "raced"]);
    assert_eq!((rows[0].through, rows[0].pause.as_ref()), (Some(later(30)), Some(&pause)));
    // A clock that was set back: the schedule is looked at again, and nothing comes twice.
    write(&store, &tenant, schedule("alone", 3, &[10], false)).await.unwrap();
    let rows = store.jobs(&tenant.id).await.unwrap();
    assert_eq!((rows[0].through, rows[0].pause.as_ref()), (Some(later(3)), Some(&pause)));
    write(&store, &tenant, rest(None)).await.unwrap();
    assert_eq!(store.jobs(&tenant.id).await.unwrap()[0].pause, None);
    // One that rests before it ever ran.
    let early = Write::PauseJob { job: "new".to_owned(), pause: Some(pause) };
    write(&store, &tenant, early).await.unwrap();
    let rows = store.jobs(&tenant.id).await.unwrap();
    assert_eq!(rows.iter().find(|row| row.job == "new").unwrap().through, None);
}

fn filled(job: &str, time: i64, state: JobState) -> JobRun {
    JobRun {
        state,
        due_at: later(time + 1),
        asked_by: Some("ann".to_owned()),
        holder: Some("w\0 1".to_owned()),
        starts: 2,
        attempts: 3,
        started_at: Some(later(time + 2)),
        ended_at: Some(later(time + 3)),
        progress: 4,
        outcome: Some("well".to_owned()),
        error: Some("not\0 so".to_owned()),
        ..JobRun::due(job, later(time), later(time))
    }
}

async fn put(store: &AnyStore, tenant: &Tenant, run: &JobRun) {
    write(store, tenant, Write::PutJobRun(Box::new(run.clone()))).await.unwrap();
}

/// A run comes back as it was written, moves while it is open or parked, and is final once it is
/// done.
pub async fn a_run_that_is_done_stays_done(store: AnyStore) {
    let tenant = tenant(&store, "run-done").await;
    let read = async || store.job_run(&tenant.id, "j", later(0)).await.unwrap().unwrap();
    for state in [JobState::Due, JobState::Running, JobState::Parked, JobState::Due, JobState::Done]
    {
        let run = filled("j", 0, state);
        put(&store, &tenant, &run).await;
        assert_eq!(read().await, run);
        assert_eq!(JobState::parse(state.as_str()), Some(state));
    }
    put(&store, &tenant, &filled("j", 0, JobState::Due)).await;
    assert_eq!(read().await.state, JobState::Done);
    assert!(unsettled(&store, &tenant).await.is_empty());
    // Made again by a schedule, it is still done.
    write(&store, &tenant, schedule("j", 5, &[0], false)).await.unwrap();
    assert_eq!(read().await.state, JobState::Done);
    // Forgotten when it is old; what is open or parked is not.
    put(&store, &tenant, &filled("j", 1, JobState::Parked)).await;
    for (before, left) in [(3, true), (4, false)] {
        write(&store, &tenant, Write::ForgetJobRuns { before: later(before) }).await.unwrap();
        let found = store.job_run(&tenant.id, "j", later(0)).await.unwrap();
        assert_eq!(found.is_some(), left);
    }
    assert_eq!(unsettled(&store, &tenant).await, [at("j", 1)]);
}

/// Who woke after the lease went to another writes nothing: no outcome, and no effect.
pub async fn a_worker_that_lost_its_lease_changes_no_job(store: AnyStore) {
    let tenant = tenant(&store, "job-lease").await;
    let name = lease_name(&tenant.id, "j");
    let first = store.acquire(&name, "one", NOW, TTL).await.unwrap().unwrap();
    let run = JobRun { state: JobState::Running, ..filled("j", 0, JobState::Due) };
    let commit = Commit::of(Write::PutJobRun(Box::new(run.clone()))).fenced(first.fence());
    store.commit(&tenant.id, &commit).await.unwrap();
    let second = store.acquire(&name, "two", later(TTL), TTL).await.unwrap().unwrap();
    let done = Commit::of(Write::PutJobRun(Box::new(filled("j", 0, JobState::Done))));
    let late = store.commit(&tenant.id, &done.clone().fenced(first.fence())).await;
    assert!(matches!(late, Err(StoreError::LeaseLost(_))), "a lost lease, not {late:?}");
    assert_eq!(store.job_run(&tenant.id, "j", later(0)).await.unwrap(), Some(run));
    store.commit(&tenant.id, &done.fenced(second.fence())).await.unwrap();
    let found = store.job_run(&tenant.id, "j", later(0)).await.unwrap().unwrap();
    assert_eq!(found.state, JobState::Done);
}

/// History is the latest first and can be read page by page, all of it or a part.
pub async fn history_is_read_page_by_page(store: AnyStore) {
    let tenant = tenant(&store, "history").await;
    for time in 0..5 {
        for job in ["a", "b"] {
            let state = if time == 3 { JobState::Parked } else { JobState::Done };
            put(&store, &tenant, &filled(job, time, state)).await;
        }
    }
    let all = store.job_history(&tenant.id, &JobFilter::default(), None, 100).await.unwrap();
    assert_eq!(all.len(), 10);
    assert_eq!((all[0].job.as_str(), all[0].scheduled_for), ("b", later(4)));
    let mut paged: Vec<JobRun> = Vec::new();
    loop {
        let place = paged.last().map(|run| (run.scheduled_for, run.job.clone()));
        let before = place.as_ref().map(|(at, job)| (*at, job.as_str()));
        let filter = JobFilter::default();
        let page = store.job_history(&tenant.id, &filter, before, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let filter = JobFilter { job: Some("a".to_owned()), state: Some(JobState::Parked) };
    let some = store.job_history(&tenant.id, &filter, None, 100).await.unwrap();
    assert_eq!(some, [filled("a", 3, JobState::Parked)]);
}

/// An item that failed is kept as it was last written, until it is dropped.
pub async fn items_that_failed_are_kept_until_they_are_dropped(store: AnyStore) {
    let tenant = tenant(&store, "job-items").await;
    let other = super::support::tenant(&store, "job-items-2").await;
    let item = |job: &str, item: &str, attempts: u32, parked| JobItem {
        job: job.to_owned(),
        item: item.to_owned(),
        attempts,
        parked,
        at: later(i64::from(attempts)),
        error: "it\0 failed".to_owned(),
    };
    for one in [item("b", "x", 1, false), item("a", "y", 1, false), item("a", "x", 3, true)] {
        for _ in 0..2 {
            write(&store, &tenant, Write::PutJobItem(one.clone())).await.unwrap();
        }
    }
    write(&store, &tenant, Write::PutJobItem(item("b", "x", 2, true))).await.unwrap();
    let list = async |job, parked, after, limit| {
        store.job_items(&tenant.id, job, parked, after, limit).await.unwrap()
    };
    let all = [item("a", "x", 3, true), item("a", "y", 1, false), item("b", "x", 2, true)];
    assert_eq!(list(None, false, None, 10).await, all);
    assert_eq!(list(None, true, None, 10).await, [all[0].clone(), all[2].clone()]);
    assert_eq!(list(Some("a"), false, None, 10).await, all[..2]);
    assert_eq!(list(None, false, Some(("a", "x")), 1).await, all[1..2]);
    assert!(store.job_items(&other.id, None, false, None, 10).await.unwrap().is_empty());
    for _ in 0..2 {
        let drop = Write::DropJobItem { job: "a".to_owned(), item: "x".to_owned() };
        write(&store, &tenant, drop).await.unwrap();
    }
    assert_eq!(list(None, false, None, 10).await, all[1..]);
}
