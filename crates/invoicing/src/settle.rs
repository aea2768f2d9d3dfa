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

#[cfg(test)]
mod tests {
    use counterfoil_rating::PartKind;
    use counterfoil_types::{Currency, Digest, Period};

    use super::*;
    use crate::{plan_lines::PlanRef, testing::invoice_over};

    fn usd(text: &str) -> Money {
        Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
    }

    fn line(kind: LineKind, charge: &str, from: i64, amount: &str) -> InvoiceLine {
        let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
        let plan = PlanRef {
            book: counterfoil_types::BookRef { name: "b".into(), version: "1".into() },
            book_hash: Digest([0; 32]),
            plan: "p".parse().unwrap(),
            period: Period::new(at(from), at(from + 30)),
            currency: Currency::USD,
            rounding: Rounding::HalfAwayFromZero,
        };
        plan.line(kind, charge, charge, PartKind::Flat, usd(amount).exact()).unwrap()
    }

    fn told(lines: &[InvoiceLine]) -> Vec<(LineKind, String, String)> {
        lines.iter().map(|line| (line.kind, line.charge.clone(), line.amount.to_plain())).collect()
    }

    fn settled(
        cycle: CycleNumber,
        expected: &[InvoiceLine],
        billed: &Billed,
        own: bool,
    ) -> Vec<InvoiceLine> {
        settle(cycle, expected.to_vec(), billed, own, Rounding::HalfAwayFromZero).unwrap()
    }

    #[test]
    fn billed_and_correction_make_what_is_expected() {
        let first = invoice_over(
            1,
            vec![
                line(LineKind::Usage, "calls", 0, "10"),
                line(LineKind::FeeAdvance, "base", 30, "100"),
                line(LineKind::FeeArrears, "gone", 0, "7"),
            ],
        );
        let billed = Billed::of([&first], []).unwrap();
        assert_eq!(billed.cycles().collect::<Vec<_>>(), [1]);
        let expected = [
            line(LineKind::Usage, "calls", 0, "12.5"),
            line(LineKind::FeeAdvance, "base", 30, "100"),
            line(LineKind::FeeAdvance, "more", 45, "3"),
        ];
        let corrections = settled(1, &expected, &billed, false);
        assert_eq!(
            told(&corrections),
            [
                (LineKind::LateUsage, "calls".to_owned(), "2.50".to_owned()),
                (LineKind::Adjustment, "more".to_owned(), "3.00".to_owned()),
                (LineKind::Adjustment, "gone".to_owned(), "-7.00".to_owned()),
            ]
        );
        assert_eq!(corrections[0].already_billed, Some(usd("10")));
        assert_eq!(corrections[1].already_billed, Some(usd("0")));
        assert_eq!(corrections[2].already_billed, Some(usd("7")));
        assert!(corrections[2].rated.amount.is_zero() && corrections[2].rated.parts.is_empty());
        let origin = corrections[0].origin.unwrap();
        assert_eq!((origin.cycle, origin.kind), (1, LineKind::Usage));
        // Once the corrections are billed too, nothing is left to correct.
        let second = invoice_over(2, corrections);
        let billed = Billed::of([&first, &second], []).unwrap();
        assert!(settled(1, &expected, &billed, false).is_empty());
        assert_eq!(billed.cycles().collect::<Vec<_>>(), [1], "corrections count for their cycle");
    }

    #[test]
    fn an_own_cycle_keeps_its_lines_and_takes_off_its_parts() {
        let part = invoice_over(3, vec![line(LineKind::Usage, "calls", 0, "4")]);
        let billed = Billed::of([&part], []).unwrap();
        let expected =
            [line(LineKind::Usage, "calls", 0, "4"), line(LineKind::FeeAdvance, "base", 30, "9")];
        let own = settled(3, &expected, &billed, true);
        assert_eq!(
            told(&own),
            [
                (LineKind::Usage, "calls".to_owned(), "0.00".to_owned()),
                (LineKind::FeeAdvance, "base".to_owned(), "9.00".to_owned()),
            ]
        );
        assert_eq!((own[0].already_billed, own[1].already_billed), (Some(usd("4")), None));
        assert!(own.iter().all(|line| line.origin.is_none()));
    }

    #[test]
    fn what_a_late_note_gave_back_is_not_billed_any_more() {
        let first = invoice_over(1, vec![line(LineKind::Usage, "calls", 0, "10")]);
        let key = LineKey::of(&first.body.lines[0], 1);
        let note = crate::testing::note_correcting(&first, &key, usd("4"));
        let billed = Billed::of([&first], [&note]).unwrap();
        assert_eq!(billed.amount(&key), Some(usd("6")));
        let expected = [line(LineKind::Usage, "calls", 0, "6")];
        assert!(settled(1, &expected, &billed, false).is_empty());
    }
}
