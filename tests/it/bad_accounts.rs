//! Customers, price books, subscriptions and runs that make no sense: refused with the item and
//! the reason, and nothing of them is there afterwards.

#![cfg(test)]

use std::fs;

use serde_json::json;

use crate::harness::{Place, root};

const NOW: &str = "2026-11-02T09:00:00Z";

/// The shipped book `metering-engine` with one text replaced, written to a file.
fn book_with(place: &Place, name: &str, from: &str, to: &str) -> String {
    let text = fs::read_to_string(root().join("pricing/metering-engine.toml")).expect("the book");
    assert!(text.contains(from), "the shipped book has no {from:?} any more");
    place.file(name, text.replacen(from, to, 1))
}

#[test]
fn customers_that_make_no_sense_are_refused() {
    let place = Place::at(NOW);
    let add = |more: &[&str]| place.run(&[&["customer", "add", "acme", "--name"], more].concat());
    add(&["Acme", "--currency", "XXQ"]).refused(1, &["\"XXQ\"", "ISO 4217"]);
    add(&["Acme", "--currency", "usd"]).refused(1, &["\"usd\""]);
    add(&["Acme", "--currency", "USD", "--zone", "Mars/Base"]).refused(1, &["\"Mars/Base\""]);
    add(&["", "--currency", "USD"]).refused(1, &["name"]);
    add(&["Acme", "--currency", "USD", "--tax", "VAT"]).refused(1, &["\"VAT\"", "NAME=PERCENT"]);
    add(&["Acme", "--currency", "USD", "--tax", "VAT=x"]).refused(1, &["VAT=x"]);
    add(&["Acme", "--currency", "USD", "--tax", "VAT=101"]).refused(1, &["101"]);
    add(&["Acme", "--currency", "USD", "--tax", "VAT=-1"]).refused(1, &["-1"]);
    add(&["Acme"]).refused(2, &["--currency"]);

    let file = place.file("customers.toml", "[[customer]]\nid = 'x'\nname = 'X'\ncolour = 'red'\n");
    place.run(&["customer", "import", &file]).refused(1, &["customers.toml", "colour"]);
    let file = place.file(
        "zone.toml",
        "[[customer]]\nid = 'x'\nname = 'X'\ncurrency = 'USD'\nzone = 'Mars/Base'\n",
    );
    place.run(&["customer", "import", &file]).refused(1, &["zone.toml", "Mars/Base"]);
    assert_eq!(place.json(&["customer", "list"]), json!([]));
    place.assert_sound();
}

#[test]
fn price_books_that_make_no_sense_are_refused_at_the_line() {
    let place = Place::at(NOW);
    let open = "{ unit_price = \"0.005\" }";
    let unordered = "{ up_to = 50000, unit_price = \"0.005\" }, { unit_price = \"1\" }";
    let cases = [
        ("order.toml", open, unordered, &["order.toml:48:", "up_to", "50000", "100000"][..]),
        (
            "closed.toml",
            open,
            "{ up_to = 900000, unit_price = \"0.005\" }",
            &["closed.toml:48:", "open"],
        ),
        ("currency.toml", "\"USD\"", "\"ZZZ\"", &["currency.toml:8:", "ZZZ"]),
        (
            "meter.toml",
            "meter = \"api_calls\"",
            "meter = \"no_calls\"",
            &["meter.toml:", "no_calls"],
        ),
        ("price.toml", "\"0.01\"", "\"cheap\"", &["price.toml:47:", "cheap"]),
        ("float.toml", "\"0.01\"", "nan", &["float.toml:47:"]),
        ("field.toml", "included = 10000", "includid = 10000", &["field.toml:", "includid"]),
        ("toml.toml", "[book]", "[book", &["toml.toml:"]),
    ];
    for (name, from, to, words) in cases {
        let file = book_with(&place, name, from, to);
        place.run(&["pricing", "check", &file]).refused(1, words);
        place.run(&["pricing", "publish", &file]).refused(1, words);
        let args = ["price", "--book", &file, "--plan", "payg"];
        place.run(&args).refused(1, words);
    }
    place.run(&["pricing", "check", "nowhere.toml"]).refused(1, &["nowhere.toml"]);
    assert_eq!(place.json(&["pricing", "list"]), json!([]));
}

#[test]
fn examples_that_come_out_otherwise_want_a_decision() {
    let place = Place::at(NOW);
    let file = book_with(&place, "changed.toml", "\"0.005\"", "\"0.006\"");
    place.run(&["pricing", "check", &file]).exits(3).shows(&[
        "ok     within the free units",
        "WRONG  into the second tier",
        "expected 1150, came to 1200",
    ]);
}

#[test]
fn a_published_version_never_changes() {
    let place = Place::at(NOW);
    place.publish(&["metering-engine"]);
    let published = place.json(&["pricing", "list"]);
    let file = book_with(&place, "changed.toml", "\"0.005\"", "\"0.006\"");
    let report = place.run(&["pricing", "check", &file, "--json"]).exits(3).json();
    let (old, new) = (published[0]["sha256"].as_str(), report[0]["sha256"].as_str());
    let (old, new) = (old.expect("a hash"), new.expect("a hash"));
    assert_ne!(old, new);
    // One book of several is wrong: none is published.
    let other = root().join("pricing/saas-plans.toml").display().to_string();
    place.run(&["pricing", "publish", &file]).refused(1, &["metering-engine@2026-01", old, new]);
    assert_eq!(place.json(&["pricing", "list"]), published);
    place.ok(&["pricing", "publish", &other]);
    place.publish(&["metering-engine"]);
    place.assert_sound();
}

