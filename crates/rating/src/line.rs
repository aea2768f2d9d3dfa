//! The rated line: exact parts, one rounding, parts settled so that they add up.

use counterfoil_types::{
    Currency, Exact, Money, MoneyError, Quantity, Rounding, SplitError, split::settle,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{bounds::BoundsScope, charge::Charge, usage::Usage};

/// What a part of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Units that cost nothing.
    Included,
    /// Units of a tier (or all units of a model without tiers).
    Units,
    /// Fee for entering a tier.
    TierFee,
    /// Whole packages or blocks.
    Packages,
    /// A fixed amount.
    Flat,
    /// Percent of the metered amount.
    Percentage,
    /// Fee per transaction.
    TransactionFee,
    /// What floors and caps per transaction changed.
    TransactionBounds,
    /// Raises the charge to its minimum.
    MinimumTopUp,
    /// Lowers the charge to its maximum.
    MaximumCap,
    /// A discount.
    Discount,
    /// Usage below zero that counts as zero.
    Clamped,
    /// What earlier invoices already billed.
    AlreadyBilled,
}

/// A part of a line: how many units at what price, and what that comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Tier number (from 1) or name of the cell, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Units (or packages, transactions, percent base).
    pub quantity: Exact,
    /// Price of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Quantity>,
    /// Unrounded amount.
    pub exact: Exact,
    /// Amount settled to the line's rounded amount, in major units.
    pub amount: Exact,
}

impl Part {
    /// `quantity` at `price`.
    #[must_use]
    pub fn priced(kind: PartKind, label: String, quantity: Exact, price: Quantity) -> Self {
        let exact = quantity.mul(&price.exact());
        Self { kind, label, quantity, price: Some(price), exact, amount: Exact::ZERO }
    }

    /// An amount that is no product of units and a price.
    #[must_use]
    pub fn adjustment(kind: PartKind, label: &str, exact: Exact) -> Self {
        Self {
            kind,
            label: label.to_owned(),
            quantity: Exact::ONE,
            price: None,
            exact,
            amount: Exact::ZERO,
        }
    }
}

/// What a charge comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RatedLine {
    /// Billed units (after conversion; negative for a credit).
    pub units: Exact,
    /// The parts, in order; their `exact` and `amount` sum to the line's.
    pub parts: Vec<Part>,
    /// Unrounded amount.
    pub exact: Exact,
    /// What each part's units × price was multiplied with (price of the charge's unit × rate of
    /// the currency), where that is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<Exact>,
    /// Rounded amount.
    pub amount: Money,
}

/// What a rating needs besides charge and usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateContext {
    /// Currency of the line.
    pub currency: Currency,
    /// How the line is rounded.
    pub rounding: Rounding,
    /// Part of a full period that is billed; scales flat amounts, prices of licences, minimum and
    /// maximum, and with `prorate_units` included units and tier bounds.
    pub fraction: Exact,
}

impl RateContext {
    /// A full period.
    #[must_use]
    pub fn new(currency: Currency, rounding: Rounding) -> Self {
        Self { currency, rounding, fraction: Exact::ONE }
    }

    /// The same for part of a period.
    #[must_use]
    pub fn prorated(self, fraction: Exact) -> Self {
        Self { fraction, ..self }
    }
}

/// Why a line could not be rated. Nothing is billed for it; the account is parked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RatingError {
    /// The amount does not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The parts could not be settled.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The model needs single transactions.
    #[error(
        "charge {0:?} has per-transaction rules and needs the single transactions, not their total"
    )]
    NeedsTransactions(String),
    /// The model needs usage by property.
    #[error("charge {0:?} prices by property and needs usage by property, not its total")]
    NeedsCells(String),
    /// The usage names a window of time that the charge does not have.
    #[error("charge {0:?} has no window {1:?}")]
    UnknownWindow(String, String),
}

/// What a charge comes to before anything is rounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// Billed units (after conversion; negative for a credit).
    pub units: Exact,
    /// The parts, in order; their `exact` sum to the line's, their `amount` is not set.
    pub parts: Vec<Part>,
    /// Unrounded amount; may have more digits than an invoice can carry.
    pub exact: Exact,
    /// What units × price of each part was multiplied with, where that is not one.
    pub factor: Option<Exact>,
}

impl Priced {
    /// Sum of the parts of the given kinds.
    #[must_use]
    pub fn sum_of(&self, kinds: &[PartKind]) -> Exact {
        self.parts.iter().filter(|part| kinds.contains(&part.kind)).map(|part| &part.exact).sum()
    }
}

/// Rates one charge.
///
/// # Errors
/// [`RatingError`] when the result does not fit or the usage lacks what the model needs.
pub fn rate(
    charge: &Charge,
    usage: &Usage,
    context: &RateContext,
) -> Result<RatedLine, RatingError> {
    round(price(charge, usage, &context.fraction)?, context)
}

