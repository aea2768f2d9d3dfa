//! Columns and cells.

use std::borrow::Cow;

use counterfoil_types::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words, names, ids.
    Text,
    /// A whole number.
    Integer,
    /// A decimal, exact.
    Decimal,
    /// An exact number that may have no end of decimals, then written as a fraction.
    Exact,
    /// An instant in UTC.
    Timestamp,
    /// A day.
    Date,
    /// A JSON text.
    Json,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Kind,
    /// Whether a spreadsheet adds it up.
    pub total: bool,
}

impl Column {
    /// A column.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name: Cow::Borrowed(name), kind, total: false }
    }

    /// A column that a spreadsheet adds up.
    #[must_use]
    pub const fn total(name: &'static str, kind: Kind) -> Self {
        Self { name: Cow::Borrowed(name), kind, total: true }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing.
    Empty,
    /// Words, names, ids: escaped where a spreadsheet would calculate them.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A decimal, with the decimals it has.
    Decimal(Decimal),
    /// A number as text: a decimal, or a fraction `1/3`.
    Exact(Cow<'a, str>),
    /// An instant.
    Timestamp(Timestamp),
    /// A day.
    Date(Date),
    /// A JSON text, written as it is.
    Json(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    /// Text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// Text, or nothing.
    #[must_use]
    pub fn maybe(text: Option<&'a str>) -> Self {
        text.map_or(Self::Empty, |text| Self::Text(Cow::Borrowed(text)))
    }
}
