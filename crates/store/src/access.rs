//! The access port: API keys, claims of requests, and the audit log.
//!
//! A *claim* makes a request take effect once: it is written in the transaction of the effect, with
//! a fingerprint of what was asked. Asked again with the same key, the kept answer is given; with
//! another fingerprint, the key is refused.

use async_trait::async_trait;
use counterfoil_types::{CustomerId, Digest, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A key that lets somebody ask. Of the secret only a digest is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, unique in the tenant.
    pub id: String,
    /// The readable front of the secret, unique in the store.
    pub prefix: String,
    /// SHA-256 of the secret.
    pub digest: Digest,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The one customer it may see; all of them when absent.
    pub customer: Option<CustomerId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// When it was last seen, to the minute or so.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is accepted at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none_or(|at| at > now) && self.expires_at.is_none_or(|at| at > now)
    }
}

/// A request that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key the caller gave.
    pub key: String,
    /// SHA-256 over what was asked.
    pub fingerprint: Digest,
    /// When.
    pub at: Timestamp,
    /// Status and body of the answer, once it is known.
    pub answer: Option<(u16, String)>,
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: `key:<id>`, `cli`, `job:<name>` …
    pub actor: String,
    /// What was done, for example `invoices.void`.
    pub operation: String,
    /// To what.
    pub subject: String,
    /// Id of the request, to find it in logs.
    pub request: String,
}

/// An audit entry with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RecordedAudit {
    /// Position, from 1 without gaps per tenant.
    pub position: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Reading keys, claims and the audit log.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// The key with this prefix and its tenant: the one read that finds out whose a request is.
    async fn key_with_prefix(&self, prefix: &str)
    -> Result<Option<(TenantId, ApiKey)>, StoreError>;

    /// Keys in order of id after `after`, at most `limit`; those whose prefix begins with
    /// `prefix` only.
    async fn api_keys(
        &self,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, StoreError>;

    /// The claim with this key.
    async fn claim(&self, tenant: &TenantId, key: &str) -> Result<Option<Claim>, StoreError>;

    /// Audit entries after a position, at most `limit`.
    async fn audit(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedAudit>, StoreError>;
}
