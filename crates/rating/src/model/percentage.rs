//! Percentage of the metered amount, with per-transaction rules.
//!
//! The free allowance ends with whichever of `free_events` and `free_amount` is used up first. A
//! transaction that is partly free pays the rate on the rest and the whole fixed fee. Floor and
//! cap per transaction come last (conventions of Lago's percentage charge).

use counterfoil_types::{Exact, Quantity};

use crate::{
    charge::Charge,
    line::{Part, PartKind, RatingError},
    prepare::Prepared,
    usage::Usage,
};

/// A checked percentage price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Percentage {
    /// Percent.
    pub rate: Quantity,
    /// Fee per charged transaction.
    pub fixed_fee: Quantity,
    /// Transactions that cost nothing.
    pub free_events: Option<u64>,
    /// Amount that costs nothing.
    pub free_amount: Option<Quantity>,
    /// Floor per charged transaction.
    pub minimum: Option<Quantity>,
    /// Cap per charged transaction.
    pub maximum: Option<Quantity>,
}

impl Percentage {
    /// Whether the single transactions are needed, or their total and number will do.
    #[must_use]
    pub fn needs_transactions(&self) -> bool {
        self.free_events.is_some()
            || self.free_amount.is_some()
            || self.minimum.is_some()
            || self.maximum.is_some()
    }

    pub(super) fn price(
        &self,
        charge: &Charge,
        usage: &Usage,
        prepared: &Prepared,
        parts: &mut Vec<Part>,
    ) -> Result<(), RatingError> {
        if !self.needs_transactions() {
            parts.push(self.percent(prepared.units.clone()));
            if !self.fixed_fee.is_zero() {
                parts.push(self.fees(usage.events));
            }
            return Ok(());
        }
        let Some(transactions) = &usage.transactions else {
            return Err(RatingError::NeedsTransactions(charge.key.clone()));
        };
        let mut base = Exact::ZERO;
        let mut free = Exact::ZERO;
        let mut charged = 0u64;
        let mut bounded = Exact::ZERO;
        for (number, value) in (1u64..).zip(transactions) {
            let value = charge.preparation.convert(value);
            let rest = self.charged_part(number, &value, &mut free);
            let Some(rest) = rest else { continue };
            let cost = rest.mul(&self.share()).add(&self.fixed_fee.exact());
            bounded = bounded.add(&self.bound(&cost).sub(&cost));
            base = base.add(&rest);
            charged += 1;
        }
        if !free.is_zero() {
            parts.push(Part::priced(PartKind::Included, String::new(), free, Quantity::ZERO));
        }
        parts.push(self.percent(base));
        if !self.fixed_fee.is_zero() {
            parts.push(self.fees(charged));
        }
        if !bounded.is_zero() {
            parts.push(Part::adjustment(PartKind::TransactionBounds, "", bounded));
        }
        Ok(())
    }

    /// The part of a transaction that is charged; `None` when it is wholly free. `free` sums the
    /// free amounts so far.
    fn charged_part(&self, number: u64, value: &Exact, free: &mut Exact) -> Option<Exact> {
        let events_left = self.free_events.is_none_or(|limit| number <= limit);
        let has_allowance = self.free_events.is_some() || self.free_amount.is_some();
        if !has_allowance || !events_left {
            return Some(value.clone());
        }
        let Some(limit) = self.free_amount else {
            *free = free.add(value);
            return None;
        };
        let left = limit.exact().sub(free);
        if value <= &left {
            *free = free.add(value);
            return None;
        }
        let allowed = if left.is_positive() { left } else { Exact::ZERO };
        *free = free.add(&allowed);
        Some(value.sub(&allowed))
    }

    fn share(&self) -> Exact {
        self.rate.exact().mul(&Exact::unit(2))
    }

    fn bound(&self, cost: &Exact) -> Exact {
        let mut cost = cost.clone();
        if let Some(minimum) = self.minimum {
            cost = cost.at_least(&minimum.exact());
        }
        if let Some(maximum) = self.maximum {
            cost = cost.at_most(&maximum.exact());
        }
        cost
    }

    fn percent(&self, base: Exact) -> Part {
        let mut part = Part::priced(PartKind::Percentage, String::new(), base, self.rate);
        part.exact = part.exact.mul(&Exact::unit(2));
        part
    }

    fn fees(&self, count: u64) -> Part {
        Part::priced(PartKind::TransactionFee, String::new(), Exact::from(count), self.fixed_fee)
    }
}
