//! Workers as processes: killed, stopped and woken late, told to end. Whatever happens to them, the
//! month ends with the invoices of one that nobody disturbed.

#![cfg(test)]

use std::{
    fmt::Write,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use counterfoil_store_postgres::testing::shared;
use serde_json::Value;

use crate::harness::{Place, Random, finish};

/// Leases are short, so that what a dead worker held is soon free; the run signs itself off.
const CONFIG: &str = r#"
[jobs]
lease = 1
[jobs.auto_approve]
max_total = "100000000"
"#;
const NOW: &str = "2026-11-02T09:00:00Z";

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(done.expect("kill runs").success(), "{name}");
}

/// A store, and commands on it.
struct Office {
    place: Place,
    url: Option<String>,
}

impl Office {
    fn empty(url: Option<String>) -> Self {
        let place = Place::on_the_wall_clock();
        place.file("counterfoil.toml", CONFIG);
        Self { place, url }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        // The tenant's time is a test clock; leases run on the machine's.
        command.env("COUNTERFOIL_TEST_MODE", "true");
        if let Some(url) = &self.url {
            command.env("DATABASE_URL", url);
        }
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        finish(&mut self.command(args)).exits(0).stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        finish(&mut self.command(&[args, &["--json"]].concat())).exits(0).json()
    }

    /// Customers with a subscription and usage in October; the clock stands after it.
    fn fill(&self, count: u64) {
        let (mut customers, mut events) = (String::new(), String::new());
        for n in 0..count {
            writeln!(
                customers,
                "[[customer]]\nid = \"c{n:06}\"\nname = \"Customer {n}\"\ncurrency = \"USD\"\n\
                 zone = \"Europe/Berlin\"\n[[customer.subscription]]\nid = \"s{n:06}\"\n\
                 book = \"llm-tokens\"\nplan = \"tokens\"\nstart = \"2026-09-01\"\n"
            )
            .expect("text");
            for k in 0..3 {
                let day = 1 + (n + k) % 30;
                writeln!(
                    events,
                    r#"{{"id":"e{n}-{k}","source":"g","customer":"c{n:06}","type":"llm.tokens","time":"2026-10-{day:02}T10:00:00Z","quantity":{},"properties":{{"direction":"input"}}}}"#,
                    1 + n * 37 % 5_000
                )
                .expect("text");
            }
        }
        let customers = self.place.file("customers.toml", customers);
        let events = self.place.file("events.jsonl", events);
        let book = crate::harness::root().join("pricing/llm-tokens.toml");
        self.ok(&["pricing", "publish", &book.display().to_string()]);
        self.ok(&["customer", "import", &customers]);
        self.ok(&["ingest", &events, "--backfill"]);
        self.ok(&["clock", "set", NOW]);
    }

