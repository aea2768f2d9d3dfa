//! A step (a day, an hour) that does not look like those before it.
//!
//! | by | a step is odd when it lies |
//! |---|---|
//! | `deviations` | more than so many standard deviations off the mean of the days before (z-score) |
//! | `times_median` | at so many times the median of the days before, or more |
//!
//! Days before a customer's first use are no history; fewer than seven are too few. A series that
//! hardly moves would make any change odd, so a deviation counts as a twentieth of the mean at least.
//! Nothing can be said where all days before are zero.
//!
//! With a season, a step is held against the steps at the same place of earlier seasons: an hour
//! against the same hour of the week. Fewer than four of those are too few.

use counterfoil_types::{Exact, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::series::{mean, median, root, variance};

/// Fewest days that are a history.
pub const LEAST_DAYS: u16 = 7;
/// Fewest earlier seasons that are a history.
pub const LEAST_SEASONS: usize = 4;
/// A deviation is at least the mean divided by this.
const STEADY: u64 = 20;

/// How it is judged what is odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By so many standard deviations from the mean; 3 is usual.
    Deviations(Quantity),
    /// By so many times the median.
    TimesMedian(Quantity),
}

impl Method {
    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// In words, when it could never or would always judge.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Deviations(deviations) if *deviations <= Quantity::ZERO => {
                Err("`deviations` must be greater than zero; 3 is usual")
            }
            Self::TimesMedian(times) if *times <= Quantity::ONE => {
                Err("`times_median` must be greater than one")
            }
            _ => Ok(()),
        }
    }
}

/// Something odd, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What was seen.
    pub value: Exact,
    /// What would have been usual.
    pub usual: Exact,
    /// From where on it is odd.
    pub bound: Exact,
    /// In words, with the numbers.
    pub why: String,
}

fn shown(value: &Exact) -> Exact {
    let thousand = Exact::from(1_000_u64);
    value.mul(&thousand).floor().mul(&Exact::unit(3))
}

/// History without the days before the first use; `None` when what is left is too short.
fn known(history: &[Exact]) -> Option<&[Exact]> {
    let first = history.iter().position(|value| !value.is_zero())?;
    history.get(first..).filter(|days| days.len() >= usize::from(LEAST_DAYS))
}

/// What a value is held against, in words.
#[derive(Clone, Copy)]
enum Before {
    Days,
    Steps,
    Seasons,
}

impl Before {
    fn say(self, count: usize) -> String {
        match self {
            Self::Days => format!("the {count} days before"),
            Self::Steps => format!("the {count} steps before"),
            Self::Seasons => format!("the same step of {count} seasons before"),
        }
    }
}

/// Whether `value` is odd after `history` (oldest day first); `whole`: the day is over, so that too
/// little is odd as well.
#[must_use]
pub fn judge(method: &Method, history: &[Exact], value: &Exact, whole: bool) -> Option<Anomaly> {
    decide(method, known(history)?, value, whole, Before::Days)
}

/// The odd steps of a series of whole steps, oldest first, with their places. Each is held against
/// at most `look_back` steps before it or, with a season of so many steps, against its own place in
/// as many seasons as lie in the series before it.
#[must_use]
pub fn scan(
    method: &Method,
    series: &[Exact],
    look_back: usize,
    season: Option<usize>,
) -> Vec<(usize, Anomaly)> {
    let mut found = Vec::new();
    // Steps before the first use are no history.
    let first = series.iter().position(|value| !value.is_zero()).unwrap_or(series.len());
    for (at, value) in series.iter().enumerate().skip(first + 1) {
        let judged = match season.filter(|length| *length > 0) {
            None => {
                let from = at.saturating_sub(look_back).max(first);
                let before = series.get(from..at).unwrap_or_default();
                let enough = before.len() >= usize::from(LEAST_DAYS);
                enough.then(|| decide(method, before, value, true, Before::Steps)).flatten()
            }
            Some(length) => {
                let mut before: Vec<Exact> = Vec::new();
                let mut place = at;
                while let Some(earlier) = place.checked_sub(length).filter(|at| *at >= first) {
                    before.extend(series.get(earlier).cloned());
                    place = earlier;
                }
                let enough = before.len() >= LEAST_SEASONS;
                enough.then(|| decide(method, &before, value, true, Before::Seasons)).flatten()
            }
        };
        found.extend(judged.map(|judged| (at, judged)));
    }
    found
}

fn decide(
    method: &Method,
    days: &[Exact],
    value: &Exact,
    whole: bool,
    before: Before,
) -> Option<Anomaly> {
    let held = before.say(days.len());
    match method {
        Method::Deviations(deviations) => {
            let usual = mean(days)?;
            let off = value.sub(&usual);
            if off.is_negative() && !whole {
                return None;
            }
            let least = usual.abs().div(&Exact::from(STEADY)).ok()?;
            let spread = variance(days, &usual).at_least(&least.mul(&least));
            if !spread.is_positive() {
                return None;
            }
            // |off| > k · deviation, without the root.
            let factor = deviations.exact();
            let bound = factor.mul(&factor).mul(&spread);
            let square = off.mul(&off);
            if square <= bound {
                return None;
            }
            let score = root(&square.div(&spread).ok()?);
            let deviation = root(&spread);
            let reach = factor.mul(&deviation);
            let bound = if off.is_negative() { usual.sub(&reach) } else { usual.add(&reach) };
            let way = if off.is_negative() { "below" } else { "above" };
            Some(Anomaly {
                value: value.clone(),
                why: format!(
                    "{value} is {score} standard deviations {way} the mean of {} over {held} (deviation {deviation}, {deviations} are allowed)",
                    shown(&usual)
                ),
                usual: shown(&usual),
                bound: shown(&bound),
            })
        }
        Method::TimesMedian(times) => {
            let usual = median(days)?;
            let bound = usual.mul(&times.exact());
            if !usual.is_positive() || *value < bound {
                return None;
            }
            let factor = shown(&value.div(&usual).ok()?);
            Some(Anomaly {
                value: value.clone(),
                why: format!(
                    "{value} is {factor} times the median of {} over {held} ({times} times are told of)",
                    shown(&usual)
                ),
                usual: shown(&usual),
                bound: shown(&bound),
            })
        }
    }
}
