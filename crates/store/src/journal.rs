//! The journal port: billing facts, append-only.

use async_trait::async_trait;
use counterfoil_types::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A billing fact: something that happened and is never undone, only followed by another fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fact {
    /// What happened, for example `subscription.started`.
    pub kind: String,
    /// Makes the fact unique: recording it twice records it once.
    pub key: String,
    /// When.
    pub at: Timestamp,
    /// What it says, as JSON.
    pub body: serde_json::Value,
}

/// A fact with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RecordedFact {
    /// Position, from 1 without gaps per tenant.
    pub position: u64,
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Reading the journal.
#[async_trait]
pub trait JournalStore: Send + Sync {
    /// Facts after a position, at most `limit`.
    async fn facts(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedFact>, StoreError>;
}
