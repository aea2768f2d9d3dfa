//! A second opinion on money: exact fractions out of `num-rational`, rounding and taxes written
//! anew. Nothing in here uses a type of the engine.

#![cfg(test)]

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Pow, Signed, Zero};

/// A fraction from a decimal text.
pub(crate) fn exactly(text: &str) -> BigRational {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits: BigInt = format!("{whole}{decimals}").parse().expect("a decimal");
    let places = u32::try_from(decimals.len()).expect("few decimals");
    BigRational::new(digits, Pow::pow(BigInt::from(10), places))
}

/// Rounded to cents, half away from zero.
pub(crate) fn cents(value: &BigRational) -> BigRational {
    let hundred = BigRational::from_integer(BigInt::from(100));
    let half = BigRational::new(BigInt::from(1), BigInt::from(2));
    let magnitude = (value.abs() * &hundred + half).floor() / hundred;
    if value.is_negative() { -magnitude } else { magnitude }
}

/// Price of `units` in graduated tiers: inclusive upper bounds, the last one open. The first
/// `included` units cost nothing and count towards the bounds.
pub(crate) fn graduated(
    units: &BigRational,
    included: &BigRational,
    tiers: &[(Option<&str>, &str)],
) -> BigRational {
    let (mut price, mut from) = (BigRational::zero(), BigRational::zero());
    for (bound, unit_price) in tiers {
        let to = match bound.map(exactly) {
            Some(bound) if bound < *units => bound,
            _ => units.clone(),
        };
        let start = if from < *included { included } else { &from };
        if to > *start {
            price += (&to - start) * exactly(unit_price);
        }
        from = to;
    }
    price
}

/// Units beyond the included ones.
pub(crate) fn beyond(units: &BigRational, included: &str) -> BigRational {
    let rest = units - exactly(included);
    if rest.is_negative() { BigRational::zero() } else { rest }
}

/// Total of an invoice: each line rounded, their sum, each tax on the sum rounded.
pub(crate) struct Bill {
    pub(crate) lines: Vec<BigRational>,
    pub(crate) subtotal: BigRational,
    pub(crate) taxes: Vec<BigRational>,
    pub(crate) total: BigRational,
}

/// Adds up a bill from exact lines and tax rates in percent.
pub(crate) fn bill(exact_lines: &[BigRational], percents: &[&str]) -> Bill {
    let lines: Vec<BigRational> = exact_lines.iter().map(cents).collect();
    let subtotal: BigRational = lines.iter().sum();
    let taxes: Vec<BigRational> = percents
        .iter()
        .map(|percent| cents(&(&subtotal * exactly(percent) / exactly("100"))))
        .collect();
    let total = &subtotal + taxes.iter().sum::<BigRational>();
    Bill { lines, subtotal, taxes, total }
}

/// A fraction from a JSON text, or from the amount of a JSON money.
#[track_caller]
pub(crate) fn amount(value: &serde_json::Value) -> BigRational {
    let text = value.as_str().or_else(|| value["amount"].as_str());
    exactly(text.unwrap_or_else(|| panic!("{value} is no amount")))
}

#[test]
fn the_second_opinion_rounds_half_away_from_zero() {
    for (value, rounded) in [
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("1.004", "1"),
        ("-1.0049", "-1"),
        ("2.675", "2.68"),
    ] {
        assert_eq!(cents(&exactly(value)), exactly(rounded), "{value}");
    }
    let tiers = [(Some("10"), "1"), (None, "0.5")];
    assert_eq!(graduated(&exactly("10.5"), &exactly("0"), &tiers), exactly("10.25"));
    assert_eq!(graduated(&exactly("10.5"), &exactly("4"), &tiers), exactly("6.25"));
    assert_eq!(graduated(&exactly("12"), &exactly("11"), &tiers), exactly("0.5"));
    assert_eq!(graduated(&exactly("3"), &exactly("11"), &tiers), exactly("0"));
}
