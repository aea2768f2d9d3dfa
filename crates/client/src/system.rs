//! The wall clock and the system's randomness, for programs that have no clock of their own to
//! pass in. The only place of this crate that reads either.

use counterfoil_types::{Clock, Random, Timestamp};

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the default of an SDK is the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from_jiff(jiff::Timestamp::now())
    }
}

/// The system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // Ids that repeat would make two events one.
            tracing::error!(%error, "the system gives no random bytes");
            std::process::abort();
        }
    }
}
