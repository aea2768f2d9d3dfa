//! What a period will come to, and when a limit is passed.
//!
//! The mean of the period's complete days goes on for the days that are left. The interval is twice
//! the deviation of a day times the root of the days left: days are taken as independent. Fewer than
//! three complete days tell nothing.

use counterfoil_types::{Exact, Period, Timestamp, timestamp::DAY_MICROS};

use crate::series::{mean, root, variance};

/// Fewest complete days a forecast rests on.
pub const LEAST_DAYS: usize = 3;

/// A forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// What is expected.
    pub expected: Exact,
    /// Probably not less.
    pub low: Exact,
    /// Probably not more.
    pub high: Exact,
    /// Mean of a day.
    pub daily: Exact,
    /// Days it rests on.
    pub days: usize,
}

/// What `period` will come to: `used` by `now`, after these complete days.
#[must_use]
pub fn of(used: &Exact, days: &[Exact], period: &Period, now: Timestamp) -> Option<Forecast> {
    if days.len() < LEAST_DAYS || !period.contains(now) {
        return None;
    }
    let daily = mean(days)?;
    let left = Exact::from(period.end.micros().saturating_sub(now.micros()));
    let left = left.div(&Exact::from(DAY_MICROS)).ok()?;
    let cents = |value: &Exact| value.mul(&Exact::from(1_000_u64)).floor().mul(&Exact::unit(3));
    let expected = cents(&used.add(&daily.mul(&left)));
    // Twice the deviation times the root of the days left, as one root.
    let square = variance(days, &daily).mul(&left).mul(&Exact::from(4_u64));
    let margin = root(&square);
    // What was used stays used where days only add.
    let floor =
        if days.iter().any(Exact::is_negative) { expected.sub(&margin) } else { used.clone() };
    let low = expected.sub(&margin).at_least(&floor).at_most(&expected);
    let high = expected.add(&margin);
    Some(Forecast { expected, low, high, daily, days: days.len() })
}

impl Forecast {
    /// When `limit` is passed if it goes on so; `None` when it is not within the period, or was
    /// already.
    #[must_use]
    pub fn passes(
        &self,
        limit: &Exact,
        used: &Exact,
        period: &Period,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if !self.daily.is_positive() || used >= limit {
            return None;
        }
        let days = limit.sub(used).div(&self.daily).ok()?;
        let micros = days.mul(&Exact::from(DAY_MICROS)).ceil().to_i128()?;
        let at = now.plus_micros(i64::try_from(micros).ok()?);
        (at < period.end).then_some(at)
    }
}
