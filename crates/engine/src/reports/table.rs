//! The common shape of reports: columns and typed rows, and totals in the same form.

use counterfoil_types::{Currency, Exact, Money, Rounding, Timestamp};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::Kind;
use crate::EngineError;

/// Decimals shown of a number that has no end of them.
const DECIMALS: i32 = 12;
const ROUNDED: Rounding = Rounding::HalfAwayFromZero;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Words, names, ids.
    Text(String),
    /// A number of things.
    Count(u64),
    /// An amount; its currency stands in the row's own column as well.
    Money(Money),
    /// An exact number.
    Exact(Exact),
    /// An instant.
    Time(Timestamp),
}

impl Cell {
    /// As a table or CSV shows it: amounts without their currency, and numbers whose decimals have
    /// no end rounded to twelve of them, since a spreadsheet takes `1/3` for a day. JSON is exact.
    #[must_use]
    pub fn plain(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Money(money) => money.to_plain(),
            Self::Exact(exact) => {
                let text = exact.to_string();
                if text.contains('/') { exact.round(DECIMALS, ROUNDED).to_string() } else { text }
            }
            Self::Time(at) => at.to_string(),
        }
    }

    /// Whether it is a number.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Money(_) | Self::Exact(_))
    }

    /// Whether it is text: somebody else may have written it, so it must not start a formula.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Text, of anything that shows itself.
    pub(crate) fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// An amount that must lie on the minor unit.
    pub(crate) fn money(exact: &Exact, currency: Currency) -> Result<Self, EngineError> {
        Ok(Self::Money(Money::from_exact(exact, currency)?))
    }

    /// What there is, or nothing.
    pub(crate) fn maybe(value: Option<impl ToString>) -> Self {
        value.map_or(Self::Empty, Self::text)
    }
}

/// Columns and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// The rows, each with a cell per column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// The columns that hold numbers.
    #[must_use]
    pub fn numeric(&self) -> Vec<usize> {
        (0..self.columns.len())
            .filter(|at| self.rows.iter().any(|row| row.get(*at).is_some_and(Cell::is_number)))
            .collect()
    }

    /// The rows as a table or CSV shows them.
    pub fn plain(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(Cell::plain).collect())
    }
}

/// A row as an object, its keys in the order of the columns.
struct Row<'a>(&'a [&'static str], &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in self.0.iter().zip(self.1) {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Row(&self.columns, row)))
    }
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub kind: Kind,
    /// Its rows.
    pub table: Table,
    /// Its totals; without columns where there are none.
    pub totals: Table,
    /// Whether something in it wants a decision.
    pub wants_decision: bool,
}

impl Report {
    /// A report without totals that wants no decision.
    pub(crate) fn of(kind: Kind, table: Table) -> Self {
        Self { kind, table, totals: Table::default(), wants_decision: false }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("report", &self.kind)?;
        map.serialize_entry("columns", &self.table.columns)?;
        map.serialize_entry("rows", &self.table)?;
        map.serialize_entry("totals", &self.totals)?;
        map.serialize_entry("wants_decision", &self.wants_decision)?;
        map.end()
    }
}
