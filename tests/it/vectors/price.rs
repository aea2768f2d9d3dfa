//! `price`: a charge is built from the case's params through the same door as a price book's, and
//! rated exactly.

use std::collections::BTreeMap;

use counterfoil_rating::{
    Cell, Charge, ChargeSpec, Part, PartKind, Position, Priced, RateContext, Usage,
    capacity_tiers::CapacityTiers, price as price_exact, price_buckets, price_part, rate,
};
use counterfoil_types::{Exact, Rounding};
use serde_json::{Map, Value, json};

use super::case::{
    Answer, Case, Miss, as_text, exact, fail, optional, round_rule, rounding, shown,
};

/// Answers a `price` case.
pub(super) fn price(case: &Case) -> Answer {
    match case.text("model") {
        "multi_unit_capacity" => multi_unit_capacity(case),
        "multi_unit_tiered_block" => multi_unit_tiered_block(case),
        "bucketed" => {
            let inner = case.need_param("price")?;
            let charge = charge(case, as_text(&inner["model"])?, inner)?;
            let buckets =
                case.list("usage_buckets").iter().map(bucket).collect::<Result<Vec<_>, _>>()?;
            let priced = price_buckets(&charge, &buckets, &Exact::ONE).map_err(fail)?;
            report(case, &priced)
        }
        model => {
            let charge = charge(case, model, case.need("params")?)?;
            let usage = usage(case, model)?;
            let fraction = optional(case.any(&["quantity", "fraction"]))?.unwrap_or(Exact::ONE);
            match part_of_period(case)? {
                Some((position, before, billed)) => {
                    let (before, after) = running_totals(before, usage);
                    let priced = price_part(&charge, &before, &after, position, &billed, &fraction);
                    report(case, &priced.map_err(fail)?)
                }
                None => {
                    let priced = price_exact(&charge, &usage, &fraction).map_err(fail)?;
                    rounded_line_agrees(case, &charge, &usage, &priced, &fraction)?;
                    report(case, &priced)
                }
            }
        }
    }
}

fn bucket(value: &Value) -> Result<Usage, Miss> {
    let units = ["quantity", "value", "usage"].iter().find_map(|key| value.get(key));
    Ok(Usage::units(exact(units.unwrap_or(value))?))
}

/// The rounded line of an invoice must be the exact amount rounded once, its parts adding up
/// (`rate` itself asserts that), or be refused because it does not fit.
fn rounded_line_agrees(
    case: &Case,
    charge: &Charge,
    usage: &Usage,
    priced: &Priced,
    fraction: &Exact,
) -> Result<(), Miss> {
    let mode = Rounding::HalfAwayFromZero;
    let context = RateContext::new(case.currency()?, mode).prorated(fraction.clone());
    let Ok(line) = rate(charge, usage, &context) else { return Ok(()) };
    if line.amount.exact() != priced.exact.round(context.currency.decimals(), mode) {
        return Err(Miss::Fail(format!("line {} is not {} rounded", line.amount, priced.exact)));
    }
    Ok(())
}

/// Usage of the period before and after a part of it.
fn running_totals(before: Exact, part: Usage) -> (Usage, Usage) {
    match &part.transactions {
        Some(values) => {
            let mut all: Vec<Exact> = Some(before).into_iter().filter(|b| !b.is_zero()).collect();
            let before = Usage::transactions(all.clone());
            all.extend(values.iter().cloned());
            (before, Usage::transactions(all))
        }
        None => {
            let units = before.add(&part.units);
            (Usage::units(before), Usage { units, ..part })
        }
    }
}

/// Position in a split period, the running total before it, and what was billed before.
fn part_of_period(case: &Case) -> Result<Option<(Position, Exact, Exact)>, Miss> {
    let position = match case.any(&["line_position"]).and_then(Value::as_str) {
        None | Some("single" | "only") => Position::Only,
        Some("first") => Position::First,
        Some("mid" | "middle") => Position::Middle,
        Some("last") => Position::Last,
        Some(other) => return Err(Miss::Skip(format!("line position {other}"))),
    };
    let before = optional(case.any(&["usage_before"]))?.unwrap_or_default();
    let billed = optional(case.any(&["previously_billed"]))?.unwrap_or_default();
    let whole = position == Position::Only && before.is_zero() && billed.is_zero();
    Ok((!whole).then_some((position, before, billed)))
}

