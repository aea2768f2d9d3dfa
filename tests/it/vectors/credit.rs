//! Credits, prepaid grants and commitments.

use counterfoil_rating::{
    commitment::{Commitment, Committed, UsageRounding, true_up as top_up},
    credits::{apply_credits, cap_credit as cap},
    grants::{Grant, GrantEvent, Overage, Rollover, burn},
    price as price_exact,
};
use counterfoil_types::{Exact, Interval, IntervalUnit, Rounding, Schedule, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    case::{Answer, Case, Miss, as_text, exact, exacts, fail, integer, optional, shown, shown_all},
    price::charge,
};

pub(super) fn credits(case: &Case) -> Answer {
    let done = apply_credits(&exacts(&case.list("line_amounts"))?, &exacts(&case.list("credits"))?);
    Ok(json!({
        "total": shown(&done.total()), "unused": shown(&done.unused.iter().sum()),
        "lines": shown_all(&done.net_lines), "net_lines": shown_all(&done.net_lines),
        "credits": shown(&done.used()), "used": shown(&done.used()),
    }))
}

pub(super) fn cap_credit(case: &Case) -> Answer {
    let number = |keys: &[&str]| -> Result<Exact, Miss> {
        exact(case.any(keys).ok_or_else(|| fail(format!("no {keys:?}")))?)
    };
    let amount = cap(
        &number(&["potential", "potential_credit", "amount"])?,
        &number(&["original", "original_amount", "original_amount_paid"])?,
        &number(&["previous", "previous_credits", "previous_credits_issued"])?,
    );
    Ok(json!({"amount": shown(&amount)}))
}

pub(super) fn grant_burn(case: &Case) -> Answer {
    let grants = case.list("grants");
    let mut list = Vec::new();
    for (grant, created) in
        grants.iter().map(|grant| grant_of(case, grant)).collect::<Result<Vec<_>, _>>()?
    {
        list.push((created, grant));
    }
    // Age is the last tie-break; the engine takes it from the order of the list.
    list.sort_by_key(|(created, _)| *created);
    let grants: Vec<Grant> = list.into_iter().map(|(_, grant)| grant).collect();
    let mut events = Vec::new();
    for event in case.list("usage_events") {
        events.push((case.instant(&event["at"])?, GrantEvent::Usage(exact(&event["value"])?)));
    }
    let keep_overage = case.any(&["preserve_overage"]) == Some(&Value::Bool(true));
    for reset in case.list("resets") {
        let at = reset.get("at").unwrap_or(&reset);
        events.push((case.instant(at)?, GrantEvent::Reset { keep_overage }));
    }
    let carry = case.convention("overage").and_then(Value::as_str) == Some("carry");
    let overage = if carry { Overage::Carry } else { Overage::Bill };
    let done = burn(&grants, &events, overage, case.need_instant("at")?).map_err(fail)?;
    let balances: Map<String, Value> = grants
        .iter()
        .zip(&done.balances)
        .map(|(grant, balance)| (grant.id.clone(), shown(balance)))
        .collect();
    Ok(json!({
        "balances": balances, "overage": shown(&done.overage),
        "total": shown(&done.balances.iter().sum()),
    }))
}

/// A grant and when it was made.
fn grant_of(case: &Case, value: &Value) -> Result<(Grant, Timestamp), Miss> {
    let effective_at = case.instant(&value["effective_at"])?;
    let amount = value.get("balance").or_else(|| value.get("amount"));
    let amount = exact(amount.ok_or_else(|| fail("a grant has no balance"))?)?;
    let recurrence = match value.get("recurs_days").filter(|days| !days.is_null()) {
        Some(days) => {
            let interval = Interval { unit: IntervalUnit::Day, count: integer(days)? };
            let anchor =
                value.get("recurs_anchor").map_or(Ok(effective_at), |at| case.instant(at))?;
            let zone = case.zone()?;
            let anchor = zone.civil(anchor).map_err(fail)?;
            Some(Schedule::new(interval, anchor, zone).map_err(fail)?)
        }
        None => None,
    };
    let instant = |key: &str| {
        value.get(key).filter(|at| !at.is_null()).map(|at| case.instant(at)).transpose()
    };
    let number = |key: &str| optional(value.get(key)).map(Option::unwrap_or_default);
    // A grant that is voided ends there.
    let expires_at = [instant("expires_at")?, instant("voided_at")?].into_iter().flatten().min();
    let grant = Grant {
        id: as_text(&value["id"])?.to_owned(),
        amount,
        priority: value.get("priority").map_or(Ok(0), integer)?,
        effective_at,
        expires_at,
        recurrence,
        rollover: Rollover { at_least: number("min_rollover")?, at_most: number("max_rollover")? },
    };
    Ok((grant, instant("created_at")?.unwrap_or(effective_at)))
}

