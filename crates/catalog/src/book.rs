//! A loaded, checked price book.

use counterfoil_metering::{Aggregation, Meter};
use counterfoil_rating::{
    Charge, Model, Overrides, Plan, PlanSpec, Rates, SpecError, Terms, quota::QuotaSpec,
};
use counterfoil_types::{BookRef, Currency, Digest, MeterKey, PlanKey, Quantity, Rounding};
use jiff::civil;

use crate::{
    error::BookError,
    examples::plan_of,
    locate::{line_and_column, offset_of},
    spec::BookSpec,
};

/// A price book ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBook {
    /// Name and version.
    pub reference: BookRef,
    /// Currency of all prices.
    pub currency: Currency,
    /// First local day a billing period may start under this version.
    pub effective_from: civil::Date,
    /// How lines are rounded.
    pub rounding: Rounding,
    /// Checked meters.
    pub meters: Vec<Meter>,
    /// Checked plans, in the book's currency and without a phase.
    pub plans: Vec<Plan>,
    /// What custom units and other currencies are worth.
    pub rates: Rates,
    /// The specification it was made from.
    pub spec: BookSpec,
    /// The text it was read from.
    pub text: String,
    /// SHA-256 over the canonical form of all that can change an amount: comments, layout and
    /// examples do not count.
    pub digest: Digest,
}

impl PriceBook {
    /// Reads and checks a book; `file` is the name used in messages.
    ///
    /// # Errors
    /// The first mistake, with its line and key.
    pub fn parse(file: &str, text: &str) -> Result<Self, BookError> {
        let spec: BookSpec = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let (line, column) = line_and_column(text, offset);
            let message = error.message().trim().to_owned();
            let message = if message.contains("floating point") {
                format!("{message}; write decimals in quotes, for example \"0.01\"")
            } else {
                message
            };
            BookError { file: file.to_owned(), line, column, path: String::new(), message }
        })?;
        Self::check(spec, text).map_err(|error| {
            let (line, column) = line_and_column(text, offset_of(text, &error.path));
            BookError {
                file: file.to_owned(),
                line,
                column,
                path: error.path,
                message: error.message,
            }
        })
    }

    fn check(spec: BookSpec, text: &str) -> Result<Self, SpecError> {
        let header = &spec.book;
        for (key, value) in [("book.name", &header.name), ("book.version", &header.version)] {
            // Names end up in `name@version` references and file names.
            PlanKey::new(value.clone()).map_err(|error| SpecError::new(key, error.to_string()))?;
        }
        let effective_from: civil::Date = header.effective_from.parse().map_err(|_| {
            SpecError::new("book.effective_from", "must be a date, for example 2026-01-01")
        })?;
        let mut meters: Vec<Meter> = Vec::new();
        for (at, meter) in spec.meters.iter().enumerate() {
            let checked = Meter::try_from(meter).map_err(|error| {
                SpecError::new(format!("meter[{at}].{}", error.key), error.message)
            })?;
            if meters.iter().any(|other| other.key == checked.key) {
                return Err(SpecError::new(
                    format!("meter[{at}].key"),
                    "stands twice in this book",
                ));
            }
            meters.push(checked);
        }
        let rates = check_rates(&spec)?;
        if spec.plans.is_empty() {
            return Err(SpecError::new("plan", "a price book needs at least one [[plan]]"));
        }
        let mut plans: Vec<Plan> = Vec::new();
        for (at, plan) in spec.plans.iter().enumerate() {
            let path = format!("plan[{at}]");
            if plans.iter().any(|other| other.key == plan.key) {
                return Err(SpecError::new(format!("{path}.key"), "stands twice in this book"));
            }
            let checked = resolve_all(plan, &rates, &meters).map_err(|error| error.under(&path))?;
            plans.push(checked);
        }
        let digest = digest_of(&spec)?;
        let book = Self {
            reference: BookRef { name: header.name.clone(), version: header.version.clone() },
            currency: header.currency,
            effective_from,
            rounding: header.rounding.unwrap_or(Rounding::HalfAwayFromZero),
            meters,
            plans,
            rates,
            text: text.to_owned(),
            digest,
            spec,
        };
        for (at, example) in book.spec.examples.iter().enumerate() {
            plan_of(&book, example).map_err(|error| error.under(&format!("example[{at}]")))?;
        }
        Ok(book)
    }

    /// A plan for a customer: in its currency, in a phase of the plan, under the customer's own
    /// terms. Without any of them it is a copy of [`PriceBook::plan`].
    ///
    /// # Errors
    /// When the book has no such plan, phase or currency, or an override is wrong; the path names
    /// the key, relative to the plan.
    pub fn resolve(
        &self,
        plan: &PlanKey,
        currency: Currency,
        phase: Option<&str>,
        overrides: &Overrides,
    ) -> Result<Plan, SpecError> {
        let missing =
            || SpecError::new("plan", format!("there is no plan {:?} in this book", plan.as_str()));
        let currency = Some(currency).filter(|currency| *currency != self.currency);
        if currency.is_none() && phase.is_none() && overrides.is_empty() {
            return self.plan(plan).cloned().ok_or_else(missing);
        }
        let spec = self.spec.plans.iter().find(|spec| spec.key == *plan).ok_or_else(missing)?;
        let terms = Terms { currency, rates: &self.rates, phase, overrides };
        resolve_for(spec, &terms, &self.meters)
    }

    /// The currencies customers can be billed in, the book's own first.
    #[must_use]
    pub fn currencies(&self) -> Vec<Currency> {
        let others = self.rates.currencies.iter().map(|(currency, _)| *currency);
        std::iter::once(self.currency).chain(others).collect()
    }

    /// A plan by key, in the book's currency and without a phase.
    #[must_use]
    pub fn plan(&self, key: &PlanKey) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.key == *key)
    }

    /// A meter by key.
    #[must_use]
    pub fn meter(&self, key: &MeterKey) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.key == *key)
    }
}

