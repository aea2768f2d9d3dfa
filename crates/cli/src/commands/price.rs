//! `price`: usage in, explained lines out. Nothing is stored or read from a store.

use std::{collections::BTreeMap, path::Path};

use counterfoil_catalog::PriceBook;
use counterfoil_engine::EngineError;
use counterfoil_invoicing::explain::explain_part;
use counterfoil_rating::{Cell, Overrides, Plan, RateContext, Usage, in_window, rate};
use counterfoil_types::{MeterKey, Money, Quantity};

use super::Verdict;
use crate::{args::Price, assets, error::CliError, output::Out};

pub(super) fn run(args: &Price, out: &mut Out) -> Result<Verdict, CliError> {
    let book = find(&args.book)?;
    if book.plan(&args.plan).is_none() {
        let known: Vec<&str> = book.plans.iter().map(|plan| plan.key.as_str()).collect();
        let hint = format!(" in {} (it has: {})", book.reference, known.join(", "));
        return Err(EngineError::not_found("plan", &args.plan, &hint).into());
    }
    let currency = args.currency.unwrap_or(book.currency);
    let plan = book
        .resolve(&args.plan, currency, args.phase.as_deref(), &Overrides::new())
        .map_err(|error| CliError::asked(format!("{}: {error}", book.reference)))?;
    let usage = usage_of(args, &book)?;
    let quantities = quantities_of(args, &plan)?;
    let context = RateContext::new(currency, book.rounding);
    // All of it before the first word: what cannot be rated leaves no half result.
    let mut lines = Vec::with_capacity(plan.charges.len());
    for charge in &plan.charges {
        let units = match &charge.meter {
            Some(meter) => usage.get(meter).cloned(),
            None => quantities.get(&charge.key).map(|units| Usage::units(units.exact())),
        };
        lines.push((charge, rate(charge, &units.unwrap_or_default(), &context)?));
    }
    let mut total = Money::zero(currency);
    let mut report = Vec::new();
    let phase = args.phase.as_ref().map_or_else(String::new, |phase| format!(", phase {phase}"));
    out.line(format_args!("{} {} (one full period{phase})", book.reference, plan.name))?;
    for (charge, line) in lines {
        total = total.checked_add(line.amount)?;
        out.line(format_args!("\n{}: {}", charge.name, line.amount))?;
        for part in &line.parts {
            let part = explain_part(part, line.factor.as_ref(), currency);
            out.line(format_args!("  · {part}"))?;
        }
        out.line(format_args!("  exactly {}", line.exact))?;
        report.push(serde_json::json!({"charge": charge.key, "name": charge.name, "line": line}));
    }
    out.line(format_args!("\nTotal {total} (before tax)"))?;
    out.value(&serde_json::json!({
        "book": book.reference.to_string(), "sha256": book.digest, "plan": plan.key,
        "phase": args.phase, "lines": report, "total": total,
    }))?;
    Ok(Verdict::Done)
}

/// Usage by meter, as `--usage` says it.
fn usage_of(args: &Price, book: &PriceBook) -> Result<BTreeMap<MeterKey, Usage>, CliError> {
    let mut usage: BTreeMap<MeterKey, Usage> = BTreeMap::new();
    for pair in &args.usage {
        let (name, units) =
            parse_pair("--usage", "METER=UNITS, for example api_calls=150000", pair)?;
        let (name, window) = match name.split_once(':') {
            Some((name, window)) => (name, Some(window)),
            None => (name, None),
        };
        let meter = MeterKey::new(name)
            .map_err(|error| CliError::asked(format!("--usage {pair:?}: {error}")))?;
        if book.meter(&meter).is_none() {
            let known: Vec<&str> = book.meters.iter().map(|meter| meter.key.as_str()).collect();
            let hint = format!(" in {} (it has: {})", book.reference, known.join(", "));
            return Err(EngineError::not_found("meter", meter, &hint).into());
        }
        let twice = || CliError::asked(format!("--usage names meter {name} twice"));
        match (window, usage.remove(&meter)) {
            (None, None) => {
                usage.insert(meter, Usage::units(units.exact()));
            }
            (None, Some(_)) => return Err(twice()),
            (Some(window), known) => {
                let mut cells = known.map(|usage| usage.cells).unwrap_or_default();
                let dimensions = in_window(window);
                let known = cells.iter().any(|cell| cell.dimensions == dimensions);
                if known || args.usage.iter().any(|pair| pair.starts_with(&format!("{name}="))) {
                    return Err(twice());
                }
                cells.push(Cell { dimensions, units: units.exact() });
                usage.insert(meter, Usage::cells(cells));
            }
        }
    }
    Ok(usage)
}

/// Quantity by licensed charge, as `--quantity` says it.
fn quantities_of(args: &Price, plan: &Plan) -> Result<BTreeMap<String, Quantity>, CliError> {
    let mut quantities = BTreeMap::new();
    for pair in &args.quantity {
        let (charge, units) = parse_pair("--quantity", "CHARGE=UNITS, for example seats=5", pair)?;
        let licensed: Vec<&str> = plan
            .charges
            .iter()
            .filter(|charge| charge.licensed)
            .map(|charge| charge.key.as_str())
            .collect();
        if !licensed.contains(&charge) {
            let hint = format!(" in plan {} (it has: {})", plan.key, licensed.join(", "));
            return Err(EngineError::not_found("licensed charge", charge, &hint).into());
        }
        if quantities.insert(charge.to_owned(), units).is_some() {
            return Err(CliError::asked(format!("--quantity names charge {charge} twice")));
        }
    }
    Ok(quantities)
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

fn parse_pair<'a>(
    option: &str,
    form: &str,
    pair: &'a str,
) -> Result<(&'a str, Quantity), CliError> {
    let wrong = |why: String| CliError::asked(format!("{option} {pair:?}: {why}"));
    let (name, units) = pair.split_once('=').ok_or_else(|| wrong(format!("write {form}")))?;
    let units =
        units.parse().map_err(|error: counterfoil_types::DecimalError| wrong(error.to_string()))?;
    Ok((name, units))
}