    fn worker(&self, name: &str) -> Child {
        let mut command = self.command(&["worker", "--holder", name]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs")
    }

    fn is_finalized(&self) -> bool {
        let runs = self.json(&["run", "--list"]);
        runs.as_array().expect("runs").iter().any(|run| run["state"] == "finalized")
    }

    /// Works on until the month is finalized, however long a dead worker's lease still runs.
    fn finish(&self) {
        for _ in 0..600 {
            finish(&mut self.command(&["worker", "--once", "--holder", "last"]));
            if self.is_finalized() {
                return;
            }
            sleep(Duration::from_millis(200));
        }
        panic!("not finalized: {}", self.json(&["jobs", "history", "invoice-run"]));
    }

    fn export(&self) -> String {
        self.ok(&["invoice", "export", "--format", "jsonl"])
    }

    fn assert_sound(&self, invoices: u64) {
        assert_eq!(self.json(&["verify"])["problems"], serde_json::json!([]));
        assert_eq!(self.export().lines().count() as u64, invoices);
        let runs = self.json(&["run", "--list"]);
        assert_eq!(runs.as_array().expect("runs").len(), 1, "{runs}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Kills the only worker again and again, at random moments, until it was killed `kills` times.
fn killed(subscriptions: u64, kills: u32) {
    let base = Office::empty(None);
    base.fill(subscriptions);
    let another = || {
        let office = Office::empty(None);
        copy(&base.place.data(), &office.place.data());
        office
    };
    let undisturbed = another();
    undisturbed.finish();
    undisturbed.assert_sound(subscriptions);
    let wanted = undisturbed.export();

    let office = another();
    let mut random = Random::sequence(81);
    let mut inside = 0;
    for round in 0..kills {
        let mut child = office.worker(&format!("w{round}"));
        // Longer than the lease of the one before, so that something is done in between.
        sleep(Duration::from_millis(1_050 + random.below(500)));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        inside += u32::from(!office.is_finalized());
    }
    office.finish();
    assert!(inside >= 3, "the run was over after {inside} kills: bill more subscriptions");
    assert_eq!(office.export(), wanted, "the same invoices, to the byte");
    office.assert_sound(subscriptions);
}

#[test]
fn a_run_whose_worker_is_killed_twenty_times_ends_like_an_undisturbed_one() {
    // `COUNTERFOIL_TEST_SUBSCRIPTIONS=100000` with a release named by `COUNTERFOIL_TEST_BIN` is the
    // full size.
    let count = std::env::var("COUNTERFOIL_TEST_SUBSCRIPTIONS").ok();
    killed(count.map_or(2_000, |count| count.parse().expect("a number")), 20);
}

#[test]
fn three_workers_on_postgres_killed_and_stopped_at_random_do_the_month_once() {
    const SUBSCRIPTIONS: u64 = 1_000;
    let server = shared().unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let office = || {
        let url = runtime.block_on(server.empty_database()).expect("a database");
        let office = Office::empty(Some(url));
        office.fill(SUBSCRIPTIONS);
        office
    };
    let undisturbed = office();
    undisturbed.finish();
    let wanted = undisturbed.export();

    let office = office();
    let mut random = Random::sequence(82);
    let mut workers: Vec<Child> = ["a0", "b0", "c0"].map(|name| office.worker(name)).into();
    let mut strikes = 0;
    while strikes < 12 || !office.is_finalized() {
        assert!(strikes < 200, "{}", office.json(&["jobs", "history", "invoice-run"]));
        sleep(Duration::from_millis(100 + random.below(400)));
        let victim = usize::try_from(random.below(3)).expect("small");
        let worker = workers.get_mut(victim).expect("one of three");
        if strikes % 3 == 2 {
            // Asleep for longer than its lease, and awake again in the middle of another's work.
            signal(worker, "-STOP");
            sleep(Duration::from_millis(1_200));
            signal(worker, "-CONT");
        } else {
            worker.kill().expect("it can be killed");
            worker.wait().expect("it ends");
            *worker = office.worker(&format!("w{strikes}"));
        }
        strikes += 1;
    }
    for worker in &workers {
        signal(worker, "-TERM");
    }
    for worker in workers {
        let output = worker.wait_with_output().expect("it ends");
        assert!(output.status.success(), "a worker ends well: {output:?}");
    }
    assert_eq!(office.export(), wanted, "the same invoices, to the byte");
    office.assert_sound(SUBSCRIPTIONS);
    let effects = |office: &Office| {
        let history = office.json(&["jobs", "history", "invoice-run"]);
        history.as_array().expect("runs").len()
    };
    assert_eq!(effects(&office), 1, "one run of the job");
}

#[test]
fn a_worker_that_is_told_to_stop_gives_its_work_back() {
    let office = Office::empty(None);
    office.fill(800);
    let mut worker = office.worker("first");
    let mut lines = BufReader::new(worker.stdout.take().expect("a pipe")).lines();
    let greeting = lines.next().expect("a line").expect("text");
    assert!(greeting.contains("jobs"), "{greeting}");
    sleep(Duration::from_millis(1_300));
    signal(&worker, "-TERM");
    assert!(worker.wait().expect("it ends").success());
    let last = lines.map(|line| line.expect("text")).last().expect("a line");
    assert!(last.starts_with("stopped"), "{last}");
    let running = office.json(&["jobs", "history", "--state", "running"]);
    assert_eq!(running, serde_json::json!([]), "nothing is left under way");
    // Nobody has to wait for a lease.
    let ran = finish(&mut office.command(&["worker", "--once", "--holder", "next", "--json"]));
    assert_eq!(ran.exits(0).json()["busy"], serde_json::json!([]));
    assert!(office.is_finalized());
    office.assert_sound(800);
}

#[test]
fn jobs_are_listed_paused_and_let_go_at_the_command_line() {
    let office = Office::empty(None);
    office.fill(2);
    let run = |args: &[&str]| finish(&mut office.command(args));
    run(&["jobs", "list"]).exits(0).shows(&["invoice-run", "0 2 1 * * UTC", "never ran"]);
    run(&["jobs", "pause", "invoice-run", "--reason", "a look first", "--by", "ann"]).exits(0);
    run(&["worker", "--once"]).exits(0).shows(&["health"]);
    assert!(!office.is_finalized());
    run(&["jobs", "list"]).exits(0).shows(&["rests (ann: a look first)"]);
    run(&["jobs", "resume", "invoice-run"]).exits(0);
    run(&["worker", "--once"]).exits(0).shows(&["invoice-run", "2026-10 is finalized"]);
    assert!(office.is_finalized());
    run(&["jobs", "run", "health"]).exits(0).shows(&["events to roll up"]);
    run(&["jobs", "history", "health"]).exits(0).shows(&["done"]);
    run(&["jobs", "parked"]).exits(0).shows(&["nothing is parked"]);
    run(&["jobs", "unpark", "health"]).refused(1, &["health"]);
    run(&["jobs", "run", "nobody"]).refused(1, &["nobody", "jobs list"]);
    run(&["jobs", "history", "--state", "odd"]).refused(1, &["parked"]);
    office.place.file("counterfoil.toml", "[jobs.schedule.health]\ncron = \"every day\"\n");
    run(&["jobs", "list"]).refused(1, &["jobs.schedule.health", "five fields"]);
    office.place.file("counterfoil.toml", "[jobs.schedule.helth]\nenabled = false\n");
    run(&["jobs", "list"]).refused(1, &["helth", "health"]);
}
