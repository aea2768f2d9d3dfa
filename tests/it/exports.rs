//! Exports: what is written reads back as the same ledger, in every format; files are whole or not
//! there; others read what we write.

#![cfg(test)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::exactly::{amount, exactly};
use crate::harness::{Place, Random, finish, receipts, root};

const NOW: &str = "2026-11-02T09:00:00Z";

/// Texts that break writers and readers.
const NASTY: &[&str] = &[
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "'quoted",
    "''=twice",
    "'=once",
    "a,b",
    "say \"hi\"",
    "\"",
    "  padded  ",
    "Ünïcödé",
    "客户",
    "عميل",
    "🧾🚀",
    "＝full",
    "null",
    "1/3",
    "0042",
    "{\"a\":1}",
];

/// Quantities with many digits.
const QUANTITIES: &[&str] = &[
    "1",
    "0",
    "-2.5",
    "0.1",
    "1234567890123456789012345678",
    "0.0000000000000000000000000001",
    "12345678901234.56789012345678",
    "1e3",
    "100.00",
];

const TIMES: &[&str] = &[
    "2026-10-20T00:00:00Z",
    "2026-10-31T23:59:59.999999Z",
    "2028-02-29T12:00:00.000001Z",
    "2024-02-29T23:59:59.5Z",
    "2026-10-25T02:30:00+02:00",
];

/// Events with nasty values, corrections among them, as JSON lines.
fn nasty(number: u64, small: bool) -> String {
    let mut random = Random::sequence(number);
    let mut pick = |list: &[&'static str]| {
        let at = random.below(list.len() as u64);
        list[usize::try_from(at).expect("small")]
    };
    let mut lines = String::new();
    for event in 0..60 {
        let quantities = if small { &QUANTITIES[..4] } else { QUANTITIES };
        let time = pick(TIMES);
        // No event lies in the future.
        let time = if time.starts_with("2028") { "2024-02-29T12:00:00.000001Z" } else { time };
        let mut body = json!({
            "id": format!("{}{event}", pick(NASTY)),
            "source": "gate",
            "customer": "acme",
            "type": "api.call",
            "time": time,
            "quantity": pick(quantities),
            "properties": {
                pick(NASTY): pick(NASTY),
                "lines": format!("one\n{}\r\ntwo\ttab", pick(NASTY)),
                "flag": event % 2 == 0,
            },
        });
        for name in ["unit", "subject", "resource", "user"] {
            let text = pick(NASTY);
            if text.len() > 3 {
                body[name] = json!(text);
            }
        }
        // A number property keeps its digits.
        let text = body.to_string().replacen(
            "\"flag\"",
            &format!(
                "\"exact\":{},\"flag\"",
                pick(&["0.10", "12345678901234567890.12345678", "-7"])
            ),
            1,
        );
        lines += &text;
        lines.push('\n');
        if event % 7 == 3 {
            let id = body["id"].as_str().expect("an id");
            let amends = json!({"id": format!("fix-{event}"), "source": "gate", "customer": "acme",
                "type": "api.call", "time": "2026-10-21T00:00:00Z", "quantity": "3.25", "amends": id,
                "properties": {"why": pick(NASTY)}});
            lines += &format!("{amends}\n");
            if event % 2 == 0 {
                let reverses = json!({"id": format!("undo-{event}"), "source": "gate",
                    "customer": "acme", "type": "api.call", "time": "2026-10-22T00:00:00Z",
                    "reverses": id});
                lines += &format!("{reverses}\n");
            }
        }
    }
    lines
}

fn place_with(lines: &str) -> Place {
    let place = Place::at(NOW);
    let file = place.file("given.jsonl", lines);
    let [inserted, _, conflict, _] =
        receipts(&place.run(&["ingest", &file, "--backfill", "--json"]).json());
    assert!(inserted > 60 && conflict == 0, "{inserted} {conflict}");
    place
}

