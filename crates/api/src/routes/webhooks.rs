//! Endpoints of web hooks. Secrets are shown once, when they are made.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use counterfoil_delivery::{
    again,
    endpoint::{self, Endpoint, EndpointError, NewEndpoint},
};
use counterfoil_store::{Commit, Write};
use counterfoil_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    etag::{check_match, tagged},
    extract::{Json, Path},
    guard::Caller,
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// An endpoint, without its secrets.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct EndpointView {
    /// Its id.
    id: String,
    /// Where to.
    url: String,
    /// What it hears of; everything when empty.
    kinds: Vec<String>,
    /// Whether it is sent to.
    enabled: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_because: Option<String>,
    /// When it was made.
    created_at: Timestamp,
    /// How many secrets sign now: two for a day after a rotation.
    secrets: usize,
}

/// An endpoint with its new secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SecretEndpoint {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// The secret (Standard Webhooks). It is shown this once.
    secret: String,
}

/// An endpoint to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointBody {
    /// Its id; derived from the URL when absent.
    id: Option<String>,
    /// Where to: host and path under the scheme https.
    url: String,
    /// What it hears of; `invoice.*` means all of that front; everything when empty.
    #[serde(default)]
    kinds: Vec<String>,
    /// Its secret, where the receiver has one already.
    secret: Option<String>,
}

/// What is to be changed about an endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointPatch {
    /// Where to.
    url: Option<String>,
    /// What it hears of.
    kinds: Option<Vec<String>>,
}

/// What is to be sent again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayBody {
    /// Effects caused from here on; all when absent.
    since: Option<Timestamp>,
    /// Of this kind only.
    kind: Option<String>,
}

/// How many are sent again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Again {
    /// Deliveries that are due again.
    pub(crate) deliveries: u64,
}

const ONE: &str = "/v1/webhook-endpoints/{endpoint}";

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Web hooks");
    routes
        .get("/v1/webhook-endpoints", "webhooks.list", Scope::Admin, list)
        .says("List endpoints of web hooks")
        .answers::<Page<EndpointView>>(200, "All of them, without their secrets");
    routes
        .post("/v1/webhook-endpoints", "webhooks.create", Scope::Admin, create)
        .says("Make an endpoint of web hooks")
        .explained("Bodies are signed as Standard Webhooks say; `docs/webhook-events.schema.json` describes them.")
        .body::<EndpointBody>()
        .answers::<SecretEndpoint>(201, "The endpoint with its secret, which is shown this once")
        .may_fail(409, "There is an endpoint of this id")
        .secret();
    routes
        .get(ONE, "webhooks.get", Scope::Admin, get)
        .says("Read an endpoint of web hooks")
        .answers::<EndpointView>(200, "The endpoint, with its `ETag`");
    routes
        .patch(ONE, "webhooks.update", Scope::Admin, patch)
        .says("Change where an endpoint is, or what it hears of")
        .body::<EndpointPatch>()
        .if_match()
        .answers::<EndpointView>(200, "The endpoint as it is now");
    routes
        .post("/v1/webhook-endpoints/{endpoint}/rotate", "webhooks.rotate", Scope::Admin, rotate)
        .says("Give an endpoint a new secret; the old one signs beside it for a day")
        .answers::<SecretEndpoint>(200, "The endpoint with its new secret")
        .secret();
    routes
        .post("/v1/webhook-endpoints/{endpoint}/disable", "webhooks.disable", Scope::Admin, disable)
        .says("Stop sending to an endpoint")
        .answers::<EndpointView>(200, "The endpoint as it is now");
    routes
        .post("/v1/webhook-endpoints/{endpoint}/enable", "webhooks.enable", Scope::Admin, enable)
        .says("Send to an endpoint again")
        .answers::<EndpointView>(200, "The endpoint as it is now");
    routes
        .post("/v1/webhook-endpoints/{endpoint}/replay", "webhooks.replay", Scope::Admin, replay)
        .says("Send an endpoint again what it hears of; ids stay as they were")
        .body::<ReplayBody>()
        .answers::<Again>(200, "How many are sent again");
    routes
        .delete(ONE, "webhooks.delete", Scope::Admin, delete)
        .says("Remove an endpoint; what was on its way to it is parked")
        .if_match()
        .done("There is no such endpoint any more");
}

fn view(endpoint: &Endpoint, now: Timestamp) -> EndpointView {
    EndpointView {
        id: endpoint.id.clone(),
        url: endpoint.url.clone(),
        kinds: endpoint.kinds.clone(),
        enabled: endpoint.enabled,
        disabled_because: endpoint.disabled_because.clone(),
        created_at: endpoint.created_at,
        secrets: endpoint.secrets_at(now).count(),
    }
}

fn failed(error: EndpointError) -> Problem {
    match error {
        EndpointError::Store(error) => error.into(),
        EndpointError::NotFound(id) => {
            Problem::new("not_found", format!("there is no endpoint {id:?}"))
        }
        EndpointError::Taken(_) => Problem::new("conflict", error.to_string()),
        other => Problem::new("invalid", other.to_string()),
    }
}

