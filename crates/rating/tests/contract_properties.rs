//! Properties that hold whatever a contract says: with units and currencies, licences, units that
//! shrink with the period, phases and time of day, parts add up and explain themselves, more usage
//! is never cheaper, a rate is exact, and any decimal is priced or refused.

#![cfg(test)]

use counterfoil_rating::{
    Cell, Overrides, PartKind, Plan, PlanSpec, Position, RateContext, RatedLine, Rates, Terms,
    Usage, bill_in_phases, in_window, price, price_part, rate,
};
use counterfoil_types::{Currency, Exact, Rounding};
use proptest::prelude::*;
use serde_json::{Value, json};

const MODE: Rounding = Rounding::HalfAwayFromZero;

fn exact(text: &str) -> Exact {
    Exact::parse(text).unwrap()
}

/// `value` thousandths as decimal text.
fn milli(value: i64) -> String {
    Exact::ratio(i128::from(value), 1000).unwrap().to_string()
}

fn micro(value: i64) -> String {
    Exact::ratio(i128::from(value), 1_000_000).unwrap().to_string()
}

/// What the book says a credit and a euro are worth.
fn rates(unit: &str, rate: &str) -> Rates {
    Rates {
        units: [("credits".to_owned(), unit.parse().unwrap())].into(),
        currencies: vec![(Currency::EUR, Some(rate.parse().unwrap()))],
    }
}

fn plan(charge: Value) -> PlanSpec {
    serde_json::from_value(json!({
        "key": "p", "interval": "month",
        "phase": [{"key": "trial", "days": 7, "trial": true},
                  {"key": "intro", "days": 7, "discounts": [{"percent": "33.3"}]},
                  {"key": "open"}],
        "charge": [charge],
    }))
    .unwrap()
}

/// A charge of each model that may carry the new keys; `model` from 0 to 9. Volume and stair-step
/// prices may fall with usage and come last.
fn charge(model: usize, numbers: (i64, i64, i64, i64), around: [bool; 4]) -> Value {
    let (price, bound, fee, included) = numbers;
    let [licensed, prorate_units, credits, discounted] = around;
    let tiers = json!([
        {"up_to": milli(bound), "unit_price": micro(price), "flat_fee": milli(fee)},
        {"up_to": milli(bound + 7000), "unit_price": micro(fee)},
        {"unit_price": micro(price), "flat_fee": milli(fee)},
    ]);
    let mut spec = match model {
        0 => json!({"model": "per_unit", "unit_price": micro(price)}),
        1 => json!({"model": "graduated", "tiers": tiers}),
        2 => json!({"model": "package", "package_size": milli(bound), "package_price": milli(fee)}),
        3 => {
            json!({"model": "capacity", "amount": milli(fee), "capacity": milli(bound), "unit_price": micro(price)})
        }
        4 => json!({"model": "tiered_block", "tiers": [
            {"block_size": milli(bound), "max_blocks": "3", "block_price": milli(fee)},
            {"block_size": "0.7", "block_price": micro(price)}]}),
        5 => json!({"model": "graduated_percentage", "tiers": [
            {"up_to": milli(bound), "rate": micro(price)}, {"rate": micro(fee)}]}),
        6 => json!({"model": "volume", "tiers": tiers}),
        _ => json!({"model": "stair_step", "tiers": [
            {"up_to": milli(bound), "flat_fee": milli(fee)}, {"flat_fee": micro(price)}]}),
    };
    spec["key"] = json!("c");
    if licensed && !(3..6).contains(&model) {
        spec["licensed"] = json!(true);
    } else {
        spec["meter"] = json!("m");
        spec["prorate_units"] = json!(prorate_units && model != 0);
    }
    if model != 3 {
        spec["included"] = json!(milli(included));
    }
    if credits {
        spec["priced_in"] = json!("credits");
    }
    if discounted {
        spec["discounts"] = json!([{"percent": "12.5"}, {"amount": "3"}]);
        spec["maximum"] = json!("700");
    }
    spec["minimum"] = json!("2");
    spec
}

type Numbers = (i64, i64, i64, i64);

fn numbers() -> impl Strategy<Value = Numbers> {
    (0i64..5_000_000, 1i64..40_000, 0i64..9_000, 0i64..20_000)
}

/// Price of a unit and rate, in millionths.
fn worth() -> impl Strategy<Value = (String, String)> {
    (1i64..3_000_000, 1i64..200_000_000).prop_map(|(unit, rate)| (micro(unit), micro(rate)))
}

fn phases() -> impl Strategy<Value = Option<&'static str>> {
    proptest::sample::select(vec![None, Some("trial"), Some("intro"), Some("open")])
}

