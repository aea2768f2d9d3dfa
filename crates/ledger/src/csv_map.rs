//! Reading a foreign CSV as it is: a mapping says which column is what. One row may yield several
//! events (input and output tokens, say), and rows may be spread over customers by a rule.

use std::collections::BTreeMap;

use counterfoil_types::{CustomerId, Quantity, Timestamp, Zone};
use jiff::civil;
use serde::Deserialize;
use thiserror::Error;

use crate::{
    decode::check_limits,
    event::{Correction, CorrectionKind, Event, Scalar},
    receipt::Reject,
};

/// A mapping, as its TOML file states it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The producer all events of the file carry.
    pub source: String,
    /// Where the time of a row is.
    pub time: TimeRule,
    /// Whose usage a row is.
    pub customer: CustomerRule,
    /// The events a row yields.
    #[serde(rename = "event")]
    pub events: Vec<EventRule>,
}

/// Where a row's time is and how it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRule {
    /// The column.
    pub column: String,
    /// strftime-like format of a local date and time, for example `%Y-%m-%d %H:%M:%S%.f`.
    /// Absent: RFC 3339.
    pub format: Option<String>,
    /// The zone a local time is in; UTC when absent.
    pub zone: Option<Zone>,
}

/// Whose usage a row is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum CustomerRule {
    /// Named in a column.
    Column {
        /// The column.
        column: String,
    },
    /// The same for all rows.
    Constant {
        /// The customer.
        constant: CustomerId,
    },
    /// Row n (from 1) belongs to the customer at (n − 1) mod length of the list, from 0; a name
    /// may stand several times.
    Spread {
        /// The customers.
        spread: Vec<CustomerId>,
    },
}

/// One event made from a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRule {
    /// Event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Column with the quantity; 1 when absent.
    pub quantity: Option<String>,
    /// Column with the id; absent: `<row number>-<number of the event in the row>`.
    pub id: Option<String>,
    /// Unit to note.
    pub unit: Option<String>,
    /// Fixed properties.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Properties taken from columns: property = column.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Column naming the event that this one reverses (empty: none).
    pub reverses: Option<String>,
    /// Column naming the event that this one amends (empty: none).
    pub amends: Option<String>,
}

/// Why a mapping does not fit its file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingError {
    /// A column is missing.
    #[error(
        "the mapping names column {column:?}, which the file does not have (it has: {present})"
    )]
    NoColumn {
        /// The column.
        column: String,
        /// What there is.
        present: String,
    },
    /// Nothing to do.
    #[error("the mapping has no [[event]], so no row would become an event")]
    NoEvents,
    /// A column stands twice.
    #[error("column {0:?} stands twice in the header; which one counts?")]
    TwoColumns(String),
    /// A column is nearly a field.
    #[error("column {given:?} would be a property; rename it to {meant:?} if it is that field")]
    NearlyAField {
        /// As written.
        given: String,
        /// The field.
        meant: &'static str,
    },
    /// Nobody to spread over.
    #[error("`customer.spread` is an empty list")]
    NobodyToSpreadOver,
}

/// A mapping bound to the columns of one file.
#[derive(Debug)]
pub struct RowReader<'a> {
    mapping: &'a Mapping,
    index: BTreeMap<String, usize>,
}

impl Mapping {
    /// Binds the mapping to a header line.
    ///
    /// # Errors
    /// When a column is missing or the mapping yields nothing.
    pub fn bind<'a>(&'a self, header: &[String]) -> Result<RowReader<'a>, MappingError> {
        if self.events.is_empty() {
            return Err(MappingError::NoEvents);
        }
        if let CustomerRule::Spread { spread } = &self.customer
            && spread.is_empty()
        {
            return Err(MappingError::NobodyToSpreadOver);
        }
        check_header(header)?;
        let index: BTreeMap<String, usize> =
            header.iter().enumerate().map(|(at, name)| (name.trim().to_owned(), at)).collect();
        let mut wanted = vec![self.time.column.as_str()];
        if let CustomerRule::Column { column } = &self.customer {
            wanted.push(column);
        }
        for event in &self.events {
            wanted.extend(event.columns.values().map(String::as_str));
            let named = [&event.quantity, &event.id, &event.reverses, &event.amends];
            wanted.extend(named.into_iter().flatten().map(String::as_str));
        }
        for column in wanted {
            if !index.contains_key(column) {
                return Err(MappingError::NoColumn {
                    column: column.to_owned(),
                    present: header.join(", "),
                });
            }
        }
        Ok(RowReader { mapping: self, index })
    }
}

