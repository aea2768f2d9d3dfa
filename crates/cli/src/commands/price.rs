//! `price`: usage in, explained lines out. Nothing is stored or read from a store.

use std::path::Path;

use counterfoil_catalog::PriceBook;
use counterfoil_engine::EngineError;
use counterfoil_invoicing::explain::explain_part;
use counterfoil_rating::{RateContext, Usage, rate};
use counterfoil_types::{MeterKey, Money, Quantity};

use super::Verdict;
use crate::{args::Price, assets, error::CliError, output::Out};

pub(super) fn run(args: &Price, out: &mut Out) -> Result<Verdict, CliError> {
    let book = find(&args.book)?;
    let plan = book.plan(&args.plan).ok_or_else(|| {
        let known: Vec<&str> = book.plans.iter().map(|plan| plan.key.as_str()).collect();
        let hint = format!(" in {} (it has: {})", book.reference, known.join(", "));
        EngineError::not_found("plan", &args.plan, &hint)
    })?;
    let mut usage: Vec<(MeterKey, Quantity)> = Vec::new();
    for pair in &args.usage {
        let (meter, units) = parse_usage(pair)?;
        if book.meter(&meter).is_none() {
            let known: Vec<&str> = book.meters.iter().map(|meter| meter.key.as_str()).collect();
            let hint = format!(" in {} (it has: {})", book.reference, known.join(", "));
            return Err(EngineError::not_found("meter", meter, &hint).into());
        }
        if usage.iter().any(|(known, _)| *known == meter) {
            return Err(CliError::asked(format!("--usage names meter {meter} twice")));
        }
        usage.push((meter, units));
    }
    let context = RateContext::new(book.currency, book.rounding);
    let mut total = Money::zero(book.currency);
    let mut report = Vec::new();
    out.line(format_args!("{} {} (one full period)", book.reference, plan.name))?;
    for charge in &plan.charges {
        let units = charge.meter.as_ref().and_then(|meter| {
            usage.iter().find(|(key, _)| key == meter).map(|(_, units)| units.exact())
        });
        let line = rate(charge, &Usage::units(units.unwrap_or_default()), &context)?;
        total = total.checked_add(line.amount)?;
        out.line(format_args!("\n{}: {}", charge.name, line.amount))?;
        for part in &line.parts {
            out.line(format_args!("  · {}", explain_part(part, line.factor.as_ref(), book.currency)))?;
        }
        out.line(format_args!("  exactly {}", line.exact))?;
        report.push(serde_json::json!({"charge": charge.key, "name": charge.name, "line": line}));
    }
    out.line(format_args!("\nTotal {total} (before tax)"))?;
    out.value(&serde_json::json!({
        "book": book.reference.to_string(), "sha256": book.digest, "plan": plan.key,
        "lines": report, "total": total,
    }))?;
    Ok(Verdict::Done)
}

fn find(name: &str) -> Result<PriceBook, CliError> {
    for (file, text) in assets::BOOKS {
        if file.strip_suffix(".toml") == Some(name) {
            return Ok(PriceBook::parse(file, text)?);
        }
    }
    let path = Path::new(name);
    if !path.exists() {
        let shipped: Vec<&str> =
            assets::BOOKS.iter().filter_map(|(file, _)| file.strip_suffix(".toml")).collect();
        return Err(CliError::asked(format!(
            "{name:?} is neither a file nor a shipped price book ({})",
            shipped.join(", ")
        )));
    }
    super::pricing::read(path)
}

fn parse_usage(pair: &str) -> Result<(MeterKey, Quantity), CliError> {
    let wrong = |why: String| CliError::asked(format!("--usage {pair:?}: {why}"));
    let (meter, units) = pair
        .split_once('=')
        .ok_or_else(|| wrong("write METER=UNITS, for example api_calls=150000".to_owned()))?;
    let meter = MeterKey::new(meter).map_err(|error| wrong(error.to_string()))?;
    let units =
        units.parse().map_err(|error: counterfoil_types::DecimalError| wrong(error.to_string()))?;
    Ok((meter, units))
}
