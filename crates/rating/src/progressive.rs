//! Billing inside a period: each invoice bills the difference of running totals, so that all
//! invoices of the period sum to what one invoice for the whole of it would say, to the cent.
//!
//! The same difference prices late events: rate(new total) − rate(billed total).

use counterfoil_types::{Exact, Money, MoneyError, Rounding};
use serde::{Deserialize, Serialize};

use crate::{
    bounds::BoundsScope,
    charge::Charge,
    line::{
        Part, PartKind, Priced, RateContext, RatedLine, RatingError, bound, price_model, round,
    },
    model::Model,
    spec::Timing,
    usage::Usage,
};

/// Where an invoice stands within its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// The period has one invoice.
    Only,
    /// The first of several.
    First,
    /// Neither first nor last.
    Middle,
    /// The last of several.
    Last,
}

impl Position {
    fn begins(self) -> bool {
        matches!(self, Self::Only | Self::First)
    }
    fn ends(self) -> bool {
        matches!(self, Self::Only | Self::Last)
    }
}

/// Prices the part of a period between two running totals.
///
/// Graduated, unit and package prices bill the difference; a volume price is known only at the end
/// and waits for the last invoice; a flat fee falls due with the first or the last. Discounts and
/// the cap apply to every part, `billed` (what earlier invoices of the period came to) counting
/// towards the cap; the minimum is due with the last.
///
/// # Errors
/// As [`crate::rate`].
pub fn price_part(
    charge: &Charge,
    before: &Usage,
    after: &Usage,
    position: Position,
    billed: &Exact,
    fraction: &Exact,
) -> Result<Priced, RatingError> {
    let due = match (charge.is_metered(), charge.timing) {
        (false, Timing::Arrears) => position.ends(),
        (false, Timing::Advance) => position.begins(),
        (true, _) => !matches!(charge.model, Model::Volume { .. }) || position.ends(),
    };
    let whole_at_once = !charge.is_metered() || matches!(charge.model, Model::Volume { .. });
    let nothing = Priced::default;
    let after = if due { price_model(charge, after, fraction)? } else { nothing() };
    // A first part has nothing before it, not even a tier entered at zero.
    let before = if whole_at_once || (position.begins() && before.units.is_zero()) {
        nothing()
    } else {
        price_model(charge, before, fraction)?
    };
    let units = after.units.sub(&before.units);
    let parts = difference(after.parts, &before.parts);
    // What was billed is money; the bounds are in what the charge's prices are in.
    let billed = billed.div(&charge.factor).unwrap_or_default();
    let scope = BoundsScope { fraction, billed, minimum_due: position.ends() };
    let mut priced = Priced { units, parts, exact: after.exact.sub(&before.exact), factor: None };
    bound(charge, &mut priced, &scope);
    Ok(priced)
}

/// Parts of `after` less those of `before`: same kind, label and price are subtracted, what only
/// `before` has is taken back, what becomes nothing is left out.
fn difference(after: Vec<Part>, before: &[Part]) -> Vec<Part> {
    let mut open: Vec<Option<&Part>> = before.iter().map(Some).collect();
    let same = |a: &Part, b: &Part| a.kind == b.kind && a.label == b.label && a.price == b.price;
    let mut parts = Vec::with_capacity(after.len());
    for part in after {
        let found = open.iter_mut().find(|slot| slot.is_some_and(|old| same(old, &part)));
        parts.push(match found.and_then(Option::take) {
            Some(old) => Part {
                quantity: part.quantity.sub(&old.quantity),
                exact: part.exact.sub(&old.exact),
                amount: part.amount.sub(&old.amount),
                ..part
            },
            None => part,
        });
    }
    parts.extend(open.into_iter().flatten().map(|old| Part {
        quantity: old.quantity.neg(),
        exact: old.exact.neg(),
        amount: old.amount.neg(),
        ..old.clone()
    }));
    parts
        .retain(|part| !(part.quantity.is_zero() && part.exact.is_zero() && part.amount.is_zero()));
    parts
}

