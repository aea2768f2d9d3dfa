//! Subscriptions: a customer on a plan of a price book, from a local day on.

use counterfoil_types::{CustomerId, PlanKey, SubscriptionId};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A customer on a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Name given by the tenant.
    pub id: SubscriptionId,
    /// Who pays.
    pub customer: CustomerId,
    /// Name of the price book; each period uses the version in force on its first local day.
    pub book: String,
    /// The plan within it.
    pub plan: PlanKey,
    /// First local day.
    pub start: Date,
    /// First local day it no longer covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Date>,
}

impl Subscription {
    /// Whether the two cover a common local day.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.end.is_none_or(|end| other.start < end) && other.end.is_none_or(|end| self.start < end)
    }
}
