//! `webhook`: endpoints of a tenant, and what is sent to them again.

use counterfoil_delivery::{
    again,
    endpoint::{self, Endpoint, EndpointError, NewEndpoint},
};
use counterfoil_engine::Engine;
use counterfoil_store::{Commit, Route, Write};
use serde_json::json;

use super::{Verdict, deliver};
use crate::{args, config::Config, error::CliError, output::Out, random::SystemRandom};

fn failed(error: EndpointError) -> CliError {
    match error {
        EndpointError::Store(error) => error.into(),
        other => CliError::asked(other.to_string()),
    }
}

fn show_secret(endpoint: &Endpoint, out: &mut Out) -> Result<(), CliError> {
    let secret = endpoint.secrets.first().map_or("", |secret| secret.secret.as_str());
    out.value(
        &json!({"id": endpoint.id, "url": endpoint.url, "kinds": endpoint.kinds, "secret": secret}),
    )?;
    out.line(secret)?;
    out.line(format_args!(
        "\nEndpoint {} ({}). The secret cannot be shown again.",
        endpoint.id, endpoint.url
    ))
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Webhook,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let (store, tenant, now) = (engine.store(), &engine.tenant().id, engine.now());
    match command {
        args::Webhook::Add { url, id, kinds, secret } => {
            let guard = deliver::guard(config);
            let new = NewEndpoint { id, url, kinds, secret };
            let made = endpoint::add(store, tenant, &guard, new, &SystemRandom, now).await;
            show_secret(&made.map_err(failed)?, out)?;
        }
        args::Webhook::List => {
            let found = endpoint::list(store, tenant).await?;
            let shown: Vec<_> = found
                .iter()
                .map(|endpoint| {
                    json!({
                        "id": endpoint.id, "url": endpoint.url, "kinds": endpoint.kinds,
                        "enabled": endpoint.enabled, "created_at": endpoint.created_at,
                        "disabled_because": endpoint.disabled_because,
                        "secrets": endpoint.secrets_at(now).count(),
                    })
                })
                .collect();
            out.value(&shown)?;
            let rows = found.iter().map(|endpoint| {
                vec![
                    endpoint.id.clone(),
                    endpoint.url.clone(),
                    endpoint.kinds.join(" "),
                    if endpoint.enabled { "on".into() } else { "off".to_owned() },
                    endpoint.disabled_because.clone().unwrap_or_default(),
                ]
            });
            out.table(&["endpoint", "url", "kinds", "is", "because"], rows.collect(), &[])?;
        }
        args::Webhook::Rotate { id } => {
            let made = endpoint::rotate(store, tenant, &id, &SystemRandom, now).await;
            show_secret(&made.map_err(failed)?, out)?;
        }
        args::Webhook::Remove { id } => {
            endpoint::remove(store, tenant, &id, now).await.map_err(failed)?;
            out.line(format_args!("endpoint {id} is gone"))?;
        }
        args::Webhook::Enable { id } => {
            endpoint::enable(store, tenant, &id, now).await.map_err(failed)?;
            out.line(format_args!("endpoint {id} is sent to again"))?;
        }
        args::Webhook::Test { id } => {
            let endpoint = endpoint::named(store, tenant, &id).await.map_err(failed)?;
            let key = format!("webhook.test/{id}/{}", now.micros());
            let body = json!({"endpoint": id, "says": "hello"});
            let kind = "webhook.test".to_owned();
            let write = Write::Queue { key: key.clone(), kind, body, at: now };
            engine.commit(&Commit::of(write)).await?;
            let targets = vec![endpoint.target()];
            let route = Route { key: key.clone(), aggregate: String::new(), targets };
            engine.store().spread(tenant, &[route], now).await?;
            let relay = deliver::relay(config, engine, None)?;
            relay.deliver_due().await.map_err(|error| CliError::asked(error.to_string()))?;
            let attempts = engine.store().attempts(tenant, &key).await?;
            out.value(&attempts)?;
            for attempt in &attempts {
                let code = attempt.code.map(|code| format!(" ({code})")).unwrap_or_default();
                let error = attempt.error.as_deref().unwrap_or_default();
                out.line(format_args!("{}{code} {error}", attempt.outcome.as_str()))?;
            }
            let well = attempts
                .iter()
                .any(|attempt| attempt.outcome == counterfoil_store::AttemptOutcome::Delivered);
            return Ok(Verdict::unless(!well));
        }
        args::Webhook::Replay { id, since, kind } => {
            let endpoint = endpoint::named(store, tenant, &id).await.map_err(failed)?;
            let changed =
                again::replay(store, tenant, &endpoint, since, kind.as_deref(), now).await?;
            out.value(&json!({"replayed": changed}))?;
            out.line(format_args!("{changed} effects are sent to {id} again"))?;
        }
    }
    Ok(Verdict::Done)
}
