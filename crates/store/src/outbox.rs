//! The outbox port: effects that somebody outside is to be told, and their deliveries.
//!
//! An *effect* is written in the transaction that caused it ([`crate::Write::Queue`]). A relay
//! *spreads* it: one *delivery* for each target that is to hear of it (`mail`, `webhook/<id>`).
//! Relays claim deliveries that are due, send, and record each attempt.
//!
//! A claim ends by its time, and has a token that grows with each claim of the delivery. What a
//! relay records under an older token is refused: one that slept past its claim changes nothing,
//! it may only have sent twice. So a delivery happens at least once, whoever dies, and the receiver
//! knows it again by its key.
//!
//! Deliveries of one aggregate (say, of one invoice) to one target go out in the order in which
//! their effects came to be; one that is parked is not waited for.

use async_trait::async_trait;
use counterfoil_types::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Something that somebody outside is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Effect {
    /// Its place in the outbox; grows along any chain of cause and effect.
    pub position: u64,
    /// Its key: an effect is queued once.
    pub key: String,
    /// What is told, for example `invoice.issued`.
    pub kind: String,
    /// What it says.
    pub body: serde_json::Value,
    /// When it was caused.
    pub at: Timestamp,
}

/// To whom an effect goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Key of the effect.
    pub key: String,
    /// What keeps its order with others, for example an invoice; empty for no order.
    pub aggregate: String,
    /// The targets; none where nobody is to hear of it.
    pub targets: Vec<String>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent when its time comes.
    Due,
    /// Taken by its target.
    Done,
    /// Given up until somebody looks.
    Parked,
}

impl DeliveryState {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Done => "done",
            Self::Parked => "parked",
        }
    }

    /// Read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Due, Self::Done, Self::Parked].into_iter().find(|state| state.as_str() == text)
    }
}

/// One effect on its way to one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Delivery {
    /// Where to.
    pub target: String,
    /// What.
    pub effect: Effect,
    /// How it stands.
    pub state: DeliveryState,
    /// When it is sent next, or was decided.
    pub due_at: Timestamp,
    /// How often it was claimed since it was made or released.
    pub tries: u32,
    /// Token of its last claim.
    pub token: u64,
    /// Why it is parked.
    pub reason: Option<String>,
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The target took it.
    Delivered,
    /// There is nobody to tell: nothing was sent.
    Skipped,
    /// The target said no, or was not reached: nothing arrived.
    Refused,
    /// It may have arrived; it is sent again under the same id.
    Unknown,
}

impl AttemptOutcome {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Delivered, Self::Skipped, Self::Refused, Self::Unknown]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Attempt {
    /// Where to.
    pub target: String,
    /// Key of the effect.
    pub key: String,
    /// Token of the claim it was made under; a gap before it is a relay that died.
    pub token: u64,
    /// When it began.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// HTTP status or SMTP code, where there was an answer.
    pub code: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more.
    Done,
    /// It is sent again.
    RetryAt(Timestamp),
    /// It is given up until somebody looks.
    Park(String),
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// In this state only.
    pub state: Option<DeliveryState>,
    /// To this target only.
    pub target: Option<String>,
    /// Of effects of this kind only.
    pub kind: Option<String>,
    /// Of this effect only.
    pub key: Option<String>,
}

/// Spreading effects, claiming deliveries, recording attempts.
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Effects that were not spread yet in order of position, at most `limit`.
    async fn unspread(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Effect>, StoreError>;

    /// Makes the deliveries of effects, together. One that was spread already stays as it is.
    async fn spread(
        &self,
        tenant: &TenantId,
        routes: &[Route],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Claims deliveries of a target that are due, the longest due first, at most `limit`, for
    /// `ttl_micros` from `now` on. Nobody else gets them before that; of one aggregate only the
    /// first that is neither done nor parked.
    async fn claim_due(
        &self,
        tenant: &TenantId,
        target: &str,
        holder: &str,
        now: Timestamp,
        ttl_micros: i64,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Records attempts and what becomes of their deliveries, together. Says for each whether it
    /// is recorded: not if its delivery was claimed by somebody else since. Recording it again
    /// changes nothing.
    async fn record_attempts(
        &self,
        tenant: &TenantId,
        attempts: &[(Attempt, Next)],
    ) -> Result<Vec<bool>, StoreError>;

    /// Makes deliveries of effects to a target due at `now`, whether they are parked, done or were
    /// never made; their tries count anew. Those on their way stay. Says how many it changed.
    async fn deliver_again(
        &self,
        tenant: &TenantId,
        target: &str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Parks all deliveries of a target that nobody holds: the target is gone. Says how many.
    async fn park_target(
        &self,
        tenant: &TenantId,
        target: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Deliveries in order of (position, target) after a place, at most `limit`.
    async fn deliveries(
        &self,
        tenant: &TenantId,
        filter: &DeliveryFilter,
        after: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// All attempts for an effect, in order of time.
    async fn attempts(&self, tenant: &TenantId, key: &str) -> Result<Vec<Attempt>, StoreError>;

    /// Effects in order after a position, at most `limit`.
    async fn effects(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Effect>, StoreError>;

    /// When the first attempt failed since a target last took something; `None`: it works, or was
    /// never tried.
    async fn failing_since(
        &self,
        tenant: &TenantId,
        target: &str,
    ) -> Result<Option<Timestamp>, StoreError>;
}
