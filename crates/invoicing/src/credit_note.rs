//! Credit notes: they mirror the allocations stored on the invoice, never compute a price or a tax
//! again, and never give back more than is left.
//!
//! The value of a line is its amount with the tax allocated to it. Part of a value is split over
//! its components (net, each tax, prepaid credit) by largest remainder on what is left of each, so
//! several partial notes add up to the whole, to the cent.

use counterfoil_rating::tax::TaxMode;
use counterfoil_types::{
    Currency, CustomerId, Exact, InvoiceId, Money, MoneyError, PlanKey, Quantity, SplitError,
    Timestamp, split_largest_remainder,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    cycle::CycleNumber,
    invoice::{Invoice, LineKind},
    settle::LineKey,
};

/// A usage line that a note corrects because of late events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Corrected {
    /// The cycle.
    pub cycle: CycleNumber,
    /// Kind of the line there.
    pub kind: LineKind,
    /// Its plan.
    pub plan: PlanKey,
    /// Its charge.
    pub charge: String,
    /// First instant of what it was for.
    pub from: Timestamp,
    /// How much is given back, as the line states its amount.
    pub amount: Money,
}

impl Corrected {
    /// What it corrects.
    #[must_use]
    pub fn key(&self) -> LineKey {
        LineKey {
            cycle: self.cycle,
            kind: self.kind,
            plan: self.plan.clone(),
            charge: self.charge.clone(),
            from: self.from,
        }
    }
}

/// What is given back of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreditNoteLine {
    /// Position of the line on the invoice, from 0.
    pub line: usize,
    /// Its name there.
    pub name: String,
    /// Without tax where tax was added, with it where prices contain it; prepaid part included.
    pub amount: Money,
    /// Of `amount`, what had been paid with prepaid credit.
    pub prepaid: Money,
    /// Tax by rate, in the order of the invoice.
    pub taxes: Vec<Money>,
}

/// Tax given back at one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreditedTax {
    /// Name of the rate.
    pub name: String,
    /// Percent.
    pub percent: Quantity,
    /// How much.
    pub amount: Money,
}

/// A credit note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreditNote {
    /// Its id.
    pub id: String,
    /// The invoice.
    pub invoice: InvoiceId,
    /// Its number.
    pub invoice_number: String,
    /// Whose invoice it is.
    pub customer: CustomerId,
    /// Why it was issued.
    pub reason: String,
    /// Currency.
    pub currency: Currency,
    /// Line by line.
    pub lines: Vec<CreditNoteLine>,
    /// Taxes by rate.
    pub taxes: Vec<CreditedTax>,
    /// Sum of the lines with tax.
    pub total: Money,
    /// Of the total, what goes back to prepaid grants.
    pub prepaid: Money,
    /// Of the total, what was still open on the invoice.
    pub off_receivable: Money,
    /// Of the total, what the customer has in credit now.
    pub to_balance: Money,
    /// Of the total, what is paid out.
    pub refunded: Money,
    /// Usage it corrects, for notes that late events caused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrects: Vec<Corrected>,
}

/// What a note is to give back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreditScope {
    /// All that is left.
    Full,
    /// What is left of these lines, or the given value of it.
    Lines(Vec<(usize, Option<Money>)>),
    /// A value, spread over what is left of the lines.
    Amount(Money),
    /// The same without what was prepaid: money that went back.
    Cash(Money),
    /// Amounts of these lines as the invoice states them, with the tax that belongs to them: added
    /// where tax is added, within where prices contain it.
    Net(Vec<(usize, Money)>),
}

/// Why a note was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CreditNoteError {
    /// More than is left.
    #[error("{what}: {asked} is asked for, {left} is left to credit")]
    TooMuch {
        /// Of what.
        what: String,
        /// How much was asked for.
        asked: Money,
        /// How much is left.
        left: Money,
    },
    /// Nothing to give back.
    #[error("nothing is left to credit")]
    Nothing,
    /// A line that is not there.
    #[error("the invoice has no line {0}")]
    NoLine(usize),
    /// An amount that is zero, below it, or in another currency.
    #[error("{0} is no amount to credit on this invoice")]
    BadAmount(Money),
    /// An amount did not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// An amount could not be split.
    #[error(transparent)]
    Split(#[from] SplitError),
}

