//! Properties of rating that hold for any charge and any usage: parts add up, more usage is never
//! cheaper where prices are monotone, tiers agree with a naive count, invoices inside a period sum
//! to the whole, and what does not fit is refused instead of rounded.

#![cfg(test)]

use counterfoil_rating::{
    Cell, Charge, ChargeSpec, Position, RateContext, RatedLine, Usage, bill_in_phases, delta,
    price, price_part, rate,
};
use counterfoil_types::{Currency, Exact, Rounding};
use proptest::prelude::*;
use serde_json::{Value, json};

const MODE: Rounding = Rounding::HalfAwayFromZero;

fn exact(text: &str) -> Exact {
    Exact::parse(text).unwrap()
}

fn charge(spec: Value) -> Charge {
    let spec: ChargeSpec = serde_json::from_value(spec).unwrap();
    Charge::try_from(&spec).unwrap()
}

/// `value` thousandths as decimal text.
fn milli(value: i64) -> String {
    Exact::ratio(i128::from(value), 1000).unwrap().to_string()
}

fn micro(value: i64) -> String {
    Exact::ratio(i128::from(value), 1_000_000).unwrap().to_string()
}

/// Rising bounds (thousandths) with a price (millionths) and a fee (thousandths) each.
fn tiers() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
    proptest::collection::vec(
        (1i64..40_000, 0i64..3_000_000, prop_oneof![Just(0), 0i64..9_000]),
        1..6,
    )
    .prop_map(|mut tiers| {
        let mut bound = 0;
        for tier in &mut tiers {
            bound += tier.0;
            tier.0 = bound;
        }
        tiers
    })
}

fn tier_json(tiers: &[(i64, i64, i64)], price_key: &str) -> Value {
    let last = tiers.len() - 1;
    let tier = |(at, (bound, price, fee)): (usize, &(i64, i64, i64))| {
        let mut tier = json!({price_key: micro(*price), "flat_fee": milli(*fee)});
        if at < last {
            tier["up_to"] = json!(milli(*bound));
        }
        tier
    };
    tiers.iter().enumerate().map(tier).collect()
}

/// A charge of each model that prices a single total, with everything that may stand around it.
fn charges() -> impl Strategy<Value = Charge> {
    let numbers = (0i64..5_000_000, 1i64..30_000, 0i64..9_000, 0i64..20_000);
    let around = (
        proptest::option::of(0i64..60_000),
        proptest::option::of(60_000i64..90_000),
        proptest::collection::vec((any::<bool>(), 0i64..90_000), 0..3),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    );
    (0usize..9, tiers(), numbers, around).prop_map(|(model, tiers, numbers, around)| {
        let (price, size, amount, included) = numbers;
        let (minimum, maximum, discounts, (clamp, zero, after, down, late)) = around;
        let mut spec = match model {
            0 => json!({"model": "per_unit", "unit_price": micro(price)}),
            1 => json!({"model": "graduated", "tiers": tier_json(&tiers, "unit_price")}),
            2 => json!({"model": "volume", "tiers": tier_json(&tiers, "unit_price")}),
            3 => json!({"model": "graduated_percentage", "tiers": tier_json(&tiers, "rate")}),
            4 => json!({"model": "package", "package_size": milli(size), "package_price": milli(amount),
                        "partial_package": if down { "down" } else { "up" }}),
            5 => json!({"model": "capacity", "amount": milli(amount), "capacity": milli(size),
                        "unit_price": micro(price)}),
            6 => json!({"model": "dynamic", "unit_price": micro(price)}),
            7 => json!({"model": "tiered_block", "block_policy": if down { "top_tier" } else { "all_tiers" },
                        "tiers": [{"block_size": milli(size), "max_blocks": "3", "block_price": milli(amount)},
                                  {"block_size": milli(size), "block_price": micro(price)}]}),
            _ => json!({"model": "flat", "amount": micro(price)}),
        };
        spec["key"] = json!("c");
        if model != 8 {
            spec["meter"] = json!("m");
            spec["negative_usage"] = json!(if clamp { "clamp_to_zero" } else { "credit" });
            if after {
                spec["conversion"] = json!({"divide": "7", "decimals": 2, "rounding": "ceiling"});
            }
        }
        if (1..4).contains(&model) {
            spec["charge_first_tier_at_zero"] = json!(zero);
            spec["tiers_start_after_included"] = json!(after);
        }
        if !matches!(model, 5 | 8) {
            spec["included"] = json!(milli(included));
        }
        if let Some(minimum) = minimum {
            spec["minimum"] = json!(milli(minimum));
        }
        if let Some(maximum) = maximum {
            spec["maximum"] = json!(milli(maximum));
        }
        let bounded = minimum.is_some() || maximum.is_some();
        spec["bounds_after_discounts"] = json!(late && bounded && !discounts.is_empty());
        spec["discounts"] = discounts
            .into_iter()
            .map(|(percent, value)| json!({(if percent { "percent" } else { "amount" }): milli(value)}))
            .collect();
        charge(spec)
    })
}