/// What a line now comes to beyond what was billed: rate(new total) − rate(billed total), rounded
/// amounts included, so that billed line and delta sum to the new line.
///
/// # Errors
/// When the difference does not fit or the currencies differ.
pub fn delta(now: &RatedLine, billed: &RatedLine) -> Result<RatedLine, MoneyError> {
    let mut parts = difference(now.parts.clone(), &billed.parts);
    let mut factor = now.factor.clone();
    if now.factor != billed.factor {
        // No one factor explains the differences, so they stand without units × price.
        parts.iter_mut().for_each(|part| part.price = None);
        factor = None;
    }
    Ok(RatedLine {
        units: now.units.sub(&billed.units),
        parts,
        exact: now.exact.sub(&billed.exact),
        factor,
        amount: now.amount.checked_sub(billed.amount)?,
    })
}

/// Rounds a part of a period to a line of its own.
///
/// # Errors
/// When the amount does not fit.
pub fn rate_part(priced: Priced, context: &RateContext) -> Result<RatedLine, RatingError> {
    round(priced, context)
}

/// What one invoice of a period bills; each amount is a difference of rounded running totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Usage and fees.
    pub amount: Exact,
    /// What discounts and the cap take off (above zero lowers the total).
    pub discounts: Exact,
    /// What the minimum adds; with the last phase only.
    pub charges: Exact,
    /// amount − discounts + charges.
    pub total: Exact,
}

/// Bills a period in phases: `running` holds the usage since the period's start at the end of each
/// phase, the last one the whole period. Each phase is the rounded running total less what the
/// phases before came to, so it can be negative where a volume tier got cheaper, and the phases
/// sum to the line of the whole period exactly.
///
/// # Errors
/// As [`crate::rate`].
pub fn bill_in_phases(
    charge: &Charge,
    running: &[Usage],
    context: &RateContext,
) -> Result<Vec<Phase>, RatingError> {
    let mut billed = Phase {
        amount: Exact::ZERO,
        discounts: Exact::ZERO,
        charges: Exact::ZERO,
        total: Exact::ZERO,
    };
    let mut phases = Vec::with_capacity(running.len());
    for (number, usage) in (1..).zip(running) {
        let last = number == running.len();
        let now = running_total(charge, usage, last, context)?;
        phases.push(Phase {
            amount: now.amount.sub(&billed.amount),
            discounts: now.discounts.sub(&billed.discounts),
            charges: now.charges.sub(&billed.charges),
            total: now.total.sub(&billed.total),
        });
        billed = now;
    }
    Ok(phases)
}

fn running_total(
    charge: &Charge,
    usage: &Usage,
    last: bool,
    context: &RateContext,
) -> Result<Phase, RatingError> {
    let mut priced = price_model(charge, usage, &context.fraction)?;
    if !charge.is_metered() && charge.timing == Timing::Arrears && !last {
        priced.parts.clear();
        priced.exact = Exact::ZERO;
    }
    let scope = BoundsScope { minimum_due: last, ..BoundsScope::whole(&context.fraction) };
    bound(charge, &mut priced, &scope);
    let money = |exact: &Exact, mode: Rounding| -> Result<Exact, RatingError> {
        Ok(Money::round_from(exact, context.currency, mode)?.exact())
    };
    let taken = [PartKind::MaximumCap, PartKind::Discount, PartKind::MinimumTopUp];
    let gross: Exact = priced
        .parts
        .iter()
        .filter(|part| !taken.contains(&part.kind))
        .map(|part| &part.exact)
        .sum();
    let total = money(&priced.exact, context.rounding)?;
    let amount = money(&gross, context.rounding)?;
    let charges = money(&priced.sum_of(&[PartKind::MinimumTopUp]), context.rounding)?;
    // The discounts take what rounding leaves over, so that the three always make the total …
    let discounts = amount.add(&charges).sub(&total);
    let lowered = priced.sum_of(&[PartKind::MaximumCap, PartKind::Discount]);
    // … unless there are none; then the minimum does.
    if lowered.is_zero() && !discounts.is_zero() {
        let charges = total.sub(&amount);
        return Ok(Phase { amount, discounts: Exact::ZERO, charges, total });
    }
    Ok(Phase { amount, discounts, charges, total })
}

