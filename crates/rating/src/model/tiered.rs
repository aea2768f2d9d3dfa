//! Graduated and volume tiers (DESIGN §3, R2–R4).

use counterfoil_types::{Exact, Quantity};

use super::PriceOf;
use crate::{
    line::{Part, PartKind},
    spec::ChargeSpec,
    tier::{Tier, scaled},
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
    (included, scale): (&Exact, Option<&Exact>),
    price_of: PriceOf,
    parts: &mut Vec<Part>,
) {
    note_included(units, included, parts);
    let (from, to) = axis(options, units, included);
    for (number, tier) in (1..).zip(tiers) {
        let entered = to > scaled(tier.above, scale) || (number == 1 && options.first_tier_at_zero);
        if !entered {
            break;
        }
        if !tier.flat_fee.is_zero() {
            parts.push(fee(number, tier));
        }
        let inside = tier.overlap_scaled(&from, &to, scale);
        if inside.is_positive() {
            parts.push(priced(number, tier, inside, price_of));
        }
    }
}

/// All units are priced by the tier the total falls in; only that tier's fee is due. The tier is
/// the one that holds the full units, the price is for the priced ones; mostly they are the same.
pub(super) fn volume(
    tiers: &[Tier],
    options: Options,
    (units, full): (&Exact, &Exact),
    (included, scale): (&Exact, Option<&Exact>),
    parts: &mut Vec<Part>,
) {
    note_included(units, included, parts);
    let (from, to) = axis(options, units, included);
    let (_, position) = axis(options, full, included);
    if position.is_zero() && !options.first_tier_at_zero {
        return;
    }
    let selected = (1..).zip(tiers).find(|(_, tier)| tier.holds(&position, scale));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        charge::Charge,
        line::{price, price_buckets},
        model::Model,
        usage::Usage,
    };

    fn charge(model: &str) -> Charge {
        let spec: ChargeSpec = serde_json::from_str(&format!(
            r#"{{"key":"c","meter":"m","model":"{model}","tiers":[
                {{"up_to":10,"unit_price":"2","flat_fee":"5"}},{{"unit_price":"1","flat_fee":"3"}}]}}"#
        ))
        .unwrap();
        Charge::try_from(&spec).unwrap()
    }
    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }
    fn slices(items: &[(&str, &str)]) -> Exact {
        let Model::Graduated { tiers, options } = charge("graduated").model else {
            panic!("a graduated charge")
        };
        let slices: Vec<Slice> = items
            .iter()
            .map(|(units, prorated)| Slice { units: exact(units), prorated: exact(prorated) })
            .collect();
        graduated_slices(&tiers, options, &slices).iter().map(|part| &part.exact).sum()
    }

    #[test]
    fn full_units_fill_tiers_and_prorated_units_are_priced() {
        // Not prorated: the same as the plain model.
        let usage = Usage::units(exact("12"));
        let plain = price(&charge("graduated"), &usage, &Exact::ONE).unwrap().exact;
        assert_eq!(slices(&[("12", "12")]), plain);
        assert_eq!(slices(&[("8", "8"), ("4", "4")]), plain);
        // 8 for half the period, then 4 for a quarter: two of them in each tier.
        assert_eq!(slices(&[("8", "4"), ("4", "1")]), exact("17.5")); // 4×2 + 0.5×2 + 0.5×1 + 5 + 3
        // What leaves comes off the top and keeps the fee of the tier it had entered.
        assert_eq!(slices(&[("12", "12"), ("-4", "-2")]), exact("27")); // 10×2 + 2 − 1×2 − 1 + 5 + 3
        assert_eq!(slices(&[("0", "0")]), Exact::ZERO);
    }

    #[test]
    fn buckets_are_priced_one_by_one() {
        let buckets = [Usage::units(exact("10")), Usage::units(exact("11"))];
        let priced = price_buckets(&charge("volume"), &buckets, &Exact::ONE).unwrap();
        assert_eq!(priced.exact, exact("39")); // 10×2 + 5, then 11×1 + 3
        assert_eq!(priced.units, exact("21"));
        assert!(priced.parts.iter().any(|part| part.label == "2:2"));
    }

    #[test]
    fn the_volume_tier_may_be_picked_by_other_units() {
        let usage = Usage { tier_units: Some(exact("30")), ..Usage::units(exact("4")) };
        assert_eq!(price(&charge("volume"), &usage, &Exact::ONE).unwrap().exact, exact("7"));
    }
}
