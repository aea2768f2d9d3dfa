//! `usage`: used, included, remaining and cost; or what is not billed at all.

use counterfoil_engine::{Engine, report::SubscriptionUsage};
use counterfoil_types::{CustomerId, Period};

use super::Verdict;
use crate::{args::Usage, error::CliError, human, output::Out};

pub(super) async fn run(engine: &Engine, args: &Usage, out: &mut Out) -> Result<Verdict, CliError> {
    let range = match (args.from, args.to) {
        (Some(from), Some(to)) if from < to => Some(Period::new(from, to)),
        (Some(_), Some(_)) => return Err(CliError::asked("--from must lie before --to")),
        _ => None,
    };
    if args.unbilled {
        let Some(period) = range else {
            return Err(CliError::asked("--unbilled needs --from and --to"));
        };
        return unbilled(engine, period, out).await;
    }
    let Some(customer) = &args.customer else {
        return Err(CliError::asked("name the customer"));
    };
    match range {
        Some(period) => meters(engine, customer, period, out).await,
        None => {
            let at = args.at.unwrap_or_else(|| engine.now());
            let found = engine.current_usage(customer, at, args.as_of).await?;
            out.value(&found)?;
            if found.is_empty() {
                out.line(format_args!(
                    "customer {customer} has no subscription at {at}; `counterfoil usage {customer} --from … --to …` shows its meters"
                ))?;
            }
            let zone = engine.customer(customer).await?.zone;
            for usage in &found {
                subscription(usage, &zone, out)?;
            }
            Ok(Verdict::Done)
        }
    }
}

pub(crate) fn subscription(
    usage: &SubscriptionUsage,
    zone: &counterfoil_types::Zone,
    out: &mut Out,
) -> Result<(), CliError> {
    out.line(format_args!(
        "{} ({} {}), {} {zone}",
        usage.subscription,
        usage.book,
        usage.plan,
        human::period(&usage.period, zone),
    ))?;
    let rows = usage
        .charges
        .iter()
        .map(|charge| {
            vec![
                charge.name.clone(),
                human::quantity(&charge.used),
                human::quantity(&charge.included),
                human::quantity(&charge.remaining),
                human::quantity(&charge.overage),
                charge.unit.clone(),
                charge.cost.to_string(),
            ]
        })
        .collect();
    out.table(
        &["charge", "used", "included", "remaining", "overage", "unit", "cost so far"],
        rows,
        &[1, 2, 3, 4, 6],
    )?;
    out.line(format_args!("cost of usage so far: {}\n", usage.cost))
}

async fn meters(
    engine: &Engine,
    customer: &CustomerId,
    period: Period,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let found = engine.metered(customer, period).await?;
    out.value(&found)?;
    let mut rows = Vec::new();
    for meter in &found {
        rows.push(vec![
            meter.meter.to_string(),
            human::quantity(&meter.value),
            meter.unit.clone(),
            meter.events.to_string(),
        ]);
        for (group, value) in &meter.groups {
            rows.push(vec![
                format!("  {group}"),
                human::quantity(value),
                meter.unit.clone(),
                String::new(),
            ]);
        }
    }
    out.table(&["meter", "value", "unit", "events"], rows, &[1, 3])?;
    Ok(Verdict::Done)
}

async fn unbilled(engine: &Engine, period: Period, out: &mut Out) -> Result<Verdict, CliError> {
    let found = engine.unbilled(period).await?;
    out.value(&found)?;
    if found.is_empty() {
        out.line("every accepted event is billed")?;
    } else {
        let rows = found.iter().map(|group| {
            vec![
                group.customer.to_string(),
                group.event_type.clone(),
                group.events.to_string(),
                group.reason.clone(),
                format!("lane {} position {}", group.example.0, group.example.1),
            ]
        });
        out.table(
            &["customer", "type", "events", "why not billed", "for example"],
            rows.collect(),
            &[2],
        )?;
    }
    Ok(Verdict::unless(!found.is_empty()))
}
