//! The usage event: what happened, to whom, when, how much.

use std::{collections::BTreeMap, fmt};

use counterfoil_types::{CustomerId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

/// Most properties an event may have.
pub const MAX_PROPERTIES: usize = 64;
/// Longest property name or text value, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Longest event id, source or type, in bytes.
pub const MAX_NAME: usize = 256;

/// A property value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// Text.
    Text(String),
    /// A number, exact.
    Number(Quantity),
    /// True or false.
    Bool(bool),
}

impl Scalar {
    /// The value as a number: a number, or text that is one.
    #[must_use]
    pub fn as_number(&self) -> Option<Quantity> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            Self::Bool(_) => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// How a correction changes its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionKind {
    /// The target counts for nothing.
    Reverses,
    /// The target's quantity and properties are replaced; its time stays.
    Amends,
}

impl CorrectionKind {
    /// The field name used in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reverses => "reverses",
            Self::Amends => "amends",
        }
    }
}

/// A correction of an earlier event of the same source and customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Correction {
    /// What it does.
    pub kind: CorrectionKind,
    /// Id of the event it corrects.
    pub target: String,
}

/// A usage event as a producer states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique within the source, for ever.
    pub id: String,
    /// The producer.
    pub source: String,
    /// Whose usage it is.
    pub customer: CustomerId,
    /// What kind of usage; meters select by it.
    pub event_type: String,
    /// When the usage happened. Absent: when the ledger took it.
    pub time: Option<Timestamp>,
    /// How much; negative is legal and lowers usage.
    pub quantity: Quantity,
    /// Unit the producer measured in, for information.
    pub unit: Option<String>,
    /// Further facts; meters filter, group and measure by them.
    pub properties: BTreeMap<String, Scalar>,
    /// Subject within the customer.
    pub subject: Option<String>,
    /// Resource used.
    pub resource: Option<String>,
    /// End user.
    pub user: Option<String>,
    /// Set when this event corrects another.
    pub correction: Option<Correction>,
}

impl Event {
    /// A property, or one of the well-known fields `subject`, `resource`, `user`, `unit`,
    /// `source` when no property has that name. `@type` is the event type.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Scalar> {
        if let Some(value) = self.properties.get(name) {
            return Some(value.clone());
        }
        let text = match name {
            "subject" => self.subject.as_deref(),
            "resource" => self.resource.as_deref(),
            "user" => self.user.as_deref(),
            "unit" => self.unit.as_deref(),
            "source" => Some(self.source.as_str()),
            "@type" => Some(self.event_type.as_str()),
            _ => None,
        };
        text.map(Scalar::from)
    }
}
