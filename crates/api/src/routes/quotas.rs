//! Quotas and rate limits: may this customer do this, now?
//!
//! A quota is a business limit: exact, durable, answered with 402 or 403 and a hint where to get
//! more. A rate limit protects a system: answered with 429 and when to come back.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use counterfoil_engine::{ingest::IngestOptions, quotas::QuotaState};
use counterfoil_ledger::{Event, Receipt, Scalar, decode::check_limits};
use counterfoil_metering::{Aggregation, Meter};
use counterfoil_rating::quota::{Entitlement, QuotaSpec, RateLimitSpec};
use counterfoil_types::{CustomerId, MeterKey, Quantity, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events::ReceiptBody;
use crate::{
    extract::{Json, Path},
    guard::{Caller, rate_headers},
    limits::{Rate, seconds},
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// A use that is asked about.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBody {
    /// Who.
    customer: CustomerId,
    /// What is counted.
    meter: MeterKey,
    /// How much, in the meter's unit; 1 when absent.
    quantity: Option<Quantity>,
}

/// A use that happens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsumeBody {
    /// Makes the use unique within its source, for ever: sending it again counts it once.
    id: String,
    /// The producer; `quota` when absent.
    source: Option<String>,
    /// Who.
    customer: CustomerId,
    /// What is counted. The event gets the type, and where the meter reads a property the
    /// property, that the meter counts.
    meter: MeterKey,
    /// How much, as an event of this meter says it; 1 when absent.
    quantity: Option<Quantity>,
    /// When; now when absent.
    time: Option<Timestamp>,
    /// Further facts.
    #[serde(default)]
    properties: BTreeMap<String, PropertyValue>,
}

/// A value of a property.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PropertyValue {
    /// A switch.
    Switch(bool),
    /// A number, or a text that reads like one.
    Number(Quantity),
    /// A text.
    Text(String),
}

/// The verdict on a use that is asked about.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Verdicts {
    /// Whether it may go on.
    allowed: bool,
    #[serde(flatten)]
    quota: QuotaState,
    /// Where to get more, when the quota is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<String>,
}

/// What became of a use.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ConsumeAnswer {
    /// Whether it went on.
    allowed: bool,
    /// The receipt of its event.
    receipt: ReceiptBody,
    /// The quotas it counts for, after it.
    quotas: Vec<QuotaState>,
}

/// What a customer may do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct EntitlementsView {
    /// Switches, numbers and texts of the customer's plans.
    entitlements: BTreeMap<String, Entitlement>,
    /// How fast the customer may call.
    rate_limits: Vec<RateLimitSpec>,
    /// The customer's quotas as they stand.
    quotas: Vec<QuotaState>,
}

/// A call that is asked about.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallBody {
    /// Who calls.
    customer: CustomerId,
    /// What is called; limits for this endpoint hold, and those for all.
    endpoint: Option<String>,
}

/// What the rate limits of a customer say to a call.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CallAnswer {
    /// Whether it may go on.
    allowed: bool,
    /// Calls left at once under the tightest limit; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u32>,
    /// Seconds until the next one may go on, when it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Quotas and limits");
    routes
        .post("/v1/quotas/check", "quotas.check", Scope::Quota, check)
        .says("Ask whether a use would be within the quota")
        .explained("Changes nothing; may rest on usage read a second ago. Answers 200 either way: look at `allowed`.")
        .body::<CheckBody>()
        .answers::<Verdicts>(200, "The verdict");
    routes
        .post("/v1/quotas/consume", "quotas.consume", Scope::Quota, consume)
        .says("Use something if the quota allows it")
        .explained("Verdict and event are one step: however many consume at once, together they never pass a hard limit. Over the limit it answers 402 (or 403, by setting) and stores nothing.")
        .body::<ConsumeBody>()
        .answers::<ConsumeAnswer>(200, "It was used, now or before")
        .may_fail(402, "The quota is used up")
        .may_fail(409, "The id was used for something else");
    routes
        .get("/v1/customers/{customer}/quotas", "quotas.list", Scope::Read, list)
        .says("A customer's quotas as they stand")
        .for_customers()
        .answers::<Page<QuotaState>>(200, "All of them");
    routes
        .put("/v1/customers/{customer}/quotas/{meter}", "quotas.set", Scope::Finance, set)
        .says("Give a customer a quota of its own")
        .body::<QuotaSpec>()
        .answers::<QuotaState>(200, "The quota as it stands");
    routes
        .delete("/v1/customers/{customer}/quotas/{meter}", "quotas.unset", Scope::Finance, unset)
        .says("Let the plan's quota hold again")
        .done("The customer has no quota of its own for this meter");
    routes
        .get("/v1/customers/{customer}/entitlements", "entitlements.get", Scope::Read, entitlements)
        .says("What a customer's plans give")
        .for_customers()
        .answers::<EntitlementsView>(200, "Entitlements, rate limits, quotas");
    routes
        .post("/v1/limits/check", "limits.check", Scope::Quota, call)
        .says("Count a call against a customer's rate limits")
        .body::<CallBody>()
        .answers::<CallAnswer>(200, "The call may go on");
}