async fn one(caller: &Caller, id: &str) -> Result<Endpoint, Problem> {
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    endpoint::named(store, tenant, id).await.map_err(failed)
}

async fn keep(caller: &Caller, endpoint: &Endpoint) -> Result<(), Problem> {
    Ok(caller.engine.commit(&Commit::of(endpoint.kept()?)).await?)
}

/// Reads, changes and writes an endpoint as one, as far as this process goes.
async fn change(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    headers: Option<&HeaderMap>,
    change: impl FnOnce(&mut Endpoint, Timestamp) -> Result<(), Problem>,
) -> Result<Endpoint, Problem> {
    let turn = shared.claim_turn(&caller.engine.tenant().id, "webhook-endpoints");
    let _turn = turn.lock().await;
    let mut endpoint = one(caller, id).await?;
    let now = shared.clock.now();
    if let Some(headers) = headers {
        check_match(headers, Some(&view(&endpoint, now)))?;
    }
    change(&mut endpoint, now)?;
    keep(caller, &endpoint).await?;
    Ok(endpoint)
}

async fn list(
    State(shared): State<Shared>,
    caller: Caller,
) -> Result<Json<Page<EndpointView>>, Problem> {
    let found = endpoint::list(caller.engine.store(), &caller.engine.tenant().id).await?;
    let now = shared.clock.now();
    Ok(Json(Page::whole(found.iter().map(|endpoint| view(endpoint, now)).collect())))
}

fn with_secret(endpoint: &Endpoint, now: Timestamp) -> SecretEndpoint {
    let secret = endpoint.secrets.first().map(|secret| secret.secret.clone()).unwrap_or_default();
    SecretEndpoint { endpoint: view(endpoint, now), secret }
}

async fn create(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<EndpointBody>,
) -> Result<(StatusCode, Json<SecretEndpoint>), Problem> {
    let turn = shared.claim_turn(&caller.engine.tenant().id, "webhook-endpoints");
    let _turn = turn.lock().await;
    let there = endpoint::list(caller.engine.store(), &caller.engine.tenant().id).await?;
    let new = NewEndpoint { id: body.id, url: body.url, kinds: body.kinds, secret: body.secret };
    let (random, now) = (shared.random.as_ref(), shared.clock.now());
    let made = endpoint::made(&there, &shared.options.guard, new, random, now).map_err(failed)?;
    keep(&caller, &made).await?;
    Ok((StatusCode::CREATED, Json(with_secret(&made, now))))
}

async fn get(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(tagged(view(&one(&caller, &id).await?, shared.clock.now())))
}

async fn patch(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<EndpointPatch>,
) -> Result<Response, Problem> {
    let changed = change(&shared, &caller, &id, Some(&headers), |endpoint, _| {
        if let Some(url) = body.url {
            shared.options.guard.check(&url).map_err(|error| failed(error.into()))?;
            endpoint.url = url;
        }
        if let Some(kinds) = body.kinds {
            endpoint.kinds = kinds;
        }
        Ok(())
    });
    Ok(tagged(view(&changed.await?, shared.clock.now())))
}

async fn rotate(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<SecretEndpoint>, Problem> {
    let changed = change(&shared, &caller, &id, None, |endpoint, now| {
        endpoint.rotate(shared.random.as_ref(), now);
        Ok(())
    });
    Ok(Json(with_secret(&changed.await?, shared.clock.now())))
}

async fn disable(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let by = format!("switched off by key:{}", caller.key.id);
    let changed = change(&shared, &caller, &id, None, |endpoint, _| {
        endpoint.enabled = false;
        endpoint.disabled_because = Some(by);
        Ok(())
    });
    Ok(tagged(view(&changed.await?, shared.clock.now())))
}

async fn enable(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let changed = change(&shared, &caller, &id, None, |endpoint, now| {
        endpoint.switch_on(now);
        Ok(())
    });
    Ok(tagged(view(&changed.await?, shared.clock.now())))
}

async fn replay(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ReplayBody>,
) -> Result<Json<Again>, Problem> {
    let endpoint = one(&caller, &id).await?;
    // Who asked is written down first; sending again what is sent twice is harmless.
    caller.engine.commit(&Commit::default()).await?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let kind = body.kind.as_deref();
    let now = shared.clock.now();
    let deliveries = again::replay(store, tenant, &endpoint, body.since, kind, now).await?;
    Ok(Json(Again { deliveries }))
}

async fn delete(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let turn = shared.claim_turn(&caller.engine.tenant().id, "webhook-endpoints");
    let _turn = turn.lock().await;
    let endpoint = one(&caller, &id).await?;
    let now = shared.clock.now();
    check_match(&headers, Some(&view(&endpoint, now)))?;
    let target = endpoint.target();
    let write = Write::Set { key: target.clone(), value: None };
    caller.engine.commit(&Commit::of(write)).await?;
    let tenant = &caller.engine.tenant().id;
    let why = "the endpoint was removed";
    caller.engine.store().park_target(tenant, &target, why, now).await?;
    Ok(StatusCode::NO_CONTENT)
}
