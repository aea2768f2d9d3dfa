//! Incidents: what users of the service are told when it does badly, with a timeline. One is opened
//! when health turns for the worse and closed when it turns back; people can open and follow them.

use axum::{extract::State, http::StatusCode};
use counterfoil_store::{Commit, StoreError, Write};
use counterfoil_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path},
    guard::Caller,
    health::{State as HealthState, Turn},
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
    service::Shared,
};

const PREFIX: &str = "incident/";

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Somebody looks at it.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is being watched.
    Monitoring,
    /// It is over.
    Resolved,
}

/// A step of an incident.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Update {
    /// When.
    at: Timestamp,
    /// Where it stood then.
    stage: Stage,
    /// What was said.
    message: String,
    /// Who said it: `health` or a key.
    by: String,
}

/// An incident.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Incident {
    /// Its id.
    id: String,
    /// In a few words.
    title: String,
    /// Where it stands.
    stage: Stage,
    /// Whether it was opened by the service itself.
    automatic: bool,
    /// When it was opened.
    opened_at: Timestamp,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Timestamp>,
    /// What happened, oldest first.
    timeline: Vec<Update>,
}

/// An incident to be opened.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenBody {
    /// In a few words.
    title: String,
    /// What is known.
    message: String,
}

/// A step to be added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateBody {
    /// Where it stands now.
    stage: Stage,
    /// What is to be said.
    message: String,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Incidents");
    routes
        .get("/v1/incidents", "incidents.list", Scope::Read, list)
        .says("List incidents")
        .answers::<Page<Incident>>(200, "All of them, oldest first");
    routes
        .get("/v1/incidents/{incident}", "incidents.get", Scope::Read, get)
        .says("Read an incident")
        .answers::<Incident>(200, "The incident");
    routes
        .post("/v1/incidents", "incidents.open", Scope::Admin, open)
        .says("Open an incident")
        .body::<OpenBody>()
        .answers::<Incident>(201, "The incident");
    routes
        .post("/v1/incidents/{incident}/updates", "incidents.update", Scope::Admin, update)
        .says("Add to an incident's timeline")
        .body::<UpdateBody>()
        .answers::<Incident>(200, "The incident as it is now");
}

fn damaged(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { table: "setting", row: PREFIX.to_owned(), why: error.to_string() }
}

async fn read(
    store: &dyn counterfoil_store::Store,
    tenant: &counterfoil_types::TenantId,
) -> Result<Vec<Incident>, StoreError> {
    let stored = store.settings(tenant, PREFIX).await?;
    stored
        .iter()
        .map(|(_, text)| serde_json::from_str(text).map_err(|error| damaged(&error)))
        .collect()
}

/// The automatic incident that follows a turn of health, as the setting to be written.
pub(crate) async fn follow(
    shared: &Shared,
    turn: &Turn,
    says: &str,
    at: Timestamp,
) -> Result<Option<(String, String)>, StoreError> {
    let all = read(shared.store.as_ref(), &shared.options.home).await?;
    let open = all.into_iter().find(|one| one.automatic && one.stage != Stage::Resolved);
    let over = turn.to == HealthState::Healthy;
    let stage = if over { Stage::Resolved } else { Stage::Investigating };
    let step = Update { at, stage, message: says.to_owned(), by: "health".to_owned() };
    let incident = match open {
        None if over => return Ok(None),
        None => Incident {
            // In order of time, so that lists are.
            id: format!("inc_{:020}", at.micros()),
            title: "The service does badly".to_owned(),
            stage,
            automatic: true,
            opened_at: at,
            resolved_at: None,
            timeline: vec![step],
        },
        Some(mut incident) => {
            incident.stage = stage;
            incident.resolved_at = over.then_some(at);
            incident.timeline.push(step);
            incident
        }
    };
    let text = serde_json::to_string(&incident).map_err(|error| damaged(&error))?;
    Ok(Some((format!("{PREFIX}{}", incident.id), text)))
}

async fn put(caller: &Caller, incident: &Incident) -> Result<(), Problem> {
    let text = serde_json::to_string(incident).map_err(|error| damaged(&error))?;
    let write = Write::Set { key: format!("{PREFIX}{}", incident.id), value: Some(text) };
    Ok(caller.engine.commit(&Commit::of(write)).await?)
}

async fn list(caller: Caller) -> Result<Json<Page<Incident>>, Problem> {
    Ok(Json(Page::whole(read(caller.engine.store(), &caller.engine.tenant().id).await?)))
}

async fn one(caller: &Caller, id: &str) -> Result<Incident, Problem> {
    let all = read(caller.engine.store(), &caller.engine.tenant().id).await?;
    let found = all.into_iter().find(|incident| incident.id == id);
    found.ok_or_else(|| Problem::new("not_found", format!("there is no incident {id:?}")))
}

async fn get(caller: Caller, Path(id): Path<String>) -> Result<Json<Incident>, Problem> {
    Ok(Json(one(&caller, &id).await?))
}

fn said(text: &str) -> Result<(), Problem> {
    if text.trim().is_empty() || text.len() > 10_000 {
        return Err(Problem::new("invalid", "say something, in at most 10,000 bytes"));
    }
    Ok(())
}

async fn open(
    caller: Caller,
    Json(body): Json<OpenBody>,
) -> Result<(StatusCode, Json<Incident>), Problem> {
    said(&body.title)?;
    said(&body.message)?;
    let at = caller.engine.now();
    let unique = caller.new_id("inc");
    let id = format!("inc_{:020}_{}", at.micros(), unique.get(4..12).unwrap_or_default());
    let by = format!("key:{}", caller.key.id);
    let stage = Stage::Investigating;
    let incident = Incident {
        id,
        title: body.title,
        stage,
        automatic: false,
        opened_at: at,
        resolved_at: None,
        timeline: vec![Update { at, stage, message: body.message, by }],
    };
    put(&caller, &incident).await?;
    Ok((StatusCode::CREATED, Json(incident)))
}

async fn update(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<UpdateBody>,
) -> Result<Json<Incident>, Problem> {
    said(&body.message)?;
    let turn = shared.claim_turn(&caller.engine.tenant().id, &format!("incident\n{id}"));
    let _turn = turn.lock().await;
    let mut incident = one(&caller, &id).await?;
    let at = caller.engine.now();
    incident.stage = body.stage;
    incident.resolved_at = (body.stage == Stage::Resolved).then_some(at);
    let by = format!("key:{}", caller.key.id);
    incident.timeline.push(Update { at, stage: body.stage, message: body.message, by });
    put(&caller, &incident).await?;
    Ok(Json(incident))
}
