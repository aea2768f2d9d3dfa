//! The scheduler: whatever is due is done, once, whoever crashes (`docs/adr/0014-jobs.md`).
//!
//! | file | what |
//! |---|---|
//! | here | what a job is, and what it is given |
//! | [`schedule`] | cron patterns on the clock of a zone |
//! | [`timetable`] | the jobs there are, when they run, settings |
//! | [`scheduler`] | what is due now; clocks that jump |
//! | [`work`] | one run of a job: its lease, its outcome, the next try |
//! | [`desk`] | listing, pausing, triggering, letting go |
//! | [`close`] | the invoice run on schedule, finalizing, reminders |
//! | [`upkeep`], [`check`] | everything else that comes again |
//!
//! A job takes no input. It asks the store what is due and does it so that doing it twice is doing
//! it once. So the result is right with any number of schedulers and no leader; leases save work, and
//! their fences keep out who slept too long. Nothing here knows what wakes it: tests call
//! [`Scheduler::run_due`], the program does so with each heartbeat.

pub mod check;
pub mod close;
pub mod desk;
pub mod schedule;
pub mod scheduler;
pub mod timetable;
pub mod upkeep;
pub mod work;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use counterfoil_store::{Commit, JobItem, StoreError, Write};
use counterfoil_types::{Timestamp, Zone};

pub use schedule::Schedule;
pub use scheduler::{Ran, Scheduler};
pub use timetable::{AutoApprove, Entry, JobSettings, Timetable};

use crate::{Engine, EngineError};

/// What happens to times that passed while nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// One run stands for all of them.
    Once,
    /// Each has its run, one after the other.
    Each,
}

/// What a job says when it has not failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is done; in words.
    Done(String),
    /// It cannot be done yet. No failure: the run stays due, and is looked at again then.
    Later {
        /// When to look again.
        at: Timestamp,
        /// What it waits for.
        why: String,
    },
}

/// A job. The composition root may add its own to the [`Timetable`]: implement this, or make one
/// of a closure with [`job`].
///
/// What it does must be right when it is done twice, by two at once, or stopped anywhere: derive
/// keys of effects from what they are about, never from the run. Errors that concern one customer,
/// invoice or the like belong to [`Turn::item`]; what is returned as an error fails the whole run,
/// which is tried again with growing pauses and parked in the end.
#[async_trait]
pub trait Job: Send + Sync {
    /// Its name: lower case, words joined by `-`. Never changed once it has run.
    fn name(&self) -> &str;

    /// What it does, in one sentence.
    fn about(&self) -> &str;

    /// When it runs unless the configuration says otherwise: a cron pattern.
    fn cron(&self) -> &str;

    /// What happens to missed times.
    fn catch_up(&self) -> CatchUp {
        CatchUp::Once
    }

    /// Whether it bills, reminds or takes away: after a jump of the clock it rests until somebody
    /// looked.
    fn closes(&self) -> bool {
        false
    }

    /// The first time this job is seen: from when on its times count. `None`: only the last one.
    ///
    /// # Errors
    /// As the store has them.
    async fn since(&self, _engine: &Engine) -> Result<Option<Timestamp>, EngineError> {
        Ok(None)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// When the run as a whole failed.
    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError>;
}

/// What a job is given for one run.
pub struct Turn {
    /// The engine. All it commits depends on the job's lease.
    pub engine: Engine,
    /// When the run was to be.
    pub scheduled_for: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// The zone of the job's schedule.
    pub zone: Zone,
    /// Who works on it; no two at once have the same name.
    pub holder: String,
    pub(crate) job: String,
    pub(crate) progress: AtomicU64,
    pub(crate) items: Mutex<HashMap<String, JobItem>>,
    pub(crate) item_tries: u32,
}

/// Whether an error is about the store or the lease, and not about one item.
fn is_general(error: &EngineError) -> bool {
    match error {
        EngineError::Store(error) => {
            !matches!(error, StoreError::Conflict { .. } | StoreError::Corrupt { .. })
        }
        EngineError::File(_) => true,
        _ => false,
    }
}

impl Turn {
    /// Counts what is done, for whoever watches.
    pub fn did(&self, count: u64) {
        self.progress.fetch_add(count, Ordering::Relaxed);
    }

    /// Does the part of the work that is about one thing (`customer/acme`, say). When it fails, the
    /// rest goes on: it is tried again in the next runs and parked after a few times. `None`: it
    /// failed, or is parked.
    ///
    /// # Errors
    /// What is wrong with the store, or that the lease is lost.
    pub async fn item<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<Option<T>, EngineError> {
        let known = self.items.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if known.as_ref().is_some_and(|item| item.parked) {
            return Ok(None);
        }
        let error = match work.await {
            Ok(done) => {
                if known.is_some() {
                    let (job, item) = (self.job.clone(), name.to_owned());
                    self.engine.commit(&Commit::of(Write::DropJobItem { job, item })).await?;
                    self.items.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                }
                self.did(1);
                return Ok(Some(done));
            }
            Err(error) if is_general(&error) => return Err(error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(job = self.job, item = name, error, "a part of a job failed");
        let attempts = known.map_or(0, |item| item.attempts).saturating_add(1);
        let parked = attempts >= self.item_tries;
        let item = JobItem {
            job: self.job.clone(),
            item: name.to_owned(),
            attempts,
            parked,
            at: self.now,
            error: error.clone(),
        };
        let mut commit = Commit::of(Write::PutJobItem(item.clone()));
        if parked {
            let key = format!("job.parked/{}/{name}/{}", self.job, self.now.micros());
            let body = serde_json::json!({
                "job": self.job, "item": name, "tries": attempts.to_string(), "error": error,
            });
            let kind = "job.parked".to_owned();
            commit.writes.push(Write::Queue { key, kind, body, at: self.now });
        }
        self.engine.commit(&commit).await?;
        self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), item);
        Ok(None)
    }

    /// How many items failed, and how many of them are parked.
    #[must_use]
    pub fn failed_items(&self) -> (usize, usize) {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        (items.len(), items.values().filter(|item| item.parked).count())
    }

    /// A done run in words, with what failed.
    #[must_use]
    pub fn told(&self, says: String) -> Told {
        Told::Done(match self.failed_items() {
            (0, _) => says,
            (failed, parked) => format!("{says}; {failed} items failed, {parked} of them parked"),
        })
    }
}

/// What a job made of a closure returns.
pub type Doing = Pin<Box<dyn Future<Output = Result<Told, EngineError>> + Send>>;

struct Closure<F> {
    name: &'static str,
    about: &'static str,
    cron: &'static str,
    run: F,
}

/// A job made of a closure, for what lives outside of the engine:
///
/// ```ignore
/// timetable.add(jobs::job("stripe-usage", "Pushes usage to Stripe.", "*/10 * * * *", move |turn| {
///     let pusher = pusher.clone();
///     Box::pin(async move { pusher.push(turn.now).await.map(|n| Told::Done(format!("{n} pushed"))) })
/// }))?;
/// ```
pub fn job<F>(name: &'static str, about: &'static str, cron: &'static str, run: F) -> Arc<dyn Job>
where
    F: Fn(Arc<Turn>) -> Doing + Send + Sync + 'static,
{
    Arc::new(Closure { name, about, cron, run })
}

#[async_trait]
impl<F: Fn(Arc<Turn>) -> Doing + Send + Sync> Job for Closure<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> &str {
        self.about
    }

    fn cron(&self) -> &str {
        self.cron
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        (self.run)(turn).await
    }
}
