//! How long to wait before the next attempt, and when to give up: seconds at first, hours later,
//! each wait spread at random so that receivers that come back are not met by everything at once.

use counterfoil_types::Random;

/// Seconds before the second, third … attempt; the last goes on until the limit.
const WAITS: [i64; 11] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 43_200];
const SECOND: i64 = 1_000_000;

/// Attempts after which a delivery is parked unless configured otherwise: about six days.
pub const LIMIT: u32 = 20;

/// Microseconds to wait after attempt number `tries` (from 1) failed: half of the step's wait, and
/// up to as much again at random.
#[must_use]
pub fn wait(tries: u32, random: &dyn Random) -> i64 {
    let step = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let most = WAITS.get(step).or(WAITS.last()).copied().unwrap_or(5).saturating_mul(SECOND);
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let half = most / 2;
    let drawn = i64::try_from(u64::from_le_bytes(bytes) >> 1).unwrap_or(0);
    half + drawn.checked_rem(half + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn waits_grow_from_seconds_to_hours_and_are_spread() {
        for (tries, most) in [(0, 5), (1, 5), (2, 30), (6, 3_600), (10, 43_200), (90, 43_200)] {
            let least = wait(tries, &Fixed(0));
            assert_eq!(least, most * SECOND / 2);
            for byte in 1..=255 {
                let waited = wait(tries, &Fixed(byte));
                assert!(waited >= least && waited <= most * SECOND, "{waited}");
            }
        }
        let total: i64 = (1..LIMIT).map(|tries| wait(tries, &Fixed(0)) / SECOND).sum();
        assert!(total > 2 * 24 * 3_600, "an endpoint may be down for a weekend: {total}");
    }
}
