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

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    fn bounds(keys: &str) -> Result<Bounds, String> {
        let json = format!(r#"{{"key":"f","model":"flat","amount":1{keys}}}"#);
        let spec: ChargeSpec = serde_json::from_str(&json).unwrap();
        Bounds::try_from(&spec).map_err(|error| error.to_string())
    }

    /// What `total` becomes, and the parts that say why.
    fn applied(bounds: &Bounds, total: &str, scope: &BoundsScope<'_>) -> (Exact, Vec<Exact>) {
        let mut parts = Vec::new();
        let total = bounds.apply(exact(total), &mut parts, scope);
        (total, parts.into_iter().map(|part| part.exact).collect())
    }

    #[test]
    fn bounds_shrink_with_the_period_and_count_what_was_billed() {
        let bounds = bounds(r#","minimum":100,"maximum":200"#).unwrap();
        let half = exact("0.5");
        let whole = BoundsScope::whole(&half);
        assert_eq!(applied(&bounds, "30", &whole), (exact("50"), vec![exact("20")]));
        assert_eq!(applied(&bounds, "50", &whole), (exact("50"), vec![]));
        assert_eq!(applied(&bounds, "100", &whole), (exact("100"), vec![]));
        assert_eq!(applied(&bounds, "130", &whole), (exact("100"), vec![exact("-30")]));
        let later = BoundsScope { billed: exact("45"), minimum_due: false, ..whole };
        assert_eq!(applied(&bounds, "1", &later), (exact("1"), vec![]), "the minimum waits");
        assert_eq!(applied(&bounds, "60", &later), (exact("55"), vec![exact("-5")]));
        let last = BoundsScope { minimum_due: true, ..later };
        assert_eq!(applied(&bounds, "1", &last), (exact("5"), vec![exact("4")]));
        let above = BoundsScope { billed: exact("130"), ..last };
        assert_eq!(applied(&bounds, "10", &above), (Exact::ZERO, vec![exact("-10")]));
    }

    #[test]
    fn discounts_come_after_the_bounds_or_before_them() {
        let half_off = r#","maximum":100,"discounts":[{"percent":50},{"amount":10}]"#;
        let after = format!(r#"{half_off},"bounds_after_discounts":true"#);
        let one = BoundsScope::whole(&Exact::ONE);
        let parts = ["-50", "-50", "-10"].map(exact).to_vec();
        assert_eq!(applied(&bounds(half_off).unwrap(), "150", &one), (exact("40"), parts));
        let parts = ["-75", "-10"].map(exact).to_vec();
        assert_eq!(applied(&bounds(&after).unwrap(), "150", &one), (exact("65"), parts));
        assert_eq!(applied(&bounds(half_off).unwrap(), "0", &one), (Exact::ZERO, vec![]));
    }

    #[test]
    fn a_trial_takes_charges_and_credits_back_and_says_so() {
        let trial = Bounds { trial: true, ..Bounds::default() };
        let one = BoundsScope::whole(&Exact::ONE);
        assert_eq!(applied(&trial, "7", &one), (Exact::ZERO, vec![exact("-7")]));
        assert_eq!(applied(&trial, "-7", &one), (Exact::ZERO, vec![exact("7")]));
        assert_eq!(applied(&trial, "0", &one), (Exact::ZERO, vec![]));
    }

    #[test]
    fn bounds_that_cannot_hold_or_say_nothing_are_refused() {
        assert!(bounds(r#","minimum":5,"maximum":5"#).is_ok());
        let refused = |keys: &str| bounds(keys).unwrap_err();
        assert!(refused(r#","minimum":6,"maximum":5"#).starts_with("maximum"));
        assert!(refused(r#","minimum":-1"#).starts_with("minimum"));
        assert!(refused(r#","maximum":-1"#).starts_with("maximum"));
        let late = r#","bounds_after_discounts":true"#;
        let discount = r#","discounts":[{"percent":50}]"#;
        for useless in ["", r#","minimum":1"#, discount] {
            assert!(refused(&format!("{useless}{late}")).contains("has no effect"), "{useless}");
        }
        for bound in [r#","minimum":1"#, r#","maximum":1"#] {
            assert!(bounds(&format!("{bound}{discount}{late}")).unwrap().after_discounts);
        }
        assert!(refused(r#","discounts":[{"percent":1},{}]"#).starts_with("discounts[1]"));
    }
}
