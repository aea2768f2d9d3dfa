//! Hostile input to `ingest`: each bad line is refused by number with a reason, its neighbours
//! are kept, and a file that breaks in the middle can simply be given again.

#![cfg(test)]

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    process::Stdio,
};

use flate2::{Compression, write::GzEncoder};

use crate::harness::{Place, finish, receipts, rejects};

const NOW: &str = "2026-11-02T09:00:00Z";

/// What is left of an event once its id is there.
const REST: &str =
    r#""source":"s","customer":"acme","type":"api.call","time":"2026-10-20T00:00:00Z""#;

fn event(id: &str) -> String {
    format!("{{\"id\":\"{id}\",{REST}}}")
}

/// Refused lines: text (`REST` for the usual rest), code, and what the reason names.
const REFUSED: [(&str, &str, &str); 33] = [
    (r#"{"id":"x",REST"#, "malformed", "EOF"),
    (r#"{"id":"x",REST} and more"#, "malformed", "trailing"),
    ("[]", "malformed", ""),
    ("[1,2,3]", "malformed", ""),
    ("null", "malformed", ""),
    ("\"text\"", "malformed", ""),
    ("12", "malformed", ""),
    (r#"{"id":1,REST}"#, "malformed", "integer `1`"),
    (r#"{"id":"x","id":"y",REST}"#, "malformed", "duplicate field `id`"),
    (r#"{"id":"x","colour":"red",REST}"#, "malformed", "`colour`"),
    (r#"{"id":"x",REST,"quantity":NaN}"#, "malformed", ""),
    (r#"{"id":"x",REST,"quantity":Infinity}"#, "malformed", ""),
    (r#"{"id":"x",REST,"quantity":0x10}"#, "malformed", ""),
    (r#"{"id":"x",REST,"unit":5}"#, "malformed", "integer `5`"),
    (r#"{"id":"x",REST,"properties":[1]}"#, "malformed", "object of scalars"),
    (r#"{"id":"x",REST,"quantity":"NaN"}"#, "bad_field", "quantity"),
    (r#"{"id":"x",REST,"quantity":"ten"}"#, "bad_field", "\"ten\""),
    (r#"{"id":"x",REST,"quantity":true}"#, "bad_field", "true"),
    (r#"{"id":"x",REST,"quantity":1e40}"#, "bad_field", "1e40"),
    (
        r#"{"id":"x",REST,"quantity":10000000000000000000000000000000000000000}"#,
        "bad_field",
        "at most 28",
    ),
    (r#"{"id":"x",REST,"quantity":"0.12345678901234567890123456789"}"#, "bad_field", "at most 28"),
    (r#"{"id":"x",REST,"properties":{"a":{"b":1}}}"#, "bad_field", "properties.a"),
    (r#"{"id":"",REST}"#, "bad_field", "`id`"),
    (r#"{"id":"a\u0000b",REST}"#, "bad_field", "control character"),
    (r#"{"id":"x",REST,"reverses":"a","amends":"b"}"#, "bad_field", "reverses"),
    (r#"{"id":"x",REST,"reverses":"never-sent"}"#, "bad_correction", "never-sent"),
    (r#"{REST}"#, "missing_field", "`id`"),
    (r#"{"id":"x","source":"s","customer":"","type":"t"}"#, "bad_field", "`customer`"),
    (r#"{"id":"x","source":"s","type":"t"}"#, "missing_field", "`customer`"),
    (
        r#"{"id":"x","source":"s","customer":"acme","type":"t","time":"2026-02-30T00:00:00Z"}"#,
        "bad_field",
        "2026-02-30",
    ),
    (
        r#"{"id":"x","source":"s","customer":"acme","type":"t","time":"2026-11-02T09:05:01Z"}"#,
        "in_the_future",
        "2026-11-02T09:05:01Z",
    ),
    (
        r#"{"id":"x","source":"s","customer":"acme","type":"t","time":"2026-09-28T08:59:59Z"}"#,
        "too_old",
        "--backfill",
    ),
    (r#"{"specversion":"0.3","id":"x","source":"s","type":"t"}"#, "bad_field", "specversion"),
];

#[test]
fn hostile_lines_are_refused_by_number_and_their_neighbours_kept() {
    let place = Place::at(NOW);
    let mut text = String::new();
    for (number, (line, _, _)) in REFUSED.iter().enumerate() {
        writeln!(text, "{}\n{}", event(&format!("good-{number}")), line.replace("REST", REST))
            .expect("text");
    }
    let mut bytes = text.into_bytes();
    bytes.extend(b"{\"id\":\"\xff\xfe\"}\n\n   \n");
    bytes.extend(event("last").into_bytes());
    let file = place.file("hostile.jsonl", bytes);

    let (bad, good) = (REFUSED.len() as u64 + 1, REFUSED.len() as u64 + 1);
    let report = place.run(&["ingest", &file, "--json"]).exits(3).json();
    assert_eq!(receipts(&report), [good, 0, 0, bad]);
    let path = place.data().join("hostile.jsonl.rejects.jsonl");
    assert_eq!(report[0]["rejects"], path.display().to_string());
    let found = rejects(&path);
    for (at, ((text, code, word), reject)) in (1..).zip(REFUSED.iter().zip(&found)) {
        assert_eq!(reject["line"], 2 * at, "{text}");
        assert_eq!(reject["code"], *code, "{text}: {reject}");
        assert!(reject["reason"].as_str().expect("a reason").contains(word), "{text}: {reject}");
        assert_eq!(reject["text"], text.replace("REST", REST));
    }
    let last = found.last().expect("the line that is not UTF-8");
    assert!(last["reason"].as_str().expect("a reason").contains("UTF-8"), "{last}");
    assert_eq!(place.events(), good);
    place.assert_sound();
}

#[test]
fn odd_but_legal_quantities_are_kept_to_the_digit() {
    let place = Place::at(NOW);
    place.publish(&["metering-engine"]);
    place.customer("acme", "UTC");
    place.subscribe("acme-payg", "acme", ("metering-engine", "payg"), "2026-10-01");
    let quantities = ["0", "-3", "\"-0.25\"", "1e2", "\"0.0000000000000000000000000001\""];
    let lines: Vec<String> = (0..)
        .zip(quantities)
        .map(|(n, quantity)| format!("{{\"id\":\"q{n}\",{REST},\"quantity\":{quantity}}}"))
        .collect();
    let file = place.file("odd.jsonl", lines.join("\n"));
    let report = place.json(&["ingest", &file]);
    assert_eq!(receipts(&report), [5, 0, 0, 0]);
    let (from, to) = ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let metered = place.json(&["usage", "acme", "--from", from, "--to", to]);
    let calls = metered.as_array().expect("meters").iter().find(|row| row["meter"] == "api_calls");
    assert_eq!(calls.expect("calls")["value"], "96.7500000000000000000000000001");
    place.assert_sound();
}

#[test]
fn empty_files_hold_no_events() {
    let place = Place::at(NOW);
    for (name, content) in
        [("empty.jsonl", ""), ("empty", ""), ("empty.csv", ""), ("blank.jsonl", "\n\n  \r\n\n")]
    {
        let file = place.file(name, content);
        assert_eq!(receipts(&place.json(&["ingest", &file])), [0, 0, 0, 0], "{name}");
    }
    assert_eq!(place.events(), 0);
}

/// Peak of resident memory in KiB, where the system tells it.
fn peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_line_of_100_megabytes_is_refused_and_never_held() {
    let place = Place::at(NOW);
    let path = place.path("huge.jsonl");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    writeln!(file, "{}", event("before")).expect("room");
    file.write_all(b"{\"id\":\"").expect("room");
    for _ in 0..100 {
        file.write_all(&[b'x'; 1_000_000]).expect("room");
    }
    write!(file, "\",{REST}}}\n{}\n", event("after")).expect("room");
    drop(file);

    // The last event waits in a pipe, so that the memory can be looked at when the long line is
    // through and the program still runs.
    let mut command = place.command(&["ingest", "--json", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::io::copy(&mut File::open(&path).expect("the file"), &mut pipe).expect("it is read");
    let peak = fs::read_to_string(format!("/proc/{}/status", child.id())).ok();
    drop(pipe);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(receipts(&report), [2, 0, 0, 1]);
    let found = rejects(&place.data().join("stdin.rejects.jsonl"));
    assert_eq!((&found[0]["line"], &found[0]["code"]), (&2.into(), &"too_large".into()));
    assert!(found[0]["reason"].as_str().expect("a reason").contains("1048576"));
    match peak.as_deref().and_then(peak_memory) {
        Some(kibibytes) => assert!(kibibytes < 60_000, "{kibibytes} KiB for a line of 100 MB"),
        None => eprintln!("this system does not tell how much memory a process uses"),
    }
    assert_eq!(place.events(), 2);
    place.assert_sound();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

#[test]
fn a_cut_gzip_names_the_place_and_the_whole_file_makes_up_for_it() {
    let place = Place::at(NOW);
    let text: String = (0..5_000).map(|n| event(&format!("g{n}")) + "\n").collect();
    let packed = gzip(text.as_bytes());
    let cut = place.file("cut.jsonl.gz", &packed[..packed.len() / 2]);
    place.run(&["ingest", &cut, "--batch", "100"]).refused(1, &["cut.jsonl.gz", "line "]);
    place.assert_sound();
    let stored = place.events();
    assert!(0 < stored && stored < 5_000, "{stored} events came before the cut");
    let whole = place.file("whole.jsonl.gz", &packed);
    let report = place.json(&["ingest", &whole]);
    assert_eq!(receipts(&report), [5_000 - stored, stored, 0, 0]);

    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20].fill(0x55);
    let damaged = place.file("damaged.jsonl.gz", damaged);
    place.run(&["ingest", &damaged, "--batch", "100"]).refused(1, &["damaged.jsonl.gz"]);
    let head = place.file("head.gz", [0x1f, 0x8b]);
    place.run(&["ingest", &head]).refused(1, &["head.gz"]);
    place.assert_sound();
}

#[test]
fn noise_is_no_events() {
    let place = Place::at(NOW);
    let mut random = crate::harness::Random::sequence(5);
    let noise: Vec<u8> =
        (0..100_000).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect();
    let file = place.file("noise.bin", &noise);
    for format in ["jsonl", "csv"] {
        let outcome = place.run(&["ingest", &file, "--format", format]);
        assert!(matches!(outcome.code, Some(1 | 3)), "{format}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        assert!((outcome.stdout + &outcome.stderr).contains("noise.bin"), "{format}");
    }
    assert_eq!(place.events(), 0);
    place.assert_sound();
}

#[test]
fn rows_of_a_csv_that_cannot_be_read_are_refused_by_line() {
    let place = Place::at(NOW);
    let rows = "id,source,customer,type,time,quantity\r\n\
                c1,s,acme,api.call,2026-10-20T00:00:00Z,5\r\n\
                c2,s,acme\r\n\
                c3,s,acme,api.call,2026-10-20T00:00:00Z,five\r\n\
                c4,s,acme,api.call,noon,5\r\n\
                c5,s,acme,api.call,2026-10-20T00:00:00Z,7\r\n";
    let file = place.file("rows.csv", rows);
    let report = place.run(&["ingest", &file, "--json"]).exits(3).json();
    assert_eq!(receipts(&report), [2, 0, 0, 3]);
    let found = rejects(&place.data().join("rows.csv.rejects.jsonl"));
    let found: Vec<(u64, &str)> = found
        .iter()
        .map(|row| (row["line"].as_u64().expect("a line"), row["code"].as_str().expect("a code")))
        .collect();
    assert_eq!(found, [(3, "missing_field"), (4, "bad_field"), (5, "bad_field")]);
}

#[test]
fn files_that_are_not_there_or_do_not_fit_are_named() {
    let place = Place::at(NOW);
    let good = place.file("good.jsonl", event("g"));
    place.run(&["ingest", "nowhere.jsonl"]).refused(1, &["nowhere.jsonl"]);
    place.run(&["ingest", &place.path("").display().to_string()]).refused(1, &["directory"]);
    place.run(&["ingest", &good, "--map", "nowhere.toml"]).refused(1, &["nowhere.toml"]);
    let map = place.file("map.toml", "source = 'x'\ncolour = 'red'\n");
    place.run(&["ingest", &good, "--map", &map]).refused(1, &["map.toml", "colour"]);
    let map = place.file(
        "other.toml",
        "source = 'x'\n[time]\ncolumn = 'when'\n[customer]\nconstant = 'acme'\n[[event]]\ntype = 't'\n",
    );
    let csv = place.file("other.csv", "a,b\n1,2\n");
    place.run(&["ingest", &csv, "--map", &map]).refused(1, &["\"when\"", "a, b"]);
    finish(&mut place.command(&["ingest", &good, "--batch", "0"])).refused(2, &["--batch"]);
    finish(&mut place.command(&["ingest"])).refused(2, &["<FILE>"]);
    assert_eq!(place.events(), 0);
    place.ok(&["ingest", &good]);
    place.assert_sound();
}

#[test]
fn usage_of_strangers_is_kept_and_listed_as_unbilled() {
    let place = Place::at(NOW);
    let file = place.file("stranger.jsonl", event("u1"));
    assert_eq!(receipts(&place.json(&["ingest", &file])), [1, 0, 0, 0]);
    let period = ["--from", "2026-10-01T00:00:00Z", "--to", "2026-11-01T00:00:00Z"];
    let unbilled = [&["usage", "--unbilled"], &period[..]].concat();
    let report = place.run(&[&unbilled[..], &["--json"]].concat()).exits(3).json();
    assert_eq!((&report[0]["customer"], &report[0]["events"]), (&"acme".into(), &1.into()));
    assert_eq!(report[0]["reason"], "unknown customer");

    // Nothing is to be sent again once the customer and the subscription are there.
    place.publish(&["metering-engine"]);
    place.customer("acme", "UTC");
    let report = place.run(&[&unbilled[..], &["--json"]].concat()).exits(3).json();
    assert_ne!(report[0]["reason"], "unknown customer");
    place.subscribe("acme-payg", "acme", ("metering-engine", "payg"), "2026-10-01");
    place.ok(&unbilled).shows(&["every accepted event is billed"]);
    place.assert_sound();
}
