//! `payment`: record, list, balances, refund.

use counterfoil_engine::{
    Engine,
    payments::{Applied, Payment},
    statements::Consolidated,
};
use counterfoil_store::{AccountFilter, DocumentFilter};
use counterfoil_types::{CustomerId, Exact, InvoiceId, Money};

use super::Verdict;
use crate::{args, config::Config, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Payment,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Payment::Receipt { id, written } => {
            let model = engine.receipt_document(&id).await?;
            super::document::write(engine, config, &model, &written, out).await?;
        }
        args::Payment::Record { id, customer, amount, invoice, method, at } => {
            let payer = engine.customer(&customer).await?;
            let payment = Payment {
                id,
                amount: Money::from_exact(&amount.exact(), payer.currency)?,
                invoices: invoices(engine, &customer, &invoice).await?,
                method,
                received_at: at.unwrap_or_else(|| engine.now_of(&customer)),
                customer,
            };
            let applied = record(engine, payment, at.is_some()).await?;
            out.value(&applied)?;
            for (invoice, amount) in &applied.to_invoices {
                let number = engine.invoice(invoice).await?.number.unwrap_or_default();
                out.line(format_args!("{amount} went to invoice {number}"))?;
            }
            if !applied.to_balance.is_zero() {
                out.line(format_args!("{} is kept for the customer", applied.to_balance))?;
            }
        }
        args::Payment::List { customer } => list(engine, customer, out).await?,
        args::Payment::Balances { customer } => balances(engine, customer, out).await?,
        args::Payment::Refund { id, customer, amount } => {
            let payer = engine.customer(&customer).await?;
            let amount = Money::from_exact(&amount.exact(), payer.currency)?;
            engine.refund_balance(&id, &customer, amount).await?;
            out.value(&serde_json::json!({"refund": id, "amount": amount}))?;
            out.line(format_args!("{amount} is paid out to {customer}"))?;
        }
    }
    Ok(Verdict::Done)
}

/// A payment repeated without a time is the one recorded first, whenever that was.
async fn record(engine: &Engine, mut payment: Payment, timed: bool) -> Result<Applied, CliError> {
    let known = engine.store().document(&engine.tenant().id, "payment", &payment.id).await?;
    if let Some(known) = known.filter(|_| !timed) {
        payment.received_at = known.at;
    }
    Ok(engine.record_payment(&payment).await?)
}

/// Invoices by number or id; a consolidated one stands for those it lists.
async fn invoices(
    engine: &Engine,
    payer: &CustomerId,
    names: &[String],
) -> Result<Vec<InvoiceId>, CliError> {
    let mut found = Vec::new();
    for name in names {
        let consolidated = engine.consolidated(Some(payer)).await?;
        match consolidated.into_iter().find(|document| document.number.as_ref() == Some(name)) {
            Some(document) => {
                let body: Consolidated = serde_json::from_value(document.body)?;
                found.extend(body.lines.into_iter().map(|line| line.invoice));
            }
            None => found.push(super::invoice::find(engine, name).await?.id),
        }
    }
    Ok(found)
}

async fn list(
    engine: &Engine,
    customer: Option<CustomerId>,
    out: &mut Out,
) -> Result<(), CliError> {
    let filter = DocumentFilter { customer, subject: None };
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = engine
            .store()
            .documents(&engine.tenant().id, "payment", &filter, after.as_deref(), 500)
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for document in page {
            all.push(serde_json::from_value::<Payment>(document.body)?);
        }
    }
    all.sort_by(|a, b| (a.received_at, &a.id).cmp(&(b.received_at, &b.id)));
    out.value(&all)?;
    let rows = all.iter().map(|payment| {
        vec![
            payment.id.clone(),
            payment.customer.to_string(),
            payment.received_at.to_string(),
            payment.method.clone().unwrap_or_default(),
            payment.amount.to_string(),
        ]
    });
    out.table(&["payment", "customer", "received", "method", "amount"], rows.collect(), &[4])
}

async fn balances(
    engine: &Engine,
    customer: Option<CustomerId>,
    out: &mut Out,
) -> Result<(), CliError> {
    let mut all = Vec::new();
    for prefix in ["balance/", "receivable/"] {
        let filter =
            AccountFilter { prefix: prefix.to_owned(), customer: customer.clone(), open: true };
        let mut after: Option<String> = None;
        loop {
            let page = engine
                .store()
                .accounts(&engine.tenant().id, &filter, after.as_deref(), 500)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            all.extend(page);
        }
    }
    out.value(&all)?;
    let mut rows = Vec::new();
    for account in &all {
        let what = match account.name.strip_prefix("receivable/") {
            Some(id) => {
                let number = match id.parse() {
                    Ok(id) => engine.invoice(&id).await?.number,
                    Err(_) => None,
                };
                format!("open on {}", number.unwrap_or_else(|| id.to_owned()))
            }
            None => "in credit".to_owned(),
        };
        let shown: Exact = account.balance.exact();
        rows.push(vec![account.customer.to_string(), what, format!("{shown} {}", account.unit)]);
    }
    out.table(&["customer", "", "amount"], rows, &[2])
}
