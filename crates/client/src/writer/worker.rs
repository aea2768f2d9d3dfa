//! The writer's task. It alone touches the spill and has one request under way at most, so events
//! go out in the order they came in, whatever fails in between:
//!
//! 1. New events wait in memory. They move to disk when the service is away, when older ones are
//!    on disk already, when memory is full, or always (`Accept::Durable`).
//! 2. A request takes the oldest: from disk if there are any, from memory otherwise, once a batch
//!    is full or its first event has waited long enough.
//! 3. A request that fails puts what it took from memory back in front, on disk if it can.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use counterfoil_types::Random;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, sleep},
};

use super::{
    Accept, Closed, Counters, Flushed, Message, Refused, WriterOptions,
    spill::{Spill, SpillError},
};
use crate::{Client, ClientError, ReceiptStatus, Receipts};

/// Messages taken from the channel at once.
const AT_ONCE: usize = 1_024;

type Outcome = Result<Receipts, ClientError>;

struct Request {
    lines: Vec<String>,
    from_disk: bool,
    answer: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// See the module header.
pub(super) struct Worker {
    client: Client,
    options: WriterOptions,
    received: mpsc::Receiver<Message>,
    closing: oneshot::Receiver<()>,
    counters: Arc<Counters>,
    spill: Option<Spill>,
    waiting: VecDeque<String>,
    /// Those who want to know when the events in `waiting` are on disk.
    stored: Vec<oneshot::Sender<()>>,
    flushes: Vec<oneshot::Sender<Flushed>>,
    request: Option<Request>,
    /// Failures in a row.
    failures: u32,
    retry: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
    /// So many of those that wait go out although they do not fill a batch.
    hurry: usize,
    /// Events of the next request: fewer than the batch while looking for one that sinks it.
    batch: usize,
    /// Nothing more comes.
    ended: bool,
    give_up: Option<Pin<Box<Sleep>>>,
}

async fn passed(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => pending().await,
    }
}

async fn answered(request: &mut Option<Request>) -> Outcome {
    match request {
        Some(request) => request.answer.as_mut().await,
        None => pending().await,
    }
}

impl Worker {
    pub(super) fn new(
        client: Client,
        options: WriterOptions,
        spill: Option<Spill>,
        received: mpsc::Receiver<Message>,
        closing: oneshot::Receiver<()>,
        counters: Arc<Counters>,
    ) -> Self {
        let batch = options.batch.clamp(1, 5_000);
        Self {
            client,
            options,
            received,
            closing,
            counters,
            spill,
            waiting: VecDeque::new(),
            stored: Vec::new(),
            flushes: Vec::new(),
            request: None,
            failures: 0,
            retry: None,
            linger: None,
            hurry: 0,
            batch,
            ended: false,
            give_up: None,
        }
    }

    pub(super) async fn run(mut self) -> Closed {
        loop {
            self.move_to_disk().await;
            self.answer_flushes();
            if self.ended && self.is_done() {
                return Closed::default();
            }
            let is_away = self.give_up.is_some() && self.retry.is_some();
            if is_away && self.spill.is_some() && self.waiting.is_empty() {
                // There is a place for all: no reason to keep the program waiting.
                return self.leave().await;
            }
            self.begin_request().await;
            let has_room = self.waiting.len() < self.options.capacity.max(1);
            tokio::select! {
                biased;
                outcome = answered(&mut self.request) => self.settle(outcome).await,
                () = passed(&mut self.give_up) => return self.leave().await,
                // Beside the channel, which may be full. An error: all handles are gone, and so is
                // the channel's other end.
                _ = &mut self.closing, if self.give_up.is_none() => {
                    self.received.close();
                    self.begin_end();
                }
                () = passed(&mut self.retry) => self.retry = None,
                () = passed(&mut self.linger) => {
                    self.linger = None;
                    self.hurry = self.waiting.len();
                }
                message = self.received.recv(), if has_room && !self.ended => {
                    self.take(message);
                    for _ in 0..AT_ONCE {
                        let Ok(message) = self.received.try_recv() else { break };
                        self.take(Some(message));
                    }
                }
            }
        }
    }

    fn take(&mut self, message: Option<Message>) {
        match message {
            Some(Message::Event(line, stored)) => {
                self.waiting.push_back(line);
                self.stored.extend(stored);
                self.begin_to_linger();
            }
            Some(Message::Flush(done)) => {
                self.flushes.push(done);
                self.hurry = self.waiting.len();
            }
            None => {
                self.ended = true;
                self.begin_end();
            }
        }
    }

