//! `subscription`: start, end, list.

use counterfoil_engine::Engine;
use counterfoil_invoicing::Subscription;

use super::Verdict;
use crate::{args, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    command: args::Subscription,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Subscription::Start { id, customer, book, plan, start, end } => {
            let subscription = Subscription { id, customer, book, plan, start, end };
            engine.start_subscription(&subscription).await?;
            out.value(&subscription)?;
            out.line(format_args!("subscription {} is there", subscription.id))?;
        }
        args::Subscription::End { id, on } => {
            let subscription = engine.end_subscription(&id, on).await?;
            out.value(&subscription)?;
            out.line(format_args!("subscription {id} ends on {on}"))?;
        }
        args::Subscription::List => {
            let mut all: Vec<Subscription> = Vec::new();
            loop {
                let after = all.last().map(|subscription| subscription.id.clone());
                let page = engine
                    .store()
                    .subscriptions(&engine.tenant().id, None, after.as_ref(), 500)
                    .await?;
                if page.is_empty() {
                    break;
                }
                all.extend(page);
            }
            out.value(&all)?;
            table(&all, out)?;
        }
    }
    Ok(Verdict::Done)
}

pub(super) fn table(subscriptions: &[Subscription], out: &mut Out) -> Result<(), CliError> {
    let rows = subscriptions.iter().map(|subscription| {
        vec![
            subscription.id.to_string(),
            subscription.customer.to_string(),
            subscription.book.clone(),
            subscription.plan.to_string(),
            subscription.start.to_string(),
            subscription.end.map(|end| end.to_string()).unwrap_or_default(),
        ]
    });
    out.table(&["subscription", "customer", "book", "plan", "start", "end"], rows.collect(), &[])
}
