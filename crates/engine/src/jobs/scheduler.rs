//! What is due now. Times that have come become runs in the store, each of them once; runs that may
//! be worked on are handed out.
//!
//! The clock is not trusted. When it went back, schedules are looked at again from there, and runs
//! that exist are not made twice. When it went forward by more than the limit between two looks
//! (a machine that slept, a wrong time server), jobs that close rest until somebody looked.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use counterfoil_store::{Commit, JobPause, JobRow, JobRun, JobState, Write};
use counterfoil_types::Timestamp;
use tokio::sync::watch;

use super::{CatchUp, Entry, Timetable};
use crate::{Engine, EngineError, jobs::work::Worked};

/// Setting with the latest time a scheduler has seen.
const SEEN: &str = "jobs/clock";
/// How often that is written down.
const SEEN_EVERY: i64 = 60_000_000;
/// A clock that is behind by more than this went back; less is the difference between machines.
const BACK: i64 = 300_000_000;
/// Most times of one job that become runs in one look; the next look goes on.
const AT_ONCE: usize = 400;

/// Runs what is due.
#[derive(Clone)]
pub struct Scheduler {
    pub(super) engine: Engine,
    pub(super) table: Arc<Timetable>,
    pub(super) holder: String,
    pub(super) cut: watch::Receiver<bool>,
    busy: Arc<Mutex<HashSet<String>>>,
    turns: Arc<AtomicU64>,
}

/// What one call of [`Scheduler::run_due`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Runs that were done: job and what it said.
    pub done: Vec<(String, String)>,
    /// Runs that failed or wait, with why.
    pub again: Vec<(String, String)>,
    /// Runs that were parked, with why.
    pub parked: Vec<(String, String)>,
    /// Jobs that another worker is at.
    pub busy: Vec<String>,
    /// Jobs that were lost to another worker.
    pub lost: Vec<String>,
}

/// A job that one of this process's tasks is at. Free again when dropped.
pub struct Taken {
    job: String,
    busy: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.job);
    }
}

impl Scheduler {
    /// A scheduler. `holder` is its name; no two at once may have the same. When `cut` turns true,
    /// work is stopped where it stands and its leases are given back.
    #[must_use]
    pub fn new(
        engine: Engine,
        table: Arc<Timetable>,
        holder: String,
        cut: watch::Receiver<bool>,
    ) -> Self {
        Self { engine, table, holder, cut, busy: Arc::default(), turns: Arc::default() }
    }

    /// The same with a newer engine, for test clocks that moved.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Self {
        Self { engine, ..self.clone() }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A name for one turn of this scheduler.
    pub(super) fn turn_name(&self) -> String {
        format!("{}/{}", self.holder, self.turns.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a job within this process, unless a task is at it.
    #[must_use]
    pub fn take(&self, job: &str) -> Option<Taken> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(job.to_owned())
            .then(|| Taken { job: job.to_owned(), busy: Arc::clone(&self.busy) })
    }

    /// Does all that is due at `now`, one job after the other, until nothing is left that this
    /// worker may do.
    ///
    /// # Errors
    /// As the store has them; calling it again goes on.
    pub async fn run_due(&self, now: Timestamp) -> Result<Ran, EngineError> {
        let mut ran = Ran::default();
        let mut passed = HashSet::new();
        loop {
            let due = self.due(now).await?;
            let next = due.into_iter().find(|run| {
                !passed.contains(&(run.job.clone(), run.scheduled_for))
                    && !ran.busy.contains(&run.job)
            });
            let Some(run) = next else { return Ok(ran) };
            passed.insert((run.job.clone(), run.scheduled_for));
            let name = run.job.clone();
            let Some(_taken) = self.take(&name) else {
                ran.busy.push(name);
                continue;
            };
            ran.add(name, self.work_on(&run, now).await?);
        }
    }

    /// Makes runs of the times that have come, and gives those that may be worked on: of each job
    /// one at most.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn due(&self, now: Timestamp) -> Result<Vec<JobRun>, EngineError> {
        let (store, tenant) = (self.engine.store(), &self.engine.tenant().id);
        let mut rows = store.jobs(tenant).await?;
        if self.watch_clock(now, &rows).await? {
            rows = store.jobs(tenant).await?;
        }
        let mut commit = Commit::default();
        for entry in self.table.entries().iter().filter(|entry| entry.enabled) {
            let row = rows.iter().find(|row| row.job == entry.job.name());
            commit.writes.extend(self.come_due(entry, row, now).await?);
        }
        if !commit.writes.is_empty() {
            self.engine.commit(&commit).await?;
        }
        let unsettled = store.unsettled_job_runs(tenant).await?;
        let mut due = Vec::new();
        for runs in unsettled.chunk_by(|a, b| a.job == b.job) {
            let Some(first) = runs.first() else { continue };
            let Some(entry) = self.table.get(&first.job) else { continue };
            let paused = rows.iter().any(|row| row.job == first.job && row.pause.is_some());
            let asked = runs.iter().find(|run| run.asked_by.is_some() && run.is_open());
            let next = match entry.job.catch_up() {
                // One after the other: what is parked is in the way until somebody looked.
                CatchUp::Each => Some(first).filter(|run| run.is_open()),
                CatchUp::Once => runs.iter().find(|run| run.is_open()),
            };
            let next = asked.or(next.filter(|_| !paused && entry.enabled));
            due.extend(next.filter(|run| run.due_at <= now).cloned());
        }
        // The longest due first.
        due.sort_by_key(|run| (run.due_at, run.job.clone()));
        Ok(due)
    }

