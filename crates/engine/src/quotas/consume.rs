//! Consuming: the verdict and the append as one step.
//!
//! Uses that arrive while others are being decided on wait, and are decided on together: one look
//! at what was used, one transaction, one wait for the disk for all of them.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use counterfoil_ledger::{Event, Receipt, Reject};
use counterfoil_rating::quota::Verdict;
use counterfoil_store::{Commit, Pending, Write};
use counterfoil_types::CustomerId;
use tokio::sync::{Mutex as TurnMutex, oneshot};

use super::{Quota, QuotaState, decide::Decision};
use crate::{
    Engine, EngineError,
    ingest::{IngestOptions, Prepared},
};

/// Most uses decided on together.
const GROUP: usize = 1_024;

/// What became of a use.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// The receipt; absent when a quota denied the use and nothing was stored.
    pub receipt: Option<Receipt>,
    /// The quotas that the use counts for, after it.
    pub quotas: Vec<QuotaState>,
}

impl Consumed {
    /// Whether it was denied.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.receipt.is_none()
    }
}

/// A use that is to be decided on.
#[derive(Clone)]
pub(super) struct Use {
    pub(super) pending: Pending,
    pub(super) quotas: Arc<Vec<Quota>>,
}

struct Job {
    wanted: Use,
    answer: oneshot::Sender<Decision>,
}

/// Those who consume.
#[derive(Default)]
pub(crate) struct Gate {
    waiting: Mutex<VecDeque<Job>>,
    turn: Arc<TurnMutex<()>>,
    /// Denials that were told of; what is forgotten is told again, which the key makes harmless.
    told: Mutex<HashSet<String>>,
}

impl Gate {
    /// Whether a denial was not told of yet by this process.
    fn first_denial(&self, key: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > 100_000 {
            told.clear();
        }
        told.insert(key.to_owned())
    }

    fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(GROUP);
        // Of those whose callers have given up nothing is written.
        waiting.drain(..count).filter(|job| !job.answer.is_closed()).collect()
    }
}

impl Engine {
    /// Uses something if the quotas it counts for allow it: verdict and append are one step. A use
    /// that was stored before is answered with its receipt, whatever the quotas say by now.
    ///
    /// # Errors
    /// When the customer does not exist or the store fails; then using again with the same id is
    /// safe.
    pub async fn consume(
        &self,
        event: Event,
        options: IngestOptions,
    ) -> Result<Consumed, EngineError> {
        let customer = event.customer.clone();
        let pending = match self.prepare(event, options, self.now()) {
            Prepared::Ready(pending) => pending,
            Prepared::Late(pending, reject) => {
                let receipt = self.receipt_outside_window(&pending, reject).await?;
                return Ok(Consumed { receipt: Some(receipt), quotas: Vec::new() });
            }
            Prepared::Refused(reject) => {
                let receipt = Some(Receipt::Rejected(reject));
                return Ok(Consumed { receipt, quotas: Vec::new() });
            }
        };
        let quotas = self.quotas_of(&customer).await?;
        let wanted = Use { pending, quotas };
        self.warm(&wanted).await?;
        let decision = self.in_turn(wanted.clone()).await?;
        self.told(&wanted, decision).await
    }

    /// Waits for a turn and has the use decided on, by this caller or by another one.
    async fn in_turn(&self, wanted: Use) -> Result<Decision, EngineError> {
        let gate = Arc::clone(&self.gate);
        let (answer, mut answered) = oneshot::channel();
        gate.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(Job { wanted, answer });
        let stopped = || EngineError::refused("consuming was stopped; repeating it is safe");
        loop {
            let turn = tokio::select! {
                biased;
                decision = &mut answered => return decision.map_err(|_| stopped()),
                turn = Arc::clone(&gate.turn).lock_owned() => turn,
            };
            let jobs = gate.take();
            if jobs.is_empty() {
                // Ours was taken by the one before us, who has answered.
                drop(turn);
                return answered.await.map_err(|_| stopped());
            }
            // In a task of its own: a caller that gives up takes nobody with it.
            let engine = self.clone();
            let decided = tokio::spawn(async move {
                engine.decide_group(jobs).await;
                drop(turn);
            });
            // Whether it panicked shows in the answers that were not given.
            let _ = decided.await;
        }
    }

