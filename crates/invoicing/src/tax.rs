//! Taxes: one amount per rate, rounded once, allocated to the lines by largest remainder.
//!
//! Which rates apply is a decision made outside (the `tax` port of the engine) and kept on the
//! invoice; what they come to is computed here.

use counterfoil_rating::tax::{TaxMode, allocate_tax, tax};
use counterfoil_types::{Currency, Exact, Money, MoneyError, Quantity, Rounding, SplitError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::customer::{Customer, TaxRate};

/// Which taxes an invoice carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TaxDecision {
    /// The rates, each on the net amount.
    pub rates: Vec<TaxRate>,
    /// Whether prices contain the tax.
    #[serde(default)]
    pub mode: TaxMode,
    /// What the invoice must say about it, for example why no tax is charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl TaxDecision {
    /// What a customer's own settings say: no rates when it is exempt or owes the tax itself.
    #[must_use]
    pub fn of(customer: &Customer) -> Self {
        let mode = customer.tax_mode;
        if let Some(number) = &customer.reverse_charge {
            let note = format!("Reverse charge: the recipient owes the tax (tax number {number})");
            return Self { rates: Vec::new(), mode, note: Some(note) };
        }
        if let Some(reason) = &customer.tax_exempt {
            let note = format!("Exempt from tax: {reason}");
            return Self { rates: Vec::new(), mode, note: Some(note) };
        }
        Self { rates: customer.tax.clone(), mode, note: None }
    }
}

/// What one rate comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TaxAmount {
    /// Name of the rate.
    pub name: String,
    /// Percent.
    pub percent: Quantity,
    /// Amount it is taken on: net where tax is added, gross where prices contain it.
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

/// Taxes `lines` (rounded, after credits; zero for what is not taxed) by `decision`.
///
/// # Errors
/// When an amount does not fit.
pub fn tax_lines(
    lines: &[Money],
    decision: &TaxDecision,
    currency: Currency,
    rounding: Rounding,
) -> Result<Vec<TaxAmount>, TaxError> {
    let base = Money::sum(currency, lines.iter().copied())?;
    let decimals = currency.decimals();
    let taxed = tax(&base.exact(), &decision.rates, decision.mode, decimals, rounding)?;
    let shares: Vec<Exact> = lines.iter().map(|line| line.exact()).collect();
    decision
        .rates
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

    fn decision(percent: &str, mode: TaxMode) -> TaxDecision {
        let rate = TaxRate { name: "VAT".into(), percent: percent.parse().unwrap() };
        TaxDecision { rates: vec![rate], mode, note: None }
    }

    #[test]
    fn tax_is_rounded_once_and_allocated_without_losing_a_cent() {
        let lines = [dollars("0.10"), dollars("0.10"), dollars("0.13")];
        let vat = decision("19", TaxMode::Exclusive);
        let taxes = tax_lines(&lines, &vat, Currency::USD, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(taxes[0].amount, dollars("0.06")); // 0.0627
        assert_eq!(Money::sum(Currency::USD, taxes[0].by_line.clone()).unwrap(), dollars("0.06"));
    }

    #[test]
    fn the_tax_of_a_credit_is_a_credit() {
        let lines = [dollars("100"), dollars("-20")];
        let vat = decision("10", TaxMode::Exclusive);
        let taxes = tax_lines(&lines, &vat, Currency::USD, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(taxes[0].by_line, [dollars("10"), dollars("-2")]);
    }

    #[test]
    fn inclusive_tax_is_found_inside_the_amount() {
        let vat = decision("19", TaxMode::Inclusive);
        let taxes =
            tax_lines(&[dollars("119")], &vat, Currency::USD, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(taxes[0].amount, dollars("19"));
    }

    #[test]
    fn exempt_and_reverse_charged_customers_pay_no_tax_and_read_why() {
        let mut customer =
            Customer::new("c".parse().unwrap(), "C", Currency::EUR, counterfoil_types::Zone::utc());
        customer.tax = decision("19", TaxMode::Exclusive).rates;
        assert_eq!(TaxDecision::of(&customer).rates.len(), 1);
        customer.tax_exempt = Some("charity".into());
        assert!(TaxDecision::of(&customer).note.unwrap().contains("charity"));
        customer.reverse_charge = Some("ATU12345678".into());
        let decision = TaxDecision::of(&customer);
        assert!(decision.rates.is_empty() && decision.note.unwrap().contains("ATU12345678"));
    }
}
