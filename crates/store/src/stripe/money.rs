//! What Stripe says about money: what it collected, and what it gave back. What cannot be booked yet
//! is parked as a setting, so that nothing is lost.
//!
//! | setting | what |
//! |---|---|
//! | `stripe/paid-by/<charge or payment intent>` | the invoice it paid: ours, or Stripe's id of it |
//! | `stripe/paid-by/<invoice at Stripe>` | ours; there once its payment was heard of |
//! | `stripe/collected/<invoice at Stripe>/<payment>` | an amount that Stripe collected itself |
//! | `stripe/refund-failed/<refund>` | a refund that came back |
//! | `stripe/doubtful/<invoice at Stripe>` | [`PaidThere`] of which not all is shown to be collected |
//! | `stripe/parked/<refund or dispute>` | [`Back`] that cannot be booked yet |

use counterfoil_types::{InvoiceId, Money, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{kept, read, setting};
use crate::{Store, StoreError, Write};

/// Front of the ids of payments, refunds and credit notes that Stripe told of.
pub const FRONT: &str = "stripe/";
/// Front of the settings that say which invoice was paid.
pub const PAID_BY: &str = "stripe/paid-by/";
/// Front of the settings with what Stripe collected itself.
pub const COLLECTED: &str = "stripe/collected/";
/// Front of the settings that name refunds that came back.
pub const FAILED: &str = "stripe/refund-failed/";
/// Front of the settings with payments that may have come in elsewhere.
pub const DOUBTFUL: &str = "stripe/doubtful/";
/// Front of the settings with what went back and cannot be booked yet.
pub const PARKED: &str = "stripe/parked/";

/// An invoice that is paid at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidThere {
    /// Ours.
    pub invoice: InvoiceId,
    /// Its id there.
    pub theirs: String,
    /// What was paid, however.
    pub claimed: Money,
    /// What of it Stripe collected itself, where the message says so.
    pub collected: Option<Money>,
    /// When.
    pub at: Timestamp,
    /// Charges and payment intents.
    pub charges: Vec<String>,
}

/// Money that went back to who paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// Id of the refund or dispute at Stripe.
    pub id: String,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: Timestamp,
    /// Charge, payment intent and, in old messages, the invoice at Stripe that it goes back to.
    pub charges: Vec<String>,
    /// Why, in words.
    pub reason: String,
}

impl PaidThere {
    /// The change that keeps it until something shows who collected the rest.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self) -> Result<Write, StoreError> {
        kept(format!("{DOUBTFUL}{}", self.theirs), self)
    }
}

impl Back {
    /// The change that parks it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self) -> Result<Write, StoreError> {
        kept(format!("{PARKED}{}", self.id), self)
    }
}

/// All that went back and is parked.
///
/// # Errors
/// As the store has them.
pub async fn parked(store: &dyn Store, tenant: &TenantId) -> Result<Vec<Back>, StoreError> {
    let found = store.settings(tenant, PARKED).await?;
    found.into_iter().map(|(key, text)| read(&key, &text)).collect()
}

/// An invoice at Stripe of which more was paid than is open, and nothing shows that Stripe collected
/// it.
///
/// # Errors
/// As the store has them.
pub async fn doubtful(
    store: &dyn Store,
    tenant: &TenantId,
    theirs: &str,
) -> Result<Option<PaidThere>, StoreError> {
    let key = format!("{DOUBTFUL}{theirs}");
    setting(store, tenant, &key).await?.map(|text| read(&key, &text)).transpose()
}

/// The change that keeps an amount that Stripe collected itself.
///
/// # Errors
/// Never in practice: it is plain data.
pub fn collected(theirs: &str, payment: &str, amount: Money) -> Result<Write, StoreError> {
    kept(format!("{COLLECTED}{theirs}/{payment}"), &amount)
}

/// Amounts of an invoice that Stripe is known to have collected itself.
///
/// # Errors
/// As the store has them.
pub async fn proven(
    store: &dyn Store,
    tenant: &TenantId,
    theirs: &str,
) -> Result<Vec<Money>, StoreError> {
    let found = store.settings(tenant, &format!("{COLLECTED}{theirs}/")).await?;
    found.into_iter().map(|(key, text)| read(&key, &text)).collect()
}

/// Our invoice that was paid by one of these charges.
///
/// # Errors
/// As the store has them.
pub async fn paid_by(
    store: &dyn Store,
    tenant: &TenantId,
    charges: &[String],
) -> Result<Option<InvoiceId>, StoreError> {
    for charge in charges {
        let Some(found) = setting(store, tenant, &format!("{PAID_BY}{charge}")).await? else {
            continue;
        };
        if let Ok(invoice) = found.parse() {
            return Ok(Some(invoice));
        }
        // Stripe's id of it.
        let ours = setting(store, tenant, &format!("{PAID_BY}{found}")).await?;
        if let Some(invoice) = ours.and_then(|id| id.parse().ok()) {
            return Ok(Some(invoice));
        }
    }
    Ok(None)
}
