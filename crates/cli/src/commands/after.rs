//! What follows invoices by itself: `dunning`, `bill`, `consolidate`; and `clock`.

use counterfoil_engine::{Engine, statements::Consolidated};
use counterfoil_invoicing::dunning::DunningStep;
use counterfoil_types::{CustomerId, SubscriptionId, Timestamp, timestamp::DAY_MICROS};

use super::Verdict;
use crate::{args, config::Config, error::CliError, output::Out};

pub(super) async fn dunning(
    engine: &Engine,
    command: args::Dunning,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Dunning::Run => {
            let done = engine.dun().await?;
            out.value(&done)?;
            for id in &done.overdue {
                let number = engine.invoice(id).await?.number.unwrap_or_default();
                out.line(format_args!("invoice {number} is overdue"))?;
            }
            for (id, step) in &done.steps {
                let number = engine.invoice(id).await?.number.unwrap_or_default();
                out.line(format_args!("invoice {number}: {step}"))?;
            }
        }
        args::Dunning::Steps => steps(engine, out).await?,
        args::Dunning::Set { steps: texts } => {
            let wrong = |text: &str| CliError::asked(format!("{text:?}: write DAYS=NAME"));
            let parsed = texts.iter().map(|text| {
                let (days, name) = text.split_once('=').ok_or_else(|| wrong(text))?;
                let after_days = days.parse().map_err(|_| wrong(text))?;
                Ok(DunningStep { after_days, name: name.to_owned() })
            });
            let parsed: Vec<DunningStep> = parsed.collect::<Result<_, CliError>>()?;
            engine.set_dunning_steps(&parsed).await?;
            steps(engine, out).await?;
        }
    }
    Ok(Verdict::Done)
}

async fn steps(engine: &Engine, out: &mut Out) -> Result<(), CliError> {
    let steps = engine.dunning_steps().await?;
    out.value(&steps)?;
    let rows = steps.iter().map(|step| vec![step.after_days.to_string(), step.name.clone()]);
    out.table(&["days after due", "step"], rows.collect(), &[0])
}

pub(super) async fn bill(
    engine: &Engine,
    config: &Config,
    subscription: Option<SubscriptionId>,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    if let Some(id) = subscription {
        let invoice = engine.bill_now(&id, &config.run_options()).await?;
        out.value(&invoice)?;
        super::invoice::show(&invoice, out)?;
        return Ok(Verdict::Done);
    }
    let done = engine.bill_thresholds(&config.run_options()).await?;
    out.value(&done)?;
    for part in &done.billed {
        let number = part.number.as_deref().unwrap_or_default();
        out.line(format_args!("{}: {number} over {}", part.subscription, part.total))?;
    }
    for (subscription, reason) in &done.held {
        out.line(format_args!("{subscription}: held, {reason}"))?;
    }
    if done.billed.is_empty() && done.held.is_empty() {
        out.line("no subscription has passed its threshold")?;
    }
    Ok(Verdict::unless(!done.held.is_empty()))
}

pub(super) async fn consolidate(
    engine: &Engine,
    period: Option<String>,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let documents = match period {
        Some(period) => engine.consolidate(&period.parse()?).await?,
        None => engine.consolidated(None).await?,
    };
    out.value(&documents)?;
    for document in &documents {
        let body: Consolidated = serde_json::from_value(document.body.clone())?;
        out.line(format_args!(
            "{} for {} ({}): {}",
            document.number.as_deref().unwrap_or_default(),
            body.payer,
            body.month,
            body.total
        ))?;
        let rows = body.lines.iter().map(|line| {
            vec![
                line.number.clone(),
                line.customer.to_string(),
                line.name.clone(),
                line.total.to_plain(),
            ]
        });
        out.table(&["invoice", "customer", "name", "total"], rows.collect(), &[3])?;
    }
    if documents.is_empty() {
        out.line("nothing is to be consolidated")?;
    }
    Ok(Verdict::Done)
}

pub(super) async fn clock(
    engine: &Engine,
    config: &Config,
    command: args::Clock,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    if !config.test_mode {
        return Err(CliError::asked(
            "test clocks are refused outside test mode (add --test-mode, never in production)",
        ));
    }
    let set = async |customer: Option<CustomerId>, to: Option<Timestamp>| {
        engine.set_test_clock(customer.as_ref(), to).await
    };
    match command {
        args::Clock::Set { to, customer } => {
            set(customer, Some(to)).await?;
            out.value(&serde_json::json!({"at": to}))?;
            out.line(format_args!("the clock stands at {to}"))?;
        }
        args::Clock::Advance { days, customer } => {
            let stands = match &customer {
                Some(customer) => engine.now_of(customer),
                None => engine.now(),
            };
            let to = stands.plus_micros(i64::from(days) * DAY_MICROS);
            set(customer, Some(to)).await?;
            out.value(&serde_json::json!({"at": to}))?;
            out.line(format_args!("the clock stands at {to}"))?;
        }
        args::Clock::Release { customer } => {
            set(customer, None).await?;
            out.value(&serde_json::json!({"at": null}))?;
            out.line("the clock runs again")?;
        }
        args::Clock::List => {
            let clocks: Vec<(&str, Timestamp)> = engine.test_clocks().all().collect();
            out.value(&clocks)?;
            let rows = clocks.iter().map(|(scope, at)| {
                let scope = if scope.is_empty() { "(tenant)" } else { scope };
                vec![scope.to_owned(), at.to_string()]
            });
            out.table(&["customer", "stands at"], rows.collect(), &[])?;
        }
    }
    Ok(Verdict::Done)
}
