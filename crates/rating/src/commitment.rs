//! Spending commitments: usage up to the committed amount at the agreed price, usage above it at
//! the price times an overage factor, and a true-up for what was not used. Commitments may be made
//! per window of time, each window settled by itself (Flexprice), or once per period (Lago).

use counterfoil_types::{Exact, Rounding};

/// A commitment over one period or window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// The committed amount, in major units.
    pub amount: Exact,
    /// What usage above the commitment costs, as a factor on its price (1: no surcharge).
    pub overage_factor: Exact,
    /// Whether the unused rest is billed.
    pub true_up: bool,
}

/// What a commitment comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// What is billed: utilized + overage + true-up.
    pub amount: Exact,
    /// Usage within the commitment.
    pub utilized: Exact,
    /// Usage above the commitment, surcharge included.
    pub overage: Exact,
    /// The unused rest, where it is billed.
    pub true_up: Exact,
}

impl Commitment {
    /// Settles the priced usage of the period or window. Usage below zero (a correction) counts
    /// as utilized and raises the true-up.
    #[must_use]
    pub fn settle(&self, usage: &Exact) -> Committed {
        let utilized = usage.at_most(&self.amount);
        let overage = usage.sub(&utilized).mul(&self.overage_factor);
        let true_up = if self.true_up { self.amount.sub(&utilized) } else { Exact::ZERO };
        Committed { amount: utilized.add(&overage).add(&true_up), utilized, overage, true_up }
    }
}

impl std::iter::Sum for Committed {
    fn sum<I: Iterator<Item = Self>>(windows: I) -> Self {
        windows.fold(Self::default(), |total, window| Self {
            amount: total.amount.add(&window.amount),
            utilized: total.utilized.add(&window.utilized),
            overage: total.overage.add(&window.overage),
            true_up: total.true_up.add(&window.true_up),
        })
    }
}

/// The shortfall of a period against a minimum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueUp {
    /// The minimum for this period, rounded.
    pub commitment: Exact,
    /// What is billed on top of the usage; zero when usage reaches the minimum.
    pub amount: Exact,
}

/// Whether usage is rounded before it is held against a minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageRounding {
    /// Usage and true-up are both billed lines, so the usage counts as it is billed.
    First,
    /// The exact usage counts, and the true-up is rounded once.
    WithTrueUp,
}

/// What tops `usage` up to `minimum` for the part `fraction` of a period.
#[must_use]
pub fn true_up(
    minimum: &Exact,
    fraction: &Exact,
    usage: &Exact,
    usage_rounding: UsageRounding,
    dp: i32,
    rounding: Rounding,
) -> TrueUp {
    let commitment = minimum.mul(fraction).round(dp, rounding);
    let counted = match usage_rounding {
        UsageRounding::First => usage.round(dp, rounding),
        UsageRounding::WithTrueUp => usage.clone(),
    };
    let missing = commitment.sub(&counted).round(dp, rounding);
    TrueUp { commitment, amount: missing.at_least(&Exact::ZERO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    #[test]
    fn windows_are_settled_by_themselves() {
        let default = Commitment { amount: exact("10"), overage_factor: exact("2"), true_up: true };
        let morning = Commitment { amount: exact("5"), true_up: false, ..default.clone() };
        let windows = [(&morning, "20"), (&morning, "2"), (&default, "3")];
        let sum: Committed =
            windows.into_iter().map(|(rule, usage)| rule.settle(&exact(usage))).sum();
        assert_eq!(sum.amount, exact("47"));
        assert_eq!(
            (sum.utilized, sum.overage, sum.true_up),
            (exact("10"), exact("30"), exact("7"))
        );
    }

    #[test]
    fn true_up_rounds_the_prorated_minimum() {
        let part = Exact::ratio(17, 31).unwrap();
        let mode = Rounding::HalfAwayFromZero;
        let up = true_up(&exact("1000"), &part, &Exact::ZERO, UsageRounding::First, 2, mode);
        assert_eq!((up.commitment, up.amount), (exact("548.39"), exact("548.39")));
        let usage = exact("9.994");
        let up = |how| true_up(&exact("10"), &Exact::ONE, &usage, how, 2, mode).amount;
        assert_eq!(up(UsageRounding::First), exact("0.01"));
        assert_eq!(up(UsageRounding::WithTrueUp), exact("0.01"));
        assert_eq!(
            true_up(&exact("1"), &Exact::ONE, &usage, UsageRounding::First, 2, mode).amount,
            Exact::ZERO
        );
    }
}
