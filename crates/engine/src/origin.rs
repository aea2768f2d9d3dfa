//! Who asked: written with what was done, in the same transaction.
//!
//! A request of the API carries an [`Origin`]. The first commit a use-case makes for it takes the
//! audit entry and the claim of its idempotency key along, so neither can be there without the
//! effect, nor the effect without them. Use-cases that make several commits are repeatable by
//! themselves; the claim tells which request they belong to.

use std::sync::atomic::{AtomicBool, Ordering};

use counterfoil_store::{AuditEntry, Write};
use counterfoil_types::Digest;

use crate::Engine;

/// A request that changes something.
#[derive(Debug)]
pub struct Origin {
    entry: AuditEntry,
    claim: Option<(String, Digest)>,
    written: AtomicBool,
}

impl Origin {
    /// The origin of a request, with its idempotency key and fingerprint if it has one.
    #[must_use]
    pub fn new(entry: AuditEntry, claim: Option<(String, Digest)>) -> Self {
        Self { entry, claim, written: AtomicBool::new(false) }
    }

    /// Whether something was committed for it.
    #[must_use]
    pub fn took_effect(&self) -> bool {
        self.written.load(Ordering::SeqCst)
    }

    pub(crate) fn has_taken_effect(&self) {
        self.written.store(true, Ordering::SeqCst);
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        let claim = self.claim.as_ref().map(|(key, fingerprint)| Write::Claim {
            key: key.clone(),
            fingerprint: *fingerprint,
            at: self.entry.at,
        });
        claim.into_iter().chain([Write::Audit(self.entry.clone())]).collect()
    }
}

impl Engine {
    /// The same engine, acting for a request.
    #[must_use]
    pub fn acting_for(&self, origin: std::sync::Arc<Origin>) -> Self {
        Self { origin: Some(origin), ..self.clone() }
    }
}