impl RowReader<'_> {
    fn cell<'r>(&self, row: &'r [String], column: &str) -> Result<&'r str, Reject> {
        self.index
            .get(column)
            .and_then(|at| row.get(*at))
            .map(|cell| cell.trim())
            .ok_or_else(|| Reject::field(column, "the row has too few columns"))
    }

    fn time(&self, row: &[String]) -> Result<Timestamp, Reject> {
        let rule = &self.mapping.time;
        let text = self.cell(row, &rule.column)?;
        let Some(format) = &rule.format else {
            return text.parse().map_err(|error| Reject::field(&rule.column, error));
        };
        let zone = rule.zone.clone().unwrap_or_else(Zone::utc);
        civil::DateTime::strptime(format, text)
            .map_err(|error| Reject::field(&rule.column, error))
            .and_then(|local| {
                zone.instant(local).map_err(|error| Reject::field(&rule.column, error))
            })
    }

    /// The events of data row `number` (counted from 1).
    ///
    /// # Errors
    /// When a cell cannot be read; then the whole row yields nothing.
    pub fn read(&self, number: u64, row: &[String]) -> Result<Vec<Event>, Reject> {
        check_width(self.index.len(), row)?;
        let time = self.time(row)?;
        let customer = match &self.mapping.customer {
            CustomerRule::Constant { constant } => constant.clone(),
            CustomerRule::Column { column } => CustomerId::new(self.cell(row, column)?)
                .map_err(|error| Reject::field(column, error))?,
            CustomerRule::Spread { spread } => {
                let at = usize::try_from(number.saturating_sub(1)).unwrap_or(0) % spread.len();
                spread.get(at).cloned().ok_or(Reject::Missing("customer"))?
            }
        };
        let rules = self.mapping.events.iter().enumerate();
        rules.map(|(at, rule)| self.event(number, row, at, rule, time, &customer)).collect()
    }

    fn event(
        &self,
        number: u64,
        row: &[String],
        at: usize,
        rule: &EventRule,
        time: Timestamp,
        customer: &CustomerId,
    ) -> Result<Event, Reject> {
        let quantity = match &rule.quantity {
            Some(column) => {
                self.cell(row, column)?.parse().map_err(|error| Reject::field(column, error))?
            }
            None => Quantity::ONE,
        };
        let mut properties: BTreeMap<String, Scalar> = rule
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), Scalar::Text(value.clone())))
            .collect();
        for (name, column) in &rule.columns {
            properties.insert(name.clone(), Scalar::from(self.cell(row, column)?));
        }
        let target = |kind, column: &Option<String>| -> Result<Option<Correction>, Reject> {
            let Some(column) = column else { return Ok(None) };
            let target = self.cell(row, column)?;
            let set = (!target.is_empty()).then(|| Correction { kind, target: target.to_owned() });
            Ok(set)
        };
        let reverses = target(CorrectionKind::Reverses, &rule.reverses)?;
        let amends = target(CorrectionKind::Amends, &rule.amends)?;
        let event = Event {
            id: match &rule.id {
                Some(column) => self.cell(row, column)?.to_owned(),
                None => format!("{number}-{}", at + 1),
            },
            source: self.mapping.source.clone(),
            customer: customer.clone(),
            event_type: rule.event_type.clone(),
            time: Some(time),
            quantity,
            unit: rule.unit.clone(),
            properties,
            subject: None,
            resource: None,
            user: None,
            correction: reverses.or(amends),
        };
        check_limits(&event)?;
        Ok(event)
    }
}

/// Fields a native CSV may have; any other column is a property.
const FIELDS: [&str; 12] = [
    "id", "source", "customer", "type", "time", "quantity", "unit", "subject", "resource", "user",
    "reverses", "amends",
];

/// What an exported row says about its place in the ledger it comes from.
const PLACE: [&str; 4] = ["lane", "position", "recorded_at", "standing"];

/// Whether a header is that of exported events.
#[must_use]
pub fn is_exported(header: &[String]) -> bool {
    let has = |name: &str| header.iter().any(|column| column == name);
    PLACE.into_iter().all(has) && FIELDS.into_iter().all(has) && has("properties")
}

