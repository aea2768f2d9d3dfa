//! Ingest: guards, lanes and hashes, then one append. A bad event never sinks its neighbours.

use std::collections::BTreeMap;

use counterfoil_ledger::{Event, Receipt, Reject};
use counterfoil_store::{Known, Pending};
use counterfoil_types::{CustomerId, Timestamp};

use crate::{Engine, EngineError};

/// How a batch is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// The events may be older than the tenant's window.
    pub backfill: bool,
}

/// An event on its way: looked at, not stored yet.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// May be appended.
    Ready(Pending),
    /// Lies outside the window of time; stored before or rejected.
    Late(Pending, Reject),
    /// Was not readable.
    Refused(Reject),
}

impl Engine {
    /// Takes a batch of decoded events. Receipts come in the order of the events.
    ///
    /// # Errors
    /// Only when the store fails; then sending the batch again is safe.
    pub async fn ingest(
        &self,
        events: Vec<Event>,
        options: IngestOptions,
    ) -> Result<Vec<Receipt>, EngineError> {
        let now = self.now();
        let prepared = events.into_iter().map(|event| self.prepare(event, options, now)).collect();
        self.append_prepared(prepared, now).await
    }

    /// The part of ingest that needs no store: guards and hashes. It may run elsewhere while the
    /// previous batch is being written.
    #[must_use]
    pub fn prepare(&self, event: Event, options: IngestOptions, now: Timestamp) -> Prepared {
        // A customer's test clock moves its window; the time a row is recorded is the tenant's.
        let verdict = event.time.map_or(Ok(()), |time| {
            let here = self.clocks.of(&event.customer).unwrap_or(now);
            self.tenant.guards.check(time, here, options.backfill)
        });
        let pending = Pending::new(&self.tenant, event);
        match verdict {
            Ok(()) => Prepared::Ready(pending),
            Err(reject) => Prepared::Late(pending, reject),
        }
    }

    /// The receipt of an event outside the window: dedupe holds for ever, so one that was stored
    /// in its time is a duplicate (or a conflict), not a rejection.
    pub(crate) async fn receipt_outside_window(
        &self,
        pending: &Pending,
        reject: Reject,
    ) -> Result<Receipt, EngineError> {
        let event = &pending.event;
        let known = self.store.known(&self.tenant.id, &event.source, &event.id).await?;
        Ok(match known {
            None => Receipt::Rejected(reject),
            Some(Known { lane, position, content }) if content == pending.content => {
                Receipt::Duplicate { lane, position }
            }
            Some(Known { lane, position, content: stored }) => {
                Receipt::Conflict { lane, position, stored, given: pending.content }
            }
        })
    }

    /// Appends what [`Engine::prepare`] prepared.
    ///
    /// # Errors
    /// As [`Engine::ingest`].
    pub async fn append_prepared(
        &self,
        prepared: Vec<Prepared>,
        now: Timestamp,
    ) -> Result<Vec<Receipt>, EngineError> {
        let mut receipts: Vec<Option<Receipt>> = Vec::with_capacity(prepared.len());
        let mut batch = Vec::with_capacity(prepared.len());
        for item in prepared {
            match item {
                Prepared::Ready(pending) => {
                    batch.push(pending);
                    receipts.push(None);
                }
                Prepared::Late(pending, reject) => {
                    let receipt = self.receipt_outside_window(&pending, reject).await?;
                    receipts.push(Some(receipt));
                }
                Prepared::Refused(reject) => receipts.push(Some(Receipt::Rejected(reject))),
            }
        }
        let stored = self.store.append(&self.tenant, &batch, now).await?;
        let customers = || batch.iter().map(|pending| &pending.event.customer);
        self.memory.forget_usage(customers());
        self.tallies.appended(customers().zip(&stored));
        let mut stored = stored.into_iter();
        receipts
            .into_iter()
            .map(|receipt| {
                receipt.or_else(|| stored.next()).ok_or_else(|| {
                    EngineError::refused(
                        "the store returned too few receipts; send the batch again",
                    )
                })
            })
            .collect()
    }

    /// Appends what [`Engine::prepare`] prepared, except what a hard quota denies: that is rejected.
    /// Events of customers without a hard quota go the usual way.
    ///
    /// # Errors
    /// As [`Engine::ingest`].
    pub async fn append_within_quotas(
        &self,
        prepared: Vec<Prepared>,
        now: Timestamp,
    ) -> Result<Vec<Receipt>, EngineError> {
        let mut limited: BTreeMap<CustomerId, Vec<(usize, Pending)>> = BTreeMap::new();
        let mut known: BTreeMap<CustomerId, bool> = BTreeMap::new();
        let mut rest = Vec::with_capacity(prepared.len());
        let mut places = Vec::with_capacity(prepared.len());
        let count = prepared.len();
        for (at, item) in prepared.into_iter().enumerate() {
            if let Prepared::Ready(pending) = &item {
                let customer = &pending.event.customer;
                if !known.contains_key(customer) {
                    known.insert(customer.clone(), self.has_hard_quota(customer).await?);
                }
                if known.get(customer).copied().unwrap_or(false) {
                    limited.entry(customer.clone()).or_default().push((at, pending.clone()));
                    continue;
                }
            }
            places.push(at);
            rest.push(item);
        }
        let mut receipts: Vec<Option<Receipt>> = vec![None; count];
        let mut put = |at: usize, receipt: Receipt| {
            if let Some(slot) = receipts.get_mut(at) {
                *slot = Some(receipt);
            }
        };
        for (at, receipt) in places.into_iter().zip(self.append_prepared(rest, now).await?) {
            put(at, receipt);
        }
        for (customer, wanted) in limited {
            let (at, pending): (Vec<usize>, Vec<Pending>) = wanted.into_iter().unzip();
            let decided = self.decide(&customer, &pending).await?;
            for (at, consumed) in at.into_iter().zip(decided) {
                let denied = || {
                    let meters = consumed.quotas.iter().filter(|state| {
                        state.verdict == counterfoil_rating::quota::Verdict::Denied
                    });
                    let meters: Vec<&str> = meters.map(|state| state.meter.as_str()).collect();
                    Receipt::Rejected(Reject::OverQuota(meters.join(", ")))
                };
                put(at, consumed.receipt.clone().unwrap_or_else(denied));
            }
        }
        receipts
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| EngineError::refused("an event got no receipt; send the batch again"))
    }

    async fn has_hard_quota(&self, customer: &CustomerId) -> Result<bool, EngineError> {
        match self.quotas_of(customer).await {
            Ok(quotas) => Ok(quotas.iter().any(|quota| quota.spec.hard.is_some())),
            // An event of an unknown customer is kept, and listed as unbilled.
            Err(EngineError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
