//! From lines to an invoice body, in the order of DESIGN §3, I6: lines (with their own minimums,
//! caps and discounts, and those of the plan), prepaid credits, tax, total.

use counterfoil_rating::{RatingError, discount::distribute, tax::TaxMode};
use counterfoil_types::{
    Currency, CustomerId, Exact, Money, MoneyError, Period, Rounding, SplitError, SubscriptionId,
    TenantId, Timestamp, Zone,
};
use thiserror::Error;

use crate::{
    credit::{GrantUse, use_credits},
    cycle::CycleNumber,
    invoice::{Inputs, InvoiceBody, InvoiceLine},
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
    /// A line could not be rated.
    #[error(transparent)]
    Rating(#[from] RatingError),
    /// Credits could not be spread over the lines.
    #[error(transparent)]
    Split(#[from] SplitError),
}

/// All that goes into an invoice.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Tenant.
    pub tenant: TenantId,
    /// Who is billed.
    pub customer: CustomerId,
    /// Its name.
    pub customer_name: String,
    /// Who pays, where it is another customer.
    pub payer: Option<CustomerId>,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The cycle.
    pub cycle: CycleNumber,
    /// The revision.
    pub revision: u32,
    /// The part of the cycle; 0 for all of it.
    pub part: u32,
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
    /// The rated lines.
    pub lines: Vec<InvoiceLine>,
    /// Units taken from grants.
    pub granted: Vec<GrantUse>,
    /// What the lines were computed from; names tax and open credits.
    pub inputs: Inputs,
}

/// Adds the lines up.
///
/// # Errors
/// When an amount does not fit.
pub fn assemble(draft: Draft) -> Result<InvoiceBody, AssembleError> {
    let (currency, decimals) = (draft.currency, draft.currency.decimals());
    let amounts: Vec<Money> = draft.lines.iter().map(|line| line.amount).collect();
    let subtotal = Money::sum(currency, amounts.iter().copied())?;
    let credits = use_credits(subtotal, &draft.inputs.credits)?;
    let credit = Money::sum(currency, credits.iter().map(|used| used.amount))?;
    let credited = if credit.is_zero() {
        Vec::new()
    } else {
        let lines: Vec<Exact> = amounts.iter().map(|amount| amount.exact()).collect();
        let shares = distribute(&credit.exact(), &lines, decimals)?;
        shares.iter().map(|share| Money::from_exact(share, currency)).collect::<Result<_, _>>()?
    };
    let mut taxable = Vec::with_capacity(amounts.len());
    for (at, line) in draft.lines.iter().enumerate() {
        let share = credited.get(at).copied().unwrap_or(Money::zero(currency));
        let net = line.amount.checked_sub(share)?;
        taxable.push(if line.tax_exempt { Money::zero(currency) } else { net });
    }
    let taxes = tax_lines(&taxable, &draft.inputs.tax, currency, draft.rounding)?;
    let tax = Money::sum(currency, taxes.iter().map(|tax| tax.amount))?;
    let before_tax = subtotal.checked_sub(credit)?;
    let total = match draft.inputs.tax.mode {
        TaxMode::Exclusive => before_tax.checked_add(tax)?,
        TaxMode::Inclusive => before_tax,
    };
    let body = InvoiceBody {
        tenant: draft.tenant,
        customer: draft.customer,
        customer_name: draft.customer_name,
        subscription: draft.subscription,
        cycle: draft.cycle,
        revision: draft.revision,
        part: draft.part,
        payer: draft.payer,
        due_cycle_at: draft.due_cycle_at,
        period: draft.period,
        zone: draft.zone,
        currency,
        lines: draft.lines,
        subtotal,
        credits,
        granted: draft.granted,
        credited,
        taxes,
        tax,
        total,
        inputs: draft.inputs,
    };
    assert_adds_up(&body);
    Ok(body)
}

/// Kept on in production: an invoice that does not add up must never be stored.
#[expect(clippy::panic, reason = "a broken money invariant must stop the process, not bill")]
fn assert_adds_up(body: &InvoiceBody) {
    let sum = |amounts: &mut dyn Iterator<Item = Money>| {
        amounts.fold(Exact::ZERO, |sum, amount| sum.add(&amount.exact()))
    };
    let lines = sum(&mut body.lines.iter().map(|line| line.amount));
    let taxes = sum(&mut body.taxes.iter().map(|tax| tax.amount));
    let credits = sum(&mut body.credits.iter().map(|credit| credit.amount));
    let shares = sum(&mut body.credited.iter().copied());
    let added = match body.inputs.tax.mode {
        TaxMode::Exclusive => taxes.clone(),
        TaxMode::Inclusive => Exact::ZERO,
    };
    let total = lines.sub(&credits).add(&added);
    if lines != body.subtotal.exact() || taxes != body.tax.exact() || total != body.total.exact() {
        panic!("invoice {} does not add up", body.id());
    }
    if credits != shares {
        panic!("shares of the credits on invoice {} do not add up", body.id());
    }
    for tax in &body.taxes {
        if sum(&mut tax.by_line.iter().copied()) != tax.amount.exact() {
            panic!("shares of {} on invoice {} do not add up", tax.name, body.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_rating::{PartKind, TaxRate};

    use super::*;
    use crate::{
        credit::{GrantKind, OpenCredit},
        invoice::LineKind,
        tax::TaxDecision,
        testing::{draft_over, plan_ref},
    };

    fn usd(text: &str) -> Money {
        Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
    }

    /// Lines of 60 and 40 with 20 % of tax, and 10 of prepaid credit.
    fn draft(mode: TaxMode) -> Draft {
        let lines = ["60", "40"].map(|amount| {
            let exact = usd(amount).exact();
            plan_ref().line(LineKind::FeeArrears, amount, amount, PartKind::Flat, exact).unwrap()
        });
        let rates = vec![TaxRate { name: "VAT".into(), percent: 20.into() }];
        let mut draft = draft_over(1, lines.into(), TaxDecision { rates, mode, note: None });
        draft.inputs.credits = vec![OpenCredit {
            grant: "g".into(),
            name: "g".into(),
            kind: GrantKind::Paid,
            left: usd("10"),
        }];
        draft
    }

    #[test]
    fn credits_come_before_the_tax_and_exempt_lines_bear_none() {
        let body = assemble(draft(TaxMode::Exclusive)).unwrap();
        assert_eq!(body.credited, [usd("6"), usd("4")]);
        assert_eq!(body.taxes[0].by_line, [usd("10.80"), usd("7.20")]);
        assert_eq!((body.subtotal, body.tax, body.total), (usd("100"), usd("18"), usd("108")));
        let inside = assemble(draft(TaxMode::Inclusive)).unwrap();
        assert_eq!((inside.tax, inside.total), (usd("15"), usd("90")));
        let mut exempt = draft(TaxMode::Exclusive);
        exempt.lines[0].tax_exempt = true;
        let exempt = assemble(exempt).unwrap();
        assert_eq!(exempt.taxes[0].by_line, [usd("0"), usd("7.20")]);
        assert_eq!(exempt.total, usd("97.20"));
    }

    #[test]
    fn a_body_with_any_one_sum_wrong_stops_the_process() {
        let whole = assemble(draft(TaxMode::Exclusive)).unwrap();
        let stops = |spoil: fn(&mut InvoiceBody)| {
            let mut body = whole.clone();
            spoil(&mut body);
            std::panic::catch_unwind(|| assert_adds_up(&body)).is_err()
        };
        assert!(!stops(|_| {}));
        assert!(stops(|body| body.subtotal = usd("100.01")));
        assert!(stops(|body| body.tax = usd("18.01")));
        assert!(stops(|body| body.total = usd("108.01")));
        assert!(stops(|body| body.credited[0] = usd("6.01")));
        assert!(stops(|body| body.taxes[0].by_line[1] = usd("7.19")));
    }
}
