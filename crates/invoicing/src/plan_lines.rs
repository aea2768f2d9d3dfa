//! Lines that look at other lines: a plan's minimum and maximum, discounts on the invoice, the
//! true-up of a commitment.

use counterfoil_rating::{Discount, Part, PartKind, RateContext, RatingError, line::finish};
use counterfoil_types::{BookRef, Currency, Digest, Exact, Period, PlanKey, Quantity, Rounding};

use crate::invoice::{InvoiceLine, LineKind};

/// What a line that is no charge's belongs to.
#[derive(Clone, Debug)]
pub struct PlanRef {
    /// The price book.
    pub book: BookRef,
    /// Its hash.
    pub book_hash: Digest,
    /// The plan.
    pub plan: PlanKey,
    /// When.
    pub period: Period,
    /// Currency of the line.
    pub currency: Currency,
    /// How it is rounded.
    pub rounding: Rounding,
}

impl PlanRef {
    /// A line of one adjustment; over nothing when `exact` is zero.
    ///
    /// # Errors
    /// When the amount does not fit.
    pub fn line(
        &self,
        kind: LineKind,
        charge: &str,
        name: &str,
        part: PartKind,
        exact: Exact,
    ) -> Result<InvoiceLine, RatingError> {
        let parts = if exact.is_zero() {
            Vec::new()
        } else {
            vec![Part::adjustment(part, name, exact.clone())]
        };
        let rated =
            finish(Exact::ONE, parts, exact, &RateContext::new(self.currency, self.rounding))?;
        Ok(InvoiceLine {
            kind,
            charge: charge.to_owned(),
            name: name.to_owned(),
            period: self.period,
            book: self.book.clone(),
            book_hash: self.book_hash,
            plan: self.plan.clone(),
            meter: None,
            unit: None,
            metered: None,
            events: None,
            origin: None,
            phase: None,
            tax_exempt: false,
            already_billed: None,
            amount: rated.amount,
            rated,
        })
    }

    /// Raises what the period's charges `reached` to `minimum` for `fraction` of a full period.
    ///
    /// # Errors
    /// When the amount does not fit.
    pub fn minimum(
        &self,
        minimum: Quantity,
        fraction: &Exact,
        reached: &Exact,
    ) -> Result<InvoiceLine, RatingError> {
        let missing = minimum.exact().mul(fraction).sub(reached).at_least(&Exact::ZERO);
        self.line(
            LineKind::PlanMinimum,
            "plan_minimum",
            "Minimum of the plan",
            PartKind::MinimumTopUp,
            missing,
        )
    }

    /// Lowers what the period's charges `reached` to `maximum` for `fraction` of a full period.
    ///
    /// # Errors
    /// When the amount does not fit.
    pub fn maximum(
        &self,
        maximum: Quantity,
        fraction: &Exact,
        reached: &Exact,
    ) -> Result<InvoiceLine, RatingError> {
        let over = reached.sub(&maximum.exact().mul(fraction)).at_least(&Exact::ZERO);
        self.line(
            LineKind::PlanMaximum,
            "plan_maximum",
            "Maximum of the plan",
            PartKind::MaximumCap,
            over.neg(),
        )
    }

    /// Discounts on what the cycle's lines come to, in order, each on what the earlier ones left.
    ///
    /// # Errors
    /// When an amount does not fit.
    pub fn discounts(
        &self,
        discounts: &[Discount],
        sum: &Exact,
    ) -> Result<Vec<InvoiceLine>, RatingError> {
        let mut left = sum.clone();
        let mut lines = Vec::with_capacity(discounts.len());
        for (number, discount) in (1..).zip(discounts) {
            let off = discount.off(&left);
            left = left.sub(&off);
            let key = format!("discount_{number}");
            let name = discount.name();
            lines.push(self.line(LineKind::Discount, &key, name, PartKind::Discount, off.neg())?);
        }
        Ok(lines)
    }

    /// What the term's spending is short of the commitment.
    ///
    /// # Errors
    /// When the amount does not fit.
    pub fn true_up(&self, committed: &Exact, spent: &Exact) -> Result<InvoiceLine, RatingError> {
        let missing = committed.sub(spent).at_least(&Exact::ZERO);
        self.line(
            LineKind::Commitment,
            "commitment",
            "Commitment of the term, not used",
            PartKind::MinimumTopUp,
            missing,
        )
    }
}
