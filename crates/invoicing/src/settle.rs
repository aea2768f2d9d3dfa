//! The one rule for corrections: what a cycle is expected to come to, less what was billed for it.
//!
//! Lines are compared by what they are for. A line that is expected and was billed becomes the
//! difference; one that is expected only is billed; one that was billed only is taken back. So
//! after the correction, billed equals expected, whatever happened before.

use std::collections::BTreeMap;

use counterfoil_rating::{RateContext, RatingError, line::finish};
use counterfoil_types::{Exact, Money, MoneyError, PlanKey, Rounding, Timestamp};
use thiserror::Error;

use crate::{
    credit_note::CreditNote,
    cycle::CycleNumber,
    invoice::{Invoice, InvoiceLine, LineKind, Origin},
};

/// What a line is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineKey {
    /// The cycle.
    pub cycle: CycleNumber,
    /// Its kind there.
    pub kind: LineKind,
    /// The plan.
    pub plan: PlanKey,
    /// The charge.
    pub charge: String,
    /// First instant of what it is for.
    pub from: Timestamp,
}

impl LineKey {
    /// What a line of an invoice of `cycle` is for.
    #[must_use]
    pub fn of(line: &InvoiceLine, cycle: CycleNumber) -> Self {
        let origin = line.origin.unwrap_or(Origin { cycle, kind: line.kind });
        Self {
            cycle: origin.cycle,
            kind: origin.kind,
            plan: line.plan.clone(),
            charge: line.charge.clone(),
            from: line.period.start,
        }
    }
}

/// Why a correction could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettleError {
    /// An amount did not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A line could not be made.
    #[error(transparent)]
    Rating(#[from] RatingError),
}

/// What was billed, by what it was for.
#[derive(Clone, Debug, Default)]
pub struct Billed {
    lines: BTreeMap<LineKey, (Money, InvoiceLine)>,
}

impl Billed {
    /// What live invoices hold, less what late-usage credit notes gave back.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn of<'a>(
        invoices: impl IntoIterator<Item = &'a Invoice>,
        notes: impl IntoIterator<Item = &'a CreditNote>,
    ) -> Result<Self, SettleError> {
        let mut billed = Self::default();
        for invoice in invoices {
            for line in &invoice.body.lines {
                let key = LineKey::of(line, invoice.body.cycle);
                match billed.lines.get_mut(&key) {
                    Some((sum, _)) => *sum = sum.checked_add(line.amount)?,
                    None => {
                        billed.lines.insert(key, (line.amount, line.clone()));
                    }
                }
            }
        }
        for note in notes {
            for corrected in &note.corrects {
                if let Some((sum, _)) = billed.lines.get_mut(&corrected.key()) {
                    *sum = sum.checked_sub(corrected.amount)?;
                }
            }
        }
        Ok(billed)
    }

    /// The cycles something was billed for.
    pub fn cycles(&self) -> impl Iterator<Item = CycleNumber> {
        let mut before = None;
        self.lines.keys().map(|key| key.cycle).filter(move |cycle| {
            let new = before != Some(*cycle);
            before = Some(*cycle);
            new
        })
    }

    /// What was billed for a line.
    #[must_use]
    pub fn amount(&self, key: &LineKey) -> Option<Money> {
        self.lines.get(key).map(|(amount, _)| *amount)
    }

    /// The lines billed for a cycle, with what is billed in sum.
    pub fn of_cycle(
        &self,
        cycle: CycleNumber,
    ) -> impl Iterator<Item = (&LineKey, Money, &InvoiceLine)> {
        self.lines
            .iter()
            .filter(move |(key, _)| key.cycle == cycle)
            .map(|(key, (amount, line))| (key, *amount, line))
    }
}

/// `expected` lines of `cycle`, less what was billed for it. `own`: the cycle is that of the
/// invoice itself, whose lines stay even when nothing is left of them.
///
/// # Errors
/// When an amount does not fit.
pub fn settle(
    cycle: CycleNumber,
    expected: Vec<InvoiceLine>,
    billed: &Billed,
    own: bool,
    rounding: Rounding,
) -> Result<Vec<InvoiceLine>, SettleError> {
    let mut open: BTreeMap<&LineKey, (Money, &InvoiceLine)> =
        billed.of_cycle(cycle).map(|(key, amount, line)| (key, (amount, line))).collect();
    let mut lines = Vec::with_capacity(expected.len());
    for mut line in expected {
        let key = LineKey::of(&line, cycle);
        let before = open.remove(&key).map(|(amount, _)| amount);
        if let Some(before) = before {
            line.amount = line.amount.checked_sub(before)?;
            line.already_billed = Some(before);
        }
        if own {
            lines.push(line);
        } else if !line.amount.is_zero() {
            line.already_billed.get_or_insert(Money::zero(line.amount.currency()));
            lines.push(correcting(line, cycle));
        }
    }
    for (_, (amount, line)) in open {
        if !amount.is_zero() {
            let mut taken_back = correcting(line.clone(), cycle);
            let context = RateContext::new(amount.currency(), rounding);
            taken_back.rated = finish(Exact::ZERO, Vec::new(), Exact::ZERO, &context)?;
            taken_back.metered = taken_back.metered.map(|_| Exact::ZERO);
            taken_back.events = taken_back.events.map(|_| 0);
            taken_back.amount = amount.negated();
            taken_back.already_billed = Some(amount);
            lines.push(taken_back);
        }
    }
    Ok(lines)
}

/// A line as the correction of what `cycle` billed.
fn correcting(line: InvoiceLine, cycle: CycleNumber) -> InvoiceLine {
    let origin = line.origin.unwrap_or(Origin { cycle, kind: line.kind });
    let kind = match origin.kind {
        LineKind::Usage => LineKind::LateUsage,
        _ => LineKind::Adjustment,
    };
    InvoiceLine { kind, origin: Some(origin), ..line }
}
