//! The writer through outages: everything accepted is in the ledger once.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
use counterfoil_client::{
    Accept, Backoff, Client, Event, NotAccepted, Refused, SystemClock, Writer, WriterOptions,
};
use counterfoil_types::{Clock, Timestamp};
use tempfile::TempDir;

use crate::server::{Server, losing_answers};

fn event(number: u32) -> Event {
    Event::new(id(number), "acme", "call").source("svc")
}

fn id(number: u32) -> String {
    format!("e{number:06}")
}

fn ids(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(id).collect()
}

pub(crate) fn quick() -> WriterOptions {
    WriterOptions {
        linger: Duration::from_millis(20),
        backoff: Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(100),
            ..Backoff::default()
        },
        close_within: Duration::from_secs(60),
        ..WriterOptions::default()
    }
}

async fn delivered(writer: &Writer, events: u64) {
    while writer.stats().inserted + writer.stats().duplicate < events {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_writer_delivers_in_batches_and_closes_empty() {
    let server = Server::start().await;
    let writer = Writer::start(server.client(), quick()).unwrap();
    for number in 0..1_234 {
        writer.send(event(number)).await.unwrap();
    }
    assert_eq!(writer.flush().await.unwrap().on_disk, 0);
    assert_eq!(writer.stats().inserted, 1_234);
    writer.send(Event::new("", "acme", "call").source("svc")).await.unwrap();
    let closed = writer.close().await;
    assert!(closed.undelivered.is_empty());
    assert!(matches!(writer.send(event(9)).await, Err(NotAccepted::Closed)));
    let stored = server.stored().await;
    assert_eq!(stored.len(), 1_235);
    assert!(stored.iter().any(|id| id.len() == 32), "an event without an id got one");
    let usage = server.client().usage("acme").await.unwrap();
    assert_eq!(usage.subscriptions[0].charges[0].used.to_string(), "1235");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_cut_off_and_started_again_in_mid_stream_counts_each_event_once() {
    for accept in [Accept::Buffered, Accept::Durable] {
        let mut server = Server::start().await;
        let spill = TempDir::new().unwrap();
        let options = WriterOptions { spill: Some(spill.path().join("spill")), accept, ..quick() };
        let writer = Writer::start(server.client(), options).unwrap();
        let mut next = 0;
        for _ in 0..3 {
            for _ in 0..700 {
                writer.send(event(next)).await.unwrap();
                next += 1;
            }
            server.cut_off();
            for _ in 0..150 {
                writer.send(event(next)).await.unwrap();
                next += 1;
            }
            assert!(writer.flush().await.unwrap().on_disk >= 150, "{accept:?}");
            server.start_again().await;
        }
        delivered(&writer, u64::from(next)).await;
        let closed = writer.close().await;
        assert_eq!((closed.on_disk, closed.undelivered.len()), (0, 0));
        assert_eq!(server.stored().await, ids(0..next), "{accept:?}");
        let left = std::fs::read_dir(spill.path().join("spill")).unwrap().count();
        assert_eq!(left, 1, "nothing but the lock stays");
    }
}

#[tokio::test]
async fn what_a_closed_writer_left_on_disk_is_delivered_by_the_next() {
    let mut server = Server::start().await;
    let spill = TempDir::new().unwrap();
    let options = || WriterOptions { spill: Some(spill.path().to_owned()), ..quick() };
    server.cut_off();
    let writer = Writer::start(server.client(), options()).unwrap();
    for number in 0..500 {
        writer.send(event(number)).await.unwrap();
    }
    let closed = writer.close().await;
    assert_eq!((closed.on_disk, closed.undelivered.len()), (500, 0));
    server.start_again().await;
    let writer = Writer::start(server.client(), options()).unwrap();
    writer.send(event(500)).await.unwrap();
    delivered(&writer, 501).await;
    assert_eq!(writer.close().await.on_disk, 0);
    assert_eq!(server.stored().await, ids(0..501));
}

#[tokio::test]
async fn without_a_disk_events_wait_in_memory_and_are_given_back_at_the_end() {
    let mut server = Server::start().await;
    server.cut_off();
    let options = WriterOptions { capacity: 50, close_within: Duration::ZERO, ..quick() };
    let writer = Writer::start(server.client(), options).unwrap();
    let mut accepted = 0;
    let mut refusals = 0;
    // A full channel says so; what waits beyond it is bounded by as much again and a batch.
    while refusals < 20 {
        match writer.try_send(event(accepted)) {
            Ok(()) => accepted += 1,
            Err(NotAccepted::Full) => {
                refusals += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!((50..=2 * 50 + 1_024).contains(&accepted), "{accepted}");
    let closed = writer.close().await;
    let given_back: Vec<String> = closed
        .undelivered
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(given_back, ids(0..accepted), "all of them, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spill_at_its_bound_makes_senders_wait_and_loses_nothing() {
    let mut server = Server::start().await;
    server.cut_off();
    let spill = TempDir::new().unwrap();
    let options = WriterOptions {
        spill: Some(spill.path().to_owned()),
        spill_bytes: 4_000,
        capacity: 20,
        ..quick()
    };
    let writer = Writer::start(server.client(), options).unwrap();
    let sending = writer.clone();
    let sender = tokio::spawn(async move {
        for number in 0..300 {
            sending.send(event(number)).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sender.is_finished(), "there is no room for all");
    server.start_again().await;
    sender.await.unwrap();
    delivered(&writer, 300).await;
    let closed = writer.close().await;
    assert_eq!((closed.on_disk, closed.undelivered.len()), (0, 0));
    assert_eq!(server.stored().await, ids(0..300));
}

#[tokio::test]
async fn a_lost_acknowledgement_counts_once() {
    let server = Server::start().await;
    let (way, left) = losing_answers(server.address, 4);
    let writer = Writer::start(server.client_at(way), quick()).unwrap();
    for number in 0..350 {
        writer.send(event(number)).await.unwrap();
    }
    assert!(writer.close().await.undelivered.is_empty());
    assert_eq!(left.load(Ordering::SeqCst), 0, "answers were lost");
    let stats = writer.stats();
    assert!(stats.duplicate > 0 && stats.failures == 4, "{stats:?}");
    assert_eq!(server.stored().await, ids(0..350));
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_kept_and_not_tried_again() {
    let server = Server::start().await;
    let spill = TempDir::new().unwrap();
    let told: Arc<Mutex<Vec<Refused>>> = Arc::default();
    let telling = Arc::clone(&told);
    let options = WriterOptions {
        spill: Some(spill.path().to_owned()),
        on_problem: Some(Arc::new(move |refused| telling.lock().unwrap().push(refused.clone()))),
        ..quick()
    };
    let writer = Writer::start(server.client(), options).unwrap();
    let time = SystemClock.now();
    writer.send(event(0).at(time)).await.unwrap();
    writer.send(event(0).at(time).property("changed", true)).await.unwrap();
    writer.send(Event::new("bad", "", "call").source("svc")).await.unwrap();
    writer.send(event(1)).await.unwrap();
    assert!(writer.close().await.undelivered.is_empty());
    let told = told.lock().unwrap().clone();
    let codes: Vec<&str> = told.iter().map(|refused| refused.code.as_str()).collect();
    assert_eq!(codes.len(), 2, "{told:?}");
    assert_eq!(codes[0], "conflict");
    let kept = std::fs::read_to_string(spill.path().join("refused.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 2);
    assert_eq!(server.stored().await, ids(0..2));
}

/// A service that answers with what it is told to, and notes when it was asked.
async fn scripted(
    answers: Vec<(u16, &'static str)>,
) -> (Client, Arc<Mutex<Vec<Timestamp>>>, Arc<AtomicU32>) {
    let asked: Arc<Mutex<Vec<Timestamp>>> = Arc::default();
    let count = Arc::new(AtomicU32::new(0));
    let (noting, counting) = (Arc::clone(&asked), Arc::clone(&count));
    let answer = move |body: String| {
        let (noting, counting, answers) =
            (Arc::clone(&noting), Arc::clone(&counting), answers.clone());
        async move {
            noting.lock().unwrap().push(SystemClock.now());
            let number = counting.fetch_add(1, Ordering::SeqCst);
            let events: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
            if events.iter().any(|event| event["customer"] == "poison") {
                return (StatusCode::UNPROCESSABLE_ENTITY, "{}").into_response();
            }
            match answers.get(usize::try_from(number).unwrap()) {
                Some((status, wait)) => {
                    (StatusCode::from_u16(*status).unwrap(), [("retry-after", *wait)], "busy")
                        .into_response()
                }
                None => {
                    let receipts: Vec<_> = (0..events.len())
                        .map(|index| serde_json::json!({"index": index, "status": "inserted"}))
                        .collect();
                    let counts = serde_json::json!({"inserted": events.len(), "duplicate": 0,
                        "conflict": 0, "rejected": 0});
                    let body = serde_json::json!({"counts": counts, "receipts": receipts});
                    axum::Json(body).into_response()
                }
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/events", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Client::new(&format!("http://{address}"), "cf_test").unwrap(), asked, count)
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (client, asked, _) = scripted(vec![(429, "1"), (503, "2"), (500, "")]).await;
    let writer = Writer::start(client, quick()).unwrap();
    writer.send(event(0)).await.unwrap();
    assert!(writer.close().await.undelivered.is_empty());
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 4);
    let after = |number: usize| asked[number].micros() - asked[number - 1].micros();
    assert!(after(1) >= 1_000_000 && after(2) >= 2_000_000, "{asked:?}");
}

#[tokio::test]
async fn an_event_that_sinks_its_batch_is_found_and_its_neighbours_arrive() {
    let (client, _, requests) = scripted(vec![]).await;
    for spill in [None, Some(TempDir::new().unwrap())] {
        let spill = spill.as_ref().map(|spill| spill.path().to_owned());
        let accept = if spill.is_some() { Accept::Durable } else { Accept::Buffered };
        let writer =
            Writer::start(client.clone(), WriterOptions { spill, accept, ..quick() }).unwrap();
        for number in 0..100 {
            let customer = if number % 40 == 17 { "poison" } else { "acme" };
            writer.send(Event::new(id(number), customer, "call")).await.unwrap();
        }
        assert!(writer.close().await.undelivered.is_empty());
        let stats = writer.stats();
        assert_eq!((stats.inserted, stats.refused), (97, 3), "{stats:?}");
        assert!(requests.swap(0, Ordering::SeqCst) < 120);
    }
}
