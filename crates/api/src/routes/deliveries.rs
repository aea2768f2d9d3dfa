//! Deliveries of effects: what was told, what waits, what was given up, and every attempt.

use axum::extract::State;
use counterfoil_delivery::again;
use counterfoil_store::{Attempt, Commit, Delivery, DeliveryFilter, DeliveryState};
use schemars::JsonSchema;
use serde::Deserialize;

use super::webhooks::Again;
use crate::{
    extract::{Json, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, bad_cursor, limit},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// Which deliveries to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct DeliveriesQuery {
    /// In this state only.
    state: Option<DeliveryState>,
    /// To this target only: `mail`, or `webhook/ID`.
    target: Option<String>,
    /// Of effects of this kind only.
    kind: Option<String>,
    /// Of this effect only.
    key: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// Which effect's attempts to list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct AttemptsQuery {
    /// Key of the effect.
    key: String,
}

/// Which parked deliveries are let go; all of them when nothing is said.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnparkBody {
    /// Those to this target only.
    target: Option<String>,
    /// Those of this effect only.
    key: Option<String>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes
        .get("/v1/deliveries", "deliveries.list", Scope::Admin, list)
        .says("List deliveries to web hooks and mail")
        .query::<DeliveriesQuery>()
        .answers::<Page<Delivery>>(200, "A page of deliveries, oldest effect first");
    routes
        .get("/v1/deliveries/attempts", "deliveries.attempts", Scope::Admin, attempts)
        .says("Every attempt to tell of an effect")
        .query::<AttemptsQuery>()
        .answers::<Page<Attempt>>(200, "All of them, oldest first");
    routes
        .post("/v1/deliveries/unpark", "deliveries.unpark", Scope::Admin, unpark)
        .says("Let parked deliveries go: they are sent again")
        .body::<UnparkBody>()
        .answers::<Again>(200, "How many are sent again");
}

async fn list(
    caller: Caller,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let limit = limit(query.limit)?;
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (position, target) = cursor.split_once(':').ok_or_else(bad_cursor)?;
            Some((position.parse().map_err(|_| bad_cursor())?, target))
        }
    };
    let filter = DeliveryFilter {
        state: query.state,
        target: query.target,
        kind: query.kind,
        key: query.key,
    };
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let items = store.deliveries(tenant, &filter, after, limit + 1).await?;
    let key = |one: &Delivery| format!("{}:{}", one.effect.position, one.target);
    Ok(Json(Page::of(items, limit, key)))
}

async fn attempts(
    caller: Caller,
    Query(query): Query<AttemptsQuery>,
) -> Result<Json<Page<Attempt>>, Problem> {
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    Ok(Json(Page::whole(store.attempts(tenant, &query.key).await?)))
}

async fn unpark(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<UnparkBody>,
) -> Result<Json<Again>, Problem> {
    // Who asked is written down first; sending again what is sent twice is harmless.
    caller.engine.commit(&Commit::default()).await?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let (target, key) = (body.target.as_deref(), body.key.as_deref());
    let deliveries = again::unpark(store, tenant, target, key, shared.clock.now()).await?;
    Ok(Json(Again { deliveries }))
}
