//! Grants: prepaid credit and granted units.

use axum::http::StatusCode;
use counterfoil_engine::grants::{EventBurn, GrantStatus};
use counterfoil_invoicing::Grant;
use counterfoil_types::CustomerId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
};

/// Which grants to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    /// Of this customer.
    customer: Option<CustomerId>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Grants");
    routes
        .get("/v1/grants", "grants.list", Scope::Read, list)
        .says("List grants with what is left of them")
        .query::<ListQuery>()
        .answers::<Page<GrantStatus>>(200, "Grants in the order they are used");
    routes
        .post("/v1/grants", "grants.grant", Scope::Finance, grant)
        .says("Grant credit or units")
        .body::<Grant>()
        .answers::<Grant>(201, "The grant");
    routes
        .get("/v1/grants/{grant}/burn-down", "grants.burn_down", Scope::Read, burn_down)
        .says("What used up granted units, event by event")
        .answers::<Page<EventBurn>>(200, "The events");
}

async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<GrantStatus>>, Problem> {
    Ok(Json(Page::whole(caller.engine.grants(query.customer.as_ref()).await?)))
}

async fn grant(
    caller: Caller,
    Json(grant): Json<Grant>,
) -> Result<(StatusCode, Json<Grant>), Problem> {
    caller.engine.grant(&grant).await?;
    Ok((StatusCode::CREATED, Json(grant)))
}

async fn burn_down(
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Page<EventBurn>>, Problem> {
    Ok(Json(Page::whole(caller.engine.burn_down(&id).await?)))
}