/// Reads a row of exported events: nothing is trimmed, properties are a JSON object. Cells must have
/// been freed of what protects spreadsheets.
///
/// # Errors
/// Names the column that is wrong.
pub fn read_exported(header: &[String], row: &[String]) -> Result<Event, Reject> {
    if row.len() != header.len() {
        let why = format!("the row has {} cells, the header {} columns", row.len(), header.len());
        return Err(Reject::Malformed(why));
    }
    let mut cells: BTreeMap<&str, &str> =
        header.iter().map(String::as_str).zip(row.iter().map(String::as_str)).collect();
    let known =
        |name: &&str| PLACE.contains(name) || FIELDS.contains(name) || *name == "properties";
    if let Some(other) = cells.keys().find(|name| !known(name)) {
        return Err(Reject::field(*other, "is no column of exported events"));
    }
    let mut take = |name: &str| cells.remove(name).filter(|cell| !cell.is_empty());
    let correction = match (take("reverses"), take("amends")) {
        (Some(_), Some(_)) => {
            return Err(Reject::field("reverses", "a row either reverses or amends, not both"));
        }
        (Some(target), None) => Some((CorrectionKind::Reverses, target)),
        (None, Some(target)) => Some((CorrectionKind::Amends, target)),
        (None, None) => None,
    };
    let map: crate::decode::RawMap<'_> = serde_json::from_str(take("properties").unwrap_or("{}"))
        .map_err(|error| Reject::field("properties", error))?;
    let time = take("time").ok_or(Reject::Missing("time"))?;
    let quantity = take("quantity").ok_or(Reject::Missing("quantity"))?;
    let mut own = |name: &str| take(name).map(str::to_owned);
    let event = Event {
        id: own("id").ok_or(Reject::Missing("id"))?,
        source: own("source").ok_or(Reject::Missing("source"))?,
        customer: CustomerId::new(own("customer").ok_or(Reject::Missing("customer"))?)
            .map_err(|error| Reject::field("customer", error))?,
        event_type: own("type").ok_or(Reject::Missing("type"))?,
        time: Some(time.parse().map_err(|error| Reject::field("time", error))?),
        quantity: quantity.parse().map_err(|error| Reject::field("quantity", error))?,
        unit: own("unit"),
        subject: own("subject"),
        resource: own("resource"),
        user: own("user"),
        correction: correction.map(|(kind, target)| Correction { kind, target: target.to_owned() }),
        properties: crate::decode::properties("properties", map)?,
    };
    check_limits(&event)?;
    Ok(event)
}

/// Refuses a row with more cells than the header has columns: a comma too many shifts its values.
fn check_width(columns: usize, row: &[String]) -> Result<(), Reject> {
    if row.len() > columns {
        let why = format!("the row has {} cells, the header {columns} columns", row.len());
        return Err(Reject::Malformed(why));
    }
    Ok(())
}

/// Refuses a header in which a column stands twice.
fn check_header(header: &[String]) -> Result<(), MappingError> {
    for (at, name) in header.iter().enumerate() {
        if header.iter().take(at).any(|other| other.trim() == name.trim()) {
            return Err(MappingError::TwoColumns(name.trim().to_owned()));
        }
    }
    Ok(())
}

/// Checks the header of a file without a mapping.
///
/// # Errors
/// When a column stands twice, or differs from a field only in case: taken as a property it would
/// silently be billed as 1.
pub fn check_native_header(header: &[String]) -> Result<(), MappingError> {
    check_header(header)?;
    for name in header {
        let name = name.trim();
        let nearly = FIELDS.into_iter().find(|f| *f != name && f.eq_ignore_ascii_case(name));
        if let Some(meant) = nearly {
            return Err(MappingError::NearlyAField { given: name.to_owned(), meant });
        }
    }
    Ok(())
}

