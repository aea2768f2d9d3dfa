//! `stripe` at the command line, and its jobs, against a stateful server that others wrote: invoices
//! are pushed, credited, held against ours; what is done there alone is noticed. On both stores.

#![cfg(test)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use counterfoil_store_postgres::testing::shared;
use serde_json::Value;

use crate::harness::{Outcome, Place, finish, on_the_store, root};

const KEY: &str = "sk_test_it";
const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "EUR"
effective_from = "2025-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "100"
billing = "arrears"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
"#;
const CALL: &str = r#"{"id":"e1","source":"s","customer":"acme","type":"call","time":"2025-10-05T10:00:00Z","quantity":10}"#;

/// The server; it stops with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> String {
    if let Ok(python) = std::env::var("COUNTERFOIL_TEST_PYTHON") {
        return python;
    }
    let made = Command::new(root().join("scripts/setup-tests")).stderr(Stdio::inherit()).output();
    let made = made.expect("scripts/setup-tests runs");
    assert!(made.status.success(), "scripts/setup-tests failed");
    String::from_utf8(made.stdout).expect("a path").trim().to_owned()
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(python())
            .arg(root().join("crates/stripe/tests/stripe_world.py"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a port");
        let address = format!("127.0.0.1:{}", line.trim()).parse().expect("a port");
        let server = Self { child, address };
        for _ in 0..600 {
            if TcpStream::connect(address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// A call by somebody else at Stripe.
    fn call(&self, account: &str, line: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let (method, path) = line.split_once(' ').expect("method and path");
        write!(
            stream,
            "{method} /worlds/{account}/v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).expect("JSON")
    }
}

struct Office {
    place: Place,
    url: Option<String>,
}

impl Office {
    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = self.place.command(args);
        command.env("COUNTERFOIL_STRIPE_KEY", KEY);
        if let Some(url) = &self.url {
            command.env("DATABASE_URL", url);
        }
        finish(&mut command)
    }

    fn ok(&self, args: &[&str]) -> Outcome {
        self.run(args).exits(0)
    }

    fn reconcile(&self, code: i32) -> Value {
        self.run(&["stripe", "reconcile", "--json"]).exits(code).json()
    }
}

fn played(server: &Server, account: &str, url: Option<String>) -> Office {
    let place = Place::at("2025-11-02T12:00:00Z");
    let base = format!("http://{}/worlds/{account}/", server.address);
    place.file("counterfoil.toml", format!("[stripe]\nbase_url = \"{base}\"\ntimeout = 10\n"));
    let (book, calls) = (place.file("b.toml", BOOK), place.file("e.jsonl", CALL));
    let office = Office { place, url };
    office.ok(&["stripe", "status"]).shows(&["there is no link to Stripe"]);
    office.run(&["stripe", "push"]).exits(0);
    office.ok(&["pricing", "publish", &book]);
    office.ok(&["customer", "add", "acme", "--name", "Acmé", "--currency", "EUR", "--zone", "UTC"]);
    let start = ["--customer", "acme", "--book", "b", "--plan", "p", "--start", "2025-10-01"];
    office.ok(&[&["subscription", "start", "s"][..], &start].concat());
    office.ok(&["ingest", &calls, "--backfill"]);
    office.ok(&["stripe", "mode", "invoices"]);
    office.ok(&["stripe", "setup"]).shows(&["1 customers were made or found"]);
    office.ok(&["stripe", "setup"]).shows(&["0 customers were made or found"]);
    office.ok(&["run", "--period", "2025-10", "--approve", "--by", "fin"]);
    // Not yet sent, and not late with it.
    assert_eq!(office.reconcile(0)["compared"], 1);
    for _ in 0..2 {
        office.ok(&["deliver", "--once"]);
    }
    office
}

fn told_and_held_against_it(server: &Server, account: &str, url: Option<String>) -> Office {
    let office = played(server, account, url);
    let there = server.call(account, "GET invoices", "");
    let invoices = there["data"].as_array().expect("a list");
    assert_eq!((invoices.len(), invoices[0]["total"].as_i64()), (1, Some(10_250)));
    let id = invoices[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(office.reconcile(0)["differing"], 0);
    // The credit note follows it.
    let number = "INV-2025-000001";
    let credit = ["credit-note", "issue", "cn-1", "--invoice", number, "--amount", "10"];
    office.ok(&[&credit[..], &["--reason", "an outage"]].concat());
    let behind = office.reconcile(3);
    assert_eq!(behind["differences"][0]["ours"], "open 92.50 EUR");
    assert_eq!(behind["differences"][0]["theirs"], "open 102.50 EUR");
    office.ok(&["deliver", "--once"]);
    let open = server.call(account, &format!("GET invoices/{id}"), "");
    assert_eq!(open["amount_remaining"], 9_250);
    assert_eq!(office.reconcile(0)["differing"], 0);
    // Somebody voids it there, and no web hook comes.
    server.call(account, &format!("POST invoices/{id}/void"), "");
    office.ok(&["jobs", "run", "stripe-reconcile"]);
    office.ok(&["jobs", "run", "stripe-push"]);
    for _ in 0..3 {
        office.ok(&["worker", "--once"]);
    }
    let last = office.ok(&["stripe", "status", "--json"]).json();
    assert_eq!(last["reconciled"]["differing"], 1, "{last}");
    let difference = &last["reconciled"]["differences"][0];
    assert_eq!(difference["invoice"], number);
    assert!(difference["theirs"].as_str().is_some_and(|says| says.contains("state void")));
    let done = office.ok(&["jobs", "history", "stripe-push", "--json"]).json();
    assert!(done.to_string().contains("0 totals went on"), "{done}");
    office
}

#[test]
fn invoices_go_to_stripe_and_are_held_against_it_at_the_command_line() {
    let server = Server::start();
    let office = told_and_held_against_it(&server, "sqlite", None);
    // What was queued for others in all that is what the schema says.
    let rows: Vec<(String, String)> = on_the_store(&office.place.database(), async |store| {
        let all = sqlx::query_as("SELECT kind, body FROM outbox");
        all.fetch_all(store).await.expect("rows")
    });
    assert!(rows.len() > 5, "{rows:?}");
    let rows = office.place.file("rows.json", serde_json::to_vec(&rows).expect("JSON"));
    let script = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        for kind, body in json.load(open(sys.argv[2])):\n\
        \x20   of = {'$ref': '#/$defs/' + kind, '$defs': schema['$defs']}\n\
        \x20   jsonschema.Draft202012Validator(of).validate(json.loads(body))\n";
    let schema = root().join("docs/webhook-events.schema.json");
    let checked = Command::new(python()).args(["-c", script]).arg(schema).arg(&rows).output();
    let checked = checked.expect("python runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn invoices_go_to_stripe_and_are_held_against_it_on_postgres() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let postgres = shared().unwrap_or_else(|error| panic!("{error}"));
    let url = runtime.block_on(postgres.empty_database()).expect("a database");
    told_and_held_against_it(&server, "postgres", Some(url));
}