#[test]
fn subscriptions_that_make_no_sense_are_refused() {
    let place = Place::at(NOW);
    place.publish(&["metering-engine", "saas-plans"]);
    place.customer("acme", "UTC");
    place.ok(&["customer", "add", "europa", "--name", "Europa", "--currency", "EUR"]);
    let start = |id: &str, customer: &str, plan: (&str, &str), from: &str, more: &[&str]| {
        let (book, plan) = plan;
        let args = ["subscription", "start", id, "--customer", customer, "--book", book];
        place.run(&[&args[..], &["--plan", plan, "--start", from], more].concat())
    };
    let payg = ("metering-engine", "payg");
    start("first", "acme", payg, "2026-10-01", &[]).exits(0);
    start("first", "acme", payg, "2026-10-01", &[]).exits(0); // again: no change
    let before = place.json(&["subscription", "list"]);

    start("second", "acme", payg, "2026-10-15", &[]).refused(1, &["second", "first", "api_calls"]);
    start("first", "acme", payg, "2026-10-02", &[]).refused(1, &["first", "other terms"]);
    start("x", "nobody", payg, "2026-10-01", &[]).refused(1, &["customer", "nobody"]);
    start("x", "acme", ("nowhere", "payg"), "2026-10-01", &[]).refused(1, &["nowhere"]);
    start("x", "acme", ("saas-plans", "gold"), "2026-10-01", &[]).refused(1, &["plan", "gold"]);
    start("x", "europa", payg, "2026-10-01", &[]).refused(1, &["europa", "EUR", "USD"]);
    let pro = ("saas-plans", "pro");
    start("x", "acme", pro, "2025-12-31", &[]).refused(1, &["saas-plans", "2025-12-31"]);
    start("x", "acme", pro, "2026-02-30", &[]).refused(2, &["2026-02-30"]);
    start("x", "acme", pro, "2026-10-01", &["--end", "2026-10-01"]).refused(1, &["end"]);
    place.run(&["subscription", "end", "nope", "--on", "2026-10-01"]).refused(1, &["nope"]);
    place.run(&["subscription", "end", "first", "--on", "2026-10-01"]).refused(1, &["end"]);
    assert_eq!(place.json(&["subscription", "list"]), before);

    // What a subscription counts on cannot change under it.
    let zone = ["customer", "add", "acme", "--name", "acme", "--currency", "USD", "--zone"];
    place.run(&[&zone[..], &["Asia/Tokyo"]].concat()).refused(1, &["acme", "zone"]);
    // One after the other is no overlap.
    place.ok(&["subscription", "end", "first", "--on", "2026-10-15"]);
    start("second", "acme", payg, "2026-10-15", &[]).exits(0);
    place.assert_sound();
}

#[test]
fn runs_that_make_no_sense_are_refused() {
    let place = Place::at(NOW);
    place.publish(&["metering-engine"]);
    place.customer("acme", "UTC");
    place.subscribe("acme-payg", "acme", ("metering-engine", "payg"), "2026-10-01");
    for month in ["2026-13", "2026-00", "2026", "2026-1", "October", "", "2026-10-01"] {
        place.run(&["run", "--period", month, "--approve"]).refused(1, &[month, "2026-10"]);
    }
    let early = ["run", "--period", "2026-11", "--approve"];
    place.run(&early).refused(1, &["2026-11", "not over", "2026-12-01T13:00:00Z"]);
    place.run(&["run", "--period", "2026-11", "--dry-run"]).exits(0);
    place.run(&["run", "--dry-run", "--approve", "--period", "2026-10"]).refused(2, &["--approve"]);
    place.run(&["run"]).refused(2, &["--period"]);
    let nowhere = "00000000-0000-0000-0000-000000000000";
    place.run(&["run", "--resume", nowhere]).refused(1, &["run", nowhere]);
    place.run(&["run", "--resume", "x"]).refused(2, &["'x'"]);
    assert_eq!(place.json(&["run", "--list"]), json!([]));
    assert_eq!(place.json(&["invoice", "list"]), json!([]));
    place.assert_sound();
}

#[test]
fn questions_about_what_is_not_there_name_it() {
    let place = Place::at(NOW);
    place.run(&["usage", "nobody"]).refused(1, &["customer", "nobody"]);
    place.run(&["customer", "show", "nobody"]).refused(1, &["customer", "nobody"]);
    place.run(&["calendar", "nothing"]).refused(1, &["subscription", "nothing"]);
    place.run(&["invoice", "show", "INV-1"]).refused(1, &["invoice", "INV-1"]);
    place.run(&["invoice", "explain", "INV-1"]).refused(1, &["invoice", "INV-1"]);
    place.run(&["invoice", "list", "--state", "odd"]).refused(1, &["odd", "pending"]);
    let backwards = ["--from", "2026-10-02T00:00:00Z", "--to", "2026-10-01T00:00:00Z"];
    place.run(&[&["usage", "x"], &backwards[..]].concat()).refused(1, &["--from", "before"]);
    place.run(&["usage", "x", "--at", "yesterday"]).refused(2, &["yesterday"]);
    place.run(&["usage", "--unbilled"]).refused(2, &["--from"]);
    let price = |more: &[&str]| place.run(&[&["price", "--book"], more].concat());
    price(&["nowhere", "--plan", "x"]).refused(1, &["nowhere", "metering-engine"]);
    price(&["metering-engine", "--plan", "gold"]).refused(1, &["gold", "payg"]);
    let payg = ["metering-engine", "--plan", "payg", "--usage"];
    price(&[&payg[..], &["calls=1"]].concat()).refused(1, &["\"calls\"", "api_calls"]);
    price(&[&payg[..], &["api_calls=x"]].concat()).refused(1, &["api_calls=x"]);
    price(&[&payg[..], &["api_calls"]].concat()).refused(1, &["METER=UNITS"]);
    place.run(&["frobnicate"]).refused(2, &["frobnicate"]);
}