/// Headers that tell how a quota stands.
fn quota_headers(response: &mut Response, state: &QuotaState, now: Timestamp) {
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    if let Some(hard) = &state.hard {
        put("x-quota-limit", hard.to_string());
    }
    if let Some(remaining) = &state.remaining {
        put("x-quota-remaining", remaining.to_string());
    }
    if let Some(resets_at) = state.resets_at {
        put("x-quota-reset", seconds(resets_at.micros() - now.micros()).to_string());
    }
}

async fn check(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<CheckBody>,
) -> Result<Response, Problem> {
    let quantity = body.quantity.unwrap_or(Quantity::ONE).exact();
    let quota = caller.engine.check_quota(&body.customer, &body.meter, &quantity).await?;
    let now = caller.engine.now_of(&body.customer);
    let allowed = quota.verdict.is_allowed();
    let upgrade = shared.options.upgrade_url.clone().filter(|_| !allowed);
    let state = quota.clone();
    let mut response = Json(Verdicts { allowed, quota, upgrade }).into_response();
    quota_headers(&mut response, &state, now);
    Ok(response)
}

/// The event that a use is.
fn event_of(meter: &Meter, body: ConsumeBody) -> Result<Event, Problem> {
    let quantity = body.quantity.unwrap_or(Quantity::ONE);
    let mut properties: BTreeMap<String, Scalar> = body
        .properties
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                PropertyValue::Switch(flag) => Scalar::Bool(flag),
                PropertyValue::Number(number) => Scalar::Number(number),
                PropertyValue::Text(text) => Scalar::Text(text),
            };
            (name, value)
        })
        .collect();
    if let Some(property) = &meter.value {
        properties.insert(property.clone(), Scalar::Number(quantity));
    }
    if meter.aggregation == Aggregation::Count && quantity != Quantity::ONE {
        return Err(Problem::new(
            "invalid",
            format!("meter {} counts events; consume one at a time", meter.key),
        ));
    }
    let event = Event {
        id: body.id,
        source: body.source.unwrap_or_else(|| "quota".to_owned()),
        customer: body.customer,
        event_type: meter.event_type.clone(),
        time: body.time,
        quantity: if meter.value.is_some() { Quantity::ONE } else { quantity },
        unit: None,
        properties,
        subject: None,
        resource: None,
        user: None,
        correction: None,
    };
    check_limits(&event).map_err(|reject| Problem::new("invalid", reject.to_string()))?;
    Ok(event)
}

async fn consume(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<ConsumeBody>,
) -> Result<Response, Problem> {
    let engine = &caller.engine;
    let books = engine.recent_books().await?;
    let meter = books.meters().get(&body.meter);
    let missing = || Problem::new("not_found", format!("there is no meter {}", body.meter));
    let meter = meter.ok_or_else(missing)?;
    let (customer, key) = (body.customer.clone(), body.meter.clone());
    let event = event_of(meter, body)?;
    let id = event.id.clone();
    let consumed = engine.consume(event, IngestOptions::default()).await?;
    shared.appended.notify_one();
    let now = engine.now_of(&customer);
    let own = consumed.quotas.iter().find(|quota| quota.meter == key).cloned();
    let mut response = match consumed.receipt {
        None => {
            shared.metrics.denial();
            // The denial stands, whether it is told or not.
            if let Err(error) = engine.tell_quota_exceeded(&customer, &consumed.quotas).await {
                tracing::warn!(%error, "a denial was not told to web hooks");
            }
            let mut problem = Problem::new("over_quota", format!("the quota of {key} is used up"))
                .with_status(shared.options.over_quota_status)
                .with("quotas", &consumed.quotas);
            if let Some(upgrade) = &shared.options.upgrade_url {
                problem = problem.with("upgrade", upgrade);
            }
            problem.into_response()
        }
        Some(Receipt::Rejected(reject)) => {
            return Err(Problem::new("invalid", reject.to_string()).with("reason", reject.code()));
        }
        Some(receipt @ Receipt::Conflict { .. }) => {
            let receipt = ReceiptBody::of(0, Some(id), receipt);
            return Err(Problem::new("conflict", "the id was used for something else")
                .with("receipt", receipt));
        }
        Some(receipt) => {
            let receipt = ReceiptBody::of(0, Some(id), receipt);
            Json(ConsumeAnswer { allowed: true, receipt, quotas: consumed.quotas }).into_response()
        }
    };
    if let Some(state) = &own {
        quota_headers(&mut response, state, now);
    }
    Ok(response)
}

