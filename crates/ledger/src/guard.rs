//! Time guards: how far from now an event's time may lie.

use counterfoil_types::{Timestamp, timestamp::DAY_MICROS};
use serde::{Deserialize, Serialize};

use crate::receipt::Reject;

/// A tenant's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// How far ahead of now an event may lie, in microseconds.
    pub future_micros: i64,
    /// How far behind now an event may lie without being a backfill, in microseconds.
    pub past_micros: i64,
}

impl Default for Guards {
    /// Five minutes ahead, 35 days behind: the window Stripe documents for meter events.
    fn default() -> Self {
        Self { future_micros: 5 * 60 * 1_000_000, past_micros: 35 * DAY_MICROS }
    }
}

impl Guards {
    /// Checks an event's time.
    ///
    /// # Errors
    /// [`Reject::InTheFuture`] or [`Reject::TooOld`].
    pub fn check(&self, time: Timestamp, now: Timestamp, backfill: bool) -> Result<(), Reject> {
        if time > now.plus_micros(self.future_micros) {
            return Err(Reject::InTheFuture { time, now });
        }
        if !backfill && time < now.plus_micros(-self.past_micros) {
            return Err(Reject::TooOld { time, days: self.past_micros / DAY_MICROS });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_closed_at_both_ends_and_backfill_opens_the_past_only() {
        let guards = Guards::default();
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let at = |offset: i64| now.plus_micros(offset);
        assert!(guards.check(at(guards.future_micros), now, false).is_ok());
        assert!(guards.check(at(guards.future_micros + 1), now, true).is_err());
        assert!(guards.check(at(-guards.past_micros), now, false).is_ok());
        assert!(guards.check(at(-guards.past_micros - 1), now, false).is_err());
        assert!(guards.check(at(-guards.past_micros - 1), now, true).is_ok());
    }
}
