//! Tiers: defined by their inclusive upper bound alone, so a gap cannot be written down.

use counterfoil_types::{Exact, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// A tier as the file states it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierSpec {
    /// Last unit of the tier, fractions included; absent in the last tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Quantity>,
    /// Price of a unit in this tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Quantity>,
    /// Fee due once when usage enters the tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat_fee: Option<Quantity>,
    /// Percent of the metered amount in this tier (graduated_percentage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Quantity>,
    /// Units in a block (tiered_block).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<Quantity>,
    /// Blocks in the tier (tiered_block).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_blocks: Option<Quantity>,
    /// Price of a block (tiered_block).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_price: Option<Quantity>,
}

/// A checked tier: the half-open interval (`above`, `up_to`] and its prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Upper bound of the tier below; zero for the first.
    pub above: Quantity,
    /// Inclusive upper bound; `None` in the last tier.
    pub up_to: Option<Quantity>,
    /// Price of a unit (a percentage rate is stored divided by 100).
    pub unit_price: Quantity,
    /// Fee on entry.
    pub flat_fee: Quantity,
}

impl Tier {
    /// How much of the interval (`from`, `to`] lies in this tier.
    #[must_use]
    pub fn overlap(&self, from: &Exact, to: &Exact) -> Exact {
        self.overlap_scaled(from, to, None)
    }

    /// The same with bounds multiplied by `scale`.
    #[must_use]
    pub fn overlap_scaled(&self, from: &Exact, to: &Exact, scale: Option<&Exact>) -> Exact {
        let lower = from.at_least(&scaled(self.above, scale));
        let upper = match self.up_to {
            Some(bound) => to.at_most(&scaled(bound, scale)),
            None => to.clone(),
        };
        let width = upper.sub(&lower);
        if width.is_positive() { width } else { Exact::ZERO }
    }

    /// Whether the total lies in this tier (its upper bound, multiplied by `scale`, included).
    #[must_use]
    pub fn holds(&self, total: &Exact, scale: Option<&Exact>) -> bool {
        self.up_to.is_none_or(|bound| *total <= scaled(bound, scale))
    }
}

/// A number of units for the part `scale` of a period; `None`: for a full one.
#[must_use]
pub(crate) fn scaled(units: Quantity, scale: Option<&Exact>) -> Exact {
    match scale {
        None => units.exact(),
        Some(scale) => units.exact().mul(scale),
    }
}

