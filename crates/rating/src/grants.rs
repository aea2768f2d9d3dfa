//! Prepaid grants burned down by usage.
//!
//! A grant can be used in `[effective_at, expires_at)`. Usage burns the grant with the lowest
//! priority number first, then the one that expires first, then the earlier in the list. Usage
//! that no grant covers is overage; it is billed as such or, where the rules say so, taken from
//! the next grant that starts (OpenMeter's rule).

use counterfoil_types::{Exact, Schedule, ScheduleError, Timestamp};
use thiserror::Error;

/// A prepaid grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Name, unique in the list.
    pub id: String,
    /// Units granted, and granted anew at each recurrence.
    pub amount: Exact,
    /// Lower numbers burn first.
    pub priority: i64,
    /// First instant it can be used.
    pub effective_at: Timestamp,
    /// First instant it can no longer be used; never when absent.
    pub expires_at: Option<Timestamp>,
    /// Boundaries at which the balance is set to `amount` again. They count after `effective_at`.
    pub recurrence: Option<Schedule>,
    /// What a reset leaves of the balance.
    pub rollover: Rollover,
}

/// What a reset leaves of a grant's balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollover {
    /// The balance is raised to at least this.
    pub at_least: Exact,
    /// The balance is cut to at most this.
    pub at_most: Exact,
}

impl Grant {
    fn is_active(&self, at: Timestamp) -> bool {
        self.effective_at <= at && self.expires_at.is_none_or(|end| at < end)
    }
}

/// Something that moves balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantEvent {
    /// Units used. Below zero: a correction, which lowers overage and then gives the most
    /// recently burned units back to grants that are still active.
    Usage(Exact),
    /// A usage period ends: balances roll over. Overage is forgotten unless `keep_overage`.
    Reset {
        /// Whether overage is taken from the balances after the reset.
        keep_overage: bool,
    },
}

/// What happens to usage that no grant covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overage {
    /// It stays overage.
    Bill,
    /// The next grant that starts or recurs pays it first.
    Carry,
}

/// A burn of one usage on one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burn {
    /// When.
    pub at: Timestamp,
    /// Position of the grant.
    pub grant: usize,
    /// Units burned; below zero where a correction gave units back.
    pub units: Exact,
}

/// Balances at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balances {
    /// Balance of each grant, in the order given; zero outside its life.
    pub balances: Vec<Exact>,
    /// Usage no grant covered (and none paid later).
    pub overage: Exact,
    /// Every burn, in order.
    pub burns: Vec<Burn>,
}

/// Why balances could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrantError {
    /// A recurrence left the years that can be computed with.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// What happens at one instant, in the order of these variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'a> {
    Expire(usize),
    Reset(bool),
    Start(usize),
    Use(&'a Exact),
}

struct Run<'a> {
    grants: &'a [Grant],
    /// Positions of the grants in burn order.
    order: Vec<usize>,
    balances: Vec<Exact>,
    overage: Exact,
    burns: Vec<Burn>,
    /// Units burned and not given back, latest last.
    stack: Vec<(usize, Exact)>,
}

