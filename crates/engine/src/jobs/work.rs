//! One run of a job: take its lease, do it, keep the lease alive, write down what came of it.
//!
//! | how it ends | what becomes of the run |
//! |---|---|
//! | done | done, with what it said |
//! | waits for something | due again at the time it named; no failure |
//! | an error | tried once more at once where the store was to blame; then due again, later each time, and parked after a few |
//! | the lease is lost | nothing is written: whoever holds it now goes on |
//! | cut off | due at once, for another worker |
//! | the worker dies | it stays `running`; whoever takes the lease once it ran out begins it again |

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use counterfoil_store::{Commit, JobRun, JobState, Lease, StoreError, Write, job::lease_name};
use counterfoil_types::{Timestamp, timestamp::DAY_MICROS};

use super::{Entry, Scheduler, Told, Turn, scheduler::may_begin};
use crate::{Engine, EngineError, accounts::PAGE};

/// After so many starts without an outcome a run is parked: it brings down whoever touches it.
const STARTS: u32 = 100;
/// Pause after the first failure, in microseconds; it doubles with each further one.
const FIRST_PAUSE: i64 = 60_000_000;
/// Longest pause between two tries.
const LONGEST_PAUSE: i64 = 3_600_000_000;

/// What came of working on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worked {
    /// It is done.
    Done(String),
    /// It is looked at again later.
    Again(String),
    /// It is left alone until somebody looks.
    Parked(String),
    /// Another worker is at it.
    Busy,
    /// Another worker took it meanwhile.
    Lost,
    /// There was nothing left to do.
    Settled,
}

/// Pause before the next try.
fn pause(attempts: u32) -> i64 {
    let doubled = FIRST_PAUSE.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
    doubled.min(LONGEST_PAUSE)
}

enum End {
    Told(Result<Told, EngineError>),
    Cut,
    Lost,
}

impl Scheduler {
    /// Works on a run, if it is still there to be worked on and nobody else is.
    ///
    /// # Errors
    /// As the store has them, outside of the job itself.
    pub async fn work_on(&self, run: &JobRun, now: Timestamp) -> Result<Worked, EngineError> {
        let entry = self.table.named(&run.job)?;
        let (store, tenant) = (self.engine.store(), &self.engine.tenant().id);
        let holder = self.turn_name();
        let name = lease_name(tenant, &run.job);
        let ttl = self.table.settings.ttl_micros;
        // Leases are between machines: the clock of the machine counts, not a test clock.
        let Some(lease) = store.acquire(&name, &holder, self.engine.clock.now(), ttl).await? else {
            return Ok(Worked::Busy);
        };
        let worked = self.work_under(entry, run, now, &holder, &lease).await;
        match worked {
            Err(EngineError::Store(StoreError::LeaseLost(_))) => Ok(Worked::Lost),
            // The lease is given back even where something went wrong; else it runs out.
            outcome => {
                let released = store.release(&lease).await;
                let outcome = outcome?;
                released?;
                Ok(outcome)
            }
        }
    }

    async fn work_under(
        &self,
        entry: &Entry,
        run: &JobRun,
        now: Timestamp,
        holder: &str,
        lease: &Lease,
    ) -> Result<Worked, EngineError> {
        let (store, tenant) = (self.engine.store(), &self.engine.tenant().id);
        let Some(mut run) = store.job_run(tenant, &run.job, run.scheduled_for).await? else {
            return Ok(Worked::Settled);
        };
        if !may_begin(&run, now) {
            return Ok(Worked::Settled);
        }
        let engine = self.engine.under(lease);
        if run.starts >= STARTS {
            let why = format!("it was begun {} times and never came to an end", run.starts);
            return self.park(&engine, run, now, why).await;
        }
        run.state = JobState::Running;
        run.starts += 1;
        run.started_at = run.started_at.or(Some(now));
        run.holder = Some(holder.to_owned());
        run.progress = 0;
        put(&engine, &run).await?;
        let items = self.items_of(&run.job).await?;
        let turn = Arc::new(Turn {
            engine: engine.clone(),
            scheduled_for: run.scheduled_for,
            now,
            zone: entry.schedule.zone().clone(),
            holder: holder.to_owned(),
            job: run.job.clone(),
            progress: AtomicU64::new(0),
            items: Mutex::new(items),
            item_tries: self.table.settings.item_tries,
        });
        let mut end = self.attempt(entry, &turn, &run, lease).await;
        if let End::Told(Err(error)) = &end
            && error.is_transient()
        {
            tracing::warn!(job = run.job, %error, "tried again at once");
            end = self.attempt(entry, &turn, &run, lease).await;
        }
        run.progress = turn.progress.load(Ordering::Relaxed);
        match end {
            End::Lost => Ok(Worked::Lost),
            End::Cut => {
                run.state = JobState::Due;
                run.due_at = now;
                run.starts -= 1;
                put(&engine, &run).await?;
                Ok(Worked::Again("the worker was stopped".to_owned()))
            }
            End::Told(Ok(told)) => self.settle(&engine, run, told).await,
            End::Told(Err(EngineError::Store(StoreError::LeaseLost(_)))) => Ok(Worked::Lost),
            End::Told(Err(error)) => self.failed(&engine, run, now, error.to_string()).await,
        }
    }

