//! The surface: help, what-if prices, price books, calendars, settings and their precedence, the
//! formats that `ingest` reads, tenants that do not see each other.

#![cfg(test)]

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use num_rational::BigRational;
use serde_json::{Value, json};

use crate::{
    exactly::{amount, exactly, graduated},
    harness::{Place, finish, root},
};

const NOW: &str = "2026-11-02T09:00:00Z";

/// Sub-commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_a_help_that_needs_no_store() {
    let place = Place::on_the_wall_clock();
    let help = |path: &[&str]| place.ok(&[path, &["--help"]].concat()).stdout;
    let (mut found, mut with_examples) = (BTreeSet::new(), BTreeSet::new());
    for command in listed(&help(&[])) {
        let text = help(&[&command]);
        for inner in listed(&text) {
            let text = help(&[&command, &inner]);
            assert!(text.contains("Usage: counterfoil"), "{command} {inner}: {text}");
            if text.contains("Example") {
                with_examples.insert(format!("{command} {inner}"));
            }
            found.insert(format!("{command} {inner}"));
        }
        assert!(text.contains("Usage: counterfoil"), "{command}: {text}");
        if text.contains("Example") {
            with_examples.insert(command.clone());
        }
        found.insert(command);
    }
    assert!(found.len() > 25, "only {found:?}");
    for command in ["quickstart", "ingest", "usage", "run", "calendar", "price", "customer add"] {
        assert!(with_examples.contains(command), "{command} shows no example");
    }
    place.ok(&["--version"]).shows(&[env!("CARGO_PKG_VERSION")]);
    assert!(!place.data().exists(), "help makes no store");
}

#[test]
fn prices_are_explained_without_a_store() {
    let place = Place::at(NOW);
    let usage = ["--usage", "api_calls=150000", "--usage", "storage_gb=120.5"];
    let args = [&["price", "--book", "metering-engine", "--plan", "payg"], &usage[..]].concat();
    place.ok(&args).shows(&[
        "API calls: 1150.00 USD",
        "included units: 10000 × 0 = 0",
        "tier 1: 90000 × 0.01 = 900",
        "tier 2: 50000 × 0.005 = 250",
        "Total 1177.85 USD (before tax)",
    ]);
    let report = place.json(&args);
    let tiers = [(Some("100000"), "0.01"), (None, "0.005")];
    let calls = graduated(&exactly("150000"), &exactly("10000"), &tiers);
    let line = &report["lines"][0]["line"];
    assert_eq!(amount(&line["exact"]), calls);
    let parts = line["parts"].as_array().expect("parts");
    assert_eq!(parts.iter().map(|part| amount(&part["exact"])).sum::<BigRational>(), calls);
    let lines = report["lines"].as_array().expect("lines");
    let sum: BigRational = lines.iter().map(|line| amount(&line["line"]["amount"])).sum();
    assert_eq!((amount(&report["total"]), sum), (exactly("1177.85"), exactly("1177.85")));

    let file = root().join("pricing/metering-engine.toml").display().to_string();
    let of_file = [&["price", "--book", &file, "--plan", "payg"], &usage[..]].concat();
    assert_eq!(place.json(&of_file)["total"], report["total"], "by file as by name");
    assert!(!place.data().exists(), "no store was made");
}

#[test]
fn a_calendar_knows_short_and_long_months_of_its_zone() {
    let place = Place::at("2026-01-15T12:00:00Z");
    place.publish(&["metering-engine"]);
    place.customer("acme", "America/New_York");
    place.subscribe("acme-payg", "acme", ("metering-engine", "payg"), "2026-01-01");
    let months = place.json(&["calendar", "acme-payg", "--count", "12"]);
    let months = months.as_array().expect("periods");
    assert_eq!(months.len(), 12);
    // Clocks go forward on 8 March and back on 1 November.
    let hours: Vec<i64> = months.iter().map(|month| month["hours"].as_i64().unwrap()).collect();
    assert_eq!(hours, [744, 672, 743, 720, 744, 720, 744, 744, 720, 744, 721, 744]);
    for (month, next) in months.iter().zip(&months[1..]) {
        assert_eq!(month["period"]["end"], next["period"]["start"], "periods tile time");
    }
    assert_eq!(months[2]["period"]["start"], "2026-03-01T05:00:00Z");
    assert_eq!(months[2]["period"]["end"], "2026-04-01T04:00:00Z");
    place.ok(&["calendar", "acme-payg", "--count", "1"]).shows(&[
        "America/New_York",
        "2026-01-01 00:00",
        "2026-02-01 00:00",
    ]);
}

