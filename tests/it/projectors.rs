//! Several projectors at once, as processes, one of them stopped for longer than its lease and
//! woken late: on both stores the aggregates are those of the fold over the ledger.

#![cfg(test)]

use std::{
    fmt::Write,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use counterfoil_store_postgres::testing::shared;

use crate::harness::{Place, Random, finish};

const EVENTS: u32 = 9_000;

fn events() -> String {
    let mut text = String::new();
    for number in 0..EVENTS {
        let (customer, hour) = (number % 41, number % 24);
        writeln!(
            text,
            r#"{{"id":"e{number}","source":"s","customer":"c{customer}","type":"api.call","time":"2026-10-20T{hour:02}:00:00Z","quantity":3}}"#
        )
        .expect("text grows");
    }
    text
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(done.expect("kill runs").success(), "{name}");
}

/// `command` gives a command of the program on the store.
fn share(command: &dyn Fn(&[&str]) -> Command, place: &Place) {
    let file = place.file("events.jsonl", events());
    let book = crate::harness::root().join("pricing/metering-engine.toml");
    finish(&mut command(&["pricing", "publish", &book.display().to_string()])).exits(0);
    finish(&mut command(&["ingest", &file, "--backfill"])).exits(0);
    let mut random = Random::sequence(71);
    let start = |name: &str| {
        let mut command = command(&["project", "--holder", name, "--lease", "1"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs")
    };
    for round in 0..2 {
        let sleeper = start("sleeper");
        sleep(Duration::from_millis(20 + random.below(400)));
        signal(&sleeper, "-STOP");
        let others = [start("one"), start("two")];
        // Longer than the lease.
        sleep(Duration::from_millis(1_300));
        let last = start("three");
        signal(&sleeper, "-CONT");
        for child in others.into_iter().chain([sleeper, last]) {
            let output = child.wait_with_output().expect("it ends");
            let told = String::from_utf8_lossy(&output.stderr);
            // On SQLite a writer that was stopped inside a write has the file; that is told.
            let locked = told.contains("locked by another process");
            assert!(output.status.success() || locked, "round {round}: {told}");
        }
        let report = finish(&mut command(&["project", "--holder", "last", "--json"]));
        assert_eq!(report.exits(0).json()["lost"], 0);
        let check = finish(&mut command(&["rebuild", "--check", "--json"])).exits(0).json();
        assert_eq!(check["difference_count"], 0, "round {round}");
        assert_eq!(check["rows"], EVENTS);
        // From the beginning, and other lanes are at hand when the next one is stopped.
        forget(command);
    }
}

/// A rebuild that is killed has forgotten the lanes and projected none or some of them.
fn forget(command: &dyn Fn(&[&str]) -> Command) {
    let mut rebuild = command(&["rebuild"]);
    let quiet = rebuild.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().expect("the program runs");
    sleep(Duration::from_millis(150));
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

#[test]
fn projectors_share_lanes_and_one_that_was_stopped_changes_nothing() {
    let place = Place::on_the_wall_clock();
    share(&|args| place.command(args), &place);
}

#[test]
fn projectors_share_lanes_on_postgres_and_one_that_was_stopped_changes_nothing() {
    let place = Place::on_the_wall_clock();
    let server = shared().unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let url = runtime.expect("a runtime").block_on(server.empty_database()).expect("a database");
    let command = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("DATABASE_URL", &url);
        command
    };
    share(&command, &place);
}
