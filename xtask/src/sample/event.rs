//! One line of the usage file: a native event, fields in the order people read them.

use std::collections::BTreeMap;

use counterfoil_types::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Outcome;

/// A value of a quantity or property.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    /// A whole number.
    Whole(u64),
    /// Text, or a decimal written as text.
    Text(String),
    /// A decimal written as a JSON number; its digits are kept as they are.
    Decimal(Box<RawValue>),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// `thousandths` with the decimal point where it belongs.
fn with_point(thousandths: u64) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

impl Value {
    /// A decimal with three digits after the point, as text.
    pub(super) fn text_of_thousandths(thousandths: u64) -> Self {
        Self::Text(with_point(thousandths))
    }

    /// A decimal with three digits after the point, as a number.
    pub(super) fn number_of_thousandths(thousandths: u64) -> Outcome<Self> {
        Ok(Self::Decimal(RawValue::from_string(with_point(thousandths))?))
    }
}

/// A usage event.
#[derive(Clone, Serialize)]
pub(super) struct Usage {
    pub(super) id: String,
    pub(super) source: &'static str,
    pub(super) customer: &'static str,
    #[serde(rename = "type")]
    pub(super) event_type: &'static str,
    pub(super) time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quantity: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) properties: BTreeMap<&'static str, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reverses: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) amends: Option<String>,
}

impl Usage {
    /// An event without quantity or properties.
    pub(super) fn new(
        id: String,
        source: &'static str,
        customer: &'static str,
        event_type: &'static str,
        time: Timestamp,
    ) -> Self {
        Self {
            id,
            source,
            customer,
            event_type,
            time,
            quantity: None,
            unit: None,
            properties: BTreeMap::new(),
            user: None,
            reverses: None,
            amends: None,
        }
    }

    pub(super) fn quantity(mut self, value: impl Into<Value>, unit: &'static str) -> Self {
        self.quantity = Some(value.into());
        self.unit = Some(unit);
        self
    }

    pub(super) fn property(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.properties.insert(name, value.into());
        self
    }

    pub(super) fn user(mut self, user: String) -> Self {
        self.user = Some(user);
        self
    }
}
