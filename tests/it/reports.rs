//! The command `report`: as table, CSV and JSON; what it refuses; a store without anything; its
//! exit codes.

#![cfg(test)]

use num_rational::BigRational;
use serde_json::Value;

use crate::{
    exactly::{amount, exactly},
    harness::{Place, on_the_store},
};

const NOW: &str = "2026-11-02T09:00:00Z";
const KINDS: [&str; 8] =
    ["manifest", "revenue", "mrr", "ageing", "rounding", "late", "unbilled", "reconciliation"];

/// The records of a CSV, the header first.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let records = reader.records();
    records.map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn a_report_says_the_same_as_table_csv_and_json() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    // Subtotals of the sample's invoices; its prices do not contain tax.
    place.ok(&["report", "revenue", "--by", "customer"]).shows(&["meridian-bank", "14500.00"]);
    for by in ["month", "plan", "meter", "customer"] {
        let report = place.json(&["report", "revenue", "--by", by]);
        let rows = report["rows"].as_array().expect("rows");
        let text = place.ok(&["report", "revenue", "--by", by, "--csv"]).stdout;
        let records = records(&text);
        assert_eq!(records[0], [by, "currency", "invoiced", "credited", "revenue", "prepaid"]);
        assert_eq!(records.len() - 1, rows.len());
        for (record, row) in records[1..].iter().zip(rows) {
            assert_eq!((&record[0], &record[1]), (&told(&row[by]), &told(&row["currency"])));
            assert_eq!(exactly(&record[4]), amount(&row["revenue"]));
        }
        let sum: BigRational = records[1..].iter().map(|record| exactly(&record[4])).sum();
        assert_eq!(sum, exactly("16081.65"), "by {by}");
        assert_eq!(amount(&report["totals"][0]["revenue"]), sum);
    }
    let range = ["--from", "2026-09", "--to", "2026-09"];
    let none = place.json(&[&["report", "revenue"], &range[..]].concat());
    assert_eq!(none["rows"], serde_json::json!([]));
    for kind in KINDS {
        let code = if kind == "unbilled" { 3 } else { 0 };
        let report = place.run(&["report", kind, "--json"]).exits(code).json();
        assert_eq!(report["report"], kind);
        assert_eq!(report["wants_decision"], code == 3);
        let records = records(&place.run(&["report", kind, "--csv"]).exits(code).stdout);
        assert_eq!(serde_json::to_value(&records[0]).unwrap(), report["columns"]);
        assert_eq!(records.len() - 1, report["rows"].as_array().expect("rows").len());
        assert!(!records.iter().flatten().any(|cell| is_fraction(cell)), "{kind}: {records:?}");
        place.run(&["report", kind]).exits(code);
    }
    place.assert_sound();
}

