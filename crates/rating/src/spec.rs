//! A charge as a price book's file states it. One flat table per charge, so that a person can
//! write it; [`crate::Charge`] is the checked form that is rated.

use std::collections::BTreeMap;

use counterfoil_types::{IntervalUnit, MeterKey, Quantity, Rounding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{model::time_of_day::WindowSpec, proration::ProrationBasis, tier::TierSpec};

/// Keys of a specification with the values they get instead; null removes a key.
pub type Patch = serde_json::Map<String, serde_json::Value>;

/// A mistake in a specification, with the key it stands at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {message}")]
pub struct SpecError {
    /// Dotted path of the key, relative to the checked table, for example `tiers[1].up_to`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl SpecError {
    /// A mistake at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same mistake seen from one table further out.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        let path = if self.path.is_empty() {
            prefix.to_owned()
        } else {
            format!("{prefix}.{}", self.path)
        };
        Self { path, ..self }
    }
}

/// How a charge turns units into money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Each unit costs `unit_price`.
    PerUnit,
    /// Units are priced by the tier they fall in.
    Graduated,
    /// All units are priced by the tier the total falls in.
    Volume,
    /// Started packages of `package_size` units cost `package_price` each.
    Package,
    /// The `flat_fee` of the tier the total falls in, nothing per unit.
    StairStep,
    /// A fixed `amount`, independent of usage.
    Flat,
    /// `rate` percent of the metered amount, plus `fixed_fee` per transaction.
    Percentage,
    /// Percent by tier of the metered amount.
    GraduatedPercentage,
    /// Price by property values: the first of `rates` whose `when` fits, else `default_unit_price`.
    Matrix,
    /// The events carry their price; the metered sum times `unit_price` (default 1).
    Dynamic,
    /// `amount` for a block of `capacity` units, then `unit_price` for each unit above.
    Capacity,
    /// Tiers stated as widths: `max_blocks` blocks of `block_size` units at `block_price`.
    TieredBlock,
    /// Price by the local time of day and week: one of `windows`, else `default_unit_price`.
    TimeOfDay,
}

impl ModelKind {
    /// The name used in price books.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PerUnit => "per_unit",
            Self::Graduated => "graduated",
            Self::Volume => "volume",
            Self::Package => "package",
            Self::StairStep => "stair_step",
            Self::Flat => "flat",
            Self::Percentage => "percentage",
            Self::GraduatedPercentage => "graduated_percentage",
            Self::Matrix => "matrix",
            Self::Dynamic => "dynamic",
            Self::Capacity => "capacity",
            Self::TieredBlock => "tiered_block",
            Self::TimeOfDay => "time_of_day",
        }
    }
}

/// When a flat charge falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// At the start of the period it pays for.
    Advance,
    /// At the end of the period it pays for.
    Arrears,
}

/// How often a flat charge falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// Every period.
    Recurring,
    /// Once, with the subscription's first invoice that can carry it.
    Once,
}

/// What a started package costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartialPackage {
    /// The whole package.
    Up,
    /// Nothing.
    Down,
}

/// What usage below zero does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NegativeUsage {
    /// Its magnitude is priced and the line becomes a credit.
    Credit,
    /// It counts as zero.
    ClampToZero,
}

/// Which tiers a tiered-block charge prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockPolicy {
    /// Usage fills tier after tier.
    AllTiers,
    /// All usage is priced in the tier it ends in.
    TopTier,
}

/// Conversion of metered units to billed units, before tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversionSpec {
    /// Multiply the metered units by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiply: Option<Quantity>,
    /// Divide the metered units by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divide: Option<Quantity>,
    /// Round the result to this many decimals (may be negative) in the mode below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimals: Option<i32>,
    /// How to round; needs `decimals`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

/// One price of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateSpec {
    /// Property values this price is for; all must fit.
    pub when: BTreeMap<String, String>,
    /// Price of a unit.
    pub unit_price: Quantity,
}

/// A discount on one charge or invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscountSpec {
    /// Percent off what earlier discounts left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<Quantity>,
    /// A fixed amount off, never below zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Quantity>,
    /// Shown on the invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A charge of a plan. See [`ModelKind`] for the keys each model uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChargeSpec {
    /// Name of the charge within its plan; stable over versions.
    pub key: String,
    /// Shown on the invoice; the key when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The price model.
    pub model: ModelKind,
    /// The meter whose usage is priced. Needed by all models but `flat`, unless `licensed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterKey>,
    /// Whether units are the subscription's quantity (seats, licences) instead of usage. Such a
    /// charge is a fee: `billing`, `recurrence` and `proration` apply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub licensed: bool,
    /// Units that cost nothing, taken off the front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included: Option<Quantity>,
    /// Whether tier bounds count from the end of the included units instead of from zero.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tiers_start_after_included: bool,
    /// Whether the first tier's flat fee is due without any usage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub charge_first_tier_at_zero: bool,
    /// Whether included units, tier bounds and capacity (not prices) shrink with the part of the
    /// period that is billed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prorate_units: bool,
    /// Conversion to billed units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<ConversionSpec>,
    /// What usage below zero does; `credit` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_usage: Option<NegativeUsage>,
    /// Price of a unit, in major currency units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Quantity>,
    /// Tiers, from the lowest; the last has no `up_to`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierSpec>,
    /// Units in a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_size: Option<Quantity>,
    /// Price of a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_price: Option<Quantity>,
    /// What a started package costs; `up` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_package: Option<PartialPackage>,
    /// A fixed amount (flat, capacity).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Quantity>,
    /// Units in the prepaid block (capacity).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// Percent (percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Quantity>,
    /// Fee per transaction that is not free (percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_fee: Option<Quantity>,
    /// Transactions that cost nothing (percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_events: Option<u64>,
    /// Metered amount that costs nothing (percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_amount: Option<Quantity>,
    /// Least a charged transaction costs (percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_transaction_min: Option<Quantity>,
    /// Most a charged transaction costs (percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_transaction_max: Option<Quantity>,
    /// Prices by property values (matrix).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<RateSpec>,
    /// Windows of the local week with a price each (time_of_day).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowSpec>,
    /// Price of units no rate (matrix) or window (time_of_day) fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_unit_price: Option<Quantity>,
    /// Which tiers count (tiered_block); `all_tiers` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_policy: Option<BlockPolicy>,
    /// Least this charge comes to per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Quantity>,
    /// Most this charge comes to per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Quantity>,
    /// Discounts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<DiscountSpec>,
    /// Whether `minimum` and `maximum` look at the discounted amount instead of the full one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounds_after_discounts: bool,
    /// When a fee falls due; `advance` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<Timing>,
    /// How often a fee falls due; `recurring` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Recurrence>,
    /// Rhythm of a fee, a whole multiple of the plan's interval; the plan's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalUnit>,
    /// How many units the fee's interval has; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_count: Option<u32>,
    /// How a part of a period is priced; `second` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proration: Option<ProrationBasis>,
    /// Whether the charge is not taxed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tax_exempt: bool,
    /// The `[[unit]]` of the book that all amounts of this charge are stated in; money when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priced_in: Option<String>,
    /// Currency = keys that replace the charge's for customers in that currency. All amounts of
    /// the charge are stated in that currency then, and no rate applies.
    #[serde(default, rename = "in", skip_serializing_if = "BTreeMap::is_empty")]
    pub in_currency: BTreeMap<String, Patch>,
}
