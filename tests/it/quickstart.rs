//! From nothing to explained invoices: `quickstart` bills the shipped sample month to the cent
//! that its README's counts come to, and running it again changes nothing.

#![cfg(test)]

use std::{collections::BTreeMap, fs, io::Read};

use num_rational::BigRational;
use serde_json::Value;

use crate::{
    exactly::{Bill, amount, beyond, bill, exactly, graduated},
    harness::{Place, receipts, root},
};

/// Headings of the story it tells.
const SECTIONS: [&str; 10] = [
    "1. Price books",
    "2. Customers",
    "3. Usage of October 2026",
    "4. Accepted, but not billed",
    "5. The invoice run",
    "6. Invoices",
    "7. One of them in full",
    "8. How it came to be",
    "9. What that customer has used in November so far",
    "10. A month that ran by itself",
];

fn invoices(place: &Place) -> Vec<Value> {
    let export = place.ok(&["invoice", "export", "--format", "jsonl"]).stdout;
    export.lines().map(|line| serde_json::from_str(line).expect("an invoice")).collect()
}

/// A count that the README of the sample states.
fn counted(text: &str) -> BigRational {
    let readme = fs::read_to_string(root().join("sample/README.md")).expect("the README");
    assert!(readme.contains(text), "sample/README.md does not count {text:?}");
    let number = text.split_whitespace().next().expect("a number");
    exactly(&number.replace(',', ""))
}

/// GB-hours in October in Berlin, folded here from the levels in the file: each holds until the
/// next one.
fn storage_of_nordlicht() -> BigRational {
    let file = fs::File::open(root().join("sample/usage-2026-10.jsonl.gz")).expect("the sample");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let levels: BTreeMap<i64, i64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an event"))
        .filter(|event| event["customer"] == "nordlicht" && event["type"] == "storage.level")
        .map(|event| {
            let bytes = event["properties"]["bytes"].as_i64().expect("bytes");
            (second_of_october(event["time"].as_str().expect("a time")), bytes)
        })
        .collect();
    assert_eq!(levels.len(), 93);
    // Berlin: from 22:00 UTC the day before to 23:00 UTC on the 31st, an hour longer than 31 days.
    let end = 31 * 86_400 - 3_600;
    let ends = levels.keys().skip(1).copied().chain([end]);
    let byte_seconds: BigRational = levels
        .iter()
        .zip(ends)
        .map(|((start, bytes), end)| {
            BigRational::from_integer((end - start).into()) * whole(*bytes)
        })
        .sum();
    byte_seconds / exactly("3600") / exactly("1000000000")
}

fn whole(number: i64) -> BigRational {
    BigRational::from_integer(number.into())
}

/// Seconds since 2026-10-01T00:00:00Z, which is negative on 30 September.
fn second_of_october(time: &str) -> i64 {
    let number = |from: usize, to: usize| time[from..to].parse::<i64>().expect("digits");
    let day = match &time[..8] {
        "2026-10-" => number(8, 10) - 1,
        "2026-09-" => number(8, 10) - 31,
        _ => panic!("{time} is not of this month"),
    };
    assert_eq!((time.len(), &time[19..]), (20, "Z"), "{time} has whole seconds of UTC");
    day * 86_400 + number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19)
}

const TOKENS: [(Option<&str>, &str); 3] =
    [(Some("1000000"), "0.000003"), (Some("5000000"), "0.0000025"), (None, "0.000002")];

fn tokens(input: &str, output: &str, taxes: &[&str]) -> Bill {
    let input = graduated(&counted(input), &exactly("100000"), &TOKENS);
    let output = counted(output) * exactly("0.000015");
    bill(&[input, output, exactly("5")], taxes)
}