fn told(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// What a spreadsheet would take for a day.
fn is_fraction(cell: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    cell.split_once('/').is_some_and(|(above, below)| digits(above) && digits(below))
}

#[test]
fn reports_refuse_what_they_have_no_use_for() {
    let place = Place::at(NOW);
    place.run(&["report", "revenue", "--from", "2026-13"]).refused(1, &["2026-13", "month"]);
    place.run(&["report", "late", "--to", "October"]).refused(1, &["October", "2026-10"]);
    let turned = ["report", "mrr", "--from", "2026-10", "--to", "2026-09"];
    place.run(&turned).refused(1, &["2026-09 lies before 2026-10"]);
    place.run(&["report", "mrr", "--to", "2027-01"]).refused(1, &["2027-01 has not begun"]);
    place.run(&["report", "ageing", "--from", "2026-10"]).refused(1, &["ageing", "--from"]);
    place.run(&["report", "late", "--by", "plan"]).refused(1, &["late", "--by"]);
    let run = "c7be52d3-86f2-804e-94e2-78031d55de2d";
    place.run(&["report", "revenue", "--run", run]).refused(1, &["revenue", "--run"]);
    place.run(&["report", "manifest", "--run", run]).refused(1, &["no run", run]);
    place.run(&["report", "profit"]).refused(2, &["profit", "reconciliation"]);
    place.run(&["report", "revenue", "--csv", "--json"]).refused(2, &["--csv"]);
}

/// Reports of usage that need nothing named.
const OF_USAGE: [&str; 7] =
    ["growth", "deferred", "usage", "statistics", "trends", "peaks", "anomalies"];

#[test]
fn reports_of_usage_say_the_same_as_table_csv_and_json() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    let october = ["--from", "2026-10", "--to", "2026-10"];
    let of = |kind: &'static str| [&["report", kind], &october[..]].concat();
    // What the customers' usage lines were billed, before plan bounds and tax.
    place.ok(&of("usage")).shows(&["api_calls", "1297.95"]);
    let report = place.json(&[&of("usage")[..], &["--by", "customer"]].concat());
    let acme = report["rows"].as_array().expect("rows").iter();
    let calls = acme.filter(|row| row["customer"] == "acme-maps" && row["meter"] == "api_calls");
    assert_eq!(calls.map(|row| told(&row["usage"])).collect::<Vec<_>>(), ["179589"]);
    for kind in ["usage", "statistics", "trends", "peaks"] {
        let report = place.json(&of(kind));
        let records = records(&place.ok(&[&of(kind)[..], &["--csv"]].concat()).stdout);
        assert_eq!(serde_json::to_value(&records[0]).unwrap(), report["columns"]);
        let rows = report["rows"].as_array().expect("rows").len();
        assert!(rows > 0 && records.len() - 1 == rows, "{kind}");
    }
    let sla = [&of("sla")[..], &["--customer", "koala-learning"]].concat();
    place.run(&sla).exits(3).shows(&["/v1/items", "98.7201", "no"]);
    let kept = [&sla[..], &["--objective", "95"]].concat();
    place.ok(&kept).shows(&["/v1/items", "yes"]);
    place.run(&["report", "changes"]).refused(1, &["--customer"]);
    place.run(&["report", "mrr", "--customer", "acme-maps"]).refused(1, &["mrr", "--customer"]);
    let changes = ["report", "changes", "--customer", "acme-maps", "--to", "2026-10"];
    place.ok(&changes).shows(&["new usage", "1297.95", "1444.91"]);
    place.assert_sound();
}

#[test]
fn reports_of_an_empty_store_are_empty() {
    let place = Place::at(NOW);
    for kind in KINDS.into_iter().chain(OF_USAGE) {
        let report = place.json(&["report", kind]);
        assert_eq!(report["rows"], serde_json::json!([]), "{kind}");
        let text = place.ok(&["report", kind, "--csv"]).stdout;
        assert_eq!(records(&text).len(), 1, "{kind}: the header alone");
        place.ok(&["report", kind]).shows(&["nothing to show"]);
    }
}

#[test]
fn no_cell_of_a_report_starts_a_formula() {
    let place = Place::at(NOW);
    let event = r#"{"id":"1","source":"s","customer":"ghost","type":"=1+1","time":"2026-11-01T00:00:00Z","quantity":"1"}"#;
    place.ok(&["ingest", &place.file("events.jsonl", event)]);
    let text = place.run(&["report", "unbilled", "--csv"]).exits(3).stdout;
    assert_eq!(records(&text)[1][1], "'=1+1");
    let report = place.run(&["report", "unbilled", "--json"]).exits(3).json();
    assert_eq!(report["rows"][0]["type"], "=1+1", "JSON is no spreadsheet");
}

#[test]
fn a_reconciliation_that_differs_ends_with_its_own_code() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    place.ok(&["report", "reconciliation"]).shows(&["lines = usage", "ok"]);
    on_the_store(&place.database(), async |store| {
        let done = sqlx::query("UPDATE account SET balance = '1' WHERE name LIKE 'receivable/%'");
        done.execute(store).await.expect("an update");
    });
    place.run(&["report", "reconciliation"]).exits(3).shows(&["postings = balances", "differs"]);
    let report = place.run(&["report", "reconciliation", "--json"]).exits(3).json();
    assert_eq!(report["wants_decision"], true);
}
