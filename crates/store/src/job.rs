//! The jobs port: what is due when, what came of it, and what is left alone until somebody looks.
//!
//! A *run* is one time that a job was due: unique by (tenant, job, time it was scheduled for), so
//! that any number of schedulers make the same runs. Runs, pauses and items are written through
//! [`crate::Commit`]. Whoever works on a job takes its lease ([`crate::LeaseStore`], named
//! [`lease_name`]) and makes all writes of the job under its fence: of a job one run is worked on at
//! a time, and one that slept past its lease writes nothing.
//!
//! An *item* is a part of a job's work (a customer, a grant, an invoice) that failed while the rest
//! went on. It is tried again in later runs and parked after a few times.

use async_trait::async_trait;
use counterfoil_types::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Name of the lease on a job.
#[must_use]
pub fn lease_name(tenant: &TenantId, job: &str) -> String {
    format!("job/{tenant}/{job}")
}

/// That a job rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct JobPause {
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What is known of a job besides its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its name.
    pub job: String,
    /// Up to when its schedule was looked at; `None`: never.
    pub through: Option<Timestamp>,
    /// That it rests, if it does.
    pub pause: Option<JobPause>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// To be done when its time comes.
    Due,
    /// Somebody is at it, or was when it died.
    Running,
    /// Done.
    Done,
    /// Given up until somebody looks.
    Parked,
}

impl JobState {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Running => "running",
            Self::Done => "done",
            Self::Parked => "parked",
        }
    }

    /// Read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Due, Self::Running, Self::Done, Self::Parked]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// One time that a job was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct JobRun {
    /// The job.
    pub job: String,
    /// When it was to run.
    pub scheduled_for: Timestamp,
    /// Where it is.
    pub state: JobState,
    /// Not before this time.
    pub due_at: Timestamp,
    /// Who asked for it, where it was not the schedule.
    pub asked_by: Option<String>,
    /// Who worked on it last.
    pub holder: Option<String>,
    /// How often somebody began since it last had an outcome.
    pub starts: u32,
    /// How often it failed.
    pub attempts: u32,
    /// When somebody began first.
    pub started_at: Option<Timestamp>,
    /// When it was done or parked.
    pub ended_at: Option<Timestamp>,
    /// How much is done, in what the job counts.
    pub progress: u64,
    /// What came of it, in words.
    pub outcome: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
}

impl JobRun {
    /// A run that is due at `due_at`.
    #[must_use]
    pub fn due(job: &str, scheduled_for: Timestamp, due_at: Timestamp) -> Self {
        Self {
            job: job.to_owned(),
            scheduled_for,
            state: JobState::Due,
            due_at,
            asked_by: None,
            holder: None,
            starts: 0,
            attempts: 0,
            started_at: None,
            ended_at: None,
            progress: 0,
            outcome: None,
            error: None,
        }
    }

    /// Whether it waits for somebody to work on it, or is being worked on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, JobState::Due | JobState::Running)
    }
}

/// A part of a job's work that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct JobItem {
    /// The job.
    pub job: String,
    /// What, for example `customer/acme`.
    pub item: String,
    /// How often it failed.
    pub attempts: u32,
    /// Whether it is left alone until somebody looks.
    pub parked: bool,
    /// When it failed last.
    pub at: Timestamp,
    /// Why.
    pub error: String,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of this job only.
    pub job: Option<String>,
    /// In this state only.
    pub state: Option<JobState>,
}

/// Reading jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// What is known of jobs, in order of name.
    async fn jobs(&self, tenant: &TenantId) -> Result<Vec<JobRow>, StoreError>;

    /// Runs that are not done, in order of (job, time).
    async fn unsettled_job_runs(&self, tenant: &TenantId) -> Result<Vec<JobRun>, StoreError>;

    /// One run.
    async fn job_run(
        &self,
        tenant: &TenantId,
        job: &str,
        scheduled_for: Timestamp,
    ) -> Result<Option<JobRun>, StoreError>;

    /// Runs, the latest first by (time, job), from before a place on, at most `limit`.
    async fn job_history(
        &self,
        tenant: &TenantId,
        filter: &JobFilter,
        before: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<JobRun>, StoreError>;

    /// Items that failed, in order of (job, item) after a place, at most `limit`; of one job only,
    /// and parked ones only, where that is asked for.
    async fn job_items(
        &self,
        tenant: &TenantId,
        job: Option<&str>,
        parked: bool,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<JobItem>, StoreError>;
}
