//! From a plan's specification to the plan one customer pays: currency, phase and the customer's
//! own terms are patches on the JSON form of the specification, and what comes out goes through
//! the same checks as a file does.
//!
//! Order: the charge as written, then the phase, then the currency (`in`), then the customer's
//! overrides. Amounts of an override are read as the charge's are by then: in the customer's
//! currency where the charge has prices in it, else in the book's (and the rate applies).
//!
//! Two rules keep a number from being read in the wrong currency: prices in a currency (`in`) must
//! restate every amount of the charge, and a phase that changes an amount of such a charge must
//! state it in that currency too.

use std::collections::BTreeMap;

use counterfoil_types::{Currency, Exact, Quantity};

use crate::{
    charge::{Charge, not_negative},
    discount::Discount,
    patch::{
        CHARGE_AMOUNTS, PLAN_AMOUNTS, PLAN_KEYS, Patched, codes_of, nested, restate, table_of,
        unstated,
    },
    phase::{PhaseSpec, check_phases},
    plan::{Alignment, CommitmentSpec, FirstPeriod, Plan, PlanSpec, TermCommitment},
    quota::{QuotaSpec, RateLimitSpec},
    rhythm,
    spec::{DiscountSpec, Patch, SpecError},
};

/// Patches by charge key; the key `plan` patches the plan itself.
pub type Overrides = BTreeMap<String, Patch>;

/// What the amounts of a book are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Custom unit = what one costs in the book's own currency.
    pub units: BTreeMap<String, Quantity>,
    /// The other currencies of the book, with what one of the book's own currency is in them;
    /// `None` where every charge states its own prices.
    pub currencies: Vec<(Currency, Option<Quantity>)>,
}

/// The terms a plan is resolved for.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Currency of the customer; `None`: the book's own.
    pub currency: Option<Currency>,
    /// What the book says units and currencies are worth.
    pub rates: &'a Rates,
    /// Key of the phase; `None`: the plain plan.
    pub phase: Option<&'a str>,
    /// The customer's own terms.
    pub overrides: &'a Overrides,
}

static NO_RATES: Rates = Rates { units: BTreeMap::new(), currencies: Vec::new() };
static NO_OVERRIDES: Overrides = BTreeMap::new();

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { currency: None, rates: &NO_RATES, phase: None, overrides: &NO_OVERRIDES }
    }
}

impl PlanSpec {
    /// The plan for the given terms.
    ///
    /// # Errors
    /// The first mistake, with the key it stands at: in the charge, the phase, the currency's
    /// keys (`in`) or the overrides.
    pub fn resolve(&self, terms: &Terms<'_>) -> Result<Plan, SpecError> {
        let phases = check_phases(&self.phases)?;
        let phase = terms.phase.map(|key| self.phase(key)).transpose()?;
        self.check_patches(terms)?;
        let interval = rhythm::interval(self.interval, self.interval_count)?;
        self.check_alignment()?;
        if self.charges.is_empty() {
            return Err(SpecError::new("charge", "a plan needs at least one [[plan.charge]]"));
        }
        let mut charges: Vec<Charge> = Vec::with_capacity(self.charges.len());
        for at in 0..self.charges.len() {
            let charge = self.charge(at, terms, phase)?;
            if let Some(own) = charge.interval {
                rhythm::fitting(own, interval)
                    .map_err(|error| error.under(&format!("charge[{at}]")))?;
            }
            if charges.iter().any(|other| other.key == charge.key) {
                return Err(SpecError::new(
                    format!("charge[{at}].key"),
                    format!("{:?} stands twice in this plan", charge.key),
                ));
            }
            charges.push(charge);
        }
        let mut plan = self.amounts(terms)?;
        plan.interval = interval;
        plan.phase = phase.map(|(_, phase)| phase.key.clone());
        plan.phases = phases;
        plan.charges = charges;
        if let Some(commitment) = &plan.commitment {
            rhythm::fitting(commitment.interval, interval)
                .map_err(|error| error.under("commitment"))?;
        }
        if plan.is_trial() {
            (plan.minimum, plan.bill_at) = (None, None);
        }
        Ok(plan)
    }

    fn phase(&self, key: &str) -> Result<(usize, &PhaseSpec), SpecError> {
        self.phases.iter().enumerate().find(|(_, phase)| phase.key == key).ok_or_else(|| {
            let known: Vec<&str> = self.phases.iter().map(|phase| phase.key.as_str()).collect();
            SpecError::new(
                "phase",
                format!("there is no phase {key:?} in this plan (it has: {})", known.join(", ")),
            )
        })
    }