    async fn decide_group(&self, jobs: Vec<Job>) {
        let (wanted, answers): (Vec<Use>, Vec<_>) =
            jobs.into_iter().map(|job| (job.wanted, job.answer)).unzip();
        let decided = self.decide_all(&wanted).await;
        let several = wanted.len() > 1;
        for ((decision, answer), wanted) in decided.into_iter().zip(answers).zip(wanted) {
            let decision = match decision {
                // Something about one of them, perhaps; the others must not suffer for it.
                Err(error) if several && !error.is_transient() => {
                    self.decide_all(&[wanted]).await.pop().unwrap_or(Err(error))
                }
                decision => decision,
            };
            // A caller that has given up needs no answer.
            let _ = answer.send(decision);
        }
    }

    /// Decides on uses of one customer, in order, and appends what is allowed.
    pub(crate) async fn decide(
        &self,
        customer: &CustomerId,
        pending: &[Pending],
    ) -> Result<Vec<Consumed>, EngineError> {
        let quotas = self.quotas_of(customer).await?;
        let wanted: Vec<Use> = pending
            .iter()
            .map(|pending| Use { pending: pending.clone(), quotas: Arc::clone(&quotas) })
            .collect();
        let mut all = Vec::with_capacity(wanted.len());
        for (wanted, decision) in wanted.iter().zip(self.decide_all(&wanted).await) {
            all.push(self.told(wanted, decision).await?);
        }
        Ok(all)
    }

    /// Looks again at what was denied: stored before, it is a retry whose answer was lost.
    async fn told(&self, wanted: &Use, decision: Decision) -> Result<Consumed, EngineError> {
        let decided = decision.map_err(lost)?;
        let quotas = decided.quotas;
        if let Some(receipt) = decided.receipt {
            return Ok(Consumed { receipt: Some(receipt), quotas });
        }
        let event = &wanted.pending.event;
        if self.store.known(&self.tenant.id, &event.source, &event.id).await?.is_some() {
            let never = Reject::Correction(String::new());
            let receipt = self.receipt_outside_window(&wanted.pending, never).await?;
            return Ok(Consumed { receipt: Some(receipt), quotas });
        }
        self.tell_denied(&event.customer, &quotas).await?;
        Ok(Consumed { receipt: None, quotas })
    }

    /// Queues word of a denial, once per quota and window.
    async fn tell_denied(
        &self,
        customer: &CustomerId,
        quotas: &[QuotaState],
    ) -> Result<(), EngineError> {
        for state in quotas.iter().filter(|state| state.verdict == Verdict::Denied) {
            let Some(period) = state.period else { continue };
            let rolling = state.window == Some(counterfoil_rating::quota::QuotaWindow::Rolling);
            // A rolling window never begins anew; it is told of once a day.
            let day = counterfoil_types::timestamp::DAY_MICROS;
            let start = if rolling { period.end.bucket(day) } else { period.start };
            let key = format!("quota.exceeded/{customer}/{}/{}", state.meter, start.micros());
            if !self.gate.first_denial(&key) {
                continue;
            }
            let body = serde_json::json!({"customer": customer, "quota": state});
            let at = self.now_of(customer);
            let kind = "quota.exceeded".to_owned();
            self.commit(&Commit::of(Write::Queue { key, kind, body, at })).await?;
        }
        Ok(())
    }
}

/// The error of a group, for one of those who waited for it.
fn lost(error: Arc<EngineError>) -> EngineError {
    match Arc::try_unwrap(error) {
        Ok(error) => error,
        Err(shared) if shared.is_transient() => {
            counterfoil_store::StoreError::Unavailable(shared.to_string()).into()
        }
        Err(shared) => EngineError::refused(shared.to_string()),
    }
}
