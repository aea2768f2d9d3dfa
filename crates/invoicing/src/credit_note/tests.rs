//! Partial notes add up to the whole, whatever the parts, the taxes and the mode.

use counterfoil_rating::{PartKind, TaxRate};
use counterfoil_types::{BookRef, Digest, Period, Rounding};
use proptest::prelude::*;

use super::*;
use crate::{invoice::InvoiceLine, plan_lines::PlanRef, tax::TaxDecision, testing::invoice_taxed};

fn usd(cents: i64) -> Money {
    let exact = Exact::ratio(i128::from(cents), 100).unwrap();
    Money::from_exact(&exact, Currency::USD).unwrap()
}

fn line(number: usize, cents: i64) -> InvoiceLine {
    let plan = PlanRef {
        book: BookRef { name: "b".into(), version: "1".into() },
        book_hash: Digest([0; 32]),
        plan: "p".parse().unwrap(),
        period: Period::new(Timestamp::from_micros(0), Timestamp::from_micros(1)),
        currency: Currency::USD,
        rounding: Rounding::HalfAwayFromZero,
    };
    let name = format!("line {number}");
    let exact = usd(cents).exact();
    plan.line(LineKind::FeeArrears, &name, &name, PartKind::Flat, exact).unwrap()
}

fn invoice(lines: &[i64], rates: &[&str], mode: TaxMode) -> Invoice {
    let rates = rates
        .iter()
        .map(|percent| TaxRate { name: format!("T{percent}"), percent: percent.parse().unwrap() });
    let tax = TaxDecision { rates: rates.collect(), mode, note: None };
    let lines = lines.iter().enumerate().map(|(at, cents)| line(at, *cents)).collect();
    invoice_taxed(1, lines, tax)
}

/// A note over a scope, as the engine would store it.
fn note(
    invoice: &Invoice,
    earlier: &[CreditNote],
    scope: CreditScope,
) -> Result<CreditNote, CreditNoteError> {
    let lines = credit_lines(invoice, earlier, &scope)?;
    let mode = invoice.body.inputs.tax.mode;
    let values: Vec<Money> = lines.iter().map(|line| value(line, mode).unwrap()).collect();
    let total = Money::sum(Currency::USD, values)?;
    let zero = Money::zero(Currency::USD);
    Ok(CreditNote {
        id: earlier.len().to_string(),
        invoice: invoice.id,
        invoice_number: String::new(),
        customer: invoice.body.customer.clone(),
        reason: "r".to_owned(),
        currency: Currency::USD,
        lines,
        taxes: Vec::new(),
        total,
        prepaid: zero,
        off_receivable: total,
        to_balance: zero,
        refunded: zero,
        corrects: Vec::new(),
    })
}

#[test]
fn scopes_that_ask_for_nothing_or_too_much_are_refused() {
    let invoice = invoice(&[1000, 500], &["20"], TaxMode::Exclusive);
    let refused = |scope| note(&invoice, &[], scope).unwrap_err().to_string();
    assert!(refused(CreditScope::Amount(usd(0))).contains("no amount"));
    assert!(refused(CreditScope::Amount(usd(-1))).contains("no amount"));
    assert!(refused(CreditScope::Amount(usd(1801))).contains("18.00 USD is left"));
    assert!(refused(CreditScope::Lines(vec![(2, None)])).contains("no line 3"));
    assert!(refused(CreditScope::Lines(vec![(0, Some(usd(1201)))])).contains("12.00 USD is left"));
    assert!(refused(CreditScope::Net(vec![(1, usd(501))])).contains("5.00 USD is left"));
    assert!(refused(CreditScope::Net(vec![(2, usd(1))])).contains("no line 3"));
    let all = note(&invoice, &[], CreditScope::Full).unwrap();
    assert_eq!(all.total, usd(1800));
    let nothing = note(&invoice, &[all], CreditScope::Full);
    assert_eq!(nothing.unwrap_err(), CreditNoteError::Nothing);
}