async fn list(
    caller: Caller,
    Path(customer): Path<CustomerId>,
) -> Result<Json<Page<QuotaState>>, Problem> {
    Ok(Json(Page::whole(caller.engine.quota_states(&customer).await?)))
}

async fn set(
    caller: Caller,
    Path((customer, meter)): Path<(CustomerId, MeterKey)>,
    Json(spec): Json<QuotaSpec>,
) -> Result<Json<QuotaState>, Problem> {
    if spec.meter != meter {
        return Err(Problem::new("invalid", "the body names another meter than the path"));
    }
    caller.engine.set_quota(&customer, &meter, Some(&spec)).await?;
    let none = counterfoil_types::Exact::ZERO;
    Ok(Json(caller.engine.check_quota(&customer, &meter, &none).await?))
}

async fn unset(
    caller: Caller,
    Path((customer, meter)): Path<(CustomerId, MeterKey)>,
) -> Result<StatusCode, Problem> {
    caller.engine.set_quota(&customer, &meter, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn entitlements(
    caller: Caller,
    Path(customer): Path<CustomerId>,
) -> Result<Json<EntitlementsView>, Problem> {
    let entitled = caller.engine.entitled(&customer).await?;
    let quotas = caller.engine.quota_states(&customer).await?;
    Ok(Json(EntitlementsView {
        entitlements: entitled.entitlements,
        rate_limits: entitled.rate_limits,
        quotas,
    }))
}

async fn call(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<CallBody>,
) -> Result<Response, Problem> {
    let engine = &caller.engine;
    let (tenant, customer) = (&engine.tenant().id, &body.customer);
    let now = shared.clock.now().micros();
    let limits = &shared.options.limits;
    let mut tightest: Option<(Rate, crate::limits::Decision)> = None;
    let entitled = engine.entitled(customer).await?;
    for (number, spec) in entitled.rate_limits.iter().enumerate() {
        if spec.endpoint.is_some() && spec.endpoint != body.endpoint {
            continue;
        }
        let rate = Rate::new(spec.limit, spec.per, spec.burst);
        let key = format!("{tenant}/customer/{customer}/{number}/{:?}", spec.per);
        let decision = match limits.limiter.decide(&key, &rate, now).await {
            Ok(decision) => decision,
            Err(error) if limits.fail_open => {
                tracing::warn!(%error, "a call goes on uncounted");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "a call is refused");
                return Err(Problem::new(
                    "overloaded",
                    "rate limits cannot be checked at the moment",
                )
                .retry_after(1));
            }
        };
        let tighter = tightest.is_none_or(|(_, tightest)| {
            !decision.allowed || (tightest.allowed && decision.remaining < tightest.remaining)
        });
        if tighter {
            tightest = Some((rate, decision));
        }
    }
    let Some((rate, decision)) = tightest else {
        let none = CallAnswer { allowed: true, remaining: None, retry_after_seconds: None };
        return Ok(Json(none).into_response());
    };
    let headers = rate_headers(&rate, &decision, "customer");
    if !decision.allowed {
        shared.metrics.limited();
        let endpoint = body.endpoint.as_deref();
        let told = engine.tell_rate_limited(Some(customer), None, rate.limit, endpoint).await;
        if let Err(error) = told {
            tracing::warn!(%error, "a limit was not told to web hooks");
        }
        let problem = Problem::new("rate_limited", "the customer calls too often")
            .retry_after(seconds(decision.retry_after));
        let with =
            |problem: Problem, (name, value): (HeaderName, String)| problem.header(name, &value);
        return Err(headers.into_iter().fold(problem, with));
    }
    let answer = CallAnswer {
        allowed: true,
        remaining: Some(decision.remaining),
        retry_after_seconds: None,
    };
    let mut response = Json(answer).into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
