//! `kill -9` at random points of what writes: nothing is lost, nothing is double, and repeating
//! the same command ends where an undisturbed one ends. The points come from a seed and the time
//! that the undisturbed command took.

#![cfg(test)]

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Place, Random, finish, receipts, rejects};

const NOW: &str = "2026-11-02T09:00:00Z";

/// How a command ended that somebody tried to kill.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Killed,
    /// It was quicker.
    Finished,
}

/// Kills commands at random moments.
struct Killer {
    random: Random,
    /// The time within which it strikes.
    span: Duration,
    kills: u64,
}

impl Killer {
    fn new(random: Random, span: Duration) -> Self {
        Self { random, span, kills: 0 }
    }

    /// Starts a command and kills it within so many percent of the span.
    fn strike(&mut self, mut command: Command, percent: u64) -> End {
        let span = u64::try_from(self.span.as_micros()).expect("a short span");
        let delay = Duration::from_micros(self.random.below((span * percent / 100).max(1)));
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.spawn().expect("the program runs");
        std::thread::sleep(delay);
        child.kill().expect("it can be killed");
        match child.wait().expect("it ends").code() {
            None => {
                self.kills += 1;
                End::Killed
            }
            // 3: something was refused.
            Some(0 | 3) => {
                // The machine is faster by now than when the span was measured.
                self.span = self.span * 2 / 3;
                End::Finished
            }
            Some(code) => panic!("{command:?} failed by itself with {code}"),
        }
    }
}

fn timed(command: &mut Command) -> (Value, Duration) {
    let start = Instant::now();
    let report = finish(command).exits(0).json();
    (report, start.elapsed())
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// `count` events of `customers` customers in October 2026, one JSON object a line.
fn events(count: u64, customers: u64) -> String {
    let mut text = String::new();
    for n in 0..count {
        let direction = if n % 3 == 0 { "output" } else { "input" };
        let (customer, day, hour, minute) = (n % customers, 1 + n % 31, n % 24, n % 60);
        writeln!(
            text,
            r#"{{"id":"e{n}","source":"generator","customer":"c{customer:03}","type":"llm.tokens","time":"2026-10-{day:02}T{hour:02}:{minute:02}:00Z","quantity":{},"properties":{{"direction":"{direction}"}}}}"#,
            1 + n * 37 % 5_000
        )
        .expect("text");
    }
    text
}

/// A store with customers `c000` …, each with one subscription `s000` ….
fn place_with_customers(count: u64) -> Place {
    let place = Place::at(NOW);
    let mut text = String::new();
    for n in 0..count {
        // Halves of them began the month before and in it.
        let start = if n % 2 == 0 { "2026-09-01" } else { "2026-10-11" };
        writeln!(
            text,
            "[[customer]]\nid = \"c{n:03}\"\nname = \"Customer {n}\"\ncurrency = \"USD\"\n\
             zone = \"Europe/Berlin\"\ntax = [{{ name = \"VAT\", percent = \"19\" }}]\n\
             [[customer.subscription]]\nid = \"s{n:03}\"\nbook = \"llm-tokens\"\n\
             plan = \"tokens\"\nstart = \"{start}\"\n"
        )
        .expect("text");
    }
    let file = place.file("customers.toml", text);
    place.publish(&["llm-tokens"]);
    place.ok(&["customer", "import", &file]);
    place
}

/// Asserts that the checks of the store find nothing, also right after a crash.
fn assert_verified(place: &Place) {
    assert_eq!(place.json(&["verify"])["problems"], serde_json::json!([]));
}

#[test]
fn killed_ingest_loses_nothing_and_doubles_nothing() {
    const EVENTS: u64 = 60_000;
    const STRIKES: u64 = 5;
    let undisturbed = place_with_customers(1);
    let file = undisturbed.file("events.jsonl", events(EVENTS, 50));
    let command = |place: &Place| place.command(&["ingest", &file, "--json"]);
    let (report, span) = timed(&mut command(&undisturbed));
    assert_eq!(receipts(&report), [EVENTS, 0, 0, 0]);
    let usage = undisturbed.json(&["usage", "c000", "--at", "2026-10-15T00:00:00Z"]);

    let mut killer = Killer::new(Random::sequence(1), span);
    for _ in 0..2 {
        let place = place_with_customers(1);
        let mut stored = 0;
        for _ in 0..STRIKES {
            killer.strike(command(&place), 45);
            let now = place.events();
            assert!(stored <= now, "{stored} events were stored, then {now}");
            stored = now;
        }
        assert_verified(&place);
        let (report, _) = timed(&mut command(&place));
        assert_eq!(receipts(&report), [EVENTS - stored, stored, 0, 0], "the rest, and no more");
        assert_eq!(place.events(), EVENTS);
        assert_eq!(place.json(&["usage", "c000", "--at", "2026-10-15T00:00:00Z"]), usage);
        place.assert_sound();
    }
    assert!(killer.kills > 0, "no kill came before the end");
}

#[test]
fn killed_ingest_leaves_no_half_file_of_rejects_behind_when_repeated() {
    let place = place_with_customers(1);
    let bad: String = (0..20_000).map(|n| format!("{{\"id\":\"{n}\"}}\n")).collect();
    let file = place.file("bad.jsonl", bad);
    let command = || place.command(&["ingest", &file, "--batch", "500"]);
    let start = Instant::now();
    finish(&mut command()).exits(3);
    let span = start.elapsed();
    let mut killer = Killer::new(Random::sequence(2), span);
    for _ in 0..3 {
        killer.strike(command(), 90);
    }
    finish(&mut command()).exits(3);
    let lines = rejects(&place.data().join("bad.jsonl.rejects.jsonl"));
    assert_eq!(lines.len(), 20_000, "each refused line once, every one of them JSON");
}

/// Invoices as exported, and what must hold of them whatever happened.
fn export(place: &Place, subscriptions: usize) -> String {
    let text = place.ok(&["invoice", "export", "--format", "jsonl"]).stdout;
    let (mut numbers, mut cycles) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        let invoice: Value = serde_json::from_str(line).expect("an invoice");
        let number = invoice["number"].as_str().expect("every invoice is numbered").to_owned();
        assert!(numbers.insert(number.clone()), "{number} was given twice");
        let body = &invoice["body"];
        let cycle = (body["subscription"].to_string(), body["cycle"].to_string());
        assert!(cycles.insert(cycle.clone()), "{cycle:?} was billed twice");
    }
    let wanted: BTreeSet<String> =
        (1..=subscriptions).map(|n| format!("INV-2026-{n:06}")).collect();
    assert_eq!(numbers, wanted, "numbers without a gap");
    text
}

