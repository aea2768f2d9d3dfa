//! The one source of randomness that cannot be foreseen.

use counterfoil_types::Random;

/// The system's.
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // A key made of anything else could be guessed.
            tracing::error!(%error, "the system gives no random bytes");
            std::process::abort();
        }
    }
}
