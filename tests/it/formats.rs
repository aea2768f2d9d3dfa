//! What `ingest` reads, and where what it refuses goes.

#![cfg(test)]

use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::harness::{Place, receipts, rejects};

const NOW: &str = "2026-11-02T09:00:00Z";

/// Two events, three ways of writing them.
const NATIVE: &str = r#"{"id":"1","source":"gate","customer":"acme","type":"api.call","time":"2026-10-20T00:00:00Z","quantity":"2.50","unit":"calls"}
{"id":"2","source":"gate","customer":"acme","type":"api.call","time":"2026-10-20T02:00:00+02:00","quantity":3,"properties":{"region":"eu"}}
"#;
const CLOUD: &str = r#"{"specversion":"1.0","id":"1","source":"gate","subject":"acme","type":"api.call","time":"2026-10-20T00:00:00Z","datacontenttype":"application/json","data":{"quantity":2.5,"unit":"calls"}}
{"specversion":"1.0","id":"2","source":"gate","subject":"acme","type":"api.call","time":"2026-10-20T00:00:00Z","data":{"quantity":"3","region":"eu"}}
"#;
const ROWS: &str = "id,source,customer,type,time,quantity,unit,region\r\n\
                    1,gate,acme,api.call,2026-10-20T00:00:00Z,2.5,calls,\r\n\
                    2,gate,acme,api.call,2026-10-20T00:00:00Z,3,,eu\r\n";

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).expect("memory");
    packed.finish().expect("memory")
}

#[test]
fn one_event_is_the_same_event_in_every_format() {
    let place = Place::at(NOW);
    let native = place.file("native.jsonl", NATIVE);
    assert_eq!(receipts(&place.json(&["ingest", &native])), [2, 0, 0, 0]);
    // Equal content, or it would be a conflict.
    for (name, content) in [
        ("cloud.jsonl", CLOUD.as_bytes().to_vec()),
        ("rows.csv", ROWS.as_bytes().to_vec()),
        ("native.jsonl.gz", gzip(NATIVE)),
        ("rows.csv.gz", gzip(ROWS)),
        ("packed-under-a-plain-name.jsonl", gzip(CLOUD)),
        ("no-ending", ROWS.as_bytes().to_vec()),
        ("two-members.gz", [gzip(NATIVE), gzip(CLOUD)].concat()),
    ] {
        let file = place.file(name, content);
        let [inserted, duplicate, conflict, rejected] = receipts(&place.json(&["ingest", &file]));
        assert_eq!((inserted, conflict, rejected), (0, 0, 0), "{name}");
        assert!(duplicate >= 2, "{name}");
    }
    for input in [NATIVE.as_bytes(), CLOUD.as_bytes(), ROWS.as_bytes(), &gzip(CLOUD)] {
        let outcome = place.run_with_input(&["ingest", "-", "--json"], input).exits(0);
        assert_eq!(receipts(&outcome.json()), [0, 2, 0, 0]);
    }
    assert_eq!(place.events(), 2);
    place.assert_sound();
}

#[test]
fn a_source_on_the_command_line_is_for_events_that_name_none() {
    let place = Place::at(NOW);
    let text = NATIVE.replace(r#""source":"gate","#, "");
    place.run_with_input(&["ingest", "-"], text.as_bytes()).exits(3);
    assert_eq!(place.events(), 0);
    let given = ["ingest", "-", "--source", "gate", "--json"];
    let outcome = place.run_with_input(&given, text.as_bytes()).exits(0);
    assert_eq!(receipts(&outcome.json()), [2, 0, 0, 0]);
    let outcome = place.run_with_input(&["ingest", "-", "--json"], NATIVE.as_bytes()).exits(0);
    assert_eq!(receipts(&outcome.json()), [0, 2, 0, 0]);
}

#[test]
fn a_conflict_names_both_contents_and_stores_nothing() {
    let place = Place::at(NOW);
    let file = place.file("first.jsonl", NATIVE);
    place.ok(&["ingest", &file]);
    let file = place.file("second.jsonl", NATIVE.replace("2.50", "2.51"));
    let report = place.run(&["ingest", &file, "--json"]).exits(3).json();
    assert_eq!(receipts(&report), [0, 1, 1, 0]);
    let found = rejects(&place.data().join("second.jsonl.rejects.jsonl"));
    assert_eq!((&found[0]["line"], &found[0]["code"]), (&json!(1), &json!("conflict")));
    let reason = found[0]["reason"].as_str().expect("a reason");
    let hashes = reason.split(' ').filter(|word| word.trim_end_matches(',').len() == 64);
    assert_eq!(hashes.count(), 2, "{reason}");
    assert_eq!(place.events(), 2);
}

#[test]
fn rejects_say_where_and_why_and_go_when_nothing_is_refused_any_more() {
    let place = Place::at(NOW);
    let bad = NATIVE.replace("\"quantity\":3", "\"quantity\":\"three\"");
    let file = place.file("usage.jsonl", &bad);
    let path = place.data().join("usage.jsonl.rejects.jsonl");
    let told = place.run(&["ingest", &file]).exits(3).stdout;
    assert!(told.contains(&path.display().to_string()), "{told}");
    let found = rejects(&path);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["file"], file);
    assert_eq!((&found[0]["line"], &found[0]["code"]), (&json!(2), &json!("bad_field")));
    assert!(found[0]["reason"].as_str().expect("a reason").contains("\"three\""));
    assert_eq!(found[0]["text"].as_str(), bad.lines().nth(1));

    place.file("usage.jsonl", NATIVE);
    assert_eq!(receipts(&place.json(&["ingest", &file])), [1, 1, 0, 0]);
    assert!(!path.exists(), "nothing is refused any more");
}

#[test]
fn rejects_of_several_files_stand_together() {
    let place = Place::at(NOW);
    let first = place.file("first.jsonl", "{}\n");
    let good = place.file("good.jsonl", NATIVE);
    let second = place.file("second.jsonl", "\n[]\n");
    let path = place.file("all.jsonl", "");
    let command = ["ingest", "--rejects", &path, &first, &good, &second];
    for _ in 0..2 {
        place.run(&command).exits(3);
        let found = rejects(path.as_ref());
        let found: Vec<_> = found.iter().map(|row| (&row["file"], &row["line"])).collect();
        assert_eq!(found, [(&json!(first), &json!(1)), (&json!(second), &json!(2))]);
    }

    // Two files of one name in two directories share the default file as well.
    fs::create_dir(place.path("inner")).expect("a directory");
    let inner = place.file("inner/first.jsonl", NATIVE);
    place.run(&["ingest", &first, &inner]).exits(3);
    assert_eq!(rejects(&place.data().join("first.jsonl.rejects.jsonl")).len(), 1);
}

#[test]
fn rejects_never_take_the_place_of_another_file() {
    let place = Place::at(NOW);
    let good = place.file("good.jsonl", NATIVE);
    let bad = place.file("bad.jsonl", "{}\n");
    let notes = place.file("notes.txt", "do not lose this");
    for input in [&good, &bad] {
        place.run(&["ingest", input, "--rejects", &notes]).refused(1, &["notes.txt", "--rejects"]);
        place.run(&["ingest", input, "--rejects", input]).refused(1, &["--rejects"]);
    }
    assert_eq!(fs::read_to_string(notes).expect("the notes"), "do not lose this");
    assert_eq!(fs::read_to_string(&bad).expect("the input"), "{}\n");
    assert_eq!(place.events(), 0);
    place.run(&["ingest", &bad, "--rejects", "/nowhere/x.jsonl"]).refused(1, &["/nowhere/x.jsonl"]);
}
