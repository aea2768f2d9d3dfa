//! Periods, calendar arithmetic, billing days and proration.

use counterfoil_rating::{ProrationBasis, fraction, proration::local_days};
use counterfoil_types::{
    BillingDaySchedule, CalendarSpan, Exact, Interval, IntervalUnit, Period, Rounding, Schedule,
    civil,
};
use serde_json::{Value, json};

use super::{
    case::{Answer, Case, Miss, exact, fail, integer, optional, shown, shown_all},
    money::line_amount,
};

fn interval(case: &Case) -> Result<Interval, Miss> {
    let unit = match case.any(&["interval"]).and_then(Value::as_str).unwrap_or("month") {
        "day" => IntervalUnit::Day,
        "week" => IntervalUnit::Week,
        "month" => IntervalUnit::Month,
        "quarter" => IntervalUnit::Quarter,
        "half_year" => IntervalUnit::HalfYear,
        "year" => IntervalUnit::Year,
        other => return Err(Miss::Skip(format!("interval {other}"))),
    };
    Ok(Interval { unit, count: case.any(&["interval_count"]).map_or(Ok(1), integer)? })
}

/// A schedule anchored where the case says, or on the calendar.
fn schedule(case: &Case) -> Result<Schedule, Miss> {
    let (interval, zone) = (interval(case)?, case.zone()?);
    if case.param_text("alignment") == "calendar" {
        return Schedule::calendar(interval, case.need_instant("at")?, zone).map_err(fail);
    }
    let anchor = case.any(&["anchor"]).ok_or_else(|| fail("no anchor"))?;
    Schedule::new(interval, case.civil(anchor)?, zone).map_err(fail)
}

pub(super) fn period_at(case: &Case) -> Answer {
    let schedule = schedule(case)?;
    let offset: i64 = case.any(&["offset"]).map_or(Ok(0), integer)?;
    let index = schedule.index_at(case.need_instant("at")?).map_err(fail)?;
    let mut period = schedule.period(index + offset).map_err(fail)?;
    if let Some(bound) = case.any(&["not_before"]) {
        period.start = period.start.max(case.instant(bound)?);
    }
    if let Some(bound) = case.any(&["not_after"]) {
        period.end = period.end.min(case.instant(bound)?);
    }
    let days = local_days(period.start, period.end, &schedule.zone).map_err(fail)?;
    Ok(json!({"start": period.start, "end": period.end, "days": days}))
}

pub(super) fn prev_boundary(case: &Case) -> Answer {
    let (schedule, at) = (schedule(case)?, case.need_instant("at")?);
    let query = case.any(&["query"]).and_then(Value::as_str).unwrap_or("prev_before_exclusive");
    let inclusive = query.ends_with("inclusive");
    let boundary = if query.starts_with("next") {
        schedule.boundary_after(at, inclusive)
    } else {
        schedule.boundary_before(at, inclusive)
    };
    Ok(json!({"boundary": boundary.map_err(fail)?}))
}

pub(super) fn add(case: &Case) -> Answer {
    let number = |key: &str| -> Result<i64, Miss> { case.any(&[key]).map_or(Ok(0), integer) };
    let seconds = number("hours")? * 3600 + number("minutes")? * 60 + number("seconds")?;
    let span = CalendarSpan {
        months: 12 * number("years")? + number("months")?,
        days: 7 * number("weeks")? + number("days")?,
        micros: seconds * 1_000_000,
    };
    let result = span.after(case.need_instant("at")?, &case.zone()?).map_err(fail)?;
    Ok(json!({"result": result}))
}

pub(super) fn days(case: &Case) -> Answer {
    let (from, to) = (case.need_instant("from")?, case.need_instant("to")?);
    let days = local_days(from, to, &case.zone()?).map_err(fail)?;
    let inclusive = case.param("inclusive_end") == Some(&Value::Bool(true));
    Ok(json!({"days": days + i64::from(inclusive)}))
}

pub(super) fn local_day(case: &Case) -> Answer {
    let local = case.zone()?.civil(case.need_instant("at")?).map_err(fail)?;
    Ok(json!({"day": local.day(), "date": local.date().to_string()}))
}

fn billing_days(case: &Case) -> Result<BillingDaySchedule, Miss> {
    let day = case.any(&["billing_day", "billing_day_of_month"]);
    let day: i8 = integer(day.ok_or_else(|| fail("no billing day"))?)?;
    let start = case.any(&["start", "from"]).ok_or_else(|| fail("no start"))?;
    BillingDaySchedule::new(interval(case)?, day, case.date(start)?).map_err(fail)
}

