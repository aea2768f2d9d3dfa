//! Invoices and notes for the unit tests of this crate.

#![cfg(test)]

use counterfoil_types::{BookRef, Currency, Digest, Money, Period, Rounding, Timestamp, Zone};

use crate::{
    assemble::Draft,
    credit_note::{Corrected, CreditNote},
    invoice::{ENGINE_VERSION, Inputs, Invoice, InvoiceBody, InvoiceLine, InvoiceState},
    plan_lines::PlanRef,
    settle::LineKey,
    subscription::Subscription,
    tax::TaxDecision,
};

/// A finalized invoice of a cycle over these lines, without tax.
pub(crate) fn invoice_over(cycle: u32, lines: Vec<InvoiceLine>) -> Invoice {
    invoice_taxed(cycle, lines, TaxDecision::default())
}

/// The same, taxed.
pub(crate) fn invoice_taxed(cycle: u32, lines: Vec<InvoiceLine>, tax: TaxDecision) -> Invoice {
    let body: InvoiceBody = crate::assemble(draft_over(cycle, lines, tax)).unwrap();
    Invoice { state: InvoiceState::Pending, ..Invoice::draft(body).unwrap() }
}

/// Plan `p` of book `b` over the first day there is, in dollars.
pub(crate) fn plan_ref() -> PlanRef {
    let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
    PlanRef {
        book: BookRef { name: "b".into(), version: "1".into() },
        book_hash: Digest([0; 32]),
        plan: "p".parse().unwrap(),
        period: Period::new(at(0), at(1)),
        currency: Currency::USD,
        rounding: Rounding::HalfAwayFromZero,
    }
}

/// What such an invoice is assembled from.
pub(crate) fn draft_over(cycle: u32, lines: Vec<InvoiceLine>, tax: TaxDecision) -> Draft {
    let at = Timestamp::from_micros(i64::from(cycle) * 86_400_000_000);
    Draft {
        tenant: "t".parse().unwrap(),
        customer: "c".parse().unwrap(),
        customer_name: "C".to_owned(),
        payer: None,
        subscription: "s".parse().unwrap(),
        cycle,
        revision: 0,
        part: 0,
        due_cycle_at: at,
        period: Period::new(at, at),
        zone: Zone::utc(),
        currency: Currency::USD,
        rounding: Rounding::HalfAwayFromZero,
        lines,
        granted: Vec::new(),
        inputs: Inputs {
            lane: 0,
            position: 1,
            engine: ENGINE_VERSION.to_owned(),
            subscription: Subscription::new(
                "s".parse().unwrap(),
                "c".parse().unwrap(),
                "b",
                "p".parse().unwrap(),
                "2026-01-01".parse().unwrap(),
            ),
            zone: Zone::utc(),
            tax,
            late_events: None,
            until: None,
            compared: false,
            billed_by: Vec::new(),
            withdrawn: Vec::new(),
            credited_by: Vec::new(),
            credits: Vec::new(),
            grants: Vec::new(),
        },
    }
}

/// A note that gives back `amount` of what `key` billed.
pub(crate) fn note_correcting(invoice: &Invoice, key: &LineKey, amount: Money) -> CreditNote {
    let zero = Money::zero(amount.currency());
    CreditNote {
        id: "n".to_owned(),
        invoice: invoice.id,
        invoice_number: String::new(),
        customer: invoice.body.customer.clone(),
        reason: "late".to_owned(),
        currency: amount.currency(),
        lines: Vec::new(),
        taxes: Vec::new(),
        total: amount,
        prepaid: zero,
        off_receivable: amount,
        to_balance: zero,
        refunded: zero,
        corrects: vec![Corrected {
            cycle: key.cycle,
            kind: key.kind,
            plan: key.plan.clone(),
            charge: key.charge.clone(),
            from: key.from,
            amount,
        }],
    }
}
