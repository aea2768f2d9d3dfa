//! Archives as users run them: what moves, what is held back, what stays true, full disks, kills,
//! both stores.

#![cfg(test)]

use std::{
    fmt::Write,
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use counterfoil_store_postgres::testing::shared;
use serde_json::Value;

use crate::harness::{Outcome, Place, Random, finish, receipts};

const NOW: &str = "2026-11-02T09:00:00Z";

/// `count` events of October 2026 of customers nobody bills.
fn strangers(count: u32) -> String {
    let mut text = String::new();
    for n in 0..count {
        writeln!(
            text,
            r#"{{"id":"x{n}","source":"s","customer":"c{}","type":"t","time":"2026-10-{:02}T{:02}:10:00Z","quantity":"{n}.25","properties":{{"region":"eu-{n}"}}}}"#,
            n % 7,
            1 + n % 28,
            n % 24
        )
        .expect("text");
    }
    text
}

fn place_with_strangers(count: u32) -> (Place, String) {
    let place = Place::at("2026-10-29T00:00:00Z");
    let file = place.file("events.jsonl", strangers(count));
    place.ok(&["ingest", &file, "--backfill"]);
    (place, file)
}

const RUN: [&str; 4] = ["archive", "run", "--before", "2026-11-01"];

#[test]
fn a_billed_month_is_archived_checked_and_put_back() {
    let place = Place::at(NOW);
    place.ok(&["quickstart"]);
    let export = place.ok(&["invoice", "export", "--format", "jsonl"]).stdout;
    let told = place.json(&[&RUN[..], &["--to", "files"]].concat());
    let rows = told["rows"].as_u64().expect("a number");
    assert!(rows > 1_000, "{told}");
    let held = told["held_back"].as_array().expect("a list");
    assert!(
        held.iter().any(|held| held["reason"].as_str().is_some_and(|why| why.contains("is not"))),
        "{told}"
    );
    // A second one finds nothing more.
    assert_eq!(place.json(&[&RUN[..], &["--to", "files"]].concat())["rows"], 0);
    place.ok(&["archive", "list"]).shows(&["archived", "csv.gz"]);
    place.ok(&["archive", "verify"]).shows(&["whole", "0 problems"]);
    let report = place.json(&["verify"]);
    assert_eq!(report["archived"].as_u64(), Some(rows));
    assert_eq!(
        (&report["problems"], &report["unchecked"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert_eq!(place.json(&["rebuild", "--check"])["difference_count"], 0);
    place.ok(&["doctor"]).shows(&["events archived"]);

    // Sending the month again inserts nothing.
    let again = place.ok(&["quickstart"]).stdout;
    assert!(again.contains("0 inserted, 18204 duplicate"), "{again}");

    // Without the files: checked as far as it goes, and said.
    fs::rename(place.path("files"), place.path("away")).expect("a rename");
    let report = place.json(&["verify"]);
    assert_eq!(report["problems"], serde_json::json!([]));
    assert!(report["unchecked"].as_array().is_some_and(|list| !list.is_empty()));
    place.run(&["archive", "verify"]).exits(3).shows(&["is not there"]);
    place.run(&["rebuild"]).refused(1, &["archive restore"]);

    // A file from anywhere is put back, last archive of a lane first.
    for record in place.json(&["archive", "list"]).as_array().expect("a list") {
        let file = record["manifest"]["file"].as_str().expect("a name");
        let path = place.path("away").join(file).display().to_string();
        place.ok(&["archive", "restore", &path]).shows(&["is back"]);
        place.ok(&["archive", "restore", &path]).shows(&["restored already"]);
    }
    place.assert_sound();
    assert_eq!(place.ok(&["invoice", "export", "--format", "jsonl"]).stdout, export);
    place.run(&["archive", "restore", "1-2-3"]).refused(1, &["1-2-3", "archive list"]);
}

#[test]
fn retention_is_a_setting_and_what_is_not_sound_is_refused() {
    let (place, _) = place_with_strangers(50);
    place.ok(&["archive", "run"]).shows(&["0 events"]);
    place.file("counterfoil.toml", "[retention]\nraw = '10d'\n");
    let told = place.json(&["archive", "run"]);
    assert_eq!(told["before"], "2026-10-19T00:00:00Z");
    place.file(
        "counterfoil.toml",
        "archive_dir = 'cold'\n[retention]\nraw = 'forever'\ndaily = 'forever'\n",
    );
    place.run(&["archive", "run"]).refused(1, &["--older-than"]);
    place.ok(&["archive", "run", "--older-than", "0d"]);
    assert!(fs::read_dir(place.path("cold")).expect("the directory").count() >= 2);
    place.file("counterfoil.toml", "[retention]\nhourly = '30d'\n");
    place.run(&["archive", "run"]).refused(1, &["retention.hourly", "for ever"]);
    place.file("counterfoil.toml", "[retention]\nraw = '3 months'\n");
    place.run(&["archive", "run"]).refused(1, &["retention.raw", "90d"]);
    place.file("counterfoil.toml", "");
    place.run(&["archive", "run", "--format", "parquet"]).refused(2, &["parquet", "csv"]);
    place.run(&["archive", "run", "--before", "yesterday"]).refused(2, &["yesterday"]);
}

#[test]
fn a_disk_that_fills_while_archiving_leaves_nothing_under_a_final_name() {
    let (place, _) = place_with_strangers(20_000);
    let small = place.path("small");
    fs::create_dir(&small).expect("a directory");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&small).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let outcome = place.run(&[&RUN[..], &["--to", "small"]].concat());
    let names: Vec<String> = fs::read_dir(&small)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    Command::new("umount").arg(&small).status().expect("umount runs");
    outcome.refused(1, &["no space", "Free disk space"]);
    // What is there is whole: each file with its manifest.
    let manifests = names.iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(names.len(), 2 * manifests, "{names:?}");
    place.assert_sound();
    place.ok(&RUN);
    place.assert_sound();
}

#[test]
fn killed_archiving_is_finished_by_whoever_comes_next() {
    const COUNT: u32 = 20_000;
    let (base, _) = place_with_strangers(COUNT);
    let copy = || {
        let place = Place::at("2026-10-29T00:00:00Z");
        fs::create_dir_all(place.data()).expect("a directory");
        fs::copy(base.database(), place.database()).expect("a copy");
        place
    };
    let start = Instant::now();
    let whole = copy();
    whole.ok(&RUN);
    let span = u64::try_from(start.elapsed().as_micros()).expect("a short span");
    let wanted = whole.json(&["archive", "list"]);
    let mut random = Random::sequence(31);
    let mut kills = 0;
    for _ in 0..3 {
        let place = copy();
        for _ in 0..4 {
            let mut command = place.command(&RUN);
            let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = quiet.spawn().expect("the program runs");
            std::thread::sleep(Duration::from_micros(random.below(span)));
            child.kill().expect("it can be killed");
            kills += u64::from(child.wait().expect("it ends").code().is_none());
            let report = place.json(&["verify"]);
            assert_eq!(report["events"], COUNT);
            assert_eq!(
                (&report["problems"], &report["unchecked"]),
                (&serde_json::json!([]), &serde_json::json!([]))
            );
        }
        place.ok(&RUN);
        let told = place.json(&["archive", "list"]);
        let manifests = |list: &Value| {
            let list = list.as_array().expect("a list").iter();
            list.map(|record| record["manifest"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(manifests(&told), manifests(&wanted), "the same files, to the byte");
        place.assert_sound();
    }
    assert!(kills > 0, "no kill came before the end");
}

#[test]
fn archives_on_postgres_hold_the_bytes_of_those_on_sqlite() {
    let server = shared().unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let url = runtime.expect("a runtime").block_on(server.empty_database()).expect("a database");
    let (file, other) = (Place::at(NOW), Place::at(NOW));
    let on_server =
        |args: &[&str]| -> Outcome { finish(other.command(args).env("DATABASE_URL", &url)) };
    let events = file.file("events.jsonl", strangers(300));
    let run = [&RUN[..], &["--to", "files", "--json"]].concat();
    let list = ["archive", "list", "--json"];
    let correction = file.file(
        "fix.jsonl",
        r#"{"id":"fix","source":"s","customer":"c1","type":"t","reverses":"x1"}"#,
    );
    for step in [&["ingest", &events, "--backfill", "--lanes", "2"][..], &run] {
        file.run(step).exits(0);
        on_server(step).exits(0);
    }
    let told = on_server(&list).json();
    let (ours, theirs) = (file.run(&list).json(), told.clone());
    let both = ours.as_array().expect("a list").iter().zip(theirs.as_array().expect("a list"));
    assert_eq!(both.len(), 2);
    for (ours, theirs) in both {
        for what in ["rows", "sha256", "root", "first", "last"] {
            assert_eq!(ours["manifest"][what], theirs["manifest"][what], "{what}");
        }
    }
    for run in [&|args: &[&str]| file.run(args), &on_server as &dyn Fn(&[&str]) -> Outcome] {
        assert_eq!(
            receipts(&run(&["ingest", &events, "--json", "--backfill"]).json()),
            [0, 300, 0, 0]
        );
        assert_eq!(
            receipts(&run(&["ingest", &correction, "--json"]).exits(3).json()),
            [0, 0, 0, 1]
        );
        let report = run(&["verify", "--json"]).exits(0).json();
        assert_eq!(report["problems"], serde_json::json!([]));
        assert_eq!(report["archived"], 300);
        run(&["archive", "verify"]).exits(0);
        run(&["rebuild"]).exits(0);
        for record in told.as_array().expect("a list") {
            let manifest = &record["manifest"];
            let id = format!("{}-{}-{}", manifest["lane"], manifest["first"], manifest["last"]);
            run(&["archive", "restore", &id]).exits(0).shows(&["is back"]);
        }
        assert_eq!(
            receipts(&run(&["ingest", &correction, "--json"]).exits(0).json()),
            [1, 0, 0, 0]
        );
        let report = run(&["verify", "--json"]).exits(0).json();
        assert_eq!(
            (&report["problems"], &report["archived"]),
            (&serde_json::json!([]), &serde_json::json!(0))
        );
        assert_eq!(run(&["rebuild", "--check", "--json"]).exits(0).json()["difference_count"], 0);
    }
}
