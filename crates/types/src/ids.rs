//! Identifiers. Names people choose (tenant, customer, meter, plan) are validated text; ids the
//! engine makes (invoice, run) are UUIDs derived from what they identify, so that making one
//! twice gives the same id and no random numbers are needed.
//!
//! Names are shared text: cloning one copies no bytes, which the projector does for every event.

use std::{fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::canonical::CanonicalWriter;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty.
    #[error("{kind} must not be empty")]
    Empty {
        /// What was named.
        kind: &'static str,
    },
    /// Too long.
    #[error("{kind} is {length} bytes long; at most {max} are allowed")]
    TooLong {
        /// What was named.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A character that is not allowed.
    #[error("{kind} {value:?} holds a character that is not allowed ({allowed})")]
    BadCharacter {
        /// What was named.
        kind: &'static str,
        /// The name.
        value: String,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

fn check_text(kind: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > max {
        return Err(NameError::TooLong { kind, length: text.len(), max });
    }
    if text.chars().any(char::is_control) {
        let value = text.chars().take(64).collect();
        return Err(NameError::BadCharacter { kind, value, allowed: "no control characters" });
    }
    Ok(())
}

fn check_slug(kind: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    check_text(kind, text, max)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !text.chars().all(fits) {
        let value = text.chars().take(64).collect();
        let allowed = "letters, digits, '_', '-' and '.'";
        return Err(NameError::BadCharacter { kind, value, allowed });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes over a name.
            ///
            /// # Errors
            /// When it is empty, too long or holds a character that is not allowed.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, NameError> {
                let text = text.into();
                $check($kind, &text, $max)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "minLength": 1, "maxLength": $max,
                    "description": concat!("Name of a ", $kind),
                })
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A tenant: one business that bills its customers. Everything belongs to exactly one.
    TenantId, "tenant", check_slug, 64
);
name!(
    /// A customer, by the name its tenant knows it under.
    CustomerId, "customer", check_text, 256
);
name!(
    /// A meter.
    MeterKey, "meter", check_slug, 128
);
name!(
    /// A plan within a price book.
    PlanKey, "plan", check_slug, 128
);
name!(
    /// A subscription, by the name its tenant gave it.
    SubscriptionId, "subscription", check_slug, 160
);

/// A price book at one version, written `name@version`.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct BookRef {
    /// Name of the book.
    pub name: String,
    /// Version of the book.
    pub version: String,
}

impl fmt::Display for BookRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A UUID (version 8, RFC 9562) derived from what it identifies.
#[must_use]
pub fn derive_uuid(kind: &str, parts: &[&str]) -> Uuid {
    let mut writer = CanonicalWriter::new(kind, 1);
    for part in parts {
        writer.str(part);
    }
    Uuid::new_v8(writer.digest().prefix16())
}

macro_rules! derived_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id of the thing that these parts identify.
            #[must_use]
            pub fn derive(parts: &[&str]) -> Self {
                Self(derive_uuid($kind, parts))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

derived_id!(
    /// An invoice, derived from tenant, subscription, cycle and revision.
    InvoiceId, "invoice"
);
derived_id!(
    /// An invoice run, derived from tenant, period and attempt.
    RunId, "run"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_ids_are_stable() {
        assert!(MeterKey::new("api_calls").is_ok());
        assert!(MeterKey::new("api calls").is_err());
        assert!(CustomerId::new("Ünïcode & Søns").is_ok());
        assert!(CustomerId::new("a\nb").is_err());
        assert!(CustomerId::new("").is_err());
        assert_eq!(InvoiceId::derive(&["a", "b"]), InvoiceId::derive(&["a", "b"]));
        assert_ne!(InvoiceId::derive(&["a", "b"]), InvoiceId::derive(&["ab", ""]));
    }
}
