//! From what is stored to the model. Amounts are taken over as they are; nothing is computed again.

use counterfoil_invoicing::{
    CreditNote, Customer, Invoice, InvoiceState, LineKind, TaxDecision, TaxMode,
};
use counterfoil_types::{Digest, Exact, Money, Period, Timestamp};

use crate::{
    branding::Party,
    error::DocumentError,
    model::{Kind, Line, Model, Movement, MovementKind, Settled, Stamp, Tax, Untaxed},
};

/// How a tax decision begins when the recipient owes the tax.
const REVERSE_CHARGE: &str = "Reverse charge";

/// A party with the customer's name and address where it has none of its own.
#[must_use]
pub fn buyer(customer: &Customer, known: &Party) -> Party {
    let mut party = known.clone();
    if party.name.is_empty() {
        party.name.clone_from(&customer.name);
    }
    if party.email.is_none() {
        party.email.clone_from(&customer.email);
    }
    if party.tax_id.is_none() {
        party.tax_id.clone_from(&customer.reverse_charge);
    }
    party
}

/// Why a decision has no rates.
fn untaxed(decision: &TaxDecision) -> Option<Untaxed> {
    if !decision.rates.is_empty() {
        return None;
    }
    Some(match &decision.note {
        Some(note) if note.starts_with(REVERSE_CHARGE) => {
            let number = note.rsplit_once("(tax number ").map_or("", |(_, rest)| rest);
            Untaxed::ReverseCharge(number.trim_end_matches(')').to_owned())
        }
        Some(note) => Untaxed::Exempt(note.clone()),
        None => Untaxed::OutOfScope,
    })
}

/// The document of an invoice to `customer`, who pays it.
///
/// # Errors
/// When an amount does not fit.
pub fn invoice(
    invoice: &Invoice,
    customer: &Customer,
    known: &Party,
) -> Result<Model, DocumentError> {
    let body = &invoice.body;
    let none = Money::zero(body.currency);
    let mut lines = Vec::with_capacity(body.lines.len());
    for (at, line) in body.lines.iter().enumerate() {
        let shares = body.taxes.iter().map(|tax| tax.by_line.get(at).copied().unwrap_or(none));
        let simple =
            matches!(line.kind, LineKind::Usage | LineKind::FeeArrears | LineKind::FeeAdvance);
        lines.push(Line {
            name: line.name.clone(),
            kind: (!simple).then_some(line.kind),
            period: Some(line.period),
            metered: line
                .metered
                .clone()
                .map(|metered| (metered, line.unit.clone().unwrap_or_default())),
            units: line.rated.units.clone(),
            parts: line.rated.parts.clone(),
            factor: line.rated.factor.clone(),
            rated: line.rated.amount,
            already_billed: line.already_billed.filter(|billed| !billed.is_zero()),
            amount: line.amount,
            prepaid: body.credited.get(at).copied().unwrap_or(none),
            taxes: shares.collect(),
            exempt: line.tax_exempt,
        });
    }
    let number = invoice.number.clone().unwrap_or_else(|| invoice.id.to_string());
    let mut known = known.clone();
    if known.name.is_empty() && *body.paid_by() == body.customer {
        // The name as it was invoiced: a customer that is renamed does not change old invoices.
        known.name.clone_from(&body.customer_name);
    }
    Ok(Model {
        stamp: match invoice.state {
            InvoiceState::Draft => Some(Stamp::Draft),
            InvoiceState::Void => Some(Stamp::Void),
            _ => None,
        },
        digest: Some(invoice.digest),
        issued_at: invoice.issued_at,
        due_at: invoice.due_at,
        period: Some(body.period),
        language: customer.language.clone(),
        customer: body.paid_by().to_string(),
        buyer: buyer(customer, &known),
        subtotal: body.subtotal,
        credits: body.credits.iter().map(|used| (used.name.clone(), used.amount)).collect(),
        taxes: body
            .taxes
            .iter()
            .map(|tax| Tax {
                name: tax.name.clone(),
                percent: tax.percent,
                base: tax.base,
                amount: tax.amount,
            })
            .collect(),
        inclusive: body.inputs.tax.mode == TaxMode::Inclusive,
        untaxed: untaxed(&body.inputs.tax),
        tax_note: body.inputs.tax.note.clone(),
        tax: body.tax,
        total: body.total,
        lines,
        ..Model::new(Kind::Invoice, number, body.currency, body.zone.clone())
    })
}

