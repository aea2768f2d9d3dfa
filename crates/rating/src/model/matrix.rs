//! Matrix prices: the first rate whose `when` fits all of a cell's property values, most specific
//! first; the default price for the rest.

use std::collections::BTreeMap;

use counterfoil_types::Quantity;

use crate::{
    charge::{Charge, not_negative},
    line::{Part, PartKind, RatingError},
    spec::{ChargeSpec, SpecError},
    usage::{Cell, Usage},
};

/// A checked matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    rates: Vec<(BTreeMap<String, String>, Quantity)>,
    default: Quantity,
}

impl Matrix {
    /// Checks the keys of a matrix charge.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(spec: &ChargeSpec) -> Result<Self, SpecError> {
        let default = spec.default_unit_price.ok_or_else(|| {
            SpecError::new("default_unit_price", "is missing: every cell needs a price")
        })?;
        not_negative("default_unit_price", default)?;
        let mut rates: Vec<(BTreeMap<String, String>, Quantity)> = Vec::new();
        for (at, rate) in spec.rates.iter().enumerate() {
            let path = |key: &str| format!("rates[{at}].{key}");
            if rate.when.is_empty() {
                return Err(SpecError::new(path("when"), "must name at least one property"));
            }
            if rates.iter().any(|(when, _)| *when == rate.when) {
                return Err(SpecError::new(path("when"), "stands twice"));
            }
            not_negative(&path("unit_price"), rate.unit_price)?;
            rates.push((rate.when.clone(), rate.unit_price));
        }
        // More properties first; a stable sort keeps the written order among equals.
        rates.sort_by_key(|(when, _)| std::cmp::Reverse(when.len()));
        Ok(Self { rates, default })
    }

    /// The properties that prices depend on.
    #[must_use]
    pub fn dimensions(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.rates.iter().flat_map(|(when, _)| when.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn price_of(&self, cell: &Cell) -> Quantity {
        let fits = |when: &BTreeMap<String, String>| {
            when.iter().all(|(name, value)| cell.dimensions.get(name) == Some(value))
        };
        self.rates.iter().find(|(when, _)| fits(when)).map_or(self.default, |(_, price)| *price)
    }

    pub(super) fn price(
        &self,
        charge: &Charge,
        usage: &Usage,
        parts: &mut Vec<Part>,
    ) -> Result<(), RatingError> {
        if usage.cells.is_empty() && !usage.units.is_zero() {
            return Err(RatingError::NeedsCells(charge.key.clone()));
        }
        let sign_flipped = charge.preparation.prepare(&usage.units).credit;
        for cell in &usage.cells {
            let label = cell
                .dimensions
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(", ");
            // The caller flips the sign of a credit as a whole; cells keep their own signs.
            let units = charge.preparation.convert(&cell.units);
            let units = if sign_flipped { units.neg() } else { units };
            parts.push(Part::priced(PartKind::Units, label, units, self.price_of(cell)));
        }
        Ok(())
    }
}