/// Rounds what was priced to a line.
///
/// # Errors
/// When the amount does not fit.
pub(crate) fn round(priced: Priced, context: &RateContext) -> Result<RatedLine, RatingError> {
    let Priced { units, parts, exact, factor } = priced;
    let line = finish(units, parts, exact, context)?;
    Ok(RatedLine { factor, ..line })
}

/// Prices one charge without rounding; `fraction` is the part of a full period that is billed.
///
/// # Errors
/// [`RatingError`] when the usage lacks what the model needs.
pub fn price(charge: &Charge, usage: &Usage, fraction: &Exact) -> Result<Priced, RatingError> {
    let mut priced = price_model(charge, usage, fraction)?;
    bound(charge, &mut priced, &BoundsScope::whole(fraction));
    Ok(priced)
}

/// Applies bounds and discounts, then the charge's factor: all amounts of a charge are in one
/// unit, and the factor makes money of it.
pub(crate) fn bound(charge: &Charge, priced: &mut Priced, scope: &BoundsScope<'_>) {
    let exact = std::mem::take(&mut priced.exact);
    priced.exact = charge.bounds.apply(exact, &mut priced.parts, scope);
    if charge.factor != Exact::ONE {
        priced.exact = priced.exact.mul(&charge.factor);
        for part in &mut priced.parts {
            part.exact = part.exact.mul(&charge.factor);
        }
        priced.factor = Some(charge.factor.clone());
    }
}

/// The parts of the model alone, before minimum, maximum and discounts. `exact` is their sum.
pub(crate) fn price_model(
    charge: &Charge,
    usage: &Usage,
    fraction: &Exact,
) -> Result<Priced, RatingError> {
    let prepared = charge.preparation.prepare(&usage.units);
    let mut parts = Vec::with_capacity(8);
    charge.model.price(charge, usage, &prepared, fraction, &mut parts)?;
    if prepared.credit {
        for part in &mut parts {
            part.quantity = part.quantity.neg();
            part.exact = part.exact.neg();
        }
    }
    if charge.licensed && *fraction != Exact::ONE {
        // Licences for part of a period: 5 seats for 17 of 31 days are 85/31 seats.
        for part in parts.iter_mut().filter(|part| part.kind != PartKind::Included) {
            part.quantity = part.quantity.mul(fraction);
            part.exact = part.exact.mul(fraction);
        }
    }
    if prepared.clamped {
        let mut part = Part::adjustment(PartKind::Clamped, "", Exact::ZERO);
        part.quantity = charge.preparation.convert(&usage.units);
        parts.push(part);
    }
    let exact = parts.iter().map(|part| &part.exact).sum();
    let units = if prepared.credit { prepared.units.neg() } else { prepared.units };
    Ok(Priced { units, parts, exact, factor: None })
}

/// Prices each bucket (a window of time, a group) by itself and adds the parts up. Bounds and
/// discounts of the charge look at the sum.
///
/// # Errors
/// As [`price`].
pub fn price_buckets(
    charge: &Charge,
    buckets: &[Usage],
    fraction: &Exact,
) -> Result<Priced, RatingError> {
    let mut all = Priced::default();
    for (number, bucket) in (1u64..).zip(buckets) {
        let priced = price_model(charge, bucket, fraction)?;
        all.units = all.units.add(&priced.units);
        all.exact = all.exact.add(&priced.exact);
        all.parts.extend(priced.parts.into_iter().map(|part| {
            let colon = if part.label.is_empty() { "" } else { ":" };
            Part { label: format!("{number}{colon}{}", part.label), ..part }
        }));
    }
    bound(charge, &mut all, &BoundsScope::whole(fraction));
    Ok(all)
}

/// Rounds the exact total once and settles the parts to it.
///
/// # Errors
/// When the total does not fit.
pub fn finish(
    units: Exact,
    mut parts: Vec<Part>,
    exact: Exact,
    context: &RateContext,
) -> Result<RatedLine, RatingError> {
    let amount = Money::round_from(&exact, context.currency, context.rounding)?;
    if parts.is_empty() {
        return Ok(RatedLine { units, parts, exact, factor: None, amount });
    }
    let shares: Vec<Exact> = parts.iter().map(|part| part.exact.clone()).collect();
    let settled = settle(&amount.exact(), &shares, context.currency.decimals())?;
    for (part, amount) in parts.iter_mut().zip(settled) {
        part.amount = amount;
    }
    assert_adds_up(&parts, &exact, amount);
    Ok(RatedLine { units, parts, exact, factor: None, amount })
}

