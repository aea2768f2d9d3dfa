//! Billing cycles: which invoice a subscription gets when.
//!
//! Cycle 0 opens the subscription at its start and carries what is due in advance for the first
//! period. Cycle n ≥ 1 closes period n − 1: its usage and arrears, and what is due in advance for
//! period n. So every boundary has one invoice, and `(subscription, cycle)` names it for ever.
//! After the last closing a settlement falls due with each month, for what came late.
//!
//! Periods tile in [eras](crate::era): each has one rhythm and one zone.

use counterfoil_rating::Plan;
use counterfoil_types::{Interval, Period, ScheduleError, TimeError, Timestamp, Zone};
use jiff::{ToSpan, civil::Date};
use thiserror::Error;

use crate::{
    era::{Era, Rhythm},
    subscription::{ChangeKind, Subscription, Terms},
};

/// Why periods could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CycleError {
    /// The schedule left the computable years.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A billing day that does not exist.
    #[error(transparent)]
    BillingDay(#[from] counterfoil_types::BillingDayError),
    /// A date left the computable years.
    #[error(transparent)]
    Time(#[from] TimeError),
}

/// The number of a billing cycle.
pub type CycleNumber = u32;

/// One billing cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its number.
    pub number: CycleNumber,
    /// When it falls due.
    pub at: Timestamp,
    /// The period it closes; none for cycle 0 and for settlements.
    pub closes: Option<Period>,
    /// The full grid period `closes` is (part of).
    pub closes_full: Option<Period>,
    /// The period it opens; none when the subscription ends here.
    pub opens: Option<Period>,
    /// The full grid period `opens` is (part of).
    pub opens_full: Option<Period>,
}

impl Cycle {
    /// Whether it only settles what came after the last closing.
    #[must_use]
    pub fn settles(&self) -> bool {
        self.closes.is_none() && self.opens.is_none()
    }
}

/// All cycles of a subscription.
#[derive(Clone, Debug)]
pub struct Cycles {
    eras: Vec<Era>,
    start: Timestamp,
    end: Option<Timestamp>,
}

/// Settlements after the last closing: a year of months.
const SETTLEMENTS: u32 = 12;

