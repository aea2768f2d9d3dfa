//! `rate`: lines per second and core for a graduated charge of four tiers, all entered.

use std::time::Instant;

use counterfoil_rating::{Charge, ChargeSpec, RateContext, Usage, rate};
use counterfoil_types::{Currency, Exact, Rounding};

use super::figure::{Figure, per_second};
use crate::Outcome;

const GOAL: u64 = 1_000_000;

pub(super) fn run(count: u64) -> Outcome<String> {
    let spec: ChargeSpec = serde_json::from_str(
        r#"{"key":"c","meter":"m","model":"graduated","included":"1000","tiers":[
            {"up_to":"10000","unit_price":"0.01"},{"up_to":"100000","unit_price":"0.008"},
            {"up_to":"1000000","unit_price":"0.0055"},{"unit_price":"0.00375"}]}"#,
    )?;
    let charge = Charge::try_from(&spec)?;
    let context = RateContext::new(Currency::USD, Rounding::HalfAwayFromZero);
    let mut cents = 0i128;
    let start = Instant::now();
    for number in 0..count {
        let usage = Usage::units(Exact::from(1_500_000 + number));
        cents += rate(&charge, &usage, &context)?.amount.minor_units();
    }
    let value = per_second(count, start.elapsed());
    Figure {
        bench: "rate",
        value,
        unit: "lines/s on one core",
        baseline: Some(("goal", GOAL)),
        goal: ">= 1,000,000 lines/s per core (4 tiers, included units, parts settled)",
        details: vec![("sum rated".into(), format!("{cents} cents over {count} lines"))],
    }
    .report()
}
