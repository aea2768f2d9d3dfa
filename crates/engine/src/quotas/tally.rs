//! What a customer has used of the windows its quotas count, kept from one use to the next so that
//! not every use reads it from the store.
//!
//! A tally is a guess until the store confirms it: it says up to which position of the lane it
//! counts, and an append decided on it takes effect only if no row of the customer came after that
//! ([`counterfoil_store::Seen`]). So a tally that another process, or an ingest, made stale costs a
//! second try and never a wrong verdict. A denial appends nothing that could fail; it is given only
//! on a tally that was read, or confirmed, a moment ago.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use counterfoil_ledger::{Event, LaneId, Receipt};
use counterfoil_metering::{Measured, Measurement, measure};
use counterfoil_rating::quota::QuotaWindow;
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, Timestamp};

use super::Quota;

/// How long a denial may rest on a tally, in microseconds.
const DENIES_FOR: i64 = 1_000_000;
/// Rows of others behind which a tally is read anew rather than checked.
const BEHIND: u64 = counterfoil_store::Seen::MOST / 2;
/// Most customers with a tally.
const MOST: usize = 100_000;
/// Most windows of a customer; older ones are dropped.
const WINDOWS: usize = 64;
/// An event without a time of its own gets that at which it is recorded. Where its window ends
/// this soon, the tally is read anew.
const EDGE: i64 = 60_000_000;

/// What was used in one window.
#[derive(Clone, Debug)]
struct Total {
    quota: Quota,
    value: Exact,
}

/// What one customer used, up to a position of its lane.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// All of the customer's rows up to here are counted.
    pub(super) position: u64,
    /// When it was read or confirmed.
    since: Timestamp,
    totals: HashMap<(MeterKey, Period), Total>,
    /// Whether it is not to be kept.
    spent: bool,
}

impl Tally {
    pub(super) fn new(position: u64, since: Timestamp) -> Self {
        Self { position, since, totals: HashMap::new(), spent: false }
    }

    /// What was used of a quota in a window.
    pub(super) fn used(&self, quota: &Quota, window: Period) -> Option<&Exact> {
        let total = self.totals.get(&(quota.spec.meter.clone(), window))?;
        Some(&total.value)
    }

    /// Adds what was read up to `position`.
    pub(super) fn put(&mut self, quota: &Quota, window: Period, position: u64, value: Exact) {
        // The earlier position: rows between the two show when the append is checked.
        self.position = self.position.min(position);
        if self.totals.len() >= WINDOWS {
            self.totals.clear();
        }
        let total = Total { quota: quota.clone(), value };
        self.totals.insert((quota.spec.meter.clone(), window), total);
    }

    /// Counts a use in every window it falls in. `at` is its time.
    pub(super) fn count(&mut self, event: &Event, at: Timestamp) {
        if event.correction.is_some() {
            // What it takes back or restates stands in the ledger; that is read anew.
            self.spent = true;
            return;
        }
        for ((_, window), total) in &mut self.totals {
            if !window.contains(at) {
                continue;
            }
            if let Measurement::Value { value: Measured::Number(value), .. } =
                measure(&total.quota.meter, event)
            {
                total.value = total.quota.after(&total.value, &value);
            }
            self.spent |= event.time.is_none() && window.end.micros() - at.micros() < EDGE;
        }
    }

    /// Whether a denial may rest on it.
    pub(super) fn may_deny(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.since.plus_micros(DENIES_FOR)
    }
}

#[derive(Default)]
struct Kept {
    tallies: HashMap<CustomerId, Tally>,
    /// The farthest position of each lane that this process has seen.
    reached: HashMap<LaneId, u64>,
}

/// The tallies of a tenant.
#[derive(Default)]
pub(crate) struct Tallies(Mutex<Kept>);

impl Tallies {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A customer's tally, to decide on.
    pub(super) fn of(&self, customer: &CustomerId, lane: LaneId) -> Option<Tally> {
        let kept = self.kept();
        let reached = kept.reached.get(&lane).copied().unwrap_or(0);
        let tally = kept.tallies.get(customer)?;
        (reached.saturating_sub(tally.position) <= BEHIND).then(|| tally.clone())
    }

    /// Forgets a tally that turned out to be wrong, or may be.
    pub(super) fn forget(&self, customer: &CustomerId) {
        self.kept().tallies.remove(customer);
    }

    /// Keeps a tally for the next use.
    fn keep(&self, customer: &CustomerId, mut tally: Tally) {
        // A rolling window ends with its use: nobody else will ask for it.
        tally.totals.retain(|_, total| total.quota.spec.window != QuotaWindow::Rolling);
        if tally.spent || tally.totals.is_empty() {
            self.forget(customer);
            return;
        }
        let mut kept = self.kept();
        if kept.tallies.len() >= MOST {
            kept.tallies.clear();
        }
        kept.tallies.insert(customer.clone(), tally);
    }

    /// Keeps what a use was decided on after its rows were stored, the last at `position`.
    pub(super) fn confirm(
        &self,
        customer: &CustomerId,
        lane: LaneId,
        mut tally: Tally,
        position: Option<u64>,
        now: Timestamp,
    ) {
        if let Some(position) = position {
            tally.position = position;
            // Checked under the lane's lock just now.
            tally.since = now;
            self.reach(lane, position);
        }
        self.keep(customer, tally);
    }

    fn reach(&self, lane: LaneId, position: u64) {
        let mut kept = self.kept();
        let reached = kept.reached.entry(lane).or_default();
        *reached = (*reached).max(position);
    }

    /// Takes note of rows that were appended without being counted here.
    pub(crate) fn appended<'a>(&self, rows: impl Iterator<Item = (&'a CustomerId, &'a Receipt)>) {
        let mut kept = self.kept();
        if kept.tallies.is_empty() {
            return;
        }
        for (customer, receipt) in rows {
            if let Receipt::Inserted { lane, position } = receipt {
                kept.tallies.remove(customer);
                let reached = kept.reached.entry(*lane).or_default();
                *reached = (*reached).max(*position);
            }
        }
    }

    /// Whether all that a use needs is at hand.
    pub(super) fn has(
        &self,
        customer: &CustomerId,
        lane: LaneId,
        windows: &[(&Quota, Period)],
    ) -> bool {
        let kept = self.kept();
        let reached = kept.reached.get(&lane).copied().unwrap_or(0);
        kept.tallies.get(customer).is_some_and(|tally| {
            reached.saturating_sub(tally.position) <= BEHIND
                && windows.iter().all(|(quota, window)| tally.used(quota, *window).is_some())
        })
    }

    /// Adds to a customer's tally what was read up to `position`, unless the tally has moved on.
    pub(super) fn offer(
        &self,
        customer: &CustomerId,
        quota: &Quota,
        window: Period,
        (position, value): (u64, Exact),
        now: Timestamp,
    ) {
        let mut kept = self.kept();
        if kept.tallies.len() >= MOST {
            kept.tallies.clear();
        }
        let fresh = || Tally::new(position, now);
        let tally = kept.tallies.entry(customer.clone()).or_insert_with(fresh);
        if tally.position <= position {
            tally.put(quota, window, position, value);
        }
    }
}