/// Kept on in production: a line whose parts do not add up must never reach an invoice.
#[expect(clippy::panic, reason = "a broken money invariant must stop the process, not bill")]
fn assert_adds_up(parts: &[Part], exact: &Exact, amount: Money) {
    let rounded: Exact = parts.iter().map(|part| &part.amount).sum();
    let unrounded: Exact = parts.iter().map(|part| &part.exact).sum();
    if rounded != amount.exact() || &unrounded != exact {
        panic!("parts of a line do not add up: {rounded} vs {amount}, {unrounded} vs {exact}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ChargeSpec;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    fn charge(keys: &str) -> Charge {
        let json = format!(r#"{{"key":"u","model":"per_unit","unit_price":"2"{keys}}}"#);
        let spec: ChargeSpec = serde_json::from_str(&json).unwrap();
        Charge::try_from(&spec).unwrap()
    }

    /// Kind, label, quantity and exact amount of each part.
    fn told(priced: &Priced) -> Vec<(PartKind, &str, String, String)> {
        let tell = |part: &'_ Part| (part.quantity.to_string(), part.exact.to_string());
        let parts = priced.parts.iter().map(|part| (part, tell(part)));
        parts.map(|(part, (units, exact))| (part.kind, part.label.as_str(), units, exact)).collect()
    }

    #[test]
    fn credits_licences_and_clamped_usage_show_in_the_parts() {
        let usage = |units: &str| Usage::units(exact(units));
        let metered = charge(r#","meter":"m""#);
        let half = exact("0.5");
        let credit = price(&metered, &usage("-3"), &Exact::ONE).unwrap();
        assert_eq!((&credit.units, &credit.exact), (&exact("-3"), &exact("-6")));
        assert_eq!(told(&credit), [(PartKind::Units, "", "-3".to_owned(), "-6".to_owned())]);
        let part = price(&metered, &usage("3"), &half).unwrap();
        assert_eq!(part.exact, exact("6"), "usage is not prorated");
        assert_eq!(part.factor, None);
        let seats = charge(r#","licensed":true,"included":"1""#);
        let seats = price(&seats, &usage("3"), &half).unwrap();
        assert_eq!(seats.exact, exact("2"), "two seats at two for half a period");
        let kinds = [PartKind::Included, PartKind::Units];
        let quantities: Vec<_> = kinds
            .map(|kind| seats.parts.iter().find(|part| part.kind == kind).unwrap())
            .map(|part| part.quantity.to_string())
            .into();
        assert_eq!(quantities, ["1", "1"], "what is included is not cut, what costs is");
        assert_eq!(seats.sum_of(&[PartKind::Units]), exact("2"));
        assert_eq!(seats.sum_of(&[PartKind::Included]), Exact::ZERO);
        let clamped = charge(r#","meter":"m","negative_usage":"clamp_to_zero""#);
        let clamped = price(&clamped, &usage("-3"), &Exact::ONE).unwrap();
        assert_eq!((&clamped.units, &clamped.exact), (&Exact::ZERO, &Exact::ZERO));
        let shown = clamped.parts.last().unwrap();
        assert_eq!((shown.kind, &shown.quantity), (PartKind::Clamped, &exact("-3")));
    }

    #[test]
    fn a_factor_makes_money_of_units_and_stands_on_the_line() {
        let context = RateContext::new(Currency::USD, Rounding::HalfAwayFromZero);
        let mut credits = charge(r#","meter":"m","minimum":"10""#);
        credits.factor = exact("0.25");
        let line = rate(&credits, &Usage::units(exact("3")), &context).unwrap();
        assert_eq!(line.factor, Some(exact("0.25")));
        assert_eq!(line.amount.exact(), exact("2.5"), "six, raised to ten, at a quarter");
        let parts: Vec<String> = line.parts.iter().map(|part| part.exact.to_string()).collect();
        assert_eq!(parts, ["1.5", "1"]);
    }

    #[test]
    fn buckets_are_priced_alone_and_bounded_together() {
        let capped = charge(r#","meter":"m","maximum":"7""#);
        let buckets = ["1", "3"].map(|units| Usage::units(exact(units)));
        let priced = price_buckets(&capped, &buckets, &Exact::ONE).unwrap();
        assert_eq!((&priced.units, &priced.exact), (&exact("4"), &exact("7")));
        let labels: Vec<&str> = priced.parts.iter().map(|part| part.label.as_str()).collect();
        assert_eq!(labels, ["1", "2", "maximum"]);
    }

    #[test]
    fn a_line_with_a_sum_wrong_stops_the_process() {
        let context = RateContext::new(Currency::USD, Rounding::HalfAwayFromZero);
        let line = rate(&charge(r#","meter":"m""#), &Usage::units(exact("3")), &context).unwrap();
        assert_eq!(line.amount.exact(), exact("6"));
        let cents = |text: &str| Money::from_exact(&exact(text), Currency::USD).unwrap();
        let stops = |total: &str, amount: &str| {
            let (total, amount) = (exact(total), cents(amount));
            std::panic::catch_unwind(|| assert_adds_up(&line.parts, &total, amount)).is_err()
        };
        assert!(!stops("6", "6"));
        assert!(stops("6.001", "6") && stops("6", "6.01"));
        let half = context.prorated(exact("0.5"));
        assert_eq!(half.fraction, exact("0.5"));
    }
}