/// What each invoice must come to, by subscription and cycle.
fn expected() -> BTreeMap<(&'static str, u64), Bill> {
    let calls = graduated(
        &counted("179,589 calls"),
        &exactly("10000"),
        &[(Some("100000"), "0.01"), (None, "0.005")],
    );
    let peak = counted("a peak of 119.166 GB".trim_start_matches("a peak of "));
    let stored = graduated(&peak, &exactly("5"), &[(Some("100"), "0.25"), (None, "0.2")]);
    let gigabyte = exactly("1000000000");
    let moved = counted("29,950,150,303 bytes moved") / &gigabyte;
    let acme = bill(&[calls, stored, beyond(&moved, "10") * exactly("0.08")], &["8.875"]);

    let queries = (counted("48,214 queries") / exactly("1000")).ceil();
    let platform = [
        exactly("20"),
        counted("2,600 requests") * exactly("0.0001"),
        storage_of_nordlicht() * exactly("0.0001"),
        counted("86,166,430,675 bytes out") / gigabyte * exactly("0.05"),
        counted("44,891.536 CPU seconds") / exactly("3600") * exactly("0.05"),
        queries * exactly("0.01"),
        counted("8,854 invocations") * exactly("0.0002"),
    ];
    // 12 to 31 October; its clocks go back in November.
    let part_of_a_month = exactly("29") * exactly("20") / exactly("31");
    let taxes_of_bayside = ["7.25", "2.5"];
    // Included: 10,000 requests a month, so about 6,452 in 20 of 31 days.
    let requests = counted("1,500 requests");
    assert!(requests < exactly("10000") * exactly("20") / exactly("31"));
    let users = counted("89 users") * exactly("0.5");
    assert!(counted("6,000 requests by") < exactly("100000"));
    BTreeMap::from([
        (("acme-maps-payg", 2), acme),
        (("nordlicht-platform", 5), bill(&platform, &["19"])),
        (("nordlicht-bot", 2), tokens("455,820 tokens in", "73,463 out", &["19"])),
        (("tiffin-club-free", 3), bill(&[], &[])),
        (("bayside-fit-starter", 0), bill(&[part_of_a_month], &taxes_of_bayside)),
        (("bayside-fit-starter", 1), bill(&[exactly("29")], &taxes_of_bayside)),
        (("koala-learning-pro", 2), bill(&[exactly("99"), users], &["10"])),
        (("meridian-bank-enterprise", 0), bill(&[exactly("12000"), exactly("2500")], &[])),
        (("lexica-tokens", 2), tokens("3,619,875 tokens in", "639,819 out", &[])),
    ])
}

#[test]
fn quickstart_bills_the_sample_to_the_cent_its_readme_comes_to() {
    let place = Place::on_the_wall_clock();
    let told = place.ok(&["quickstart"]).shows(&SECTIONS).stdout;
    let places: Vec<Option<usize>> = SECTIONS.iter().map(|title| told.find(title)).collect();
    assert!(places.is_sorted(), "the sections stand in order");

    let mut expected = expected();
    for invoice in invoices(&place) {
        let body = &invoice["body"];
        let subscription = body["subscription"].as_str().expect("a subscription");
        let cycle = body["cycle"].as_u64().expect("a cycle");
        let key = expected.keys().find(|(id, number)| *id == subscription && *number == cycle);
        let key = *key.unwrap_or_else(|| panic!("nobody expects {subscription} {cycle}"));
        let bill = expected.remove(&key).expect("it was just there");
        let amounts = |list: &Value| -> Vec<BigRational> {
            let list = list.as_array().expect("a list");
            list.iter().map(|line| amount(&line["amount"])).collect()
        };
        let mut charged: Vec<BigRational> =
            amounts(&body["lines"]).into_iter().filter(|line| *line != exactly("0")).collect();
        let mut lines = bill.lines;
        charged.sort();
        lines.sort();
        assert_eq!(charged, lines, "lines of {key:?}, in whatever order they stand");
        assert_eq!(amount(&body["subtotal"]), bill.subtotal, "subtotal of {key:?}");
        assert_eq!(amounts(&body["taxes"]), bill.taxes, "taxes of {key:?}");
        assert_eq!(amount(&body["total"]), bill.total, "total of {key:?}");
        assert!(told.contains(invoice["number"].as_str().expect("a number")));
    }
    assert!(expected.is_empty(), "no invoice for {:?}", expected.keys());
    place.assert_sound();
}