    /// Patches must be for charges and currencies that exist.
    fn check_patches(&self, terms: &Terms<'_>) -> Result<(), SpecError> {
        let known = |key: &str| self.charges.iter().any(|charge| charge.key == key);
        let missing = |path: String, key: &str| {
            Err(SpecError::new(path, format!("there is no charge {key:?} in this plan")))
        };
        let mut places: Vec<(String, Vec<&String>)> =
            vec![("in".to_owned(), self.in_currency.keys().collect())];
        for (at, charge) in self.charges.iter().enumerate() {
            places.push((format!("charge[{at}].in"), charge.in_currency.keys().collect()));
        }
        for (at, phase) in self.phases.iter().enumerate() {
            for (key, patch) in &phase.charges {
                let path = format!("phase[{at}].charges.{key}");
                if !known(key) {
                    return missing(path, key);
                }
                places.push((format!("{path}.in"), codes_of(patch, &path)?));
            }
            for (number, discount) in phase.discounts.iter().enumerate() {
                Discount::check(discount)
                    .map_err(|error| error.under(&format!("phase[{at}].discounts[{number}]")))?;
            }
        }
        for (key, patch) in terms.overrides {
            let path = format!("overrides.{key}");
            if key == "plan" {
                let unknown =
                    patch.keys().find(|key| *key != "in" && !PLAN_KEYS.contains(&key.as_str()));
                if let Some(unknown) = unknown {
                    return Err(SpecError::new(
                        format!("{path}.{unknown}"),
                        format!("cannot be overridden (what can: {})", PLAN_KEYS.join(", ")),
                    ));
                }
            } else if !known(key) {
                return missing(path, key);
            }
            places.push((format!("{path}.in"), codes_of(patch, &path)?));
        }
        for (path, codes) in places {
            for code in codes {
                let listed = |(currency, _): &(Currency, _)| currency.code() == code;
                if !terms.rates.currencies.iter().any(listed) {
                    return Err(SpecError::new(
                        format!("{path}.{code}"),
                        format!("there is no [[currency]] {code:?} in this book"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_alignment(&self) -> Result<(), SpecError> {
        match (self.alignment, self.billing_day) {
            (Alignment::BillingDay, None) => {
                return Err(SpecError::new("billing_day", "is missing; write a day from 1 to 31"));
            }
            (Alignment::BillingDay, Some(day)) if !(1..=31).contains(&day) => {
                return Err(SpecError::new("billing_day", "must lie between 1 and 31"));
            }
            (Alignment::BillingDay, Some(_)) => {
                let interval = rhythm::interval(self.interval, self.interval_count)?;
                if rhythm::months_and_days(interval).0 == 0 {
                    return Err(SpecError::new(
                        "alignment",
                        "a billing day of the month needs an interval of months",
                    ));
                }
            }
            (_, Some(_)) => {
                return Err(SpecError::new(
                    "billing_day",
                    "is used with `alignment = \"billing_day\"` only",
                ));
            }
            (Alignment::Anniversary, None)
                if self.first_period.is_some_and(|first| first != FirstPeriod::Short) =>
            {
                return Err(SpecError::new(
                    "first_period",
                    "has no effect: with alignment `anniversary` every period is full; remove it",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// The plan with its own amounts, without charges.
    fn amounts(&self, terms: &Terms<'_>) -> Result<Plan, SpecError> {
        let own = Self { charges: Vec::new(), phases: Vec::new(), ..self.clone() };
        let mut patched = Patched::new(&own, String::new());
        let over = terms.overrides.get("plan");
        let mut rate = Quantity::ONE;
        if let Some(currency) = terms.currency {
            let code = currency.code();
            let mut stated: Vec<(String, &Patch)> = Vec::new();
            stated.extend(self.in_currency.get(code).map(|patch| (format!("in.{code}"), patch)));
            let nested = over.and_then(|patch| nested(patch, code));
            stated.extend(nested.map(|patch| (format!("overrides.plan.in.{code}"), patch)));
            if stated.is_empty() {
                let wanted = unstated(&table_of(&own), PLAN_AMOUNTS, &[]);
                let known = rate_of(terms.rates, currency)?;
                rate = match (known, wanted) {
                    (Some(rate), _) => rate,
                    (None, None) => Quantity::ONE,
                    (None, Some(key)) => return Err(no_rate(key, code)),
                };
            } else {
                let patches: Vec<&Patch> = stated.iter().map(|(_, patch)| *patch).collect();
                let place = stated.first().map(|(path, _)| path.clone()).unwrap_or_default();
                let left = unstated(&table_of(&own), PLAN_AMOUNTS, &patches);
                for (path, patch) in stated {
                    let foreign = patch.keys().find(|key| !PLAN_AMOUNTS.contains(&key.as_str()));
                    if let Some(key) = foreign {
                        let message = "is no amount of the plan; remove it";
                        return Err(SpecError::new(format!("{path}.{key}"), message));
                    }
                    patched.apply(path, patch)?;
                }
                if let Some(key) = left {
                    return Err(SpecError::new(place, restate(key, code)));
                }
            }
        }
        if let Some(patch) = over {
            patched.apply("overrides.plan".to_owned(), patch)?;
        }
        patched.spec.own_amounts(rate).map_err(|error| patched.locate(error))
    }

    fn own_amounts(&self, rate: Quantity) -> Result<Plan, SpecError> {
        let amount = |key: &str, value: Quantity| converted(key, not_negative(key, value)?, rate);
        let optional =
            |key: &str, value: Option<Quantity>| value.map(|value| amount(key, value)).transpose();
        let (minimum, maximum) =
            (optional("minimum", self.minimum)?, optional("maximum", self.maximum)?);
        if let (Some(minimum), Some(maximum)) = (minimum, maximum)
            && maximum < minimum
        {
            return Err(SpecError::new("maximum", "lies below `minimum`"));
        }
        let bill_at = optional("bill_at", self.bill_at)?;
        if bill_at.is_some_and(Quantity::is_zero) {
            return Err(SpecError::new("bill_at", "must be above zero"));
        }
        let mut discounts = Vec::with_capacity(self.discounts.len());
        for (at, discount) in self.discounts.iter().enumerate() {
            let path = format!("discounts[{at}]");
            let mut checked = Discount::check(discount).map_err(|error| error.under(&path))?;
            if let Discount::Amount { amount, .. } = &mut checked {
                *amount = converted(&format!("{path}.amount"), *amount, rate)?;
            }
            discounts.push(checked);
        }
        let commitment = self.commitment.as_ref().map(|spec| check_commitment(spec, rate));
        Ok(Plan {
            key: self.key.clone(),
            name: self.name.clone().unwrap_or_else(|| self.key.to_string()),
            interval: rhythm::interval(self.interval, self.interval_count)?,
            alignment: self.alignment,
            billing_day: self.billing_day,
            first_period: self.first_period.unwrap_or_default(),
            late_events: self.late_events,
            minimum,
            maximum,
            discounts,
            commitment: commitment.transpose().map_err(|error| error.under("commitment"))?,
            bill_at,
            phases: Vec::new(),
            phase: None,
            quotas: checked("quota", &self.quotas, QuotaSpec::check)?,
            rate_limits: checked("rate_limit", &self.rate_limits, RateLimitSpec::check)?,
            entitlements: self.entitlements.clone(),
            charges: Vec::new(),
        })
    }

    /// Charge number `at` for the given terms.
    fn charge(
        &self,
        at: usize,
        terms: &Terms<'_>,
        phase: Option<(usize, &PhaseSpec)>,
    ) -> Result<Charge, SpecError> {
        let path = format!("charge[{at}]");
        let Some(spec) = self.charges.get(at) else {
            return Err(SpecError::new(path, "there is no such charge"));
        };
        let mut patched = Patched::new(spec, path.clone());
        patched.spec.in_currency.clear();
        let ramp = phase.and_then(|(number, phase)| {
            let patch = phase.charges.get(&spec.key)?;
            Some((format!("phase[{number}].charges.{}", spec.key), patch))
        });
        let over = terms.overrides.get(&spec.key);
        if let Some((path, patch)) = &ramp {
            patched.apply(path.clone(), patch)?;
        }
        let mut rate = Exact::ONE;
        let mut own_prices = false;
        if let Some(currency) = terms.currency {
            let code = currency.code();
            let base = spec.in_currency.get(code).map(|patch| (format!("{path}.in.{code}"), patch));
            let ramped = ramp.as_ref().and_then(|(path, patch)| {
                Some((format!("{path}.in.{code}"), nested(patch, code)?))
            });
            let nested = over.and_then(|patch| nested(patch, code));
            let overridden =
                nested.map(|patch| (format!("overrides.{}.in.{code}", spec.key), patch));
            if let (Some(_), Some((path, patch))) = (&base, &ramp) {
                let stated: Vec<&Patch> = ramped.iter().map(|(_, patch)| *patch).collect();
                if let Some(key) = unstated(patch, CHARGE_AMOUNTS, &stated) {
                    return Err(SpecError::new(format!("{path}.{key}"), restate(key, code)));
                }
            }
            let stated: Vec<(String, &Patch)> =
                base.into_iter().chain(ramped).chain(overridden).collect();
            if stated.is_empty() {
                let Some(known) = rate_of(terms.rates, currency)? else {
                    return Err(no_rate(&spec.key, code).under(&path));
                };
                rate = known.exact();
            } else {
                own_prices = true;
                let patches: Vec<&Patch> = stated.iter().map(|(_, patch)| *patch).collect();
                let place = stated.first().map(|(path, _)| path.clone()).unwrap_or_default();
                let left = unstated(&table_of(&patched.spec), CHARGE_AMOUNTS, &patches);
                patched.spec.priced_in = None;
                for (path, patch) in stated {
                    if patch.contains_key("priced_in") {
                        let message = format!("prices below `in` are in {code}; remove it");
                        return Err(SpecError::new(format!("{path}.priced_in"), message));
                    }
                    patched.apply(path, patch)?;
                }
                if let Some(key) = left {
                    return Err(SpecError::new(place, restate(key, code)));
                }
            }
        }
        if let Some(patch) = over {
            patched.apply(format!("overrides.{}", spec.key), patch)?;
        }
        if patched.spec.key != spec.key {
            let wrong = SpecError::new("key", "a charge keeps its key");
            return Err(patched.locate(wrong));
        }
        if let Some((number, phase)) = phase {
            let in_money = patched.spec.priced_in.is_none() && !own_prices;
            check_phase_discounts(number, &phase.discounts, in_money)?;
            patched.spec.discounts.extend(phase.discounts.iter().cloned());
        }
        let mut charge =
            Charge::checked(&patched.spec, terms.rates).map_err(|error| patched.locate(error))?;
        charge.factor = charge.factor.mul(&rate);
        if phase.is_some_and(|(_, phase)| phase.trial) {
            charge.bounds.minimum = None;
            charge.bounds.trial = true;
        }
        Ok(charge)
    }
}

/// What one of the book's own currency is in `currency`; `None` where it has no rate.
fn rate_of(rates: &Rates, currency: Currency) -> Result<Option<Quantity>, SpecError> {
    let found = rates.currencies.iter().find(|(known, _)| *known == currency);
    found.map(|(_, rate)| *rate).ok_or_else(|| {
        let known: Vec<&str> = rates.currencies.iter().map(|(known, _)| known.code()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        SpecError::new(
            "currency",
            format!("this book has no prices in {currency} (other currencies: {known})"),
        )
    })
}

fn no_rate(what: &str, code: &str) -> SpecError {
    SpecError::new(
        "in",
        format!("{code} has no rate, so {what:?} needs amounts in it: in = {{ {code} = {{ … }} }}"),
    )
}

fn converted(key: &str, amount: Quantity, rate: Quantity) -> Result<Quantity, SpecError> {
    Quantity::try_from(&amount.exact().mul(&rate.exact()))
        .map_err(|error| SpecError::new(key, error.to_string()))
}

fn check_commitment(spec: &CommitmentSpec, rate: Quantity) -> Result<TermCommitment, SpecError> {
    let factor = spec.overage_factor.unwrap_or(Quantity::ONE);
    Ok(TermCommitment {
        amount: converted("amount", not_negative("amount", spec.amount)?, rate)?,
        interval: rhythm::interval(spec.interval, spec.interval_count)?,
        overage_factor: not_negative("overage_factor", factor)?,
    })
}

/// A fixed amount off every charge is money of the book; a charge whose amounts are in something
/// else would read it as that.
fn check_phase_discounts(
    phase: usize,
    discounts: &[DiscountSpec],
    in_money: bool,
) -> Result<(), SpecError> {
    let fixed = discounts.iter().position(|discount| discount.amount.is_some());
    match fixed {
        Some(at) if !in_money => Err(SpecError::new(
            format!("phase[{phase}].discounts[{at}].amount"),
            "some charge has its prices in a unit or currency of its own: use `percent`, or patch \
             the discounts of each charge",
        )),
        _ => Ok(()),
    }
}

/// A list of tables, each of them checked.
fn checked<T: Clone>(
    key: &str,
    all: &[T],
    check: impl Fn(&T) -> Result<(), SpecError>,
) -> Result<Vec<T>, SpecError> {
    for (at, one) in all.iter().enumerate() {
        check(one).map_err(|error| error.under(&format!("{key}[{at}]")))?;
    }
    Ok(all.to_vec())
}
