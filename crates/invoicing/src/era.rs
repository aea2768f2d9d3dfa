//! Eras: stretches of a subscription's life with one rhythm and one zone, within which periods lie
//! on one grid.

use counterfoil_rating::{Alignment, FirstPeriod, Plan};
use counterfoil_types::{BillingDaySchedule, Interval, Period, Schedule, Timestamp, Zone};
use jiff::civil::Date;

use crate::cycle::{CycleError, CycleNumber};

/// What a plan is billed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Length of a period.
    pub interval: Interval,
    /// Where periods start.
    pub alignment: Alignment,
    /// Day of the month, for `billing_day`.
    pub billing_day: Option<i8>,
    /// What becomes of a short first period.
    pub first_period: FirstPeriod,
}

impl Rhythm {
    /// The rhythm of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            interval: plan.interval,
            alignment: plan.alignment,
            billing_day: plan.billing_day,
            first_period: plan.first_period,
        }
    }

    /// The grid of periods of this rhythm for something that begins on `day`.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn grid(&self, day: Date, zone: &Zone) -> Result<Schedule, CycleError> {
        let anchor = match self.alignment {
            Alignment::Calendar => {
                let at = zone.instant(day.at(0, 0, 0, 0))?;
                return Ok(Schedule::calendar(self.interval, at, zone.clone())?);
            }
            Alignment::Anniversary => day,
            Alignment::BillingDay => {
                let billing_day = self.billing_day.unwrap_or(1);
                let days = BillingDaySchedule::new(self.interval, billing_day, day)?;
                let anchor = days.first_billing_day().at(0, 0, 0, 0);
                let grid = Schedule::new(self.interval, anchor, zone.clone())?;
                return Ok(grid.on_day(billing_day));
            }
        };
        Ok(Schedule::new(self.interval, anchor.at(0, 0, 0, 0), zone.clone())?)
    }
}

/// One era.
#[derive(Clone, Debug)]
pub(crate) struct Era {
    pub(crate) rhythm: Rhythm,
    pub(crate) zone: Zone,
    pub(crate) start: Timestamp,
    /// Its first local day, as the grid it goes on with names it.
    begins: Date,
    /// Number of its first period.
    pub(crate) number: CycleNumber,
    grid: Schedule,
    /// Grid index of its first period.
    first: i64,
    /// Whether the stub is part of the first whole period.
    long: bool,
    /// Whether it goes on with an older grid: the boundary it begins at is that grid's, seen from
    /// another zone.
    pub(crate) continued: bool,
}

impl Era {
    pub(crate) fn first(rhythm: Rhythm, day: Date, zone: Zone) -> Result<Self, CycleError> {
        Self::new(rhythm, day, zone, 0)
    }

    fn new(rhythm: Rhythm, day: Date, zone: Zone, number: CycleNumber) -> Result<Self, CycleError> {
        let start = zone.instant(day.at(0, 0, 0, 0))?;
        let grid = rhythm.grid(day, &zone)?;
        let first = grid.index_at(start)?;
        let stub = grid.boundary(first)? < start;
        let long = stub && rhythm.first_period == FirstPeriod::Long;
        Ok(Self { rhythm, zone, start, begins: day, number, grid, first, long, continued: false })
    }

    /// Period `index` of the era with the grid period it lies in.
    pub(crate) fn period(&self, index: u32) -> Result<(Period, Period), CycleError> {
        let index = i64::from(index);
        if self.long {
            // The stub and the first whole period are one; prices count for the whole one.
            let last = self.first + 1 + index;
            let full = self.grid.period(last)?;
            let start = if index == 0 { self.start } else { full.start };
            return Ok((
                Period::new(start, full.end),
                if index == 0 { Period::new(start, full.end) } else { full },
            ));
        }
        let full = self.grid.period(self.first + index)?;
        if index == 0 && self.continued {
            let whole = Period::new(self.start, full.end);
            return Ok((whole, whole));
        }
        let start = if index == 0 { full.start.max(self.start) } else { full.start };
        Ok((Period::new(start, full.end), full))
    }

    /// Index of the period that holds `at`, which must not lie before the era.
    pub(crate) fn index_at(&self, at: Timestamp) -> Result<u32, CycleError> {
        let index = self.grid.index_at(at)? - self.first - i64::from(self.long);
        Ok(u32::try_from(index.max(0)).unwrap_or(u32::MAX))
    }

    /// Whether the first period is a stub that costs nothing.
    pub(crate) fn gives_stub_away(&self) -> Result<bool, CycleError> {
        let stub = !self.continued && self.grid.boundary(self.first)? < self.start;
        Ok(stub && self.rhythm.first_period == FirstPeriod::Free)
    }

    /// The grid of fees that are due every `interval`, a whole multiple of the era's own.
    pub(crate) fn fee_grid(&self, interval: Interval) -> Result<Schedule, CycleError> {
        if self.rhythm.alignment == Alignment::Calendar {
            return Ok(Schedule::calendar(interval, self.start, self.zone.clone())?);
        }
        Ok(Schedule { interval, ..self.grid.clone() })
    }

    /// Boundary `n` of a grid of fees, when it lies in this era.
    pub(crate) fn fee_boundary(
        &self,
        grid: &Schedule,
        n: i64,
    ) -> Result<Option<Timestamp>, CycleError> {
        let local = grid.local_boundary(n)?;
        if self.continued && local.date() <= self.begins {
            return Ok(None);
        }
        Ok(Some(self.zone.instant(local)?))
    }

    /// The era that follows when the zone changes on a local day: from the end of the period that
    /// is open then, on the same nominal grid read in the new zone.
    pub(crate) fn in_zone(&self, on: Date, zone: Zone) -> Result<Self, CycleError> {
        let at = self.zone.instant(on.at(0, 0, 0, 0))?.max(self.start);
        // A change on a boundary holds from that boundary.
        let open = self.index_at(at)?;
        let (period, _) = self.period(open)?;
        let index = if period.start == at && at > self.start { open } else { open + 1 };
        let (opens, _) = self.period(index)?;
        let first = self.first + i64::from(index) + i64::from(self.long);
        Ok(Self {
            rhythm: self.rhythm,
            start: opens.start,
            begins: self.grid.local_boundary(first)?.date(),
            number: self.number + index,
            grid: Schedule { zone: zone.clone(), ..self.grid.clone() },
            zone,
            first,
            long: false,
            continued: true,
        })
    }

    /// The era that follows when the rhythm changes on a local day: from that day.
    pub(crate) fn in_rhythm(&self, on: Date, rhythm: Rhythm) -> Result<Self, CycleError> {
        let at = self.zone.instant(on.at(0, 0, 0, 0))?;
        let open = if at > self.start { self.index_at(at.plus_micros(-1))? + 1 } else { 0 };
        Self::new(rhythm, on, self.zone.clone(), self.number + open)
    }
}
