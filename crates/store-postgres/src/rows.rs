//! Rows to values, with damage reported as such.

use std::borrow::Cow;

use counterfoil_ledger::{Event, LaneId, StoredEvent, body};
use counterfoil_store::StoreError;
use counterfoil_types::{CustomerId, Digest, Quantity, Timestamp};
use sqlx::{Row, postgres::PgRow};

use crate::error::store_error;

/// `SELECT` of ledger rows in the form [`event`] reads.
macro_rules! event_query {
    ($rest:literal) => {
        concat!(
            "SELECT lane_id, position, leaf, recorded_at, time, target, customer, type, source, ",
            "id, quantity::text, body, archived IS NOT NULL FROM ledger_event ",
            $rest
        )
    };
}
pub(crate) use event_query;

/// A column of a row.
pub(crate) fn get<'r, T>(row: &'r PgRow, at: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(at).map_err(store_error)
}

/// What stands before an escaped character. Names hold no control characters once they are through
/// the door of the program; what comes another way reads back as it was all the same.
const ESCAPE: char = '\u{1}';

/// Text as stored: PostgreSQL's has no place for U+0000.
pub(crate) fn to_text(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    text.replace(ESCAPE, "\u{1}1").replace('\0', "\u{1}0").into()
}

/// Text as it was.
pub(crate) fn from_text(stored: &str) -> String {
    if !stored.contains(ESCAPE) {
        return stored.to_owned();
    }
    let mut text = String::with_capacity(stored.len());
    let mut escaped = false;
    for c in stored.chars() {
        match (escaped, c) {
            (false, ESCAPE) => escaped = true,
            (false, c) => text.push(c),
            (true, c) => {
                text.push(if c == '0' { '\0' } else { ESCAPE });
                escaped = false;
            }
        }
    }
    text
}

/// A position or count, which is never negative.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A position as stored.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A small number, stored as `bigint`.
pub(crate) fn small(table: &'static str, row: &str, value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|error| StoreError::corrupt(table, row, error))
}

/// A ledger row.
pub(crate) fn event(row: &PgRow) -> Result<StoredEvent, StoreError> {
    let lane = LaneId(get(row, 0)?);
    let position = unsigned(get(row, 1)?);
    let damage = |why: String| {
        StoreError::corrupt("usage_event", format!("lane {lane} position {position}"), why)
    };
    if get::<bool>(row, 12)? {
        return Err(StoreError::Archived { lane: lane.0, position });
    }
    let leaf: &[u8] = get(row, 2)?;
    let time: Option<i64> = get(row, 4)?;
    let target: Option<i64> = get(row, 5)?;
    let customer: &str = get(row, 6)?;
    let quantity: &str = get(row, 10)?;
    let parts = match get::<Option<&str>>(row, 11)? {
        None => body::Body::default(),
        Some(text) => body::decode(text).map_err(|error| damage(error.to_string()))?,
    };
    Ok(StoredEvent {
        lane,
        position,
        recorded_at: Timestamp::from_micros(get(row, 3)?),
        target_position: target.map(unsigned),
        leaf: Digest::try_from(leaf).map_err(|error| damage(error.to_string()))?,
        event: Event {
            id: from_text(get(row, 9)?),
            source: from_text(get(row, 8)?),
            customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
            event_type: from_text(get(row, 7)?),
            time: time.map(Timestamp::from_micros),
            quantity: parse_quantity(quantity).map_err(damage)?,
            unit: parts.unit,
            properties: parts.properties,
            subject: parts.subject,
            resource: parts.resource,
            user: parts.user,
            correction: parts.correction,
        },
    })
}

fn parse_quantity(text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|error| format!("quantity {text:?}: {error}"))
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
