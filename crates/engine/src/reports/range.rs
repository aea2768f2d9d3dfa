//! Which stretch of time a report is over, and which month something belongs to. Reports of finance
//! are over months; those of usage also over days (both included) and instants (the end excluded).

use counterfoil_invoicing::InvoiceBody;
use counterfoil_types::{Period, Timestamp, Zone, civil::Date};
use jiff::ToSpan;

use crate::{EngineError, run::Month};

/// From one month to another, both included; open where none is named. Or finer, for usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    from: Option<Date>,
    to: Option<Date>,
    fine: Option<(End, Option<End>)>,
}

/// An end of a finer range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Month(Date),
    Day(Date),
    Instant(Timestamp),
}

impl End {
    fn parse(text: &str) -> Result<Self, EngineError> {
        if let Ok(month) = text.parse::<Month>() {
            return Ok(Self::Month(month.first()));
        }
        // A date would also be read off the front of an instant.
        if text.len() == "2026-10-31".len()
            && let Ok(day) = text.parse()
        {
            return Ok(Self::Day(day));
        }
        text.parse().map(Self::Instant).map_err(|_| {
            EngineError::refused(format!(
                "{text:?} is no month, day or instant; write for example 2026-10, 2026-10-31 or 2026-10-31T12:00:00Z"
            ))
        })
    }

    /// The first instant of it.
    fn start(self, zone: &Zone) -> Result<Timestamp, EngineError> {
        match self {
            Self::Month(day) | Self::Day(day) => Ok(zone.instant(day.at(0, 0, 0, 0))?),
            Self::Instant(at) => Ok(at),
        }
    }

    /// The first instant after it; an instant has nothing in it.
    fn end(self, zone: &Zone) -> Result<Timestamp, EngineError> {
        match self {
            Self::Month(month) => Ok(zone.instant(next(month)?.at(0, 0, 0, 0))?),
            Self::Day(day) => {
                let after = day.tomorrow().map_err(|_| {
                    EngineError::refused("the day lies beyond the years that can be computed with")
                })?;
                Ok(zone.instant(after.at(0, 0, 0, 0))?)
            }
            Self::Instant(at) => Ok(at),
        }
    }
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
        Ok(Self { from: from.map(Month::first), to: to.map(Month::first), fine: None })
    }

    /// From one month, day or instant to another, as users write them.
    ///
    /// # Errors
    /// When one of them is none of these, only the last is named and is no month, or they are not
    /// in order.
    pub fn parse(from: Option<&str>, to: Option<&str>) -> Result<Self, EngineError> {
        let from = from.map(End::parse).transpose()?;
        let to = to.map(End::parse).transpose()?;
        let month = |end: &Option<End>| match end {
            None => Some(None),
            Some(End::Month(first)) => Some(Some(*first)),
            Some(_) => None,
        };
        if let (Some(first), Some(last)) = (month(&from), month(&to)) {
            if let (Some(first), Some(last)) = (first, last)
                && last < first
            {
                return Err(EngineError::refused(format!(
                    "the months must be in order: {} lies before {}",
                    label(last),
                    label(first)
                )));
            }
            return Ok(Self { from: first, to: last, fine: None });
        }
        let Some(from) = from else {
            return Err(EngineError::refused("name where the range begins as well (--from)"));
        };
        Ok(Self { fine: Some((from, to)), ..Self::default() })
    }

    /// Whether it is over whole months.
    pub(super) fn is_months(&self) -> bool {
        self.fine.is_none()
    }

    /// The range on a clock; the current month where nothing was named, up to now where no end was.
    pub(super) fn on(&self, zone: &Zone, now: Timestamp) -> Result<Period, EngineError> {
        let (from, to) = match self.fine {
            Some((from, to)) => (from, to),
            None => {
                let from = match (self.from, self.to) {
                    (Some(from), _) => from,
                    (None, Some(to)) => to,
                    (None, None) => month_of(now, zone)?,
                };
                (End::Month(from), self.to.map(End::Month))
            }
        };
        let start = from.start(zone)?;
        let end = match to {
            Some(to) => to.end(zone)?,
            None => now,
        };
        if end <= start {
            return Err(EngineError::refused(format!(
                "the range must end after it begins; it runs from {start} to {end}"
            )));
        }
        Ok(Period::new(start, end))
    }

    /// Whether no month was named.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.fine.is_none()
    }

    /// Whether the month that begins on a day is one of them.
    pub(super) fn holds(&self, month: Date) -> bool {
        self.from.is_none_or(|from| from <= month) && self.to.is_none_or(|to| month <= to)
    }

    /// From one month to another.
    pub(super) fn of_months(from: Date, to: Date) -> Self {
        Self { from: Some(from), to: Some(to), fine: None }
    }

    /// The first month.
    pub(super) fn first(&self) -> Option<Date> {
        self.from
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
