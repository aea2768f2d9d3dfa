//! How long to wait before trying again: doubling, half of it at random, bounded, and never
//! sooner than the service said.

use std::time::Duration;

/// Waiting times between attempts.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never longer than this by itself.
    pub longest: Duration,
    /// A `Retry-After` is honoured up to this.
    pub longest_asked: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row (from 1), where `random` is any number.
    #[must_use]
    pub fn wait(&self, failures: u32, asked: Option<Duration>, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let whole = self.first.saturating_mul(1_u32 << doublings).min(self.longest);
        let half = u64::try_from(whole.as_micros() / 2).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(half.saturating_add(random % half.saturating_add(1)));
        wait.max(asked.unwrap_or_default().min(self.longest_asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_never_undercut_what_was_asked() {
        let backoff = Backoff::default();
        for (failures, whole) in
            [(1, 200), (2, 400), (3, 800), (8, 25_600), (9, 30_000), (99, 30_000)]
        {
            let (least, most) = (backoff.wait(failures, None, 0), Duration::from_millis(whole));
            assert_eq!(least, most / 2);
            for random in [1, 77_777, u64::MAX] {
                let wait = backoff.wait(failures, None, random);
                assert!(least <= wait && wait <= most, "{failures}: {wait:?}");
            }
        }
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(7_000)), 0), backoff.longest_asked);
    }
}