/// The usage of a case.
pub(super) fn usage(case: &Case, model: &str) -> Result<Usage, Miss> {
    let events = case.get("events").and_then(Value::as_array);
    let values = |key: &[&str]| {
        let field = |event: &Value| {
            let found = key.iter().find_map(|key| event.get(key));
            found.map_or(Ok(Exact::ZERO), exact)
        };
        events.map(|events| events.iter().map(field).collect::<Result<Vec<_>, _>>()).transpose()
    };
    let total = optional(case.get("usage"))?;
    let mut usage = match model {
        "percentage" => Usage::transactions(match values(&["value", "amount"])? {
            Some(values) => values,
            None => total.into_iter().filter(|value| !value.is_zero()).collect(),
        }),
        "matrix" => {
            let cells = case.list("usage_by_dimension");
            Usage::cells(cells.iter().map(cell).collect::<Result<_, _>>()?)
        }
        _ => {
            let key: &[&str] = if model == "dynamic" {
                &["amount", "value"]
            } else {
                &["value", "units", "amount"]
            };
            let sum = values(key)?.map(|values| values.iter().sum());
            Usage::units(total.or(sum).unwrap_or_default())
        }
    };
    if let Some(count) = case.any(&["events_count", "event_count"]) {
        usage.events = super::case::integer(count)?;
    }
    usage.tier_units = optional(case.any(&["tier_units"]))?;
    Ok(usage)
}

fn cell(value: &Value) -> Result<Cell, Miss> {
    let dimensions = value["dimensions"].as_object().cloned().unwrap_or_default();
    let dimensions = dimensions
        .into_iter()
        .map(|(name, value)| Ok((name, as_text(&value)?.to_owned())))
        .collect::<Result<BTreeMap<_, _>, Miss>>()?;
    Ok(Cell { dimensions, units: exact(&value["quantity"])? })
}

/// Builds the charge a case describes.
pub(super) fn charge(case: &Case, model: &str, params: &Value) -> Result<Charge, Miss> {
    let spec = Value::Object(charge_table(case, model, params)?);
    let spec: ChargeSpec = serde_json::from_value(spec).map_err(fail)?;
    Charge::try_from(&spec).map_err(fail)
}

fn charge_table(case: &Case, model: &str, params: &Value) -> Result<Map<String, Value>, Miss> {
    let named = if model == "included_overage" { "capacity" } else { model };
    let mut table = json!({"key": "c", "model": named}).as_object().cloned().unwrap_or_default();
    let first = |keys: &[&str]| {
        keys.iter().find_map(|key| params.get(key)).filter(|value| !value.is_null()).cloned()
    };
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            table.insert(key.to_owned(), value);
        }
    };
    let tiered = matches!(model, "graduated" | "volume" | "graduated_percentage" | "stair_step");
    set("minimum", first(&["min_spend", "minimum"]));
    set("maximum", first(&["max_spend", "maximum"]));
    let percent = first(&["percent_discount", "discount_percent", "percentage_discount"]);
    if let Some(percent) = percent {
        set("discounts", Some(json!([{"percent": percent}])));
        let bounded = first(&["min_spend", "minimum", "max_spend", "maximum"]);
        set("bounds_after_discounts", bounded.map(|_| json!(true)));
    }
    if model == "flat" {
        set("amount", first(&["amount", "unit_price"]));
        let arrears = params["payment_term"] == "in_arrears";
        set("billing", Some(json!(if arrears { "arrears" } else { "advance" })));
        return Ok(table);
    }
    set("meter", Some(json!("m")));
    let negative = case.convention("negative_usage").and_then(Value::as_str);
    let credit = negative == Some("price_absolute_and_negate");
    set("negative_usage", Some(json!(if credit { "credit" } else { "clamp_to_zero" })));
    if let Some(conversion) = params.get("unit_conversion") {
        set("conversion", Some(conversion_table(conversion)?));
    }
    let included =
        first(&["free_units", "included", "included_units", "usage_discount", "free_quantity"]);
    match model {
        "per_unit" => set("unit_price", first(&["unit_price"])),
        "dynamic" => set("unit_price", first(&["multiplier"])),
        "package" => {
            for key in ["package_size", "package_price"] {
                set(key, first(&[key]));
            }
            set("partial_package", first(&["partial"]));
        }
        "percentage" => {
            for key in
                ["rate", "fixed_fee", "free_amount", "per_transaction_min", "per_transaction_max"]
            {
                set(key, first(&[key]));
            }
            let free = first(&["free_events"]).map(|free| super::case::integer::<u64>(&free));
            set("free_events", free.transpose()?.map(|free| json!(free)));
        }
        "matrix" => {
            set("rates", first(&["rates"]));
            set("default_unit_price", Some(first(&["default_unit_price"]).unwrap_or(json!("0"))));
        }
        "included_overage" => {
            set(
                "amount",
                Some(first(&["amount", "base_price", "price", "flat_fee"]).unwrap_or(json!("0"))),
            );
            set("capacity", Some(included.clone().or(first(&["capacity"])).unwrap_or(json!("0"))));
            set(
                "unit_price",
                first(&["overage_unit_price", "overage_price", "overage_rate", "unit_price"]),
            );
        }
        "tiered_block" => {
            set("tiers", first(&["tiers"]));
            set("block_policy", first(&["policy"]));
        }
        _ if tiered => {
            let zero = case.convention("zero_usage_flat_fee").and_then(Value::as_str);
            set("charge_first_tier_at_zero", Some(json!(zero == Some("charge"))));
            let after = params.get("usage_discount").is_some();
            set("tiers_start_after_included", Some(json!(after)));
            let mut tiers = tiers(model, params)?;
            if let Some(allowance) = first(&["allowance"]) {
                // The convention of the one peer that has it: a free tier in front.
                tiers.insert(0, json!({"up_to": allowance, "unit_price": "0"}));
            }
            set("tiers", Some(Value::Array(tiers)));
        }
        other => return Err(Miss::Skip(format!("model {other}"))),
    }
    if !matches!(model, "percentage" | "matrix" | "included_overage") {
        set("included", included);
    }
    Ok(table)
}

