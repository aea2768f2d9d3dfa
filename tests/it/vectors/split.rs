//! Billing inside a period and prorated units: `progressive`, `prorated_graduated`.

use counterfoil_rating::{Model, RateContext, Slice, Usage, bill_in_phases, graduated_slices};
use counterfoil_types::{Exact, Rounding};
use serde_json::{Value, json};

use super::{
    case::{Answer, Case, Miss, exact, fail, round_rule, rounding, shown},
    price::charge,
};

/// Cumulative phases, each billed as a difference of rounded running totals.
pub(super) fn progressive(case: &Case) -> Answer {
    let charge = charge(case, case.text("model"), case.need("params")?)?;
    let usage = |phase: &Value| -> Result<Usage, Miss> {
        let units = ["usage", "quantity", "value"].iter().find_map(|key| phase.get(key));
        Ok(Usage::units(exact(units.unwrap_or(phase))?))
    };
    let running = case.list("phases").iter().map(usage).collect::<Result<Vec<_>, _>>()?;
    let mode = case.convention("round").and_then(|rule| rule.get("mode"));
    let context = RateContext::new(case.currency()?, rounding(mode)?);
    let phases = bill_in_phases(&charge, &running, &context).map_err(fail)?;
    let shown = |phase: &counterfoil_rating::progressive::Phase| {
        json!({
            "amount": shown(&phase.amount), "discounts": shown(&phase.discounts),
            "charges": shown(&phase.charges), "total": shown(&phase.total),
        })
    };
    Ok(json!({"phases": phases.iter().map(shown).collect::<Vec<_>>()}))
}

/// Full units fill the tiers, prorated units are priced.
pub(super) fn prorated_graduated(case: &Case) -> Answer {
    let charge = charge(case, "graduated", case.need("params")?)?;
    let Model::Graduated { tiers, options } = &charge.model else {
        return Err(fail("not a graduated charge"));
    };
    let slice = |event: &Value| -> Result<Slice, Miss> {
        let units = event.get("units").or_else(|| event.get("value"));
        let units = exact(units.ok_or_else(|| fail("an event has no units"))?)?;
        let prorated = event.get("prorated_units").map_or(Ok(units.clone()), exact)?;
        Ok(Slice { units, prorated })
    };
    let slices = case.list("events").iter().map(slice).collect::<Result<Vec<_>, _>>()?;
    let parts = graduated_slices(tiers, *options, &slices);
    let amount: Exact = parts.iter().map(|part| &part.exact).sum();
    let amount = match case.convention("round") {
        Some(rule) => {
            let (dp, mode): (i32, Rounding) = round_rule(case, rule)?;
            amount.round(dp, mode)
        }
        None => amount,
    };
    Ok(json!({"amount": shown(&amount)}))
}