/// The document of a credit note on `invoice`.
///
/// # Errors
/// When an amount does not fit.
pub fn credit_note(
    note: &CreditNote,
    (number, at, digest): (Option<String>, Timestamp, Digest),
    original: &Invoice,
    customer: &Customer,
    known: &Party,
) -> Result<Model, DocumentError> {
    let body = &original.body;
    let base = invoice(original, customer, known)?;
    let none = Money::zero(note.currency);
    let lines = note.lines.iter().map(|line| {
        let was = body.lines.get(line.line);
        Line {
            name: line.name.clone(),
            kind: None,
            period: was.map(|was| was.period),
            metered: None,
            units: Exact::ONE,
            parts: Vec::new(),
            factor: None,
            rated: line.amount,
            already_billed: None,
            amount: line.amount,
            prepaid: line.prepaid,
            taxes: line.taxes.clone(),
            exempt: was.is_some_and(|was| was.tax_exempt),
        }
    });
    let lines: Vec<Line> = lines.collect();
    let mut base_amount = none;
    for line in lines.iter().filter(|line| !line.exempt) {
        base_amount = base_amount.checked_add(line.amount)?.checked_sub(line.prepaid)?;
    }
    let tax = |tax: &counterfoil_invoicing::credit_note::CreditedTax| Tax {
        name: tax.name.clone(),
        percent: tax.percent,
        base: base_amount,
        amount: tax.amount,
    };
    let taxes: Vec<Tax> = note.taxes.iter().map(tax).collect();
    let settled = [
        (Settled::Prepaid, note.prepaid),
        (Settled::OffReceivable, note.off_receivable),
        (Settled::ToBalance, note.to_balance),
        (Settled::Refunded, note.refunded),
    ];
    Ok(Model {
        kind: Kind::CreditNote,
        number: number.unwrap_or_else(|| note.id.clone()),
        stamp: None,
        digest: Some(digest),
        issued_at: Some(at),
        due_at: None,
        refers_to: Some((note.invoice_number.clone(), original.issued_at)),
        reason: Some(note.reason.clone()),
        subtotal: Money::sum(note.currency, lines.iter().map(|line| line.amount))?,
        credits: Vec::new(),
        tax: Money::sum(note.currency, taxes.iter().map(|tax| tax.amount))?,
        taxes,
        total: note.total,
        settled: settled.into_iter().filter(|(_, amount)| !amount.is_zero()).collect(),
        lines,
        ..base
    })
}

/// A payment and what it went to.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its id.
    pub id: String,
    /// How much.
    pub amount: Money,
    /// How it came.
    pub method: Option<String>,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of what is stored.
    pub digest: Digest,
    /// How much went to which invoice, by number.
    pub to_invoices: Vec<(String, Money)>,
    /// What is left for the customer.
    pub to_balance: Money,
}

/// The receipt of a payment.
///
/// # Errors
/// When an amount does not fit.
pub fn receipt(
    payment: &Received,
    customer: &Customer,
    known: &Party,
) -> Result<Model, DocumentError> {
    let currency = payment.amount.currency();
    let movements = payment.to_invoices.iter().map(|(number, amount)| Movement {
        at: payment.at,
        kind: MovementKind::Invoice,
        reference: number.clone(),
        amount: *amount,
        balance: *amount,
    });
    let kept = Some((Settled::ToBalance, payment.to_balance));
    Ok(Model {
        digest: Some(payment.digest),
        issued_at: Some(payment.at),
        language: customer.language.clone(),
        customer: customer.id.to_string(),
        buyer: buyer(customer, known),
        movements: movements.collect(),
        settled: kept.into_iter().filter(|(_, amount)| !amount.is_zero()).collect(),
        method: payment.method.clone(),
        total: payment.amount,
        ..Model::new(Kind::Receipt, payment.id.clone(), currency, customer.zone.clone())
    })
}

/// Something that changed what a customer owes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: MovementKind,
    /// Its number.
    pub reference: String,
    /// By how much.
    pub amount: Money,
}

/// The statement of a customer over a period, from all that ever changed what it owes.
///
/// # Errors
/// When an amount does not fit, or the currencies differ.
pub fn statement(
    customer: &Customer,
    known: &Party,
    period: Period,
    mut entries: Vec<Entry>,
) -> Result<Model, DocumentError> {
    entries.sort_by(|a, b| (a.at, &a.reference).cmp(&(b.at, &b.reference)));
    let mut owed = Money::zero(customer.currency);
    let (mut opening, mut movements) = (owed, Vec::new());
    for entry in entries {
        if entry.at >= period.end {
            break;
        }
        owed = owed.checked_add(entry.amount)?;
        if entry.at < period.start {
            opening = owed;
            continue;
        }
        let Entry { at, kind, reference, amount } = entry;
        movements.push(Movement { at, kind, reference, amount, balance: owed });
    }
    let day = customer.zone.civil(period.start)?.date();
    let number = format!("{}-{day}", customer.id);
    Ok(Model {
        period: Some(period),
        issued_at: Some(period.end),
        language: customer.language.clone(),
        customer: customer.id.to_string(),
        buyer: buyer(customer, known),
        opening: Some(opening),
        movements,
        total: owed,
        ..Model::new(Kind::Statement, number, customer.currency, customer.zone.clone())
    })
}
