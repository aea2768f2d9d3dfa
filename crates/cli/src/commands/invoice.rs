//! `invoice`: list, show, explain, export.

mod export;

use counterfoil_engine::{Engine, EngineError};
use counterfoil_invoicing::{Invoice, InvoiceState, TaxMode, explain, explain::explain_part};
use counterfoil_store::InvoiceFilter;

use super::Verdict;
use crate::{args, config::Config, error::CliError, human, output::Out};

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Invoice,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Invoice::List { customer, state } => {
            let state = state
                .map(|state| {
                    InvoiceState::parse(&state).ok_or_else(|| {
                        CliError::asked(format!(
                            "{state:?} is no state; write draft, pending, paid, overdue, uncollectible or void"
                        ))
                    })
                })
                .transpose()?;
            list(engine, &InvoiceFilter { customer, subscription: None, state }, out).await?;
        }
        args::Invoice::Show { invoice } => {
            let invoice = find(engine, &invoice).await?;
            out.value(&invoice)?;
            show(&invoice, out)?;
        }
        args::Invoice::Explain { invoice } => {
            let text = explain(&find(engine, &invoice).await?);
            out.value(&text)?;
            for line in text {
                out.line(line)?;
            }
        }
        args::Invoice::Void { invoice, reason } => {
            let invoice = find(engine, &invoice).await?;
            let invoice = engine.void_invoice(&invoice.id, &reason).await?;
            out.value(&invoice)?;
            out.line(format_args!(
                "invoice {} is void",
                invoice.number.as_deref().unwrap_or_default()
            ))?;
        }
        args::Invoice::Reissue { invoice } => {
            let invoice = find(engine, &invoice).await?;
            let invoice = engine.reissue_invoice(&invoice.id, &config.run_options()).await?;
            out.value(&invoice)?;
            show(&invoice, out)?;
        }
        args::Invoice::WriteOff { invoice, reason } => {
            let invoice = find(engine, &invoice).await?;
            let invoice = engine.write_off(&invoice.id, &reason).await?;
            out.value(&invoice)?;
            out.line(format_args!(
                "invoice {} is given up",
                invoice.number.as_deref().unwrap_or_default()
            ))?;
        }
        args::Invoice::Document { invoice, written, annex, by } => {
            let invoice = find(engine, &invoice).await?;
            let mut model = engine.invoice_document(&invoice).await?;
            if annex || by.is_some() {
                model.annex = engine.usage_annex(&invoice, by.as_deref()).await?;
            }
            super::document::write(engine, config, &model, &written, out).await?;
        }
        args::Invoice::Export { format, out: path, customer } => {
            let filter = InvoiceFilter { customer, ..InvoiceFilter::default() };
            export::run(engine, &filter, format, path.as_deref(), out).await?;
        }
    }
    Ok(Verdict::Done)
}

/// An invoice by number or id.
pub(super) async fn find(engine: &Engine, name: &str) -> Result<Invoice, CliError> {
    let tenant = &engine.tenant().id;
    let found = match name.parse() {
        Ok(id) => engine.store().invoice(tenant, &id).await?,
        Err(_) => engine.store().invoice_numbered(tenant, name).await?,
    };
    found.ok_or_else(|| {
        EngineError::not_found("invoice", name, "; see `counterfoil invoice list`").into()
    })
}

/// Lists invoices, page by page.
pub(crate) async fn list(
    engine: &Engine,
    filter: &InvoiceFilter,
    out: &mut Out,
) -> Result<(), CliError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = engine.store().invoices(&engine.tenant().id, filter, after, 500).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.due_cycle_at, last.id));
        all.extend(page);
    }
    out.value(&all)?;
    let rows = all.iter().map(|invoice| {
        vec![
            invoice.number.clone().unwrap_or_else(|| invoice.id.to_string()),
            invoice.state.as_str().to_owned(),
            invoice.customer.to_string(),
            invoice.subscription.to_string(),
            invoice.cycle.to_string(),
            invoice.total.to_string(),
        ]
    });
    out.table(
        &["invoice", "state", "customer", "subscription", "cycle", "total"],
        rows.collect(),
        &[4, 5],
    )
}

/// One invoice for people.
pub(crate) fn show(invoice: &Invoice, out: &mut Out) -> Result<(), CliError> {
    let body = &invoice.body;
    out.line(format_args!(
        "Invoice {} ({})",
        invoice.number.clone().unwrap_or_else(|| invoice.id.to_string()),
        invoice.state.as_str()
    ))?;
    out.line(format_args!("{} ({})", body.customer_name, body.customer))?;
    out.line(format_args!("{}, {}", human::period(&body.period, &body.zone), body.zone))?;
    let mut rows = Vec::new();
    for line in &body.lines {
        let used = match (&line.metered, &line.unit) {
            (Some(metered), Some(unit)) => format!("{} {unit}", human::quantity(metered)),
            _ => String::new(),
        };
        let name = if line.period == body.period {
            line.name.clone()
        } else {
            format!("{} ({})", line.name, human::period(&line.period, &body.zone))
        };
        rows.push(vec![name, used, line.amount.to_plain()]);
        if let Some(billed) = line.already_billed.filter(|billed| !billed.is_zero()) {
            let comes_to = line.rated.amount.to_plain();
            let text = format!("  · comes to {comes_to}, billed before {}", billed.to_plain());
            rows.push(vec![text, String::new(), String::new()]);
        }
        if line.rated.parts.len() > 1 {
            for part in &line.rated.parts {
                rows.push(vec![
                    format!(
                        "  · {}",
                        explain_part(part, line.rated.factor.as_ref(), body.currency)
                    ),
                    String::new(),
                    String::new(),
                ]);
            }
        }
    }
    rows.push(vec!["Subtotal".into(), String::new(), body.subtotal.to_plain()]);
    for used in &body.credits {
        let name = format!("Credit {} ({})", used.name, used.kind.as_str());
        rows.push(vec![name, String::new(), used.amount.negated().to_plain()]);
    }
    for tax in &body.taxes {
        let within = if body.inputs.tax.mode == TaxMode::Inclusive { "contains " } else { "" };
        let name = format!("{within}{} {} %", tax.name, tax.percent);
        rows.push(vec![name, String::new(), tax.amount.to_plain()]);
    }
    rows.push(vec![format!("Total {}", body.currency), String::new(), body.total.to_plain()]);
    out.table(&["", "usage", "amount"], rows, &[1, 2])?;
    match &body.inputs.tax.note {
        Some(note) => out.line(note),
        None => Ok(()),
    }
}
