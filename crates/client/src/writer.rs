//! Events in the background.
//!
//! ```text
//!  send ─► channel ─► batch ─► POST /v1/events ─► receipts
//!              │         │ away, refused for now
//!              ▼ full    ▼
//!           segments on disk, fsynced ─► replayed oldest first
//! ```
//!
//! **What `Ok` of [`Writer::send`] promises.** The event will be in the ledger once, or is handed
//! to the [`ProblemHandler`] because the service refused it for good (and kept in `refused.jsonl`
//! of the spill directory), or is given back by [`Writer::close`]. Nothing else becomes of it:
//! no time-out, outage, restart or error of the service drops it.
//!
//! | [`Accept`] | the process may be | and still |
//! |---|---|---|
//! | `Buffered` | stopped by `close` | everything accepted is delivered, on disk, or given back |
//! | `Buffered` | killed | what was delivered or on disk stays; what was still in memory (at most the channel, as much again before it is spilled, and two batches) is lost; [`Writer::flush`] says when there is nothing of the kind |
//! | `Durable` | killed, or the machine lose its power | everything accepted stays: `Ok` comes after the disk |
//!
//! While the spill is at its bound, events wait in memory, and once the channel is full `send`
//! waits and `try_send` refuses. A directory belongs to one writer at a time.

mod spill;
#[cfg(test)]
mod spill_tests;
mod worker;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use counterfoil_types::{Clock, Random};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub use spill::SpillError;

use crate::{Backoff, Client, Event, ReceiptStatus, SystemClock, SystemRandom};

/// When an event counts as accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// As soon as it is in the channel.
    #[default]
    Buffered,
    /// When it is on disk. Needs a spill directory.
    Durable,
}

/// An event that the service refused for good.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The event, as JSON.
    pub event: String,
    /// Its receipt's status; absent where the request as a whole was refused because of it.
    pub status: Option<ReceiptStatus>,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub reason: String,
}

/// Told of each event that was refused for good. It is called in the writer's task: be quick.
pub type ProblemHandler = Arc<dyn Fn(&Refused) + Send + Sync>;

/// Settings of a writer.
#[derive(Clone)]
pub struct WriterOptions {
    /// Events in the channel.
    pub capacity: usize,
    /// Events in one request, 1 to 5,000.
    pub batch: usize,
    /// Longest an event waits for others to fill the batch.
    pub linger: Duration,
    /// Where events go while the service is away; in memory only when absent.
    pub spill: Option<PathBuf>,
    /// Most bytes there.
    pub spill_bytes: u64,
    /// When an event counts as accepted.
    pub accept: Accept,
    /// Waiting times between attempts.
    pub backoff: Backoff,
    /// Longest `close` tries to deliver before it leaves the rest on disk.
    pub close_within: Duration,
    /// Told of events refused for good; they are logged in any case.
    pub on_problem: Option<ProblemHandler>,
    /// Gives events without a time theirs.
    pub clock: Arc<dyn Clock>,
    /// For jitter, and for ids of events without one.
    pub random: Arc<dyn Random>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            batch: 100,
            linger: Duration::from_secs(5),
            spill: None,
            spill_bytes: 1024 * 1024 * 1024,
            accept: Accept::Buffered,
            backoff: Backoff::default(),
            close_within: Duration::from_secs(10),
            on_problem: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }
}

impl fmt::Debug for WriterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterOptions")
            .field("capacity", &self.capacity)
            .field("batch", &self.batch)
            .field("linger", &self.linger)
            .field("spill", &self.spill)
            .field("spill_bytes", &self.spill_bytes)
            .field("accept", &self.accept)
            .finish_non_exhaustive()
    }
}

/// Why an event was not accepted. It is still the caller's.
#[derive(Debug, Error)]
pub enum NotAccepted {
    /// The channel is full.
    #[error("the writer's channel is full")]
    Full,
    /// The writer was closed.
    #[error("the writer is closed")]
    Closed,
    /// The event cannot be written as JSON.
    #[error("the event cannot be written: {0}")]
    Unwritable(String),
}

/// Where everything accepted before a flush is now: delivered, or on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Events on disk that are still to be delivered.
    pub on_disk: u64,
}

/// What a closed writer leaves.
#[derive(Debug, Default)]
pub struct Closed {
    /// Events on disk, delivered by the next writer of the directory.
    pub on_disk: u64,
    /// Events, as JSON, that could be neither delivered nor written to disk: the caller's again.
    pub undelivered: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) inserted: AtomicU64,
    pub(crate) duplicate: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) on_disk: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// What a writer has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events accepted.
    pub accepted: u64,
    /// Events that got the receipt `inserted`.
    pub inserted: u64,
    /// Events that had been stored before.
    pub duplicate: u64,
    /// Events refused for good.
    pub refused: u64,
    /// Events on disk now.
    pub on_disk: u64,
    /// Requests that failed and were or will be repeated.
    pub failures: u64,
}

