//! The service about itself: health, readiness, metrics, its own documents.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    extract::Json, guard::Caller, health::Health, operation::Routes, problem::Problem, reference,
    scope::Scope, service::Shared,
};

/// Whether the service can do its work.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Ready {
    /// Whether it can.
    ready: bool,
}

/// What the store holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SystemView {
    /// Version of the program.
    version: &'static str,
    /// How the service is.
    health: Health,
    /// The store in a few words.
    store: Vec<(String, String)>,
    /// Rows of the tenant's ledger.
    events: u64,
    /// Rows not projected yet.
    unprojected: u64,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Service");
    routes
        .get("/health", "health", Scope::Public, health)
        .says("How the service is")
        .answers::<Health>(200, "Healthy or degraded")
        .answers::<Health>(503, "Unhealthy");
    routes
        .get("/ready", "ready", Scope::Public, ready)
        .says("Whether the service can take requests")
        .answers::<Ready>(200, "It can")
        .answers::<Ready>(503, "The store does not answer");
    routes
        .get("/metrics", "metrics", Scope::Public, metrics)
        .says("Metrics in the text format of Prometheus")
        .gives(200, "The metrics", "application/openmetrics-text");
    routes.get("/openapi.json", "openapi", Scope::Public, document).says("This document").gives(
        200,
        "OpenAPI 3.1",
        "application/json",
    );
    routes.get("/docs", "docs", Scope::Public, docs).says("The API reference, for people").gives(
        200,
        "A page",
        "text/html",
    );
    routes
        .get("/v1/system", "system.get", Scope::Admin, system)
        .says("The service and its store")
        .answers::<SystemView>(200, "Health, store, ledger");
}

async fn health(State(shared): State<Shared>) -> Response {
    let (health, _) = shared.monitor.look_only(shared.clock.now());
    let bad = health.status == crate::health::State::Unhealthy;
    let status = if bad { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(health)).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let patience = std::time::Duration::from_secs(3);
    let asked = tokio::time::timeout(patience, shared.store.tenant(&shared.options.home)).await;
    let ready = matches!(asked, Ok(Ok(_)));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready })).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}

async fn document(State(shared): State<Shared>) -> Response {
    let text = serde_json::to_string(&shared.document).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn docs(State(shared): State<Shared>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    (headers, reference::page(&shared.operations, &shared.document)).into_response()
}

async fn system(State(shared): State<Shared>, caller: Caller) -> Result<Json<SystemView>, Problem> {
    let engine = &caller.engine;
    let (mut events, mut unprojected) = (0, 0);
    for head in engine.store().heads(engine.tenant()).await? {
        let progress = engine.store().progress(head.lane).await?;
        let least = progress.iter().map(|(_, at)| *at).min().unwrap_or(0);
        events += head.position;
        unprojected += head.position.saturating_sub(least);
    }
    let (health, _) = shared.monitor.look_only(shared.clock.now());
    let store = engine.store().describe().await?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(SystemView { version, health, store, events, unprojected }))
}
