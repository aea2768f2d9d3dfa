//! What finance does after the invoice, and contracts that change, on the command line: payments,
//! credit notes, voids, grants, dunning, parts, consolidation, test clocks.

#![cfg(test)]

use serde_json::{Value, json};

use crate::harness::Place;

pub(crate) const BOOK: &str = r#"
[book]
name = "team"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "small"
interval = "month"
bill_at = "40"
[[plan.charge]]
key = "seats"
model = "per_unit"
licensed = true
unit_price = "31"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
included = 100
unit_price = "0.10"
[[plan]]
key = "big"
interval = "month"
[[plan.charge]]
key = "base"
model = "flat"
amount = "310"
[[plan]]
key = "support"
interval = "month"
[[plan.charge]]
key = "support"
model = "flat"
amount = "62"
"#;

const START: [&str; 12] = [
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
];

/// Acme on the plan `small` with two seats, from October on.
fn place() -> Place {
    let place = Place::at("2026-10-01T12:00:00Z");
    let book = place.file("team.toml", BOOK);
    place.ok(&["pricing", "publish", &book]);
    place.ok(&[
        "customer",
        "add",
        "acme",
        "--name",
        "Acme",
        "--currency",
        "USD",
        "--tax",
        "VAT=20",
    ]);
    place.ok(&[&START[..], &["seats=2"]].concat());
    place
}

fn at(place: &Place, now: &str, args: &[&str]) -> Value {
    place.json(&[&["--now", now], args].concat())
}

fn use_calls(place: &Place, id: &str, time: &str, calls: u32) {
    let line = json!({
        "id": id, "source": "s", "customer": "acme", "type": "call", "time": time,
        "quantity": calls,
    });
    let file = place.file(&format!("{id}.jsonl"), line.to_string());
    place.ok(&["--now", time, "ingest", &file]);
}

fn run(place: &Place, now: &str, month: &str) {
    at(place, now, &["run", "--period", month, "--approve", "--by", "fin"]);
}

fn numbers(place: &Place) -> Vec<(String, String, String)> {
    let all = place.json(&["invoice", "list"]);
    let text = |invoice: &Value, name: &str| invoice[name].as_str().unwrap_or_default().to_owned();
    all.as_array()
        .expect("a list")
        .iter()
        .map(|invoice| {
            let total = invoice["total"]["amount"].as_str().unwrap_or_default().to_owned();
            (text(invoice, "number"), text(invoice, "state"), total)
        })
        .collect()
}

#[test]
fn a_contract_changes_and_is_billed_to_the_cent() {
    let place = place();
    use_calls(&place, "e1", "2026-10-05T00:00:00Z", 300);
    place.ok(&["subscription", "quantity", "team", "seats=4", "--on", "2026-10-17"]);
    place.ok(&["subscription", "add-on", "team", "support", "--on", "2026-10-17"]);
    let patch = r#"{"unit_price":"0.05"}"#;
    place.ok(&["subscription", "override", "team", "calls", patch, "--on", "2026-11-01"]);
    let shown = place.ok(&["subscription", "show", "team"]);
    shown.shows(&["seats: 4 units", "add-on support", "2026-10-17", "0.05"]);
    run(&place, "2026-11-02T00:00:00Z", "2026-10");
    // 2 seats for 16 days and 4 for 15, support for 15; then usage and November in advance.
    let totals: Vec<String> = numbers(&place).into_iter().map(|(.., total)| total).collect();
    // (32 + 60 + 30) × 1.2 and (20 + 124 + 62) × 1.2
    assert_eq!(totals, ["146.40", "247.20"]);
    place.ok(&["subscription", "plan", "team", "big", "--on", "2026-11-25"]);
    place.ok(&["subscription", "pause", "team", "--on", "2026-12-05"]);
    place.ok(&["subscription", "resume", "team", "--on", "2026-12-10"]);
    run(&place, "2026-12-02T00:00:00Z", "2026-11");
    let shown = place.ok(&["invoice", "show", "INV-2026-000003"]);
    shown.shows(&["billed before 124.00", "40.00", "220.00"]);
    at(&place, "2026-12-02T00:00:00Z", &["subscription", "end", "team", "--on", "2026-12-20"]);
    place.assert_sound();
}

