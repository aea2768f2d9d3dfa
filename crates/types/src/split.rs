//! Splitting an amount so that the parts sum to the whole: largest remainder (Hamilton's method),
//! ties to the earlier item.

use thiserror::Error;

use crate::{
    exact::{Exact, ExactError},
    rounding::Rounding,
};

/// Why an amount could not be split.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// There is money to hand out but no weight to hand it out by.
    #[error("cannot split {0}: all weights are zero")]
    NoWeight(String),
    /// A weight is below zero although the others are not.
    #[error("cannot split by weights of both signs")]
    MixedSigns,
    /// The whole is not a multiple of the unit.
    #[error("{0} is not a multiple of the unit")]
    NotAMultiple(String),
    /// A number did not fit.
    #[error(transparent)]
    Exact(#[from] ExactError),
}

/// Splits `whole` (a multiple of 10^-dp) in proportion to `weights`.
///
/// Each part is first cut towards zero to the unit; the units left over go to the parts with the
/// largest discarded fraction, ties to the earlier item. The parts sum to `whole` exactly.
///
/// # Errors
/// When the weights are all zero but `whole` is not, when they have both signs, or when `whole`
/// does not lie on the unit.
pub fn split_largest_remainder(
    whole: &Exact,
    weights: &[Exact],
    dp: i32,
) -> Result<Vec<Exact>, SplitError> {
    if weights.iter().any(Exact::is_negative) {
        if weights.iter().any(Exact::is_positive) {
            return Err(SplitError::MixedSigns);
        }
        let positive: Vec<_> = weights.iter().map(Exact::neg).collect();
        return split_largest_remainder(whole, &positive, dp);
    }
    let total: Exact = weights.iter().sum();
    if total.is_zero() {
        if whole.is_zero() {
            return Ok(vec![Exact::ZERO; weights.len()]);
        }
        return Err(SplitError::NoWeight(whole.to_string()));
    }
    let mut shares = Vec::with_capacity(weights.len());
    for weight in weights {
        shares.push(whole.mul(weight).div(&total)?);
    }
    settle(whole, &shares, dp)
}

/// Splits `whole` from the last weight to the first: each part is its weight's share of what the
/// later parts left, cut towards zero to the unit, so that the first part takes what is over.
///
/// The parts sum to `whole` exactly and mirror for negative amounts; weights that are all zero
/// count as equal. This is the method of RubyMoney; [`split_largest_remainder`] is the one invoices
/// use.
///
/// # Errors
/// When there are no weights or negative ones, or when `whole` does not lie on the unit.
pub fn split_back_to_front(
    whole: &Exact,
    weights: &[Exact],
    dp: i32,
) -> Result<Vec<Exact>, SplitError> {
    if whole.round(dp, Rounding::TowardsZero) != *whole {
        return Err(SplitError::NotAMultiple(whole.to_string()));
    }
    if weights.iter().any(Exact::is_negative) {
        return Err(SplitError::MixedSigns);
    }
    if weights.is_empty() && !whole.is_zero() {
        return Err(SplitError::NoWeight(whole.to_string()));
    }
    let mut weight_left: Exact = weights.iter().sum();
    if weight_left.is_zero() && !weights.is_empty() {
        return split_back_to_front(whole, &vec![Exact::ONE; weights.len()], dp);
    }
    let mut left = whole.clone();
    let mut parts = Vec::with_capacity(weights.len());
    for weight in weights.iter().rev() {
        let part = if weight_left.is_zero() {
            Exact::ZERO
        } else {
            left.mul(weight).div(&weight_left)?.round(dp, Rounding::TowardsZero)
        };
        weight_left = weight_left.sub(weight);
        left = left.sub(&part);
        parts.push(part);
    }
    parts.reverse();
    Ok(parts)
}

/// Rounds `shares`, which sum to `whole` up to less than one unit each, so that they sum to
/// `whole` exactly. This is the second half of [`split_largest_remainder`], used directly where
/// the exact shares are already known (the tier sublines of an invoice line).
///
/// # Errors
/// [`SplitError::NotAMultiple`] when `whole` minus the cut shares is not a whole number of units
/// or more units are missing than there are shares.
pub fn settle(whole: &Exact, shares: &[Exact], dp: i32) -> Result<Vec<Exact>, SplitError> {
    match settle_in_steps(whole, shares, dp) {
        Some(parts) => Ok(parts),
        None => settle_exact(whole, shares, dp),
    }
}

/// [`settle`] in whole numbers of the finest step, for shares that fit `i128`: nearly every
/// invoice line. `None` where they do not fit or cannot be settled.
fn settle_in_steps(whole: &Exact, shares: &[Exact], dp: i32) -> Option<Vec<Exact>> {
    let dp = u32::try_from(dp).ok()?;
    let mut scale = dp;
    for share in shares {
        scale = scale.max(share.scale()?);
    }
    // Steps in a unit; above zero, so that no division below can fail.
    let unit = Exact::from_i128(1).steps(scale - dp)?;
    let mut missing = whole.steps(dp)?;
    let mut parts = Vec::with_capacity(shares.len());
    for share in shares {
        let steps = share.steps(scale)?;
        let part = (steps / unit, steps % unit);
        missing = missing.checked_sub(part.0)?;
        parts.push(part);
    }
    let step = missing.signum();
    if missing.unsigned_abs() > shares.len() as u128 {
        return None;
    }
    for _ in 0..missing.unsigned_abs() {
        // The largest rest in the missing direction; the first of equals.
        let mut best: Option<&mut (i128, i128)> = None;
        for part in &mut parts {
            if best.as_ref().is_none_or(|best| part.1 * step > best.1 * step) {
                best = Some(part);
            }
        }
        let best = best?;
        best.0 += step;
        // Served: behind every other, as no rest is as large as a unit. A part served twice would
        // need more missing units than parts.
        best.1 = best.1.checked_sub(step * unit.checked_mul(2)?)?;
    }
    Some(parts.into_iter().map(|(units, _)| Exact::from_steps(units, dp)).collect())
}

