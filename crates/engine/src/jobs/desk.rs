//! What people do with jobs: look, pause, trigger, let go.

use counterfoil_store::{Commit, JobItem, JobPause, JobRun, JobState, Write};
use counterfoil_types::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Entry, Timetable};
use crate::{Engine, EngineError};

/// A job as it stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// What it does.
    pub about: String,
    /// When it runs: a cron pattern.
    pub cron: String,
    /// In this zone.
    pub zone: String,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// That it rests, where it does.
    pub pause: Option<JobPause>,
    /// When it is due next by its schedule.
    pub next: Option<Timestamp>,
    /// Its last run.
    pub last: Option<JobRun>,
    /// Runs that are not done.
    pub open: Vec<JobRun>,
    /// Items that are parked, 100 at most.
    pub parked_items: Vec<JobItem>,
}

/// What is parked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Parked {
    /// Runs.
    pub runs: Vec<JobRun>,
    /// Parts of a job's work, 1000 at most.
    pub items: Vec<JobItem>,
}

/// Items listed for one job.
const LISTED: u32 = 100;

impl Engine {
    /// All jobs of a timetable as they stand.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn jobs(&self, table: &Timetable) -> Result<Vec<JobView>, EngineError> {
        let mut views = Vec::new();
        for entry in table.entries() {
            views.push(self.view(entry).await?);
        }
        Ok(views)
    }

    /// One job as it stands.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn job(&self, table: &Timetable, name: &str) -> Result<JobView, EngineError> {
        self.view(table.named(name)?).await
    }

    async fn view(&self, entry: &Entry) -> Result<JobView, EngineError> {
        let (store, tenant) = (&self.store, &self.tenant.id);
        let name = entry.job.name();
        let rows = store.jobs(tenant).await?;
        let filter = counterfoil_store::JobFilter { job: Some(name.to_owned()), state: None };
        let last = store.job_history(tenant, &filter, None, 1).await?.pop();
        let open = store.unsettled_job_runs(tenant).await?;
        Ok(JobView {
            about: entry.job.about().to_owned(),
            cron: entry.schedule.pattern().to_owned(),
            zone: entry.schedule.zone().to_string(),
            enabled: entry.enabled,
            pause: rows.into_iter().find(|row| row.job == name).and_then(|row| row.pause),
            next: entry.schedule.next(self.now())?,
            last,
            open: open.into_iter().filter(|run| run.job == name).collect(),
            parked_items: store.job_items(tenant, Some(name), true, None, LISTED).await?,
            name: name.to_owned(),
        })
    }

    /// Asks for a run of a job now, also of one that rests or is switched off. Whoever works on jobs
    /// does it. Gives the run.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn trigger_job(
        &self,
        table: &Timetable,
        name: &str,
        by: &str,
    ) -> Result<JobRun, EngineError> {
        table.named(name)?;
        let now = self.now();
        // Under a clock that stands still, or asked for twice at once, the time is taken already.
        let mut at = now;
        while self.store.job_run(&self.tenant.id, name, at).await?.is_some() {
            at = at.plus_micros(1);
        }
        let asked = JobRun { asked_by: Some(by.to_owned()), ..JobRun::due(name, at, now) };
        self.commit(&Commit::of(Write::PutJobRun(Box::new(asked.clone())))).await?;
        Ok(asked)
    }

    /// Lets a job rest. What is being done is brought to its end.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn pause_job(
        &self,
        table: &Timetable,
        name: &str,
        by: &str,
        reason: &str,
    ) -> Result<(), EngineError> {
        table.named(name)?;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let pause = Some(JobPause { by, reason, at: self.now() });
        let job = name.to_owned();
        Ok(self.commit(&Commit::of(Write::PauseJob { job, pause })).await?)
    }

    /// Lets a job go on. What it missed is caught up.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn resume_job(&self, table: &Timetable, name: &str) -> Result<(), EngineError> {
        table.named(name)?;
        let job = name.to_owned();
        Ok(self.commit(&Commit::of(Write::PauseJob { job, pause: None })).await?)
    }

    /// What is parked, of all jobs.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn parked_jobs(&self) -> Result<Parked, EngineError> {
        let (store, tenant) = (&self.store, &self.tenant.id);
        let mut runs = store.unsettled_job_runs(tenant).await?;
        runs.retain(|run| run.state == JobState::Parked);
        Ok(Parked { runs, items: store.job_items(tenant, None, true, None, 1_000).await? })
    }

    /// Lets what is parked of a job go: its runs, or one item. Tries count anew. Says how many.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when nothing of that name is parked.
    pub async fn unpark_job(
        &self,
        table: &Timetable,
        name: &str,
        item: Option<&str>,
    ) -> Result<u64, EngineError> {
        let entry = table.named(name)?;
        let parked = self.parked_jobs().await?;
        let now = self.now();
        let mut commit = Commit::default();
        for wanted in parked.items.into_iter().filter(|one| one.job == name) {
            if item.is_none_or(|item| item == wanted.item) {
                let (job, item) = (wanted.job, wanted.item);
                commit.writes.push(Write::DropJobItem { job, item });
            }
        }
        let mut runs: Vec<JobRun> =
            parked.runs.into_iter().filter(|run| run.job == name && item.is_none()).collect();
        // Of a job whose runs stand for one another, one is enough: the others are done with.
        let newest = runs.pop();
        for run in runs {
            let again = entry.job.catch_up() == super::CatchUp::Each;
            let outcome = (!again).then(|| "a later run stands for it".to_owned());
            let state = if again { JobState::Due } else { JobState::Done };
            commit.writes.push(released(run, state, now, outcome));
        }
        commit.writes.extend(newest.map(|run| released(run, JobState::Due, now, None)));
        if commit.writes.is_empty() {
            let what = item.unwrap_or(name);
            return Err(EngineError::not_found("parked run or item", what, ""));
        }
        let count = commit.writes.len() as u64;
        self.commit(&commit).await?;
        Ok(count)
    }
}

fn released(run: JobRun, state: JobState, now: Timestamp, outcome: Option<String>) -> Write {
    let (starts, attempts) = (0, 0);
    let ended_at = (state == JobState::Done).then_some(now);
    Write::PutJobRun(Box::new(JobRun {
        state,
        due_at: now,
        starts,
        attempts,
        ended_at,
        outcome,
        ..run
    }))
}