fn currencies() -> impl Strategy<Value = Currency> {
    prop_oneof![Just("USD"), Just("JPY"), Just("KWD"), Just("CLF")]
        .prop_map(|code| code.parse().unwrap())
}

fn adds_up(line: &RatedLine) -> Result<(), TestCaseError> {
    let rounded: Exact = line.parts.iter().map(|part| &part.amount).sum();
    let unrounded: Exact = line.parts.iter().map(|part| &part.exact).sum();
    prop_assert_eq!(rounded, line.amount.exact());
    prop_assert_eq!(&unrounded, &line.exact);
    let dp = line.amount.currency().decimals();
    prop_assert_eq!(line.exact.round(dp, MODE), line.amount.exact());
    for part in &line.parts {
        prop_assert!(part.amount.sub(&part.exact).abs() < Exact::unit(dp).mul(&2i64.into()));
    }
    Ok(())
}

/// Tiers counted the slow way: usage is cut into thousandths, each priced by the tier that holds
/// its upper end, in whole numbers of 10^-9.
fn naive_graduated(tiers: &[(i64, i64, i64)], usage: i64) -> i128 {
    let tier_of = |unit: i64| {
        tiers
            .iter()
            .position(|(bound, ..)| unit <= *bound)
            .unwrap_or(tiers.len())
            .min(tiers.len() - 1)
    };
    let mut total = 0i128;
    let mut entered = None;
    for unit in 1..=usage {
        let tier = tier_of(unit);
        total += i128::from(tiers[tier].1);
        if entered.is_none_or(|last| last < tier) {
            entered = Some(tier);
            total += i128::from(tiers[tier].2) * 1_000_000;
        }
    }
    total
}

/// The product of two whole numbers of any length, digit by digit.
fn schoolbook(a: &str, b: &str) -> String {
    let digits = |text: &str| text.bytes().rev().map(|d| u32::from(d - b'0')).collect::<Vec<_>>();
    let (a, b) = (digits(a), digits(b));
    let mut out = vec![0u32; a.len() + b.len()];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let sum = out[i + j] + x * y;
            out[i + j] = sum % 10;
            out[i + j + 1] += sum / 10;
        }
    }
    for at in 0..out.len() - 1 {
        out[at + 1] += out[at] / 10;
        out[at] %= 10;
    }
    out.iter().rev().map(u32::to_string).collect()
}