/// Checks bounds and prices; `price_key` names the price each tier must (or may) have.
///
/// # Errors
/// Names the tier and key that is wrong.
pub fn check_tiers(
    specs: &[TierSpec],
    price_key: &'static str,
    price: impl Fn(&TierSpec) -> Option<Quantity>,
    price_required: bool,
) -> Result<Vec<Tier>, SpecError> {
    if specs.is_empty() {
        return Err(SpecError::new("tiers", "at least one tier is needed"));
    }
    let mut above = Quantity::ZERO;
    let mut tiers = Vec::with_capacity(specs.len());
    for (at, spec) in specs.iter().enumerate() {
        let path = |key: &str| format!("tiers[{at}].{key}");
        let last = at + 1 == specs.len();
        match (spec.up_to, last) {
            (Some(_), true) => {
                return Err(SpecError::new(
                    path("up_to"),
                    "the last tier must be open: leave out `up_to`, or usage above it would have no price",
                ));
            }
            (None, false) => {
                return Err(SpecError::new(
                    path("up_to"),
                    "only the last tier may leave out `up_to`",
                ));
            }
            (Some(bound), false) if bound <= above => {
                return Err(SpecError::new(
                    path("up_to"),
                    format!(
                        "{bound} does not lie above the tier before it ({above}); order tiers by rising `up_to`"
                    ),
                ));
            }
            _ => {}
        }
        let stated = price(spec);
        if price_required && stated.is_none() && spec.flat_fee.is_none() {
            return Err(SpecError::new(path(price_key), "is missing"));
        }
        let unused = [
            ("unit_price", spec.unit_price.is_some()),
            ("rate", spec.rate.is_some()),
            ("block_size", spec.block_size.is_some()),
            ("max_blocks", spec.max_blocks.is_some()),
            ("block_price", spec.block_price.is_some()),
        ];
        for (key, set) in unused {
            if set && key != price_key {
                return Err(SpecError::new(path(key), "is not used by this model"));
            }
        }
        for (key, value) in [(price_key, stated), ("flat_fee", spec.flat_fee)] {
            if value.is_some_and(Quantity::is_negative) {
                return Err(SpecError::new(path(key), "must not be negative"));
            }
        }
        tiers.push(Tier {
            above,
            up_to: spec.up_to,
            unit_price: stated.unwrap_or(Quantity::ZERO),
            flat_fee: spec.flat_fee.unwrap_or(Quantity::ZERO),
        });
        above = spec.up_to.unwrap_or(above);
    }
    Ok(tiers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    fn checked(json: &str, required: bool) -> Result<Vec<Tier>, String> {
        let specs: Vec<TierSpec> = serde_json::from_str(json).unwrap();
        check_tiers(&specs, "unit_price", |tier| tier.unit_price, required)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_tier_is_open_below_and_closed_above() {
        let json = r#"[{"up_to":10,"unit_price":1},{"up_to":20,"unit_price":2},{"unit_price":3}]"#;
        let tiers = checked(json, true).unwrap();
        let bounds: Vec<_> = tiers.iter().map(|tier| (tier.above, tier.up_to)).collect();
        let (ten, twenty) = (Quantity::from(10), Quantity::from(20));
        assert_eq!(bounds, [(0.into(), Some(ten)), (ten, Some(twenty)), (twenty, None)]);
        let [_, middle, last] = &tiers[..] else { panic!("three tiers") };
        let overlap = |tier: &Tier, from, to| tier.overlap(&exact(from), &exact(to)).to_string();
        assert_eq!(overlap(middle, "0", "10"), "0");
        assert_eq!(overlap(middle, "0", "15"), "5");
        assert_eq!(overlap(middle, "12", "30"), "8");
        assert_eq!(overlap(middle, "25", "30"), "0");
        assert_eq!(overlap(last, "0", "30"), "10");
        let half = exact("0.5");
        let scaled = middle.overlap_scaled(&exact("0"), &exact("9"), Some(&half));
        assert_eq!(scaled, exact("4"), "from 5 to 9 of (5, 10]");
        assert!(middle.holds(&exact("20"), None) && !middle.holds(&exact("20.1"), None));
        assert!(
            middle.holds(&exact("10"), Some(&half)) && !middle.holds(&exact("11"), Some(&half))
        );
        assert!(last.holds(&exact("1000000"), Some(&half)));
    }

    #[test]
    fn mistakes_in_tiers_name_tier_and_key() {
        for (json, says) in [
            ("[]", "tiers: at least one"),
            (r#"[{"up_to":0,"unit_price":1},{"unit_price":1}]"#, "tiers[0].up_to: 0 does not lie"),
            (
                r#"[{"up_to":5,"unit_price":1},{"up_to":5,"unit_price":1},{"unit_price":1}]"#,
                "tiers[1].up_to: 5 does not lie",
            ),
            (r#"[{"up_to":5,"unit_price":1}]"#, "tiers[0].up_to: the last tier must be open"),
            (r#"[{"unit_price":1},{"unit_price":1}]"#, "tiers[0].up_to: only the last tier"),
            (r#"[{}]"#, "tiers[0].unit_price: is missing"),
            (r#"[{"unit_price":-1}]"#, "tiers[0].unit_price: must not be negative"),
            (r#"[{"unit_price":1,"flat_fee":-1}]"#, "tiers[0].flat_fee: must not be negative"),
            (r#"[{"unit_price":1,"rate":1}]"#, "tiers[0].rate: is not used"),
            (r#"[{"unit_price":1,"block_size":1}]"#, "tiers[0].block_size: is not used"),
        ] {
            let said = checked(json, true).unwrap_err();
            assert!(said.contains(says), "{json} said: {said}");
        }
        let fee_alone = checked(r#"[{"flat_fee":7}]"#, true).unwrap();
        assert_eq!((fee_alone[0].unit_price, fee_alone[0].flat_fee), (0.into(), 7.into()));
        assert!(checked("[{}]", false).is_ok(), "where no price is needed");
    }
}