#[test]
fn all_that_is_left_can_be_asked_for_and_a_part_keeps_the_shares() {
    let invoice = invoice(&[1000, 500], &["20"], TaxMode::Exclusive);
    let told = |scope| {
        let note = note(&invoice, &[], scope).unwrap();
        let lines = note.lines.iter().map(|line| (line.line, line.amount, line.taxes[0]));
        lines.collect::<Vec<_>>()
    };
    let whole = [(0, usd(1000), usd(200)), (1, usd(500), usd(100))];
    assert_eq!(told(CreditScope::Amount(usd(1800))), whole);
    assert_eq!(told(CreditScope::Lines(vec![(0, Some(usd(1200)))])), whole[..1]);
    assert_eq!(told(CreditScope::Lines(vec![(1, None)])), whole[1..]);
    assert_eq!(told(CreditScope::Net(vec![(1, usd(500))])), whole[1..]);
    let half = [(0, usd(500), usd(100)), (1, usd(250), usd(50))];
    assert_eq!(told(CreditScope::Amount(usd(900))), half);
    assert_eq!(told(CreditScope::Lines(vec![(0, Some(usd(600)))])), half[..1]);
}

#[test]
fn an_invoice_of_zero_or_below_has_nothing_to_credit() {
    for lines in [[1000, -1000], [500, -1000]] {
        let invoice = invoice(&lines, &["20"], TaxMode::Exclusive);
        let refused = note(&invoice, &[], CreditScope::Full).unwrap_err();
        assert_eq!(refused, CreditNoteError::Nothing, "{lines:?}");
    }
}

#[test]
fn a_net_amount_takes_its_tax_with_it() {
    let invoice = invoice(&[1000, 500], &["20", "5"], TaxMode::Exclusive);
    let part = note(&invoice, &[], CreditScope::Net(vec![(0, usd(333))])).unwrap();
    assert_eq!(part.lines[0].amount, usd(333));
    assert_eq!(part.lines[0].taxes, [usd(67), usd(17)]);
    assert_eq!(part.total, usd(417));
}

proptest! {
    /// Notes over random amounts, until nothing is left: they sum to the invoice, and so does
    /// each of its taxes.
    #[test]
    fn partial_notes_add_up_to_the_invoice(
        lines in prop::collection::vec(1i64..100_000, 1..5),
        asked in prop::collection::vec(1i64..60_000, 0..8),
        which in any::<u64>(),
        inclusive in any::<bool>(),
    ) {
        let mode = if inclusive { TaxMode::Inclusive } else { TaxMode::Exclusive };
        let invoice = invoice(&lines, &["19", "7.7"], mode);
        let mut notes: Vec<CreditNote> = Vec::new();
        for (turn, cents) in asked.into_iter().enumerate() {
            let at = usize::try_from(which.wrapping_shr(u32::try_from(turn).unwrap()) % 5).unwrap();
            let scope = match at {
                0 => CreditScope::Amount(usd(cents)),
                at => CreditScope::Lines(vec![(at % lines.len(), Some(usd(cents)))]),
            };
            match note(&invoice, &notes, scope) {
                Ok(one) => {
                    prop_assert_eq!(one.total, usd(cents), "a note gives what was asked for");
                    notes.push(one);
                }
                Err(CreditNoteError::TooMuch { asked, left, .. }) => {
                    prop_assert!(asked.exact() > left.exact());
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        if let Ok(rest) = note(&invoice, &notes, CreditScope::Full) {
            notes.push(rest);
        }
        let total = Money::sum(Currency::USD, notes.iter().map(|note| note.total)).unwrap();
        prop_assert_eq!(total, invoice.body.total);
        for (at, tax) in invoice.body.taxes.iter().enumerate() {
            let given = notes.iter().flat_map(|note| &note.lines).map(|line| line.taxes[at]);
            prop_assert_eq!(Money::sum(Currency::USD, given).unwrap(), tax.amount);
        }
    }
}
