//! What one process remembers so as not to ask the store for each request: price books, quotas,
//! usage that quotas were checked against. Everything here may be forgotten at any time.
//!
//! What this process changes is forgotten at once; what another one changes is seen after
//! `KEPT_FOR`. Whoever computes invoices never reads from here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, Timestamp};

use crate::{Books, Engine, EngineError, quotas::Quota};

/// How long something is remembered, in microseconds.
pub(crate) const KEPT_FOR: i64 = 5_000_000;
/// How long usage is remembered for checks, in microseconds.
pub(crate) const USAGE_KEPT_FOR: i64 = 1_000_000;
/// Most customers remembered.
const MOST: usize = 100_000;

type Kept<T> = (Timestamp, T);
type Used = HashMap<(MeterKey, Period), Kept<Exact>>;

/// See the module header.
#[derive(Default)]
pub(crate) struct Memory {
    books: Mutex<Option<Kept<Arc<Books>>>>,
    quotas: Mutex<HashMap<CustomerId, Kept<Arc<Vec<Quota>>>>>,
    used: Mutex<HashMap<CustomerId, Used>>,
    /// Keys of web hook events that this process queued.
    pub(crate) told: Mutex<std::collections::HashSet<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what was read at `since` still counts; not when the clock was set back.
fn fresh(since: Timestamp, now: Timestamp, kept_for: i64) -> bool {
    since <= now && now < since.plus_micros(kept_for)
}

impl Memory {
    /// Forgets what a commit may have changed.
    pub(crate) fn forget_after(&self, commit: &Commit) {
        for write in &commit.writes {
            match write {
                Write::PublishBook(_) | Write::RegisterMeter(_) => {
                    *locked(&self.books) = None;
                    locked(&self.quotas).clear();
                }
                Write::PutSubscription(subscription) => {
                    locked(&self.quotas).remove(&subscription.customer);
                }
                Write::PutCustomer(customer) => {
                    locked(&self.quotas).remove(&customer.id);
                }
                Write::Set { .. } => locked(&self.quotas).clear(),
                _ => {}
            }
        }
    }

    /// Forgets the usage of customers whose events were stored.
    pub(crate) fn forget_usage<'a>(&self, customers: impl Iterator<Item = &'a CustomerId>) {
        let mut used = locked(&self.used);
        if used.is_empty() {
            return;
        }
        for customer in customers {
            used.remove(customer);
        }
    }

    pub(crate) fn quotas(&self, customer: &CustomerId, now: Timestamp) -> Option<Arc<Vec<Quota>>> {
        let quotas = locked(&self.quotas);
        let (since, kept) = quotas.get(customer)?;
        fresh(*since, now, KEPT_FOR).then(|| Arc::clone(kept))
    }

    pub(crate) fn keep_quotas(
        &self,
        customer: &CustomerId,
        now: Timestamp,
        quotas: Arc<Vec<Quota>>,
    ) {
        let mut kept = locked(&self.quotas);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(customer.clone(), (now, quotas));
    }

    pub(crate) fn used(
        &self,
        customer: &CustomerId,
        meter: &MeterKey,
        window: Period,
        now: Timestamp,
    ) -> Option<Exact> {
        let used = locked(&self.used);
        let (since, kept) = used.get(customer)?.get(&(meter.clone(), window))?;
        fresh(*since, now, USAGE_KEPT_FOR).then(|| kept.clone())
    }

    pub(crate) fn keep_used(
        &self,
        customer: &CustomerId,
        meter: &MeterKey,
        window: Period,
        now: Timestamp,
        value: Exact,
    ) {
        let mut used = locked(&self.used);
        if used.len() >= MOST {
            used.clear();
        }
        let of_customer = used.entry(customer.clone()).or_default();
        of_customer.retain(|_, (since, _)| fresh(*since, now, USAGE_KEPT_FOR));
        of_customer.insert((meter.clone(), window), (now, value));
    }
}

impl Engine {
    /// The same, read now: what was published by another process a moment ago is among them.
    pub(crate) async fn fresh_books(&self) -> Result<Arc<Books>, EngineError> {
        *locked(&self.memory.books) = None;
        self.recent_books().await
    }

    /// All books and meters, as they stood a few seconds ago at most: for reads.
    ///
    /// # Errors
    /// As [`Engine::books`].
    pub async fn recent_books(&self) -> Result<Arc<Books>, EngineError> {
        let now = self.clock.now();
        if let Some((since, books)) = &*locked(&self.memory.books)
            && fresh(*since, now, KEPT_FOR)
        {
            return Ok(Arc::clone(books));
        }
        let books = Arc::new(self.books().await?);
        *locked(&self.memory.books) = Some((now, Arc::clone(&books)));
        Ok(books)
    }
}
