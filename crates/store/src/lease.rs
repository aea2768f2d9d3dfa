//! The leases port: who works on what, for a while, so that several programs do not do the same
//! work at once.
//!
//! A lease only saves work. What keeps two workers apart is its *token*: it grows each time the
//! lease changes hands, a write may carry it as a [`Fence`], and the store refuses the write of
//! whoever holds an older one, in the transaction of that write. So a program that was paused and
//! wakes after its lease ran out writes nothing, whatever it believes the time to be.
//!
//! Names belong to the store, not to a tenant; what belongs to a tenant says so in its name.

use async_trait::async_trait;
use counterfoil_types::Timestamp;

use crate::error::StoreError;

/// A lease that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is on.
    pub name: String,
    /// Grows with each holder.
    pub token: u64,
}

impl Lease {
    /// What a write carries so that it takes effect only while the lease is held.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { name: self.name.clone(), token: self.token }
    }
}

/// A condition of a write: the lease has not changed hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lease.
    pub name: String,
    /// Its token when it was taken.
    pub token: u64,
}

/// Taking, keeping and giving back leases. Time is passed in; clocks that differ between programs
/// cost work, never correctness.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Takes a lease for `ttl_micros` from `now` on, unless another holder has it and its time has
    /// not run out. A holder that has it already takes it anew, with a greater token: what it began
    /// before, say before its restart, is refused from here on.
    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        ttl_micros: i64,
    ) -> Result<Option<Lease>, StoreError>;

    /// Keeps a lease for `ttl_micros` from `now` on; it never ends earlier than it would have. One
    /// whose time ran out may be kept as long as nobody else took it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it has changed hands.
    async fn renew(&self, lease: &Lease, now: Timestamp, ttl_micros: i64)
    -> Result<(), StoreError>;

    /// Gives a lease back: from here on its fence refuses. Giving back what is lost changes
    /// nothing.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;
}
