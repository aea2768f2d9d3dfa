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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan_ref;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    /// Amount of the line and how many parts explain it.
    fn told(line: InvoiceLine) -> (String, usize) {
        (line.amount.to_plain(), line.rated.parts.len())
    }

    #[test]
    fn bounds_of_a_plan_shrink_with_the_period_and_end_at_zero() {
        let (plan, half) = (plan_ref(), exact("0.5"));
        let minimum = |reached| told(plan.minimum(100.into(), &half, &exact(reached)).unwrap());
        assert_eq!(minimum("30"), ("20.00".to_owned(), 1));
        assert_eq!(minimum("60"), ("0.00".to_owned(), 0));
        let maximum = |reached| told(plan.maximum(100.into(), &half, &exact(reached)).unwrap());
        assert_eq!(maximum("70"), ("-20.00".to_owned(), 1));
        assert_eq!(maximum("40"), ("0.00".to_owned(), 0));
        let true_up = |spent| told(plan.true_up(&exact("100"), &exact(spent)).unwrap());
        assert_eq!(true_up("60"), ("40.00".to_owned(), 1));
        assert_eq!(true_up("110"), ("0.00".to_owned(), 0));
    }

    #[test]
    fn discounts_on_the_invoice_follow_one_another() {
        let percent = |share: &str, percent: u32| Discount::Percent {
            share: exact(share),
            percent: percent.into(),
            name: format!("{percent} %"),
        };
        let amount = Discount::Amount { amount: 30.into(), name: "30".to_owned() };
        let discounts = [percent("0.1", 10), amount, percent("0.5", 50)];
        let lines = plan_ref().discounts(&discounts, &exact("200")).unwrap();
        let told: Vec<(&str, &str, String)> = lines
            .iter()
            .map(|line| (line.charge.as_str(), line.name.as_str(), line.amount.to_plain()))
            .collect();
        assert_eq!(
            told,
            [
                ("discount_1", "10 %", "-20.00".to_owned()),
                ("discount_2", "30", "-30.00".to_owned()),
                ("discount_3", "50 %", "-75.00".to_owned()),
            ]
        );
    }
}