    /// The write that makes runs of the times of a job that have come, if any have.
    async fn come_due(
        &self,
        entry: &Entry,
        row: Option<&JobRow>,
        now: Timestamp,
    ) -> Result<Option<Write>, EngineError> {
        let job = entry.job.name().to_owned();
        let collapse = entry.job.catch_up() == CatchUp::Once;
        let mut through = now;
        let times = match row.and_then(|row| row.through) {
            None => {
                let since = entry.job.since(&self.engine).await?;
                let last = entry.schedule.previous(now)?;
                match since {
                    Some(since) if !collapse => entry.schedule.between(since, now, AT_ONCE)?,
                    _ => last.into_iter().collect(),
                }
            }
            Some(seen) if collapse => {
                // One stands for all that were missed.
                let mut last = entry.schedule.previous(now)?;
                last = last.filter(|last| *last > seen);
                last.into_iter().collect()
            }
            Some(seen) => entry.schedule.between(seen, now, AT_ONCE)?,
        };
        if row.and_then(|row| row.through).is_some() && times.is_empty() {
            return Ok(None);
        }
        if times.len() == AT_ONCE {
            through = times.last().copied().unwrap_or(now);
        }
        Ok(Some(Write::ScheduleJob { job, through, times, collapse }))
    }

    /// Holds the clock against the latest time that was seen. Says whether jobs changed.
    async fn watch_clock(&self, now: Timestamp, rows: &[JobRow]) -> Result<bool, EngineError> {
        let stored = self.engine.store().settings(&self.engine.tenant().id, SEEN).await?;
        let seen = stored.first().and_then(|(_, text)| text.parse::<i64>().ok());
        let set = Write::Set { key: SEEN.to_owned(), value: Some(now.micros().to_string()) };
        let mut commit = Commit::of(set);
        match seen.map(|seen| now.micros().saturating_sub(seen)) {
            Some(passed) if (-BACK..SEEN_EVERY).contains(&passed) => return Ok(false),
            None => {}
            Some(passed) if passed < 0 => {
                tracing::warn!(seconds = -passed / 1_000_000, "the clock went back");
                for row in rows.iter().filter(|row| row.through.is_some_and(|at| at > now)) {
                    let (job, times) = (row.job.clone(), Vec::new());
                    let again = Write::ScheduleJob { job, through: now, times, collapse: false };
                    commit.writes.push(again);
                }
            }
            Some(passed) if passed > self.table.settings.jump_limit_micros => {
                self.pause_closing(passed, now, rows, &mut commit);
            }
            Some(_) => {}
        }
        self.engine.commit(&commit).await?;
        Ok(commit.writes.len() > 1)
    }

    fn pause_closing(&self, passed: i64, now: Timestamp, rows: &[JobRow], commit: &mut Commit) {
        let from = now.plus_micros(-passed);
        let reason = format!(
            "the clock went from {from} to {now} with nobody looking: if that is the right time, let the job go on, and what was missed is caught up in order"
        );
        tracing::error!(%from, %now, "the clock went forward further than allowed; closing rests");
        let mut names = Vec::new();
        for entry in self.table.entries().iter().filter(|entry| entry.job.closes()) {
            let job = entry.job.name();
            names.push(job);
            if rows.iter().any(|row| row.job == job && row.pause.is_some()) {
                continue;
            }
            let pause = JobPause { by: "the clock".to_owned(), reason: reason.clone(), at: now };
            commit.writes.push(Write::PauseJob { job: job.to_owned(), pause: Some(pause) });
        }
        let body = serde_json::json!({"job": names.join(", "), "error": reason, "tries": "0"});
        // Keyed by where the clock came from: several schedulers see the same jump.
        let key = format!("job.parked/clock/{}", from.micros());
        let kind = "job.parked".to_owned();
        commit.writes.push(Write::Queue { key, kind, body, at: now });
    }
}

impl Ran {
    /// Adds what came of a run.
    pub fn add(&mut self, job: String, worked: Worked) {
        match worked {
            Worked::Done(says) => self.done.push((job, says)),
            Worked::Again(why) => self.again.push((job, why)),
            Worked::Parked(why) => self.parked.push((job, why)),
            Worked::Busy => self.busy.push(job),
            Worked::Lost => self.lost.push(job),
            Worked::Settled => {}
        }
    }
}

/// Whether a run as it stands in the store may be begun.
pub(super) fn may_begin(run: &JobRun, now: Timestamp) -> bool {
    run.is_open() && (run.state == JobState::Running || run.due_at <= now)
}
