//! IANA time zones, from the database bundled with the binary.

use std::{fmt, str::FromStr};

use jiff::{civil, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::timestamp::{TimeError, Timestamp};

/// A named time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}
impl Eq for Zone {}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The wall-clock reading at an instant.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`].
    pub fn civil(&self, at: Timestamp) -> Result<civil::DateTime, TimeError> {
        Ok(self.zone.to_datetime(at.to_jiff()?))
    }

    /// The instant of a wall-clock reading. A reading that does not exist (spring forward) is
    /// moved forward by the gap, one that happens twice is taken the first time: so a local
    /// midnight always means the first instant of that local day.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`].
    pub fn instant(&self, civil: civil::DateTime) -> Result<Timestamp, TimeError> {
        self.zone
            .to_ambiguous_timestamp(civil)
            .compatible()
            .map(Timestamp::from_jiff)
            .map_err(|_| TimeError::OutOfRange(0))
    }

    /// Names of all zones in the bundled database.
    #[must_use]
    pub fn all_names() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
    }
}

impl FromStr for Zone {
    type Err = TimeError;
    fn from_str(name: &str) -> Result<Self, TimeError> {
        let unknown = || TimeError::UnknownZone(name.chars().take(64).collect());
        let zone = jiff::tz::db().get(name).map_err(|_| unknown())?;
        let name = zone.iana_name().ok_or_else(unknown)?.to_owned();
        Ok(Self { name, zone })
    }
}
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}
impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
