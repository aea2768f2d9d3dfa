//! A stream of lines, one event each: read, stored and answered in pieces, so that a body of any
//! length needs the same memory. A line that is no event gets a receipt like any other.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_engine::ingest::IngestOptions;
use counterfoil_ledger::{
    Event, Reject,
    decode::{Defaults, MAX_EVENT_BYTES, decode_json},
    receipt::ReceiptCounts,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::mpsc,
};

use super::{
    IngestQuery, ReceiptBody, Receipts, Wanted,
    decode::{coding, unpacked},
    take,
};
use crate::{extract::Json, guard::Caller, problem::Problem, service::Shared};

/// Events stored together.
const CHUNK: usize = 1_000;
/// Bytes of lines stored together, so that long lines do not add up.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Most problems listed.
const MOST_PROBLEMS: usize = 1_000;

/// Lines of a body.
struct Lines {
    reader: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    patience: Duration,
    index: u64,
}

type Decoded = (u64, Result<Event, Reject>);

impl Lines {
    /// The next piece; empty at the end.
    async fn next(&mut self, defaults: &Defaults) -> Result<Vec<Decoded>, Problem> {
        let (mut chunk, mut bytes) = (Vec::with_capacity(CHUNK), 0);
        while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some((line, size)) = self.line().await? else { break };
            bytes += size.min(MAX_EVENT_BYTES);
            if size <= MAX_EVENT_BYTES && line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let decoded = if size > MAX_EVENT_BYTES {
                Err(Reject::TooLarge { what: "line", size, max: MAX_EVENT_BYTES })
            } else {
                decode_json(&line, defaults)
            };
            chunk.push((self.index, decoded));
            self.index += 1;
        }
        Ok(chunk)
    }

    /// A line without its end, and how long it was. What is beyond the limit is not kept.
    async fn line(&mut self) -> Result<Option<(Vec<u8>, usize)>, Problem> {
        let (mut line, mut size) = (Vec::new(), 0);
        loop {
            let filled = tokio::time::timeout(self.patience, self.reader.fill_buf())
                .await
                .map_err(|_| Problem::new("timeout", "the stream paused for too long; what was stored so far is safe to send again"))?
                .map_err(|error| broken(&error))?;
            if filled.is_empty() {
                return Ok((size > 0).then_some((line, size)));
            }
            let end = filled.iter().position(|byte| *byte == b'\n');
            let piece = filled.get(..end.unwrap_or(filled.len())).unwrap_or_default();
            size += piece.len();
            if size <= MAX_EVENT_BYTES {
                line.extend_from_slice(piece);
            } else {
                line = Vec::new();
            }
            let used = end.map_or(filled.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                // An empty line still is a line.
                return Ok(Some((line, size)));
            }
        }
    }
}

fn broken(error: &io::Error) -> Problem {
    Problem::new(
        "malformed",
        format!("the stream broke off ({error}); what was stored so far is safe to send again"),
    )
}

/// Takes a stream.
pub(super) async fn append(
    shared: Shared,
    caller: Caller,
    query: IngestQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let coding = coding(&parts.headers)?;
    let lines = Lines {
        reader: BufReader::with_capacity(64 * 1024, unpacked(body, coding)),
        patience: shared.options.body_timeout,
        index: 0,
    };
    let options = IngestOptions { backfill: query.backfill };
    let defaults = Defaults { source: query.source.clone() };
    let job = Job { shared, caller, options, defaults, lines };
    if query.receipts == Some(Wanted::All) {
        return Ok(job.answer_as_it_goes());
    }
    job.answer_at_the_end().await
}

struct Job {
    shared: Shared,
    caller: Caller,
    options: IngestOptions,
    defaults: Defaults,
    lines: Lines,
}

impl Job {
    /// Stores the next piece; `None` at the end.
    async fn step(
        &mut self,
        counts: &mut ReceiptCounts,
    ) -> Result<Option<Vec<ReceiptBody>>, Problem> {
        let chunk = self.lines.next(&self.defaults).await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let named: Vec<(u64, Option<String>)> = chunk
            .iter()
            .map(|(index, decoded)| (*index, decoded.as_ref().ok().map(|event| event.id.clone())))
            .collect();
        let decoded = chunk.into_iter().map(|(_, decoded)| decoded).collect();
        let receipts = take(&self.shared, &self.caller, decoded, self.options).await?;
        let mut stored = ReceiptCounts::default();
        receipts.iter().for_each(|receipt| stored.count(receipt));
        self.shared.metrics.receipts(&stored);
        counts.inserted += stored.inserted;
        counts.duplicate += stored.duplicate;
        counts.conflict += stored.conflict;
        counts.rejected += stored.rejected;
        let body = |((index, id), receipt)| ReceiptBody::of(index, id, receipt);
        Ok(Some(named.into_iter().zip(receipts).map(body).collect()))
    }

    async fn answer_at_the_end(mut self) -> Result<Response, Problem> {
        let mut counts = ReceiptCounts::default();
        let (mut problems, mut truncated) = (Vec::new(), false);
        loop {
            let receipts = match self.step(&mut counts).await {
                Ok(Some(receipts)) => receipts,
                Ok(None) => break,
                // How far it came is part of the answer: those are stored.
                Err(problem) => return Err(problem.with("counts", counts)),
            };
            for receipt in receipts.into_iter().filter(ReceiptBody::is_problem) {
                if problems.len() < MOST_PROBLEMS {
                    problems.push(receipt);
                } else {
                    truncated = true;
                }
            }
        }
        let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        Ok((status, Json(Receipts { counts, receipts: problems, truncated })).into_response())
    }

    /// Receipts as lines, while events still come. The last line says how many got which receipt,
    /// or what went wrong.
    fn answer_as_it_goes(mut self) -> Response {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        tokio::spawn(async move {
            let mut counts = ReceiptCounts::default();
            loop {
                let lines = match self.step(&mut counts).await {
                    Ok(Some(receipts)) => {
                        let text: Vec<String> =
                            receipts.iter().filter_map(|r| serde_json::to_string(r).ok()).collect();
                        text.join("\n") + "\n"
                    }
                    Ok(None) => break,
                    Err(problem) => {
                        let last = serde_json::json!({"counts": counts, "problem": problem});
                        let _ = sender.send(Ok(format!("{last}\n").into())).await;
                        return;
                    }
                };
                // Nobody reads the answer any more: nobody wants the rest stored either.
                if sender.send(Ok(lines.into())).await.is_err() {
                    return;
                }
            }
            let last = serde_json::json!({ "counts": counts });
            let _ = sender.send(Ok(format!("{last}\n").into())).await;
        });
        let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|item| (item, receiver))
        });
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        (kind, Body::from_stream(lines)).into_response()
    }
}
