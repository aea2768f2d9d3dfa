//! The program on PostgreSQL: the same month, the same bytes, and several programs at once.

#![cfg(test)]

use std::process::Command;

use counterfoil_store_postgres::testing::{Server, shared};

use crate::harness::{Outcome, Place, finish, receipts};

fn server() -> &'static Server {
    shared().unwrap_or_else(|error| panic!("{error}"))
}

/// An empty database.
fn database() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(server().empty_database()).expect("a database")
}

fn command(place: &Place, url: &str, args: &[&str]) -> Command {
    let mut command = place.command(args);
    command.env("DATABASE_URL", url);
    command
}

fn run(place: &Place, url: &str, args: &[&str]) -> Outcome {
    finish(&mut command(place, url, args))
}

#[test]
fn a_month_on_postgres_comes_to_the_same_bytes_as_on_sqlite() {
    let (file, server) = (Place::on_the_wall_clock(), Place::on_the_wall_clock());
    let url = database();
    file.ok(&["quickstart"]);
    run(&server, &url, &["quickstart"]).exits(0).shows(&["127.0.0.1", "DATABASE_URL"]);
    let export = ["invoice", "export", "--format", "jsonl"];
    let expected = file.ok(&export).stdout;
    assert!(expected.lines().count() > 3);
    assert_eq!(run(&server, &url, &export).exits(0).stdout, expected);
    // Again: nothing new.
    run(&server, &url, &["quickstart"]).exits(0);
    assert_eq!(run(&server, &url, &export).exits(0).stdout, expected);
    let report = run(&server, &url, &["verify", "--json"]).exits(0).json();
    assert_eq!(report["problems"], serde_json::json!([]));
    let report = run(&server, &url, &["rebuild", "--check", "--json"]).exits(0).json();
    assert_eq!(report["difference_count"], 0);
}

#[test]
fn migrate_and_doctor_tell_what_the_server_is() {
    let place = Place::on_the_wall_clock();
    let url = database();
    run(&place, &url, &["migrate"]).exits(0).shows(&["PostgreSQL", "up to date"]);
    run(&place, &url, &["migrate"]).exits(0).shows(&["up to date"]);
    let doctor = run(&place, &url, &["doctor", "--json"]);
    let facts = &doctor.json()["facts"];
    assert!(facts["store"].as_str().expect("text").starts_with("PostgreSQL"), "{facts}");
    // The server of the tests forces nothing to the disk, and that is a problem to be told.
    assert_eq!((facts["fsync"].as_str(), doctor.code), (Some("off"), Some(3)));
    let place = Place::on_the_wall_clock();
    place.ok(&["migrate"]).shows(&["SQLite", "up to date"]);
}

#[test]
fn programs_that_ingest_at_once_into_postgres_store_each_event_once() {
    let place = Place::at("2026-10-20T00:00:00Z");
    let url = database();
    run(&place, &url, &["migrate"]).exits(0);
    let line = |n: usize| {
        format!(
            "{{\"id\":\"e{n}\",\"source\":\"s\",\"customer\":\"c{}\",\"type\":\"t\",\"time\":\"2026-10-10T00:00:00Z\",\"quantity\":1}}\n",
            n % 40
        )
    };
    let programs: Vec<_> = (0..3)
        .map(|number| {
            // Neighbours send half of each other's events.
            let text: String = (number * 1_000..number * 1_000 + 2_000).map(line).collect();
            let path = place.file(&format!("{number}.jsonl"), text);
            let args = ["ingest", path.as_str(), "--batch", "100", "--json"];
            let mut command = command(&place, &url, &args);
            command.stdout(std::process::Stdio::piped()).spawn().expect("the program runs")
        })
        .collect();
    let mut inserted = 0;
    for program in programs {
        let output = program.wait_with_output().expect("the program ends");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = serde_json::from_slice(&output.stdout).expect("JSON");
        let [fresh, duplicate, conflict, rejected] = receipts(&report);
        assert_eq!((fresh + duplicate, conflict, rejected), (2_000, 0, 0));
        inserted += fresh;
    }
    assert_eq!(inserted, 4_000);
    let report = run(&place, &url, &["verify", "--json"]).exits(0).json();
    assert_eq!(report["problems"], serde_json::json!([]));
}