/// The events of a place without what belongs to its ledger alone.
fn told(place: &Place) -> Vec<Value> {
    let text = place.ok(&["export", "events", "--format", "ndjson"]).stdout;
    let mut events: Vec<Value> = text
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).expect("JSON");
            event.as_object_mut().expect("an object").remove("recorded_at");
            event
        })
        .collect();
    events.sort_by_key(ToString::to_string);
    events
}

fn exported(place: &Place, format: &str) -> PathBuf {
    let path = place.path(&format!("out.{format}"));
    let scale = ["--scale", "28"];
    let args: &[&str] = &["export", "events", "--format", format, "--output"];
    let mut args: Vec<&str> = args.to_vec();
    let shown = path.display().to_string();
    args.push(&shown);
    if format == "parquet" {
        args.extend(scale);
    }
    place.ok(&args);
    assert!(!place.path(&format!("out.{format}.partial")).exists());
    path
}

#[test]
fn an_export_read_back_is_the_same_ledger_in_every_format() {
    for (number, format) in (0..).zip(["csv", "ndjson", "json", "parquet"]) {
        // Parquet holds 38 digits in all: numbers of 28 before and 28 behind the point are refused.
        let place = place_with(&nasty(number, format == "parquet"));
        let file = exported(&place, format);
        let fresh = Place::at(NOW);
        let file = file.display().to_string();
        let ingest = ["ingest", &file, "--backfill"];
        let [inserted, duplicate, conflict, rejected] = receipts(&fresh.json(&ingest));
        assert_eq!((duplicate, conflict, rejected), (0, 0, 0), "{format}");
        assert_eq!(inserted, place.events(), "{format}");
        assert_eq!(told(&place), told(&fresh), "{format}");
        // Again it changes nothing, in the new ledger and in the old one.
        assert_eq!(receipts(&fresh.json(&ingest)), [0, inserted, 0, 0], "{format}");
        assert_eq!(receipts(&place.json(&ingest)), [0, inserted, 0, 0], "{format}");
        fresh.assert_sound();
    }
}

#[test]
fn invoices_of_a_ledger_that_was_read_back_are_the_same() {
    let lines: String = (0..200)
        .map(|number| {
            format!(
                "{{\"id\":\"{number}\",\"source\":\"gate\",\"customer\":\"acme\",\"type\":\"api.call\",\"time\":\"2026-10-{:02}T00:00:00.25Z\",\"quantity\":\"{}.5\"}}\n",
                number % 28 + 1,
                number * 700
            )
        })
        .collect();
    let bill = |place: &Place| {
        place.publish(&["metering-engine"]);
        place.customer("acme", "Europe/Berlin");
        place.subscribe("s", "acme", ("metering-engine", "payg"), "2026-10-01");
        place.ok(&["run", "--period", "2026-10", "--approve"]);
        place.ok(&["export", "lines"]).stdout
    };
    let place = place_with(&lines);
    let csv = exported(&place, "csv").display().to_string();
    let fresh = Place::at(NOW);
    fresh.ok(&["ingest", &csv, "--backfill"]);
    let (before, after) = (bill(&place), bill(&fresh));
    assert!(before.lines().count() > 1, "{before}");
    assert_eq!(before, after);
    // The older command has the same lines.
    assert_eq!(before, place.ok(&["invoice", "export"]).stdout);
}

#[test]
fn two_exports_as_of_the_same_ledger_are_the_same_bytes() {
    let place = place_with(&nasty(9, true));
    for format in ["csv", "ndjson", "json", "xlsx", "parquet"] {
        let first = fs::read(exported(&place, format)).expect("a file");
        fs::remove_file(place.path(&format!("out.{format}"))).expect("ours");
        let second = fs::read(exported(&place, format)).expect("a file");
        assert!(first == second, "{format}");
    }
}

