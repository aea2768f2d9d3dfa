//! The randomness port. Only the composition root owns a source that cannot be foreseen.

/// Where random bytes come from.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}
