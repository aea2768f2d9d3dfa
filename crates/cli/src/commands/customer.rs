//! `customer`: add, import, list, show.

use counterfoil_engine::{Engine, contracts::Effective};
use counterfoil_invoicing::{Customer, Subscription, TaxMode, TaxRate};
use counterfoil_rating::LatePolicy;
use counterfoil_types::Period;
use serde::Deserialize;

use super::Verdict;
use crate::{args, config::Config, error::CliError, output::Out};

/// A file of customers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    customer: Vec<Entry>,
}

/// A customer of a file: the keys of a customer, and its subscriptions.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(flatten)]
    customer: toml::Table,
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Customer,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Customer::Statement { customer, from, to, written } => {
            let zone = engine.customer(&customer).await?.zone;
            let after = to.tomorrow().map_err(|error| CliError::asked(error.to_string()))?;
            if from > to {
                return Err(CliError::asked("--from must not be after --to"));
            }
            let start = zone.instant(from.at(0, 0, 0, 0))?;
            let period = Period::new(start, zone.instant(after.at(0, 0, 0, 0))?);
            let model = engine.statement_document(&customer, period).await?;
            super::document::write(engine, config, &model, &written, out).await?;
        }
        args::Customer::Add(add) => {
            let asked = |error: String| CliError::asked(error);
            let currency = add.currency.parse().map_err(
                |error: counterfoil_types::currency::UnknownCurrency| asked(error.to_string()),
            )?;
            let customer = Customer {
                email: add.email,
                tax: add.tax.iter().map(|rate| tax_rate(rate)).collect::<Result<_, _>>()?,
                tax_mode: if add.tax_inclusive { TaxMode::Inclusive } else { TaxMode::Exclusive },
                tax_exempt: add.tax_exempt,
                reverse_charge: add.reverse_charge,
                parent: add.parent,
                terms_days: add.terms,
                late_events: add.late_events.map(|late| match late {
                    args::Late::NextInvoice => LatePolicy::NextInvoice,
                    args::Late::CreditNote => LatePolicy::CreditNote,
                    args::Late::ReportOnly => LatePolicy::ReportOnly,
                }),
                ..Customer::new(add.id, add.name, currency, add.zone.parse()?)
            };
            engine.put_customer(&customer).await?;
            out.value(&customer)?;
            out.line(format_args!("customer {} is there", customer.id))?;
        }
        args::Customer::Import { file } => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| CliError::file(file.display(), error))?;
            let (customers, subscriptions) =
                import(engine, &file.display().to_string(), &text).await?;
            out.line(format_args!(
                "{customers} customers and {subscriptions} subscriptions are there"
            ))?;
            out.value(
                &serde_json::json!({"customers": customers, "subscriptions": subscriptions}),
            )?;
        }
        args::Customer::Zone { id, zone, on } => {
            let when = on.map_or(Effective::Now, Effective::On);
            engine.move_customer(&id, &zone.parse()?, when).await?;
            let customer = engine.customer(&id).await?;
            out.value(&customer)?;
            out.line(format_args!(
                "customer {id} is in {} from the end of its open periods on",
                customer.zone
            ))?;
        }
        args::Customer::List => list(engine, out).await?,
        args::Customer::Show { id } => {
            let customer = engine.customer(&id).await?;
            let subscriptions = engine.subscriptions_of(&id).await?;
            out.value(&serde_json::json!({"customer": customer, "subscriptions": subscriptions}))?;
            out.line(format_args!("{} ({})", customer.name, customer.id))?;
            out.line(format_args!(
                "{} {} {}",
                customer.currency,
                customer.zone,
                customer.email.as_deref().unwrap_or_default()
            ))?;
            for rate in &customer.tax {
                out.line(format_args!("tax: {} {} %", rate.name, rate.percent))?;
            }
            super::subscription::table(&subscriptions, out)?;
        }
    }
    Ok(Verdict::Done)
}

fn tax_rate(text: &str) -> Result<TaxRate, CliError> {
    let (name, percent) = text.split_once('=').ok_or_else(|| {
        CliError::asked(format!("--tax {text:?}: write NAME=PERCENT, for example VAT=19"))
    })?;
    let percent =
        percent.parse().map_err(|error| CliError::asked(format!("--tax {text:?}: {error}")))?;
    Ok(TaxRate { name: name.to_owned(), percent })
}

/// Adds the customers and subscriptions of a file. Importing it again changes nothing.
pub(crate) async fn import(
    engine: &Engine,
    name: &str,
    text: &str,
) -> Result<(u64, u64), CliError> {
    let file: File = toml::from_str(text).map_err(|error| CliError::file(name, error))?;
    let (mut customers, mut subscriptions) = (0, 0);
    for Entry { mut customer } in file.customer {
        let listed = customer.remove("subscription");
        let wrong = |error: toml::de::Error| CliError::file(name, error);
        let customer: Customer = toml::Value::Table(customer).try_into().map_err(wrong)?;
        engine.put_customer(&customer).await?;
        customers += 1;
        let listed: Vec<toml::Table> =
            listed.map(toml::Value::try_into).transpose().map_err(wrong)?.unwrap_or_default();
        for mut subscription in listed {
            let id = toml::Value::String(customer.id.to_string());
            subscription.insert("customer".to_owned(), id);
            let subscription: Subscription =
                toml::Value::Table(subscription).try_into().map_err(wrong)?;
            engine.start_subscription(&subscription).await?;
            subscriptions += 1;
        }
    }
    Ok((customers, subscriptions))
}

async fn list(engine: &Engine, out: &mut Out) -> Result<(), CliError> {
    let mut all: Vec<Customer> = Vec::new();
    loop {
        let after = all.last().map(|customer| customer.id.clone());
        let page = engine.store().customers(&engine.tenant().id, after.as_ref(), 500).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    out.value(&all)?;
    let rows = all.iter().map(|customer| {
        let taxes: Vec<String> =
            customer.tax.iter().map(|rate| format!("{} {} %", rate.name, rate.percent)).collect();
        vec![
            customer.id.to_string(),
            customer.name.clone(),
            customer.currency.to_string(),
            customer.zone.to_string(),
            taxes.join(", "),
        ]
    });
    out.table(&["customer", "name", "currency", "zone", "tax"], rows.collect(), &[])
}
