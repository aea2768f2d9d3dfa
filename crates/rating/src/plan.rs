//! Plans: the charges a subscription pays, and the rhythm it pays them in.

use counterfoil_types::{Interval, IntervalUnit, PlanKey, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    charge::Charge,
    model::Model,
    spec::{ChargeSpec, SpecError},
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
}

/// What happens to events that arrive after their period was invoiced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// The next invoice carries a delta line for the original period.
    #[default]
    NextInvoice,
    /// They are reported, never billed.
    ReportOnly,
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
    /// What happens to late events; `next_invoice` when absent.
    #[serde(default)]
    pub late_events: LatePolicy,
    /// Least the plan's charges come to per period, together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Quantity>,
    /// The charges, in the order they stand on the invoice.
    #[serde(default, rename = "charge")]
    pub charges: Vec<ChargeSpec>,
}

/// A checked plan.
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
    /// What happens to late events.
    pub late_events: LatePolicy,
    /// Least per period.
    pub minimum: Option<Quantity>,
    /// The charges.
    pub charges: Vec<Charge>,
}

impl TryFrom<&PlanSpec> for Plan {
    type Error = SpecError;

    fn try_from(spec: &PlanSpec) -> Result<Self, SpecError> {
        let count = spec.interval_count.unwrap_or(1);
        if count == 0 || count > 1200 {
            return Err(SpecError::new("interval_count", "must lie between 1 and 1200"));
        }
        if spec.charges.is_empty() {
            return Err(SpecError::new("charge", "a plan needs at least one [[plan.charge]]"));
        }
        let mut charges: Vec<Charge> = Vec::with_capacity(spec.charges.len());
        for (at, charge) in spec.charges.iter().enumerate() {
            let path = format!("charge[{at}]");
            let charge = Charge::try_from(charge).map_err(|error| error.under(&path))?;
            if charges.iter().any(|other| other.key == charge.key) {
                return Err(SpecError::new(
                    format!("{path}.key"),
                    format!("{:?} stands twice in this plan", charge.key),
                ));
            }
            charges.push(charge);
        }
        if let Some(minimum) = spec.minimum {
            crate::charge::not_negative("minimum", minimum)?;
        }
        Ok(Self {
            key: spec.key.clone(),
            name: spec.name.clone().unwrap_or_else(|| spec.key.to_string()),
            interval: Interval { unit: spec.interval, count },
            alignment: spec.alignment,
            late_events: spec.late_events,
            minimum: spec.minimum,
            charges,
        })
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
}