fn tiers(model: &str, params: &Value) -> Result<Vec<Value>, Miss> {
    let tiers = params["tiers"].as_array().ok_or_else(|| fail("params has no tiers"))?;
    let price_key = if model == "graduated_percentage" { "rate" } else { "unit_price" };
    let tier = |(at, tier): (usize, &Value)| {
        let mut out = Map::new();
        for key in ["up_to", price_key, "flat_fee"] {
            // The last tier of a price book is always open.
            if let Some(value) = tier.get(key).filter(|value| !value.is_null())
                && !(key == "up_to" && at + 1 == tiers.len())
            {
                out.insert(key.to_owned(), value.clone());
            }
        }
        out.entry(price_key).or_insert(json!("0"));
        Value::Object(out)
    };
    Ok(tiers.iter().enumerate().map(tier).collect())
}

fn conversion_table(conversion: &Value) -> Result<Value, Miss> {
    let operation = conversion["operation"].as_str().unwrap_or("multiply");
    let mut table = json!({operation: conversion["factor"].clone()});
    let mode = conversion.get("rounding").or_else(|| conversion.get("mode"));
    if mode.is_some_and(|mode| !mode.is_null() && mode != "none") {
        let dp = ["dp", "decimals", "precision"].iter().find_map(|key| conversion.get(key));
        table["decimals"] = json!(dp.map_or(Ok(0i32), super::case::integer)?);
        table["rounding"] = serde_json::to_value(rounding(mode)?).map_err(fail)?;
    }
    Ok(table)
}

fn multi_unit_capacity(case: &Case) -> Answer {
    let tiers = case.need_param("tiers")?.clone();
    let tiers = CapacityTiers::new(serde_json::from_value(tiers).map_err(fail)?).map_err(fail)?;
    let (number, tier) =
        tiers.select(&usage_by_unit(case)?).ok_or_else(|| fail("no tier holds"))?;
    Ok(json!({"amount": tier.price, "lines": [{"tier": number, "amount": tier.price}]}))
}

fn usage_by_unit(case: &Case) -> Result<BTreeMap<String, Exact>, Miss> {
    let usage = case.need("usage_by_unit")?.as_object().cloned().unwrap_or_default();
    usage.into_iter().map(|(unit, value)| Ok((unit, exact(&value)?))).collect()
}