impl Cycles {
    /// The cycles of `subscription` on one plan, in the customer's zone: for a subscription that
    /// never changed.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn of(subscription: &Subscription, plan: &Plan, zone: &Zone) -> Result<Self, CycleError> {
        Self::with(subscription, zone, |_, _| Ok(Rhythm::of(plan)))
    }

    /// The cycles of `subscription`; `rhythm` tells what the plan of its terms on a day is billed
    /// by.
    ///
    /// # Errors
    /// As `rhythm` has them, or when a date cannot be computed with.
    pub fn with<E: From<CycleError>>(
        subscription: &Subscription,
        zone: &Zone,
        rhythm: impl Fn(&Terms, Date) -> Result<Rhythm, E>,
    ) -> Result<Self, E> {
        let first_zone = subscription.zone.as_ref().unwrap_or(zone).clone();
        let begins = subscription.start;
        let first = rhythm(&subscription.terms_on(begins), begins)?;
        let mut eras = vec![Era::first(first, begins, first_zone)?];
        for change in &subscription.changes {
            let current = eras.last().cloned();
            let Some(current) = current else { break };
            match &change.what {
                ChangeKind::Zone { zone } if *zone != current.zone => {
                    eras.push(current.in_zone(change.on, zone.clone())?);
                }
                ChangeKind::Plan { .. } => {
                    let next = rhythm(&subscription.terms_on(change.on), change.on)?;
                    if next != current.rhythm {
                        eras.push(current.in_rhythm(change.on, next)?);
                    }
                }
                _ => {}
            }
        }
        let start = eras.first().map_or(Timestamp::MIN, |era| era.start);
        let mut cycles = Self { eras, start, end: None };
        cycles.end = subscription.end.map(|end| cycles.instant(end)).transpose()?;
        Ok(cycles)
    }

    /// The first instant of a local day, in the zone the subscription was in then.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn instant(&self, day: Date) -> Result<Timestamp, CycleError> {
        for era in self.eras.iter().rev() {
            let at = era.zone.instant(day.at(0, 0, 0, 0)).map_err(CycleError::Time)?;
            if at >= era.start {
                return Ok(at);
            }
        }
        let zone = self.eras.first().map_or_else(Zone::utc, |era| era.zone.clone());
        Ok(zone.instant(day.at(0, 0, 0, 0))?)
    }

    /// The zone at an instant.
    #[must_use]
    pub fn zone_at(&self, at: Timestamp) -> Zone {
        self.era_at(at).map_or_else(Zone::utc, |era| era.zone.clone())
    }

    /// When it begins.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// When it ends.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }

    fn era_at(&self, at: Timestamp) -> Option<&Era> {
        let later = self.eras.iter().rev().find(|era| era.start <= at);
        later.or_else(|| self.eras.first())
    }

    /// Period `n` (from 0), cut to the life of the subscription, with the grid period it lies in.
    /// `None` after its end.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn period(&self, n: CycleNumber) -> Result<Option<(Period, Period)>, CycleError> {
        let at = self.eras.partition_point(|era| era.number <= n).saturating_sub(1);
        let Some(era) = self.eras.get(at) else { return Ok(None) };
        let (mut cut, full) = era.period(n - era.number)?;
        if let Some(next) = self.eras.get(at + 1) {
            cut.end = cut.end.min(next.start);
        }
        if let Some(end) = self.end {
            cut.end = cut.end.min(end);
        }
        Ok((!cut.is_empty()).then_some((cut, full)))
    }

    /// The period of a fee (or a term) of its own length that holds `at`, cut to the life of its
    /// rhythm, with the full one it lies in. Its boundaries are boundaries of cycles, since its
    /// length is a whole multiple of theirs.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn fee_period(
        &self,
        at: Timestamp,
        interval: Interval,
    ) -> Result<Option<(Period, Period)>, CycleError> {
        let current = self.eras.partition_point(|era| era.start <= at).saturating_sub(1);
        // The eras that go on with one another's grid are one life.
        let first = (0..=current)
            .rev()
            .find(|at| self.eras.get(*at).is_some_and(|era| !era.continued))
            .unwrap_or(0);
        let chain: Vec<&Era> = self
            .eras
            .iter()
            .enumerate()
            .skip(first)
            .take_while(|(at, era)| *at == first || era.continued)
            .map(|(_, era)| era)
            .collect();
        let Some(root) = chain.first() else { return Ok(None) };
        let grid = root.fee_grid(interval)?;
        let boundary = |n: i64| -> Result<Timestamp, CycleError> {
            for era in chain.iter().rev() {
                if let Some(at) = era.fee_boundary(&grid, n)? {
                    return Ok(at);
                }
            }
            Ok(grid.boundary(n)?)
        };
        let mut n = grid.index_at(at)?;
        while boundary(n)? > at {
            n -= 1;
        }
        while boundary(n + 1)? <= at {
            n += 1;
        }
        let full = Period::new(boundary(n)?, boundary(n + 1)?);
        let next = self.eras.get(first + chain.len()).map(|era| era.start);
        let end = next.into_iter().chain(self.end).min().unwrap_or(Timestamp::MAX);
        let cut = full.intersect(&Period::new(root.start, end));
        Ok((!cut.is_empty()).then_some((cut, full)))
    }

    /// Whether period `n` is a stub that its plan gives away.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn is_free(&self, n: CycleNumber) -> Result<bool, CycleError> {
        let at = self.eras.partition_point(|era| era.number <= n).saturating_sub(1);
        let Some(era) = self.eras.get(at) else { return Ok(false) };
        Ok(n == era.number && era.gives_stub_away()?)
    }

    /// The number of the closing cycle of a subscription that ends.
    fn last(&self) -> Result<Option<CycleNumber>, CycleError> {
        let Some(end) = self.end else { return Ok(None) };
        Ok(self.number_at(end.plus_micros(-1))?.map(|last| last + 1))
    }

    /// Cycle `number`; `None` when nothing falls due any more.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn cycle(&self, number: CycleNumber) -> Result<Option<Cycle>, CycleError> {
        let opens = self.period(number)?;
        let closes = match number.checked_sub(1) {
            Some(before) => self.period(before)?,
            None => None,
        };
        let at = match (closes, opens) {
            (Some((closes, _)), _) => closes.end,
            (None, Some((opens, _))) if number == 0 => opens.start,
            _ => return self.settlement(number),
        };
        Ok(Some(Cycle {
            number,
            at,
            closes: closes.map(|(cut, _)| cut),
            closes_full: closes.map(|(_, full)| full),
            opens: opens.map(|(cut, _)| cut),
            opens_full: opens.map(|(_, full)| full),
        }))
    }

    /// The `number − last`-th first of a month after the end.
    fn settlement(&self, number: CycleNumber) -> Result<Option<Cycle>, CycleError> {
        let (Some(last), Some(end)) = (self.last()?, self.end) else { return Ok(None) };
        if number <= last || number - last > SETTLEMENTS {
            return Ok(None);
        }
        let out = |_| TimeError::OutOfRange(end.micros());
        let zone = self.zone_at(end);
        let month = zone.civil(end)?.date().first_of_month();
        let day = month.checked_add(i64::from(number - last).months()).map_err(out)?;
        let at = zone.instant(day.at(0, 0, 0, 0))?;
        Ok(Some(Cycle {
            number,
            at,
            closes: None,
            closes_full: None,
            opens: None,
            opens_full: None,
        }))
    }

    /// The cycles that fall due in a run over `[from, to)`: closings and settlements with
    /// `from < at ≤ to`, and the opening when the subscription starts inside. So a month's run
    /// bills the month that ended with it, and a subscription that starts in it gets its advance
    /// fees at once.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn due(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Cycle>, CycleError> {
        let mut due = Vec::new();
        let mut number = if from < self.start {
            0
        } else if let (Some(end), Some(last)) = (self.end, self.last()?)
            && from >= end
        {
            last
        } else {
            // The first period that can end after `from`.
            self.number_at(from)?.unwrap_or(0)
        };
        while let Some(cycle) = self.cycle(number)? {
            let inside = if cycle.number == 0 {
                from <= cycle.at && cycle.at < to
            } else {
                from < cycle.at && cycle.at <= to
            };
            if inside {
                due.push(cycle);
            }
            if cycle.at > to {
                break;
            }
            number += 1;
        }
        Ok(due)
    }

    fn number_at(&self, at: Timestamp) -> Result<Option<CycleNumber>, CycleError> {
        match self.era_at(at) {
            Some(era) if at >= self.start => Ok(Some(era.number + era.index_at(at)?)),
            _ => Ok(None),
        }
    }

    /// Number of the period that holds `at`, if the subscription covers it.
    ///
    /// # Errors
    /// When a date cannot be computed with.
    pub fn period_at(&self, at: Timestamp) -> Result<Option<CycleNumber>, CycleError> {
        if at < self.start || self.end.is_some_and(|end| at >= end) {
            return Ok(None);
        }
        self.number_at(at)
    }
}

#[cfg(test)]
mod tests;
