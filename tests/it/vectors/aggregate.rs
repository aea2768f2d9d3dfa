//! `aggregate`: events become states, states merge, and the meter says the period's value — the
//! same functions that project the ledger.

use std::collections::BTreeMap;

use counterfoil_metering::{Aggregation, Measured, Meter, MeterSpec, PeriodUsage, State, value_of};
use counterfoil_rating::{ProrationBasis, prorated_units};
use counterfoil_types::{Exact, Period, Timestamp};
use serde_json::{Value, json};

use super::case::{Answer, Case, Miss, exact, fail, integer, optional, round_rule, shown};

/// Answers an `aggregate` case.
pub(super) fn aggregate(case: &Case) -> Answer {
    let period = Period::new(case.need_instant("from")?, case.need_instant("to")?);
    let mut events = case.list("events");
    let mut timed = Vec::new();
    for event in events.drain(..) {
        timed.push((case.instant(&event["at"])?, event));
    }
    timed.sort_by_key(|(at, _)| *at);
    let (value, count) = match case.text("model") {
        "prorated_sum" => (prorated_sum(case, &timed, &period)?, inside(&timed, &period)),
        "prorated_unique_count" => {
            (prorated_members(case, &timed, &period)?, inside(&timed, &period))
        }
        model => metered(case, model, &timed, &period)?,
    };
    let value = match case.any(&["round"]).or_else(|| case.convention("round")) {
        Some(rule) => {
            let (dp, mode) = round_rule(case, rule)?;
            value.round(dp, mode)
        }
        None => value,
    };
    Ok(json!({"value": shown(&value), "count": count}))
}

fn inside(events: &[(Timestamp, Value)], period: &Period) -> u64 {
    events.iter().filter(|(at, _)| period.contains(*at)).count() as u64
}

/// The meter whose aggregation a model names.
fn meter(model: &str) -> Result<Meter, Miss> {
    let (aggregation, extra) = match model {
        "count" | "sum" | "max" | "min" | "latest" => (model, json!({})),
        "avg" | "average" => ("average", json!({})),
        "unique" | "unique_count" => ("unique_count", json!({"value": "id"})),
        "weighted_sum" | "time_weighted_sum" => ("time_weighted_sum", json!({"per": "period"})),
        other => return Err(Miss::Skip(format!("aggregation {other}"))),
    };
    let mut spec = json!({"key": "m", "event_type": "t", "aggregation": aggregation});
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let spec: MeterSpec = serde_json::from_value(spec).map_err(fail)?;
    Meter::try_from(&spec).map_err(fail)
}

fn metered(
    case: &Case,
    model: &str,
    events: &[(Timestamp, Value)],
    period: &Period,
) -> Result<(Exact, u64), Miss> {
    let meter = meter(model)?;
    let recurring = case.requires("recurring_metric");
    let weighted = meter.aggregation == Aggregation::TimeWeightedSum;
    let mut opening = optional(case.any(&["initial"]))?;
    let mut state: Option<State> = None;
    for (position, (at, event)) in (1u64..).zip(events) {
        let carried = recurring && *at < period.start;
        if carried && weighted {
            // A level carries over the period's start; only what happens inside has a time.
            let change = event.get("value").map_or(Ok(Exact::ZERO), exact).unwrap_or_default();
            opening = Some(opening.unwrap_or_default().add(&change));
            continue;
        }
        let counts = period.contains(*at) || carried;
        let Some(single) = single_state(&meter, *at, event, position).filter(|_| counts) else {
            continue;
        };
        match &mut state {
            Some(state) => state.merge(&single).map_err(fail)?,
            None => state = Some(single),
        }
    }
    let members = match &state {
        Some(State::Unique { members, .. }) => members.values().filter(|n| **n > 0).count() as u64,
        _ => 0,
    };
    let usage =
        PeriodUsage { inside: state, opening: opening.clone().filter(|_| weighted), members };
    let mut value = value_of(&meter, &usage, period).map_err(fail)?;
    if let Some(opening) = opening.filter(|_| meter.aggregation == Aggregation::Sum) {
        value = value.add(&opening);
    }
    if meter.aggregation == Aggregation::Latest {
        // The sources bill nothing for a negative latest value; the engine expresses that where
        // the charge says `negative_usage = "clamp_to_zero"`.
        value = value.at_least(&Exact::ZERO);
    }
    Ok((value, usage.events()))
}

/// The state after one event; `None` when its value is no number.
fn single_state(meter: &Meter, at: Timestamp, event: &Value, position: u64) -> Option<State> {
    let measured = match meter.aggregation {
        Aggregation::Count => Measured::Number(Exact::ONE),
        Aggregation::UniqueCount => Measured::Member(member(event)?),
        _ => Measured::Number(exact(event.get("value")?).ok()?),
    };
    let state = State::single(meter.aggregation, &measured, at, position);
    if removes(event) { state.inverse().ok() } else { Some(state) }
}

fn member(event: &Value) -> Option<String> {
    let id = ["id", "value"].iter().find_map(|key| event.get(key))?;
    Some(id.as_str().map_or_else(|| id.to_string(), str::to_owned))
}

fn removes(event: &Value) -> bool {
    ["op", "operation", "action", "operation_type"]
        .iter()
        .any(|key| event.get(key).is_some_and(|op| op == "remove"))
}

/// Units held, counted by the days of the period they were there.
fn prorate(case: &Case, held: &[(Exact, Period)], period: &Period) -> Result<Exact, Miss> {
    let zone = case.zone()?;
    let units = prorated_units(held, period, ProrationBasis::Day, &zone).map_err(fail)?;
    // The case may state the days of a full period where the period itself is cut.
    let Some(days) = case.param("period_days") else { return Ok(units) };
    let own = counterfoil_rating::proration::local_days(period.start, period.end, &zone);
    let share = Exact::ratio(i128::from(own.map_err(fail)?), integer(days)?).map_err(fail)?;
    Ok(units.mul(&share))
}

fn prorated_sum(
    case: &Case,
    events: &[(Timestamp, Value)],
    period: &Period,
) -> Result<Exact, Miss> {
    let held: Vec<(Exact, Period)> = events
        .iter()
        .filter_map(|(at, event)| {
            let units = exact(event.get("value")?).ok()?;
            Some((units, Period::new(*at, period.end)))
        })
        .collect();
    prorate(case, &held, period)
}

/// A member counts from the day it came to the day it left, both included.
fn prorated_members(
    case: &Case,
    events: &[(Timestamp, Value)],
    period: &Period,
) -> Result<Exact, Miss> {
    let zone = case.zone()?;
    let mut present: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut held = Vec::new();
    for (at, event) in events.iter().filter(|(at, _)| *at < period.end) {
        let Some(id) = member(event) else { continue };
        if removes(event) {
            if let Some(since) = present.remove(&id) {
                let day = zone.civil(*at).map_err(fail)?.date();
                let after = counterfoil_types::billing_day::day_after(day).map_err(fail)?;
                let end = zone.instant(after.at(0, 0, 0, 0)).map_err(fail)?;
                held.push((Exact::ONE, Period::new(since, end)));
            }
        } else {
            present.entry(id).or_insert(*at);
        }
    }
    held.extend(present.into_values().map(|since| (Exact::ONE, Period::new(since, period.end))));
    prorate(case, &held, period)
}
