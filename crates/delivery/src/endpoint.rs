//! The web hook endpoints of a tenant: where, what, and with which secrets. They are settings, so
//! that whatever changes one may say so in the same commit.

use counterfoil_store::{Commit, Store, StoreError, Write};
use counterfoil_types::{Digest, Random, TenantId, Timestamp, timestamp::DAY_MICROS};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    guard::{Guard, GuardError},
    signature::{self, SecretError},
};

/// Front of the settings, and of the targets in the outbox.
pub const FRONT: &str = "webhook/";
/// How long the secret before a rotation goes on signing.
const OVERLAP: i64 = DAY_MICROS;
/// Most endpoints of a tenant.
const MOST: usize = 50;

/// What can be wrong with an endpoint.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// Its URL.
    #[error(transparent)]
    Url(#[from] GuardError),
    /// Its secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its id.
    #[error("an endpoint's id is 1 to 60 letters, digits, - and _, not {0:?}")]
    Id(String),
    /// There is one already.
    #[error("there is an endpoint {0} already; remove it, or choose another id")]
    Taken(String),
    /// There is none.
    #[error("there is no endpoint {0}; `counterfoil webhook list` shows those there are")]
    NotFound(String),
    /// Too many.
    #[error("a tenant has at most {MOST} endpoints; remove one")]
    Many,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A secret, and until when it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The secret.
    pub secret: String,
    /// Until when; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// Where to.
    pub url: String,
    /// What it hears of: kinds, or fronts of kinds ending in `*`; everything when empty.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// The newest first.
    pub secrets: Vec<Secret>,
    /// Whether it is sent to.
    pub enabled: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_because: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on failures count against it: when it was made, or switched on again.
    pub trusted_since: Timestamp,
}

impl Endpoint {
    /// How the outbox names it.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{FRONT}{}", self.id)
    }

    /// Whether it hears of a kind.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.kinds.is_empty()
            || self.kinds.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(front) => kind.starts_with(front),
                None => wanted == kind,
            })
    }

    /// The secrets that sign at a time.
    pub fn secrets_at(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        self.secrets
            .iter()
            .filter(move |secret| secret.until.is_none_or(|until| until > now))
            .map(|secret| secret.secret.as_str())
    }

    /// Gives it a new secret. The one before goes on signing beside it for a day.
    pub fn rotate(&mut self, random: &dyn Random, now: Timestamp) {
        self.secrets.retain(|secret| secret.until.is_none_or(|until| until > now));
        for secret in &mut self.secrets {
            secret.until.get_or_insert(now.plus_micros(OVERLAP));
        }
        self.secrets.insert(0, Secret { secret: signature::new_secret(random), until: None });
    }

    /// Switches it on. What failed before counts no more against it.
    pub fn switch_on(&mut self, now: Timestamp) {
        self.enabled = true;
        self.disabled_because = None;
        self.trusted_since = now;
    }

    /// The change that keeps it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self) -> Result<Write, StoreError> {
        let value = serde_json::to_string(self)
            .map_err(|error| StoreError::corrupt("setting", self.target(), error))?;
        Ok(Write::Set { key: self.target(), value: Some(value) })
    }
}

/// What a new endpoint is to be.
#[derive(Clone, Debug, Default)]
pub struct NewEndpoint {
    /// Its id; derived from the URL when absent.
    pub id: Option<String>,
    /// Where to.
    pub url: String,
    /// What it hears of.
    pub kinds: Vec<String>,
    /// Its secret; made when absent.
    pub secret: Option<String>,
}

/// All endpoints, in order of id.
///
/// # Errors
/// As the store has them.
pub async fn list(store: &dyn Store, tenant: &TenantId) -> Result<Vec<Endpoint>, StoreError> {
    let settings = store.settings(tenant, FRONT).await?;
    settings
        .iter()
        .map(|(key, value)| {
            serde_json::from_str(value).map_err(|error| StoreError::corrupt("setting", key, error))
        })
        .collect()
}

