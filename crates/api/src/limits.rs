//! Rate limits: protection of a system, by the generic cell rate algorithm (GCRA): of `limit` calls
//! per window at most `burst` at once, and no counter that starts over at a full minute.
//!
//! The algorithm is written twice, here and as a Redis script; a test holds them against each other.

mod memory;
mod redis;

use std::sync::Arc;

use async_trait::async_trait;
use counterfoil_rating::quota::RateWindow;
use serde::Deserialize;
use thiserror::Error;

pub use memory::InMemory;
pub use redis::InRedis;

/// What is limited together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each API key by itself.
    #[default]
    Key,
    /// All keys of a tenant together.
    Tenant,
}

/// A limit on calls of this service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRule {
    /// Operation it is for, for example `events.append`; each of them when absent.
    #[serde(default)]
    pub operation: Option<String>,
    /// What is limited together.
    #[serde(default)]
    pub by: By,
    /// How many calls.
    pub limit: u32,
    /// In how long.
    pub per: RateWindow,
    /// How many at once; `limit` when absent.
    #[serde(default)]
    pub burst: Option<u32>,
}

/// The numbers of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many calls.
    pub limit: u32,
    /// Length of the window in microseconds.
    pub window: i64,
    /// How many at once.
    pub burst: u32,
}

impl Rate {
    /// `limit` calls per `per`, `burst` (or all of them) at once.
    #[must_use]
    pub fn new(limit: u32, per: RateWindow, burst: Option<u32>) -> Self {
        Self { limit: limit.max(1), window: per.micros(), burst: burst.unwrap_or(limit).max(1) }
    }

    /// Microseconds that one call costs.
    fn cost(&self) -> i64 {
        (self.window / i64::from(self.limit)).max(1)
    }

    /// Decides on a call at `now`; `until` is what [`Decision::until`] was after the last one.
    #[must_use]
    pub fn decide(&self, until: Option<i64>, now: i64) -> Decision {
        let cost = self.cost();
        let room = cost.saturating_mul(i64::from(self.burst));
        // Beyond its room nothing can be accounted for: the clock was set back.
        let until = until.filter(|until| *until <= now.saturating_add(room));
        let until = until.unwrap_or(now).max(now);
        let after = until.saturating_add(cost);
        let wait = after.saturating_sub(now).saturating_sub(room);
        let allowed = wait <= 0;
        let until = if allowed { after } else { until };
        let left = room.saturating_sub(until.saturating_sub(now)) / cost;
        Decision {
            allowed,
            until,
            remaining: u32::try_from(left.max(0)).unwrap_or(u32::MAX),
            retry_after: wait.max(0),
            reset_after: until.saturating_sub(now),
        }
    }
}

/// What a limit says to a call. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the call may go on.
    pub allowed: bool,
    /// Until when calls are accounted for.
    pub until: i64,
    /// Calls left at once.
    pub remaining: u32,
    /// How long until one may go on; 0 when it may.
    pub retry_after: i64,
    /// How long until none is accounted for.
    pub reset_after: i64,
}

/// The place where limits are counted does not answer.
#[derive(Debug, Error)]
#[error("rate limits cannot be checked: {0}")]
pub struct LimitError(pub String);

/// Where calls are counted.
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Decides on a call under `key` at `now` (microseconds; a shared place uses its own clock).
    async fn decide(&self, key: &str, rate: &Rate, now: i64) -> Result<Decision, LimitError>;
}

/// Limits of this service and what to do when they cannot be checked.
#[derive(Clone)]
pub struct Limits {
    /// Where calls are counted.
    pub limiter: Arc<dyn Limiter>,
    /// The rules.
    pub rules: Vec<RateRule>,
    /// Whether calls go on while they cannot be counted.
    pub fail_open: bool,
}

/// A rule's name in headers.
pub(crate) fn policy_name(rule: &RateRule) -> &str {
    rule.operation.as_deref().unwrap_or("all")
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(micros: i64) -> u64 {
    u64::try_from(micros.max(0)).unwrap_or(0).div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_one_at_a_time() {
        let rate = Rate::new(10, RateWindow::Second, Some(3));
        let mut until = None;
        let mut call = |now: i64| {
            let decision = rate.decide(until, now);
            until = Some(decision.until);
            (decision.allowed, decision.remaining)
        };
        assert_eq!(call(0), (true, 2));
        assert_eq!(call(0), (true, 1));
        assert_eq!(call(0), (true, 0));
        assert_eq!(call(0), (false, 0));
        assert_eq!(call(99_999), (false, 0));
        assert_eq!(call(100_000), (true, 0));
        assert_eq!(call(1_000_000), (true, 2));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let rate = Rate::new(10, RateWindow::Second, Some(3));
        let until = Some(rate.decide(None, 1_000_000_000).until);
        assert!(rate.decide(until, 0).allowed);
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_back_and_may_then() {
        let rate = Rate::new(7, RateWindow::Minute, None);
        let mut until = None;
        for _ in 0..7 {
            until = Some(rate.decide(until, 0).until);
        }
        let refused = rate.decide(until, 5);
        assert!(!refused.allowed && refused.retry_after > 0);
        assert!(!rate.decide(until, 5 + refused.retry_after - 1).allowed);
        assert!(rate.decide(until, 5 + refused.retry_after).allowed);
    }
}