#[test]
fn a_number_that_does_not_fit_is_named_and_nothing_is_left() {
    let place = Place::at(NOW);
    let file = place.file(
        "one.jsonl",
        "{\"id\":\"1\",\"source\":\"s\",\"customer\":\"c\",\"type\":\"t\",\"time\":\"2026-10-20T00:00:00Z\",\"quantity\":\"0.00000000000001\"}\n",
    );
    place.ok(&["ingest", &file]);
    let out = place.path("out.parquet");
    let shown = out.display().to_string();
    place
        .run(&["export", "events", "--format", "parquet", "--output", &shown])
        .refused(1, &["row 1", "quantity", "--scale"]);
    assert!(!out.exists() && !place.path("out.parquet.partial").exists());
    place.ok(&["export", "events", "--format", "parquet", "--output", &shown, "--scale", "14"]);
}

#[test]
fn a_file_is_whole_or_not_there() {
    let place = place_with(&nasty(2, true));
    let shown = |name: &str| place.path(name).display().to_string();
    // One that exists is not replaced unasked.
    let kept = place.file("kept.csv", "mine");
    place.run(&["export", "events", "--output", &kept]).refused(1, &["exists", "--force"]);
    assert_eq!(fs::read_to_string(&kept).expect("a file"), "mine");
    place.ok(&["export", "events", "--output", &kept, "--force"]);
    assert!(fs::read_to_string(&kept).expect("a file").starts_with("lane,"));
    // A full device, as a stream.
    for format in ["csv", "ndjson", "json", "xlsx", "parquet"] {
        let args = ["export", "events", "--format", format, "--output", "/dev/full"];
        place.run(&args).refused(1, &["space"]);
    }
    // A file that may not grow beyond a megabyte: as a full disk has it.
    let padding = "x".repeat(300);
    let many: String = (0..5_000)
        .map(|number| {
            format!(
                "{{\"id\":\"{number}\",\"source\":\"s\",\"customer\":\"c\",\"type\":\"t\",\"time\":\"2026-10-20T00:00:00Z\",\"subject\":\"{}\"}}\n",
                &padding[..250]
            )
        })
        .collect();
    place.ok(&["ingest", &place.file("many.jsonl", many)]);
    for format in ["csv", "ndjson", "json"] {
        let name = format!("full.{format}");
        let mut command = Command::new("sh");
        let program = place.command::<&str>(&[]);
        let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
        command.args(["-c", script]).arg(program.get_program());
        command.args(["export", "events", "--format", format, "--output", &shown(&name)]);
        command.current_dir(place.path("")).env("COUNTERFOIL_DATA_DIR", place.data());
        command.env("COUNTERFOIL_TEST_MODE", "true").env("COUNTERFOIL_NOW", NOW);
        finish(&mut command).refused(1, &["too large", &name]);
        assert!(!place.path(&name).exists(), "{format}");
        assert!(!place.path(&format!("{name}.partial")).exists(), "{format}");
    }
    // Nobody reads on.
    let mut child = place
        .command(&["export", "events"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    place
        .run(&["export", "events", "--output", &shown("no/such/file.csv")])
        .refused(1, &["no/such"]);
}

#[test]
fn names_are_made_where_none_is_given() {
    let place = place_with(&nasty(3, true));
    place.ok(&[
        "export",
        "events",
        "--format",
        "xlsx",
        "--customer",
        "acme",
        "--from",
        "2026-10-01",
        "--to",
        "2026-11-01",
    ]);
    assert!(place.path("events-acme-2026-10-01-2026-11-01.xlsx").is_file());
    let directory = format!("{}/", place.path("files").display());
    place
        .ok(&["export", "month", "--month", "2026-10", "--output", &directory, "--format", "json"]);
    assert_eq!(fs::read_dir(place.path("files")).expect("a directory").count(), 3);
}

#[test]
fn an_interrupted_export_goes_on_to_the_same_bytes() {
    let place = Place::at(NOW);
    let lines: String = (0..450_000)
        .map(|number| {
            format!(
                "{{\"id\":\"{number}\",\"source\":\"s\",\"customer\":\"c{}\",\"type\":\"t\",\"time\":\"2026-10-20T00:00:00Z\"}}\n",
                number % 50
            )
        })
        .collect();
    let file = place.file("many.jsonl", lines);
    place.ok(&["ingest", &file]);
    for format in ["csv", "ndjson"] {
        let whole = place.path(&format!("whole.{format}")).display().to_string();
        place.ok(&["export", "events", "--format", format, "--output", &whole]);
        let cut = place.path(&format!("cut.{format}"));
        let shown = cut.display().to_string();
        let args = ["export", "events", "--format", format, "--output", &shown];
        let mut child = place.command(&args).spawn().expect("the program runs");
        let state = place.path(&format!("cut.{format}.partial.state"));
        while !state.exists() && child.try_wait().expect("a child").is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        let _ = child.wait();
        assert!(state.exists(), "it was killed after its first note");
        assert!(!cut.exists(), "and before its end");
        // What comes meanwhile is not in it.
        let late = place.file(
            "late.jsonl",
            format!("{{\"id\":\"late-{format}\",\"source\":\"s\",\"customer\":\"c1\",\"type\":\"t\",\"time\":\"2026-10-21T00:00:00Z\"}}\n"),
        );
        place.ok(&["ingest", &late]);
        let other = [&args[..], &["--resume", "--customer", "c1"]].concat();
        place.run(&other).refused(1, &["another export"]);
        place.ok(&[&args[..], &["--resume"]].concat());
        assert!(fs::read(&whole).expect("a file") == fs::read(&cut).expect("a file"), "{format}");
        assert!(!state.exists());
        fs::remove_file(&whole).expect("ours");
    }
}

#[test]
fn usage_records_have_the_columns_and_costs_that_sum_to_the_bill() {
    let place = Place::at(NOW);
    let lines: String = (1..=31)
        .map(|day| {
            format!(
                "{{\"id\":\"{day}\",\"source\":\"gate\",\"customer\":\"acme\",\"type\":\"api.call\",\"time\":\"2026-10-{day:02}T10:00:00Z\",\"quantity\":{},\"properties\":{{\"endpoint\":\"/users\"}}}}\n",
                day * 10_000
            )
        })
        .collect();
    let file = place.file("given.jsonl", lines);
    place.ok(&["ingest", &file]);
    place.publish(&["metering-engine"]);
    place.customer("acme", "UTC");
    place.subscribe("s", "acme", ("metering-engine", "payg"), "2026-10-01");
    let csv = place.ok(&["export", "events", "--layout", "usage-records"]).stdout;
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("timestamp,service,quantity,unit_cost,total_cost,metadata"));
    let first = rows.next().expect("a row");
    assert!(first.starts_with("2026-10-31 10:00:00,api.call,310000,0."), "{first}");
    assert!(first.ends_with("\"{\"\"endpoint\"\":\"\"/users\"\"}\""), "{first}");
    let json =
        place.ok(&["export", "events", "--layout", "usage-records", "--format", "json"]).json();
    assert_eq!(json["summary"]["total_events"], 31);
    assert_eq!(json["summary"]["services"], json!(["api.call"]));
    assert_eq!(json["usage_records"][0]["timestamp"], "2026-10-31T10:00:00Z");
    assert!(json["usage_records"][0]["quantity"].is_number());
    let usage = place.json(&["usage", "acme", "--at", "2026-10-15T00:00:00Z"]);
    let total = exactly(&json["summary"]["total_cost"].to_string());
    assert!(total > exactly("0"), "{json}");
    assert_eq!(total, amount(&usage[0]["cost"]), "{}", json["summary"]);
}

/// What a Python program prints.
fn python(program: &str, path: &Path) -> String {
    let made = Command::new(root().join("scripts/setup-tests")).stderr(Stdio::inherit()).output();
    let made = made.expect("scripts/setup-tests runs");
    assert!(made.status.success(), "scripts/setup-tests failed; see above");
    let python = String::from_utf8(made.stdout).expect("a path");
    let mut child = Command::new(python.trim())
        .args(["-", &path.display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    child.stdin.take().expect("a pipe").write_all(program.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success(), "python failed on {}", path.display());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn others_read_the_workbook_and_the_csv() {
    let place = Place::at(NOW);
    let file = place.file(
        "given.jsonl",
        r#"{"id":"=1+1","source":"s","customer":"acme","type":"api.call","time":"2026-10-20T00:00:00.125Z","quantity":"12.5"}
{"id":"2","source":"s","customer":"acme","type":"api.call","time":"2026-10-20T10:00:00Z","quantity":"100.1234567890123456"}
"#,
    );
    place.ok(&["ingest", &file]);
    place.publish(&["metering-engine"]);
    place.customer("acme", "UTC");
    place.subscribe("s", "acme", ("metering-engine", "payg"), "2026-10-01");
    place.ok(&["run", "--period", "2026-10", "--approve"]);
    let events = exported(&place, "xlsx");
    let shown = python(
        "import sys, openpyxl, json\n\
         b = openpyxl.load_workbook(sys.argv[1])\n\
         s = b['events']\n\
         r = {c.value: {row[1].value: (type(row[i].value).__name__, str(row[i].value), row[i].data_type) for row in s.iter_rows(min_row=2)} for i, c in enumerate(s[1])}\n\
         ids = [str(row[4].value) for row in s.iter_rows(min_row=2)]\n\
         print(json.dumps([b.sheetnames, s.freeze_panes, ids, sorted(r['quantity'].values()), sorted(r['time'].values())]))\n",
        &events,
    );
    let seen: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(seen[0], json!(["events"]));
    assert_eq!(seen[1], "A2");
    assert_eq!(seen[2], json!(["=1+1", "2"]));
    // What a spreadsheet would round is text.
    assert_eq!(seen[3], json!([["float", "12.5", "n"], ["str", "100.1234567890123456", "s"]]));
    assert_eq!(seen[4][0], json!(["datetime", "2026-10-20 00:00:00.125000", "d"]));
    let month = place.path("month.xlsx");
    place.ok(&[
        "export",
        "month",
        "--month",
        "2026-10",
        "--format",
        "xlsx",
        "--output",
        &month.display().to_string(),
    ]);
    let shown = python(
        "import sys, openpyxl, json\n\
         b = openpyxl.load_workbook(sys.argv[1])\n\
         v = openpyxl.load_workbook(sys.argv[1], data_only=True)\n\
         s = b['lines']; n = s.max_row\n\
         c = [c.value for c in s[1]].index('amount')\n\
         total = sum(row[c].value for row in s.iter_rows(min_row=2, max_row=n - 1))\n\
         print(json.dumps([b.sheetnames, s.cell(n, c + 1).value, round(total, 2) == v['lines'].cell(n, c + 1).value, type(b['usage'].cell(2, 4).value).__name__, str(b['usage'].cell(2, 4).number_format)]))\n",
        &month,
    );
    let seen: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(seen[0], json!(["invoices", "lines", "usage"]));
    assert!(seen[1].as_str().is_some_and(|formula| formula.starts_with("=SUM(P2:P")), "{seen}");
    assert_eq!(seen[2], true, "{seen}");
    assert_eq!((seen[3].as_str(), seen[4].as_str()), (Some("datetime"), Some("yyyy-mm-dd")));
    let other = place_with(&nasty(5, false));
    let csv = exported(&other, "csv");
    assert!(python("import sys, csv\nr = list(csv.DictReader(open(sys.argv[1], newline='', encoding='utf-8')))\nimport json\nassert all(json.loads(x['properties'])['flag'] in (True, False) for x in r if not x['reverses'] and not x['amends'])\nassert not any(v[:1] in '=+@' and v for x in r for k, v in x.items() if k != 'quantity')\nprint('read', len(r))\n", &csv).starts_with("read "));
}

#[test]
fn a_report_goes_into_a_file_of_any_format() {
    let place = place_with(&nasty(4, true));
    for format in ["csv", "json", "ndjson", "xlsx", "parquet"] {
        let path = place.path(&format!("report.{format}"));
        let shown = path.display().to_string();
        let outcome = place.run(&["report", "unbilled", "--format", format, "--output", &shown]);
        assert!(matches!(outcome.code, Some(0 | 3)), "{format}: {}", outcome.stderr);
        assert!(path.is_file(), "{format}");
    }
}