#[test]
fn prices_of_a_contract_are_explained_in_its_currency_and_phase() {
    let place = Place::at(NOW);
    let growth: [&'static str; 5] = ["price", "--book", "contract-toolkit", "--plan", "growth"];
    let usage = ["--quantity", "seats=12", "--usage", "gateway_calls=50000"];
    let night = ["--usage", "charging_kwh:peak=120.5", "--usage", "charging_kwh:night=300"];
    let euro = [&growth[..], &usage, &night, &["--currency", "EUR"]].concat();
    place.ok(&euro).shows(&[
        "Seats: 193.20 EUR",
        "tier 1: 9 × 20 × 0.92 = 165.6",
        "Gateway calls: 72.00 EUR",
        "tier 1: 40000 × 0.0018 = 72",
        "peak: 120.5 × 0.3 × 0.92 = 33.258",
        "night: 300 × 0.12 × 0.92 = 33.12",
    ]);
    let trial = [&growth[..], &usage, &["--phase", "trial"]].concat();
    place.ok(&trial).shows(&["Trial: -210", "Total 0.00 USD (before tax)"]);
    let with = |more: &[&'static str]| [&growth[..], more].concat();
    place.run(&with(&["--currency", "CHF"])).refused(1, &["CHF", "EUR"]);
    place.run(&with(&["--phase", "later"])).refused(1, &["later", "trial, welcome"]);
    place.run(&with(&["--quantity", "seat=1"])).refused(1, &["seat", "seats"]);
    place.run(&with(&["--usage", "charging_kwh=5"])).refused(1, &["charging"]);
    place.run(&with(&["--usage", "charging_kwh:noon=5"])).refused(1, &["noon"]);
    let twice = ["--usage", "charging_kwh:peak=5", "--usage", "charging_kwh=5"];
    place.run(&with(&twice)).refused(1, &["charging_kwh", "twice"]);
}

#[test]
fn price_books_are_checked_listed_compared_and_published() {
    let place = Place::at(NOW);
    let checked = place.json(&["pricing", "check"]);
    assert_eq!(checked.as_array().expect("books").len(), 5, "the shipped ones");
    assert!(!place.data().exists(), "checking needs no store");
    let schema = place.ok(&["pricing", "schema"]).json();
    assert!(schema["$schema"].is_string() && schema["properties"]["book"].is_object());

    let file = root().join("pricing/saas-plans.toml").display().to_string();
    place.ok(&["pricing", "diff", &file]).shows(&["no version of saas-plans is published"]);
    let report = place.json(&["pricing", "publish", &file]);
    assert_eq!(
        (&report[0]["book"], &report[0]["new"]),
        (&json!("saas-plans@2026-01"), &json!(true))
    );
    let report = place.json(&["pricing", "publish", &file]);
    assert_eq!(report[0]["new"], json!(false), "a second time changes nothing");
    place.ok(&["pricing", "diff", &file]).shows(&["no difference to saas-plans@2026-01"]);
    let list = place.json(&["pricing", "list"]);
    assert_eq!(list[0]["plans"], json!(["free", "starter", "pro", "enterprise"]));
    assert_eq!(list[0]["sha256"], report[0]["sha256"]);

    let text = std::fs::read_to_string(&file).expect("the book").replace("\"29\"", "\"31\"");
    let dearer = place.file("dearer.toml", &text);
    place.run(&["pricing", "diff", &dearer]).exits(3).shows(&["29", "31", "new version"]);
    let next = place.file("next.toml", text.replace("2026-01\"", "2027-01\""));
    place.ok(&["pricing", "diff", &next]).shows(&["29", "31"]);
}

#[test]
fn invoices_are_listed_shown_explained_and_exported() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    let list = place.json(&["invoice", "list", "--customer", "acme-maps"]);
    let number = list[0]["number"].as_str().expect("a number");
    let id = list[0]["id"].as_str().expect("an id");
    let shown = place.json(&["invoice", "show", number]);
    assert_eq!(shown, place.json(&["invoice", "show", id]), "by number as by id");
    place.ok(&["invoice", "show", number]).shows(&[number, "1297.95", "8.875 %", "1444.91"]);
    let digest = shown["digest"].as_str().expect("a digest");
    place.ok(&["invoice", "explain", number]).shows(&[
        "metering-engine@2026-01",
        "tier 2: 79589 × 0.005 = 397.945",
        "Lines sum to 1327.13 USD",
        digest,
    ]);
    let drafts = place.json(&["invoice", "list", "--state", "draft"]);
    assert_eq!(drafts, json!([]));

    let out = place.path("october.csv");
    place.ok(&["invoice", "export", "--out", &out.display().to_string()]);
    let text = std::fs::read_to_string(&out).expect("the file");
    assert_eq!(text, place.ok(&["invoice", "export"]).stdout, "a file as standard output");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "RFC 4180");
    let mut sums = std::collections::BTreeMap::<String, BigRational>::new();
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let column = |name: &str| header.iter().position(|other| other == name).expect("a column");
    let (invoice, cell) = (column("invoice"), column("amount"));
    for row in reader.records() {
        let row = row.expect("every row has the cells of the header");
        *sums.entry(row[invoice].to_owned()).or_default() += exactly(&row[cell]);
    }
    for line in place.ok(&["invoice", "export", "--format", "jsonl"]).stdout.lines() {
        let invoice: Value = serde_json::from_str(line).expect("an invoice");
        let sum = sums.remove(invoice["number"].as_str().expect("a number")).unwrap_or_default();
        assert_eq!(sum, amount(&invoice["body"]["subtotal"]), "{}", invoice["number"]);
    }
    assert!(sums.is_empty());

    let nowhere = place.path("nowhere/october.csv").display().to_string();
    place.run(&["invoice", "export", "--out", &nowhere]).refused(1, &["nowhere/october.csv"]);
    assert!(!place.path("october.csv.partial").exists(), "a file appears whole or not at all");
}

