//! From rated lines to an invoice body, in the order of DESIGN §3, I6: charges (with their own
//! minimums, caps and discounts), plan minimum, tax, total.

use counterfoil_rating::{Part, PartKind, RateContext, RatingError, line::finish};
use counterfoil_types::{
    BookRef, Currency, CustomerId, Digest, Exact, Money, MoneyError, Period, PlanKey, Quantity,
    Rounding, SubscriptionId, TenantId, Timestamp, Zone,
};
use thiserror::Error;

use crate::{
    customer::TaxRate,
    cycle::CycleNumber,
    invoice::{Inputs, InvoiceBody, InvoiceLine, LineKind},
    tax::{TaxError, tax_lines},
};

/// Why an invoice could not be assembled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssembleError {
    /// An amount did not fit or currencies met.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A tax failed.
    #[error(transparent)]
    Tax(#[from] TaxError),
    /// The plan minimum could not be rated.
    #[error(transparent)]
    Rating(#[from] RatingError),
}

/// All that goes into an invoice.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Tenant.
    pub tenant: TenantId,
    /// Who pays.
    pub customer: CustomerId,
    /// Its name.
    pub customer_name: String,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The cycle.
    pub cycle: CycleNumber,
    /// The revision.
    pub revision: u32,
    /// When the cycle fell due.
    pub due_cycle_at: Timestamp,
    /// The period billed.
    pub period: Period,
    /// Its zone.
    pub zone: Zone,
    /// Currency.
    pub currency: Currency,
    /// Rounding of the price book.
    pub rounding: Rounding,
    /// Tax rates of the customer.
    pub tax: Vec<TaxRate>,
    /// The rated lines.
    pub lines: Vec<InvoiceLine>,
    /// Least the closed period's charges come to, with what it belongs to.
    pub plan_minimum: Option<PlanMinimum>,
    /// What the lines were computed from.
    pub inputs: Inputs,
}

/// A plan's minimum for one period.
#[derive(Clone, Debug)]
pub struct PlanMinimum {
    /// Least per full period.
    pub minimum: Quantity,
    /// Part of a full period that is billed.
    pub fraction: Exact,
    /// The price book.
    pub book: BookRef,
    /// Its hash.
    pub book_hash: Digest,
    /// The plan.
    pub plan: PlanKey,
}

/// Adds the lines up.
///
/// # Errors
/// When an amount does not fit.
pub fn assemble(mut draft: Draft) -> Result<InvoiceBody, AssembleError> {
    if let Some(minimum) = &draft.plan_minimum {
        let reached = reached(&draft.lines);
        let line = minimum.line(&reached, draft.period, draft.currency, draft.rounding)?;
        if line.rated.exact.is_positive() {
            draft.lines.push(line);
        }
    }
    let amounts: Vec<Money> = draft.lines.iter().map(|line| line.amount).collect();
    let subtotal = Money::sum(draft.currency, amounts.iter().copied())?;
    let taxes = tax_lines(&amounts, &draft.tax, draft.currency, draft.rounding)?;
    let tax = Money::sum(draft.currency, taxes.iter().map(|tax| tax.amount))?;
    let total = subtotal.checked_add(tax)?;
    let body = InvoiceBody {
        tenant: draft.tenant,
        customer: draft.customer,
        customer_name: draft.customer_name,
        subscription: draft.subscription,
        cycle: draft.cycle,
        revision: draft.revision,
        due_cycle_at: draft.due_cycle_at,
        period: draft.period,
        zone: draft.zone,
        currency: draft.currency,
        lines: draft.lines,
        subtotal,
        taxes,
        tax,
        total,
        inputs: draft.inputs,
    };
    assert_adds_up(&body);
    Ok(body)
}

impl PlanMinimum {
    /// The line that raises what the period's usage and fees in arrears `reached` to the minimum;
    /// over nothing when they reach it. Fees in advance belong to the next period.
    ///
    /// # Errors
    /// When an amount does not fit.
    pub fn line(
        &self,
        reached: &Exact,
        period: Period,
        currency: Currency,
        rounding: Rounding,
    ) -> Result<InvoiceLine, RatingError> {
        let wanted = self.minimum.exact().mul(&self.fraction);
        let missing = wanted.sub(reached).at_least(&Exact::ZERO);
        let parts = if missing.is_zero() {
            Vec::new()
        } else {
            vec![Part::adjustment(PartKind::MinimumTopUp, "plan minimum", missing.clone())]
        };
        let rated = finish(Exact::ONE, parts, missing, &RateContext::new(currency, rounding))?;
        Ok(InvoiceLine {
            kind: LineKind::PlanMinimum,
            charge: "plan_minimum".to_owned(),
            name: "Minimum of the plan".to_owned(),
            period,
            book: self.book.clone(),
            book_hash: self.book_hash,
            plan: self.plan.clone(),
            meter: None,
            unit: None,
            metered: None,
            events: None,
            already_billed: None,
            amount: rated.amount,
            rated,
        })
    }
}

/// What counts towards a plan's minimum.
fn reached(lines: &[InvoiceLine]) -> Exact {
    lines
        .iter()
        .filter(|line| matches!(line.kind, LineKind::Usage | LineKind::FeeArrears))
        .fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()))
}

/// Kept on in production: an invoice that does not add up must never be stored.
#[expect(clippy::panic, reason = "a broken money invariant must stop the process, not bill")]
fn assert_adds_up(body: &InvoiceBody) {
    let lines: Exact =
        body.lines.iter().fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()));
    let taxes: Exact = body.taxes.iter().fold(Exact::ZERO, |sum, tax| sum.add(&tax.amount.exact()));
    let total = lines.add(&taxes);
    if lines != body.subtotal.exact() || taxes != body.tax.exact() || total != body.total.exact() {
        panic!("invoice {} does not add up", body.id());
    }
    for tax in &body.taxes {
        let shares = tax.by_line.iter().fold(Exact::ZERO, |sum, share| sum.add(&share.exact()));
        if shares != tax.amount.exact() {
            panic!("shares of {} on invoice {} do not add up", tax.name, body.id());
        }
    }
}
