//! API keys, tokens for customers, the audit log and the journal.

use axum::{extract::State, http::StatusCode};
use counterfoil_engine::keys::{KeyRequest, NewKey};
use counterfoil_store::{ApiKey, RecordedAudit, RecordedFact};
use counterfoil_types::{CustomerId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, PageQuery, limit},
    problem::Problem,
    scope::{CUSTOMER, SCOPES, Scope},
    service::Shared,
};

/// Longest life of a customer's token, in seconds.
const LONGEST_TOKEN: u32 = 86_400;

/// A key that can be seen: everything but its secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct KeyView {
    /// Its id.
    id: String,
    /// The readable front of the secret.
    prefix: String,
    /// What people call it.
    name: String,
    /// What it may do.
    scopes: Vec<String>,
    /// The one customer it may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<CustomerId>,
    /// When it was made.
    created_at: Timestamp,
    /// From when on it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Since when, or from when on, it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            prefix: key.prefix,
            name: key.name,
            scopes: key.scopes,
            customer: key.customer,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A key with its secret, which is shown this once.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SecretView {
    /// The secret: `Authorization: Bearer …`.
    secret: String,
    #[serde(flatten)]
    key: KeyView,
}

impl From<NewKey> for SecretView {
    fn from(new: NewKey) -> Self {
        Self { secret: new.secret, key: new.key.into() }
    }
}

/// A key to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    /// What people call it.
    name: String,
    /// What it may do: `ingest`, `read`, `quota`, `finance`, `admin`.
    scopes: Vec<String>,
    /// From when on it is refused.
    expires_at: Option<Timestamp>,
}

/// How a key is to be replaced.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    /// Seconds the old key still works; 3600 when absent, at most 30 days.
    #[schemars(range(min = 0, max = 2_592_000))]
    overlap_seconds: Option<u32>,
}

/// A token for a customer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    /// Seconds it works, 60 to 86400; 900 when absent.
    #[schemars(range(min = 60, max = 86_400))]
    seconds: Option<u32>,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct KeysQuery {
    /// Those whose readable front begins so.
    prefix: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Access");
    routes
        .get("/v1/keys", "keys.list", Scope::Admin, list)
        .says("List API keys")
        .query::<KeysQuery>()
        .answers::<Page<KeyView>>(200, "A page of keys, without their secrets");
    routes
        .post("/v1/keys", "keys.create", Scope::Admin, create)
        .says("Make an API key")
        .body::<KeyBody>()
        .answers::<SecretView>(201, "The key with its secret, which is shown this once")
        .secret();
    routes
        .post("/v1/keys/{key}/rotate", "keys.rotate", Scope::Admin, rotate)
        .says("Replace an API key; the old one works a while longer")
        .body::<RotateBody>()
        .answers::<SecretView>(201, "The new key")
        .secret();
    routes
        .delete("/v1/keys/{key}", "keys.revoke", Scope::Admin, revoke)
        .says("Refuse an API key from now on")
        .answers::<KeyView>(200, "The key as it is now");
    routes
        .post("/v1/customers/{customer}/tokens", "tokens.create", Scope::Read, token)
        .says("Make a short-lived token with which one customer may look at its own things")
        .body::<TokenBody>()
        .answers::<SecretView>(201, "The token");
    routes
        .get("/v1/audit", "audit.list", Scope::Admin, audit)
        .says("Who did what")
        .query::<PageQuery>()
        .answers::<Page<RecordedAudit>>(200, "A page of entries, oldest first");
    routes
        .get("/v1/journal", "journal.list", Scope::Finance, journal)
        .says("The journal of billing facts")
        .query::<PageQuery>()
        .answers::<Page<RecordedFact>>(200, "A page of facts, oldest first");
}

async fn list(
    caller: Caller,
    Query(query): Query<KeysQuery>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let limit = limit(query.limit)?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let prefix = query.prefix.unwrap_or_default();
    let keys = store.api_keys(tenant, &prefix, query.cursor.as_deref(), limit + 1).await?;
    let page = Page::of(keys, limit, |key| key.id.clone());
    Ok(Json(Page { items: page.items.into_iter().map(KeyView::from).collect(), next: page.next }))
}

async fn create(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<KeyBody>,
) -> Result<(StatusCode, Json<SecretView>), Problem> {
    if body.scopes.is_empty() {
        return Err(Problem::new("invalid", "a key needs at least one scope"));
    }
    if let Some(unknown) = body.scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        return Err(Problem::new(
            "invalid",
            format!("there is no scope {unknown:?}; there are: {}", SCOPES.join(", ")),
        ));
    }
    if body.name.trim().is_empty() || body.name.len() > 256 {
        return Err(Problem::new("invalid", "give the key a name of at most 256 bytes"));
    }
    let request = KeyRequest {
        id: None,
        name: body.name,
        scopes: body.scopes,
        customer: None,
        expires_at: body.expires_at,
    };
    let new = caller.engine.create_key(request, shared.random.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(new.into())))
}

async fn rotate(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<RotateBody>,
) -> Result<(StatusCode, Json<SecretView>), Problem> {
    let overlap = body.overlap_seconds.unwrap_or(3_600);
    if overlap > 2_592_000 {
        return Err(Problem::new("invalid", "`overlap_seconds` is at most 30 days"));
    }
    let engine = &caller.engine;
    let old = engine.key(&id).await?;
    if !old.is_valid(engine.now()) {
        return Err(Problem::new("refused", "the key is revoked or expired; make a new one"));
    }
    let request = KeyRequest {
        id: None,
        name: old.name.clone(),
        scopes: old.scopes.clone(),
        customer: old.customer.clone(),
        expires_at: old.expires_at,
    };
    let new = engine.create_key(request, shared.random.as_ref()).await?;
    let until = engine.now().plus_micros(i64::from(overlap) * 1_000_000);
    engine.revoke_key(&id, until).await?;
    shared.forget_keys();
    Ok((StatusCode::CREATED, Json(new.into())))
}

async fn revoke(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<KeyView>, Problem> {
    let key = caller.engine.revoke_key(&id, caller.engine.now()).await?;
    shared.forget_keys();
    Ok(Json(key.into()))
}

async fn token(
    State(shared): State<Shared>,
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Json(body): Json<TokenBody>,
) -> Result<(StatusCode, Json<SecretView>), Problem> {
    let seconds = body.seconds.unwrap_or(900);
    if !(60..=LONGEST_TOKEN).contains(&seconds) {
        return Err(Problem::new("invalid", "`seconds` must lie between 60 and 86400"));
    }
    let expires_at = caller.engine.now().plus_micros(i64::from(seconds) * 1_000_000);
    let request = KeyRequest {
        id: None,
        name: format!("token of {customer}"),
        scopes: vec![CUSTOMER.to_owned()],
        customer: Some(customer),
        expires_at: Some(expires_at),
    };
    let new = caller.engine.create_key(request, shared.random.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(new.into())))
}

async fn audit(
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RecordedAudit>>, Problem> {
    let limit = query.limit()?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let entries = store.audit(tenant, query.position()?, limit + 1).await?;
    Ok(Json(Page::of(entries, limit, |entry| entry.position.to_string())))
}

async fn journal(
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RecordedFact>>, Problem> {
    let limit = query.limit()?;
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let facts = store.facts(tenant, query.position()?, limit + 1).await?;
    Ok(Json(Page::of(facts, limit, |fact| fact.position.to_string())))
}
