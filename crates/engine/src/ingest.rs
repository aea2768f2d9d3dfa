//! Ingest: guards, lanes and hashes, then one append. A bad event never sinks its neighbours.

use counterfoil_ledger::{Event, Receipt};
use counterfoil_store::Pending;
use counterfoil_types::Timestamp;

use crate::{Engine, EngineError};

/// How a batch is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// The events may be older than the tenant's window.
    pub backfill: bool,
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
        let now = self.clock.now();
        let prepared = self.prepare(events, options, now);
        self.append_prepared(prepared, now).await
    }

    /// The part of ingest that needs no store: guards and hashes. It may run elsewhere while the
    /// previous batch is being written.
    #[must_use]
    pub fn prepare(
        &self,
        events: Vec<Event>,
        options: IngestOptions,
        now: Timestamp,
    ) -> Vec<Result<Pending, Receipt>> {
        events
            .into_iter()
            .map(|event| {
                let time = event.time.unwrap_or(now);
                match self.tenant.guards.check(time, now, options.backfill) {
                    Ok(()) => Ok(Pending::new(&self.tenant, event)),
                    Err(reject) => Err(Receipt::Rejected(reject)),
                }
            })
            .collect()
    }

    /// Appends what [`Engine::prepare`] prepared.
    ///
    /// # Errors
    /// As [`Engine::ingest`].
    pub async fn append_prepared(
        &self,
        prepared: Vec<Result<Pending, Receipt>>,
        now: Timestamp,
    ) -> Result<Vec<Receipt>, EngineError> {
        let mut receipts: Vec<Option<Receipt>> = Vec::with_capacity(prepared.len());
        let mut batch = Vec::with_capacity(prepared.len());
        for item in prepared {
            match item {
                Ok(pending) => {
                    batch.push(pending);
                    receipts.push(None);
                }
                Err(receipt) => receipts.push(Some(receipt)),
            }
        }
        let mut stored = self.store.append(&self.tenant, &batch, now).await?.into_iter();
        receipts
            .into_iter()
            .map(|receipt| {
                receipt.or_else(|| stored.next()).ok_or_else(|| {
                    EngineError::refused("the store returned too few receipts; send the batch again")
                })
            })
            .collect()
    }
}
