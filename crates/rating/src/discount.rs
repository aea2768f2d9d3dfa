//! Discounts: one after the other on what the earlier ones left, each rounded by itself before it
//! is subtracted, and spread over lines so that no cent is lost.

use counterfoil_types::{Exact, Quantity, Rounding, SplitError, split_largest_remainder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    charge::not_negative,
    spec::{DiscountSpec, SpecError},
};

/// A checked discount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discount {
    /// A share of what is left, as a fraction (20 % = 0.2).
    Percent {
        /// The fraction.
        share: Exact,
        /// Percent as written.
        percent: Quantity,
        /// Shown on the invoice.
        name: String,
    },
    /// A fixed amount, at most what is left.
    Amount {
        /// The amount.
        amount: Quantity,
        /// Shown on the invoice.
        name: String,
    },
}

impl Discount {
    /// What this discount takes off `left` (≥ 0; nothing off a credit).
    #[must_use]
    pub fn off(&self, left: &Exact) -> Exact {
        if !left.is_positive() {
            return Exact::ZERO;
        }
        match self {
            Self::Percent { share, .. } => left.mul(share),
            Self::Amount { amount, .. } => left.at_most(&amount.exact()),
        }
    }

    /// The name shown.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Percent { name, .. } | Self::Amount { name, .. } => name,
        }
    }

    /// Checks a discount.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(spec: &DiscountSpec) -> Result<Self, SpecError> {
        match (spec.percent, spec.amount) {
            (Some(percent), None) => {
                not_negative("percent", percent)?;
                let share = percent.exact().mul(&Exact::unit(2));
                if share > Exact::ONE {
                    return Err(SpecError::new("percent", "must not be above 100"));
                }
                let name = spec.name.clone().unwrap_or_else(|| format!("Discount {percent} %"));
                Ok(Self::Percent { share, percent, name })
            }
            (None, Some(amount)) => Ok(Self::Amount {
                amount: not_negative("amount", amount)?,
                name: spec.name.clone().unwrap_or_else(|| "Discount".to_owned()),
            }),
            _ => Err(SpecError::new("percent", "say either `percent` or `amount`")),
        }
    }
}

/// In which order several discounts are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscountOrder {
    /// As written.
    #[default]
    AsGiven,
    /// Percentages before fixed amounts (Meteroid); as written within each kind.
    PercentFirst,
}

/// What discounts did to an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discounted {
    /// What each discount took off, in the order the discounts were given.
    pub each: Vec<Exact>,
    /// Their sum.
    pub discount: Exact,
    /// What is left.
    pub amount: Exact,
}

/// The positions of `discounts` in the order they are taken.
fn sequence(discounts: &[Discount], order: DiscountOrder) -> Vec<usize> {
    let mut sequence: Vec<usize> = (0..discounts.len()).collect();
    if order == DiscountOrder::PercentFirst {
        sequence.sort_by_key(|at| !matches!(discounts.get(*at), Some(Discount::Percent { .. })));
    }
    sequence
}

/// Takes `discounts` off `amount`. Each is a share of, or at most, what the earlier ones left, and
/// is rounded to `dp` decimals before it is subtracted. An amount of zero or below stays as it is.
#[must_use]
pub fn apply_in_order(
    amount: &Exact,
    discounts: &[Discount],
    order: DiscountOrder,
    dp: i32,
    rounding: Rounding,
) -> Discounted {
    let mut each = vec![Exact::ZERO; discounts.len()];
    let mut left = amount.clone();
    for at in sequence(discounts, order) {
        if let (Some(discount), Some(slot)) = (discounts.get(at), each.get_mut(at)) {
            // Rounding must not take more than there is: 0.004 left is less than a cent.
            let most = left.at_least(&Exact::ZERO);
            let off = discount.off(&left).round(dp, rounding).at_most(&most);
            left = left.sub(&off);
            *slot = off;
        }
    }
    Discounted { each, discount: amount.sub(&left), amount: left }
}

/// Spreads `discount` (≥ 0) over `lines` in proportion to them, by largest remainder on `dp`
/// decimals, and returns what each line takes. Lines of zero or below take nothing, no line takes
/// more than it has, and a discount above the sum of the lines is cut to it.
///
/// # Errors
/// [`SplitError::NotAMultiple`] when the discount does not lie on `dp` decimals.
pub fn distribute(discount: &Exact, lines: &[Exact], dp: i32) -> Result<Vec<Exact>, SplitError> {
    let weights: Vec<Exact> = lines.iter().map(|line| line.at_least(&Exact::ZERO)).collect();
    let total: Exact = weights.iter().sum();
    let discount = discount.at_most(&total);
    if discount == total {
        return Ok(weights);
    }
    split_largest_remainder(&discount, &weights, dp)
}

/// A discount that looks at some lines only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedDiscount {
    /// The discount.
    pub discount: Discount,
    /// Positions of the lines it is for; `None`: all lines.
    pub lines: Option<Vec<usize>>,
}

/// What scoped discounts did to lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineDiscounts {
    /// For each discount what each line took, in the order given.
    pub each: Vec<Vec<Exact>>,
    /// What is left of each line.
    pub net_lines: Vec<Exact>,
}

