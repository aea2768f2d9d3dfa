//! Test clocks, in test mode: time frozen and advanced for a tenant or one customer.

use axum::extract::State;
use counterfoil_types::{CustomerId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::Json, guard::Caller, operation::Routes, problem::Problem, scope::Scope,
    service::Shared,
};

/// A clock to be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClockBody {
    /// Whose; the tenant's when absent.
    customer: Option<CustomerId>,
    /// Where it is to stand; it runs again when absent.
    at: Option<Timestamp>,
}

/// A clock that stands still.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Frozen {
    /// Whose; empty for the tenant's.
    customer: String,
    /// Where it stands.
    at: Timestamp,
}

/// The clocks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ClocksView {
    /// Now, for the tenant.
    now: Timestamp,
    /// Clocks that stand still.
    frozen: Vec<Frozen>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Test clocks");
    routes
        .get("/v1/test-clocks", "clocks.list", Scope::Read, list)
        .says("What time it is")
        .answers::<ClocksView>(200, "Now, and the clocks that stand still");
    routes
        .put("/v1/test-clocks", "clocks.set", Scope::Admin, set)
        .says("Freeze a clock, advance it, or let it run")
        .explained("In test mode only.")
        .body::<ClockBody>()
        .answers::<ClocksView>(200, "The clocks as they are now");
}

fn view(engine: &counterfoil_engine::Engine) -> ClocksView {
    let frozen = engine
        .test_clocks()
        .all()
        .map(|(customer, at)| Frozen { customer: customer.to_owned(), at })
        .collect();
    ClocksView { now: engine.now(), frozen }
}

async fn list(caller: Caller) -> Json<ClocksView> {
    Json(view(&caller.engine))
}

async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<ClockBody>,
) -> Result<Json<ClocksView>, Problem> {
    if !shared.options.test_mode {
        return Err(Problem::new("refused", "clocks are set in test mode only"));
    }
    caller.engine.set_test_clock(body.customer.as_ref(), body.at).await?;
    let tenant = &caller.engine.tenant().id;
    shared.reopen(tenant).await;
    Ok(Json(view(&shared.engine(tenant).await?)))
}
