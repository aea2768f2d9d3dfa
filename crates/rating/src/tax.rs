//! Tax per rate, exclusive or inclusive, rounded per rate and allocated to lines.

use counterfoil_types::{
    Exact, ExactError, Quantity, Rounding, SplitError, split_largest_remainder,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A tax rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaxRate {
    /// Shown on the invoice, for example `VAT DE`.
    pub name: String,
    /// Percent of the net amount.
    pub percent: Quantity,
}

/// Whether amounts already contain the tax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaxMode {
    /// Tax is added to the amount.
    #[default]
    Exclusive,
    /// Tax is contained in the amount.
    Inclusive,
}

/// Why tax could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TaxError {
    /// Rates that take the whole amount or more cannot be contained in it.
    #[error("inclusive tax rates must sum to more than -100 %")]
    ImpossibleRates,
    /// The tax could not be spread over the lines.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A division failed.
    #[error(transparent)]
    Exact(#[from] ExactError),
}

/// An amount and its tax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taxed {
    /// Amount without tax.
    pub net: Exact,
    /// Tax of each rate, rounded by itself.
    pub each: Vec<Exact>,
    /// Their sum.
    pub tax: Exact,
    /// Amount with tax.
    pub gross: Exact,
}

/// Tax on `amount`, each rate on the same net amount and rounded to `dp` decimals by itself.
///
/// Inclusive: the exact net is `amount ÷ (1 + sum of rates)`; the taxes are rounded shares of it
/// and the net shown is what they leave, so that net and taxes sum to the amount.
///
/// # Errors
/// [`TaxError::ImpossibleRates`] for inclusive rates of −100 % and below.
pub fn tax(
    amount: &Exact,
    rates: &[TaxRate],
    mode: TaxMode,
    dp: i32,
    rounding: Rounding,
) -> Result<Taxed, TaxError> {
    let shares: Vec<Exact> =
        rates.iter().map(|rate| rate.percent.exact().mul(&Exact::unit(2))).collect();
    let base = match mode {
        TaxMode::Exclusive => amount.clone(),
        TaxMode::Inclusive => {
            let factor = shares.iter().sum::<Exact>().add(&Exact::ONE);
            if !factor.is_positive() {
                return Err(TaxError::ImpossibleRates);
            }
            amount.div(&factor)?
        }
    };
    let each: Vec<Exact> = shares.iter().map(|share| base.mul(share).round(dp, rounding)).collect();
    let tax: Exact = each.iter().sum();
    Ok(match mode {
        TaxMode::Exclusive => Taxed { net: amount.clone(), each, gross: amount.add(&tax), tax },
        TaxMode::Inclusive => Taxed { net: amount.sub(&tax), each, gross: amount.clone(), tax },
    })
}

/// Spreads a tax amount over lines by largest remainder, in proportion to their amounts.
///
/// Credits (lines below zero) and charges are weighted by their signed amounts: on an invoice that
/// has both, the tax of the credits is taken off first, cut to whole units, and the rest is spread
/// over the charges.
///
/// # Errors
/// [`SplitError::NoWeight`] when there is tax but every line is zero.
pub fn allocate_tax(tax: &Exact, lines: &[Exact], dp: i32) -> Result<Vec<Exact>, SplitError> {
    let charges: Vec<Exact> = lines.iter().map(|line| line.at_least(&Exact::ZERO)).collect();
    let credits: Vec<Exact> = lines.iter().map(|line| line.at_most(&Exact::ZERO)).collect();
    let (up, down): (Exact, Exact) = (charges.iter().sum(), credits.iter().sum());
    let net = up.add(&down);
    if up.is_zero() || down.is_zero() || net.is_zero() {
        let weights = if up.is_zero() { &credits } else { &charges };
        return split_largest_remainder(tax, weights, dp);
    }
    let on_credits = tax.mul(&down).div(&net)?.round(dp, Rounding::TowardsZero);
    let on_charges = tax.sub(&on_credits);
    let credits = split_largest_remainder(&on_credits, &credits, dp)?;
    let charges = split_largest_remainder(&on_charges, &charges, dp)?;
    Ok(charges.iter().zip(&credits).map(|(charge, credit)| charge.add(credit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }
    fn exacts(items: &[&str]) -> Vec<Exact> {
        items.iter().map(|item| exact(item)).collect()
    }
    fn rates(percents: &[&str]) -> Vec<TaxRate> {
        let rate = |text: &&str| TaxRate { name: "VAT".to_owned(), percent: text.parse().unwrap() };
        percents.iter().map(rate).collect()
    }
    const MODE: Rounding = Rounding::HalfAwayFromZero;

    #[test]
    fn exclusive_tax_is_rounded_per_rate() {
        let taxed =
            tax(&exact("999"), &rates(&["10.5", "1"]), TaxMode::Exclusive, 0, MODE).unwrap();
        assert_eq!(taxed.each, exacts(&["105", "10"]));
        assert_eq!(taxed.gross, exact("1114"));
    }

    #[test]
    fn inclusive_tax_and_net_sum_to_the_amount() {
        let taxed = tax(&exact("100"), &rates(&["19"]), TaxMode::Inclusive, 2, MODE).unwrap();
        assert_eq!((taxed.net, taxed.tax), (exact("84.03"), exact("15.97")));
        assert!(tax(&exact("1"), &rates(&["-100"]), TaxMode::Inclusive, 2, MODE).is_err());
    }

    #[test]
    fn allocated_tax_sums_to_the_tax() {
        for lines in [&["1", "1", "1"][..], &["10", "-3", "5"], &["-1", "-2"], &["1", "-1"]] {
            let taxes = allocate_tax(&exact("1"), &exacts(lines), 2).unwrap();
            assert_eq!(taxes.iter().sum::<Exact>(), Exact::ONE, "{lines:?}");
        }
        assert!(allocate_tax(&exact("1"), &exacts(&["0"]), 2).is_err());
    }
}