/// One charge per unit, as a plan with several meters has.
fn multi_unit_tiered_block(case: &Case) -> Answer {
    let usage = usage_by_unit(case)?;
    let mut all = Priced::default();
    let mut lines = Vec::new();
    for (unit, tiers) in case.need_param("units")?.as_object().into_iter().flatten() {
        let params = json!({"tiers": tiers, "policy": case.param("policy")});
        let charge = charge(case, "tiered_block", &params)?;
        let units = Usage::units(usage.get(unit).cloned().unwrap_or_default());
        let priced = price_exact(&charge, &units, &Exact::ONE).map_err(fail)?;
        for mut line in tier_lines(&priced.parts) {
            line["unit"] = json!(unit);
            lines.push(line);
        }
        all.exact = all.exact.add(&priced.exact);
        all.parts.extend(priced.parts);
    }
    let mut answer = report(case, &all)?;
    answer["lines"] = Value::Array(lines);
    Ok(answer)
}

const ADJUSTMENTS: [PartKind; 3] =
    [PartKind::MinimumTopUp, PartKind::MaximumCap, PartKind::Discount];

/// The answer, rounded only where the case's convention says so.
fn report(case: &Case, priced: &Priced) -> Answer {
    let rule = case.convention("round").map(|rule| round_rule(case, rule)).transpose()?;
    let rounded = |value: Exact| match rule {
        Some((dp, mode)) => value.round(dp, mode),
        None => value,
    };
    let gross: Exact = priced
        .parts
        .iter()
        .filter(|part| !ADJUSTMENTS.contains(&part.kind))
        .map(|part| &part.exact)
        .sum();
    let sum = |kind| rounded(priced.sum_of(&[kind]));
    let billed = billed_quantity(priced);
    let mut lines = tier_lines(&priced.parts);
    if lines.is_empty() && case.convention("zero_usage_flat_fee").is_some_and(|fee| fee == "charge")
    {
        // A first tier that is entered at zero but costs nothing leaves no part; peers print it.
        lines.push(tier_line("1", &Default::default()));
    }
    Ok(json!({
        "amount": shown(&rounded(priced.exact.clone())),
        "gross_amount": shown(&rounded(gross)),
        "max_spend_discount": shown(&sum(PartKind::MaximumCap).neg()),
        "min_spend_top_up": shown(&sum(PartKind::MinimumTopUp)),
        "percent_discount_amount": shown(&sum(PartKind::Discount).neg()),
        "billed_quantity": shown(&billed),
        "lines": lines,
        "effective_unit_price": shown(&effective_price(case, priced, &billed)?),
    }))
}

fn billed_quantity(priced: &Priced) -> Exact {
    let free: Exact = priced
        .parts
        .iter()
        .filter(|part| part.kind == PartKind::Included)
        .map(|part| &part.quantity)
        .sum();
    priced.units.sub(&free)
}

/// Amount per unit; a package's per unit that is not free.
fn effective_price(case: &Case, priced: &Priced, billed: &Exact) -> Result<Exact, Miss> {
    let units = if case.text("model") == "package" { billed } else { &priced.units };
    let price = priced.exact.div(units).unwrap_or(Exact::ZERO);
    match case.convention("effective_unit_price_round") {
        Some(rule) => {
            let (dp, mode) = round_rule(case, rule)?;
            Ok(price.round(dp, mode))
        }
        None => Ok(price),
    }
}

/// Parts grouped by tier, in the order of the tiers.
fn tier_lines(parts: &[Part]) -> Vec<Value> {
    let mut tiers: Vec<(&str, [Exact; 3])> = Vec::new();
    for part in parts.iter().filter(|part| !ADJUSTMENTS.contains(&part.kind)) {
        if part.label.is_empty() {
            continue;
        }
        let at = tiers.iter().position(|(label, _)| *label == part.label).unwrap_or_else(|| {
            tiers.push((&part.label, Default::default()));
            tiers.len() - 1
        });
        let [quantity, usage, fee] = &mut tiers[at].1;
        if part.kind == PartKind::TierFee {
            *fee = fee.add(&part.exact);
        } else {
            *quantity = quantity.add(&part.quantity);
            *usage = usage.add(&part.exact);
        }
    }
    tiers.iter().map(|(label, sums)| tier_line(label, sums)).collect()
}

fn tier_line(label: &str, [quantity, usage, fee]: &[Exact; 3]) -> Value {
    json!({
        "tier": label, "quantity": shown(quantity), "usage_amount": shown(usage),
        "flat_fee": shown(fee), "amount": shown(&usage.add(fee)),
    })
}