#[test]
fn killed_run_ends_with_the_invoices_of_an_undisturbed_one() {
    const SUBSCRIPTIONS: u64 = 400;
    const MOST_KILLS: u64 = 12;
    let count = usize::try_from(SUBSCRIPTIONS).expect("a small number");
    let base = place_with_customers(SUBSCRIPTIONS);
    let file = base.file("events.jsonl", events(4_000, SUBSCRIPTIONS));
    base.ok(&["ingest", &file]);
    let run = ["run", "--period", "2026-10", "--approve", "--by", "the test", "--json"];
    let copy = || {
        let place = Place::at(NOW);
        copy_dir(&base.data(), &place.data());
        place
    };

    let undisturbed = copy();
    let (report, span) = timed(&mut undisturbed.command(&run));
    assert_eq!(report["totals"]["items"]["finalized"], SUBSCRIPTIONS);
    let wanted = export(&undisturbed, count);
    assert_verified(&undisturbed);

    let mut killer = Killer::new(Random::sequence(3), span);
    let mut rounds = 0;
    while rounds < 2 {
        let place = copy();
        let mut tries = 0;
        // Short lives at first, so that all steps are hit and not only the first one.
        while tries < MOST_KILLS
            && killer.strike(place.command(&run), 60 + 10 * tries) == End::Killed
        {
            tries += 1;
            assert_verified(&place);
        }
        place.ok(&run);
        assert_eq!(export(&place, count), wanted, "the same invoices, to the byte");
        place.assert_sound();
        rounds += u64::from(tries > 0);
    }
}

#[test]
fn killed_rebuild_is_finished_by_whoever_comes_next() {
    let place = place_with_customers(50);
    let file = place.file("events.jsonl", events(20_000, 50));
    place.ok(&["ingest", &file]);
    let usage = |place: &Place| place.json(&["usage", "c007", "--at", "2026-10-15T00:00:00Z"]);
    let before = usage(&place);
    let (_, span) = timed(&mut place.command(&["rebuild", "--json"]));
    let mut killer = Killer::new(Random::sequence(4), span);
    while killer.kills < 3 {
        killer.strike(place.command(&["rebuild"]), 100);
        assert_eq!(usage(&place), before, "answers never depend on what is projected");
        assert_eq!(place.json(&["rebuild", "--check"])["difference_count"], 0);
    }
    place.ok(&["rebuild"]);
    place.assert_sound();
}