/// Windows with a rule each, or one settlement of a usage amount.
pub(super) fn commitment(case: &Case) -> Answer {
    let windows = case.list("windows");
    let settled = if windows.is_empty() {
        let usage =
            case.any(&["usage_amount", "amount", "usage"]).ok_or_else(|| fail("no usage"))?;
        vec![settle(case, case.need("params")?, &exact(usage)?)?]
    } else {
        windows.iter().map(|window| settle_window(case, window)).collect::<Result<_, _>>()?
    };
    let sum: Committed = settled.into_iter().sum();
    Ok(json!({
        "amount": shown(&sum.amount), "utilized": shown(&sum.utilized),
        "overage": shown(&sum.overage), "true_up": shown(&sum.true_up),
    }))
}

fn settle_window(case: &Case, window: &Value) -> Result<Committed, Miss> {
    let name = window.get("rule").map_or(Ok("default"), as_text)?;
    let rule = match case.param("rules") {
        Some(rules) => rules.get(name).ok_or_else(|| fail(format!("no rule {name}")))?,
        None => case.need("params")?,
    };
    let quantity = ["quantity", "value", "usage"].iter().find_map(|key| window.get(key));
    settle(case, rule, &exact(quantity.unwrap_or(window))?)
}

fn settle(case: &Case, rule: &Value, units: &Exact) -> Result<Committed, Miss> {
    let usage = priced_usage(case, rule, units)?;
    let committed = ["commitment", "commitment_quantity"].iter().any(|key| rule.get(key).is_some());
    if !committed {
        return Ok(Committed { amount: usage, ..Committed::default() });
    }
    Ok(rule_of(case, rule)?.settle(&usage))
}

/// What units cost by the rule's price; an amount of money where the rule has none.
fn priced_usage(case: &Case, rule: &Value, units: &Exact) -> Result<Exact, Miss> {
    let (model, params) = match rule.get("price").filter(|price| price.is_object()) {
        Some(price) => (price["model"].as_str().unwrap_or("per_unit"), price),
        None if rule.get("tiers").is_some() => {
            (rule["model"].as_str().unwrap_or("graduated"), rule)
        }
        None if rule.get("unit_price").is_some() => ("per_unit", rule),
        None => return Ok(units.clone()),
    };
    let charge = charge(case, model, params)?;
    let usage = counterfoil_rating::Usage::units(units.clone());
    Ok(price_exact(&charge, &usage, &Exact::ONE).map_err(fail)?.exact)
}

fn rule_of(case: &Case, rule: &Value) -> Result<Commitment, Miss> {
    let by_quantity = rule["commitment_type"] == "quantity";
    let amount = match optional(rule.get("commitment_quantity"))? {
        Some(quantity) => priced_usage(case, rule, &quantity)?,
        None => {
            let stated = optional(rule.get("commitment"))?.unwrap_or_default();
            if by_quantity { priced_usage(case, rule, &stated)? } else { stated }
        }
    };
    let overage_factor = optional(rule.get("overage_factor"))?.unwrap_or(Exact::ONE);
    Ok(Commitment { amount, overage_factor, true_up: rule["true_up"] == true })
}

pub(super) fn true_up(case: &Case) -> Answer {
    let commitment = exact(case.any(&["commitment"]).ok_or_else(|| fail("no commitment"))?)?;
    let usage = match case.any(&["usage_amount"]) {
        Some(usage) => exact(usage)?,
        None => exacts(&case.list("line_amounts"))?.iter().sum(),
    };
    let fraction = match case.param("prorate") {
        Some(part) => exact(&part["days"])?.div(&exact(&part["of_days"])?).map_err(fail)?,
        None => Exact::ONE,
    };
    let first = case.param("round_usage_first") == Some(&Value::Bool(true));
    let how = if first { UsageRounding::First } else { UsageRounding::WithTrueUp };
    let done = top_up(&commitment, &fraction, &usage, how, case.dp()?, Rounding::HalfAwayFromZero);
    Ok(json!({
        "commitment": shown(&done.commitment), "true_up": shown(&done.amount),
        "amount": shown(&done.amount),
    }))
}
