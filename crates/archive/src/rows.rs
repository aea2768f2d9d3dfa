//! Ledger rows as CSV. Times are RFC 3339 with microseconds, quantities and bodies are the text
//! that is stored, so that what is read back is what was written, to the byte.

use std::io::{self, Read, Write};

use counterfoil_ledger::{Event, LaneId, StoredEvent, body};
use counterfoil_types::{CustomerId, Timestamp};

const HEAD: [&str; 11] = [
    "position",
    "recorded_at",
    "time",
    "corrects",
    "seal",
    "customer",
    "type",
    "source",
    "id",
    "quantity",
    "body",
];

/// Writes rows of one lane.
pub(crate) fn write(out: impl Write, rows: &[StoredEvent]) -> io::Result<()> {
    let mut out = csv::WriterBuilder::new().from_writer(out);
    out.write_record(HEAD).map_err(plain)?;
    for row in rows {
        let event = &row.event;
        out.write_record([
            row.position.to_string().as_str(),
            &row.recorded_at.to_string(),
            &event.time.map(|time| time.to_string()).unwrap_or_default(),
            &row.target_position.map(|target| target.to_string()).unwrap_or_default(),
            &row.leaf.to_string(),
            event.customer.as_str(),
            &event.event_type,
            &event.source,
            &event.id,
            &event.quantity.to_string(),
            &body::encode(event).unwrap_or_default(),
        ])
        .map_err(plain)?;
    }
    out.flush()
}

/// The error of the system, so that a full disk is known as one.
fn plain(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Reads rows of one lane; what is wrong in words.
pub(crate) fn read(input: impl Read, lane: LaneId) -> Result<Vec<StoredEvent>, String> {
    let mut input = csv::ReaderBuilder::new().from_reader(input);
    let head = input.headers().map_err(|error| error.to_string())?;
    if head != HEAD.as_slice() {
        return Err("its columns are not those of an archive".to_owned());
    }
    let mut rows = Vec::new();
    for (line, record) in (2u64..).zip(input.records()) {
        let record = record.map_err(|error| error.to_string())?;
        rows.push(row(&record, lane).map_err(|why| format!("row {line}: {why}"))?);
    }
    Ok(rows)
}

fn row(record: &csv::StringRecord, lane: LaneId) -> Result<StoredEvent, String> {
    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        name: &str,
        text: &str,
    ) -> Result<T, String> {
        text.parse().map_err(|error| format!("{name}: {error}"))
    }
    fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
        name: &str,
        text: &str,
    ) -> Result<Option<T>, String> {
        if text.is_empty() { Ok(None) } else { parse(name, text).map(Some) }
    }
    let field = |at: usize| record.get(at).unwrap_or_default();
    let parts = match field(10) {
        "" => body::Body::default(),
        text => body::decode(text).map_err(|error| format!("body: {error}"))?,
    };
    Ok(StoredEvent {
        lane,
        position: parse("position", field(0))?,
        recorded_at: parse("recorded_at", field(1))?,
        target_position: optional("corrects", field(3))?,
        leaf: parse("seal", field(4))?,
        event: Event {
            customer: CustomerId::new(field(5)).map_err(|error| error.to_string())?,
            event_type: field(6).to_owned(),
            source: field(7).to_owned(),
            id: field(8).to_owned(),
            quantity: parse("quantity", field(9))?,
            time: optional::<Timestamp>("time", field(2))?,
            unit: parts.unit,
            properties: parts.properties,
            subject: parts.subject,
            resource: parts.resource,
            user: parts.user,
            correction: parts.correction,
        },
    })
}
