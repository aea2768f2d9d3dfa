//! Instants: UTC microseconds, the one unit of time everywhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An instant in UTC microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// Why a text or number is no instant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Not RFC 3339.
    #[error("{text:?} is not an instant: {why} (write for example 2026-10-01T12:00:00Z)")]
    NotAnInstant {
        /// The text (shortened).
        text: String,
        /// What the parser said.
        why: String,
    },
    /// Outside the years that can be computed with.
    #[error("time {0} µs lies outside the years −9999 to 9999")]
    OutOfRange(i64),
    /// Not a zone of the IANA database.
    #[error("{0:?} is not an IANA time zone (for example Europe/Berlin)")]
    UnknownZone(String),
}

/// Microseconds in an hour, a day.
pub const HOUR_MICROS: i64 = 3_600_000_000;
/// Microseconds in a day of 24 hours.
pub const DAY_MICROS: i64 = 24 * HOUR_MICROS;

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This instant moved by `micros` (saturating at the ends of time).
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// As a jiff timestamp.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`].
    pub fn to_jiff(self) -> Result<jiff::Timestamp, TimeError> {
        jiff::Timestamp::from_microsecond(self.0).map_err(|_| TimeError::OutOfRange(self.0))
    }

    /// From a jiff timestamp; anything finer than a microsecond is cut off (floored).
    #[must_use]
    pub fn from_jiff(instant: jiff::Timestamp) -> Self {
        let floored = instant.as_nanosecond().div_euclid(1000);
        Self(i64::try_from(floored).unwrap_or(i64::MAX))
    }

    /// Start of the bucket of the given width that holds this instant.
    #[must_use]
    pub const fn bucket(self, width_micros: i64) -> Self {
        Self(self.0.div_euclid(width_micros) * width_micros)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>().map(Self::from_jiff).map_err(|error| {
            TimeError::NotAnInstant {
                text: text.chars().take(64).collect(),
                why: error.to_string(),
            }
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_jiff() {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_parse_print_and_bucket() {
        let a: Timestamp = "2025-02-01T00:30:00+01:00".parse().unwrap();
        assert_eq!(a.to_string(), "2025-01-31T23:30:00Z");
        let fine: Timestamp = "1969-12-31T23:59:59.9999999Z".parse().unwrap();
        assert_eq!(fine.micros(), -1, "sub-microsecond digits are floored, also before 1970");
        assert_eq!(Timestamp::from_micros(-1).bucket(HOUR_MICROS).micros(), -HOUR_MICROS);
        assert!("2026-13-01T00:00:00Z".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