#[cfg(test)]
mod tests {
    use counterfoil_types::Currency;

    use super::*;
    use crate::{line::rate, spec::ChargeSpec};

    fn charge(json: &str) -> Charge {
        let spec: ChargeSpec = serde_json::from_str(json).unwrap();
        Charge::try_from(&spec).unwrap()
    }
    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }
    fn usage(text: &str) -> Usage {
        Usage::units(exact(text))
    }
    fn context() -> RateContext {
        RateContext::new(Currency::USD, Rounding::HalfAwayFromZero)
    }
    const TIERS: &str = r#"{"key":"a","meter":"m","model":"graduated","minimum":"200","maximum":"220",
        "charge_first_tier_at_zero":true,
        "tiers":[{"up_to":5,"unit_price":"0","flat_fee":"100"},{"unit_price":"10","flat_fee":"50"}]}"#;

    #[test]
    fn parts_of_a_period_bill_the_difference() {
        let charge = charge(TIERS);
        let part = |before: &str, after: &str, position, billed: &str| {
            let (before, after) = (usage(before), usage(after));
            price_part(&charge, &before, &after, position, &exact(billed), &Exact::ONE)
                .unwrap()
                .exact
        };
        assert_eq!(part("0", "3", Position::First, "0"), exact("100"));
        assert_eq!(part("3", "4", Position::Middle, "100"), Exact::ZERO, "the fee was billed");
        assert_eq!(
            part("0", "3", Position::Middle, "100"),
            Exact::ZERO,
            "also when entered at zero"
        );
        assert_eq!(part("4", "6", Position::Middle, "100"), exact("60"));
        assert_eq!(
            part("6", "20", Position::Middle, "160"),
            exact("60"),
            "the cap counts all parts"
        );
        assert_eq!(part("6", "6", Position::Last, "160"), exact("40"), "the minimum comes last");
        assert_eq!(part("0", "0", Position::Only, "0"), exact("200"));
    }

    #[test]
    fn volume_and_flat_fees_wait_for_their_turn() {
        let volume = charge(
            r#"{"key":"a","meter":"m","model":"volume","tiers":[{"up_to":5,"unit_price":"2"},{"unit_price":"1"}]}"#,
        );
        let flat = charge(r#"{"key":"f","model":"flat","amount":"7","billing":"arrears"}"#);
        for (position, volume_due, flat_due) in
            [(Position::First, "0", "0"), (Position::Middle, "0", "0"), (Position::Last, "8", "7")]
        {
            let due = |charge| {
                price_part(charge, &usage("4"), &usage("8"), position, &Exact::ZERO, &Exact::ONE)
                    .unwrap()
                    .exact
            };
            assert_eq!((due(&volume), due(&flat)), (exact(volume_due), exact(flat_due)));
        }
    }

    #[test]
    fn phases_sum_to_the_line() {
        let charge = charge(TIERS);
        let running = ["0", "4.3", "5.001", "9", "30"].map(usage);
        let phases = bill_in_phases(&charge, &running, &context()).unwrap();
        let total: Exact = phases.iter().map(|phase| &phase.total).sum();
        let whole = rate(&charge, &running[4], &context()).unwrap();
        assert_eq!(total, whole.amount.exact());
    }

    #[test]
    fn a_delta_and_the_billed_line_make_the_new_line() {
        let charge = charge(TIERS);
        let billed = rate(&charge, &usage("4"), &context()).unwrap();
        let now = rate(&charge, &usage("6.66"), &context()).unwrap();
        let late = delta(&now, &billed).unwrap();
        assert_eq!(late.amount.checked_add(billed.amount).unwrap(), now.amount);
        let parts: Exact = late.parts.iter().map(|part| &part.amount).sum();
        assert_eq!(parts, late.amount.exact());
    }
}
