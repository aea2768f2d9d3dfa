//! The monthly run.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use counterfoil_engine::run::{Manifest, Month, RunOptions};
use counterfoil_invoicing::{ItemStatus, Run, RunItem, RunState};
use counterfoil_types::{RunId, SubscriptionId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, bad_cursor, limit},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// A run to be started or gone on with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunBody {
    /// The month, for example `2026-10`.
    period: String,
    /// Subscriptions billed although they are outside the bounds.
    #[serde(default)]
    accept: Vec<SubscriptionId>,
    /// Compute and show, write nothing.
    #[serde(default)]
    dry_run: bool,
}

/// A sign-off.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproveBody {
    /// Who signs off.
    by: String,
}

/// Which items of a run to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ItemsQuery {
    /// With this status only.
    status: Option<ItemStatus>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Runs");
    routes
        .get("/v1/runs", "runs.list", Scope::Read, list)
        .says("List invoice runs")
        .answers::<Page<Run>>(200, "All runs, oldest first");
    routes
        .post("/v1/runs", "runs.compute", Scope::Finance, compute)
        .says("Start the run of a month, or go on with it: plan and compute, up to review")
        .explained(
            "Nothing is finalized. Repeating it goes on where it stopped and computes drafts anew.",
        )
        .body::<RunBody>()
        .answers::<Manifest>(200, "The manifest");
    routes
        .get("/v1/runs/{run}", "runs.get", Scope::Read, get)
        .says("Read a run's manifest")
        .answers::<Manifest>(200, "The manifest");
    routes
        .get("/v1/runs/{run}/items", "runs.items", Scope::Read, items)
        .says("List a run's items")
        .query::<ItemsQuery>()
        .answers::<Page<RunItem>>(200, "A page of items");
    routes
        .post("/v1/runs/{run}/approve", "runs.approve", Scope::Finance, approve)
        .says("Sign a run off")
        .body::<ApproveBody>()
        .answers::<Manifest>(200, "The manifest");
    routes
        .post("/v1/runs/{run}/finalize", "runs.finalize", Scope::Finance, finalize)
        .says("Finalize a run that was signed off: numbers, invoices, effects")
        .explained("Repeating it goes on where it stopped.")
        .answers::<Manifest>(200, "The manifest");
}

async fn list(caller: Caller) -> Result<Json<Page<Run>>, Problem> {
    let tenant = &caller.engine.tenant().id;
    Ok(Json(Page::whole(caller.engine.store().runs(tenant).await?)))
}

async fn compute(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<RunBody>,
) -> Result<(StatusCode, Json<Manifest>), Problem> {
    let engine = &caller.engine;
    for subscription in &body.accept {
        engine.subscription(subscription).await?;
    }
    let options = RunOptions { accept: body.accept, ..shared.options.run.clone() };
    let month: Month = body
        .period
        .parse()
        .map_err(|error| Problem::new("invalid", format!("`period`: {error}")))?;
    if body.dry_run {
        return Ok((StatusCode::OK, Json(engine.dry_run(&month, &options).await?)));
    }
    let run = engine.open_run(&month, &options).await?;
    let books = Arc::new(engine.books().await?);
    let run = engine.plan_run(&books, run).await?;
    let run = engine.compute_run(&books, run, &options, &|_| {}).await?;
    Ok((StatusCode::OK, Json(engine.manifest(run).await?)))
}

async fn get(caller: Caller, Path(id): Path<RunId>) -> Result<Json<Manifest>, Problem> {
    let run = caller.engine.run(&id).await?;
    Ok(Json(caller.engine.manifest(run).await?))
}

async fn items(
    caller: Caller,
    Path(id): Path<RunId>,
    Query(query): Query<ItemsQuery>,
) -> Result<Json<Page<RunItem>>, Problem> {
    let limit = limit(query.limit)?;
    caller.engine.run(&id).await?;
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (cycle, subscription) = cursor.split_once('.').ok_or_else(bad_cursor)?;
            let subscription = SubscriptionId::new(subscription).map_err(|_| bad_cursor())?;
            Some((subscription, cycle.parse().map_err(|_| bad_cursor())?))
        }
    };
    let statuses: Vec<ItemStatus> = query.status.into_iter().collect();
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let items = store.run_items(tenant, &id, &statuses, after.as_ref(), limit + 1).await?;
    Ok(Json(Page::of(items, limit, |item| format!("{}.{}", item.cycle, item.subscription))))
}

async fn approve(
    caller: Caller,
    Path(id): Path<RunId>,
    Json(body): Json<ApproveBody>,
) -> Result<Json<Manifest>, Problem> {
    if body.by.trim().is_empty() {
        return Err(Problem::new("invalid", "`by`: say who signs off"));
    }
    let run = caller.engine.run(&id).await?;
    let run = caller.engine.approve_run(run, &body.by).await?;
    Ok(Json(caller.engine.manifest(run).await?))
}

async fn finalize(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<RunId>,
) -> Result<Json<Manifest>, Problem> {
    let run = caller.engine.run(&id).await?;
    if run.state < RunState::Approved {
        return Err(Problem::new("refused", "the run is not signed off yet"));
    }
    let run = caller.engine.finalize_run(run, &shared.options.run, &|_| {}).await?;
    Ok(Json(caller.engine.manifest(run).await?))
}