fn settle_exact(whole: &Exact, shares: &[Exact], dp: i32) -> Result<Vec<Exact>, SplitError> {
    let unit = Exact::unit(dp);
    let mut parts: Vec<Exact> =
        shares.iter().map(|share| share.round(dp, Rounding::TowardsZero)).collect();
    let handed_out: Exact = parts.iter().sum();
    let missing = whole.sub(&handed_out).mul(&Exact::unit(-dp));
    let count = missing.to_i128().ok_or_else(|| SplitError::NotAMultiple(whole.to_string()))?;
    if count == 0 {
        return Ok(parts);
    }
    // How far each share is from its cut part, measured in the direction that is missing.
    let mut order: Vec<(usize, Exact)> = shares
        .iter()
        .zip(&parts)
        .map(|(share, part)| {
            let rest = share.sub(part);
            if count > 0 { rest } else { rest.neg() }
        })
        .enumerate()
        .collect();
    order.sort_by(|(ia, a), (ib, b)| b.cmp(a).then(ia.cmp(ib)));
    let wanted = usize::try_from(count.unsigned_abs())
        .map_err(|_| SplitError::NotAMultiple(whole.to_string()))?;
    if wanted > order.len() {
        return Err(SplitError::NotAMultiple(whole.to_string()));
    }
    let step = if count > 0 { unit } else { unit.neg() };
    for (index, _) in order.into_iter().take(wanted) {
        if let Some(part) = parts.get_mut(index) {
            *part = part.add(&step);
        }
    }
    debug_assert_eq!(&parts.iter().sum::<Exact>(), whole);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exacts(items: &[&str]) -> Vec<Exact> {
        items.iter().map(|item| Exact::parse(item).unwrap()).collect()
    }

    #[test]
    fn ties_go_to_the_earlier_item() {
        let parts = split_largest_remainder(&exacts(&["1.000"])[0], &exacts(&["1", "1", "1"]), 3);
        assert_eq!(parts.unwrap(), exacts(&["0.334", "0.333", "0.333"]));
        let parts = split_largest_remainder(&exacts(&["-0.05"])[0], &exacts(&["1", "1"]), 2);
        assert_eq!(parts.unwrap(), exacts(&["-0.03", "-0.02"]));
    }

    #[test]
    fn back_to_front_leaves_the_rest_to_the_first() {
        let split = |whole: &str, weights: &[&str]| {
            split_back_to_front(&exacts(&[whole])[0], &exacts(weights), 0)
        };
        assert_eq!(split("100", &["1", "1", "1"]).unwrap(), exacts(&["34", "33", "33"]));
        assert_eq!(split("-100", &["1", "1", "1"]).unwrap(), exacts(&["-34", "-33", "-33"]));
        assert_eq!(split("100", &["1", "1", "0"]).unwrap(), exacts(&["50", "50", "0"]));
        assert_eq!(split("100", &["0", "1"]).unwrap(), exacts(&["0", "100"]));
        assert_eq!(split("5", &["0", "0"]).unwrap(), exacts(&["3", "2"]));
        assert!(split("1", &[]).is_err() && split("0.5", &["1"]).is_err());
    }

    #[test]
    fn impossible_splits_are_refused() {
        assert!(split_largest_remainder(&exacts(&["1"])[0], &exacts(&["0", "0"]), 2).is_err());
        assert!(split_largest_remainder(&exacts(&["1"])[0], &exacts(&["1", "-1"]), 2).is_err());
        assert!(split_largest_remainder(&exacts(&["0.001"])[0], &exacts(&["1"]), 2).is_err());
    }

    proptest! {
        #[test]
        fn settling_in_steps_equals_settling_exactly(
            shares in proptest::collection::vec((-1_000_000i64..1_000_000, 0i32..6), 1..12),
            dp in 0i32..4, more in -3i64..=3,
        ) {
            let shares: Vec<Exact> =
                shares.into_iter().map(|(n, scale)| Exact::from(n).mul(&Exact::unit(scale))).collect();
            let sum: Exact = shares.iter().sum();
            let whole = sum.round(dp, Rounding::HalfAwayFromZero)
                .add(&Exact::unit(dp).mul(&Exact::from(more)));
            let slow = settle_exact(&whole, &shares, dp);
            match settle_in_steps(&whole, &shares, dp) {
                Some(quick) => prop_assert_eq!(quick, slow.unwrap()),
                None => prop_assert!(slow.is_err()),
            }
        }

        #[test]
        fn parts_sum_to_the_whole(
            cents in -1_000_000_000_000i64..1_000_000_000_000,
            weights in proptest::collection::vec(0i64..1_000_000, 1..40),
        ) {
            let whole = Exact::ratio(i128::from(cents), 100).unwrap();
            let weights: Vec<_> = weights.into_iter().map(Exact::from).collect();
            prop_assume!(weights.iter().any(Exact::is_positive));
            let parts = split_largest_remainder(&whole, &weights, 2).unwrap();
            prop_assert_eq!(parts.iter().sum::<Exact>(), whole.clone());
            let total: Exact = weights.iter().sum();
            let cent = Exact::ratio(1, 100).unwrap();
            for (part, weight) in parts.iter().zip(&weights) {
                let fair = whole.mul(weight).div(&total).unwrap();
                prop_assert!(part.sub(&fair).abs() < cent, "no part is a whole cent off its share");
            }
        }
    }
}
