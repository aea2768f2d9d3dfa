//! Graduated and volume tiers (DESIGN §3, R2–R4).

use counterfoil_types::{Exact, Quantity};

use super::PriceOf;
use crate::{
    line::{Part, PartKind},
    spec::ChargeSpec,
    tier::Tier,
};

/// How tiers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bounds count from the end of the included units.
    pub start_after_included: bool,
    /// The first tier counts as entered without usage.
    pub first_tier_at_zero: bool,
}

impl From<&ChargeSpec> for Options {
    fn from(spec: &ChargeSpec) -> Self {
        Self {
            start_after_included: spec.tiers_start_after_included,
            first_tier_at_zero: spec.charge_first_tier_at_zero,
        }
    }
}

/// The interval of the tier axis that is paid for: (from, to], and the position that decides
/// which tiers are entered.
fn axis(options: Options, units: &Exact, included: &Exact) -> (Exact, Exact) {
    let free = units.at_most(included);
    if options.start_after_included {
        (Exact::ZERO, units.sub(&free))
    } else {
        (free, units.clone())
    }
}

fn note_included(units: &Exact, included: &Exact, parts: &mut Vec<Part>) {
    let free = units.at_most(included);
    if free.is_positive() {
        parts.push(Part::priced(PartKind::Included, String::new(), free, Quantity::ZERO));
    }
}

fn fee(number: usize, tier: &Tier) -> Part {
    Part::priced(PartKind::TierFee, number.to_string(), Exact::ONE, tier.flat_fee)
}

fn priced(number: usize, tier: &Tier, units: Exact, price_of: PriceOf) -> Part {
    match price_of {
        PriceOf::Unit => Part::priced(PartKind::Units, number.to_string(), units, tier.unit_price),
        PriceOf::Percent => {
            let mut part =
                Part::priced(PartKind::Percentage, number.to_string(), units, tier.unit_price);
            part.exact = part.exact.mul(&Exact::unit(2));
            part
        }
    }
}

/// Units are priced by the tier they fall in; a tier is entered by any amount above its lower
/// bound.
pub(super) fn graduated(
    tiers: &[Tier],
    options: Options,
    units: &Exact,
    included: &Exact,
    price_of: &PriceOf,
    parts: &mut Vec<Part>,
) {
    note_included(units, included, parts);
    let (from, to) = axis(options, units, included);
    for (number, tier) in (1..).zip(tiers) {
        let entered = to > tier.above.exact() || (number == 1 && options.first_tier_at_zero);
        if !entered {
            break;
        }
        if !tier.flat_fee.is_zero() {
            parts.push(fee(number, tier));
        }
        let inside = tier.overlap(&from, &to);
        if inside.is_positive() {
            parts.push(priced(number, tier, inside, *price_of));
        }
    }
}

/// All units are priced by the tier the total falls in; only that tier's fee is due. The tier is
/// the one that holds the full units, the price is for the priced ones; mostly they are the same.
pub(super) fn volume(
    tiers: &[Tier],
    options: Options,
    (units, full): (&Exact, &Exact),
    included: &Exact,
    parts: &mut Vec<Part>,
) {
    note_included(units, included, parts);
    let (from, to) = axis(options, units, included);
    let (_, position) = axis(options, full, included);
    if position.is_zero() && !options.first_tier_at_zero {
        return;
    }
    let selected = (1..).zip(tiers).find(|(_, tier)| tier.holds(&position));
    let Some((number, tier)) = selected else { return };
    if !tier.flat_fee.is_zero() {
        parts.push(fee(number, tier));
    }
    let billable = to.sub(&from);
    if billable.is_positive() {
        parts.push(priced(number, tier, billable, PriceOf::Unit));
    }
}

/// Units that entered (or, below zero, left) together, and how many of them the period pays for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Full units; they fill the tiers.
    pub units: Exact,
    /// Units left after proration; they are priced.
    pub prorated: Exact,
}

/// Graduated tiers for prorated units: each slice fills the tiers with its full units, in order,
/// and pays the tier's price for the same share of its prorated ones. A slice below zero leaves
/// from the top. A tier's fee is due once when the units enter it.
#[must_use]
pub fn graduated_slices(tiers: &[Tier], options: Options, slices: &[Slice]) -> Vec<Part> {
    let mut prorated = vec![Exact::ZERO; tiers.len()];
    let mut highest = Exact::ZERO;
    let mut level = Exact::ZERO;
    for slice in slices {
        let next = level.add(&slice.units);
        let (from, to) = if next < level { (&next, &level) } else { (&level, &next) };
        for (tier, sum) in tiers.iter().zip(&mut prorated) {
            // Width over units is at most one in size; a slice without units has no width at all.
            let width = tier.overlap(from, to);
            if let Ok(share) = width.div(&slice.units.abs()) {
                *sum = sum.add(&slice.prorated.mul(&share));
            }
        }
        highest = highest.at_least(&next);
        level = next;
    }
    let mut parts = Vec::new();
    for ((number, tier), units) in (1..).zip(tiers).zip(prorated) {
        let entered = highest > tier.above.exact() || (number == 1 && options.first_tier_at_zero);
        if entered && !tier.flat_fee.is_zero() {
            parts.push(fee(number, tier));
        }
        if !units.is_zero() {
            parts.push(priced(number, tier, units, PriceOf::Unit));
        }
    }
    parts
}
