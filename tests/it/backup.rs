//! Backup and restore as `docs/backup.md` describes them: a restored older copy is noticed, and
//! nothing is billed from it until somebody says so.

#![cfg(test)]

use std::{fs, path::PathBuf, process::Command};

use counterfoil_store_postgres::testing::shared;

use crate::harness::{Outcome, Place, finish};

const BEFORE: &str = "2026-10-20T00:00:00Z";

fn event(place: &Place, id: &str) -> String {
    let line = format!(
        r#"{{"id":"{id}","source":"s","customer":"acme","type":"api.call","time":"2026-10-10T00:00:00Z"}}"#
    );
    place.file(&format!("{id}.jsonl"), line)
}

type Run<'a> = &'a dyn Fn(&[&str]) -> Outcome;

const BILL: [&str; 8] =
    ["--now", "2026-11-02T00:00:00Z", "run", "--period", "2026-10", "--approve", "--by", "fin"];

fn set_up(place: &Place, run: Run<'_>) {
    let book = crate::harness::root().join("pricing/metering-engine.toml").display().to_string();
    let first = event(place, "first");
    for step in [
        &["pricing", "publish", &book][..],
        &["customer", "add", "acme", "--name", "Acme", "--currency", "USD"],
        &[
            "subscription",
            "start",
            "acme",
            "--customer",
            "acme",
            "--book",
            "metering-engine",
            "--plan",
            "payg",
            "--start",
            "2026-10-01",
        ],
        &["ingest", &first],
    ] {
        run(step).exits(0);
    }
}

/// What happens after the backup was taken, and is lost by restoring it.
fn go_on(place: &Place, run: Run<'_>) -> String {
    run(&["ingest", &event(place, "second")]).exits(0);
    run(&BILL).exits(0);
    run(&["invoice", "export", "--format", "jsonl"]).exits(0).stdout
}

fn noticed_and_acknowledged(place: &Place, run: Run<'_>, lost: &str) {
    run(&["verify"]).exits(3).shows(&["rolled back", "was at", "INV-2026-0000"]);
    run(&["doctor"]).exits(3).shows(&["older backup was restored"]);
    let pay = ["payment", "record", "p", "--customer", "acme", "--amount", "5"];
    let grant = ["grant", "add", "g", "--customer", "acme", "--amount", "20", "--currency", "USD"];
    for refused in [&BILL[..], &pay, &grant, &["dunning", "run"], &["bill", "acme"]] {
        run(refused).refused(1, &["not the one that was anchored", "recover acknowledge"]);
    }
    // Looking is allowed, and producers may send again what was lost.
    run(&["invoice", "list"]).exits(0);
    run(&["run", "--period", "2026-10", "--dry-run", "--now", "2026-11-02T00:00:00Z"]).exits(0);
    run(&["ingest", &event(place, "second")]).exits(0);
    run(&["recover", "acknowledge"]).refused(2, &["--reason"]);
    run(&["recover", "acknowledge", "--reason", "restored on purpose"])
        .exits(0)
        .shows(&["billing may go on"]);
    run(&["recover", "acknowledge", "--reason", "again"]).refused(1, &["nothing is to be"]);
    run(&BILL).exits(0);
    let report = run(&["verify", "--json"]).exits(0).json();
    assert_eq!(report["problems"], serde_json::json!([]));
    assert_eq!(run(&["invoice", "export", "--format", "jsonl"]).exits(0).stdout, lost);
}

#[test]
fn a_restored_sqlite_backup_is_noticed_and_bills_after_acknowledgement() {
    let place = Place::at(BEFORE);
    let run = |args: &[&str]| place.run(args);
    set_up(&place, &run);
    let copy = place.path("monday.db");
    let copy_name = copy.display().to_string();
    run(&["backup", &copy_name]).exits(0).shows(&["monday.db"]);
    run(&["backup", &copy_name]).refused(1, &["exists"]);
    run(&["backup", "no/such/place.db"]).refused(1, &["no/such"]);
    let lost = go_on(&place, &run);
    assert!(!lost.is_empty());

    // As docs/backup.md says: the write-ahead log of the lost file goes with it.
    for name in ["counterfoil.db", "counterfoil.db-wal", "counterfoil.db-shm"] {
        let _ = fs::remove_file(place.data().join(name));
    }
    fs::copy(&copy, place.database()).expect("a copy");
    noticed_and_acknowledged(&place, &run, &lost);
}

/// Where the tools of the server are.
fn tool(name: &str) -> Command {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        packaged.map(|entry| entry.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    Command::new(found.pop().unwrap_or_else(|| name.into()))
}

#[test]
fn a_restored_postgres_dump_is_noticed_and_bills_after_acknowledgement() {
    let server = shared().unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let database = || runtime.block_on(server.empty_database()).expect("a database");
    let place = Place::at(BEFORE);
    let url = database();
    let run = |args: &[&str]| finish(place.command(args).env("DATABASE_URL", &url));
    set_up(&place, &run);
    run(&["backup", "file"]).refused(1, &["pg_dump", "docs/backup.md"]);
    let dump = place.path("monday.dump");
    let mut command = tool("pg_dump");
    let status = command.args(["--format", "custom", "--file"]).arg(&dump).arg(&url).status();
    assert!(status.is_ok_and(|status| status.success()), "pg_dump");
    let lost = go_on(&place, &run);

    let restored = database();
    let mut command = tool("pg_restore");
    let status = command.args(["--exit-on-error", "--dbname", &restored]).arg(&dump).status();
    assert!(status.is_ok_and(|status| status.success()), "pg_restore");
    let run = |args: &[&str]| finish(place.command(args).env("DATABASE_URL", &restored));
    noticed_and_acknowledged(&place, &run, &lost);
}

#[test]
fn the_anchor_lies_where_the_configuration_says() {
    let place = Place::at(BEFORE);
    place.file("counterfoil.toml", "anchor = 'elsewhere'\n");
    let run = |args: &[&str]| place.run(args);
    set_up(&place, &run);
    assert!(place.path("elsewhere/anchor-default.json").exists());
    assert!(!place.data().join("anchor-default.json").exists());
    run(&["doctor"]).exits(0).shows(&["elsewhere/anchor-default.json"]);
    place.file("elsewhere/anchor-default.json", "{");
    run(&BILL).refused(1, &["anchor-default.json", "damaged"]);
    run(&["verify"]).exits(3).shows(&["anchor"]);
    run(&["doctor"]).exits(3).shows(&["damaged"]);
    run(&["recover", "acknowledge", "--reason", "cut off"]).exits(0);
    run(&BILL).exits(0);
}
