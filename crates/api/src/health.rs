//! Health as users of the service feel it: requests, errors and time to answer over the last
//! minutes, and whether the store answers.
//!
//! | state | when |
//! |---|---|
//! | healthy | none of what follows |
//! | degraded | more than 10 % of the last minutes' requests failed, or they took more than 3 s on average |
//! | unhealthy | both, or more than half failed, or the store does not answer |

use std::sync::{Mutex, PoisonError};

use counterfoil_types::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Minutes that are looked at.
const MINUTES: usize = 5;
/// The same as a number of minutes.
const SPAN: i64 = 5;
const MINUTE: i64 = 60_000_000;
/// Requests below which a share says nothing.
const FEW: u64 = 20;
/// Average time to answer above which the service is degraded, in microseconds.
const SLOW: u64 = 3_000_000;

/// How the service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Fine.
    #[default]
    Healthy,
    /// Answers, but badly.
    Degraded,
    /// Does not do its work.
    Unhealthy,
}

/// Health in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Health {
    /// How the service is.
    pub status: State,
    /// Requests per minute over the last minutes.
    pub requests_per_minute: u64,
    /// Share of requests that failed through the service, in percent.
    pub error_rate_percent: u64,
    /// Average time to answer in milliseconds.
    pub average_response_ms: u64,
    /// What is wrong.
    pub issues: Vec<String>,
    /// Since when it has been in this state.
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: i64,
    requests: u64,
    errors: u64,
    micros: u64,
}

#[derive(Debug, Default)]
struct Seen {
    minutes: [Minute; MINUTES],
    state: State,
    since: Option<Timestamp>,
    store_error: Option<String>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// From here.
    pub from: State,
    /// To here.
    pub to: State,
    /// The numbers.
    pub health: Health,
}

/// Counts requests and keeps the state.
#[derive(Debug, Default)]
pub struct Monitor(Mutex<Seen>);

impl Monitor {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that was answered at `now` after `micros`.
    pub fn request(&self, now: Timestamp, failed: bool, micros: u64) {
        let number = now.micros().div_euclid(MINUTE);
        let slot = usize::try_from(number.rem_euclid(SPAN)).unwrap_or(0);
        let mut seen = self.seen();
        let Some(minute) = seen.minutes.get_mut(slot) else { return };
        if minute.number != number {
            *minute = Minute { number, ..Minute::default() };
        }
        minute.requests += 1;
        minute.errors += u64::from(failed);
        minute.micros = minute.micros.saturating_add(micros);
    }

    /// Notes whether the store answers.
    pub fn store(&self, error: Option<String>) {
        self.seen().store_error = error;
    }

    /// Health at `now`. Turns are noticed by [`Monitor::look`] only.
    pub fn look_only(&self, now: Timestamp) -> (Health, Option<Turn>) {
        self.assess(now, false)
    }

    /// Health at `now`, and the turn it took, if it did.
    pub fn look(&self, now: Timestamp) -> (Health, Option<Turn>) {
        self.assess(now, true)
    }

    fn assess(&self, now: Timestamp, turns: bool) -> (Health, Option<Turn>) {
        let number = now.micros().div_euclid(MINUTE);
        let mut seen = self.seen();
        let live = |minute: &&Minute| {
            minute.requests > 0 && (number - minute.number) < SPAN && minute.number <= number
        };
        let (mut requests, mut errors, mut micros, mut minutes) = (0_u64, 0_u64, 0_u64, 0_u64);
        for minute in seen.minutes.iter().filter(live) {
            requests += minute.requests;
            errors += minute.errors;
            micros = micros.saturating_add(minute.micros);
            minutes += 1;
        }
        let rate = (errors * 100).checked_div(requests).unwrap_or(0);
        let average = micros.checked_div(requests).unwrap_or(0);
        let mut issues = Vec::new();
        let failing = requests >= FEW && rate > 10;
        let slow = requests >= FEW && average > SLOW;
        if failing {
            issues.push(format!("{rate} % of requests failed"));
        }
        if slow {
            issues.push(format!("requests take {} ms on average", average / 1_000));
        }
        let away = seen.store_error.is_some();
        if away {
            issues.push("the store does not answer".to_owned());
        }
        let status = match (failing, slow) {
            _ if away || (failing && (slow || rate > 50)) => State::Unhealthy,
            (false, false) => State::Healthy,
            _ => State::Degraded,
        };
        let from = seen.state;
        let since = *seen.since.get_or_insert(now);
        if turns && status != from {
            seen.state = status;
            seen.since = Some(now);
        }
        let health = Health {
            status,
            requests_per_minute: requests.checked_div(minutes).unwrap_or(0),
            error_rate_percent: rate,
            average_response_ms: average / 1_000,
            issues,
            since: if status == from { since } else { now },
        };
        let turn = (status != from).then(|| Turn { from, to: status, health: health.clone() });
        (health, turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_760_000_000_000_000 + second * 1_000_000)
    }

    #[test]
    fn failing_requests_degrade_and_good_ones_recover() {
        let monitor = Monitor::default();
        for _ in 0..80 {
            monitor.request(at(0), false, 1_000);
        }
        assert_eq!(monitor.look(at(1)).1, None);
        for _ in 0..12 {
            monitor.request(at(2), true, 1_000);
        }
        let turn = monitor.look(at(3)).1.unwrap();
        assert_eq!((turn.from, turn.to), (State::Healthy, State::Degraded));
        assert_eq!(turn.health.error_rate_percent, 13);
        assert_eq!(monitor.look(at(4)).1, None);
        let later = at(60 * 10);
        for _ in 0..30 {
            monitor.request(later, false, 1_000);
        }
        assert_eq!(monitor.look(later).1.unwrap().to, State::Healthy);
    }

    #[test]
    fn slow_requests_degrade_and_a_missing_store_is_worse() {
        let monitor = Monitor::default();
        for _ in 0..30 {
            monitor.request(at(0), false, 3_100_000);
        }
        assert_eq!(monitor.look(at(1)).0.status, State::Degraded);
        monitor.store(Some("gone".to_owned()));
        assert_eq!(monitor.look(at(2)).1.unwrap().to, State::Unhealthy);
        monitor.store(None);
        assert_eq!(monitor.look(at(3)).0.status, State::Degraded);
    }

    #[test]
    fn a_few_failures_say_nothing() {
        let monitor = Monitor::default();
        for _ in 0..5 {
            monitor.request(at(0), true, 1_000);
        }
        assert_eq!(monitor.look(at(1)).0.status, State::Healthy);
    }
}
