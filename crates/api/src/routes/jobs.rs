//! Jobs: looking, pausing, triggering, letting go. Workers do them.

use axum::{extract::State, http::StatusCode};
use counterfoil_engine::jobs::desk::{JobView, Parked};
use counterfoil_store::{JobFilter, JobRun, JobState};
use counterfoil_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, bad_cursor, limit},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// Why a job rests.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseBody {
    /// Who says so.
    by: String,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// Who asks for a run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerBody {
    /// Who asks.
    by: String,
}

/// What is let go.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnparkBody {
    /// This item only; everything that is parked of the job when absent.
    item: Option<String>,
}

/// How much was let go.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Unparked {
    /// Runs and items.
    count: u64,
}

/// Which runs to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct HistoryQuery {
    /// Of this job only.
    job: Option<String>,
    /// In this state only.
    state: Option<JobState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Jobs");
    routes
        .get("/v1/jobs", "jobs.list", Scope::Finance, list)
        .says("List all jobs: when they run, how they stand")
        .answers::<Page<JobView>>(200, "All jobs");
    routes
        .get("/v1/jobs/{job}", "jobs.get", Scope::Finance, get)
        .says("Read a job")
        .answers::<JobView>(200, "The job");
    routes
        .post("/v1/jobs/{job}/run", "jobs.run", Scope::Finance, trigger)
        .says("Ask for a run of a job now, whether it rests or not")
        .explained("The next worker that looks does it, usually within a second.")
        .body::<TriggerBody>()
        .answers::<JobRun>(202, "The run");
    routes
        .post("/v1/jobs/{job}/pause", "jobs.pause", Scope::Admin, pause)
        .says("Let a job rest")
        .body::<PauseBody>()
        .answers::<JobView>(200, "The job");
    routes
        .post("/v1/jobs/{job}/resume", "jobs.resume", Scope::Admin, resume)
        .says("Let a job go on")
        .explained("What it missed is caught up.")
        .answers::<JobView>(200, "The job");
    routes
        .post("/v1/jobs/{job}/unpark", "jobs.unpark", Scope::Finance, unpark)
        .says("Let what is parked of a job go: it is tried again")
        .body::<UnparkBody>()
        .answers::<Unparked>(200, "How much");
    routes
        .get("/v1/job-runs", "jobs.history", Scope::Finance, history)
        .says("List runs of jobs, the latest first")
        .query::<HistoryQuery>()
        .answers::<Page<JobRun>>(200, "A page of runs");
    routes
        .get("/v1/parked-jobs", "jobs.parked", Scope::Finance, parked)
        .says("List what is parked: runs, and parts of a job's work")
        .answers::<Parked>(200, "What is parked");
}

async fn list(
    State(shared): State<Shared>,
    caller: Caller,
) -> Result<Json<Page<JobView>>, Problem> {
    Ok(Json(Page::whole(caller.engine.jobs(&shared.options.jobs).await?)))
}

async fn get(
    State(shared): State<Shared>,
    caller: Caller,
    Path(job): Path<String>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(caller.engine.job(&shared.options.jobs, &job).await?))
}

fn named(by: &str) -> Result<&str, Problem> {
    match by.trim() {
        "" => Err(Problem::new("invalid", "`by`: say who you are")),
        by => Ok(by),
    }
}

async fn trigger(
    State(shared): State<Shared>,
    caller: Caller,
    Path(job): Path<String>,
    Json(body): Json<TriggerBody>,
) -> Result<(StatusCode, Json<JobRun>), Problem> {
    let by = named(&body.by)?;
    let run = caller.engine.trigger_job(&shared.options.jobs, &job, by).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}

async fn pause(
    State(shared): State<Shared>,
    caller: Caller,
    Path(job): Path<String>,
    Json(body): Json<PauseBody>,
) -> Result<Json<JobView>, Problem> {
    let (table, by) = (&shared.options.jobs, named(&body.by)?);
    caller.engine.pause_job(table, &job, by, &body.reason).await?;
    Ok(Json(caller.engine.job(table, &job).await?))
}

async fn resume(
    State(shared): State<Shared>,
    caller: Caller,
    Path(job): Path<String>,
) -> Result<Json<JobView>, Problem> {
    let table = &shared.options.jobs;
    caller.engine.resume_job(table, &job).await?;
    Ok(Json(caller.engine.job(table, &job).await?))
}

async fn unpark(
    State(shared): State<Shared>,
    caller: Caller,
    Path(job): Path<String>,
    Json(body): Json<UnparkBody>,
) -> Result<Json<Unparked>, Problem> {
    let table = &shared.options.jobs;
    let count = caller.engine.unpark_job(table, &job, body.item.as_deref()).await?;
    Ok(Json(Unparked { count }))
}

async fn history(
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Page<JobRun>>, Problem> {
    let limit = limit(query.limit)?;
    let before: Option<(Timestamp, &str)> = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (at, job) = cursor.split_once('.').ok_or_else(bad_cursor)?;
            let at = at.parse().map_err(|_| bad_cursor())?;
            Some((Timestamp::from_micros(at), job))
        }
    };
    let filter = JobFilter { job: query.job, state: query.state };
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let runs = store.job_history(tenant, &filter, before, limit + 1).await?;
    Ok(Json(Page::of(runs, limit, |run| format!("{}.{}", run.scheduled_for.micros(), run.job))))
}

async fn parked(caller: Caller) -> Result<Json<Parked>, Problem> {
    Ok(Json(caller.engine.parked_jobs().await?))
}
