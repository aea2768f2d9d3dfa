//! `grant`: add, list, show, renew.

use counterfoil_engine::Engine;
use counterfoil_invoicing::{Grant, GrantKind, GrantUnit, credit::Renewal};
use counterfoil_types::{Currency, Interval, IntervalUnit, timestamp::DAY_MICROS};

use super::Verdict;
use crate::{args, error::CliError, human, output::Out};

pub(super) async fn run(
    engine: &Engine,
    command: args::Grant,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Grant::Add(add) => {
            let unit = match (&add.currency, &add.meter) {
                (Some(currency), _) => GrantUnit::Currency(currency.parse::<Currency>().map_err(
                    |error: counterfoil_types::currency::UnknownCurrency| {
                        CliError::asked(error.to_string())
                    },
                )?),
                (None, Some(meter)) => GrantUnit::Meter(meter.clone()),
                (None, None) => return Err(CliError::asked("name --currency or --meter")),
            };
            let from = add.from.unwrap_or_else(|| engine.now_of(&add.customer));
            let renewal = add.every.as_deref().map(interval).transpose()?;
            let mut expires = add.expires;
            if let (None, Some(every)) = (expires, renewal) {
                // The first window ends with the first interval.
                let zone = engine.customer(&add.customer).await?.zone;
                let local = every
                    .after(zone.civil(from)?, 1)
                    .map_err(|error| CliError::asked(error.to_string()))?;
                expires = Some(zone.instant(local)?);
            }
            let grant = Grant {
                name: add.name.clone().unwrap_or_else(|| add.id.clone()),
                id: add.id,
                customer: add.customer,
                kind: if add.promotional { GrantKind::Promotional } else { GrantKind::Paid },
                unit,
                amount: add.amount,
                priority: add.priority,
                from,
                expires,
                renewal: renewal.map(|every| Renewal { every, rollover: add.rollover }),
                renews: None,
            };
            engine.grant(&grant).await?;
            out.value(&grant)?;
            out.line(format_args!(
                "{} {} is granted to {}",
                grant.amount,
                grant.unit.name(),
                grant.customer
            ))?;
        }
        args::Grant::List { customer } => {
            let all = engine.grants(customer.as_ref()).await?;
            out.value(&all)?;
            let rows = all.iter().map(|status| {
                let grant = &status.grant;
                vec![
                    grant.id.clone(),
                    grant.customer.to_string(),
                    grant.kind.as_str().to_owned(),
                    grant.priority.to_string(),
                    grant.expires.map(|at| at.to_string()).unwrap_or_default(),
                    format!("{} {}", human::quantity(&grant.amount.exact()), grant.unit.name()),
                    human::quantity(&status.left.exact()),
                ]
            });
            let head = ["grant", "customer", "kind", "priority", "expires", "granted", "left"];
            out.table(&head, rows.collect(), &[3, 5, 6])?;
        }
        args::Grant::Show { id, events } => show(engine, &id, events, out).await?,
        args::Grant::Renew { wait } => {
            let done = engine.renew_grants(i64::from(wait) * DAY_MICROS).await?;
            out.value(&done)?;
            for (grant, left) in &done.expired {
                out.line(format_args!("grant {grant} expired with {left} left"))?;
            }
            for grant in &done.granted {
                out.line(format_args!("grant {grant} is there"))?;
            }
        }
    }
    Ok(Verdict::Done)
}

async fn show(engine: &Engine, id: &str, events: bool, out: &mut Out) -> Result<(), CliError> {
    if events {
        let burns = engine.burn_down(id).await?;
        out.value(&burns)?;
        let rows = burns.iter().map(|burn| {
            vec![
                burn.time.to_string(),
                burn.event.clone(),
                human::quantity(&burn.units),
                human::quantity(&burn.left),
            ]
        });
        return out.table(&["time", "event", "units", "left"], rows.collect(), &[2, 3]);
    }
    let account = format!("grant/{id}");
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = engine.store().postings(&engine.tenant().id, Some(&account), after, 500).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        all.extend(page);
    }
    out.value(&all)?;
    let rows = all.iter().map(|recorded| {
        vec![
            recorded.posting.at.to_string(),
            recorded.posting.cause.clone(),
            recorded.posting.reference.clone(),
            recorded.posting.amount.to_string(),
            recorded.balance.to_string(),
        ]
    });
    out.table(&["time", "cause", "reference", "amount", "left"], rows.collect(), &[3, 4])
}

fn interval(text: &str) -> Result<Interval, CliError> {
    let unit = match text {
        "day" => IntervalUnit::Day,
        "week" => IntervalUnit::Week,
        "month" => IntervalUnit::Month,
        "quarter" => IntervalUnit::Quarter,
        "half_year" => IntervalUnit::HalfYear,
        "year" => IntervalUnit::Year,
        _ => {
            return Err(CliError::asked(format!(
                "--every {text:?}: write day, week, month, quarter, half_year or year"
            )));
        }
    };
    Ok(Interval::one(unit))
}
