//! Alert rules, and the alerts that fired.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use counterfoil_alerting::Rule;
use counterfoil_engine::alerts::{AlertReport, Sweep, events::UsageEvents};
use counterfoil_store::{Alert, AlertFilter, AlertState};
use counterfoil_types::{CustomerId, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    etag::{check_match, tagged},
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, bad_cursor, limit},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// Which alerts to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct AlertsQuery {
    /// Of this customer only.
    customer: Option<CustomerId>,
    /// In this state only.
    state: Option<AlertState>,
    /// Of this rule only.
    rule: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// Until when an alert is snoozed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnoozeBody {
    /// Until then it, and what follows it, is not told of.
    until: Timestamp,
}

/// Whose usage is looked at.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluateBody {
    /// Everybody's, not only that of customers with new events.
    #[serde(default)]
    all: bool,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Alerts");
    routes
        .get("/v1/alert-rules", "alert_rules.list", Scope::Read, rules)
        .says("List alert rules")
        .explained("Those that hold by default, too: a rule of the same id takes their place.")
        .answers::<Page<Rule>>(200, "All of them");
    routes
        .post("/v1/alert-rules", "alert_rules.create", Scope::Finance, create)
        .says("Make an alert rule")
        .body::<Rule>()
        .answers::<Rule>(201, "The rule")
        .may_fail(409, "There is a rule of this id");
    routes
        .get("/v1/alert-rules/{rule}", "alert_rules.get", Scope::Read, rule)
        .says("Read an alert rule")
        .answers::<Rule>(200, "The rule, with its `ETag`");
    routes
        .put("/v1/alert-rules/{rule}", "alert_rules.put", Scope::Finance, put)
        .says("Make or replace an alert rule")
        .body::<Rule>()
        .if_match()
        .answers::<Rule>(200, "The rule as it is now");
    routes
        .delete("/v1/alert-rules/{rule}", "alert_rules.delete", Scope::Finance, remove)
        .says("Remove an alert rule; a default of its id holds again")
        .if_match()
        .done("There is no such rule any more");
    routes
        .get("/v1/alerts", "alerts.list", Scope::Read, list)
        .says("List alerts that fired")
        .query::<AlertsQuery>()
        .answers::<Page<Alert>>(200, "A page of alerts, the newest first");
    routes
        .get("/v1/alerts/{alert}", "alerts.get", Scope::Read, get)
        .says("Read an alert")
        .answers::<Alert>(200, "The alert");
    routes
        .post("/v1/alerts/{alert}/acknowledge", "alerts.acknowledge", Scope::Finance, acknowledge)
        .says("Say that somebody looks at an alert")
        .answers::<Alert>(200, "The alert as it is now")
        .may_fail(409, "It is resolved");
    routes
        .post("/v1/alerts/{alert}/snooze", "alerts.snooze", Scope::Finance, snooze)
        .says("Say nothing of an alert, and of what follows it, for a while")
        .body::<SnoozeBody>()
        .answers::<Alert>(200, "The alert as it is now")
        .may_fail(409, "It is resolved");
    routes
        .post("/v1/alerts/evaluate", "alerts.evaluate", Scope::Finance, evaluate)
        .says("Evaluate alert rules now")
        .body::<EvaluateBody>()
        .answers::<AlertReport>(200, "What it did");
    routes
        .get("/v1/usage-events", "usage_events.get", Scope::Read, usage_events)
        .says("Whether and how web hooks are told of usage")
        .answers::<UsageEvents>(200, "The setting");
    routes
        .put("/v1/usage-events", "usage_events.put", Scope::Admin, set_usage_events)
        .says("Set whether and how web hooks are told of usage")
        .body::<UsageEvents>()
        .answers::<UsageEvents>(200, "The setting as it is now");
}

async fn rules(caller: Caller) -> Result<Json<Page<Rule>>, Problem> {
    Ok(Json(Page::whole(caller.engine.alert_rules().await?)))
}

fn same(id: &str, rule: &Rule) -> Result<(), Problem> {
    if rule.id == id {
        return Ok(());
    }
    Err(Problem::new("invalid", "the body names another rule than the path"))
}

