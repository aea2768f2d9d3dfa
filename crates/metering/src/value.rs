//! A period's value out of states: the last step before rating.

use counterfoil_types::{Exact, ExactError, Period};

use crate::{
    meter::{Aggregation, Meter},
    state::State,
};

/// All that is known of one group of one meter in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeriodUsage {
    /// The merged state of the events inside; `None` without events.
    pub inside: Option<State>,
    /// The level the period opens with (time-weighted meters only).
    pub opening: Option<Exact>,
    /// Number of different members inside (unique counts only).
    pub members: u64,
}

impl PeriodUsage {
    /// Events inside.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inside.as_ref().and_then(|state| u64::try_from(state.events()).ok()).unwrap_or(0)
    }
}

/// The value of a meter over `period`, converted and rounded as the meter says. For an open
/// period the caller passes the part that has passed.
///
/// # Errors
/// Only when a time-weighted mean is asked for over an empty period.
pub fn value_of(meter: &Meter, usage: &PeriodUsage, period: &Period) -> Result<Exact, ExactError> {
    let raw = raw_value(meter, usage, period)?.mul(&meter.factor);
    Ok(match meter.rounding {
        Some((decimals, mode)) => raw.round(decimals, mode),
        None => raw,
    })
}

fn raw_value(meter: &Meter, usage: &PeriodUsage, period: &Period) -> Result<Exact, ExactError> {
    let opening = usage.opening.clone().unwrap_or(Exact::ZERO);
    let whole = Exact::from(period.micros());
    let live = usage.inside.as_ref().filter(|state| state.events() > 0);
    Ok(match (meter.aggregation, live) {
        (Aggregation::UniqueCount, _) => Exact::from(usage.members),
        (Aggregation::TimeWeightedSum | Aggregation::TimeWeightedLevel, state) => {
            let area = match state {
                None => opening.mul(&whole),
                Some(State::Moment { sum, moment, .. }) => {
                    let end = Exact::from(period.end.micros());
                    opening.mul(&whole).add(&sum.mul(&end)).sub(moment)
                }
                Some(State::Area { first, last, area, .. }) => {
                    let before = Exact::from(first.at - period.start.micros());
                    let after = Exact::from(period.end.micros() - last.at);
                    opening.mul(&before).add(area).add(&last.value.mul(&after))
                }
                Some(_) => Exact::ZERO,
            };
            match meter.per.micros() {
                Some(unit) => area.div(&Exact::from(unit))?,
                None if period.is_empty() => Exact::ZERO,
                None => area.div(&whole)?,
            }
        }
        (_, None) => Exact::ZERO,
        (_, Some(State::Count { n })) => Exact::from(*n),
        (Aggregation::Average, Some(State::Sum { n, sum })) => sum.div(&Exact::from(*n))?,
        (_, Some(State::Sum { sum, .. })) => sum.clone(),
        (_, Some(State::Extreme { value, .. })) => value.clone(),
        (_, Some(State::Latest { last, .. })) => last.value.clone(),
        (_, Some(_)) => Exact::ZERO,
    })
}

/// The level after all events of `state`, given the level before them.
#[must_use]
pub fn closing_level(opening: &Exact, state: &State) -> Exact {
    match state {
        State::Moment { sum, .. } => opening.add(sum),
        State::Area { last, n, .. } if *n > 0 => last.value.clone(),
        _ => opening.clone(),
    }
}
