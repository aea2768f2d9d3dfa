//! Tiers stated as widths in blocks, as Kill Bill catalogs do: a started block costs a whole one,
//! and usage beyond the last tier stays in it.

use counterfoil_types::{Exact, Quantity};

use crate::{
    charge::not_negative,
    line::{Part, PartKind},
    spec::{BlockPolicy, ChargeSpec, SpecError},
    tier::scaled,
};

/// One tier of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BlockTier {
    size: Quantity,
    /// `None` in a last tier that says no limit; a limit there has no effect either.
    blocks: Option<Quantity>,
    price: Quantity,
}

/// Checked tiers of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    tiers: Vec<BlockTier>,
    policy: BlockPolicy,
}

impl Blocks {
    /// Checks the keys of a tiered-block charge.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(spec: &ChargeSpec) -> Result<Self, SpecError> {
        if spec.tiers.is_empty() {
            return Err(SpecError::new("tiers", "at least one tier is needed"));
        }
        let mut tiers = Vec::new();
        for (at, tier) in spec.tiers.iter().enumerate() {
            let path = |key: &str| format!("tiers[{at}].{key}");
            let above_zero = |key: &str, value: Option<Quantity>| match value {
                Some(value) if !value.is_zero() && !value.is_negative() => Ok(value),
                Some(_) => Err(SpecError::new(path(key), "must be above zero")),
                None => Err(SpecError::new(path(key), "is missing; model `tiered_block` needs it")),
            };
            let unused = [
                ("up_to", tier.up_to.is_some()),
                ("unit_price", tier.unit_price.is_some()),
                ("flat_fee", tier.flat_fee.is_some()),
                ("rate", tier.rate.is_some()),
            ];
            if let Some((key, _)) = unused.into_iter().find(|(_, set)| *set) {
                return Err(SpecError::new(path(key), "is not used by model `tiered_block`"));
            }
            let price = tier
                .block_price
                .ok_or_else(|| SpecError::new(path("block_price"), "is missing"))?;
            tiers.push(BlockTier {
                size: above_zero("block_size", tier.block_size)?,
                blocks: match tier.max_blocks {
                    None if at + 1 == spec.tiers.len() => None,
                    blocks => Some(above_zero("max_blocks", blocks)?),
                },
                price: not_negative(&path("block_price"), price)?,
            });
        }
        Ok(Self { tiers, policy: spec.block_policy.unwrap_or(BlockPolicy::AllTiers) })
    }

    pub(super) fn price(&self, units: &Exact, scale: Option<&Exact>, parts: &mut Vec<Part>) {
        let last = self.tiers.len();
        let mut left = units.clone();
        for (number, tier) in (1..).zip(&self.tiers) {
            if !left.is_positive() {
                break;
            }
            let width = tier.blocks.map(|blocks| tier.size.exact().mul(&scaled(blocks, scale)));
            let inside = match width {
                Some(width) if number < last => left.at_most(&width),
                _ => left.clone(),
            };
            left = left.sub(&inside);
            let (count, due) = match self.policy {
                BlockPolicy::AllTiers => (blocks_of(&inside, tier), true),
                BlockPolicy::TopTier => (blocks_of(units, tier), !left.is_positive()),
            };
            if due {
                let label = number.to_string();
                parts.push(Part::priced(PartKind::Packages, label, count, tier.price));
            }
        }
    }
}

fn blocks_of(units: &Exact, tier: &BlockTier) -> Exact {
    // The size is above zero by construction, so the division cannot fail.
    units.div(&tier.size.exact()).map_or(Exact::ZERO, |blocks| blocks.ceil())
}