pub(super) fn billing_day(case: &Case) -> Answer {
    let schedule = billing_days(case)?;
    let index = match case.any(&["index", "cycle"]) {
        Some(index) => integer(index)?,
        None => schedule.index_at(case.date(case.need("at")?)?).map_err(fail)?,
    };
    let period = schedule.period(index).map_err(fail)?;
    let full_days = schedule.full_days(index).map_err(fail)?;
    Ok(json!({
        "start": period.start.to_string(), "end": period.end.to_string(),
        "elapsed_cycles": index, "days": period.days(), "full_days": full_days,
    }))
}

pub(super) fn first_billing_day(case: &Case) -> Answer {
    Ok(json!({"date": billing_days(case)?.first_billing_day().to_string()}))
}

/// Cycles between the start and an end; with a target date whole cycles are billed in advance up
/// to the one that holds it.
pub(super) fn bcd_cycles(case: &Case) -> Answer {
    let schedule = billing_days(case)?;
    let date = |keys: &[&str]| case.any(keys).map(|value| case.date(value)).transpose();
    let end = date(&["end", "to"])?;
    let target = date(&["target", "target_date", "at"])?;
    let until: civil::Date = match (target, end) {
        (Some(target), end) => {
            let index = schedule.index_at(target).map_err(fail)?;
            let billed = schedule.period(index).map_err(fail)?.end;
            end.map_or(billed, |end| end.min(billed))
        }
        (None, Some(end)) => end,
        (None, None) => return Err(fail("no end")),
    };
    let fixed = case.any(&["fixed_days", "proration_fixed_days"]).map(integer).transpose()?;
    let fixed = fixed.filter(|days: &i64| *days > 0);
    let cycles = schedule.cycles_until(until, fixed).map_err(fail)?;
    Ok(json!({"cycles": shown(&cycles), "factor": shown(&cycles)}))
}

/// Days of a part over days of the cycle it belongs to.
pub(super) fn proration_ratio(case: &Case) -> Answer {
    let date = |keys: &[&str]| -> Result<civil::Date, Miss> {
        case.date(case.any(keys).ok_or_else(|| fail(format!("no {keys:?}")))?)
    };
    let zone = case.zone()?;
    let days = |from: civil::Date, to: civil::Date| -> Result<i64, Miss> {
        let instant = |date: civil::Date| zone.instant(date.at(0, 0, 0, 0)).map_err(fail);
        local_days(instant(from)?, instant(to)?, &zone).map_err(fail)
    };
    let part = days(date(&["from", "start"])?, date(&["to", "end"])?)?;
    let fixed: Option<i64> =
        case.any(&["fixed_days", "proration_fixed_days"]).map(integer).transpose()?;
    let all = match fixed.filter(|days| *days > 0) {
        Some(fixed) => fixed,
        None => days(
            date(&["cycle_start", "period_start", "previous"])?,
            date(&["cycle_end", "period_end", "next"])?,
        )?,
    };
    let factor = Exact::ratio(i128::from(part), i128::from(all)).map_err(fail)?;
    let factor = factor.at_most(&Exact::ONE);
    Ok(json!({"factor": shown(&factor), "days": part, "cycles": shown(&factor)}))
}

pub(super) fn prorate(case: &Case) -> Answer {
    let part = Period::new(case.need_instant("from")?, case.need_instant("to")?);
    let whole = Period::new(case.need_instant("period_start")?, case.need_instant("period_end")?);
    let basis = match case.param_text("basis") {
        "seconds" | "second" => ProrationBasis::Second,
        "days" | "calendar_days" | "day" => ProrationBasis::Day,
        "none" => ProrationBasis::None,
        other => return Err(Miss::Skip(format!("proration basis {other}"))),
    };
    let factor = fraction(&part, &whole, basis, &case.zone()?).map_err(fail)?;
    let (dp, mut lines) = (case.dp()?, Vec::new());
    for line in case.list("lines_in") {
        let amount = line_amount(&line)?.mul(&factor).round(dp, Rounding::HalfAwayFromZero);
        let credit = line["credit"] == true || line["sign"] == "-";
        lines.push(if credit { amount.neg() } else { amount });
    }
    if let Some(amount) = optional(case.any(&["amount"]))? {
        lines.push(exact(&shown(&amount))?.mul(&factor).round(dp, Rounding::HalfAwayFromZero));
    }
    Ok(json!({
        "factor": shown(&factor), "lines": shown_all(&lines),
        "amount": shown(&lines.iter().sum()),
        "days": local_days(part.start, part.end, &case.zone()?).map_err(fail)?,
    }))
}
