//! Subscriptions and their dated changes.

use counterfoil_invoicing::{ChangeKind, Subscription};
use counterfoil_types::{CustomerId, Period, SubscriptionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, PageQuery, bad_cursor, limit},
    problem::Problem,
    routes::customers::when,
    scope::Scope,
};

/// Which subscriptions to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    /// Of this customer.
    customer: Option<CustomerId>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// A change.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct ChangeBody {
    /// `now`, `period_end` or a local day; now when absent.
    when: Option<String>,
    /// What changes.
    #[serde(flatten)]
    what: ChangeKind,
}

/// An end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndBody {
    /// `now`, `period_end` or the first local day it no longer covers; now when absent.
    when: Option<String>,
}

/// A billing period of a subscription.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CalendarPeriod {
    /// Its number, from 0.
    number: u32,
    /// The period.
    period: Period,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Subscriptions");
    routes
        .get("/v1/subscriptions", "subscriptions.list", Scope::Read, list)
        .says("List subscriptions")
        .query::<ListQuery>()
        .answers::<Page<Subscription>>(200, "A page of subscriptions");
    routes
        .post("/v1/subscriptions", "subscriptions.start", Scope::Finance, start)
        .says("Start a subscription")
        .explained("Starting the same one again changes nothing.")
        .body::<Subscription>()
        .answers::<Subscription>(201, "The subscription");
    routes
        .get("/v1/subscriptions/{subscription}", "subscriptions.get", Scope::Read, get)
        .says("Read a subscription")
        .answers::<Subscription>(200, "The subscription");
    routes
        .post(
            "/v1/subscriptions/{subscription}/changes",
            "subscriptions.change",
            Scope::Finance,
            change,
        )
        .says("Change plan, quantity, prices or add-ons; pause, resume")
        .body::<ChangeBody>()
        .answers::<Subscription>(200, "The subscription as it is now");
    routes
        .post("/v1/subscriptions/{subscription}/end", "subscriptions.end", Scope::Finance, end)
        .says("End a subscription")
        .body::<EndBody>()
        .answers::<Subscription>(200, "The subscription as it is now");
    routes
        .get(
            "/v1/subscriptions/{subscription}/calendar",
            "subscriptions.calendar",
            Scope::Read,
            calendar,
        )
        .says("List a subscription's billing periods")
        .query::<PageQuery>()
        .answers::<Page<CalendarPeriod>>(200, "A page of periods");
}

async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Subscription>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.as_deref().map(SubscriptionId::new).transpose();
    let after = after.map_err(|_| bad_cursor())?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let items =
        store.subscriptions(tenant, query.customer.as_ref(), after.as_ref(), limit + 1).await?;
    Ok(Json(Page::of(items, limit, |subscription| subscription.id.to_string())))
}

async fn start(
    caller: Caller,
    Json(subscription): Json<Subscription>,
) -> Result<(axum::http::StatusCode, Json<Subscription>), Problem> {
    if !subscription.changes.is_empty() || subscription.zone.is_some() {
        return Err(Problem::new("invalid", "a subscription starts without changes"));
    }
    caller.engine.start_subscription(&subscription).await?;
    let stored = caller.engine.subscription(&subscription.id).await?;
    Ok((axum::http::StatusCode::CREATED, Json(stored)))
}

async fn get(
    caller: Caller,
    Path(id): Path<SubscriptionId>,
) -> Result<Json<Subscription>, Problem> {
    Ok(Json(caller.engine.subscription(&id).await?))
}

async fn change(
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    Json(body): Json<ChangeBody>,
) -> Result<Json<Subscription>, Problem> {
    let when = when(body.when.as_deref())?;
    if matches!(body.what, ChangeKind::Zone { .. }) {
        return Err(Problem::new("invalid", "a zone is the customer's; move the customer"));
    }
    Ok(Json(caller.engine.change_subscription(&id, when, body.what).await?))
}

async fn end(
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    Json(body): Json<EndBody>,
) -> Result<Json<Subscription>, Problem> {
    let when = when(body.when.as_deref())?;
    Ok(Json(caller.engine.end_subscription(&id, when).await?))
}

async fn calendar(
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<CalendarPeriod>>, Problem> {
    let limit = query.limit()?;
    let first = u32::try_from(query.position()?).map_err(|_| bad_cursor())?;
    let engine = &caller.engine;
    let books = engine.recent_books().await?;
    let subscription = engine.subscription(&id).await?;
    let account = engine.account(&books, subscription).await?;
    let mut items = Vec::new();
    for number in first..first.saturating_add(limit) {
        let found = account.cycles.period(number).map_err(counterfoil_engine::EngineError::from)?;
        let Some((period, _)) = found else {
            return Ok(Json(Page::whole(items)));
        };
        items.push(CalendarPeriod { number, period });
    }
    let next = Some(first.saturating_add(limit).to_string());
    Ok(Json(Page { items, next }))
}
