//! The sender: gives each effect of the outbox to whom it concerns.
//!
//! An effect's id is its idempotency key at Stripe, made before the first try. Stripe keeps keys for
//! at least a day; after [`TRUSTED`] it is looked up first whether an earlier try arrived, and what
//! is sent then goes under a key of its own.

use std::sync::Arc;

use async_trait::async_trait;
use counterfoil_delivery::{Parcel, Sender, Sent, Verdict};
use counterfoil_store::{
    Store,
    stripe::{self, Link, Mode, UsagePush},
};
use counterfoil_types::{TenantId, timestamp::HOUR_MICROS};

use crate::client::{Client, Failure};

/// How long an idempotency key is relied on, in microseconds: 20 hours.
pub const TRUSTED: i64 = 20 * HOUR_MICROS;

/// Sends to Stripe.
pub struct StripeSender {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) client: Arc<Client>,
}

/// How old an effect is, and what that means for its key.
#[derive(Clone, Debug)]
pub(crate) struct Age {
    /// Whether an earlier try must be looked up.
    pub(crate) old: bool,
    suffix: String,
}

impl Age {
    pub(crate) fn of(parcel: &Parcel) -> Self {
        let waited = parcel.now.micros().saturating_sub(parcel.effect.at.micros());
        let old = waited >= TRUSTED;
        // Within a day of a key the same one, so that two tries of it stay one.
        let suffix = if old { format!("-{}", waited / TRUSTED) } else { String::new() };
        Self { old, suffix }
    }

    pub(crate) fn key(&self, id: &str) -> String {
        format!("{id}{}", self.suffix)
    }
}

impl StripeSender {
    /// A sender over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, client: Arc<Client>) -> Self {
        Self { store, client }
    }

    async fn link(&self, tenant: &TenantId) -> Result<Option<Link>, Failure> {
        Ok(stripe::link(self.store.as_ref(), tenant).await?)
    }

    async fn give(&self, parcel: &Parcel) -> Result<Sent, Failure> {
        let Some(link) = self.link(&parcel.tenant).await? else {
            return Ok(skipped("the tenant has no link to Stripe"));
        };
        let age = Age::of(parcel);
        if parcel.effect.kind == stripe::USAGE {
            let push: UsagePush = serde_json::from_value(parcel.effect.body.clone())
                .map_err(|error| Failure::never(format!("the effect is damaged: {error}")))?;
            return self.send_usage(&parcel.tenant, &push, &age).await;
        }
        if link.mode != Mode::Invoices {
            return Ok(skipped("invoices are not sent to Stripe in this mode"));
        }
        match parcel.effect.kind.as_str() {
            "invoice.issued" => self.send_invoice(parcel, &link, &age).await,
            "invoice.voided" => self.void_invoice(parcel, &age).await,
            "payment.recorded" => self.settle_elsewhere(parcel, &age).await,
            "credit_note.issued" => self.send_credit_note(parcel, &age).await,
            _ => Ok(skipped("it does not concern Stripe")),
        }
    }
}

pub(crate) fn skipped(why: &str) -> Sent {
    Sent::of(Verdict::Skipped(why.to_owned()))
}

#[async_trait]
impl Sender for StripeSender {
    async fn send(&self, parcel: &Parcel) -> Sent {
        self.give(parcel).await.unwrap_or_else(Sent::from)
    }

    fn wants(&self, kind: &str) -> bool {
        matches!(
            kind,
            stripe::USAGE
                | "invoice.issued"
                | "invoice.voided"
                | "payment.recorded"
                | "credit_note.issued"
        )
    }
}
