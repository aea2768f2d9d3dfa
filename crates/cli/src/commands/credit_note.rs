//! `credit-note`: issue, late, list.

use counterfoil_engine::{
    Engine,
    credit_notes::{CreditRequest, PaidBack},
};
use counterfoil_invoicing::{CreditNote, credit_note::CreditScope};
use counterfoil_store::DocumentFilter;
use counterfoil_types::{Currency, Money};

use super::Verdict;
use crate::{args, config::Config, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::CreditNote,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::CreditNote::Issue { id, invoice, full, line, amount, reason, refund } => {
            let invoice = super::invoice::find(engine, &invoice).await?;
            let currency = invoice.body.currency;
            let scope = match amount {
                _ if full => CreditScope::Full,
                Some(amount) => CreditScope::Amount(Money::from_exact(&amount.exact(), currency)?),
                None => CreditScope::Lines(
                    line.iter().map(|text| one_line(text, currency)).collect::<Result<_, _>>()?,
                ),
            };
            let request = CreditRequest {
                id,
                invoice: invoice.id,
                scope,
                reason,
                paid_back: if refund { PaidBack::Refund } else { PaidBack::Balance },
                corrects: Vec::new(),
            };
            let note = engine.credit(&request).await?;
            out.value(&note)?;
            show(&note, out)?;
        }
        args::CreditNote::Late { subscription } => {
            let notes = engine.credit_late(&subscription).await?;
            out.value(&notes)?;
            if notes.is_empty() {
                out.line("nothing is to be given back")?;
            }
            for note in &notes {
                show(note, out)?;
            }
        }
        args::CreditNote::Document { id, written } => {
            let model = engine.credit_note_document(&id).await?;
            super::document::write(engine, config, &model, &written, out).await?;
        }
        args::CreditNote::List { customer } => {
            let filter = DocumentFilter { customer, subject: None };
            let mut rows = Vec::new();
            let mut all: Vec<CreditNote> = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let page = engine
                    .store()
                    .documents(&engine.tenant().id, "credit_note", &filter, after.as_deref(), 500)
                    .await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                for document in page {
                    let note: CreditNote = serde_json::from_value(document.body)?;
                    rows.push(vec![
                        document.number.unwrap_or_default(),
                        note.id.clone(),
                        note.invoice_number.clone(),
                        note.customer.to_string(),
                        note.reason.clone(),
                        note.total.to_string(),
                    ]);
                    all.push(note);
                }
            }
            rows.sort();
            out.value(&all)?;
            let head = ["number", "id", "invoice", "customer", "reason", "total"];
            out.table(&head, rows, &[5])?;
        }
    }
    Ok(Verdict::Done)
}

/// `LINE` or `LINE=AMOUNT`, counted from 1.
fn one_line(text: &str, currency: Currency) -> Result<(usize, Option<Money>), CliError> {
    let wrong =
        || CliError::asked(format!("--line {text:?}: write the number of a line, or LINE=AMOUNT"));
    let (line, amount) = match text.split_once('=') {
        Some((line, amount)) => (line, Some(amount)),
        None => (text, None),
    };
    let line: usize = line.parse().map_err(|_| wrong())?;
    let amount = amount
        .map(|amount| {
            let exact = counterfoil_types::Exact::parse(amount).map_err(|_| wrong())?;
            Ok::<_, CliError>(Money::from_exact(&exact, currency)?)
        })
        .transpose()?;
    Ok((line.checked_sub(1).ok_or_else(wrong)?, amount))
}

fn show(note: &CreditNote, out: &mut Out) -> Result<(), CliError> {
    out.line(format_args!(
        "credit note {} on invoice {}: {} ({})",
        note.id, note.invoice_number, note.total, note.reason
    ))?;
    let mut rows = Vec::new();
    for line in &note.lines {
        rows.push(vec![format!("{}. {}", line.line + 1, line.name), line.amount.to_plain()]);
    }
    for tax in &note.taxes {
        rows.push(vec![format!("{} {} %", tax.name, tax.percent), tax.amount.to_plain()]);
    }
    for (what, amount) in [
        ("back to prepaid credit", note.prepaid),
        ("taken off what is open", note.off_receivable),
        ("kept for the customer", note.to_balance),
        ("paid out", note.refunded),
    ] {
        if !amount.is_zero() {
            rows.push(vec![what.to_owned(), amount.to_plain()]);
        }
    }
    out.table(&["", "amount"], rows, &[1])
}
