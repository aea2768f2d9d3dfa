//! Taxes on net amounts: one amount per rate, rounded once, allocated to the lines by largest
//! remainder.

use counterfoil_types::{
    Currency, Exact, Money, MoneyError, Quantity, Rounding, SplitError, split_largest_remainder,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::customer::TaxRate;

/// What one rate comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxAmount {
    /// Name of the rate.
    pub name: String,
    /// Percent.
    pub percent: Quantity,
    /// Net amount it is taken on.
    pub base: Money,
    /// The tax.
    pub amount: Money,
    /// Its share of each line, in line order; sums to `amount`.
    pub by_line: Vec<Money>,
}

/// Why a tax could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TaxError {
    /// An amount did not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The allocation failed.
    #[error(transparent)]
    Split(#[from] SplitError),
}

/// Taxes `lines` (net, rounded) at each of `rates`.
///
/// # Errors
/// When an amount does not fit.
pub fn tax_lines(
    lines: &[Money],
    rates: &[TaxRate],
    currency: Currency,
    rounding: Rounding,
) -> Result<Vec<TaxAmount>, TaxError> {
    let base = Money::sum(currency, lines.iter().copied())?;
    rates
        .iter()
        .map(|rate| {
            let exact = base.exact().mul(&rate.percent.exact()).mul(&Exact::unit(2));
            let amount = Money::round_from(&exact, currency, rounding)?;
            let by_line = allocate(amount, lines, currency)?;
            Ok(TaxAmount { name: rate.name.clone(), percent: rate.percent, base, amount, by_line })
        })
        .collect()
}

fn allocate(whole: Money, lines: &[Money], currency: Currency) -> Result<Vec<Money>, TaxError> {
    if whole.is_zero() {
        return Ok(vec![Money::zero(currency); lines.len()]);
    }
    // Credits among charges: weights by magnitude keep every line's share on one side of zero.
    let weights: Vec<Exact> = lines.iter().map(|line| line.exact().abs()).collect();
    let parts = split_largest_remainder(&whole.exact(), &weights, currency.decimals())?;
    parts.iter().map(|part| Ok(Money::from_exact(part, currency)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Money {
        Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
    }

    #[test]
    fn tax_is_rounded_once_and_allocated_without_losing_a_cent() {
        let lines = [dollars("0.10"), dollars("0.10"), dollars("0.13")];
        let rate = TaxRate { name: "VAT".into(), percent: "19".parse().unwrap() };
        let taxes = tax_lines(&lines, &[rate], Currency::USD, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(taxes[0].amount, dollars("0.06")); // 0.0627
        assert_eq!(Money::sum(Currency::USD, taxes[0].by_line.clone()).unwrap(), dollars("0.06"));
    }
}
