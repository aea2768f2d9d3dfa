//! The program on PostgreSQL: the same month, the same bytes, and several programs at once.

#![cfg(test)]

use std::process::Command;

use counterfoil_store_postgres::testing::{Server, shared};

use crate::harness::{Outcome, Place, finish, receipts};

fn server() -> &'static Server {
    shared().unwrap_or_else(|error| panic!("{error}"))
}

/// An empty database.
pub(crate) fn database() -> String {
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

/// Contracts, payments, credit notes, voids, grants and reports, on both stores: the same answers.
#[test]
fn finance_on_postgres_comes_to_the_same_as_on_sqlite() {
    let (file, server) = (Place::at("2026-10-01T12:00:00Z"), Place::at("2026-10-01T12:00:00Z"));
    let url = database();
    let (mut told, mut expected) = (Vec::new(), Vec::new());
    let book = file.file("team.toml", crate::finance::BOOK);
    let calls = file.file(
        "calls.jsonl",
        r#"{"id":"e1","source":"s","customer":"acme","type":"call","time":"2026-10-05T00:00:00Z","quantity":700}"#,
    );
    let now = "2026-11-02T00:00:00Z";
    let steps: [&[&str]; 19] = [
        &["pricing", "publish", &book],
        &["customer", "add", "acme", "--name", "Acme", "--currency", "USD", "--tax", "VAT=20"],
        &[
            "subscription",
            "start",
            "team",
            "--customer",
            "acme",
            "--book",
            "team",
            "--plan",
            "small",
            "--start",
            "2026-10-01",
            "--quantity",
            "seats=2",
        ],
        &["subscription", "quantity", "team", "seats=4", "--on", "2026-10-17"],
        &["grant", "add", "hello", "--customer", "acme", "--amount", "20", "--currency", "USD"],
        &["grant", "add", "pack", "--customer", "acme", "--amount", "150", "--meter", "calls"],
        &["--now", "2026-10-05T00:00:00Z", "ingest", &calls],
        &["--now", "2026-10-06T00:00:00Z", "bill", "--thresholds"],
        &["--now", now, "run", "--period", "2026-10", "--approve", "--by", "fin"],
        &["--now", now, "payment", "record", "p", "--customer", "acme", "--amount", "50"],
        &[
            "--now",
            now,
            "credit-note",
            "issue",
            "cn",
            "--invoice",
            "INV-2026-000002",
            "--amount",
            "5",
            "--reason",
            "goodwill",
        ],
        &["--now", now, "invoice", "void", "INV-2026-000003", "--reason", "wrong address"],
        &["--now", now, "invoice", "reissue", "INV-2026-000003"],
        &["--now", "2027-01-10T00:00:00Z", "dunning", "run"],
        &["payment", "balances", "--json"],
        &["grant", "list", "--json"],
        &["--now", "2027-01-10T00:00:00Z", "report", "ageing", "--csv"],
        &["--now", "2027-01-10T00:00:00Z", "report", "revenue", "--by", "meter", "--csv"],
        &["invoice", "export", "--format", "jsonl"],
    ];
    for step in steps {
        expected.push(file.run(step).exits(0).stdout);
        told.push(run(&server, &url, step).exits(0).stdout);
    }
    for ((step, told), expected) in steps.iter().zip(&told).zip(&expected) {
        assert_eq!(told, expected, "{step:?}");
    }
    let report = run(&server, &url, &["verify", "--json"]).exits(0).json();
    assert_eq!(report["problems"], serde_json::json!([]));
    run(&server, &url, &["--now", now, "report", "reconciliation"]).exits(0);
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
