//! Consuming: the verdict and the append as one step.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use counterfoil_ledger::{Event, Receipt, Reject};
use counterfoil_metering::{Measured, Measurement, measure};
use counterfoil_rating::quota::Verdict;
use counterfoil_store::{Commit, Pending, Seen, Write};
use counterfoil_types::{CustomerId, Exact, MeterKey, Period};
use tokio::sync::{Mutex as TurnMutex, oneshot};

use super::{Quota, QuotaState};
use crate::{
    Engine, EngineError,
    ingest::{IngestOptions, Prepared},
};

/// How often a decision is taken again because the customer's usage moved meanwhile.
const TRIES: usize = 64;
/// Most uses decided on together.
const GROUP: usize = 512;

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

type Answer = Result<Consumed, Arc<EngineError>>;

struct Job {
    pending: Pending,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Gate {
    waiting: Mutex<VecDeque<Job>>,
    turn: TurnMutex<()>,
}

/// Those who consume, by customer.
#[derive(Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<CustomerId, Arc<Gate>>>,
    /// Denials that were told of; what is forgotten is told again, which the key makes harmless.
    told: Mutex<HashSet<String>>,
}

impl Gates {
    /// Whether a denial was not told of yet by this process.
    fn first_denial(&self, key: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > 100_000 {
            told.clear();
        }
        told.insert(key.to_owned())
    }

    fn of(&self, customer: &CustomerId) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // Gates nobody holds are let go now and then.
        if gates.len() > 10_000 {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        Arc::clone(gates.entry(customer.clone()).or_default())
    }
}