fn digest_of(spec: &BookSpec) -> Result<Digest, SpecError> {
    let mut priced = spec.clone();
    priced.examples.clear();
    priced.book.description = None;
    let canonical =
        serde_json::to_vec(&priced).map_err(|error| SpecError::new("", error.to_string()))?;
    Ok(Digest::of(&canonical))
}

/// Checks `[[unit]]` and `[[currency]]`.
fn check_rates(spec: &BookSpec) -> Result<Rates, SpecError> {
    let mut rates = Rates::default();
    let above_zero = |path: String, value: Quantity| {
        if value.is_zero() || value.is_negative() {
            return Err(SpecError::new(path, "must be above zero"));
        }
        Ok(value)
    };
    for (at, unit) in spec.units.iter().enumerate() {
        let path = format!("unit[{at}]");
        if unit.key.trim().is_empty() {
            return Err(SpecError::new(format!("{path}.key"), "must not be empty"));
        }
        let price = above_zero(format!("{path}.price"), unit.price)?;
        if rates.units.insert(unit.key.clone(), price).is_some() {
            return Err(SpecError::new(format!("{path}.key"), "stands twice in this book"));
        }
    }
    for (at, other) in spec.currencies.iter().enumerate() {
        let path = format!("currency[{at}]");
        let known =
            |currency: &Currency| rates.currencies.iter().any(|(known, _)| known == currency);
        if other.code == spec.book.currency || known(&other.code) {
            return Err(SpecError::new(format!("{path}.code"), "stands twice in this book"));
        }
        let rate = other.rate.map(|rate| above_zero(format!("{path}.rate"), rate)).transpose()?;
        rates.currencies.push((other.code, rate));
    }
    Ok(rates)
}

/// Resolves a plan in every currency and phase, so that a mistake in any of them is found now and
/// not on the day it is billed. Returns the plain plan.
fn resolve_all(spec: &PlanSpec, rates: &Rates, meters: &[Meter]) -> Result<Plan, SpecError> {
    let overrides = Overrides::new();
    let plain = Terms { currency: None, rates, phase: None, overrides: &overrides };
    let plan = resolve_for(spec, &plain, meters)?;
    let currencies = rates.currencies.iter().map(|(currency, _)| Some(*currency));
    for currency in std::iter::once(None).chain(currencies) {
        let phases = spec.phases.iter().map(|phase| Some(phase.key.as_str()));
        for phase in std::iter::once(None).chain(phases) {
            let terms = Terms { currency, phase, ..plain.clone() };
            resolve_for(spec, &terms, meters)?;
        }
    }
    Ok(plan)
}

fn resolve_for(spec: &PlanSpec, terms: &Terms<'_>, meters: &[Meter]) -> Result<Plan, SpecError> {
    let plan = spec.resolve(terms)?;
    for (number, charge) in plan.charges.iter().enumerate() {
        check_meter(charge, meters).map_err(|error| error.under(&format!("charge[{number}]")))?;
    }
    for (number, quota) in plan.quotas.iter().enumerate() {
        check_quota(quota, &plan, meters)
            .map_err(|error| error.under(&format!("quota[{number}]")))?;
    }
    Ok(plan)
}

fn check_quota(quota: &QuotaSpec, plan: &Plan, meters: &[Meter]) -> Result<(), SpecError> {
    let Some(meter) = meters.iter().find(|meter| meter.key == quota.meter) else {
        return Err(SpecError::new(
            "meter",
            format!("there is no meter {:?} in this book", quota.meter.as_str()),
        ));
    };
    if !matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count | Aggregation::Max) {
        return Err(SpecError::new(
            "meter",
            "a quota needs a meter with aggregation `count`, `sum` or `max`",
        ));
    }
    if plan.quotas.iter().filter(|other| other.meter == quota.meter).count() > 1 {
        return Err(SpecError::new("meter", "has two quotas in this plan"));
    }
    Ok(())
}

fn check_meter(charge: &Charge, meters: &[Meter]) -> Result<(), SpecError> {
    let Some(key) = &charge.meter else { return Ok(()) };
    let Some(meter) = meters.iter().find(|meter| meter.key == *key) else {
        let known: Vec<&str> = meters.iter().map(|meter| meter.key.as_str()).collect();
        return Err(SpecError::new(
            "meter",
            format!(
                "there is no meter {:?} in this book (it has: {})",
                key.as_str(),
                known.join(", ")
            ),
        ));
    };
    match &charge.model {
        Model::Matrix(matrix) => {
            for dimension in matrix.dimensions() {
                if !meter.group_by.contains(&dimension) {
                    return Err(SpecError::new(
                        "rates",
                        format!(
                            "meter {key} is not grouped by {dimension:?}; add it to the meter's `group_by`"
                        ),
                    ));
                }
            }
        }
        Model::TimeOfDay(_)
            if !matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count) =>
        {
            return Err(SpecError::new(
                "meter",
                format!(
                    "prices by time of day need a meter with aggregation `sum` or `count`; {key} has another"
                ),
            ));
        }
        Model::Percentage(model)
            if model.needs_transactions() && meter.aggregation != Aggregation::Sum =>
        {
            return Err(SpecError::new(
                "meter",
                format!(
                    "per-transaction rules need a meter with aggregation `sum`; {key} has another"
                ),
            ));
        }
        _ => {}
    }
    Ok(())
}
