//! A process killed while it spills. The test runs itself again as that process.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use counterfoil_client::{Accept, Event, Writer, WriterOptions};
use tempfile::TempDir;

use crate::{server::Server, writer::quick};

const ADDRESS: &str = "COUNTERFOIL_TEST_KILLED_ADDRESS";
const SPILL: &str = "COUNTERFOIL_TEST_KILLED_SPILL";

/// What the killed process does; nothing where it is not told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spills_until_it_is_killed() {
    let (Ok(address), Some(spill)) = (std::env::var(ADDRESS), std::env::var_os(SPILL)) else {
        return;
    };
    let client = counterfoil_client::Client::new(&address, "cf_any").unwrap();
    let options = WriterOptions { spill: Some(spill.into()), accept: Accept::Durable, ..quick() };
    let writer = Writer::start(client, options).unwrap();
    let tasks: Vec<_> = (0..8_u32)
        .map(|task| {
            let writer = writer.clone();
            tokio::spawn(async move {
                for number in 0_u32.. {
                    let id = format!("k{}-{task}-{number:07}", std::process::id());
                    let event = Event::new(&id, "acme", "call").source("svc");
                    writer.send(event).await.unwrap();
                    println!("accepted {id}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_on_disk_survives_kill_9_and_counts_once() {
    let mut server = Server::start().await;
    server.cut_off();
    let spill = TempDir::new().unwrap();
    let mut accepted = Vec::new();
    for kill_after in [37, 500] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::spills_until_it_is_killed", "--nocapture"])
            .env(ADDRESS, format!("http://{}", server.address))
            .env(SPILL, spill.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < kill_after {
            let line = lines.next().unwrap().unwrap();
            seen += accepted_in(&line, &mut accepted);
        }
        // SIGKILL. What it had said before it was dead counts as well.
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            accepted_in(&line, &mut accepted);
        }
    }
    server.start_again().await;
    let options = WriterOptions { spill: Some(spill.path().to_owned()), ..quick() };
    let writer = Writer::start(server.client(), options).unwrap();
    let most = Duration::from_secs(60);
    let empty = async {
        while writer.stats().inserted < accepted.len() as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(most, empty).await;
    let closed = writer.close().await;
    assert!(in_time.is_ok(), "{:?}, accepted {}", writer.stats(), accepted.len());
    assert_eq!(closed.on_disk, 0);
    let stored = server.stored().await;
    accepted.sort();
    accepted.dedup();
    for id in &accepted {
        assert!(stored.binary_search(id).is_ok(), "{id} was accepted and is lost");
    }
    let mut once = stored.clone();
    once.dedup();
    assert_eq!(once, stored, "each is stored once");
}

fn accepted_in(line: &str, accepted: &mut Vec<String>) -> usize {
    // The line of the test runner may stand before the first one.
    let Some((_, id)) = line.split_once("accepted ") else { return 0 };
    accepted.push(id.to_owned());
    1
}