#[test]
fn money_after_the_invoice() {
    let place = place();
    use_calls(&place, "e1", "2026-10-05T00:00:00Z", 300);
    let now = "2026-11-02T00:00:00Z";
    run(&place, now, "2026-10");
    let pay = ["payment", "record", "bank-1", "--customer", "acme", "--amount", "100"];
    for _ in 0..2 {
        let applied = at(&place, now, &[&pay[..], &["--invoice", "INV-2026-000001"]].concat());
        assert_eq!(applied["to_invoices"][0][1]["amount"], "74.40");
        assert_eq!(applied["to_balance"]["amount"], "25.60");
    }
    let other = ["payment", "record", "bank-1", "--customer", "acme", "--amount", "101"];
    place.run(&[&["--now", now][..], &other].concat()).refused(1, &["bank-1", "another id"]);
    let full = ["credit-note", "issue", "cn", "--invoice", "INV-2026-000002"];
    let note = at(&place, now, &[&full[..], &["--line", "1=12", "--reason", "goodwill"]].concat());
    assert_eq!(note["total"]["amount"], "12.00");
    assert_eq!(note["lines"][0]["taxes"][0]["amount"], "2.00");
    let too_much =
        [&full[..3], &["--invoice", "INV-2026-000002", "--amount", "1000", "--reason", "x"]];
    let too_much = [&["--now", now][..], &too_much[0][..2], &["cn2"], too_much[1]].concat();
    place.run(&too_much).refused(1, &["is left to credit"]);
    place.ok(&["credit-note", "list"]).shows(&["CN-2026-000001", "goodwill", "12.00"]);
    place.ok(&["payment", "balances"]).shows(&["in credit", "25.6", "open on INV-2026-000002"]);
    place.ok(&["payment", "list"]).shows(&["bank-1", "100.00"]);
    at(&place, now, &["payment", "refund", "r1", "--customer", "acme", "--amount", "5.60"]);
    let late = "2027-01-15T00:00:00Z";
    let dunned = at(&place, late, &["dunning", "run"]);
    assert_eq!(dunned["steps"].as_array().map(Vec::len), Some(3), "{dunned}");
    place.ok(&["dunning", "set", "5=friendly", "30=last"]).shows(&["friendly", "last"]);
    place.ok(&["dunning", "steps"]).shows(&["30"]);
    at(&place, late, &["invoice", "write-off", "INV-2026-000002", "--reason", "insolvent"]);
    place.run(&["invoice", "void", "INV-2026-000001", "--reason", "x"]).refused(1, &["paid"]);
    let states: Vec<String> = numbers(&place).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, ["paid", "uncollectible"]);
    place.assert_sound();
}

#[test]
fn a_voided_invoice_is_issued_again() {
    let place = place();
    use_calls(&place, "e1", "2026-10-05T00:00:00Z", 300);
    let now = "2026-11-02T00:00:00Z";
    run(&place, now, "2026-10");
    use_calls(&place, "e2", "2026-10-30T00:00:00Z", 100);
    let void = ["invoice", "void", "INV-2026-000002", "--reason", "wrong address"];
    for _ in 0..2 {
        at(&place, now, &void);
    }
    let again = at(&place, now, &["invoice", "reissue", "INV-2026-000002"]);
    assert_eq!(again["number"], "INV-2026-000003");
    assert_eq!(again["body"]["total"]["amount"], "110.40", "with what came late");
    place.assert_sound();
}

#[test]
fn prepaid_credit_units_and_parts_of_a_cycle() {
    let place = place();
    let money = ["grant", "add", "hello", "--customer", "acme", "--amount", "50"];
    place.ok(&[&money[..], &["--currency", "USD", "--promotional"]].concat());
    let pack = ["grant", "add", "pack", "--customer", "acme", "--amount", "150"];
    place.ok(&[&pack[..], &["--meter", "calls", "--every", "month", "--rollover", "20"]].concat());
    place.ok(&["grant", "list"]).shows(&["hello", "promotional", "pack", "150"]);
    use_calls(&place, "e1", "2026-10-05T00:00:00Z", 700);
    place
        .ok(&["--now", "2026-10-06T00:00:00Z", "grant", "show", "pack", "--events"])
        .shows(&["s/e1", "150"]);
    // 700 − 150 granted − 100 included = 450 × 0.10: above the threshold of 40.
    let billed = at(&place, "2026-10-06T00:00:00Z", &["bill", "--thresholds"]);
    assert_eq!(billed["billed"][0]["subscription"], "team");
    let again = at(&place, "2026-10-06T00:00:00Z", &["bill", "--thresholds"]);
    assert_eq!(again, json!({"billed": [], "held": []}));
    let early = ["--now", "2026-10-06T01:00:00Z", "bill", "team"];
    place.run(&early).refused(1, &["nothing is to be billed"]);
    run(&place, "2026-11-02T00:00:00Z", "2026-10");
    place.ok(&["grant", "show", "hello"]).shows(&["granted", "used"]);
    let renewed = at(&place, "2026-12-20T00:00:00Z", &["grant", "renew"]);
    assert_eq!(renewed["granted"][0], "pack.2");
    place.assert_sound();
}

