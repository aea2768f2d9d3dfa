//! What a sender is: one attempt in, one verdict out. The relay knows nothing of HTTP or SMTP.

use std::time::Duration;

use async_trait::async_trait;
use counterfoil_store::Effect;
use counterfoil_types::{TenantId, Timestamp, derive_uuid};

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Whose effect it is.
    pub tenant: TenantId,
    /// Where to, as the outbox names it.
    pub target: String,
    /// The effect.
    pub effect: Effect,
    /// When this attempt is made.
    pub now: Timestamp,
}

impl Parcel {
    /// The id that the receiver sees: the same at every attempt and for every target.
    #[must_use]
    pub fn id(&self) -> String {
        format!("evt_{}", derive_uuid("effect", &[self.tenant.as_str(), &self.effect.key]).simple())
    }
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Delivered,
    /// There is nobody to tell.
    Skipped(String),
    /// Nothing arrived; it may go better later.
    Refused(String),
    /// Nothing arrived, and trying again is useless.
    Never(String),
    /// The endpoint does not want anything any more.
    Gone(String),
    /// It may have arrived.
    Unknown(String),
}

/// A verdict with what the other side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What it came to.
    pub verdict: Verdict,
    /// HTTP status or SMTP code.
    pub code: Option<u16>,
    /// How long the other side wants to be left alone.
    pub after: Option<Duration>,
}

impl Sent {
    /// Without an answer.
    #[must_use]
    pub fn of(verdict: Verdict) -> Self {
        Self { verdict, code: None, after: None }
    }

    /// With the code of the answer.
    #[must_use]
    pub fn with(verdict: Verdict, code: u16) -> Self {
        Self { verdict, code: Some(code), after: None }
    }
}

/// Sends. It must come back in bounded time whatever the other side does.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Makes one attempt.
    async fn send(&self, parcel: &Parcel) -> Sent;

    /// Whether effects of this kind go to it, where it is a target of its own
    /// ([`crate::Relay::and_to`]).
    fn wants(&self, _kind: &str) -> bool {
        false
    }
}
