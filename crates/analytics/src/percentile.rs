//! Percentiles of values, in bounded memory.
//!
//! Up to [`EXACT_MOST`] values they are exact, by nearest rank: the smallest value that at least so
//! many percent of the values do not exceed. Beyond it, values go into a DDSketch (Masson, Rim, Lee:
//! *DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees*, 2019),
//! whose answers lie within one percent of a value at that rank. Which of the two it was is told.

use counterfoil_types::{Exact, Rounding};
use schemars::JsonSchema;
use serde::Serialize;
use sketches_ddsketch::{Config, DDSketch};

/// Up to so many values percentiles are exact.
pub const EXACT_MOST: usize = 100_000;
/// Decimals of a percentile that was read off a sketch.
const DECIMALS: i32 = 6;

/// Where values lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Spread {
    /// The smallest.
    pub min: Exact,
    /// Half of the values are at most so large.
    pub p50: Exact,
    /// 95 percent.
    pub p95: Exact,
    /// 99 percent.
    pub p99: Exact,
    /// The largest.
    pub max: Exact,
    /// Whether the percentiles are exact; if not, each lies within one percent of a value at its
    /// rank.
    pub exact: bool,
}

enum Kept {
    Values(Vec<Exact>),
    Sketch(Box<DDSketch>),
}

/// Values whose percentiles are wanted, one after the other.
pub struct Percentiles {
    kept: Kept,
    most: usize,
    ends: Option<(Exact, Exact)>,
}

impl Default for Percentiles {
    fn default() -> Self {
        Self::exact_up_to(EXACT_MOST)
    }
}

/// The nearest double. A double holds any number of this program's range, if not to the digit.
fn double(value: &Exact) -> f64 {
    let text = value.round(18, Rounding::HalfAwayFromZero).to_string();
    text.parse().unwrap_or(f64::MAX)
}

fn from_double(value: f64) -> Exact {
    let text = format!("{value:.6}");
    let parsed = decimal_of(&text);
    parsed.map_or(Exact::ZERO, |exact| exact.round(DECIMALS, Rounding::HalfAwayFromZero))
}

/// A decimal text of any length.
fn decimal_of(text: &str) -> Option<Exact> {
    let (sign, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all: i128 = format!("{whole}{part}").parse().ok()?;
    let value = Exact::from_i128(all).mul(&Exact::unit(i32::try_from(part.len()).ok()?));
    Some(if sign { value.neg() } else { value })
}

impl Percentiles {
    /// Exact up to so many values.
    #[must_use]
    pub fn exact_up_to(most: usize) -> Self {
        Self { kept: Kept::Values(Vec::new()), most, ends: None }
    }

    /// Takes a value.
    pub fn add(&mut self, value: Exact) {
        self.ends = Some(match self.ends.take() {
            None => (value.clone(), value.clone()),
            Some((min, max)) => (min.at_most(&value), max.at_least(&value)),
        });
        match &mut self.kept {
            Kept::Values(values) if values.len() < self.most => values.push(value),
            Kept::Values(values) => {
                let mut sketch = Box::new(DDSketch::new(Config::defaults()));
                for value in values.iter().chain([&value]) {
                    sketch.add(double(value));
                }
                self.kept = Kept::Sketch(sketch);
            }
            Kept::Sketch(sketch) => sketch.add(double(&value)),
        }
    }

    /// Where the values lie; `None` when there are none.
    #[must_use]
    pub fn spread(mut self) -> Option<Spread> {
        let (min, max) = self.ends.take()?;
        match self.kept {
            Kept::Values(mut values) => {
                values.sort();
                let at = |percent: usize| {
                    let rank = (values.len() * percent).div_ceil(100).max(1);
                    values.get(rank - 1).cloned()
                };
                Some(Spread { p50: at(50)?, p95: at(95)?, p99: at(99)?, min, max, exact: true })
            }
            Kept::Sketch(sketch) => {
                // A bin's middle may lie beyond what was seen.
                let at = |quantile: f64| {
                    let value = sketch.quantile(quantile).ok().flatten()?;
                    Some(from_double(value).at_least(&min).at_most(&max))
                };
                let (p50, p95, p99) = (at(0.50)?, at(0.95)?, at(0.99)?);
                Some(Spread { p50, p95, p99, min, max, exact: false })
            }
        }
    }
}