/// What is left of a line: net (without prepaid), prepaid, then each tax.
#[derive(Clone, Debug)]
struct Left {
    parts: Vec<Exact>,
}

impl Left {
    fn value(&self) -> Exact {
        self.parts.iter().sum()
    }
}

/// The lines of a note over `scope`, after the `earlier` notes of the invoice.
///
/// # Errors
/// [`CreditNoteError`] when it asks for more than is left.
pub fn credit_lines(
    invoice: &Invoice,
    earlier: &[CreditNote],
    scope: &CreditScope,
) -> Result<Vec<CreditNoteLine>, CreditNoteError> {
    let body = &invoice.body;
    let currency = body.currency;
    let money = |exact: &Exact| Money::from_exact(exact, currency);
    let mut left = left_of(invoice, earlier);
    if matches!(scope, CreditScope::Cash(_)) {
        for prepaid in left.iter_mut().filter_map(|line| line.parts.get_mut(1)) {
            *prepaid = Exact::ZERO;
        }
    }
    let total = left.iter().fold(Exact::ZERO, |sum, line| sum.add(&line.value()));
    let check = |amount: Money| {
        let fits = amount.currency() == currency && amount.exact().is_positive();
        if fits { Ok(amount.exact()) } else { Err(CreditNoteError::BadAmount(amount)) }
    };
    let mut wanted: Vec<Vec<Exact>> = vec![Vec::new(); left.len()];
    match scope {
        // Lines below zero are mirrored too, so that nothing of the invoice is left.
        CreditScope::Full => {
            for (slot, line) in wanted.iter_mut().zip(&left) {
                slot.clone_from(&line.parts);
            }
        }
        CreditScope::Lines(lines) => {
            for (at, amount) in lines {
                let line = left.get(*at).ok_or(CreditNoteError::NoLine(at + 1))?;
                let share = amount.map(check).transpose()?.unwrap_or_else(|| line.value());
                if share > line.value() {
                    return Err(CreditNoteError::TooMuch {
                        what: format!("line {}", at + 1),
                        asked: money(&share)?,
                        left: money(&line.value().at_least(&Exact::ZERO))?,
                    });
                }
                if let Some(slot) = wanted.get_mut(*at) {
                    *slot = portion(line, &share, currency)?;
                }
            }
        }
        CreditScope::Amount(amount) | CreditScope::Cash(amount) => {
            let share = check(*amount)?;
            if share > total {
                return Err(CreditNoteError::TooMuch {
                    what: "the invoice".to_owned(),
                    asked: *amount,
                    left: money(&total.at_least(&Exact::ZERO))?,
                });
            }
            let weights: Vec<Exact> =
                left.iter().map(|line| line.value().at_least(&Exact::ZERO)).collect();
            let shares = split_largest_remainder(&share, &weights, currency.decimals())?;
            for ((slot, line), share) in wanted.iter_mut().zip(&left).zip(shares) {
                if !share.is_zero() {
                    *slot = portion(line, &share, currency)?;
                }
            }
        }
        CreditScope::Net(lines) => {
            let inclusive = body.inputs.tax.mode == TaxMode::Inclusive;
            for (at, amount) in lines {
                let line = left.get(*at).ok_or(CreditNoteError::NoLine(at + 1))?;
                // What the invoice calls the line's amount: prices that contain tax hold it.
                let whole = if inclusive { line.value() } else { net_of(line) };
                let asked = check(*amount)?;
                if asked > whole {
                    return Err(CreditNoteError::TooMuch {
                        what: format!("line {}", at + 1),
                        asked: *amount,
                        left: money(&whole.at_least(&Exact::ZERO))?,
                    });
                }
                // Each component gives the same part, the tax rounded to the minor unit.
                let part = asked.div(&whole).unwrap_or(Exact::ZERO);
                let dp = currency.decimals();
                let cut = |exact: &Exact| {
                    exact.mul(&part).round(dp, counterfoil_types::Rounding::HalfAwayFromZero)
                };
                let prepaid = line.parts.get(1).map_or(Exact::ZERO, &cut);
                let taxes: Vec<Exact> = line.parts.iter().skip(2).map(cut).collect();
                let mut net = asked.sub(&prepaid);
                if inclusive {
                    net = net.sub(&taxes.iter().sum());
                }
                let mut parts = vec![net, prepaid];
                parts.extend(taxes);
                if let Some(slot) = wanted.get_mut(*at) {
                    *slot = parts;
                }
            }
        }
    }
    let mut lines = Vec::new();
    for (at, parts) in wanted.iter().enumerate() {
        if parts.iter().all(Exact::is_zero) {
            continue;
        }
        let component = |at: usize| parts.get(at).cloned().unwrap_or_default();
        let mut amount = component(0).add(&component(1));
        let taxes: Vec<Exact> = parts.iter().skip(2).cloned().collect();
        if body.inputs.tax.mode == TaxMode::Inclusive {
            amount = amount.add(&taxes.iter().sum());
        }
        lines.push(CreditNoteLine {
            line: at,
            name: body.lines.get(at).map(|line| line.name.clone()).unwrap_or_default(),
            amount: money(&amount)?,
            prepaid: money(&component(1))?,
            taxes: taxes.iter().map(money).collect::<Result<_, _>>()?,
        });
    }
    let value: Exact = wanted.iter().flatten().sum();
    if lines.is_empty() || !value.is_positive() {
        return Err(CreditNoteError::Nothing);
    }
    if value > total {
        return Err(CreditNoteError::TooMuch {
            what: "the invoice".to_owned(),
            asked: money(&value)?,
            left: money(&total.at_least(&Exact::ZERO))?,
        });
    }
    Ok(lines)
}