/// Any decimal a price book or an event can hold.
fn any_decimal() -> impl Strategy<Value = String> {
    ("[1-9][0-9]{0,27}", 0usize..=28, any::<bool>()).prop_map(|(digits, scale, negative)| {
        let scale = scale.min(28);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let sign = if negative { "-" } else { "" };
        let text = format!("{sign}{whole}.{fraction}");
        text.trim_end_matches('.').to_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parts_sum_to_the_line(
        charge in charges(), currency in currencies(), usage in -200_000i64..400_000, days in 1i64..=31,
    ) {
        let fraction = Exact::ratio(i128::from(days), 31).unwrap();
        let context = RateContext::new(currency, MODE).prorated(fraction);
        let line = rate(&charge, &Usage::units(exact(&milli(usage))), &context).unwrap();
        adds_up(&line)?;
    }

    #[test]
    fn transactions_and_cells_sum_to_the_line(
        values in proptest::collection::vec(0i64..900_000, 0..12),
        rate_percent in 0i64..9_000_000, fee in 0i64..3_000, free in proptest::option::of(0u64..5),
        free_amount in proptest::option::of(0i64..900_000), currency in currencies(),
    ) {
        let context = RateContext::new(currency, MODE);
        let mut spec = json!({"key": "p", "meter": "m", "model": "percentage", "rate": micro(rate_percent),
            "fixed_fee": milli(fee), "per_transaction_min": "0.5", "per_transaction_max": "30"});
        if let Some(free) = free { spec["free_events"] = json!(free); }
        if let Some(amount) = free_amount { spec["free_amount"] = json!(milli(amount)); }
        let values: Vec<Exact> = values.into_iter().map(|value| exact(&milli(value))).collect();
        adds_up(&rate(&charge(spec), &Usage::transactions(values.clone()), &context).unwrap())?;

        let matrix = charge(json!({"key": "x", "meter": "m", "model": "matrix",
            "default_unit_price": micro(rate_percent),
            "rates": [{"when": {"k": "0"}, "unit_price": micro(fee)}]}));
        let cells = values.into_iter().enumerate().map(|(at, units)| Cell {
            dimensions: [("k".to_owned(), (at % 3).to_string())].into(), units,
        });
        adds_up(&rate(&matrix, &Usage::cells(cells.collect()), &context).unwrap())?;
    }

    /// Volume prices are left out: the whole quantity gets cheaper where it enters a cheaper tier,
    /// so they are not monotone by design. So are tiered blocks with the `top_tier` policy.
    #[test]
    fn more_usage_is_never_cheaper(
        tiers in tiers(), model in 0usize..5, size in 1i64..30_000,
        usage in 0i64..300_000, more in 0i64..100_000,
    ) {
        let (bound, price_each, amount) = tiers[0];
        let mut spec = match model {
            0 => json!({"model": "per_unit", "unit_price": micro(price_each)}),
            1 => json!({"model": "graduated", "tiers": tier_json(&tiers, "unit_price")}),
            2 => json!({"model": "package", "package_size": milli(size), "package_price": milli(amount)}),
            3 => json!({"model": "capacity", "amount": milli(amount), "capacity": milli(bound),
                        "unit_price": micro(price_each)}),
            _ => json!({"model": "graduated_percentage", "tiers": tier_json(&tiers, "rate")}),
        };
        spec["key"] = json!("c");
        spec["meter"] = json!("m");
        spec["minimum"] = json!("1");
        spec["maximum"] = json!("5000");
        let charge = charge(spec);
        let context = RateContext::new(Currency::USD, MODE);
        let amount = |usage: i64| rate(&charge, &Usage::units(exact(&milli(usage))), &context).unwrap();
        let (less, more) = (amount(usage), amount(usage + more));
        prop_assert!(less.exact <= more.exact);
        prop_assert!(less.amount.exact() <= more.amount.exact());
    }

    #[test]
    fn tiers_agree_with_a_naive_count(tiers in tiers(), usage in 0i64..120_000) {
        let spec = json!({"key": "c", "meter": "m", "model": "graduated",
                          "tiers": tier_json(&tiers, "unit_price")});
        let line = price(&charge(spec), &Usage::units(exact(&milli(usage))), &Exact::ONE).unwrap();
        let naive = Exact::ratio(naive_graduated(&tiers, usage), 1_000_000_000).unwrap();
        prop_assert_eq!(line.exact, naive);
    }

    #[test]
    fn invoices_inside_a_period_sum_to_the_whole(
        charge in charges(), steps in proptest::collection::vec(0i64..80_000, 1..6),
    ) {
        let context = RateContext::new(Currency::USD, MODE);
        let mut level = 0;
        let running: Vec<Usage> = steps.iter().map(|step| {
            level += step;
            Usage::units(exact(&milli(level)))
        }).collect();
        let phases = bill_in_phases(&charge, &running, &context).unwrap();
        let whole = rate(&charge, running.last().unwrap(), &context).unwrap();
        prop_assert_eq!(phases.iter().map(|phase| &phase.total).sum::<Exact>(), whole.amount.exact());
        for phase in &phases {
            prop_assert_eq!(phase.amount.sub(&phase.discounts).add(&phase.charges), phase.total.clone());
        }
        let late = delta(&whole, &rate(&charge, &running[0], &context).unwrap()).unwrap();
        let parts: Exact = late.parts.iter().map(|part| &part.amount).sum();
        prop_assert_eq!(parts, late.amount.exact());
    }

    /// Without discounts and bounds the exact parts of a split period are the whole, too.
    #[test]
    fn split_parts_sum_to_the_whole(tiers in tiers(), cuts in proptest::collection::vec(0i64..80_000, 2..5), zero in any::<bool>()) {
        let charge = charge(json!({"key": "c", "meter": "m", "model": "graduated",
            "charge_first_tier_at_zero": zero, "tiers": tier_json(&tiers, "unit_price")}));
        let (mut level, mut total, last) = (0i64, Exact::ZERO, cuts.len() - 1);
        for (at, cut) in cuts.iter().enumerate() {
            let before = Usage::units(exact(&milli(level)));
            level += cut;
            let after = Usage::units(exact(&milli(level)));
            let position = if at == 0 { Position::First } else if at == last { Position::Last } else { Position::Middle };
            let part = price_part(&charge, &before, &after, position, &total, &Exact::ONE).unwrap();
            total = total.add(&part.exact);
        }
        let whole = price(&charge, &Usage::units(exact(&milli(level))), &Exact::ONE).unwrap();
        prop_assert_eq!(total, whole.exact);
    }

    #[test]
    fn any_decimal_is_rated_or_refused(
        price_text in any_decimal(), bound in any_decimal(), usage in any_decimal(),
        currency in currencies(), model in 0usize..4,
    ) {
        let (price_text, bound) = (price_text.trim_start_matches('-'), bound.trim_start_matches('-'));
        let mut spec = match model {
            0 => json!({"model": "per_unit", "unit_price": price_text, "included": bound}),
            1 => json!({"model": "graduated", "tiers": [
                {"up_to": bound, "unit_price": price_text, "flat_fee": price_text}, {"unit_price": bound}]}),
            2 => json!({"model": "package", "package_size": bound, "package_price": price_text}),
            _ => json!({"model": "volume", "maximum": bound, "tiers": [
                {"up_to": bound, "unit_price": price_text}, {"unit_price": bound}]}),
        };
        spec["key"] = json!("c");
        spec["meter"] = json!("m");
        spec["conversion"] = json!({"divide": "3"});
        let spec: ChargeSpec = serde_json::from_value(spec).unwrap();
        let Ok(charge) = Charge::try_from(&spec) else { return Ok(()) };
        let usage = Usage::units(exact(&usage));
        if let Ok(line) = rate(&charge, &usage, &RateContext::new(currency, MODE)) {
            adds_up(&line)?;
        }
    }

    #[test]
    fn beyond_28_digits_is_exact_or_refused(a in "[1-9][0-9]{0,27}", b in "[1-9][0-9]{0,27}", scale in 0usize..=28) {
        let divided = format!("{b:0>width$}", width = scale + 1);
        let (whole, fraction) = divided.split_at(divided.len() - scale);
        let unit_price = if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") };
        let charge = charge(json!({"key": "c", "meter": "m", "model": "per_unit", "unit_price": unit_price}));
        let usage = Usage::units(exact(&a));
        let product = exact(&schoolbook(&a, &b)).mul(&Exact::unit(i32::try_from(scale).unwrap()));
        prop_assert_eq!(&price(&charge, &usage, &Exact::ONE).unwrap().exact, &product);
        // The invoice's amount is that product rounded once, or it is refused.
        match rate(&charge, &usage, &RateContext::new(Currency::USD, MODE)) {
            Ok(line) => prop_assert_eq!(line.amount.exact(), product.round(2, MODE)),
            Err(_) => prop_assert!(product.round(2, MODE).to_decimal().is_err()),
        }
    }
}
