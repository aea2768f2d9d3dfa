//! Conformance with worked examples of the field: each case is a question with its answer,
//! restated from the tests and docs of other billing engines. The adapters here only translate;
//! every answer is computed by the public functions of the product crates.
//!
//! The file lies outside of the repository: `COUNTERFOIL_VECTORS` names it, else it is looked for
//! beside the checkout. Without it the test says so and passes.
//!
//! A `core` or `convention` case that deviates must stand in [`DEVIATIONS`] with its reason, and
//! one that stands there must deviate: the list can only shrink by itself. `peer` cases (quirks of
//! one engine) are counted, never judged.

mod aggregate;
mod case;
mod compare;
mod credit;
mod money;
mod price;
mod split;
mod time;

use std::{collections::BTreeMap, path::PathBuf};

use case::{Answer, Case, Miss};
use compare::differences;

/// Cases that deviate on purpose: id and reason. See `docs/conventions.md`.
const DEVIATIONS: &[(&str, &str)] = &[];

fn locate() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("COUNTERFOIL_VECTORS") {
        return Some(PathBuf::from(path));
    }
    let relative = "../shared/vectors/examples.jsonl";
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|folder| folder.join(relative)).find(|path| path.is_file())
}

fn answer(case: &Case) -> Answer {
    match case.text("op") {
        "price" => price::price(case),
        "progressive" => split::progressive(case),
        "prorated_graduated" => split::prorated_graduated(case),
        "round" => money::round(case),
        "sum_rounded" => money::sum_rounded(case),
        "allocate" => money::allocate(case),
        "discount" => money::discount(case),
        "distribute_discount" => money::distribute_discount(case),
        "coupon_breakdown" => money::coupon_breakdown(case),
        "tax" => money::tax(case),
        "invoice" => money::invoice(case),
        "credits" => credit::credits(case),
        "grant_burn" => credit::grant_burn(case),
        "commitment" => credit::commitment(case),
        "true_up" => credit::true_up(case),
        "cap_credit" => credit::cap_credit(case),
        "period_at" => time::period_at(case),
        "prev_boundary" => time::prev_boundary(case),
        "add" => time::add(case),
        "days" => time::days(case),
        "local_day" => time::local_day(case),
        "billing_day" => time::billing_day(case),
        "first_billing_day" => time::first_billing_day(case),
        "prorate" => time::prorate(case),
        "bcd_cycles" => time::bcd_cycles(case),
        "proration_ratio" => time::proration_ratio(case),
        "aggregate" => aggregate::aggregate(case),
        other => Err(Miss::Skip(format!("operation {other}"))),
    }
}

/// What became of the cases of an area.
#[derive(Default)]
struct Score {
    passed: u32,
    failed: u32,
    listed: u32,
    skipped: u32,
    peer_passed: u32,
    peer_failed: u32,
}

/// `None` when the case passes, the difference when it does not.
fn judge(case: &Case) -> Result<Option<String>, String> {
    let expected = case.0.get("expected").cloned().unwrap_or_default();
    match answer(case) {
        Err(Miss::Skip(reason)) => Err(reason),
        // A refusal is the right answer only where the case asks for one.
        Err(Miss::Fail(error)) if expected.get("error").is_none() => Ok(Some(error)),
        Err(Miss::Fail(_)) => Ok(None),
        Ok(actual) => {
            Ok(differences("", &expected, &actual).into_iter().reduce(|mut all, next| {
                all.push_str("; ");
                all.push_str(&next);
                all
            }))
        }
    }
}

#[test]
fn worked_examples_of_the_field() {
    let Some(path) = locate() else {
        println!("skipped: no vector file beside the checkout (COUNTERFOIL_VECTORS names one)");
        return;
    };
    let text = std::fs::read_to_string(&path).unwrap();
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut skipped: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let case = Case(serde_json::from_str(line).unwrap());
        let score = scores.entry(case.text("area").to_owned()).or_default();
        let id = case.text("id").to_owned();
        let listed = DEVIATIONS.iter().find(|(listed, _)| *listed == id);
        let judged = case.text("profile") != "peer";
        match (judge(&case), listed) {
            (Err(reason), None) => {
                score.skipped += 1;
                *skipped.entry(reason).or_default() += 1;
            }
            (Ok(outcome), None) if !judged => match outcome {
                None => score.peer_passed += 1,
                Some(difference) => {
                    score.peer_failed += 1;
                    println!("peer {id}: {difference}");
                }
            },
            (Ok(None), None) => score.passed += 1,
            (Ok(Some(difference)), None) => {
                score.failed += 1;
                wrong.push(format!("{id}: {difference}"));
            }
            (Ok(Some(_)), Some(_)) => score.listed += 1,
            (Ok(None) | Err(_), Some((_, reason))) => {
                score.failed += 1;
                wrong.push(format!(
                    "{id} is listed as deviating ({reason}) but does not: remove it"
                ));
            }
        }
    }
    println!(
        "{:<14} {:>6} {:>6} {:>6} {:>7} {:>11}",
        "area", "passed", "failed", "listed", "skipped", "peer"
    );
    for (area, score) in &scores {
        let peer = format!("{}/{}", score.peer_passed, score.peer_passed + score.peer_failed);
        println!(
            "{area:<14} {:>6} {:>6} {:>6} {:>7} {peer:>11}",
            score.passed, score.failed, score.listed, score.skipped
        );
    }
    for (reason, count) in &skipped {
        println!("skipped {count}: {reason}");
    }
    assert!(wrong.is_empty(), "{} cases deviate:\n{}", wrong.len(), wrong.join("\n"));
}
