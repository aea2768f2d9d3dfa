//! Minimum, maximum and discounts of one charge, in that order (DESIGN §3, I6), or discounts first
//! where the charge says so (OpenMeter's order).

use counterfoil_types::{Exact, Quantity};

use crate::{
    charge::not_negative,
    discount::Discount,
    line::{Part, PartKind},
    spec::{ChargeSpec, SpecError},
};

/// The bounds of a charge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Least it comes to.
    pub minimum: Option<Quantity>,
    /// Most it comes to.
    pub maximum: Option<Quantity>,
    /// Discounts in order.
    pub discounts: Vec<Discount>,
    /// Whether the bounds are held against the discounted amount instead of the full one.
    pub after_discounts: bool,
    /// Whether nothing is charged after all (a trial); what it would have come to is shown.
    pub trial: bool,
}

/// What the bounds of a charge must know about the period besides the amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundsScope<'a> {
    /// Part of a full period that is billed; the bounds shrink with it.
    pub fraction: &'a Exact,
    /// What earlier invoices of the same period billed; it counts towards the bounds.
    pub billed: Exact,
    /// Whether the minimum is due: with the last invoice of a period only.
    pub minimum_due: bool,
}

impl<'a> BoundsScope<'a> {
    /// One invoice for the whole period.
    #[must_use]
    pub fn whole(fraction: &'a Exact) -> Self {
        Self { fraction, billed: Exact::ZERO, minimum_due: true }
    }
}

impl Bounds {
    /// Appends the parts that bring `parts`, which come to `total`, within the bounds, and returns
    /// the exact total then.
    pub fn apply(&self, total: Exact, parts: &mut Vec<Part>, scope: &BoundsScope<'_>) -> Exact {
        let total = if self.after_discounts {
            let total = self.discount(total, parts);
            self.bound(total, parts, scope)
        } else {
            let total = self.bound(total, parts, scope);
            self.discount(total, parts)
        };
        if !self.trial {
            return total;
        }
        // A credit is taken back as well: what was free cannot be refunded.
        if !total.is_zero() {
            parts.push(Part::adjustment(PartKind::Discount, "Trial", total.neg()));
        }
        Exact::ZERO
    }

    fn bound(&self, mut total: Exact, parts: &mut Vec<Part>, scope: &BoundsScope<'_>) -> Exact {
        if let Some(minimum) = self.minimum
            && scope.minimum_due
        {
            let missing = minimum.exact().mul(scope.fraction).sub(&scope.billed).sub(&total);
            if missing.is_positive() {
                total = total.add(&missing);
                parts.push(Part::adjustment(PartKind::MinimumTopUp, "minimum", missing));
            }
        }
        if let Some(maximum) = self.maximum {
            let over = total.add(&scope.billed).sub(&maximum.exact().mul(scope.fraction));
            // What earlier invoices billed is not given back here: the cap takes this amount to
            // zero at most.
            let over = over.at_most(&total);
            if over.is_positive() {
                total = total.sub(&over);
                parts.push(Part::adjustment(PartKind::MaximumCap, "maximum", over.neg()));
            }
        }
        total
    }

    fn discount(&self, mut total: Exact, parts: &mut Vec<Part>) -> Exact {
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
        let bounded = spec.minimum.is_some() || spec.maximum.is_some();
        if spec.bounds_after_discounts && (!bounded || spec.discounts.is_empty()) {
            return Err(SpecError::new(
                "bounds_after_discounts",
                "has no effect without `discounts` and a `minimum` or `maximum`; remove it",
            ));
        }
        let discounts = spec.discounts.iter().enumerate().map(|(at, discount)| {
            Discount::check(discount).map_err(|error| error.under(&format!("discounts[{at}]")))
        });
        Ok(Self {
            minimum: spec.minimum,
            maximum: spec.maximum,
            discounts: discounts.collect::<Result<_, _>>()?,
            after_discounts: spec.bounds_after_discounts,
            trial: false,
        })
    }
}
