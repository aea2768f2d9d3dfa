//! Group commit. Batches of one tenant lock the same lanes and so follow one another in any case;
//! while one group is being committed, what arrives waits here, and all of it becomes the next
//! group: one lock, one `COPY`, one `COMMIT` (whose wait for the disk is most of a small batch).
//!
//! A batch that finds nobody writing begins at once, if it is alone. Where several callers send
//! without pause, beginning at once would make groups of one and of all others in turn, and the
//! small ones cost as much as the large: so whoever's turn it is lingers, two milliseconds at most,
//! until half of the callers are there. The other half is made ready meanwhile.
//!
//! The queue is bounded by events; a caller beyond the bound waits before it enters. A group is
//! written by a task of its own, so a caller that gives up takes nobody with it; what was still
//! waiting then is not written.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use counterfoil_ledger::Receipt;
use counterfoil_store::StoreError;
use tokio::sync::{Mutex as TurnMutex, Notify, Semaphore, oneshot};

use super::{Batch, Caution, write};
use crate::open::PostgresStore;

/// Most events of one group. More saves no time any more and makes others wait longer.
const GROUP: usize = 8_192;
/// Longest wait for others to join a group.
const LINGER: Duration = Duration::from_millis(2);

type Answer = Result<Vec<Receipt>, StoreError>;

/// A batch that waits for its turn.
struct Job {
    batch: Batch,
    answer: oneshot::Sender<Answer>,
}

/// What waits for one tenant.
#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Job>>,
    /// Held by whoever writes.
    turn: Arc<TurnMutex<()>>,
    /// Batches in the last group.
    last: AtomicUsize,
    arrived: Notify,
}

impl Queue {
    fn push(&self, job: Job) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        self.arrived.notify_one();
    }

    fn count(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until half of the callers of late are there, a little while at most.
    async fn gather(&self) {
        let half = (self.last.load(Ordering::Relaxed) + self.count()).div_ceil(2);
        let enough = async {
            while self.count() < half {
                self.arrived.notified().await;
            }
        };
        // Whether they came or the time is up makes no difference.
        let _ = tokio::time::timeout(LINGER, enough).await;
    }

    /// The next group: as many batches as fit; one with corrections goes alone.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut group, mut events) = (Vec::new(), 0);
        while let Some(job) = waiting.pop_front() {
            // Its caller has given up before anything was written: so nothing is.
            if job.answer.is_closed() {
                continue;
            }
            let staged = &job.batch.staged;
            let alone = staged.events.is_some();
            if !group.is_empty() && (alone || events + staged.items.len() > GROUP) {
                waiting.push_front(job);
                break;
            }
            events += staged.items.len();
            group.push(job);
            if alone {
                break;
            }
        }
        self.last.store(group.len(), Ordering::Relaxed);
        group
    }
}

/// What waits, by tenant.
pub(crate) struct Queues {
    queues: Mutex<HashMap<i64, Arc<Queue>>>,
    room: Semaphore,
    bound: u32,
    pub(super) caution: Caution,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Queues {
    /// Queues that take in `bound` events at once; the first batches are probed.
    pub(crate) fn new(bound: u32, probed: u32) -> Self {
        let bound = bound.max(1);
        let permits = usize::try_from(bound).unwrap_or(Semaphore::MAX_PERMITS);
        let room = Semaphore::new(permits.min(Semaphore::MAX_PERMITS));
        Self { queues: Mutex::default(), room, bound, caution: Caution::new(probed) }
    }

    /// Batches that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.values().map(|queue| queue.count()).sum()
    }

    fn of(&self, tenant: i64) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(tenant).or_default().clone()
    }
}

/// Waits for the turn of a batch and has it written, by this caller or by another one.
pub(super) async fn submit(store: &PostgresStore, tenant: i64, batch: Batch) -> Answer {
    let queues = &store.queues;
    let events = u32::try_from(batch.staged.items.len()).unwrap_or(u32::MAX).min(queues.bound);
    let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
    let _room = queues.room.acquire_many(events).await.map_err(closed)?;
    let queue = queues.of(tenant);
    let (answer, mut receipts) = oneshot::channel();
    queue.push(Job { batch, answer });
    loop {
        let turn = tokio::select! {
            biased;
            answer = &mut receipts => return answered(answer),
            turn = queue.turn.clone().lock_owned() => turn,
        };
        if queue.count() > 0 {
            queue.gather().await;
        }
        let group = queue.take();
        if group.is_empty() {
            // Ours was taken by the one before us, who has answered.
            drop(turn);
            return answered(receipts.await);
        }
        let store = store.clone();
        let writer = tokio::spawn(async move {
            write_group(&store, group).await;
            drop(turn);
        });
        // Whether it panicked shows in the answers that were not given.
        let _ = writer.await;
    }
}

fn answered(answer: Result<Answer, oneshot::error::RecvError>) -> Answer {
    let lost = |_| {
        StoreError::Unavailable(
            "writing was stopped, so the outcome is unknown; repeating is safe".to_owned(),
        )
    };
    answer.map_err(lost)?
}

async fn write_group(store: &PostgresStore, group: Vec<Job>) {
    let (mut batches, answers): (Vec<Batch>, Vec<oneshot::Sender<Answer>>) =
        group.into_iter().map(|job| (job.batch, job.answer)).unzip();
    let outcome = write(store, &mut batches).await;
    // A caller that has given up needs no answer.
    match outcome {
        Ok(receipts) => {
            for (receipts, answer) in receipts.into_iter().zip(answers) {
                let _ = answer.send(Ok(receipts));
            }
        }
        Err(error) if answers.len() > 1 && !error.is_transient() => {
            // Something about one of them; the others must not suffer for it.
            for (batch, answer) in batches.into_iter().zip(answers) {
                let outcome = write(store, &mut [batch]).await;
                let _ =
                    answer.send(outcome.map(|receipts| receipts.into_iter().flatten().collect()));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(again(&error)));
            }
        }
    }
}

/// The same error for another caller.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
        StoreError::Locked(text) => StoreError::Locked(text.clone()),
        StoreError::Full(text) => StoreError::Full(text.clone()),
        StoreError::ReadOnly(text) => StoreError::ReadOnly(text.clone()),
        StoreError::Corrupt { table, row, why } => StoreError::corrupt(table, row, why),
        StoreError::Conflict { what, why } => StoreError::conflict(what, why),
        other => StoreError::Driver(other.to_string()),
    }
}