    /// Runs the job beside a heart that keeps its lease.
    async fn attempt(&self, entry: &Entry, turn: &Arc<Turn>, run: &JobRun, lease: &Lease) -> End {
        let mut cut = self.cut.clone();
        let cut_off = async {
            // An owner that is gone cuts nothing off.
            if cut.wait_for(|cut| *cut).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = cut_off => End::Cut,
            told = entry.job.run(Arc::clone(turn)) => End::Told(told),
            () = self.keep(turn, run, lease) => End::Lost,
        }
    }

    /// Keeps the lease and writes progress down. Ends when the lease is lost.
    async fn keep(&self, turn: &Turn, run: &JobRun, lease: &Lease) {
        let ttl = self.table.settings.ttl_micros;
        let third = Duration::from_micros(u64::try_from(ttl / 3).unwrap_or(1_000_000).max(1_000));
        let mut written = 0;
        loop {
            tokio::time::sleep(third).await;
            let store = self.engine.store();
            let kept = store.renew(lease, self.engine.clock.now(), ttl).await;
            let progress = turn.progress.load(Ordering::Relaxed);
            let told = match kept {
                Ok(()) if progress != written => {
                    written = progress;
                    put(&turn.engine, &JobRun { progress, ..run.clone() }).await
                }
                kept => kept.map_err(EngineError::from),
            };
            match told {
                Ok(()) => {}
                Err(EngineError::Store(StoreError::LeaseLost(_))) => return,
                // It lasts for a while without; the next beat tries again.
                Err(error) => tracing::warn!(job = run.job, %error, "a lease was not renewed"),
            }
        }
    }

    async fn items_of(
        &self,
        job: &str,
    ) -> Result<HashMap<String, counterfoil_store::JobItem>, EngineError> {
        let (store, tenant) = (self.engine.store(), &self.engine.tenant().id);
        let mut items = HashMap::new();
        let mut last: Option<String> = None;
        loop {
            let after = last.as_deref().map(|item| (job, item));
            let page = store.job_items(tenant, Some(job), false, after, PAGE).await?;
            let Some(end) = page.last() else { return Ok(items) };
            last = Some(end.item.clone());
            items.extend(page.into_iter().map(|item| (item.item.clone(), item)));
        }
    }

    async fn settle(
        &self,
        engine: &Engine,
        mut run: JobRun,
        told: Told,
    ) -> Result<Worked, EngineError> {
        run.starts = 0;
        match told {
            Told::Done(says) => {
                run.state = JobState::Done;
                run.ended_at = Some(engine.now());
                run.outcome = Some(says.clone());
                run.error = None;
                put(engine, &run).await?;
                Ok(Worked::Done(says))
            }
            Told::Later { at, why } => {
                run.state = JobState::Due;
                run.due_at = at;
                run.outcome = Some(why.clone());
                run.error = None;
                put(engine, &run).await?;
                Ok(Worked::Again(why))
            }
        }
    }

    async fn failed(
        &self,
        engine: &Engine,
        mut run: JobRun,
        now: Timestamp,
        why: String,
    ) -> Result<Worked, EngineError> {
        run.starts = 0;
        run.attempts = run.attempts.saturating_add(1);
        if run.attempts >= self.table.settings.tries {
            return self.park(engine, run, now, why).await;
        }
        tracing::warn!(job = run.job, attempts = run.attempts, error = why, "a job failed");
        run.state = JobState::Due;
        run.due_at = now.plus_micros(pause(run.attempts));
        run.error = Some(why.clone());
        put(engine, &run).await?;
        Ok(Worked::Again(why))
    }

    async fn park(
        &self,
        engine: &Engine,
        mut run: JobRun,
        now: Timestamp,
        why: String,
    ) -> Result<Worked, EngineError> {
        tracing::error!(job = run.job, error = why, "a job is parked");
        run.state = JobState::Parked;
        run.ended_at = Some(now);
        run.error = Some(why.clone());
        // Told once a day and job, however often it comes again.
        let key = format!("job.parked/{}/{}", run.job, now.bucket(DAY_MICROS));
        let body = serde_json::json!({
            "job": run.job, "scheduled_for": run.scheduled_for,
            "tries": run.attempts.max(run.starts).to_string(), "error": why,
        });
        let kind = "job.parked".to_owned();
        let mut commit = Commit::of(Write::PutJobRun(Box::new(run)));
        commit.writes.push(Write::Queue { key, kind, body, at: now });
        engine.commit(&commit).await?;
        Ok(Worked::Parked(why))
    }
}

async fn put(engine: &Engine, run: &JobRun) -> Result<(), EngineError> {
    Ok(engine.commit(&Commit::of(Write::PutJobRun(Box::new(run.clone())))).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        let minutes: Vec<i64> = (1..9).map(|n| pause(n) / 60_000_000).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
