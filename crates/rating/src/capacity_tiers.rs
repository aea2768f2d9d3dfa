//! Capacity priced over several meters at once: the price of the lowest tier whose bounds hold for
//! every meter (Kill Bill's capacity usage). It is no model of a single charge, as a charge has
//! one meter; the caller brings the usage by meter.

use std::collections::BTreeMap;

use counterfoil_types::{Exact, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// One tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityTier {
    /// Price of the tier for a period, in major units.
    pub price: Quantity,
    /// Inclusive bound of each meter; a meter that is absent or null has none.
    #[serde(default)]
    pub max: BTreeMap<String, Option<Quantity>>,
}

impl CapacityTier {
    fn holds(&self, usage: &BTreeMap<String, Exact>) -> bool {
        self.max.iter().all(|(meter, bound)| match (bound, usage.get(meter)) {
            (Some(bound), Some(units)) => *units <= bound.exact(),
            _ => true,
        })
    }
}

/// Checked tiers, from the lowest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityTiers(Vec<CapacityTier>);

impl CapacityTiers {
    /// Checks tiers.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(tiers: Vec<CapacityTier>) -> Result<Self, SpecError> {
        if tiers.is_empty() {
            return Err(SpecError::new("tiers", "at least one tier is needed"));
        }
        Ok(Self(tiers))
    }

    /// Number (from 1) and tier the usage falls in; usage beyond the last tier stays in it.
    #[must_use]
    pub fn select(&self, usage: &BTreeMap<String, Exact>) -> Option<(usize, &CapacityTier)> {
        let held = (1..).zip(&self.0).find(|(_, tier)| tier.holds(usage));
        held.or_else(|| self.0.last().map(|last| (self.0.len(), last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_that_needs_most_decides() {
        let tiers: Vec<CapacityTier> = serde_json::from_str(
            r#"[{"price":10,"max":{"a":100,"b":1000}},{"price":20,"max":{"a":200,"b":2000}}]"#,
        )
        .unwrap();
        let tiers = CapacityTiers::new(tiers).unwrap();
        let pick = |a: i64, b: i64| {
            let usage = [("a".to_owned(), a.into()), ("b".to_owned(), b.into())];
            tiers.select(&BTreeMap::from(usage)).unwrap().0
        };
        assert_eq!([pick(100, 1000), pick(1, 1001), pick(101, 1), pick(1, 9999)], [1, 2, 2, 2]);
        assert!(CapacityTiers::new(Vec::new()).is_err());
    }
}
