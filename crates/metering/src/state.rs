//! What one bucket remembers. States of the same meter merge; those that are sums can also be
//! taken back, which is how corrections are projected without looking at the events again.

use std::collections::BTreeMap;

use counterfoil_types::{Exact, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{measure::Measured, meter::Aggregation};

/// A value with its place in time; ties in time are settled by position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When, in µs.
    #[serde(rename = "t")]
    pub at: i64,
    /// Ledger position.
    #[serde(rename = "p")]
    pub position: u64,
    /// The value.
    #[serde(rename = "v")]
    pub value: Exact,
}

impl Reading {
    fn order(&self) -> (i64, u64) {
        (self.at, self.position)
    }
}

/// The state of a bucket. `n` counts its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k")]
pub enum State {
    /// Number of events.
    #[serde(rename = "n")]
    Count {
        /// Events.
        n: i64,
    },
    /// Sum of values.
    #[serde(rename = "s")]
    Sum {
        /// Events.
        n: i64,
        /// Sum.
        sum: Exact,
    },
    /// Largest or smallest value.
    #[serde(rename = "x")]
    Extreme {
        /// Events.
        n: i64,
        /// Whether the largest is kept.
        max: bool,
        /// The value.
        value: Exact,
    },
    /// Latest value.
    #[serde(rename = "l")]
    Latest {
        /// Events.
        n: i64,
        /// The reading.
        last: Reading,
    },
    /// Members of a unique count, with how often each occurred. In storage the members lie in
    /// rows of their own and `members` is empty.
    #[serde(rename = "u")]
    Unique {
        /// Events.
        n: i64,
        /// Occurrences by member.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        members: BTreeMap<String, i64>,
    },
    /// Changes of a level: Σ value and Σ value × time (µs since 1970).
    #[serde(rename = "m")]
    Moment {
        /// Events.
        n: i64,
        /// Σ value.
        sum: Exact,
        /// Σ value × time.
        moment: Exact,
    },
    /// A stated level: first and last reading and the area between them (value × µs).
    #[serde(rename = "a")]
    Area {
        /// Events.
        n: i64,
        /// Earliest reading.
        first: Reading,
        /// Latest reading.
        last: Reading,
        /// Area from first to last.
        area: Exact,
    },
}

/// The states cannot be merged from memory alone; the bucket must be folded from its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bucket must be folded again from its events")]
pub struct NeedsRefold;

impl State {
    /// The state after one event.
    #[must_use]
    pub fn single(
        aggregation: Aggregation,
        value: &Measured,
        at: Timestamp,
        position: u64,
    ) -> Self {
        let number = match value {
            Measured::Number(number) => number.clone(),
            Measured::Member(member) => {
                return Self::Unique { n: 1, members: BTreeMap::from([(member.clone(), 1)]) };
            }
        };
        let at = at.micros();
        match aggregation {
            Aggregation::Count | Aggregation::UniqueCount => Self::Count { n: 1 },
            Aggregation::Sum | Aggregation::Average => Self::Sum { n: 1, sum: number },
            Aggregation::Max => Self::Extreme { n: 1, max: true, value: number },
            Aggregation::Min => Self::Extreme { n: 1, max: false, value: number },
            Aggregation::Latest => {
                Self::Latest { n: 1, last: Reading { at, position, value: number } }
            }
            Aggregation::TimeWeightedSum => {
                let moment = number.mul(&Exact::from(at));
                Self::Moment { n: 1, sum: number, moment }
            }
            Aggregation::TimeWeightedLevel => {
                let reading = Reading { at, position, value: number };
                Self::Area { n: 1, first: reading.clone(), last: reading, area: Exact::ZERO }
            }
        }
    }

    /// How many events made it up.
    #[must_use]
    pub fn events(&self) -> i64 {
        match self {
            Self::Count { n }
            | Self::Sum { n, .. }
            | Self::Extreme { n, .. }
            | Self::Latest { n, .. }
            | Self::Unique { n, .. }
            | Self::Moment { n, .. }
            | Self::Area { n, .. } => *n,
        }
    }

    /// The state that takes this one back.
    ///
    /// # Errors
    /// [`NeedsRefold`] for states that are no sums.
    pub fn inverse(&self) -> Result<Self, NeedsRefold> {
        Ok(match self {
            Self::Count { n } => Self::Count { n: -n },
            Self::Sum { n, sum } => Self::Sum { n: -n, sum: sum.neg() },
            Self::Moment { n, sum, moment } => {
                Self::Moment { n: -n, sum: sum.neg(), moment: moment.neg() }
            }
            Self::Unique { n, members } => Self::Unique {
                n: -n,
                members: members.iter().map(|(name, count)| (name.clone(), -count)).collect(),
            },
            Self::Extreme { .. } | Self::Latest { .. } | Self::Area { .. } => {
                return Err(NeedsRefold);
            }
        })
    }

    /// Adds another state of the same meter to this one.
    ///
    /// # Errors
    /// [`NeedsRefold`] when the two overlap in a way that only the events can settle, or are of
    /// different kinds.
    pub fn merge(&mut self, other: &Self) -> Result<(), NeedsRefold> {
        match (self, other) {
            (Self::Count { n }, Self::Count { n: m }) => *n += m,
            (Self::Sum { n, sum }, Self::Sum { n: m, sum: more }) => {
                *n += m;
                *sum = sum.add(more);
            }
            (Self::Extreme { n, max, value }, Self::Extreme { n: m, max: same, value: other })
                if max == same =>
            {
                *n += m;
                *value = if *max { value.at_least(other) } else { value.at_most(other) };
            }
            (Self::Latest { n, last }, Self::Latest { n: m, last: other }) => {
                *n += m;
                if other.order() > last.order() {
                    *last = other.clone();
                }
            }
            (Self::Unique { n, members }, Self::Unique { n: m, members: others }) => {
                *n += m;
                for (member, count) in others {
                    *members.entry(member.clone()).or_default() += count;
                }
                members.retain(|_, count| *count != 0);
            }
            (
                Self::Moment { n, sum, moment },
                Self::Moment { n: m, sum: more, moment: further },
            ) => {
                *n += m;
                *sum = sum.add(more);
                *moment = moment.add(further);
            }
            (
                Self::Area { n, first, last, area },
                Self::Area { n: m, first: other_first, last: other_last, area: other_area },
            ) => {
                let bridge =
                    |from: &Reading, to: &Reading| from.value.mul(&Exact::from(to.at - from.at));
                if last.order() < other_first.order() {
                    *area = area.add(&bridge(last, other_first)).add(other_area);
                    *last = other_last.clone();
                } else if other_last.order() < first.order() {
                    *area = area.add(&bridge(other_last, first)).add(other_area);
                    *first = other_first.clone();
                } else {
                    return Err(NeedsRefold);
                }
                *n += m;
            }
            _ => return Err(NeedsRefold),
        }
        Ok(())
    }
}
