//! Plans: the charges a subscription pays, and the rhythm it pays them in.

use std::collections::BTreeMap;

use counterfoil_types::{Exact, Interval, IntervalUnit, PlanKey, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    charge::Charge,
    commitment::Commitment,
    discount::Discount,
    model::Model,
    phase::{Phase, PhaseSpec},
    quota::{Entitlement, QuotaSpec, RateLimitSpec},
    resolve::Terms,
    spec::{ChargeSpec, DiscountSpec, Patch, SpecError},
};

/// Where periods start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alignment {
    /// On the calendar: the 1st, Monday, January. A subscription starting between has a short
    /// first period.
    #[default]
    Calendar,
    /// On the day the subscription started.
    Anniversary,
    /// On the plan's `billing_day` of the month, clamped to the month's end.
    BillingDay,
}

/// What becomes of the time between the start of a subscription and the first boundary of its
/// grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstPeriod {
    /// A short period of its own.
    #[default]
    Short,
    /// Part of the first full period, which is longer for it.
    Long,
    /// A short period of its own that is not billed.
    Free,
}

/// What happens to events that arrive after their period was invoiced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// The next invoice carries a delta line for the original period.
    #[default]
    NextInvoice,
    /// What got cheaper is given back by a credit note on the original invoice; what got dearer
    /// stands on the next invoice.
    CreditNote,
    /// They are reported, never billed.
    ReportOnly,
}

/// A commitment over a term of several periods, as the file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitmentSpec {
    /// What the customer commits to spend per term.
    pub amount: Quantity,
    /// Unit of the term.
    pub interval: IntervalUnit,
    /// How many units a term has; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_count: Option<u32>,
    /// Factor on the price of what goes beyond the commitment; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overage_factor: Option<Quantity>,
}

/// A checked commitment over a term; its shortfall is billed at the end of each term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermCommitment {
    /// What is committed per term, in the currency the plan was resolved for.
    pub amount: Quantity,
    /// The term, a whole multiple of the plan's interval.
    pub interval: Interval,
    /// Factor on the price of what goes beyond the commitment.
    pub overage_factor: Quantity,
}

impl TermCommitment {
    /// The commitment for the part `fraction` of a term, ready to be settled.
    #[must_use]
    pub fn for_part(&self, fraction: &Exact) -> Commitment {
        Commitment {
            amount: self.amount.exact().mul(fraction),
            overage_factor: self.overage_factor.exact(),
            true_up: true,
        }
    }
}

/// A plan as the file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanSpec {
    /// Name of the plan within its book.
    pub key: PlanKey,
    /// Shown on invoices; the key when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Unit of the billing period.
    pub interval: IntervalUnit,
    /// How many units a period has; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_count: Option<u32>,
    /// Where periods start; `calendar` when absent.
    #[serde(default)]
    pub alignment: Alignment,
    /// Day of the month periods start on, 1 to 31, with `alignment = "billing_day"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_day: Option<i8>,
    /// What becomes of the time before the first full period; `short` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_period: Option<FirstPeriod>,
    /// What happens to late events; `next_invoice` when absent.
    #[serde(default)]
    pub late_events: LatePolicy,
    /// Least the plan's charges come to per period, together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Quantity>,
    /// Most the plan's charges come to per period, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Quantity>,
    /// Discounts on the invoice as a whole, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<DiscountSpec>,
    /// What the customer commits to spend over a term, with a true-up at the end of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<CommitmentSpec>,
    /// Amount of unbilled usage that is invoiced before the period ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill_at: Option<Quantity>,
    /// Currency = plan keys that replace the plan's own for customers in that currency, amounts
    /// being stated in it.
    #[serde(default, rename = "in", skip_serializing_if = "BTreeMap::is_empty")]
    pub in_currency: BTreeMap<String, Patch>,
    /// What is different at first: trials, discounts, ramps; in order, from the first day.
    #[serde(default, rename = "phase", skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseSpec>,
    /// How much of a meter a customer may use.
    #[serde(default, rename = "quota", skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<QuotaSpec>,
    /// How fast a customer may call.
    #[serde(default, rename = "rate_limit", skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimitSpec>,
    /// What else the plan gives: switches, numbers and texts for the product to read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub entitlements: BTreeMap<String, Entitlement>,
    /// The charges, in the order they stand on the invoice.
    #[serde(default, rename = "charge")]
    pub charges: Vec<ChargeSpec>,
}

/// A checked plan, resolved for a currency, a phase and a customer ([`PlanSpec::resolve`]). Its
/// amounts are in the currency it was resolved for; those of a charge are so after its `factor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the plan within its book.
    pub key: PlanKey,
    /// Shown on invoices.
    pub name: String,
    /// The billing period.
    pub interval: Interval,
    /// Where periods start.
    pub alignment: Alignment,
    /// Day of the month periods start on; present with [`Alignment::BillingDay`] only.
    pub billing_day: Option<i8>,
    /// What becomes of the time before the first full period.
    pub first_period: FirstPeriod,
    /// What happens to late events.
    pub late_events: LatePolicy,
    /// Least per period.
    pub minimum: Option<Quantity>,
    /// Most per period.
    pub maximum: Option<Quantity>,
    /// Discounts on the invoice, in order.
    pub discounts: Vec<Discount>,
    /// Commitment over a term.
    pub commitment: Option<TermCommitment>,
    /// Unbilled amount that is invoiced at once.
    pub bill_at: Option<Quantity>,
    /// All phases, in order; see [`Plan::phase_periods`] for when each runs.
    pub phases: Vec<Phase>,
    /// The phase this plan was resolved for; `None` for the plain plan.
    pub phase: Option<String>,
    /// How much of a meter a customer may use.
    pub quotas: Vec<QuotaSpec>,
    /// How fast a customer may call.
    pub rate_limits: Vec<RateLimitSpec>,
    /// What else the plan gives.
    pub entitlements: BTreeMap<String, Entitlement>,
    /// The charges.
    pub charges: Vec<Charge>,
}

impl TryFrom<&PlanSpec> for Plan {
    type Error = SpecError;

    /// The plain plan in the book's own currency.
    fn try_from(spec: &PlanSpec) -> Result<Self, SpecError> {
        spec.resolve(&Terms::default())
    }
}

impl Plan {
    /// Whether some charge of this plan needs usage by property.
    #[must_use]
    pub fn matrix_dimensions(&self, charge: &Charge) -> Vec<String> {
        match &charge.model {
            Model::Matrix(matrix) => matrix.dimensions(),
            _ => Vec::new(),
        }
    }

    /// Whether nothing is charged in the phase this plan was resolved for.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.phases.iter().any(|phase| phase.trial && Some(&phase.key) == self.phase.as_ref())
    }
}
