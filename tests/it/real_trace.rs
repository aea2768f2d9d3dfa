//! A real trace, unchanged, through its mapping: loaded once however often it is read, and billed
//! to the cent that exact fractions straight from the CSV come to.

#![cfg(test)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use num_rational::BigRational;
use num_traits::Zero;

use crate::{
    exactly::{amount, bill, cents, exactly, graduated},
    harness::{Place, receipts, root},
};

/// Customers in the order rows are dealt to them, and their taxes (mappings/azure-customers.toml).
const CUSTOMERS: [(&str, &[&str]); 3] =
    [("contoso", &[]), ("fabrikam", &["10.25"]), ("northwind", &["20"])];

/// Prices of pricing/llm-tokens.toml.
const INPUT_TIERS: [(Option<&str>, &str); 3] =
    [(Some("1000000"), "0.000003"), (Some("5000000"), "0.0000025"), (None, "0.000002")];
const INCLUDED_INPUT: &str = "100000";
const OUTPUT_PRICE: &str = "0.000015";
const PLATFORM_FEE: &str = "5";

/// The Azure LLM inference trace of 2023 (code), which is too large to ship.
fn trace() -> Option<PathBuf> {
    let path = root().parent()?.join("shared/data/azure_llm_code_2023.csv");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// Sums of input and output tokens by customer, read without any of the program's code.
fn tokens(text: &str) -> BTreeMap<&'static str, (BigRational, BigRational)> {
    let mut sums: BTreeMap<&str, (BigRational, BigRational)> = BTreeMap::new();
    let rows = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    for (row, (customer, _)) in rows.zip(CUSTOMERS.iter().cycle()) {
        let cells: Vec<&str> = row.split(',').collect();
        let [time, input, output] = cells[..] else { panic!("three cells, not {row:?}") };
        assert!(time.starts_with("2023-11-16 "), "all zones agree that {time} is in November");
        let sum =
            sums.entry(customer).or_insert_with(|| (BigRational::zero(), BigRational::zero()));
        sum.0 += exactly(input);
        sum.1 += exactly(output);
    }
    sums
}

fn load(place: &Place, trace: &str, more: &[&str]) -> (Option<i32>, [u64; 4]) {
    let map = root().join("mappings/azure-llm-2023.toml").display().to_string();
    let outcome = place.run(&[&["ingest", trace, "--map", &map, "--json"], more].concat());
    (outcome.code, receipts(&outcome.json()))
}

#[test]
fn the_azure_trace_is_billed_as_exact_fractions_from_its_csv_come_out() {
    let Some(path) = trace() else { return };
    let text = fs::read_to_string(&path).expect("the trace");
    let trace = path.display().to_string();
    let place = Place::at("2026-06-01T00:00:00Z");
    place.publish(&["llm-tokens"]);
    let customers = root().join("mappings/azure-customers.toml");
    place.ok(&["customer".as_ref(), "import".as_ref(), customers.as_os_str()]);

    assert_eq!(load(&place, &trace, &[]), (Some(3), [0, 0, 0, 17_638]), "older than 35 days");
    assert_eq!(load(&place, &trace, &["--backfill"]), (Some(0), [17_638, 0, 0, 0]));
    assert_eq!(load(&place, &trace, &["--backfill"]), (Some(0), [0, 17_638, 0, 0]));
    assert_eq!(load(&place, &trace, &[]), (Some(0), [0, 17_638, 0, 0]), "known is known for ever");
    assert_eq!(place.events(), 17_638);
    assert_eq!(fs::read_to_string(&path).expect("the trace"), text, "the file is left alone");

    place.ok(&["run", "--period", "2023-11", "--approve", "--by", "the test"]);
    let export = place.ok(&["invoice", "export", "--format", "jsonl"]).stdout;
    let mut sums = tokens(&text);
    for line in export.lines() {
        let invoice: serde_json::Value = serde_json::from_str(line).expect("an invoice");
        let body = &invoice["body"];
        let (customer, taxes) = CUSTOMERS
            .into_iter()
            .find(|(customer, _)| body["customer"] == *customer)
            .unwrap_or_else(|| panic!("a stranger: {body}"));
        let (input, output) = sums.remove(customer).expect("one invoice a customer");
        let exact = [
            graduated(&input, &exactly(INCLUDED_INPUT), &INPUT_TIERS),
            &output * exactly(OUTPUT_PRICE),
            exactly(PLATFORM_FEE),
        ];
        let bill = bill(&exact, taxes);

        let lines = body["lines"].as_array().expect("lines");
        assert_eq!(lines.len(), 3, "{customer}");
        for ((line, exact), rounded) in lines.iter().zip(&exact).zip(&bill.lines) {
            assert_eq!(amount(&line["rated"]["exact"]), *exact, "exact, {customer}");
            assert_eq!(amount(&line["amount"]), *rounded, "rounded, {customer}");
            assert_eq!(cents(exact), *rounded);
            let parts = line["rated"]["parts"].as_array().expect("parts");
            let sum: BigRational = parts.iter().map(|part| amount(&part["amount"])).sum();
            assert_eq!(sum, *rounded, "the parts of a line sum to it, {customer}");
        }
        assert_eq!(amount(&lines[0]["metered"]), input, "input tokens of {customer}");
        assert_eq!(amount(&lines[1]["metered"]), output, "output tokens of {customer}");
        assert_eq!(amount(&body["subtotal"]), bill.subtotal, "{customer}");
        let charged = body["taxes"].as_array().expect("taxes").iter();
        let charged: Vec<BigRational> = charged.map(|tax| amount(&tax["amount"])).collect();
        assert_eq!(charged, bill.taxes, "{customer}");
        assert_eq!(amount(&body["total"]), bill.total, "{customer}");
    }
    assert!(sums.is_empty(), "no invoice for {:?}", sums.keys());
    place.assert_sound();
}