/// Balances at `at`: events before it are counted, a grant that starts at it is there, one that
/// expires at it is gone. `events` need no order.
///
/// # Errors
/// When a recurrence leaves the years that can be computed with.
pub fn burn(
    grants: &[Grant],
    events: &[(Timestamp, GrantEvent)],
    overage: Overage,
    at: Timestamp,
) -> Result<Balances, GrantError> {
    let mut steps: Vec<(Timestamp, Step<'_>)> = Vec::new();
    for (number, grant) in grants.iter().enumerate() {
        steps.push((grant.effective_at, Step::Start(number)));
        if let Some(end) = grant.expires_at {
            steps.push((end, Step::Expire(number)));
        }
        if let Some(schedule) = &grant.recurrence {
            let end = grant.expires_at.map_or(at, |end| end.min(at));
            let mut next = schedule.boundary_after(grant.effective_at, false)?;
            while next <= end {
                if grant.is_active(next) {
                    steps.push((next, Step::Start(number)));
                }
                next = schedule.boundary_after(next, false)?;
            }
        }
    }
    for (time, event) in events.iter().filter(|(time, _)| *time < at) {
        steps.push((
            *time,
            match event {
                GrantEvent::Usage(units) => Step::Use(units),
                GrantEvent::Reset { keep_overage } => Step::Reset(*keep_overage),
            },
        ));
    }
    steps.retain(|(time, _)| *time <= at);
    // Usage of one instant keeps its order: the sort is stable and looks at the kind alone.
    let kind = |step: &Step<'_>| match step {
        Step::Expire(_) => 0,
        Step::Reset(_) => 1,
        Step::Start(_) => 2,
        Step::Use(_) => 3,
    };
    steps.sort_by_key(|(time, step)| (*time, kind(step)));

    let mut order: Vec<usize> = (0..grants.len()).collect();
    order.sort_by_key(|at| {
        grants.get(*at).map(|grant| (grant.priority, grant.expires_at.unwrap_or(Timestamp::MAX)))
    });
    let mut run = Run {
        grants,
        order,
        balances: vec![Exact::ZERO; grants.len()],
        overage: Exact::ZERO,
        burns: Vec::new(),
        stack: Vec::new(),
    };
    let mut steps = steps.into_iter().peekable();
    while let Some((time, step)) = steps.next() {
        // Carried overage waits until every grant of this instant has started.
        let more_starts = matches!(steps.peek(), Some((next, Step::Start(_))) if *next == time);
        run.step(time, &step, overage, !more_starts);
    }
    Ok(Balances { balances: run.balances, overage: run.overage, burns: run.burns })
}

