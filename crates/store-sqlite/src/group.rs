//! Group commit for small batches. A commit waits for the disk, whatever it holds; while one is
//! being written, small batches that arrive wait here, and all of one tenant become the next
//! transaction. One after another in one transaction means what one after another in several means.
//!
//! Large batches do not come here: they fill a transaction by themselves, and waiting here would cost
//! a copy of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use counterfoil_ledger::Receipt;
use counterfoil_store::{Pending, StoreError, Tenant};
use counterfoil_types::Timestamp;
use tokio::sync::{Mutex as TurnMutex, oneshot};

use crate::open::SqliteStore;

/// Most events of a batch that waits for others.
pub(crate) const SMALL: usize = 64;
/// Most events of a group.
const GROUP: usize = 4_096;

type Answer = Result<Vec<Receipt>, StoreError>;

struct Job {
    tenant: Tenant,
    batch: Vec<Pending>,
    now: Timestamp,
    answer: oneshot::Sender<Answer>,
}

/// What waits.
#[derive(Clone, Default)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<VecDeque<Job>>>,
    turn: Arc<TurnMutex<()>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    /// The next group: as many batches of the first one's tenant as fit.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut group, mut rest, mut events) = (Vec::<Job>::new(), VecDeque::new(), 0);
        while let Some(job) = waiting.pop_front() {
            // Its caller has given up before anything was written: so nothing is.
            if job.answer.is_closed() {
                continue;
            }
            let fits = group.first().is_none_or(|first| first.tenant.number == job.tenant.number);
            if fits && events < GROUP {
                events += job.batch.len();
                group.push(job);
            } else {
                rest.push_back(job);
            }
        }
        *waiting = rest;
        group
    }
}

/// Appends a small batch, with what else waits.
pub(crate) async fn submit(
    store: &SqliteStore,
    tenant: &Tenant,
    batch: &[Pending],
    now: Timestamp,
) -> Answer {
    let (answer, mut answered) = oneshot::channel();
    let job = Job { tenant: tenant.clone(), batch: batch.to_vec(), now, answer };
    store.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
    let lost = || {
        StoreError::Unavailable(
            "writing was stopped, so the outcome is unknown; repeating is safe".to_owned(),
        )
    };
    loop {
        let turn = Arc::clone(&store.queue.turn).lock_owned().await;
        // Whoever had the turn before may have written this one too.
        match answered.try_recv() {
            Ok(answer) => return answer,
            Err(oneshot::error::TryRecvError::Closed) => return Err(lost()),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let group = store.queue.take();
        let store = store.clone();
        // In a task of its own: a caller that gives up takes nobody with it.
        let writer = tokio::spawn(async move {
            write(&store, group).await;
            drop(turn);
        });
        // Whether it panicked shows in the answers that were not given.
        let _ = writer.await;
    }
}

async fn write(store: &SqliteStore, group: Vec<Job>) {
    let Some(first) = group.first() else { return };
    // Recorded times never decrease in a lane, so the latest of them holds for all.
    let now = group.iter().map(|job| job.now).max().unwrap_or(first.now);
    let whole: Vec<Pending> = group.iter().flat_map(|job| job.batch.iter().cloned()).collect();
    match store.append_now(&first.tenant, &whole, now).await {
        Ok(receipts) => {
            let mut receipts = receipts.into_iter();
            for job in group {
                let own: Vec<Receipt> = receipts.by_ref().take(job.batch.len()).collect();
                // A caller that has given up needs no answer.
                let _ = job.answer.send(Ok(own));
            }
        }
        // Something about one of them, perhaps; the others must not suffer for it.
        Err(_) if group.len() > 1 => {
            for job in group {
                let outcome = store.append_now(&job.tenant, &job.batch, job.now).await;
                let _ = job.answer.send(outcome);
            }
        }
        Err(error) => {
            if let Some(job) = group.into_iter().next() {
                let _ = job.answer.send(Err(error));
            }
        }
    }
}
