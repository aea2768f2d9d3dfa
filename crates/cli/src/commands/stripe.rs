//! `stripe`: what goes to Stripe, what is called what, and whether both agree. Also its two jobs.

mod compare;

use std::sync::Arc;

use counterfoil_engine::{
    Engine, EngineError,
    jobs::{Job, job},
    stripe::hold::Difference,
};
use counterfoil_store::{
    Commit, Write,
    stripe::{self, Link, MeterLink, Mode},
};
use counterfoil_stripe::{Client, setup};
use counterfoil_types::{CustomerId, Random};

use self::compare::compare;
use super::Verdict;
use crate::{
    args::{Stripe, StripeMap, StripeMode},
    config::Config,
    error::CliError,
    output::Out,
    random::SystemRandom,
};

/// Customers in a page.
const PAGE: u32 = 200;
/// Days back that the job looks at.
const LOOK_BACK: i64 = 35;

fn asked(error: impl std::fmt::Display) -> CliError {
    CliError::asked(error.to_string())
}

/// The jobs that need a client.
pub(crate) fn jobs(client: Arc<Client>) -> Vec<Arc<dyn Job>> {
    let push = job(
        "stripe-push",
        "Queues the usage that Stripe was not told of yet.",
        "*/15 * * * *",
        |turn| {
            Box::pin(async move {
                let queued = turn.engine.queue_usage_for_stripe(&turn.holder).await?;
                turn.did(queued.effects);
                for (customer, why) in &queued.failed {
                    let name = format!("customer/{customer}");
                    let why = why.clone();
                    turn.item::<()>(&name, async move { Err(EngineError::Refused(why)) }).await?;
                }
                Ok(turn.told(format!("{} totals went on", queued.effects)))
            })
        },
    );
    let before = Arc::clone(&client);
    let held = job(
        "stripe-before-finalizing",
        "Compares with Stripe what was signed off, where a difference is to hold it.",
        "*/5 * * * *",
        move |turn| {
            let client = Arc::clone(&before);
            Box::pin(async move {
                if !turn.engine.stripe_is_asked_for().await? {
                    return Ok(turn.told("no run waits for it".to_owned()));
                }
                let found = compare(&turn.engine, &client, LOOK_BACK).await?;
                turn.did(found.compared);
                let says =
                    format!("{} totals compared, {} differ", found.compared, found.differing);
                turn.engine.keep_reconciled(found).await?;
                Ok(turn.told(says))
            })
        },
    );
    let reconcile = job(
        "stripe-reconcile",
        "Compares what Stripe counts with what we count.",
        "30 5 * * *",
        move |turn| {
            let client = Arc::clone(&client);
            Box::pin(async move {
                let found = compare(&turn.engine, &client, LOOK_BACK).await?;
                turn.did(found.compared);
                let says = format!(
                    "{} compared, {} differ, {} customers could not be",
                    found.compared,
                    found.differing,
                    found.failed.len()
                );
                turn.engine.keep_reconciled(found).await?;
                Ok(turn.told(says))
            })
        },
    );
    vec![push, held, reconcile]
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: Stripe,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        Stripe::Status => status(engine, out).await?,
        Stripe::Mode { mode, stragglers, set, hold, days_until_due } => {
            let mut link = link_of(engine).await?;
            link.mode = match mode {
                StripeMode::Off => Mode::Off,
                StripeMode::MeterEvents => Mode::MeterEvents,
                StripeMode::UsageRecords => Mode::UsageRecords,
                StripeMode::Invoices => Mode::Invoices,
            };
            link.straggler_hours = stragglers.unwrap_or(link.straggler_hours);
            link.set = set.unwrap_or(link.set);
            link.hold = hold.unwrap_or(link.hold);
            link.days_until_due = days_until_due.or(link.days_until_due);
            engine.commit(&Commit::of(link.kept().map_err(asked)?)).await.map_err(asked)?;
            out.line(format_args!("what goes to Stripe: {}", link.mode.as_str()))?;
        }
        Stripe::Map(map) => {
            engine.commit(&Commit::of(mapped(engine, map).await?)).await.map_err(asked)?;
            out.line("mapped")?;
        }
        Stripe::Setup { meters, decimals, customer } => {
            let client = config.stripe.needed()?;
            let link = link_of(engine).await?;
            // Its nonce is part of the keys: kept before anything is made.
            engine.commit(&Commit::of(link.kept().map_err(asked)?)).await.map_err(asked)?;
            set_up(engine, &client, &link, (meters, decimals), customer, out).await?;
        }
        Stripe::Push => {
            let queued = engine.queue_usage_for_stripe(&super::worker::name()).await?;
            out.value(&queued)?;
            out.line(format_args!(
                "{} totals of {} customers go on to Stripe",
                queued.effects, queued.customers
            ))?;
            for (customer, why) in &queued.failed {
                out.line(format_args!("customer {customer}: {why}"))?;
            }
            return Ok(Verdict::unless(!queued.failed.is_empty()));
        }
        Stripe::Reconcile { days } => {
            let client = config.stripe.needed()?;
            let found = compare(engine, &client, i64::from(days)).await?;
            out.value(&found)?;
            let row = |difference: &Difference| {
                vec![
                    difference.customer.to_string(),
                    match (&difference.meter, &difference.invoice) {
                        (Some(meter), _) => meter.to_string(),
                        (None, invoice) => invoice.clone().unwrap_or_default(),
                    },
                    difference.period.to_string(),
                    difference.ours.clone(),
                    difference.queued.clone(),
                    difference.theirs.clone(),
                ]
            };
            let head = ["customer", "meter or invoice", "period", "ours", "queued", "Stripe"];
            out.table(&head, found.differences.iter().map(row).collect(), &[3, 4, 5])?;
            out.line(format_args!(
                "{} totals and invoices compared, {} differ",
                found.compared, found.differing
            ))?;
            for (customer, why) in &found.failed {
                out.line(format_args!("customer {customer} was not compared: {why}"))?;
            }
            let differs = !found.agrees();
            engine.keep_reconciled(found).await?;
            return Ok(Verdict::unless(differs));
        }
    }
    Ok(Verdict::Done)
}

