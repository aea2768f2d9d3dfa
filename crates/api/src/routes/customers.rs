//! Customers: who is billed, in what currency and zone.

use axum::{http::HeaderMap, response::Response};
use counterfoil_engine::contracts::Effective;
use counterfoil_invoicing::Customer;
use counterfoil_types::{CustomerId, Zone};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    etag::{check_match, tagged},
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, PageQuery, bad_cursor},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// A move to another zone.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveBody {
    /// The new zone.
    zone: Zone,
    /// `now`, `period_end` or a local day; now when absent. It holds from the end of the open
    /// periods on.
    when: Option<String>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Customers");
    routes
        .get("/v1/customers", "customers.list", Scope::Read, list)
        .says("List customers")
        .query::<PageQuery>()
        .answers::<Page<Customer>>(200, "A page of customers");
    routes
        .get("/v1/customers/{customer}", "customers.get", Scope::Read, get)
        .says("Read a customer")
        .for_customers()
        .answers::<Customer>(200, "The customer, with its `ETag`");
    routes
        .put("/v1/customers/{customer}", "customers.put", Scope::Finance, put)
        .says("Create or change a customer")
        .body::<Customer>()
        .answers::<Customer>(200, "The customer as it is now")
        .if_match();
    routes
        .post("/v1/customers/{customer}/move", "customers.move", Scope::Finance, relocate)
        .says("Move a customer to another time zone")
        .body::<MoveBody>()
        .answers::<Customer>(200, "The customer as it is now");
}

/// `now`, `period_end` or a day.
pub(crate) fn when(text: Option<&str>) -> Result<Effective, Problem> {
    text.map_or(Ok(Effective::Now), |text| {
        text.parse().map_err(|error| Problem::new("invalid", format!("`when`: {error}")))
    })
}

async fn list(
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Customer>>, Problem> {
    let limit = query.limit()?;
    let after = query.cursor.as_deref().map(CustomerId::new).transpose();
    let after = after.map_err(|_| bad_cursor())?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let items = store.customers(tenant, after.as_ref(), limit + 1).await?;
    Ok(Json(Page::of(items, limit, |customer| customer.id.to_string())))
}

async fn get(caller: Caller, Path(customer): Path<CustomerId>) -> Result<Response, Problem> {
    Ok(tagged(caller.engine.customer(&customer).await?))
}

async fn put(
    axum::extract::State(shared): axum::extract::State<Shared>,
    caller: Caller,
    Path(id): Path<CustomerId>,
    headers: HeaderMap,
    Json(customer): Json<Customer>,
) -> Result<Response, Problem> {
    if customer.id != id {
        return Err(Problem::new("invalid", "the body names another customer than the path"));
    }
    let tenant = &caller.engine.tenant().id;
    // Read, compare and write as one, as far as this process goes.
    let turn = shared.claim_turn(tenant, &format!("customer\n{id}"));
    let _turn = turn.lock().await;
    let stored = caller.engine.store().customer(tenant, &id).await?;
    check_match(&headers, stored.as_ref())?;
    caller.engine.put_customer(&customer).await?;
    Ok(tagged(caller.engine.customer(&id).await?))
}

async fn relocate(
    caller: Caller,
    Path(id): Path<CustomerId>,
    Json(body): Json<MoveBody>,
) -> Result<Response, Problem> {
    caller.engine.move_customer(&id, &body.zone, when(body.when.as_deref())?).await?;
    Ok(tagged(caller.engine.customer(&id).await?))
}
