//! Taxes on net amounts: one amount per rate, rounded once, allocated to the lines by largest
//! remainder.

use counterfoil_rating::tax::{TaxMode, allocate_tax, tax};
use counterfoil_types::{Currency, Exact, Money, MoneyError, Quantity, Rounding, SplitError};
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
    /// A rate or an allocation failed.
    #[error(transparent)]
    Rates(#[from] counterfoil_rating::tax::TaxError),
    /// An allocation failed.
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
    let decimals = currency.decimals();
    let taxed = tax(&base.exact(), rates, TaxMode::Exclusive, decimals, rounding)?;
    let shares: Vec<Exact> = lines.iter().map(|line| line.exact()).collect();
    rates
        .iter()
        .zip(&taxed.each)
        .map(|(rate, amount)| {
            let by_line = if amount.is_zero() {
                vec![Money::zero(currency); lines.len()]
            } else {
                let parts = allocate_tax(amount, &shares, decimals)?;
                parts
                    .iter()
                    .map(|part| Money::from_exact(part, currency))
                    .collect::<Result<_, _>>()?
            };
            Ok(TaxAmount {
                name: rate.name.clone(),
                percent: rate.percent,
                base,
                amount: Money::from_exact(amount, currency)?,
                by_line,
            })
        })
        .collect()
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

    #[test]
    fn the_tax_of_a_credit_is_a_credit() {
        let lines = [dollars("100"), dollars("-20")];
        let rate = TaxRate { name: "VAT".into(), percent: "10".parse().unwrap() };
        let taxes = tax_lines(&lines, &[rate], Currency::USD, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(taxes[0].by_line, [dollars("10"), dollars("-2")]);
    }
}
