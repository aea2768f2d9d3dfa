//! What stands before every operation, in this order: a request id, room, the key and its scope,
//! rate limits, the idempotency key. After it: headers, metrics, one line of log.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, RawPathParams, Request, State},
    http::{HeaderName, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use counterfoil_engine::{Engine, origin::Origin};
use counterfoil_store::{ApiKey, AuditEntry, Commit, Write};
use counterfoil_types::{CanonicalWriter, Digest, TenantId};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use tracing::Instrument;

use crate::{
    limits::{By, Rate, policy_name, seconds},
    operation::Operation,
    problem::{Carried, Problem, with_request_id},
    scope::Scope,
    service::Shared,
};

/// The header that names a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Who asks: what handlers get to see of a request's access.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The engine of the caller's tenant, acting for this request.
    pub(crate) engine: Engine,
    /// The key.
    pub(crate) key: Arc<ApiKey>,
    /// What stands for the request wherever a new id is needed: the same on a repetition.
    pub(crate) seed: String,
}

impl Caller {
    /// An id for something the request makes: the same whenever the request is repeated.
    pub(crate) fn new_id(&self, kind: &str) -> String {
        let parts = [self.engine.tenant().id.as_str(), &self.seed];
        format!("{kind}_{}", counterfoil_types::ids::derive_uuid(kind, &parts).simple())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new("unauthenticated", "this operation needs an API key");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

fn request_id(shared: &Shared, request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let fits = |id: &&str| {
        (8..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    given.filter(fits).map_or_else(
        || {
            let mut bytes = [0_u8; 16];
            shared.random.fill(&mut bytes);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        },
        ToOwned::to_owned,
    )
}

/// See the module header.
pub(crate) async fn guard(
    State((shared, operation)): State<(Shared, Arc<Operation>)>,
    path: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let started = shared.clock.now();
    shared.metrics.in_flight.inc();
    let id = request_id(&shared, &request);
    let mut tenant = None;
    // Named as OpenTelemetry names what a server does; without a collector it costs next to nothing.
    let span = tracing::info_span!(
        "request",
        otel.name = operation.id,
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = operation.path,
        http.response.status_code = tracing::field::Empty,
        request = %id,
        tenant = tracing::field::Empty,
    );
    if !span.is_disabled() {
        (shared.options.on_request)(&span, request.headers());
    }
    let outcome = admit(&shared, &operation, &path, request, next, &id, &mut tenant)
        .instrument(span.clone())
        .await;
    let response = outcome.unwrap_or_else(IntoResponse::into_response);
    span.record("http.response.status_code", response.status().as_u16());
    span.record("tenant", tenant.as_ref().map(TenantId::as_str));
    let response = with_request_id(response, &id);
    let status = response.status().as_u16();
    let micros = shared.clock.now().micros().saturating_sub(started.micros());
    let micros = u64::try_from(micros).unwrap_or(0);
    shared.metrics.in_flight.dec();
    shared.metrics.request(operation.id, status, Duration::from_micros(micros));
    if operation.scope != Scope::Public {
        shared.monitor.request(shared.clock.now(), status >= 500, micros);
    }
    let code = response.extensions().get::<Carried>().map(|problem| problem.0.code.as_str());
    tracing::info!(
        request = %id,
        tenant = tenant.as_ref().map(TenantId::as_str),
        operation = operation.id,
        status,
        micros,
        code,
        "answered"
    );
    response
}

fn secret(request: &Request) -> Option<&str> {
    let headers = request.headers();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, secret) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    });
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}

async fn admit(
    shared: &Shared,
    operation: &Arc<Operation>,
    path: &RawPathParams,
    mut request: Request,
    next: Next,
    id: &str,
    whose: &mut Option<TenantId>,
) -> Result<Response, Problem> {
    if operation.scope == Scope::Public {
        return Ok(next.run(request).await);
    }
    let _room = shared.room.clone().try_acquire_owned().map_err(|_| {
        Problem::new("overloaded", "too many requests are being answered; try again").retry_after(1)
    })?;
    let denied = || {
        Problem::new("unauthenticated", "send a valid API key as `Authorization: Bearer cf_…`")
            .header(header::WWW_AUTHENTICATE, "Bearer")
    };
    let secret = secret(&request).ok_or_else(denied)?;
    let (tenant, key) = shared.authenticate(secret).await?.ok_or_else(denied)?;
    *whose = Some(tenant.clone());
    check_rights(operation, path, &key)?;
    let _share = shared.room_of(&tenant).try_acquire_owned().map_err(|_| {
        Problem::new("overloaded", "too many requests of this tenant are being answered")
            .retry_after(1)
    })?;
    let headers = rate_limits(shared, operation, &tenant, &key).await?;
    let engine = shared.engine(&tenant).await?;
    note_use(shared, &engine, &key);
    let limit =
        if operation.streams { shared.options.max_batch_body } else { shared.options.max_body };
    refuse_large(&request, operation, limit)?;
    let caller = Caller { engine, key, seed: id.to_owned() };
    let mut response = if operation.changes() && !operation.streams {
        once(shared, operation, path, caller, request, next, id).await?
    } else {
        request.extensions_mut().insert(caller);
        next.run(request).await
    };
    response.headers_mut().extend(headers);
    Ok(response)
}

fn check_rights(operation: &Operation, path: &RawPathParams, key: &ApiKey) -> Result<(), Problem> {
    if let Some(customer) = &key.customer {
        let asked = path.iter().find(|(name, _)| *name == "customer").map(|(_, value)| value);
        if !operation.for_customers {
            return Err(Problem::new("forbidden", "a customer's key may not do this"));
        }
        // Another customer does not exist for this key.
        if asked != Some(customer.as_str()) {
            return Err(Problem::new("not_found", "there is no such customer"));
        }
        return Ok(());
    }
    if operation.scope.is_covered_by(&key.scopes) {
        return Ok(());
    }
    let scope = operation.scope.as_str();
    Err(Problem::new("forbidden", format!("this needs a key with the scope `{scope}`"))
        .with("scope", scope))
}

fn refuse_large(request: &Request, operation: &Operation, limit: usize) -> Result<(), Problem> {
    let lines = operation.streams && crate::routes::events::is_stream(request.headers());
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if !lines && length > limit as u64 => Err(too_large(limit)),
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> Problem {
    // The rest of the body is not read.
    Problem::new("too_large", format!("the body is larger than {limit} bytes"))
        .with("limit", limit)
        .header(header::CONNECTION, "close")
}

/// Writes down that the key was used, without making the request wait for it.
fn note_use(shared: &Shared, engine: &Engine, key: &Arc<ApiKey>) {
    let now = shared.clock.now();
    if key.last_used_at.is_some_and(|last| now < last.plus_micros(60_000_000)) {
        return;
    }
    if !shared.first_use(&key.prefix, now) {
        return;
    }
    let (engine, key) = (engine.clone(), Arc::clone(key));
    tokio::spawn(async move {
        if let Err(error) = engine.key_was_used(&key, now).await {
            tracing::warn!(%error, "the last use of a key was not written down");
        }
    });
}

/// Tells web hooks that a key is used too often, once an hour; the refusal stands in any case.
async fn tell_limited(shared: &Shared, tenant: &TenantId, key: &ApiKey, what: (u32, &str)) {
    let (limit, operation) = what;
    let Ok(engine) = shared.engine(tenant).await else { return };
    let customer = key.customer.as_ref();
    let told = engine.tell_rate_limited(customer, Some(&key.id), limit, Some(operation)).await;
    if let Err(error) = told {
        tracing::warn!(%error, "a limit was not told to web hooks");
    }
}

async fn rate_limits(
    shared: &Shared,
    operation: &Operation,
    tenant: &TenantId,
    key: &ApiKey,
) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    let limits = &shared.options.limits;
    let now = shared.clock.now().micros();
    let mut tightest: Option<(Rate, crate::limits::Decision, &str)> = None;
    for rule in &limits.rules {
        if rule.operation.as_deref().is_some_and(|wanted| wanted != operation.id) {
            continue;
        }
        let name = policy_name(rule);
        let who = match rule.by {
            By::Key => format!("{tenant}/key/{}", key.id),
            By::Tenant => tenant.to_string(),
        };
        let counted = format!("{who}/{name}/{:?}", rule.per);
        let rate = Rate::new(rule.limit, rule.per, rule.burst);
        let decision = match limits.limiter.decide(&counted, &rate, now).await {
            Ok(decision) => decision,
            Err(error) if limits.fail_open => {
                tracing::warn!(%error, "requests go on uncounted");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "requests are refused");
                let detail = "rate limits cannot be checked at the moment";
                return Err(Problem::new("overloaded", detail).retry_after(1));
            }
        };
        if !decision.allowed {
            shared.metrics.limited();
            tell_limited(shared, tenant, key, (rate.limit, operation.id)).await;
            let problem = Problem::new("rate_limited", "too many requests; slow down")
                .retry_after(seconds(decision.retry_after));
            return Err(rate_headers(&rate, &decision, name)
                .into_iter()
                .fold(problem, |problem, (header, value)| problem.header(header, &value)));
        }
        let tighter = tightest
            .as_ref()
            .is_none_or(|(_, tightest, _)| decision.remaining < tightest.remaining);
        if tighter {
            tightest = Some((rate, decision, name));
        }
    }
    let Some((rate, decision, name)) = tightest else { return Ok(Vec::new()) };
    Ok(rate_headers(&rate, &decision, name)
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?)))
        .collect())
}