async fn create(
    State(shared): State<Shared>,
    caller: Caller,
    Json(rule): Json<Rule>,
) -> Result<Response, Problem> {
    let turn = shared.claim_turn(&caller.engine.tenant().id, "alert-rules");
    let _turn = turn.lock().await;
    let there = caller.engine.alert_rules().await?.into_iter().find(|known| known.id == rule.id);
    // The same again is a repetition whose answer was lost.
    if there.is_some_and(|there| there != rule) {
        return Err(Problem::new("conflict", format!("there is a rule {:?} already", rule.id)));
    }
    caller.engine.put_alert_rule(&rule).await?;
    let mut response = tagged(caller.engine.alert_rule(&rule.id).await?);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

async fn rule(caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(tagged(caller.engine.alert_rule(&id).await?))
}

async fn put(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(rule): Json<Rule>,
) -> Result<Response, Problem> {
    same(&id, &rule)?;
    let turn = shared.claim_turn(&caller.engine.tenant().id, "alert-rules");
    let _turn = turn.lock().await;
    let there = caller.engine.alert_rules().await?.into_iter().find(|known| known.id == id);
    check_match(&headers, there.as_ref())?;
    caller.engine.put_alert_rule(&rule).await?;
    Ok(tagged(caller.engine.alert_rule(&id).await?))
}

async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let turn = shared.claim_turn(&caller.engine.tenant().id, "alert-rules");
    let _turn = turn.lock().await;
    let there = caller.engine.alert_rules().await?.into_iter().find(|known| known.id == id);
    check_match(&headers, there.as_ref())?;
    caller.engine.remove_alert_rule(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list(
    caller: Caller,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<Page<Alert>>, Problem> {
    let limit = limit(query.limit)?;
    let before = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (at, id) = cursor.split_once(':').ok_or_else(bad_cursor)?;
            Some((Timestamp::from_micros(at.parse().map_err(|_| bad_cursor())?), id))
        }
    };
    let filter = AlertFilter { customer: query.customer, state: query.state, rule: query.rule };
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let items = store.alerts(tenant, &filter, before, limit + 1).await?;
    Ok(Json(Page::of(items, limit, |alert| format!("{}:{}", alert.at.micros(), alert.id))))
}

async fn get(caller: Caller, Path(id): Path<String>) -> Result<Json<Alert>, Problem> {
    let found = caller.engine.store().alert(&caller.engine.tenant().id, &id).await?;
    let missing = || Problem::new("not_found", format!("there is no alert {id:?}"));
    found.map(Json).ok_or_else(missing)
}

async fn moved(
    caller: &Caller,
    id: &str,
    to: AlertState,
    until: Option<Timestamp>,
) -> Result<Json<Alert>, Problem> {
    let by = format!("key:{}", caller.key.id);
    Ok(Json(caller.engine.move_alert(id, to, until, &by).await?))
}

async fn acknowledge(caller: Caller, Path(id): Path<String>) -> Result<Json<Alert>, Problem> {
    moved(&caller, &id, AlertState::Acknowledged, None).await
}

async fn snooze(
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<SnoozeBody>,
) -> Result<Json<Alert>, Problem> {
    moved(&caller, &id, AlertState::Snoozed, Some(body.until)).await
}

async fn evaluate(caller: Caller, Json(body): Json<EvaluateBody>) -> Result<Response, Problem> {
    let sweep = if body.all { Sweep::All } else { Sweep::Due };
    Ok(Json(caller.engine.evaluate_alerts(sweep).await?).into_response())
}

async fn usage_events(caller: Caller) -> Result<Json<UsageEvents>, Problem> {
    Ok(Json(caller.engine.usage_events().await?))
}

async fn set_usage_events(
    caller: Caller,
    Json(body): Json<UsageEvents>,
) -> Result<Json<UsageEvents>, Problem> {
    caller.engine.set_usage_events(body).await?;
    Ok(Json(caller.engine.usage_events().await?))
}