#[test]
fn quickstart_counts_the_odd_lines_of_the_sample() {
    let place = Place::on_the_wall_clock();
    let report = place.json(&["quickstart"]);
    let file = serde_json::json!([report["ingest"]]);
    assert_eq!(receipts(&file), [18_206 - 40 - 2, 40, 2, 0]);
    let unbilled = report["unbilled"].as_array().expect("a list");
    let has = |customer: &str, kind: &str, events: u64| {
        unbilled.iter().any(|group| {
            group["customer"] == customer
                && group["event_type"] == kind
                && group["events"] == events
        })
    };
    assert!(has("ghost-works", "api.request", 1), "the unknown customer");
    assert!(has("nordlicht", "gpu.lease", 2), "the type that no meter reads");
    assert!(has("acme-maps", "bandwidth.transfer", 1), "the transfer without its bytes");
    assert_eq!(amount(&report["invoice"]["body"]["lines"][0]["amount"]), exactly("1297.95"));
}

#[test]
fn quickstart_a_second_time_changes_nothing() {
    let place = Place::on_the_wall_clock();
    place.ok(&["quickstart"]);
    let state = || {
        let journal = place.count("SELECT count(*) FROM journal");
        (place.ok(&["invoice", "export", "--format", "jsonl"]).stdout, place.events(), journal)
    };
    let before = state();
    place.ok(&["quickstart"]).shows(&["0 inserted, 18204 duplicate, 2 conflict, 0 rejected"]);
    let after = state();
    assert_eq!(before.1, after.1, "events");
    assert_eq!(before.2, after.2, "entries of the journal");
    assert_eq!(before.0, after.0, "invoices and their numbers");
    let numbers: Vec<String> = invoices(&place)
        .iter()
        .map(|invoice| invoice["number"].as_str().expect("a number").to_owned())
        .collect();
    let mut sorted = numbers.clone();
    sorted.sort();
    let wanted: Vec<String> = (1..=9).map(|n| format!("INV-2026-{n:06}")).collect();
    assert_eq!(sorted, wanted, "numbers without a gap");
    place.assert_sound();
}

#[test]
fn the_month_of_the_quickstart_runs_by_itself_and_is_told_once() {
    let place = Place::on_the_wall_clock();
    let mails = |told: Value| -> Vec<(String, String, String)> {
        let text = |mail: &Value, name: &str| mail[name].as_str().expect("text").to_owned();
        let mails = told["mails"].as_array().expect("mails").iter();
        mails.map(|mail| (text(mail, "at"), text(mail, "to"), text(mail, "subject"))).collect()
    };
    let played = mails(place.ok(&["quickstart", "--json"]).json());
    let of = |who: &str, what: &str| -> Vec<&str> {
        let found =
            played.iter().filter(|(_, to, subject)| to.contains(who) && subject.contains(what));
        found.map(|(at, ..)| at.as_str()).collect()
    };
    // 112 calls in six hours: the 10,000 that are included are used up within the 90th, on the 23rd.
    for percent in ["75 %", "80 %", "90 %", "95 %", "100 %"] {
        assert_eq!(of("mangrove", percent).len(), 1, "{percent} is told once: {played:?}");
        assert_eq!(of("harbour", percent).len(), 0, "{percent}: {played:?}");
    }
    assert!(of("mangrove", "100 %")[0].starts_with("2026-10-23"));
    assert!(of("mangrove", "around 23 October")[0] < "2026-10-10", "it was foreseen");
    assert_eq!(of("finance", "waits for approval").len(), 1);
    // 124 times six hours in October.
    let cents = 124 * 112 - 10_000;
    let total = format!("${}.{:02}", cents / 100, cents % 100);
    assert_eq!(of("mangrove", &format!("for {total}")).len(), 1, "{played:?}");
    assert_eq!(of("mangrove", &format!("received {total}")).len(), 1, "{played:?}");
    assert_eq!(mails(place.ok(&["quickstart", "--json"]).json()), played, "nothing is sent again");
}