/// The headers of a limit: those in wide use, and those of the IETF draft
/// (draft-ietf-httpapi-ratelimit-headers).
pub(crate) fn rate_headers(
    rate: &Rate,
    decision: &crate::limits::Decision,
    name: &str,
) -> Vec<(HeaderName, String)> {
    let reset = seconds(decision.reset_after);
    let window = rate.window / 1_000_000;
    vec![
        (HeaderName::from_static("x-ratelimit-limit"), rate.limit.to_string()),
        (HeaderName::from_static("x-ratelimit-remaining"), decision.remaining.to_string()),
        (HeaderName::from_static("x-ratelimit-reset"), reset.to_string()),
        (
            HeaderName::from_static("ratelimit-policy"),
            format!("\"{name}\";q={};w={window}", rate.limit),
        ),
        (
            HeaderName::from_static("ratelimit"),
            format!("\"{name}\";r={};t={reset}", decision.remaining),
        ),
    ]
}

/// Reads the body and runs the operation, once per idempotency key.
async fn once(
    shared: &Shared,
    operation: &Arc<Operation>,
    path: &RawPathParams,
    mut caller: Caller,
    request: Request,
    next: Next,
    id: &str,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let body = read_body(shared, body, shared.options.max_body).await?;
    let given = if operation.is_keyed() { idempotency_key(&parts)? } else { None };
    let fingerprint = fingerprint(&parts.method, &parts.uri.to_string(), &body);
    let tenant = caller.engine.tenant().id.clone();
    let turn = given.as_ref().map(|key| shared.claim_turn(&tenant, key));
    let _turn = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    if let Some(key) = &given {
        caller.seed = key.clone();
        if let Some(claim) = shared.store.claim(&tenant, key).await? {
            if claim.fingerprint != fingerprint {
                return Err(Problem::new(
                    "key_reused",
                    "this idempotency key was used for another request; take a new one",
                ));
            }
            match claim.answer {
                Some((status, body)) => return Ok(replay(status, body)),
                None if !operation.keeps_answer => {
                    return Err(Problem::new(
                        "key_reused",
                        "this request took effect, and its answer held a secret that is shown once",
                    ));
                }
                // It took effect and its answer was lost: what follows repeats it harmlessly.
                None => {}
            }
        }
    }
    let subject: Vec<&str> = path.iter().map(|(_, value)| value).collect();
    let entry = AuditEntry {
        at: shared.clock.now(),
        actor: format!("key:{}", caller.key.id),
        operation: operation.id.to_owned(),
        subject: subject.join("/"),
        request: id.to_owned(),
    };
    let claim = given.as_ref().map(|key| (key.clone(), fingerprint));
    let origin = Arc::new(Origin::new(entry, claim));
    caller.engine = caller.engine.acting_for(Arc::clone(&origin));
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let Some(key) = given.filter(|_| origin.took_effect() && operation.keeps_answer) else {
        return Ok(response);
    };
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let answer = Write::Answer { key, status: parts.status.as_u16(), body: text };
    // The effect stands; a repetition without the kept answer makes it again from what is stored.
    if let Err(error) = shared.store.commit(&tenant, &Commit::of(answer)).await {
        tracing::warn!(%error, "an answer was not kept");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn idempotency_key(parts: &Parts) -> Result<Option<String>, Problem> {
    let Some(key) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > 200 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::parameter(
            "Idempotency-Key",
            "must be 1 to 200 visible ASCII characters",
        ));
    }
    Ok(Some(key.to_owned()))
}

fn fingerprint(method: &Method, uri: &str, body: &[u8]) -> Digest {
    let mut writer = CanonicalWriter::new("request", 1);
    writer.str(method.as_str());
    writer.str(uri);
    writer.str(&Digest::of(body).to_string());
    writer.digest()
}

fn replay(status: u16, body: String) -> Response {
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    let headers = [
        (REPLAYED, HeaderValue::from_static("true")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    if body.is_empty() {
        return (status, [(REPLAYED, HeaderValue::from_static("true"))]).into_response();
    }
    (status, headers, body).into_response()
}

/// A whole body within its limits of size and time.
pub(crate) async fn read_body(shared: &Shared, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = Limited::new(body, limit).collect();
    match tokio::time::timeout(shared.options.body_timeout, read).await {
        Err(_) => {
            Err(Problem::new("timeout", "the body came too slowly")
                .header(header::CONNECTION, "close"))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(_)) => Err(Problem::new("malformed", "the body broke off")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}
