//! Managed backfills: open, load, look at the effect, close or revert.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use counterfoil_engine::backfill::{Backfill, BackfillEffect};
use counterfoil_ledger::{Event, decode::Defaults, receipt::ReceiptCounts};
use schemars::JsonSchema;
use serde::Deserialize;

use super::events::{OneOrMany, ReceiptBody, Receipts, decode};
use crate::{
    extract::{Json, Path},
    guard::Caller,
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// A backfill to be opened.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenBody {
    /// Its id; derived from the idempotency key when absent.
    id: Option<String>,
    /// Why, for whoever asks later.
    reason: String,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Backfills");
    routes
        .get("/v1/backfills", "backfills.list", Scope::Read, list)
        .says("List backfills")
        .answers::<Page<Backfill>>(200, "All of them");
    routes
        .post("/v1/backfills", "backfills.open", Scope::Finance, open)
        .says("Open a backfill: history that is loaded as one thing")
        .body::<OpenBody>()
        .answers::<Backfill>(201, "The backfill");
    routes
        .post("/v1/backfills/{backfill}/events", "backfills.load", Scope::Finance, load)
        .says("Load events of any age into an open backfill")
        .explained("As `POST /v1/events`, in batches. Each event is marked with the backfill; one that is stored already is a duplicate and not part of it.")
        .body::<OneOrMany>()
        .takes("application/cloudevents+json")
        .takes("application/cloudevents-batch+json")
        .answers::<Receipts>(200, "All events are stored, now or before")
        .answers::<Receipts>(207, "Some events were not stored; their receipts say why")
        .streams();
    routes
        .get("/v1/backfills/{backfill}", "backfills.effect", Scope::Read, effect)
        .says("What a backfill changed: events, and the cost of each billing period before and now")
        .answers::<BackfillEffect>(200, "The effect");
    routes
        .post("/v1/backfills/{backfill}/close", "backfills.close", Scope::Finance, close)
        .says("Say that no more events come")
        .answers::<Backfill>(200, "The backfill as it is now");
    routes
        .post("/v1/backfills/{backfill}/revert", "backfills.revert", Scope::Finance, revert)
        .says("Take every event of a backfill back")
        .answers::<Backfill>(200, "The backfill as it is now");
}

async fn list(caller: Caller) -> Result<Json<Page<Backfill>>, Problem> {
    Ok(Json(Page::whole(caller.engine.backfills().await?)))
}

async fn open(
    caller: Caller,
    Json(body): Json<OpenBody>,
) -> Result<(StatusCode, Json<Backfill>), Problem> {
    if body.reason.trim().is_empty() {
        return Err(Problem::new("invalid", "`reason`: say why"));
    }
    let id = body.id.unwrap_or_else(|| caller.new_id("backfill"));
    Ok((StatusCode::CREATED, Json(caller.engine.open_backfill(&id, &body.reason).await?)))
}

async fn load(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (_, decoded) = decode::batch(&shared, request, &Defaults::default()).await?;
    let ids: Vec<Option<String>> = decoded
        .iter()
        .map(|decoded| decoded.as_ref().ok().map(|event: &Event| event.id.clone()))
        .collect();
    let receipts = caller.engine.load_backfill(&id, decoded).await?;
    shared.appended.notify_one();
    let mut counts = ReceiptCounts::default();
    receipts.iter().for_each(|receipt| counts.count(receipt));
    shared.metrics.receipts(&counts);
    let receipts = (0..)
        .zip(ids.into_iter().zip(receipts))
        .map(|(index, (id, receipt))| ReceiptBody::of(index, id, receipt))
        .collect();
    let clean = counts.conflict + counts.rejected == 0;
    let status = if clean { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(Receipts { counts, receipts, truncated: false })).into_response())
}

async fn effect(caller: Caller, Path(id): Path<String>) -> Result<Json<BackfillEffect>, Problem> {
    Ok(Json(caller.engine.backfill_effect(&id).await?))
}

async fn close(caller: Caller, Path(id): Path<String>) -> Result<Json<Backfill>, Problem> {
    Ok(Json(caller.engine.close_backfill(&id).await?))
}

async fn revert(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Backfill>, Problem> {
    let backfill = caller.engine.revert_backfill(&id).await?;
    shared.appended.notify_one();
    Ok(Json(backfill))
}