#[test]
fn an_export_to_a_pipe_leaves_the_pipe_where_it_is() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    let pipe = place.path("pipe");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no mkfifo");
        return;
    }
    let name = pipe.display().to_string();
    let mut command = place.command(&["invoice", "export", "--out", &name]);
    let child = command.stdout(Stdio::piped()).spawn().expect("the program runs");
    let text = std::fs::read_to_string(&pipe).expect("what came through");
    assert!(child.wait_with_output().expect("the program ends").status.success());
    assert_eq!(text, place.ok(&["invoice", "export"]).stdout);
    assert!(!pipe.is_file(), "the pipe is still a pipe");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    for args in [&["pricing", "schema"][..], &["invoice", "export", "--format", "jsonl", "--json"]]
    {
        let mut command = place.command(args);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut command = place.command(&["calendar", "acme-maps-payg", "--count", "900", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let place = Place::on_the_wall_clock();
    place.file("counterfoil.toml", "data_dir = 'from-file'\ntenant = 'file-tenant'\n");
    let other = place.file("other.toml", "data_dir = 'from-other'\ntenant = 'other-tenant'\n");
    let facts = |command: &mut Command| {
        let facts = finish(command).exits(0).json()["facts"].clone();
        let text = |key: &str| facts[key].as_str().expect("a text").to_owned();
        (text("file"), text("tenant"))
    };
    let is = |found: (String, String), directory: &str, tenant: &str| {
        assert_eq!(found, (format!("{directory}/counterfoil.db"), tenant.to_owned()));
    };
    let doctor = ["doctor", "--json"];
    is(facts(&mut place.bare_command(&doctor)), "from-file", "file-tenant");
    let mut with_env = place.bare_command(&doctor);
    with_env.env("COUNTERFOIL_DATA_DIR", "from-env").env("COUNTERFOIL_TENANT", "env-tenant");
    is(facts(&mut with_env), "from-env", "env-tenant");
    let flags = [&doctor[..], &["--data-dir", "from-flag", "--tenant", "flag-tenant"]].concat();
    let mut with_flags = place.bare_command(&flags);
    with_flags.env("COUNTERFOIL_DATA_DIR", "from-env").env("COUNTERFOIL_TENANT", "env-tenant");
    is(facts(&mut with_flags), "from-flag", "flag-tenant");
    let named = [&doctor[..], &["--config", &other]].concat();
    is(facts(&mut place.bare_command(&named)), "from-other", "other-tenant");
    std::fs::remove_file(place.path("counterfoil.toml")).expect("the file");
    is(facts(&mut place.bare_command(&doctor)), "counterfoil-data", "default");
}

#[test]
fn two_tenants_in_one_store_do_not_see_each_other() {
    let place = Place::on_the_wall_clock();
    let north = |args: &[&str]| place.run(&[args, &["--tenant", "north"]].concat());
    let south = |args: &[&str]| place.run(&[args, &["--tenant", "south"]].concat());
    north(&["quickstart"]).exits(0);
    let invoices = north(&["invoice", "export", "--format", "jsonl"]).exits(0).stdout;
    assert_eq!(invoices.lines().count(), 9);

    for list in ["customer", "subscription", "pricing", "invoice"] {
        assert_eq!(south(&[list, "list", "--json"]).exits(0).json(), json!([]), "{list}");
    }
    assert_eq!(south(&["run", "--list", "--json"]).exits(0).json(), json!([]));
    south(&["usage", "acme-maps"]).refused(1, &["acme-maps"]);
    south(&["invoice", "show", "INV-2026-000001"]).refused(1, &["INV-2026-000001"]);
    assert_eq!(south(&["doctor", "--json"]).exits(0).json()["facts"]["tenant"], "south");
    let verified = south(&["verify", "--json"]).exits(0).json();
    assert_eq!((&verified["events"], &verified["invoices"]), (&json!(0), &json!(0)));

    // The same ids, numbers and events again, beside and not instead.
    let told = south(&["quickstart"]).exits(0).stdout;
    assert!(told.contains("18164 inserted, 40 duplicate, 2 conflict"), "{told}");
    assert_eq!(north(&["invoice", "export", "--format", "jsonl"]).exits(0).stdout, invoices);
    for tenant in [&north as &dyn Fn(&[&str]) -> crate::harness::Outcome, &south] {
        assert_eq!(tenant(&["verify", "--json"]).exits(0).json()["problems"], json!([]));
        assert_eq!(tenant(&["invoice", "list", "--json"]).json().as_array().map(Vec::len), Some(9));
    }
}

#[test]
fn a_backtest_rates_history_under_new_prices_and_writes_nothing() {
    let place = Place::at(NOW);
    place.ok(&["quickstart"]);
    let before = place.ok(&["invoice", "export", "--format", "jsonl"]).stdout;
    let book = std::fs::read_to_string(root().join("pricing/metering-engine.toml"))
        .expect("the shipped book")
        .replace("version = \"2026-01\"", "version = \"2026-12\"")
        .replace("\"0.005\"", "\"0.004\"");
    let file = place.file("new.toml", book);
    let tried = ["backtest", "--book", &file, "--from", "2026-09", "--to", "2026-10"];
    let report = place.ok(&[&tried[..], &["--json"]].concat()).json();
    // 79,589 calls lie in the second tier; each becomes a tenth of a cent cheaper.
    assert_eq!(report["rows"][0]["subscription"], "acme-maps-payg");
    assert_eq!(report["rows"][0]["before"]["amount"], "1327.13");
    assert_eq!(report["rows"][0]["after"]["amount"], "1247.54");
    assert_eq!(report["difference"]["amount"], "-79.59");
    let csv = place.ok(&[&tried[..], &["--csv"]].concat()).stdout;
    assert!(csv.contains("acme-maps,acme-maps-payg,payg,2,1327.13,1247.54,-79.59"), "{csv}");
    let after = place.ok(&["invoice", "export", "--format", "jsonl"]).stdout;
    assert_eq!(before, after);
    assert!(!place.ok(&["pricing", "list"]).stdout.contains("2026-12"));
}