    fn begin_to_linger(&mut self) {
        if self.linger.is_none() && !self.waiting.is_empty() {
            self.linger = Some(Box::pin(sleep(self.options.linger)));
        }
    }

    fn begin_end(&mut self) {
        self.hurry = usize::MAX;
        if self.give_up.is_none() {
            // One last attempt, at once.
            self.retry = None;
            self.give_up = Some(Box::pin(sleep(self.options.close_within)));
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty()
            && self.request.is_none()
            && self.spill.as_ref().is_none_or(Spill::is_empty)
    }

    /// Works on the spill where blocking is allowed.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spill) -> T + Send + 'static,
    ) -> Option<T> {
        let mut spill = self.spill.take()?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut spill);
            (spill, done)
        });
        match done.await {
            Ok((spill, done)) => {
                self.counters.on_disk.store(spill.events(), Ordering::Relaxed);
                self.spill = Some(spill);
                Some(done)
            }
            Err(error) => {
                tracing::error!(%error, "the spill cannot be used any more");
                None
            }
        }
    }

    async fn move_to_disk(&mut self) {
        let Some(spill) = &self.spill else { return };
        let wanted = self.options.accept == Accept::Durable
            || self.failures > 0
            || !spill.is_empty()
            || self.waiting.len() >= self.options.capacity;
        if !wanted || self.waiting.is_empty() {
            return;
        }
        let lines: Vec<String> = self.waiting.drain(..).collect();
        let kept = self.on_disk(move |spill| match spill.append(&lines) {
            Ok(()) => None,
            Err(error) => Some((lines, error)),
        });
        match kept.await {
            Some(None) => self.stored.drain(..).for_each(|stored| {
                // Whoever asked may have gone.
                let _ = stored.send(());
            }),
            Some(Some((lines, error))) => {
                log_spill(&error);
                self.waiting.extend(lines);
            }
            None => {}
        }
    }

    fn answer_flushes(&mut self) {
        let in_flight = self.request.as_ref().is_some_and(|request| !request.from_disk);
        if self.flushes.is_empty() || in_flight || !self.waiting.is_empty() {
            return;
        }
        let on_disk = self.spill.as_ref().map_or(0, Spill::events);
        for done in self.flushes.drain(..) {
            let _ = done.send(Flushed { on_disk });
        }
    }

    async fn begin_request(&mut self) {
        if self.request.is_some() || self.retry.is_some() {
            return;
        }
        if self.waiting.is_empty() {
            self.linger = None;
        }
        let from_disk = self.spill.as_ref().is_some_and(|spill| !spill.is_empty());
        let batch = self.batch;
        let lines: Vec<String> = if from_disk {
            match self.on_disk(move |spill| spill.peek(batch)).await {
                Some(Ok(lines)) => lines,
                Some(Err(error)) => {
                    log_spill(&error);
                    self.wait_for_next(None);
                    return;
                }
                None => return,
            }
        } else if self.waiting.len() >= batch || (self.hurry > 0 && !self.waiting.is_empty()) {
            let most = batch.min(self.waiting.len());
            if self.give_up.is_none() {
                self.hurry = self.hurry.saturating_sub(most);
            }
            let lines = self.waiting.drain(..most).collect();
            self.linger = None;
            self.begin_to_linger();
            lines
        } else {
            return;
        };
        let body = format!("[{}]", lines.join(","));
        let client = self.client.clone();
        let answer = Box::pin(async move { client.send_json(body.into()).await });
        self.request = Some(Request { lines, from_disk, answer });
    }

    async fn settle(&mut self, outcome: Outcome) {
        let Some(Request { lines, from_disk, .. }) = self.request.take() else { return };
        match outcome {
            Ok(receipts) if receipts.receipts.len() == lines.len() => {
                self.failures = 0;
                self.batch = self.batch.saturating_mul(2).min(self.options.batch.clamp(1, 5_000));
                self.counters.inserted.fetch_add(receipts.counts.inserted, Ordering::Relaxed);
                self.counters.duplicate.fetch_add(receipts.counts.duplicate, Ordering::Relaxed);
                for (line, receipt) in lines.iter().zip(receipts.receipts) {
                    let stored = [ReceiptStatus::Inserted, ReceiptStatus::Duplicate];
                    if !stored.contains(&receipt.status) {
                        let code = receipt.code.unwrap_or_else(|| "conflict".to_owned());
                        let told = "the id is taken by other content";
                        let reason = receipt.reason.unwrap_or_else(|| told.to_owned());
                        self.refuse(line, Some(receipt.status), code, reason).await;
                    }
                }
                self.forget(lines.len(), from_disk).await;
            }
            Ok(receipts) => {
                let found = receipts.receipts.len();
                let why = format!("{found} receipts for {} events", lines.len());
                self.failed(lines, from_disk, &ClientError::Answer(why)).await;
            }
            Err(error) if error.is_about_content() && lines.len() > 1 => {
                // One of them sinks the others: halves find it.
                self.batch = lines.len().div_ceil(2);
                if !from_disk {
                    self.put_back_in_memory(lines);
                }
            }
            Err(error) if error.is_about_content() => {
                let code = error.problem().map(|problem| problem.code.clone());
                let code = code.unwrap_or_else(|| "unreadable".to_owned());
                for line in &lines {
                    self.refuse(line, None, code.clone(), error.to_string()).await;
                }
                self.forget(lines.len(), from_disk).await;
            }
            Err(error) => self.failed(lines, from_disk, &error).await,
        }
    }

    /// They are dealt with.
    async fn forget(&mut self, lines: usize, from_disk: bool) {
        if !from_disk {
            return;
        }
        if let Some(Err(error)) = self.on_disk(move |spill| spill.advance(lines)).await {
            // They are sent again and counted once.
            log_spill(&error);
            self.wait_for_next(None);
        }
    }

    async fn refuse(
        &mut self,
        line: &str,
        status: Option<ReceiptStatus>,
        code: String,
        reason: String,
    ) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(?status, %code, %reason, "an event was refused for good");
        let refused = Refused { event: line.to_owned(), status, code, reason };
        if let Some(handler) = &self.options.on_problem {
            handler(&refused);
        }
        let kept = serde_json::json!({
            "event": serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| line.into()),
            "code": refused.code, "reason": refused.reason,
        });
        let kept = kept.to_string();
        if let Some(Err(error)) = self.on_disk(move |spill| spill.keep_refused(&kept)).await {
            log_spill(&error);
        }
    }

    async fn failed(&mut self, lines: Vec<String>, from_disk: bool, error: &ClientError) {
        self.wait_for_next(error.retry_after());
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, failures = self.failures, "events could not be delivered; they are kept");
        if !from_disk {
            self.put_back(lines).await;
        }
    }

    /// Puts lines back where they came from: in front of all others, on disk if possible.
    async fn put_back(&mut self, lines: Vec<String>) {
        if self.spill.is_none() {
            self.put_back_in_memory(lines);
            return;
        }
        let kept = self.on_disk(move |spill| match spill.put_front(&lines) {
            Ok(()) => None,
            Err(error) => Some((lines, error)),
        });
        if let Some(Some((lines, error))) = kept.await {
            log_spill(&error);
            self.put_back_in_memory(lines);
        }
    }

    fn put_back_in_memory(&mut self, lines: Vec<String>) {
        self.hurry = self.hurry.saturating_add(lines.len());
        lines.into_iter().rev().for_each(|line| self.waiting.push_front(line));
    }

    fn wait_for_next(&mut self, asked: Option<std::time::Duration>) {
        self.failures = self.failures.saturating_add(1);
        let mut bytes = [0_u8; 8];
        Random::fill(&*self.options.random, &mut bytes);
        let wait = self.options.backoff.wait(self.failures, asked, u64::from_le_bytes(bytes));
        self.retry = Some(Box::pin(sleep(wait)));
    }

    /// Ends with events undelivered: on disk, or back to the caller.
    async fn leave(mut self) -> Closed {
        if let Some(Request { lines, from_disk: false, .. }) = self.request.take() {
            // It may have been stored; sending it again counts it once.
            self.put_back(lines).await;
        }
        self.received.close();
        while let Some(message) = self.received.recv().await {
            self.take(Some(message));
        }
        // Makes `move_to_disk` want to.
        self.failures = self.failures.max(1);
        self.move_to_disk().await;
        let undelivered: Vec<String> = self.waiting.drain(..).collect();
        self.answer_flushes();
        let on_disk = self.spill.as_ref().map_or(0, Spill::events);
        if on_disk > 0 || !undelivered.is_empty() {
            let in_memory = undelivered.len();
            tracing::warn!(on_disk, in_memory, "the writer ends with events undelivered");
        }
        Closed { on_disk, undelivered }
    }
}

fn log_spill(error: &SpillError) {
    tracing::error!(%error, "the spill does not take or give events");
}
