//! `outbox`: deliveries and attempts, for whoever looks after them.

use std::collections::BTreeMap;

use counterfoil_engine::Engine;
use counterfoil_store::{Delivery, DeliveryFilter, DeliveryState};

use super::Verdict;
use crate::{args, error::CliError, output::Out};

/// Deliveries that are read at once.
const PAGE: u32 = 500;

async fn all(engine: &Engine, filter: &DeliveryFilter) -> Result<Vec<Delivery>, CliError> {
    let mut found: Vec<Delivery> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.effect.position, last.target.as_str()));
        let page = engine.store().deliveries(&engine.tenant().id, filter, after, PAGE).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

fn show(found: &[Delivery], out: &mut Out) -> Result<(), CliError> {
    out.value(&found)?;
    let rows = found.iter().map(|delivery| {
        vec![
            delivery.effect.key.clone(),
            delivery.target.clone(),
            delivery.state.as_str().to_owned(),
            delivery.due_at.to_string(),
            delivery.tries.to_string(),
            delivery.reason.clone().unwrap_or_default(),
        ]
    });
    let head = ["effect", "target", "state", "due or done", "tries", "reason"];
    out.table(&head, rows.collect(), &[])
}

pub(super) async fn run(
    engine: &Engine,
    command: args::Outbox,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let parked = DeliveryFilter { state: Some(DeliveryState::Parked), ..Default::default() };
    match command {
        args::Outbox::List { state, target, kind } => {
            let state = match state {
                Some(state) => Some(DeliveryState::parse(&state).ok_or_else(|| {
                    CliError::asked(format!("a delivery is due, done or parked, not {state:?}"))
                })?),
                None => None,
            };
            show(&all(engine, &DeliveryFilter { state, target, kind, key: None }).await?, out)?;
        }
        args::Outbox::Parked => {
            let found = all(engine, &parked).await?;
            show(&found, out)?;
            return Ok(Verdict::unless(!found.is_empty()));
        }
        args::Outbox::Retry { key, target, all: _ } => {
            let named = key.clone();
            let found = all(engine, &DeliveryFilter { target, key, ..parked }).await?;
            if let (Some(key), true) = (named, found.is_empty()) {
                return Err(CliError::asked(format!(
                    "no delivery of {key} is parked; see `counterfoil outbox parked`"
                )));
            }
            let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for delivery in found {
                keys.entry(delivery.target).or_default().push(delivery.effect.key);
            }
            let mut changed = 0;
            for (target, keys) in keys {
                let (tenant, now) = (&engine.tenant().id, engine.now());
                changed += engine.store().deliver_again(tenant, &target, &keys, now).await?;
            }
            out.value(&serde_json::json!({"retried": changed}))?;
            out.line(format_args!("{changed} deliveries are sent again"))?;
        }
        args::Outbox::Attempts { key } => {
            let found = engine.store().attempts(&engine.tenant().id, &key).await?;
            out.value(&found)?;
            let rows = found.into_iter().map(|attempt| {
                vec![
                    attempt.at.to_string(),
                    attempt.target,
                    attempt.outcome.as_str().to_owned(),
                    attempt.code.map(|code| code.to_string()).unwrap_or_default(),
                    format!("{} ms", attempt.micros / 1_000),
                    attempt.error.unwrap_or_default(),
                ]
            });
            let head = ["at", "target", "outcome", "code", "took", "error"];
            out.table(&head, rows.collect(), &[])?;
        }
    }
    Ok(Verdict::Done)
}
