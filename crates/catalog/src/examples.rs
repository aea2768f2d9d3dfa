//! Running a book's worked examples.

use counterfoil_rating::{
    Cell, Charge, Overrides, Plan, ProrationBasis, RateContext, RatingError, SpecError, Usage,
    rate, spec::Recurrence,
};
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

/// Usage of one charge as an example states it.
fn usage_for(example: &ExampleSpec, charge: &Charge) -> Usage {
    match &charge.meter {
        Some(meter) => usage_of(example, meter),
        None => example
            .quantities
            .get(&charge.key)
            .map(|quantity| Usage::units(quantity.exact()))
            .unwrap_or_default(),
    }
}

/// The part of a period an example bills.
fn fraction_of(example: &ExampleSpec) -> Result<Exact, SpecError> {
    let Some(text) = &example.fraction else { return Ok(Exact::ONE) };
    let fraction = Exact::parse(text)
        .map_err(|_| SpecError::new("fraction", "must be a decimal or a fraction such as 17/31"))?;
    if !fraction.is_positive() {
        return Err(SpecError::new("fraction", "must be above zero"));
    }
    Ok(fraction)
}

/// The plan an example is about; checks that all it names is there.
pub(crate) fn plan_of(book: &PriceBook, example: &ExampleSpec) -> Result<Plan, SpecError> {
    let currency = example.currency.unwrap_or(book.currency);
    let plan =
        book.resolve(&example.plan, currency, example.phase.as_deref(), &Overrides::new())?;
    fraction_of(example)?;
    for key in example.quantities.keys() {
        if !plan.charges.iter().any(|charge| charge.licensed && charge.key == *key) {
            let message = format!("plan {} has no licensed charge {key:?}", plan.key);
            return Err(SpecError::new(format!("quantities.{key}"), message));
        }
    }
    Ok(plan)
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
    // Loading made sure of both; a book that was put together by hand is told.
    let (plan, fraction) = match (plan_of(book, example), fraction_of(example)) {
        (Ok(plan), Ok(fraction)) => (plan, fraction),
        (Err(error), _) | (_, Err(error)) => {
            outcome.deviations.push(error.to_string());
            return Ok(outcome);
        }
    };
    let currency = example.currency.unwrap_or(book.currency);
    let mut total = Money::zero(currency);
    for charge in &plan.charges {
        let whole =
            charge.recurrence == Recurrence::Once || charge.proration == ProrationBasis::None;
        let part = if whole { Exact::ONE } else { fraction.clone() };
        let context = RateContext::new(currency, book.rounding).prorated(part);
        let line = rate(charge, &usage_for(example, charge), &context)?;
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
