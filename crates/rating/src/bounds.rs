//! Minimum, maximum and discounts of one charge, in that order (DESIGN §3, I6).

use counterfoil_types::{Exact, Quantity};

use crate::{
    charge::not_negative,
    line::{Part, PartKind},
    spec::{ChargeSpec, DiscountSpec, SpecError},
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

/// The bounds of a charge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Least it comes to.
    pub minimum: Option<Quantity>,
    /// Most it comes to.
    pub maximum: Option<Quantity>,
    /// Discounts in order.
    pub discounts: Vec<Discount>,
}

impl Bounds {
    /// Appends the parts that bring `parts` within the bounds, and returns the exact total.
    /// `fraction` is the part of a full period that is billed; the bounds shrink with it.
    pub fn apply(&self, parts: &mut Vec<Part>, fraction: &Exact) -> Exact {
        let mut total: Exact = parts.iter().map(|part| &part.exact).sum();
        if let Some(minimum) = self.minimum {
            let minimum = minimum.exact().mul(fraction);
            if total < minimum {
                let missing = minimum.sub(&total);
                total = minimum;
                parts.push(Part::adjustment(PartKind::MinimumTopUp, "minimum", missing));
            }
        }
        if let Some(maximum) = self.maximum {
            let maximum = maximum.exact().mul(fraction);
            if total > maximum {
                let over = maximum.sub(&total);
                total = maximum;
                parts.push(Part::adjustment(PartKind::MaximumCap, "maximum", over));
            }
        }
        for discount in &self.discounts {
            let off = discount.off(&total);
            if !off.is_zero() {
                total = total.sub(&off);
                parts.push(Part::adjustment(PartKind::Discount, discount.name(), off.neg()));
            }
        }
        total
    }
}

impl TryFrom<&ChargeSpec> for Bounds {
    type Error = SpecError;

    fn try_from(spec: &ChargeSpec) -> Result<Self, SpecError> {
        for (key, bound) in [("minimum", spec.minimum), ("maximum", spec.maximum)] {
            if let Some(bound) = bound {
                not_negative(key, bound)?;
            }
        }
        if let (Some(minimum), Some(maximum)) = (spec.minimum, spec.maximum)
            && maximum < minimum
        {
            return Err(SpecError::new("maximum", "lies below `minimum`"));
        }
        let discounts = spec.discounts.iter().enumerate().map(|(at, discount)| {
            Discount::check(discount).map_err(|error| error.under(&format!("discounts[{at}]")))
        });
        Ok(Self {
            minimum: spec.minimum,
            maximum: spec.maximum,
            discounts: discounts.collect::<Result<_, _>>()?,
        })
    }
}
