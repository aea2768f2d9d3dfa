//! Rows to values, with damage reported as such.

use counterfoil_ledger::{Event, LaneId, StoredEvent, body};
use counterfoil_store::StoreError;
use counterfoil_types::{CustomerId, Digest, Quantity, Timestamp};
use sqlx::{Row, sqlite::SqliteRow};

use crate::error::store_error;

/// `SELECT` of the columns of `usage_event` in the order [`event`] reads them.
macro_rules! event_query {
    ($rest:literal) => {
        concat!(
            "SELECT lane_id, position, leaf, recorded_at, time, customer, type, source, id, ",
            "quantity, body, target FROM usage_event ",
            $rest
        )
    };
}
pub(crate) use event_query;

/// A column of a row.
pub(crate) fn get<'r, T>(row: &'r SqliteRow, at: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(at).map_err(store_error)
}

/// A position or count, which is never negative.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A position as stored.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A ledger row.
pub(crate) fn event(row: &SqliteRow) -> Result<StoredEvent, StoreError> {
    let lane = LaneId(get(row, 0)?);
    let position = unsigned(get(row, 1)?);
    let damage = |why: String| {
        StoreError::corrupt("usage_event", format!("lane {lane} position {position}"), why)
    };
    let leaf: &[u8] = get(row, 2)?;
    let leaf = Digest::try_from(leaf).map_err(|error| damage(error.to_string()))?;
    let time: Option<i64> = get(row, 4)?;
    let customer: String = get(row, 5)?;
    let quantity: &str = get(row, 9)?;
    let body_text: Option<&str> = get(row, 10)?;
    let parts = match body_text {
        Some(text) => body::decode(text).map_err(|error| damage(error.to_string()))?,
        None => body::Body::default(),
    };
    let target: Option<i64> = get(row, 11)?;
    Ok(StoredEvent {
        lane,
        position,
        recorded_at: Timestamp::from_micros(get(row, 3)?),
        target_position: target.map(unsigned),
        leaf,
        event: Event {
            id: get(row, 8)?,
            source: get(row, 7)?,
            customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
            event_type: get(row, 6)?,
            time: time.map(Timestamp::from_micros),
            quantity: quantity.parse::<Quantity>().map_err(|error| damage(error.to_string()))?,
            unit: parts.unit,
            properties: parts.properties,
            subject: parts.subject,
            resource: parts.resource,
            user: parts.user,
            correction: parts.correction,
        },
    })
}

/// Parses a stored JSON text.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    row: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(table, row, error))
}

/// Writes a value as JSON text.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Driver(error.to_string()))
}