/// Reads a row of a file whose columns are named like the fields of an event; every other column
/// is a property. Empty cells count as absent.
///
/// # Errors
/// Names the column that is wrong.
pub fn read_native(
    header: &[String],
    row: &[String],
    default_source: Option<&str>,
) -> Result<Event, Reject> {
    check_width(header.len(), row)?;
    let mut cells: BTreeMap<&str, &str> = header
        .iter()
        .zip(row)
        .map(|(name, cell)| (name.trim(), cell.trim()))
        .filter(|(_, cell)| !cell.is_empty())
        .collect();
    let mut take = |name: &str| cells.remove(name).map(str::to_owned);
    let correction = match (take("reverses"), take("amends")) {
        (Some(_), Some(_)) => {
            return Err(Reject::field("reverses", "a row either reverses or amends, not both"));
        }
        (Some(target), None) => Some(Correction { kind: CorrectionKind::Reverses, target }),
        (None, Some(target)) => Some(Correction { kind: CorrectionKind::Amends, target }),
        (None, None) => None,
    };
    let time = take("time").map(|text| text.parse()).transpose();
    let quantity = take("quantity").map(|text| text.parse()).transpose();
    let event = Event {
        id: take("id").ok_or(Reject::Missing("id"))?,
        source: take("source")
            .or_else(|| default_source.map(str::to_owned))
            .ok_or(Reject::Missing("source"))?,
        customer: CustomerId::new(take("customer").ok_or(Reject::Missing("customer"))?)
            .map_err(|error| Reject::field("customer", error))?,
        event_type: take("type").ok_or(Reject::Missing("type"))?,
        time: time.map_err(|error| Reject::field("time", error))?,
        quantity: quantity
            .map_err(|error| Reject::field("quantity", error))?
            .unwrap_or(Quantity::ONE),
        unit: take("unit"),
        subject: take("subject"),
        resource: take("resource"),
        user: take("user"),
        correction,
        properties: cells
            .into_iter()
            .map(|(name, cell)| (name.to_owned(), Scalar::from(cell)))
            .collect(),
    };
    check_limits(&event)?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        let event = |kind: &str, column: &str| EventRule {
            event_type: kind.to_owned(),
            quantity: Some(column.to_owned()),
            id: None,
            unit: None,
            properties: BTreeMap::new(),
            columns: BTreeMap::new(),
            reverses: None,
            amends: None,
        };
        Mapping {
            source: "trace".to_owned(),
            time: TimeRule {
                column: "TIMESTAMP".to_owned(),
                format: Some("%Y-%m-%d %H:%M:%S%.f".to_owned()),
                zone: None,
            },
            customer: CustomerRule::Spread {
                spread: vec![CustomerId::new("a").unwrap(), CustomerId::new("b").unwrap()],
            },
            events: vec![event("in", "ContextTokens"), event("out", "GeneratedTokens")],
        }
    }

    fn strings(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn one_row_yields_several_events_with_stable_ids() {
        let mapping = mapping();
        let reader =
            mapping.bind(&strings(&["TIMESTAMP", "ContextTokens", "GeneratedTokens"])).unwrap();
        let events =
            reader.read(2, &strings(&["2023-11-16 18:17:03.9799600", "4808", "10"])).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].id.as_str(), events[1].id.as_str()), ("2-1", "2-2"));
        assert_eq!(events[0].customer.as_str(), "b");
        assert_eq!(events[1].quantity.to_string(), "10");
        assert_eq!(events[0].time.unwrap().to_string(), "2023-11-16T18:17:03.97996Z");
    }

    #[test]
    fn missing_columns_and_bad_cells_are_named() {
        let mapping = mapping();
        let error = mapping.bind(&strings(&["TIMESTAMP", "ContextTokens"])).unwrap_err();
        assert!(error.to_string().contains("GeneratedTokens"));
        let reader =
            mapping.bind(&strings(&["TIMESTAMP", "ContextTokens", "GeneratedTokens"])).unwrap();
        let bad = reader.read(1, &strings(&["2023-11-16 18:17:03", "many", "10"])).unwrap_err();
        assert!(bad.to_string().contains("ContextTokens"), "{bad}");
        assert!(reader.read(1, &strings(&["yesterday", "1", "2"])).is_err());
        assert!(reader.read(1, &strings(&["2023-11-16 18:17:03", "1"])).is_err());
        assert!(reader.read(1, &strings(&["2023-11-16 18:17:03", "1", "2", "3"])).is_err());
        let twice = mapping.bind(&strings(&["TIMESTAMP", "ContextTokens", "ContextTokens"]));
        assert!(matches!(twice, Err(MappingError::TwoColumns(_))));
        let nearly = check_native_header(&strings(&["id", "Quantity"])).unwrap_err();
        assert!(nearly.to_string().contains("\"quantity\""), "{nearly}");
    }
}
