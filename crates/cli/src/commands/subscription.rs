//! `subscription`: start, change, pause, end, show, list.

use std::collections::BTreeMap;

use counterfoil_engine::{Engine, contracts::Effective};
use counterfoil_invoicing::{ChangeKind, Patch, Subscription};
use counterfoil_types::{Quantity, SubscriptionId};

use super::Verdict;
use crate::{args, error::CliError, output::Out};

impl args::When {
    fn effective(&self) -> Effective {
        match (self.on, self.at_period_end) {
            (Some(day), _) => Effective::On(day),
            (None, true) => Effective::AtPeriodEnd,
            (None, false) => Effective::Now,
        }
    }
}

pub(super) async fn run(
    engine: &Engine,
    command: args::Subscription,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    use args::Subscription as Ask;
    let (id, when, what) = match command {
        Ask::Start {
            id,
            customer,
            book,
            plan,
            start,
            end,
            pin,
            trial_days,
            quantity,
            overrides,
        } => {
            let quantities =
                quantity.iter().map(|text| charge_units(text)).collect::<Result<_, _>>()?;
            let subscription = Subscription {
                end,
                pinned: pin,
                trial_days,
                quantities,
                overrides: patches(&overrides)?,
                ..Subscription::new(id, customer, book, plan, start)
            };
            engine.start_subscription(&subscription).await?;
            out.value(&subscription)?;
            out.line(format_args!("subscription {} is there", subscription.id))?;
            return Ok(Verdict::Done);
        }
        Ask::End { id, when } => {
            let subscription = engine.end_subscription(&id, when.effective()).await?;
            out.value(&subscription)?;
            if let Some(end) = subscription.end {
                out.line(format_args!("subscription {id} ends on {end}"))?;
            }
            return Ok(Verdict::Done);
        }
        Ask::Show { id } => {
            show(engine, &id, out).await?;
            return Ok(Verdict::Done);
        }
        Ask::List => {
            list(engine, out).await?;
            return Ok(Verdict::Done);
        }
        Ask::Plan { id, plan, book, pin, when } => {
            (id, when, ChangeKind::Plan { plan, book, pinned: pin })
        }
        Ask::Quantity { id, quantity, when } => {
            let (charge, quantity) = charge_units(&quantity)?;
            (id, when, ChangeKind::Quantity { charge, quantity })
        }
        Ask::Override { id, charge, patch, when } => {
            let patch: Patch = serde_json::from_str(&patch).map_err(|error| {
                CliError::asked(format!("the patch must be a JSON object, for example {{\"unit_price\":\"0.008\"}}: {error}"))
            })?;
            (id, when, ChangeKind::Override { charge, patch })
        }
        Ask::AddOn { id, plan, when } => (id, when, ChangeKind::AddOn { plan }),
        Ask::DropAddOn { id, plan, when } => (id, when, ChangeKind::DropAddOn { plan }),
        Ask::Pause { id, when } => (id, when, ChangeKind::Pause),
        Ask::Resume { id, when } => (id, when, ChangeKind::Resume),
    };
    let subscription = engine.change_subscription(&id, when.effective(), what).await?;
    out.value(&subscription)?;
    changes(&subscription, out)?;
    Ok(Verdict::Done)
}

/// `CHARGE=UNITS`.
fn charge_units(text: &str) -> Result<(String, Quantity), CliError> {
    let (charge, units) = text.split_once('=').ok_or_else(|| {
        CliError::asked(format!("{text:?}: write CHARGE=UNITS, for example seats=5"))
    })?;
    let units = units.parse().map_err(|error| CliError::asked(format!("{text:?}: {error}")))?;
    Ok((charge.to_owned(), units))
}

/// `CHARGE.KEY=JSON`, gathered by charge.
fn patches(texts: &[String]) -> Result<BTreeMap<String, Patch>, CliError> {
    let mut patches: BTreeMap<String, Patch> = BTreeMap::new();
    for text in texts {
        let wrong = || {
            CliError::asked(format!(
                "--override {text:?}: write CHARGE.KEY=JSON, for example calls.unit_price='\"0.008\"'"
            ))
        };
        let (path, value) = text.split_once('=').ok_or_else(wrong)?;
        let (charge, key) = path.rsplit_once('.').ok_or_else(wrong)?;
        let value = serde_json::from_str(value).map_err(|_| wrong())?;
        patches.entry(charge.to_owned()).or_default().insert(key.to_owned(), value);
    }
    Ok(patches)
}

async fn show(engine: &Engine, id: &SubscriptionId, out: &mut Out) -> Result<(), CliError> {
    let subscription = engine.subscription(id).await?;
    out.value(&subscription)?;
    table(std::slice::from_ref(&subscription), out)?;
    for (charge, quantity) in &subscription.quantities {
        out.line(format_args!("{charge}: {quantity} units"))?;
    }
    for (charge, patch) in &subscription.overrides {
        out.line(format_args!("{charge}: {}", serde_json::to_string(patch)?))?;
    }
    changes(&subscription, out)
}

fn changes(subscription: &Subscription, out: &mut Out) -> Result<(), CliError> {
    if subscription.changes.is_empty() {
        return Ok(());
    }
    let rows = subscription.changes.iter().map(|change| {
        let what = match &change.what {
            ChangeKind::Plan { plan, book, .. } => match book {
                Some(book) => format!("plan {plan} of {book}"),
                None => format!("plan {plan}"),
            },
            ChangeKind::Quantity { charge, quantity } => format!("{charge}: {quantity} units"),
            ChangeKind::Override { charge, patch } => {
                format!("{charge}: {}", serde_json::to_string(patch).unwrap_or_default())
            }
            ChangeKind::AddOn { plan } => format!("add-on {plan}"),
            ChangeKind::DropAddOn { plan } => format!("no add-on {plan}"),
            ChangeKind::Pause => "paused".to_owned(),
            ChangeKind::Resume => "resumed".to_owned(),
            ChangeKind::Zone { zone } => format!("zone {zone}"),
        };
        vec![change.on.to_string(), what]
    });
    out.table(&["from", "change"], rows.collect(), &[])
}

async fn list(engine: &Engine, out: &mut Out) -> Result<(), CliError> {
    let mut all: Vec<Subscription> = Vec::new();
    loop {
        let after = all.last().map(|subscription| subscription.id.clone());
        let page =
            engine.store().subscriptions(&engine.tenant().id, None, after.as_ref(), 500).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    out.value(&all)?;
    table(&all, out)
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
