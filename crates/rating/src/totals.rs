//! From lines to the total of an invoice: discounts, prepaid credits and tax in a named order
//! (DESIGN §3, I6).

use counterfoil_types::{Exact, Rounding, SplitError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    credits::apply_credits,
    discount::{Discount, DiscountOrder, apply_in_order, distribute},
    tax::{TaxError, TaxMode, TaxRate, tax},
};

/// When prepaid credits are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditOrder {
    /// They lower the amount that is taxed.
    #[default]
    BeforeTax,
    /// They pay the taxed amount, as a wallet does.
    AfterTax,
}

/// How an invoice's total comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalRules {
    /// Discounts on the invoice.
    pub discounts: Vec<Discount>,
    /// In which order they are taken.
    pub discount_order: DiscountOrder,
    /// Prepaid credits there are, in the order they are used.
    pub credits: Vec<Exact>,
    /// When credits are used.
    pub credit_order: CreditOrder,
    /// Tax rates.
    pub tax: Vec<TaxRate>,
    /// Whether lines contain the tax.
    pub tax_mode: TaxMode,
    /// Decimals of the currency.
    pub dp: i32,
    /// How each amount is rounded.
    pub rounding: Rounding,
}

impl TotalRules {
    /// No discounts, credits or tax.
    #[must_use]
    pub fn plain(dp: i32, rounding: Rounding) -> Self {
        Self {
            discounts: Vec::new(),
            discount_order: DiscountOrder::AsGiven,
            credits: Vec::new(),
            credit_order: CreditOrder::BeforeTax,
            tax: Vec::new(),
            tax_mode: TaxMode::Exclusive,
            dp,
            rounding,
        }
    }
}

/// The amounts below an invoice's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Sum of the lines.
    pub subtotal: Exact,
    /// What the discounts took off.
    pub discount: Exact,
    /// What each line is after the discounts.
    pub net_lines: Vec<Exact>,
    /// Credits used.
    pub credits: Exact,
    /// What is left of each credit.
    pub unused_credits: Vec<Exact>,
    /// Tax of each rate.
    pub taxes: Vec<Exact>,
    /// Tax in sum.
    pub tax: Exact,
    /// What is to be paid; below zero when credit lines outweigh charges.
    pub total: Exact,
}

/// Why totals could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TotalsError {
    /// The discount could not be spread over the lines.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Tax could not be computed.
    #[error(transparent)]
    Tax(#[from] TaxError),
}

/// The totals of rounded `lines`. Each amount is rounded once to the currency; the discount is
/// spread over the lines by largest remainder.
///
/// # Errors
/// When lines do not lie on the currency's minor unit, or the tax rates are impossible.
pub fn totals(lines: &[Exact], rules: &TotalRules) -> Result<Totals, TotalsError> {
    let (dp, rounding) = (rules.dp, rules.rounding);
    let subtotal: Exact = lines.iter().sum();
    let discounted =
        apply_in_order(&subtotal, &rules.discounts, rules.discount_order, dp, rounding);
    let taken = distribute(&discounted.discount, lines, dp)?;
    let net_lines = lines.iter().zip(&taken).map(|(line, off)| line.sub(off)).collect();
    let use_credits = |open: &Exact| {
        let credited = apply_credits(std::slice::from_ref(open), &rules.credits);
        (credited.used(), credited.unused)
    };
    let taxed_on = |base: &Exact| tax(base, &rules.tax, rules.tax_mode, dp, rounding);
    let (taxed, total, (credits, unused_credits)) = match rules.credit_order {
        CreditOrder::BeforeTax => {
            let used = use_credits(&discounted.amount);
            let taxed = taxed_on(&discounted.amount.sub(&used.0))?;
            let total = taxed.gross.clone();
            (taxed, total, used)
        }
        CreditOrder::AfterTax => {
            let taxed = taxed_on(&discounted.amount)?;
            let used = use_credits(&taxed.gross);
            let total = taxed.gross.sub(&used.0);
            (taxed, total, used)
        }
    };
    Ok(Totals {
        subtotal,
        discount: discounted.discount,
        net_lines,
        credits,
        unused_credits,
        taxes: taxed.each,
        tax: taxed.tax,
        total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DiscountSpec;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    #[test]
    fn credits_before_or_after_tax_is_a_setting() {
        let ten = DiscountSpec { percent: Some("10".parse().unwrap()), amount: None, name: None };
        let mut rules = TotalRules {
            discounts: vec![Discount::check(&ten).unwrap()],
            credits: vec![exact("50")],
            tax: vec![TaxRate { name: "VAT".to_owned(), percent: "20".parse().unwrap() }],
            ..TotalRules::plain(2, Rounding::HalfAwayFromZero)
        };
        let lines = [exact("60"), exact("40")];
        let before = totals(&lines, &rules).unwrap();
        assert_eq!(
            (before.discount, before.tax, before.total),
            (exact("10"), exact("8"), exact("48"))
        );
        assert_eq!(before.net_lines, [exact("54"), exact("36")]);
        rules.credit_order = CreditOrder::AfterTax;
        let after = totals(&lines, &rules).unwrap();
        assert_eq!(
            (after.tax, after.total, after.credits),
            (exact("18"), exact("58"), exact("50"))
        );
    }

    #[test]
    fn an_invoice_of_credits_stays_negative() {
        let rules = TotalRules {
            credits: vec![exact("5")],
            ..TotalRules::plain(2, Rounding::HalfAwayFromZero)
        };
        let totals = totals(&[exact("-20"), exact("5")], &rules).unwrap();
        assert_eq!((totals.total, totals.credits), (exact("-15"), Exact::ZERO));
    }
}