/// The link there is, or a new one that sends nothing yet.
async fn link_of(engine: &Engine) -> Result<Link, CliError> {
    if let Some(link) = engine.stripe_link().await? {
        return Ok(link);
    }
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    Ok(Link::new(Mode::Off, u64::from_be_bytes(bytes).to_string()))
}

async fn status(engine: &Engine, out: &mut Out) -> Result<(), CliError> {
    let (store, tenant) = (engine.store(), &engine.tenant().id);
    let Some(link) = engine.stripe_link().await? else {
        return out.line("there is no link to Stripe; `counterfoil stripe mode` makes one");
    };
    let customers = stripe::customers(store, tenant).await.map_err(asked)?.len();
    let meters = stripe::meters(store, tenant).await.map_err(asked)?;
    let items = stripe::items(store, tenant).await.map_err(asked)?.len();
    let last = engine.reconciled().await?;
    let parked = stripe::money::parked(store, tenant).await.map_err(asked)?;
    out.value(&serde_json::json!({
        "mode": link.mode, "straggler_hours": link.straggler_hours, "set": link.set,
        "hold": link.hold, "days_until_due": link.days_until_due, "customers": customers,
        "meters": meters, "items": items, "reconciled": last, "parked": parked,
    }))?;
    out.line(format_args!(
        "mode {}; {customers} customers, {} meters, {items} subscription items are mapped",
        link.mode.as_str(),
        meters.len()
    ))?;
    for back in parked {
        out.line(format_args!(
            "{} is parked: {} went back on {} ({}), by {}",
            back.id,
            back.amount,
            back.at,
            back.reason,
            back.charges.join(", ")
        ))?;
    }
    if let Some(last) = last {
        out.line(format_args!(
            "compared on {}: {} of {} totals differ",
            last.at, last.differing, last.compared
        ))?;
    }
    Ok(())
}

async fn mapped(engine: &Engine, map: StripeMap) -> Result<Write, CliError> {
    let known = async |meter| {
        let books = engine.books().await?;
        if books.meters().contains_key(meter) {
            return Ok(());
        }
        Err(CliError::asked(format!("there is no meter {meter} in any price book")))
    };
    Ok(match map {
        StripeMap::Customer { customer, id } => {
            engine.customer(&customer).await?;
            Write::Set { key: format!("{}{customer}", stripe::CUSTOMERS), value: Some(id) }
        }
        StripeMap::Meter { meter, event_name, id, decimals } => {
            known(&meter).await?;
            MeterLink { event_name, meter: id, decimals }.kept(&meter).map_err(asked)?
        }
        StripeMap::Item { customer, meter, id } => {
            engine.customer(&customer).await?;
            known(&meter).await?;
            Write::Set { key: format!("{}{meter}/{customer}", stripe::ITEMS), value: Some(id) }
        }
    })
}

async fn set_up(
    engine: &Engine,
    client: &Client,
    link: &Link,
    (meters, decimals): (Vec<counterfoil_types::MeterKey>, u8),
    only: Option<CustomerId>,
    out: &mut Out,
) -> Result<(), CliError> {
    let (store, tenant) = (engine.store(), &engine.tenant().id);
    let books = engine.books().await?;
    for meter in meters {
        let Some(known) = books.meters().get(&meter) else {
            return Err(CliError::asked(format!("there is no meter {meter} in any price book")));
        };
        let made = setup::meter(client, tenant, link, &meter, &known.name, decimals).await;
        let made = made.map_err(asked)?;
        out.line(format_args!("meter {meter} is {}", made.meter.as_deref().unwrap_or_default()))?;
        let write = made.kept(&meter).map_err(asked)?;
        engine.commit(&Commit::of(write)).await.map_err(asked)?;
    }
    let there: std::collections::HashSet<CustomerId> = stripe::customers(store, tenant)
        .await
        .map_err(asked)?
        .into_iter()
        .map(|(customer, _)| customer)
        .collect();
    let mut after: Option<CustomerId> = None;
    let mut count = 0_u64;
    loop {
        let page = match &only {
            Some(one) => vec![engine.customer(one).await?],
            None => store.customers(tenant, after.as_ref(), PAGE).await.map_err(asked)?,
        };
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for customer in page.iter().filter(|customer| !there.contains(&customer.id)) {
            let id = setup::customer(client, tenant, link, customer).await.map_err(asked)?;
            let key = format!("{}{}", stripe::CUSTOMERS, customer.id);
            let write = Write::Set { key, value: Some(id) };
            engine.commit(&Commit::of(write)).await.map_err(asked)?;
            count += 1;
        }
        if only.is_some() {
            break;
        }
    }
    out.line(format_args!("{count} customers were made or found at Stripe"))
}