pub(crate) enum Message {
    Event(String, Option<oneshot::Sender<()>>),
    Flush(oneshot::Sender<Flushed>),
}

/// The worker: how it is told to end, and what it leaves.
type Task = (oneshot::Sender<()>, JoinHandle<Closed>);

/// Sends events in the background; see the module header. Clones share one writer.
#[derive(Clone)]
pub struct Writer {
    messages: mpsc::Sender<Message>,
    counters: Arc<Counters>,
    accept: Accept,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    task: Arc<std::sync::Mutex<Option<Task>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts a writer on the current tokio runtime. Events found in the spill directory are
    /// delivered first.
    ///
    /// # Errors
    /// [`SpillError`] if the directory cannot be used, is used by another writer, or is wanted and
    /// missing.
    pub fn start(client: Client, options: WriterOptions) -> Result<Self, SpillError> {
        let spill = match &options.spill {
            Some(directory) => Some(spill::Spill::open(directory, options.spill_bytes)?),
            None if options.accept == Accept::Durable => return Err(SpillError::Wanted),
            None => None,
        };
        let (messages, received) = mpsc::channel(options.capacity.max(1));
        let counters = Arc::new(Counters::default());
        let (accept, clock, random) =
            (options.accept, Arc::clone(&options.clock), Arc::clone(&options.random));
        let (close, closing) = oneshot::channel();
        let counted = Arc::clone(&counters);
        let worker = worker::Worker::new(client, options, spill, received, closing, counted);
        let task = Arc::new(std::sync::Mutex::new(Some((close, tokio::spawn(worker.run())))));
        Ok(Self { messages, counters, accept, clock, random, task })
    }

    /// Accepts an event, waiting for room. See the module header for what that promises.
    ///
    /// # Errors
    /// [`NotAccepted`]; the event is not taken then.
    pub async fn send(&self, event: Event) -> Result<(), NotAccepted> {
        let line = self.line(event)?;
        let closed = |_| NotAccepted::Closed;
        if self.accept == Accept::Durable {
            let (stored, on_disk) = oneshot::channel();
            let message = Message::Event(line, Some(stored));
            self.messages.send(message).await.map_err(|_| NotAccepted::Closed)?;
            on_disk.await.map_err(closed)?;
        } else {
            let message = Message::Event(line, None);
            self.messages.send(message).await.map_err(|_| NotAccepted::Closed)?;
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Accepts an event without waiting, with the promise of [`Accept::Buffered`].
    ///
    /// # Errors
    /// [`NotAccepted`]; the event is not taken then.
    pub fn try_send(&self, event: Event) -> Result<(), NotAccepted> {
        let line = self.line(event)?;
        self.messages.try_send(Message::Event(line, None)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotAccepted::Full,
            mpsc::error::TrySendError::Closed(_) => NotAccepted::Closed,
        })?;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until everything accepted so far is delivered or on disk. Without a spill directory
    /// that is as long as the service is away.
    ///
    /// # Errors
    /// [`NotAccepted::Closed`].
    pub async fn flush(&self) -> Result<Flushed, NotAccepted> {
        let (done, flushed) = oneshot::channel();
        self.messages.send(Message::Flush(done)).await.map_err(|_| NotAccepted::Closed)?;
        flushed.await.map_err(|_| NotAccepted::Closed)
    }

    /// Accepts nothing more, delivers what it can, and leaves the rest on disk or gives it back.
    /// Called again, or on a clone, it says [`Closed::default`].
    pub async fn close(&self) -> Closed {
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        let Some((close, task)) = task else { return Closed::default() };
        // It may have ended by itself already.
        let _ = close.send(());
        match task.await {
            Ok(closed) => closed,
            Err(error) => {
                tracing::error!(%error, "the writer's task failed");
                Closed::default()
            }
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            accepted: of(&self.counters.accepted),
            inserted: of(&self.counters.inserted),
            duplicate: of(&self.counters.duplicate),
            refused: of(&self.counters.refused),
            on_disk: of(&self.counters.on_disk),
            failures: of(&self.counters.failures),
        }
    }

    /// The event as the line that is sent and spilled: with its id and its time for good.
    fn line(&self, mut event: Event) -> Result<String, NotAccepted> {
        if event.id.is_empty() {
            let mut bytes = [0_u8; 16];
            self.random.fill(&mut bytes);
            event.id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        event.time.get_or_insert_with(|| self.clock.now());
        serde_json::to_string(&event).map_err(|error| NotAccepted::Unwritable(error.to_string()))
    }
}
