//! Running a book's worked examples.

use counterfoil_rating::{Cell, RateContext, RatingError, Usage, rate};
use counterfoil_types::{Exact, Money};

use crate::{book::PriceBook, spec::ExampleSpec};

/// What an example came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleOutcome {
    /// Its name.
    pub name: String,
    /// Deviations, in words; empty when all is as stated.
    pub deviations: Vec<String>,
}

/// Usage of one meter as an example states it.
fn usage_of(example: &ExampleSpec, meter: &counterfoil_types::MeterKey) -> Usage {
    if let Some(values) = example.transactions.get(meter) {
        return Usage::transactions(values.iter().map(|value| value.exact()).collect());
    }
    let cells: Vec<Cell> = example
        .cells
        .iter()
        .filter(|cell| cell.meter == *meter)
        .map(|cell| Cell { dimensions: cell.when.clone(), units: cell.units.exact() })
        .collect();
    if cells.is_empty() {
        let units = example.usage.get(meter).map_or(Exact::ZERO, |units| units.exact());
        Usage::units(units)
    } else {
        Usage::cells(cells)
    }
}

/// Runs all examples of a book.
///
/// # Errors
/// When a line cannot be rated at all.
pub fn run_examples(book: &PriceBook) -> Result<Vec<ExampleOutcome>, RatingError> {
    book.spec.examples.iter().map(|example| run_example(book, example)).collect()
}

fn run_example(book: &PriceBook, example: &ExampleSpec) -> Result<ExampleOutcome, RatingError> {
    let mut outcome = ExampleOutcome { name: example.name.clone(), deviations: Vec::new() };
    // Loading made sure the plan exists.
    let Some(plan) = book.plan(&example.plan) else { return Ok(outcome) };
    let context = RateContext::new(book.currency, book.rounding);
    let mut total = Money::zero(book.currency);
    for charge in &plan.charges {
        let usage = charge.meter.as_ref().map(|meter| usage_of(example, meter)).unwrap_or_default();
        let line = rate(charge, &usage, &context)?;
        total = total.checked_add(line.amount)?;
        let expected = example.lines.get(&charge.key).map_or(Exact::ZERO, |amount| amount.exact());
        if line.amount.exact() != expected {
            outcome.deviations.push(format!(
                "charge {}: expected {expected}, came to {}",
                charge.key,
                line.amount.to_plain()
            ));
        }
    }
    for key in example.lines.keys() {
        if !plan.charges.iter().any(|charge| charge.key == *key) {
            outcome.deviations.push(format!("plan {} has no charge {key}", plan.key));
        }
    }
    if total.exact() != example.total.exact() {
        outcome.deviations.push(format!(
            "total: expected {}, came to {}",
            example.total,
            total.to_plain()
        ));
    }
    Ok(outcome)
}
