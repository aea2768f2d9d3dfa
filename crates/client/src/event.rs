//! A usage event as a producer states it.

use std::collections::BTreeMap;

use counterfoil_types::{Quantity, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// A usage event. The service dedupes by (source, id), for ever.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Unique within the source. Empty: the writer gives it a random one.
    pub id: String,
    /// The producer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whose usage it is.
    pub customer: String,
    /// What kind of usage.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened. The writer puts the time of acceptance where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// How much; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// Further facts: texts, numbers, switches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Value>,
    /// Subject within the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Resource used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// End user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id of an event of the same source that this one takes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverses: Option<String>,
    /// Id of an event of the same source that this one restates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amends: Option<String>,
}

impl Event {
    /// An event of one unit.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        customer: impl Into<String>,
        event_type: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            source: None,
            customer: customer.into(),
            event_type: event_type.into(),
            time: None,
            quantity: None,
            properties: BTreeMap::new(),
            subject: None,
            resource: None,
            user: None,
            reverses: None,
            amends: None,
        }
    }

    /// With its producer.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With its time.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// With how much.
    #[must_use]
    pub fn quantity(mut self, quantity: impl Into<Quantity>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// With a further fact.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}
