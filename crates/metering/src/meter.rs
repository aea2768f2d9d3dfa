//! Meters: which events count, how they are aggregated, in what unit the result is stated.

use counterfoil_types::{Digest, Exact, MeterKey, Quantity, Rounding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How values become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Number of events.
    Count,
    /// Sum of values.
    Sum,
    /// Largest value; 0 without events.
    Max,
    /// Smallest value; 0 without events.
    Min,
    /// Mean of values, exact; 0 without events.
    Average,
    /// Value of the event with the latest time (then position); 0 without events.
    Latest,
    /// Number of different values of a property, exact.
    UniqueCount,
    /// Integral over time of a level that events change by their value. The level carries over
    /// period boundaries.
    TimeWeightedSum,
    /// Integral over time of a level that events state as their value; each holds until the next,
    /// over period boundaries too.
    TimeWeightedLevel,
}

/// The unit of time an integral is stated in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PerTime {
    /// Value × seconds.
    Second,
    /// Value × hours (GB-hours).
    Hour,
    /// Value × days of 24 hours.
    Day,
    /// Mean level over the period.
    Period,
}

impl PerTime {
    /// Microseconds in the unit; `None` for the period itself.
    #[must_use]
    pub fn micros(self) -> Option<i64> {
        match self {
            Self::Second => Some(1_000_000),
            Self::Hour => Some(counterfoil_types::timestamp::HOUR_MICROS),
            Self::Day => Some(counterfoil_types::timestamp::DAY_MICROS),
            Self::Period => None,
        }
    }
}

/// A condition on one property. All conditions of a meter must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The property (or `subject`, `resource`, `user`, `unit`, `source`).
    pub property: String,
    /// Its value must be one of these.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<String>>,
    /// Its value must be none of these (an absent property fits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_in: Option<Vec<String>>,
    /// It must be present (true) or absent (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// A meter as a price book's file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterSpec {
    /// Name of the meter. Its definition never changes under this name.
    pub key: MeterKey,
    /// Shown to people; the key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Events of this type count.
    pub event_type: String,
    /// How values become one number.
    pub aggregation: Aggregation,
    /// The property that holds the value; the event's `quantity` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Conditions, all of which must hold.
    #[serde(default, rename = "filter", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Properties that usage is kept apart by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// Unit of the result, in the plural: "requests", "GB-hours".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Multiply the aggregate by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiply: Option<Quantity>,
    /// Divide the aggregate by this (bytes to GB: 1000000000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divide: Option<Quantity>,
    /// Round the result to this many decimals; exact when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<i32>,
    /// How to round; needs `decimals`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// Unit of time of a time-weighted result; `hour` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<PerTime>,
}

/// A mistake in a meter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {message}")]
pub struct MeterSpecError {
    /// The key that is wrong.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// A checked meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Name.
    pub key: MeterKey,
    /// Shown to people.
    pub name: String,
    /// Events of this type count.
    pub event_type: String,
    /// How values become one number.
    pub aggregation: Aggregation,
    /// Property with the value; the quantity when `None`.
    pub value: Option<String>,
    /// Conditions.
    pub filters: Vec<Filter>,
    /// Properties kept apart.
    pub group_by: Vec<String>,
    /// Unit of the result.
    pub unit: String,
    /// Exact factor on the aggregate.
    pub factor: Exact,
    /// Rounding of the result.
    pub rounding: Option<(i32, Rounding)>,
    /// Unit of time of a time-weighted result.
    pub per: PerTime,
}

/// Meters whose key starts with this belong to the engine.
pub const RESERVED_PREFIX: &str = "counterfoil.";

impl TryFrom<&MeterSpec> for Meter {
    type Error = MeterSpecError;

    fn try_from(spec: &MeterSpec) -> Result<Self, MeterSpecError> {
        let wrong = |key, message: &str| MeterSpecError { key, message: message.to_owned() };
        if spec.key.as_str().starts_with(RESERVED_PREFIX) {
            return Err(wrong("key", "names starting with `counterfoil.` belong to the engine"));
        }
        if spec.event_type.trim().is_empty() {
            return Err(wrong("event_type", "must not be empty"));
        }
        if spec.aggregation == Aggregation::UniqueCount && spec.value.is_none() {
            return Err(wrong("value", "is missing: name the property whose values are counted"));
        }
        if spec.aggregation == Aggregation::Count && spec.value.is_some() {
            return Err(wrong(
                "value",
                "counting events looks at no value; use `sum` or remove it",
            ));
        }
        let weighted = matches!(
            spec.aggregation,
            Aggregation::TimeWeightedSum | Aggregation::TimeWeightedLevel
        );
        if spec.per.is_some() && !weighted {
            return Err(wrong("per", "applies to time-weighted aggregations only"));
        }
        for filter in &spec.filters {
            let stated =
                [filter.one_of.is_some(), filter.not_in.is_some(), filter.exists.is_some()];
            if !stated.contains(&true) {
                return Err(wrong("filter", "a filter says `in`, `not_in` or `exists`"));
            }
        }
        let not_positive =
            |value: Option<Quantity>| value.is_some_and(|v| v.is_zero() || v.is_negative());
        if not_positive(spec.multiply) {
            return Err(wrong("multiply", "must be above zero"));
        }
        if not_positive(spec.divide) {
            return Err(wrong("divide", "must be above zero"));
        }
        let factor = spec
            .multiply
            .unwrap_or(Quantity::ONE)
            .exact()
            .div(&spec.divide.unwrap_or(Quantity::ONE).exact())
            .map_err(|error| wrong("divide", &error.to_string()))?;
        let rounding = match (spec.decimals, spec.rounding) {
            (None, None) => None,
            (Some(decimals), Some(mode)) if (-28..=28).contains(&decimals) => {
                Some((decimals, mode))
            }
            (Some(_), Some(_)) => return Err(wrong("decimals", "must lie between -28 and 28")),
            _ => return Err(wrong("rounding", "`decimals` and `rounding` go together")),
        };
        Ok(Self {
            key: spec.key.clone(),
            name: spec.name.clone().unwrap_or_else(|| spec.key.to_string()),
            event_type: spec.event_type.clone(),
            aggregation: spec.aggregation,
            value: spec.value.clone(),
            filters: spec.filters.clone(),
            group_by: spec.group_by.clone(),
            unit: spec.unit.clone().unwrap_or_else(|| "units".to_owned()),
            factor,
            rounding,
            per: spec.per.unwrap_or(PerTime::Hour),
        })
    }
}

impl MeterSpec {
    /// Hash of everything that changes what is measured; names are for people and left out.
    #[must_use]
    pub fn definition_hash(&self) -> Digest {
        let bare = Self { name: None, unit: None, ..self.clone() };
        // Serialising a struct of plain values cannot fail; an empty text would only make the
        // hash refuse a republication.
        Digest::of(serde_json::to_string(&bare).unwrap_or_default().as_bytes())
    }
}

/// Engine meter: all events by type, so that accepted-but-unbilled is always visible.
pub const EVENTS_METER: &str = "counterfoil.events";
/// Engine meter: events a meter could not use, by type, meter and reason.
pub const UNUSABLE_METER: &str = "counterfoil.unusable";
