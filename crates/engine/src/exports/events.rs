//! Rows of the ledger, lane by lane in order of position, up to the heads as of which the export
//! was begun. Corrections are rows of their own, and what they correct says how it stands.

use std::{borrow::Cow, collections::HashMap};

use counterfoil_exports::{Cell, Column, Kind};
use counterfoil_ledger::{CorrectionKind, LaneId, Scalar, StoredEvent};
use counterfoil_store::LaneHead;

use super::Wanted;
use crate::{Engine, EngineError};

/// Rows read at once.
const CHUNK: u32 = 4_000;

/// The columns. An export whose first columns are these is read back by `ingest`.
pub(super) const COLUMNS: &[Column] = &[
    Column::new("lane", Kind::Integer),
    Column::new("position", Kind::Integer),
    Column::new("recorded_at", Kind::Timestamp),
    Column::new("standing", Kind::Text),
    Column::new("id", Kind::Text),
    Column::new("source", Kind::Text),
    Column::new("customer", Kind::Text),
    Column::new("type", Kind::Text),
    Column::new("time", Kind::Timestamp),
    Column::new("quantity", Kind::Decimal),
    Column::new("unit", Kind::Text),
    Column::new("subject", Kind::Text),
    Column::new("resource", Kind::Text),
    Column::new("user", Kind::Text),
    Column::new("reverses", Kind::Text),
    Column::new("amends", Kind::Text),
    Column::new("properties", Kind::Json),
];

/// A row and how it stands.
pub struct Row {
    pub(super) row: StoredEvent,
    pub(super) standing: &'static str,
}

/// Where an export of events is.
pub(super) struct Events {
    lane: usize,
    position: u64,
}

impl Events {
    pub(super) fn new((lane, position): (usize, u64)) -> Self {
        Self { lane, position }
    }

    pub(super) fn at(&self) -> (usize, u64) {
        (self.lane, self.position)
    }

    /// The next rows of the ledger that fit, perhaps none of a chunk; `None` at the end.
    pub(super) async fn next(
        &mut self,
        engine: &Engine,
        wanted: &Wanted,
        heads: &[LaneHead],
    ) -> Result<Option<Vec<Row>>, EngineError> {
        let only = wanted.customer.as_ref().map(|customer| engine.tenant.lane_of(customer));
        loop {
            let Some(head) = heads.get(self.lane) else { return Ok(None) };
            if only.is_some_and(|only| only != head.lane) || self.position >= head.position {
                (self.lane, self.position) = (self.lane + 1, 0);
                continue;
            }
            let customer = wanted.customer.as_ref();
            let rows =
                engine.rows(head.lane, self.position, head.position, customer, CHUNK).await?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                (self.lane, self.position) = (self.lane + 1, 0);
                continue;
            };
            let (first, last) = (first.position, last.position);
            let fates = fates(engine, head.lane, first, last, head.position).await?;
            self.position = last;
            let fitting = rows.into_iter().filter(|row| {
                wanted.holds(row.time())
                    && wanted
                        .event_type
                        .as_ref()
                        .is_none_or(|wanted| *wanted == row.event.event_type)
            });
            let rows = fitting.map(|row| {
                let standing = match fates.get(&row.position) {
                    _ if row.event.correction.is_some() => "correction",
                    None => "counts",
                    Some(CorrectionKind::Amends) => "amended",
                    Some(CorrectionKind::Reverses) => "reversed",
                };
                Row { row, standing }
            });
            return Ok(Some(rows.collect()));
        }
    }
}

/// What became of the corrected rows among these, as of a position: what is taken back stays so.
async fn fates(
    engine: &Engine,
    lane: LaneId,
    first: u64,
    last: u64,
    as_of: u64,
) -> Result<HashMap<u64, CorrectionKind>, EngineError> {
    let mut fates = HashMap::new();
    for row in engine.corrections_of(lane, first, last).await? {
        let (Some(target), Some(correction)) = (row.target_position, &row.event.correction) else {
            continue;
        };
        if row.position > as_of || fates.get(&target) == Some(&CorrectionKind::Reverses) {
            continue;
        }
        fates.insert(target, correction.kind);
    }
    Ok(fates)
}

/// Properties as a JSON object, numbers with all their digits.
pub(super) fn properties(event: &counterfoil_ledger::Event) -> Cow<'static, str> {
    if event.properties.is_empty() {
        return Cow::Borrowed("{}");
    }
    let mut out = String::from("{");
    for (number, (name, value)) in event.properties.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        push(&mut out, name);
        out.push(':');
        match value {
            Scalar::Text(text) => push(&mut out, text),
            Scalar::Number(number) => out.push_str(&number.to_string()),
            Scalar::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        }
    }
    out.push('}');
    Cow::Owned(out)
}

fn push(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A string can always be written.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

pub(super) fn integer(value: u64) -> Cell<'static> {
    Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn cells(Row { row, standing }: &Row) -> [Cell<'_>; 17] {
    let event = &row.event;
    let target = |kind| {
        let correction = event.correction.as_ref().filter(|correction| correction.kind == kind);
        Cell::maybe(correction.map(|correction| correction.target.as_str()))
    };
    [
        Cell::Integer(row.lane.0),
        integer(row.position),
        Cell::Timestamp(row.recorded_at),
        Cell::text(*standing),
        Cell::text(event.id.as_str()),
        Cell::text(event.source.as_str()),
        Cell::text(event.customer.as_str()),
        Cell::text(event.event_type.as_str()),
        Cell::Timestamp(row.time()),
        Cell::Decimal(event.quantity.decimal().normalize()),
        Cell::maybe(event.unit.as_deref()),
        Cell::maybe(event.subject.as_deref()),
        Cell::maybe(event.resource.as_deref()),
        Cell::maybe(event.user.as_deref()),
        target(CorrectionKind::Reverses),
        target(CorrectionKind::Amends),
        Cell::Json(properties(event)),
    ]
}
