//! `load`: sends made-up events to a service at a rate and tells how it took them. To loopback
//! addresses unless told otherwise, and never without an end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use counterfoil_client::{Client, ClientError, ClientOptions, Event, ReceiptCounts};
use counterfoil_types::{Clock, Random};
use tokio::task::JoinSet;

use super::Verdict;
use crate::{args::Load, clock::SystemClock, error::CliError, output::Out, random::SystemRandom};

/// Most events of one run.
const MOST_EVENTS: u64 = 100_000_000;

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// Microseconds from when a batch was due, or sent where there is no rate, to its receipts.
    latencies: Vec<u64>,
    counts: ReceiptCounts,
    failed: u64,
    first_error: Option<ClientError>,
}

/// What all connections go by.
struct Course {
    client: Client,
    started: Instant,
    end: Instant,
    next: AtomicU64,
    load: Load,
    /// Keeps the ids of one run apart from those of another.
    run: String,
}

pub(super) async fn run(load: &Load, out: &mut Out) -> Result<Verdict, CliError> {
    let options = ClientOptions {
        idle_connections: usize::from(load.connections),
        ..ClientOptions::default()
    };
    let client = Client::with_options(&load.url, &load.key, &options)
        .map_err(|error| CliError::asked(error.to_string()))?;
    if !client.is_loopback() && !load.allow_remote {
        return Err(CliError::asked(format!(
            "{} is not on this machine; --allow-remote sends load there all the same",
            load.url
        )));
    }
    let mut bytes = [0_u8; 8];
    SystemRandom.fill(&mut bytes);
    let started = Instant::now();
    let course = Arc::new(Course {
        client,
        started,
        end: started + Duration::from_secs(u64::from(load.seconds)),
        next: AtomicU64::new(0),
        load: load.clone(),
        run: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        connections.spawn(connection(Arc::clone(&course)));
    }
    let mut all = Seen::default();
    for seen in connections.join_all().await {
        all.latencies.extend(seen.latencies);
        all.counts.inserted += seen.counts.inserted;
        all.counts.duplicate += seen.counts.duplicate;
        all.counts.conflict += seen.counts.conflict;
        all.counts.rejected += seen.counts.rejected;
        all.failed += seen.failed;
        all.first_error = all.first_error.or(seen.first_error);
    }
    tell(load, all, micros(started.elapsed()), out)
}

/// Sends batch after batch until the end.
async fn connection(course: Arc<Course>) -> Seen {
    let mut seen = Seen::default();
    let batch = u64::from(course.load.batch);
    loop {
        let number = course.next.fetch_add(1, Ordering::Relaxed);
        let due = match course.load.rate {
            Some(rate) => {
                let after = u128::from(number) * u128::from(batch) * 1_000_000 / u128::from(rate);
                let after = u64::try_from(after).unwrap_or(u64::MAX);
                course.started + Duration::from_micros(after)
            }
            None => Instant::now(),
        };
        if due >= course.end || Instant::now() >= course.end || number * batch >= MOST_EVENTS {
            return seen;
        }
        tokio::time::sleep_until(due.into()).await;
        let events: Vec<Event> =
            (number * batch..(number + 1) * batch).map(|event| course.event(event)).collect();
        match course.client.send(&events).await {
            Ok(receipts) => {
                seen.latencies.push(micros(due.elapsed()));
                seen.counts.inserted += receipts.counts.inserted;
                seen.counts.duplicate += receipts.counts.duplicate;
                seen.counts.conflict += receipts.counts.conflict;
                seen.counts.rejected += receipts.counts.rejected;
            }
            Err(error) => {
                seen.failed += 1;
                let wait = error.retry_after().unwrap_or(Duration::from_millis(100));
                seen.first_error.get_or_insert(error);
                let left = course.end.saturating_duration_since(Instant::now());
                tokio::time::sleep(wait.min(left)).await;
            }
        }
    }
}

impl Course {
    fn event(&self, number: u64) -> Event {
        let customer = number % u64::from(self.load.customers);
        Event::new(
            format!("{}-{number}", self.run),
            format!("load-{customer}"),
            &self.load.event_type,
        )
        .source("load")
        .at(SystemClock.now())
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The smallest value that so many per cent of the sorted values do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn tell(load: &Load, mut all: Seen, took: u64, out: &mut Out) -> Result<Verdict, CliError> {
    all.latencies.sort_unstable();
    let ReceiptCounts { inserted, duplicate, conflict, rejected } = all.counts;
    let stored = inserted + duplicate;
    let rate = u128::from(stored) * 1_000_000 / u128::from(took.max(1));
    let [p50, p95, p99, max] = [50, 95, 99, 100].map(|percent| percentile(&all.latencies, percent));
    let error = all.first_error.map(|error| error.to_string());
    out.value(&serde_json::json!({
        "rate_wanted": load.rate, "rate": u64::try_from(rate).unwrap_or(u64::MAX),
        "seconds": took / 1_000_000, "requests": all.latencies.len(), "failed": all.failed,
        "inserted": inserted, "duplicate": duplicate, "conflict": conflict, "rejected": rejected,
        "latency_micros": {"p50": p50, "p95": p95, "p99": p99, "max": max},
        "error": error,
    }))?;
    let wanted = load.rate.map_or("as many as it takes".to_owned(), |rate| format!("{rate}/s"));
    out.line(format_args!("{stored} events stored, {rate}/s (wanted: {wanted})"))?;
    out.line(format_args!(
        "requests of {}: p50 {p50} µs, p95 {p95} µs, p99 {p99} µs, max {max} µs",
        load.batch
    ))?;
    if let Some(error) = error {
        out.line(format_args!("{} requests failed; the first: {error}", all.failed))?;
    }
    if conflict + rejected > 0 {
        out.line(format_args!("{conflict} conflicts, {rejected} rejected"))?;
    }
    Ok(Verdict::unless(all.failed + conflict + rejected > 0))
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!([50, 95, 99, 100].map(|p| percentile(&values, p)), [100, 190, 198, 200]);
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[], 99), 0);
    }
}