#[test]
fn a_parent_gets_one_document_and_pays_it_at_once() {
    let place = place();
    place.ok(&["customer", "add", "hold", "--name", "Holding", "--currency", "USD"]);
    let child = ["customer", "add", "kid", "--name", "Kid", "--currency", "USD", "--parent"];
    place.run(&[&child[..], &["nobody"]].concat()).refused(1, &["nobody"]);
    place.ok(&[&child[..], &["hold"]].concat());
    place.subscribe("kid", "kid", ("team", "support"), "2026-10-01");
    let now = "2026-11-02T00:00:00Z";
    run(&place, now, "2026-10");
    let documents = at(&place, now, &["consolidate", "--period", "2026-10"]);
    assert_eq!(documents[0]["number"], "CON-2026-000001");
    let pay = ["payment", "record", "p", "--customer", "hold", "--amount", "124"];
    let applied = at(&place, now, &[&pay[..], &["--invoice", "CON-2026-000001"]].concat());
    assert_eq!(applied["to_invoices"].as_array().map(Vec::len), Some(2));
    place.ok(&["consolidate", "--list"]).shows(&["CON-2026-000001", "Kid", "124.00"]);
}

#[test]
fn clocks_and_zones() {
    let place = place();
    let wall = Place::on_the_wall_clock();
    wall.run(&["clock", "set", "2027-01-01T00:00:00Z"]).refused(1, &["outside test mode"]);
    let test = |args: &[&str]| {
        let mut command = wall.command(&[&["--test-mode"], args].concat());
        crate::harness::finish(&mut command)
    };
    let _ = test(&["customer", "add", "ann", "--name", "Ann", "--currency", "USD"]).exits(0);
    let _ = test(&["clock", "set", "2027-01-01T00:00:00Z", "--customer", "ann"]).exits(0);
    let _ = test(&["clock", "advance", "10", "--customer", "ann"])
        .exits(0)
        .shows(&["2027-01-11T00:00:00Z"]);
    test(&["clock", "set", "2027-01-02T00:00:00Z", "--customer", "ann"])
        .refused(1, &["cannot go back"]);
    let _ = test(&["clock", "list"]).exits(0).shows(&["ann", "2027-01-11"]);
    let _ = test(&["clock", "release", "--customer", "ann"]).exits(0);
    place
        .ok(&["customer", "zone", "acme", "Asia/Tokyo", "--on", "2026-10-20"])
        .shows(&["Asia/Tokyo"]);
    place.ok(&["calendar", "team", "--count", "3"]);
    place.run(&["customer", "zone", "acme", "Mars/Olympus"]).refused(1, &["Mars/Olympus"]);
}

#[test]
fn contracts_that_make_no_sense_are_refused() {
    let place = place();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["subscription", "quantity", "team", "seats=-1", "--today"], &["no quantity"]),
        (&["subscription", "quantity", "team", "seats", "--today"], &["CHARGE=UNITS"]),
        (&["subscription", "plan", "team", "nope", "--today"], &["no plan", "nope"]),
        (&["subscription", "resume", "team", "--today"], &["not paused"]),
        (&["subscription", "drop-add-on", "team", "support", "--today"], &["no add-on"]),
        (&["subscription", "add-on", "team", "small", "--today"], &["has plan small"]),
        (&["subscription", "pause", "team", "--on", "2026-09-01"], &["begins on"]),
        (&["subscription", "override", "team", "calls", "5", "--today"], &["JSON object"]),
        (
            &["subscription", "override", "team", "calls", r#"{"unit_prize":"1"}"#, "--today"],
            &["unit_prize"],
        ),
    ];
    for (args, words) in cases {
        place.run(args).refused(1, words);
    }
    place.run(&["subscription", "pause", "team"]).refused(2, &["--today"]);
    assert_eq!(place.json(&["subscription", "show", "team"])["changes"], Value::Null);
}