/// Takes discounts off lines: those that name lines first (the most specific coupon first, as
/// Lago does), each on what the earlier ones left of its lines, spread by [`distribute`].
///
/// # Errors
/// As [`distribute`].
pub fn apply_to_lines(
    lines: &[Exact],
    discounts: &[ScopedDiscount],
    dp: i32,
    rounding: Rounding,
) -> Result<LineDiscounts, SplitError> {
    let mut net_lines = lines.to_vec();
    let mut each = vec![vec![Exact::ZERO; lines.len()]; discounts.len()];
    let mut sequence: Vec<(usize, &ScopedDiscount)> = discounts.iter().enumerate().collect();
    sequence.sort_by_key(|(_, scoped)| {
        scoped.lines.as_ref().map_or((true, 0), |lines| (false, lines.len()))
    });
    for (position, scoped) in sequence {
        let is_in = |at: &usize| scoped.lines.as_ref().is_none_or(|lines| lines.contains(at));
        let targets: Vec<usize> = (0..net_lines.len()).filter(is_in).collect();
        let rest: Vec<Exact> =
            targets.iter().filter_map(|at| net_lines.get(*at)).cloned().collect();
        let base: Exact = rest.iter().filter(|line| line.is_positive()).sum();
        let off = scoped.discount.off(&base).round(dp, rounding);
        let shares = distribute(&off, &rest, dp)?;
        for (at, share) in targets.into_iter().zip(shares) {
            if let Some(line) = net_lines.get_mut(at) {
                *line = line.sub(&share);
            }
            if let Some(slot) = each.get_mut(position).and_then(|row| row.get_mut(at)) {
                *slot = share;
            }
        }
    }
    Ok(LineDiscounts { each, net_lines })
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
    fn percent(text: &str) -> Discount {
        let percent = Some(text.parse().unwrap());
        Discount::check(&DiscountSpec { percent, amount: None, name: None }).unwrap()
    }
    fn fixed(text: &str) -> Discount {
        let amount = Some(text.parse().unwrap());
        Discount::check(&DiscountSpec { percent: None, amount, name: None }).unwrap()
    }
    const MODE: Rounding = Rounding::HalfAwayFromZero;

    #[test]
    fn order_is_named_and_nothing_goes_below_zero() {
        let both = [fixed("30"), percent("50")];
        let given = apply_in_order(&exact("100"), &both, DiscountOrder::AsGiven, 2, MODE);
        assert_eq!((given.each, given.amount), (exacts(&["30", "35"]), exact("35")));
        let first = apply_in_order(&exact("100"), &both, DiscountOrder::PercentFirst, 2, MODE);
        assert_eq!((first.each, first.amount), (exacts(&["30", "50"]), exact("20")));
        let all = apply_in_order(&exact("10"), &[fixed("30")], DiscountOrder::AsGiven, 2, MODE);
        assert_eq!((all.discount, all.amount), (exact("10"), Exact::ZERO));
        let credit = apply_in_order(&exact("-5"), &both, DiscountOrder::AsGiven, 2, MODE);
        assert_eq!(credit.amount, exact("-5"));
    }

    #[test]
    fn spreading_loses_no_cent_and_spares_credits() {
        let taken = distribute(&exact("100"), &exacts(&["333", "333", "334"]), 0).unwrap();
        assert_eq!(taken, exacts(&["33", "33", "34"]));
        let taken = distribute(&exact("50"), &exacts(&["10", "-5", "20"]), 2).unwrap();
        assert_eq!(taken, exacts(&["10", "0", "20"]), "cut to what there is");
        assert!(distribute(&Exact::ZERO, &exacts(&["0"]), 2).is_ok());
    }

    #[test]
    fn the_most_specific_discount_goes_first() {
        let all = ScopedDiscount { discount: percent("50"), lines: None };
        let one = ScopedDiscount { discount: fixed("10"), lines: Some(vec![1]) };
        let done = apply_to_lines(&exacts(&["20", "30"]), &[all, one], 2, MODE).unwrap();
        assert_eq!(done.net_lines, exacts(&["10", "10"]));
        assert_eq!(done.each, vec![exacts(&["10", "10"]), exacts(&["0", "10"])]);
    }

    #[test]
    fn a_discount_is_a_share_up_to_all_or_an_amount() {
        let check = |percent: Option<&str>, amount: Option<&str>| {
            let number = |text: &str| text.parse().unwrap();
            let (percent, amount) = (percent.map(number), amount.map(number));
            Discount::check(&DiscountSpec { percent, amount, name: None })
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(Some("100"), None).unwrap().off(&exact("7")), exact("7"));
        assert!(check(Some("100.1"), None).unwrap_err().contains("above 100"));
        assert!(check(Some("-1"), None).unwrap_err().starts_with("percent"));
        assert!(check(None, Some("-1")).unwrap_err().starts_with("amount"));
        for both_or_none in [check(None, None), check(Some("1"), Some("1"))] {
            assert!(both_or_none.unwrap_err().contains("either"));
        }
        assert_eq!((percent("20").name(), fixed("5").name()), ("Discount 20 %", "Discount"));
        assert_eq!(percent("20").off(&exact("-10")), Exact::ZERO);
        assert_eq!(fixed("5").off(&Exact::ZERO), Exact::ZERO);
    }

    #[test]
    fn a_credit_among_the_lines_does_not_lower_the_base() {
        let half = ScopedDiscount { discount: percent("50"), lines: None };
        let done = apply_to_lines(&exacts(&["20", "-10", "0"]), &[half], 2, MODE).unwrap();
        assert_eq!(done.each, vec![exacts(&["10", "0", "0"])]);
        assert_eq!(done.net_lines, exacts(&["10", "-10", "0"]));
    }
}