/// The endpoint that a target of the outbox names.
///
/// # Errors
/// As the store has them.
pub async fn find(
    store: &dyn Store,
    tenant: &TenantId,
    target: &str,
) -> Result<Option<Endpoint>, StoreError> {
    Ok(list(store, tenant).await?.into_iter().find(|endpoint| endpoint.target() == target))
}

/// The endpoint with this id.
///
/// # Errors
/// [`EndpointError::NotFound`].
pub async fn named(
    store: &dyn Store,
    tenant: &TenantId,
    id: &str,
) -> Result<Endpoint, EndpointError> {
    find(store, tenant, &format!("{FRONT}{id}"))
        .await?
        .ok_or_else(|| EndpointError::NotFound(id.to_owned()))
}

/// Makes an endpoint. Its secret is in what comes back, to be shown once.
///
/// # Errors
/// When something is wrong with it.
pub async fn add(
    store: &dyn Store,
    tenant: &TenantId,
    guard: &Guard,
    new: NewEndpoint,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Endpoint, EndpointError> {
    let there = list(store, tenant).await?;
    let endpoint = made(&there, guard, new, random, now)?;
    store.commit(tenant, &Commit::of(endpoint.kept()?)).await?;
    Ok(endpoint)
}

/// A new endpoint beside those that are `there`, not kept yet.
///
/// # Errors
/// When something is wrong with it.
pub fn made(
    there: &[Endpoint],
    guard: &Guard,
    new: NewEndpoint,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Endpoint, EndpointError> {
    guard.check(&new.url)?;
    let derived = || Digest::of(new.url.as_bytes()).to_string().chars().take(12).collect();
    let id = new.id.clone().unwrap_or_else(derived);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 60 || !id.chars().all(plain) {
        return Err(EndpointError::Id(id));
    }
    let secret = match new.secret {
        Some(secret) => signature::key_of(&secret).map(|_| secret)?,
        None => signature::new_secret(random),
    };
    if there.iter().any(|endpoint| endpoint.id == id) {
        return Err(EndpointError::Taken(id));
    }
    if there.len() >= MOST {
        return Err(EndpointError::Many);
    }
    Ok(Endpoint {
        id,
        url: new.url,
        kinds: new.kinds,
        secrets: vec![Secret { secret, until: None }],
        enabled: true,
        disabled_because: None,
        created_at: now,
        trusted_since: now,
    })
}

/// Gives an endpoint a new secret. The one before goes on signing beside it for a day.
///
/// # Errors
/// When there is no such endpoint.
pub async fn rotate(
    store: &dyn Store,
    tenant: &TenantId,
    id: &str,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Endpoint, EndpointError> {
    let mut endpoint = named(store, tenant, id).await?;
    endpoint.rotate(random, now);
    store.commit(tenant, &Commit::of(endpoint.kept()?)).await?;
    Ok(endpoint)
}

/// Switches an endpoint on. What failed before counts no more against it.
///
/// # Errors
/// When there is no such endpoint.
pub async fn enable(
    store: &dyn Store,
    tenant: &TenantId,
    id: &str,
    now: Timestamp,
) -> Result<Endpoint, EndpointError> {
    let mut endpoint = named(store, tenant, id).await?;
    endpoint.switch_on(now);
    store.commit(tenant, &Commit::of(endpoint.kept()?)).await?;
    Ok(endpoint)
}

/// Removes an endpoint; what was on its way to it is parked.
///
/// # Errors
/// When there is no such endpoint.
pub async fn remove(
    store: &dyn Store,
    tenant: &TenantId,
    id: &str,
    now: Timestamp,
) -> Result<(), EndpointError> {
    let endpoint = named(store, tenant, id).await?;
    let write = Write::Set { key: endpoint.target(), value: None };
    store.commit(tenant, &Commit::of(write)).await?;
    store.park_target(tenant, &endpoint.target(), "the endpoint was removed", now).await?;
    Ok(())
}