fn resolved(
    spec: &PlanSpec,
    rates: &Rates,
    currency: Option<Currency>,
    phase: Option<&str>,
) -> Plan {
    let terms = Terms { currency, rates, phase, ..Terms::default() };
    spec.resolve(&terms).unwrap()
}

/// Parts sum to the line, exactly and rounded, and each with a price is units × price × factor.
fn adds_up_and_explains(line: &RatedLine) -> Result<(), TestCaseError> {
    let rounded: Exact = line.parts.iter().map(|part| &part.amount).sum();
    let unrounded: Exact = line.parts.iter().map(|part| &part.exact).sum();
    prop_assert_eq!(rounded, line.amount.exact());
    prop_assert_eq!(&unrounded, &line.exact);
    let factor = line.factor.clone().unwrap_or(Exact::ONE);
    for part in &line.parts {
        let Some(price) = part.price else { continue };
        let percent = if part.kind == PartKind::Percentage { Exact::unit(2) } else { Exact::ONE };
        let product = part.quantity.mul(&price.exact()).mul(&percent).mul(&factor);
        prop_assert_eq!(&product, &part.exact);
    }
    Ok(())
}

/// Any decimal a price book or an event can hold.
fn any_decimal() -> impl Strategy<Value = String> {
    ("[1-9][0-9]{0,27}", 0usize..=28).prop_map(|(digits, scale)| {
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        format!("{whole}.{fraction}").trim_end_matches('.').to_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parts_of_a_contract_sum_to_the_line_and_explain_it(
        model in 0usize..8, numbers in numbers(), around in any::<[bool; 4]>(), worth in worth(),
        phase in phases(), euro in any::<bool>(), usage in -90_000i64..300_000, days in 1i64..=62,
    ) {
        let spec = plan(charge(model, numbers, around));
        let currency = euro.then_some(Currency::EUR);
        let plan = resolved(&spec, &rates(&worth.0, &worth.1), currency, phase);
        let part = Exact::ratio(days.into(), 31).unwrap();
        let context = RateContext::new(currency.unwrap_or(Currency::USD), MODE).prorated(part);
        let line = rate(&plan.charges[0], &Usage::units(exact(&milli(usage))), &context).unwrap();
        adds_up_and_explains(&line)?;
        if phase == Some("trial") {
            prop_assert!(line.exact.is_zero() && line.amount.is_zero());
        }
    }

    #[test]
    fn more_of_a_contract_is_never_cheaper(
        model in 0usize..6, numbers in numbers(), around in any::<[bool; 4]>(), worth in worth(),
        phase in phases(), usage in 0i64..300_000, more in 0i64..100_000, days in 1i64..=31,
    ) {
        let spec = plan(charge(model, numbers, around));
        let plan = resolved(&spec, &rates(&worth.0, &worth.1), Some(Currency::EUR), phase);
        let part = Exact::ratio(days.into(), 31).unwrap();
        let context = RateContext::new(Currency::EUR, MODE).prorated(part);
        let line = |usage: i64| rate(&plan.charges[0], &Usage::units(exact(&milli(usage))), &context).unwrap();
        let (less, more) = (line(usage), line(usage + more));
        prop_assert!(less.exact <= more.exact);
        prop_assert!(less.amount.exact() <= more.amount.exact());
    }

    /// A price in another currency is the book's price times the rate, to the last digit.
    #[test]
    fn a_rate_is_exact(
        model in 0usize..8, numbers in numbers(), around in any::<[bool; 4]>(), worth in worth(),
        usage in 0i64..300_000, days in 1i64..=31,
    ) {
        let spec = plan(charge(model, numbers, around));
        let rates = rates(&worth.0, &worth.1);
        let (dollars, euros) = (
            resolved(&spec, &rates, None, None), resolved(&spec, &rates, Some(Currency::EUR), None),
        );
        let part = Exact::ratio(days.into(), 31).unwrap();
        let usage = Usage::units(exact(&milli(usage)));
        let of = |plan: &Plan| price(&plan.charges[0], &usage, &part).unwrap();
        let (dollars, euros) = (of(&dollars), of(&euros));
        prop_assert_eq!(dollars.exact.mul(&exact(&worth.1)), euros.exact);
        prop_assert_eq!(dollars.units, euros.units);
        // And one credit is its price, so one dollar of credits is one dollar.
        let one = plan(json!({"key": "c", "meter": "m", "model": "per_unit", "unit_price": "1", "priced_in": "credits"}));
        let one = resolved(&one, &rates, Some(Currency::EUR), None);
        let credits = exact("1").div(&exact(&worth.0)).unwrap();
        let dollar = price(&one.charges[0], &Usage::units(credits), &Exact::ONE).unwrap();
        prop_assert_eq!(dollar.exact, exact(&worth.1));
    }

    #[test]
    fn invoices_inside_a_period_sum_to_the_whole_of_a_contract(
        model in 0usize..8, numbers in numbers(), around in any::<[bool; 4]>(), worth in worth(),
        phase in phases(), steps in proptest::collection::vec(0i64..80_000, 2..5), days in 1i64..=31,
    ) {
        let mut spec = charge(model, numbers, around);
        let plan = resolved(&plan(spec.clone()), &rates(&worth.0, &worth.1), Some(Currency::EUR), phase);
        let part = Exact::ratio(days.into(), 31).unwrap();
        let context = RateContext::new(Currency::EUR, MODE).prorated(part.clone());
        let mut level = 0;
        let running: Vec<Usage> = steps.iter().map(|step| {
            level += step;
            Usage::units(exact(&milli(level)))
        }).collect();
        let whole = rate(&plan.charges[0], running.last().unwrap(), &context).unwrap();
        let billed = bill_in_phases(&plan.charges[0], &running, &context).unwrap();
        prop_assert_eq!(billed.iter().map(|phase| &phase.total).sum::<Exact>(), whole.amount.exact());

        // Exact parts: without discounts and bounds, which look at each part.
        if !around[3] && phase.is_none() {
            spec.as_object_mut().unwrap().remove("minimum");
            let plan = resolved(&self::plan(spec), &rates(&worth.0, &worth.1), Some(Currency::EUR), None);
            let charge = &plan.charges[0];
            let (mut before, mut total) = (Usage::default(), Exact::ZERO);
            for (at, after) in running.iter().enumerate() {
                let position = match at {
                    0 => Position::First,
                    at if at + 1 == running.len() => Position::Last,
                    _ => Position::Middle,
                };
                // A fee in advance is known at once: its quantity is not one that grows.
                let fee = !charge.is_metered();
                let after = if fee { running.last().unwrap() } else { after };
                let due = price_part(charge, &before, after, position, &total, &part).unwrap();
                total = total.add(&due.exact);
                before = after.clone();
            }
            prop_assert_eq!(total, price(charge, running.last().unwrap(), &part).unwrap().exact);
        }
    }

    #[test]
    fn any_decimal_in_a_contract_is_priced_or_refused(
        price_text in any_decimal(), bound in any_decimal(), unit in any_decimal(), rate_text in any_decimal(),
        usage in any_decimal(), negative in any::<bool>(), model in 0usize..5, phase in phases(),
        numerator in 0i64..1_000_000, denominator in 1i64..1_000_000,
    ) {
        let charge = match model {
            0 => json!({"model": "per_unit", "unit_price": price_text, "included": bound, "prorate_units": true}),
            1 => json!({"model": "graduated", "prorate_units": true, "minimum": price_text, "tiers": [
                {"up_to": bound, "unit_price": price_text, "flat_fee": price_text}, {"unit_price": bound}]}),
            2 => json!({"model": "package", "package_size": bound, "package_price": price_text, "maximum": bound}),
            3 => json!({"model": "capacity", "amount": price_text, "capacity": bound, "unit_price": price_text, "prorate_units": true}),
            _ => json!({"model": "time_of_day", "default_unit_price": bound, "windows": [
                {"name": "w", "from": "01:00", "to": "02:00", "unit_price": price_text}]}),
        };
        let mut charge = charge;
        charge["key"] = json!("c");
        charge["priced_in"] = json!("credits");
        if model == 2 { charge["licensed"] = json!(true); } else { charge["meter"] = json!("m"); }
        let mut spec = plan(charge);
        // Money of the plan itself is converted and must fit, which long numbers seldom do.
        spec.minimum = (numerator % 4 == 0).then(|| price_text.parse().unwrap());
        let rates = rates(&unit, &rate_text);
        let overrides: Overrides = serde_json::from_value(json!({"plan": {"maximum": bound}})).unwrap();
        for overrides in [Overrides::new(), overrides] {
            let terms = Terms { currency: Some(Currency::EUR), rates: &rates, phase, overrides: &overrides };
            let Ok(plan) = spec.resolve(&terms) else { continue };
            let units = if negative { exact(&usage).neg() } else { exact(&usage) };
            let cell = Cell { dimensions: in_window("w"), units: units.clone() };
            let usage = if model == 4 { Usage::cells(vec![cell]) } else { Usage::units(units) };
            let part = Exact::ratio(numerator.into(), denominator.into()).unwrap();
            let context = RateContext::new(Currency::EUR, MODE).prorated(part);
            if let Ok(line) = rate(&plan.charges[0], &usage, &context) {
                adds_up_and_explains(&line)?;
            }
        }
    }
}
