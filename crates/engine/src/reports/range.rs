//! Months: which ones a report is over, and which one something belongs to.

use counterfoil_invoicing::InvoiceBody;
use counterfoil_types::{Period, Timestamp, Zone, civil::Date};
use jiff::ToSpan;

use crate::{EngineError, run::Month};

/// From one month to another, both included; open where none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    from: Option<Date>,
    to: Option<Date>,
}

/// What `unbilled` calls all of time: the years 1 to 9998.
const ALL: Period = Period::new(
    Timestamp::from_micros(-62_135_596_800_000_000),
    Timestamp::from_micros(253_370_764_800_000_000),
);

impl Range {
    /// The months `from` to `to`.
    ///
    /// # Errors
    /// When `to` lies before `from`.
    pub fn new(from: Option<&Month>, to: Option<&Month>) -> Result<Self, EngineError> {
        if let (Some(first), Some(last)) = (from, to)
            && last.first() < first.first()
        {
            return Err(EngineError::refused(format!(
                "the months must be in order: {} lies before {}",
                last.label(),
                first.label()
            )));
        }
        Ok(Self { from: from.map(Month::first), to: to.map(Month::first) })
    }

    /// Whether no month was named.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether the month that begins on a day is one of them.
    pub(super) fn holds(&self, month: Date) -> bool {
        self.from.is_none_or(|from| from <= month) && self.to.is_none_or(|to| month <= to)
    }

    /// The last month.
    pub(super) fn last(&self) -> Option<Date> {
        self.to
    }

    /// The months as one stretch of UTC time.
    pub(super) fn period(&self) -> Result<Period, EngineError> {
        let utc = Zone::utc();
        let first = |day: Date| utc.instant(day.at(0, 0, 0, 0));
        Ok(Period::new(
            self.from.map(first).transpose()?.unwrap_or(ALL.start),
            match self.to {
                Some(to) => first(next(to)?)?,
                None => ALL.end,
            },
        ))
    }
}

/// First day of the month that holds an instant in a zone.
pub(super) fn month_of(at: Timestamp, zone: &Zone) -> Result<Date, EngineError> {
    Ok(zone.civil(at)?.date().first_of_month())
}

/// First day of the month after.
pub(super) fn next(month: Date) -> Result<Date, EngineError> {
    month.checked_add(1.month()).map_err(|_| EngineError::refused("the month is out of range"))
}

/// First day of the month before.
pub(super) fn before(month: Date) -> Result<Date, EngineError> {
    month.checked_sub(1.month()).map_err(|_| EngineError::refused("the month is out of range"))
}

/// A month as users write it.
pub(super) fn label(month: Date) -> String {
    format!("{:04}-{:02}", month.year(), month.month())
}

/// The month of an invoice: the one whose run it falls due in, in the invoice's zone. What closes
/// a period belongs to the month the period ended with, the opening invoice to the month it begins
/// in.
pub(super) fn invoice_month(body: &InvoiceBody) -> Result<Date, EngineError> {
    let at = if body.cycle == 0 { body.due_cycle_at } else { body.due_cycle_at.plus_micros(-1) };
    month_of(at, &body.zone)
}
