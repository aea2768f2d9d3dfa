//! The file format of a price book.

use std::collections::BTreeMap;

use counterfoil_metering::MeterSpec;
use counterfoil_rating::PlanSpec;
use counterfoil_types::{Currency, MeterKey, PlanKey, Quantity, Rounding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name, version and what holds for the whole book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BookHeader {
    /// Name of the book: letters, digits, `_`, `-`, `.`.
    pub name: String,
    /// Version, unique within the name. A published version never changes.
    pub version: String,
    /// Currency of all prices (ISO 4217).
    pub currency: Currency,
    /// First local day on which a billing period may start under this version, `YYYY-MM-DD`.
    pub effective_from: String,
    /// How a line is rounded to the currency's minor unit; half away from zero when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// What the book is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A custom unit that prices may be stated in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    /// Name of the unit, as `priced_in` says it.
    pub key: String,
    /// Shown to people; the key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What one costs in the book's currency.
    pub price: Quantity,
}

/// Another currency that customers may be billed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurrencySpec {
    /// The currency (ISO 4217).
    pub code: Currency,
    /// What one of the book's currency is in this one; fixed for this version. Without it, every
    /// charge needs prices in this currency (`in`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Quantity>,
}

/// Usage with certain property values, in an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExampleCell {
    /// The meter.
    pub meter: MeterKey,
    /// The property values.
    pub when: BTreeMap<String, String>,
    /// Units used with them.
    pub units: Quantity,
}

/// A worked example: usage in, amounts out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExampleSpec {
    /// What it shows.
    pub name: String,
    /// The plan.
    pub plan: PlanKey,
    /// Currency of the customer; the book's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Phase of the plan; the plain plan when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Part of a full period that is billed, a decimal or a fraction such as `17/31`; the whole
    /// when absent. Charges with `proration = "none"` or `recurrence = "once"` pay the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<String>,
    /// Charge = quantity held, for licensed charges.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quantities: BTreeMap<String, Quantity>,
    /// Meter = units in the period.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<MeterKey, Quantity>,
    /// Usage by property values, for matrix prices, or by `window`, for prices by time of day.
    #[serde(default, rename = "cell", skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<ExampleCell>,
    /// Meter = single transactions, for percentage prices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub transactions: BTreeMap<MeterKey, Vec<Quantity>>,
    /// Charge = expected amount. Charges not named must come to nothing.
    pub lines: BTreeMap<String, Quantity>,
    /// Expected sum of all lines.
    pub total: Quantity,
}

/// A price book as its file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Counterfoil price book")]
pub struct BookSpec {
    /// Name, version, currency.
    pub book: BookHeader,
    /// What is measured.
    #[serde(default, rename = "meter", skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<MeterSpec>,
    /// Custom units that prices may be stated in.
    #[serde(default, rename = "unit", skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitSpec>,
    /// Other currencies that customers may be billed in.
    #[serde(default, rename = "currency", skip_serializing_if = "Vec::is_empty")]
    pub currencies: Vec<CurrencySpec>,
    /// What it costs.
    #[serde(default, rename = "plan")]
    pub plans: Vec<PlanSpec>,
    /// Worked examples, run by `counterfoil pricing check`.
    #[serde(default, rename = "example", skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<ExampleSpec>,
}