impl Run<'_> {
    fn step(&mut self, at: Timestamp, step: &Step<'_>, overage: Overage, settle: bool) {
        match step {
            Step::Expire(number) => self.set(*number, Exact::ZERO),
            Step::Start(number) => {
                if let Some(grant) = self.grants.get(*number).filter(|grant| grant.is_active(at)) {
                    self.set(*number, grant.amount.clone());
                }
                if overage == Overage::Carry && settle {
                    self.settle(at);
                }
            }
            Step::Reset(keep_overage) => {
                for (number, grant) in self.grants.iter().enumerate() {
                    if grant.is_active(at) && grant.effective_at < at {
                        let Rollover { at_least, at_most } = &grant.rollover;
                        let rolled = self.balance(number).at_least(at_least).at_most(at_most);
                        self.set(number, rolled);
                    }
                }
                if *keep_overage {
                    self.settle(at);
                } else {
                    self.overage = Exact::ZERO;
                }
            }
            Step::Use(units) if units.is_negative() => self.give_back(at, &units.neg()),
            Step::Use(units) => {
                let left = self.take(at, units);
                self.overage = self.overage.add(&left);
            }
        }
    }

    fn balance(&self, number: usize) -> Exact {
        self.balances.get(number).cloned().unwrap_or_default()
    }

    fn set(&mut self, number: usize, balance: Exact) {
        if let Some(slot) = self.balances.get_mut(number) {
            *slot = balance;
        }
        // What was burned of the old balance cannot be given back any more.
        self.stack.retain(|(grant, _)| *grant != number);
    }

    fn settle(&mut self, at: Timestamp) {
        let carried = std::mem::take(&mut self.overage);
        self.overage = self.take(at, &carried);
    }

    /// Burns `units` and returns what no grant covered.
    fn take(&mut self, at: Timestamp, units: &Exact) -> Exact {
        let mut left = units.clone();
        for number in self.order.clone() {
            let taken = left.at_most(&self.balance(number));
            if !taken.is_positive() {
                continue;
            }
            if let Some(balance) = self.balances.get_mut(number) {
                *balance = balance.sub(&taken);
            }
            left = left.sub(&taken);
            self.stack.push((number, taken.clone()));
            self.burns.push(Burn { at, grant: number, units: taken });
        }
        left
    }

    /// Undoes `units` of usage: overage first, then the latest burns.
    fn give_back(&mut self, at: Timestamp, units: &Exact) {
        let forgiven = units.at_most(&self.overage);
        self.overage = self.overage.sub(&forgiven);
        let mut left = units.sub(&forgiven);
        while left.is_positive()
            && let Some((number, burned)) = self.stack.pop()
        {
            let back = left.at_most(&burned);
            left = left.sub(&back);
            let rest = burned.sub(&back);
            if rest.is_positive() {
                self.stack.push((number, rest));
            }
            if let Some(balance) = self.balances.get_mut(number) {
                *balance = balance.add(&back);
            }
            self.burns.push(Burn { at, grant: number, units: back.neg() });
        }
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_types::{Interval, IntervalUnit, Zone};

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("{text}:00Z").parse().unwrap()
    }
    fn units(value: i64) -> Exact {
        Exact::from(value)
    }
    fn grant(id: &str, amount: i64, priority: i64, from: &str, to: Option<&str>) -> Grant {
        Grant {
            id: id.to_owned(),
            amount: units(amount),
            priority,
            effective_at: at(from),
            expires_at: to.map(at),
            recurrence: None,
            rollover: Rollover::default(),
        }
    }
    fn used(time: &str, value: i64) -> (Timestamp, GrantEvent) {
        (at(time), GrantEvent::Usage(units(value)))
    }

    #[test]
    fn priority_then_expiry_then_age() {
        let grants = [
            grant("late", 10, 1, "2024-01-01T00:00", None),
            grant("soon", 10, 1, "2024-01-01T00:00", Some("2024-02-01T00:00")),
            grant("first", 10, 0, "2024-01-01T00:00", None),
        ];
        let events = [used("2024-01-02T00:00", 15)];
        let done = burn(&grants, &events, Overage::Bill, at("2024-01-03T00:00")).unwrap();
        assert_eq!(done.balances, [units(10), units(5), units(0)]);
        let after = burn(&grants, &events, Overage::Bill, at("2024-02-01T00:00")).unwrap();
        assert_eq!(
            after.balances,
            [units(10), units(0), units(0)],
            "the expiry instant is outside"
        );
    }

    #[test]
    fn overage_is_billed_or_carried() {
        let mut daily = grant("daily", 100, 1, "2024-01-01T00:00", Some("2024-01-31T00:00"));
        daily.recurrence = Some(
            Schedule::new(
                Interval::one(IntervalUnit::Day),
                Zone::utc().civil(daily.effective_at).unwrap(),
                Zone::utc(),
            )
            .unwrap(),
        );
        let events = [used("2024-01-01T01:00", 120)];
        let balance = |overage, time: &str| {
            let done = burn(std::slice::from_ref(&daily), &events, overage, at(time)).unwrap();
            (done.balances[0].clone(), done.overage)
        };
        assert_eq!(balance(Overage::Carry, "2024-01-01T02:00"), (units(0), units(20)));
        assert_eq!(balance(Overage::Carry, "2024-01-02T01:00"), (units(80), units(0)));
        assert_eq!(balance(Overage::Bill, "2024-01-02T01:00"), (units(100), units(20)));
        assert_eq!(balance(Overage::Carry, "2024-01-03T00:00"), (units(100), units(0)));
    }

    #[test]
    fn corrections_give_back_what_was_burned_last() {
        let grants = [
            grant("a", 10, 0, "2024-01-01T00:00", None),
            grant("b", 10, 1, "2024-01-01T00:00", None),
        ];
        let events = [used("2024-01-02T00:00", 25), used("2024-01-03T00:00", -8)];
        let done = burn(&grants, &events, Overage::Bill, at("2024-01-04T00:00")).unwrap();
        assert_eq!((done.balances, done.overage), (vec![units(0), units(3)], units(0)));
    }

    #[test]
    fn a_reset_rolls_over_within_bounds() {
        let mut kept = grant("kept", 100, 0, "2024-01-01T00:00", None);
        kept.rollover = Rollover { at_least: units(0), at_most: units(30) };
        let events = [
            used("2024-01-02T00:00", 40),
            (at("2024-02-01T00:00"), GrantEvent::Reset { keep_overage: false }),
        ];
        let done = burn(&[kept], &events, Overage::Bill, at("2024-02-02T00:00")).unwrap();
        assert_eq!(done.balances, [units(30)]);
    }
}
