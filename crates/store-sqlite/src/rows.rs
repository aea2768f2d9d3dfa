//! Rows to values, with damage reported as such.

use counterfoil_ledger::{Event, LaneId, StoredEvent, body};
use counterfoil_store::StoreError;
use counterfoil_types::{CustomerId, Digest, Quantity, Timestamp};
use sqlx::{Row, sqlite::SqliteRow};

use crate::error::store_error;

/// `SELECT` of `usage_event` in the form [`event`] reads: all text columns travel as one, cut at
/// the unit separator. Each column of a row costs an allocation on its way out of the driver,
/// which would be most of the cost of reading the ledger. The separator cannot occur: names refuse
/// control characters, and JSON escapes them.
macro_rules! event_query {
    ($rest:literal) => {
        concat!(
            "SELECT lane_id, position, leaf, concat_ws(char(31), recorded_at, coalesce(time, ''), ",
            "coalesce(target, ''), customer, type, source, id, quantity, coalesce(body, '')) ",
            "FROM usage_event ",
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
    let leaf: &[u8] = get(row, 2)?;
    let packed: &str = get(row, 3)?;
    match parse(lane, position, leaf, packed) {
        Ok(Some(row)) => Ok(row),
        Ok(None) => Err(StoreError::Archived { lane: lane.0, position }),
        Err(why) => {
            Err(StoreError::corrupt("usage_event", format!("lane {lane} position {position}"), why))
        }
    }
}

/// `None`: its content is archived.
fn parse(
    lane: LaneId,
    position: u64,
    leaf: &[u8],
    packed: &str,
) -> Result<Option<StoredEvent>, String> {
    let mut fields = packed.splitn(9, '\u{1f}');
    let mut next = || fields.next().ok_or_else(|| "a field is missing".to_owned());
    fn number(text: &str) -> Result<Option<i64>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("{text:?} is no number"))
    }
    let recorded_at = number(next()?)?.ok_or("no recorded time")?;
    let time = number(next()?)?;
    let target = number(next()?)?;
    let customer = next()?;
    let (event_type, source, id) = (next()?, next()?, next()?);
    let quantity = next()?;
    // Only what is archived has no quantity.
    if quantity.is_empty() {
        return Ok(None);
    }
    let quantity: Quantity = quantity.parse().map_err(|error| format!("quantity: {error}"))?;
    let parts = match next()? {
        "" => body::Body::default(),
        text => body::decode(text).map_err(|error| error.to_string())?,
    };
    Ok(Some(StoredEvent {
        lane,
        position,
        recorded_at: Timestamp::from_micros(recorded_at),
        target_position: target.map(unsigned),
        leaf: Digest::try_from(leaf).map_err(|error| error.to_string())?,
        event: Event {
            id: id.to_owned(),
            source: source.to_owned(),
            customer: CustomerId::new(customer).map_err(|error| error.to_string())?,
            event_type: event_type.to_owned(),
            time: time.map(Timestamp::from_micros),
            quantity,
            unit: parts.unit,
            properties: parts.properties,
            subject: parts.subject,
            resource: parts.resource,
            user: parts.user,
            correction: parts.correction,
        },
    }))
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