/// A quota with the window an event falls in.
type Counted<'a> = (&'a Quota, Period, Exact);

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
        let gate = self.gates.of(&customer);
        let (answer, mut answered) = oneshot::channel();
        gate.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(Job { pending, answer });
        loop {
            let turn = gate.turn.lock().await;
            // Whoever had the turn before may have decided on this one too.
            match answered.try_recv() {
                Ok(answer) => return answer.map_err(lost),
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(EngineError::refused(
                        "consuming was stopped; repeating it is safe",
                    ));
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let jobs: Vec<Job> = {
                let mut waiting = gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.len().min(GROUP);
                waiting.drain(..count).filter(|job| !job.answer.is_closed()).collect()
            };
            // In a task of its own: a caller that gives up takes nobody with it.
            let (engine, customer) = (self.clone(), customer.clone());
            let decided = tokio::spawn(async move { engine.decide_group(customer, jobs).await });
            // Whether it panicked shows in the answers that were not given.
            let _ = decided.await;
            drop(turn);
        }
    }

    async fn decide_group(&self, customer: CustomerId, jobs: Vec<Job>) {
        let (pending, answers): (Vec<Pending>, Vec<_>) =
            jobs.into_iter().map(|job| (job.pending, job.answer)).unzip();
        match self.decide(&customer, &pending).await {
            Ok(decided) => {
                for (answer, consumed) in answers.into_iter().zip(decided) {
                    // A caller that has given up needs no answer.
                    let _ = answer.send(Ok(consumed));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    let _ = answer.send(Err(Arc::clone(&error)));
                }
            }
        }
    }

    /// Decides on uses of one customer, in order, and appends what is allowed.
    pub(crate) async fn decide(
        &self,
        customer: &CustomerId,
        wanted: &[Pending],
    ) -> Result<Vec<Consumed>, EngineError> {
        let quotas = self.quotas_of(customer).await?;
        let mut done: Vec<Option<Consumed>> = vec![None; wanted.len()];
        for _ in 0..TRIES {
            let open: Vec<usize> =
                (0..wanted.len()).filter(|at| done.get(*at).is_some_and(Option::is_none)).collect();
            if open.is_empty() {
                break;
            }
            self.decide_once(customer, &quotas, wanted, &open, &mut done).await?;
        }
        done.into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| EngineError::refused("usage kept changing meanwhile; consume again"))
    }

    async fn decide_once(
        &self,
        customer: &CustomerId,
        quotas: &[Quota],
        wanted: &[Pending],
        open: &[usize],
        done: &mut [Option<Consumed>],
    ) -> Result<(), EngineError> {
        let lane = self.tenant.lane_of(customer);
        // Positions are read before usage, so all that counts for a verdict is in it.
        let mut seen = self.lane_view(lane).await?.head;
        let mut used: HashMap<(MeterKey, Period), Exact> = HashMap::new();
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for at in open {
            let Some(pending) = wanted.get(*at) else { continue };
            let counted = self.counted(quotas, &pending.event)?;
            let mut states = Vec::with_capacity(counted.len());
            let mut afters = Vec::with_capacity(counted.len());
            for (quota, window, value) in counted {
                let key = (quota.spec.meter.clone(), window);
                if !used.contains_key(&key) {
                    let usage = self.usage(customer, window, &[&quota.meter]).await?;
                    seen = seen.min(usage.position);
                    used.insert(key.clone(), usage.total(&quota.meter)?);
                }
                let before = used.get(&key).cloned().unwrap_or(Exact::ZERO);
                let limits = self.limits(customer, quota, window).await?;
                let after = quota.after(&before, &value);
                let verdict = limits.verdict(&before, &after);
                let stands = if verdict.is_allowed() { &after } else { &before };
                states.push(quota.state(&limits, stands.clone(), verdict, window));
                afters.push((key, after));
            }
            if states.iter().all(|state| state.verdict.is_allowed()) {
                used.extend(afters);
                allowed.push((*at, states));
            } else {
                denied.push((*at, states));
            }
        }
        let mut clean = true;
        if !allowed.is_empty() {
            let batch: Vec<Pending> =
                allowed.iter().filter_map(|(at, _)| wanted.get(*at).cloned()).collect();
            let seen = Seen { customer: customer.clone(), lane, position: seen };
            let stored = self.store.append_after(&self.tenant, &batch, self.now(), &seen).await?;
            let Some(receipts) = stored else { return Ok(()) };
            self.memory.forget_usage(std::iter::once(customer));
            for ((at, quotas), receipt) in allowed.into_iter().zip(receipts) {
                clean &= matches!(receipt, Receipt::Inserted { .. });
                if let Some(slot) = done.get_mut(at) {
                    *slot = Some(Consumed { receipt: Some(receipt), quotas });
                }
            }
        }
        for (at, quotas) in denied {
            let Some(pending) = wanted.get(at) else { continue };
            let event = &pending.event;
            let stored = self.store.known(&self.tenant.id, &event.source, &event.id).await?;
            let receipt = match stored {
                // Stored before: this is a retry whose answer was lost.
                Some(_) => Some(
                    self.receipt_outside_window(pending, Reject::Correction(String::new())).await?,
                ),
                // Something that was counted turned out to be stored before: there may be room.
                None if !clean => continue,
                None => {
                    self.tell_denied(customer, &quotas).await?;
                    None
                }
            };
            if let Some(slot) = done.get_mut(at) {
                *slot = Some(Consumed { receipt, quotas });
            }
        }
        Ok(())
    }

    /// The quotas an event counts for, each with its window and the value.
    fn counted<'a>(
        &self,
        quotas: &'a [Quota],
        event: &Event,
    ) -> Result<Vec<Counted<'a>>, EngineError> {
        let mut counted = Vec::new();
        // A correction takes usage back or restates it; it is not a use.
        if event.correction.is_some() {
            return Ok(counted);
        }
        let at = event.time.unwrap_or_else(|| self.now_of(&event.customer));
        for quota in quotas {
            let Measurement::Value { value: Measured::Number(value), .. } =
                measure(&quota.meter, event)
            else {
                continue;
            };
            if let Some(window) = quota.window_at(at)? {
                counted.push((quota, window, value));
            }
        }
        Ok(counted)
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
            if !self.gates.first_denial(&key) {
                continue;
            }
            let body = serde_json::json!({"customer": customer, "quota": state});
            let at = self.now_of(customer);
            let kind = "quota.exceeded".to_owned();
            self.store
                .commit(&self.tenant.id, &Commit::of(Write::Queue { key, kind, body, at }))
                .await?;
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
