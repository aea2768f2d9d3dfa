//! The invoice run: plan → compute → review → approve → finalize → deliver, as data.

use std::collections::BTreeMap;

use counterfoil_types::{
    Currency, CustomerId, InvoiceId, Money, Quantity, RunId, SubscriptionId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::cycle::CycleNumber;

/// Where a run is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its items are being listed.
    Planning,
    /// Its drafts are being computed.
    Computing,
    /// All drafts are there; somebody must look at them.
    Review,
    /// Signed off; invoices are being finalized.
    Approved,
    /// All invoices are finalized.
    Finalized,
}

impl RunState {
    /// The name used in storage and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Computing => "computing",
            Self::Review => "review",
            Self::Approved => "approved",
            Self::Finalized => "finalized",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Planning, Self::Computing, Self::Review, Self::Approved, Self::Finalized]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Run {
    /// Id, derived from tenant, period and attempt.
    pub id: RunId,
    /// The month it is for, `YYYY-MM`.
    pub period: String,
    /// 1, or higher when the period was run before.
    pub attempt: u32,
    /// Where it is.
    pub state: RunState,
    /// When it was started.
    pub started_at: Timestamp,
    /// Who signed it off.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<Timestamp>,
    /// When the last invoice was finalized.
    pub finalized_at: Option<Timestamp>,
}

/// What became of one subscription's cycle in a run.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// Listed, not computed yet.
    Planned,
    /// A draft is there.
    Done,
    /// Nothing to bill; the reason says why.
    Skipped,
    /// It looks wrong; somebody must decide. Never billed as it is.
    Parked,
    /// It could not be computed; resuming tries again.
    Failed,
    /// Its invoice is finalized.
    Finalized,
}

impl ItemStatus {
    /// The name used in storage and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Parked => "parked",
            Self::Failed => "failed",
            Self::Finalized => "finalized",
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Planned, Self::Done, Self::Skipped, Self::Parked, Self::Failed, Self::Finalized]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// One subscription's cycle in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunItem {
    /// The run.
    pub run: RunId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its customer.
    pub customer: CustomerId,
    /// The cycle.
    pub cycle: CycleNumber,
    /// What became of it.
    pub status: ItemStatus,
    /// Why, for all but planned, done and finalized.
    pub reason: Option<String>,
    /// The invoice, once computed.
    pub invoice: Option<InvoiceId>,
    /// Its total.
    pub total: Option<Money>,
    /// Total of the same subscription's invoice one cycle earlier.
    pub before: Option<Money>,
}

/// Bounds outside which an invoice is parked instead of billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Bounds {
    /// Greatest total, in major units.
    pub max_total: Quantity,
    /// Greatest factor over the invoice one cycle earlier.
    pub max_growth: Quantity,
    /// Totals up to this are never parked for growth.
    pub growth_floor: Quantity,
}

impl Default for Bounds {
    /// A million in one invoice, or twenty times the last one above one thousand.
    fn default() -> Self {
        Self {
            max_total: Quantity::from(1_000_000),
            max_growth: Quantity::from(20),
            growth_floor: Quantity::from(1_000),
        }
    }
}

impl Bounds {
    /// Why an invoice with this total must be looked at, if it must.
    #[must_use]
    pub fn objection(&self, total: Money, before: Option<Money>) -> Option<String> {
        let amount = total.exact();
        if amount.is_negative() {
            return Some(format!("the total {total} is below zero: credits exceed charges"));
        }
        if amount > self.max_total.exact() {
            return Some(format!("the total {total} is above the bound of {}", self.max_total));
        }
        let before = before.filter(|before| before.exact().is_positive())?;
        let limit = before.exact().mul(&self.max_growth.exact());
        (amount > self.growth_floor.exact() && amount > limit).then(|| {
            format!(
                "the total {total} is more than {} times the last one ({before})",
                self.max_growth
            )
        })
    }
}

/// Totals of a run's items, by status and currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunTotals {
    /// Items by status.
    pub items: BTreeMap<String, u64>,
    /// Sum of totals of done and finalized items, by currency.
    pub totals: BTreeMap<String, Money>,
}

impl RunTotals {
    /// Counts one item.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn count(&mut self, item: &RunItem) -> Result<(), counterfoil_types::MoneyError> {
        *self.items.entry(item.status.as_str().to_owned()).or_default() += 1;
        if let (ItemStatus::Done | ItemStatus::Finalized, Some(total)) = (item.status, item.total) {
            let currency: Currency = total.currency();
            let sum =
                self.totals.entry(currency.code().to_owned()).or_insert(Money::zero(currency));
            *sum = sum.checked_add(total)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_types::Exact;

    fn dollars(text: &str) -> Money {
        Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
    }

    #[test]
    fn wrong_looking_totals_are_objected_to() {
        let bounds = Bounds::default();
        assert!(bounds.objection(dollars("-0.01"), None).is_some());
        assert!(bounds.objection(dollars("1000000.01"), None).is_some());
        assert!(bounds.objection(dollars("1000000"), None).is_none());
        assert!(bounds.objection(dollars("2001"), Some(dollars("100"))).is_some());
        assert!(bounds.objection(dollars("2000"), Some(dollars("100"))).is_none());
        assert!(
            bounds.objection(dollars("900"), Some(dollars("1"))).is_none(),
            "small sums may grow"
        );
    }
}