/// What of a line is neither tax nor given back.
fn net_of(line: &Left) -> Exact {
    line.parts.iter().take(2).sum()
}

/// `share` of what is left of a line, by component.
fn portion(line: &Left, share: &Exact, currency: Currency) -> Result<Vec<Exact>, SplitError> {
    if *share == line.value() {
        return Ok(line.parts.clone());
    }
    split_largest_remainder(share, &line.parts, currency.decimals())
}

/// What earlier notes left of each line.
fn left_of(invoice: &Invoice, earlier: &[CreditNote]) -> Vec<Left> {
    let body = &invoice.body;
    let inclusive = body.inputs.tax.mode == TaxMode::Inclusive;
    let mut left: Vec<Left> = body
        .lines
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let prepaid = body.credited.get(at).map_or(Exact::ZERO, |share| share.exact());
            let taxes: Vec<Exact> = body
                .taxes
                .iter()
                .map(|tax| tax.by_line.get(at).map_or(Exact::ZERO, |share| share.exact()))
                .collect();
            let mut net = line.amount.exact().sub(&prepaid);
            if inclusive {
                net = net.sub(&taxes.iter().sum());
            }
            let mut parts = vec![net, prepaid];
            parts.extend(taxes);
            Left { parts }
        })
        .collect();
    for line in earlier.iter().flat_map(|note| &note.lines) {
        let Some(slot) = left.get_mut(line.line) else { continue };
        let taxes: Vec<Exact> = line.taxes.iter().map(|tax| tax.exact()).collect();
        let mut net = line.amount.exact().sub(&line.prepaid.exact());
        if inclusive {
            net = net.sub(&taxes.iter().sum());
        }
        let given = [net, line.prepaid.exact()].into_iter().chain(taxes);
        for (part, given) in slot.parts.iter_mut().zip(given) {
            *part = part.sub(&given);
        }
    }
    left
}

/// Value of a note's line: amount with tax.
///
/// # Errors
/// When it does not fit.
pub fn value(line: &CreditNoteLine, mode: TaxMode) -> Result<Money, MoneyError> {
    match mode {
        TaxMode::Inclusive => Ok(line.amount),
        TaxMode::Exclusive => line.taxes.iter().copied().try_fold(line.amount, Money::checked_add),
    }
}

#[cfg(test)]
mod tests;
