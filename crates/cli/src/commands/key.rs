//! `key`: create, list, revoke.

use counterfoil_engine::{Engine, keys::KeyRequest};

use super::Verdict;
use crate::{args, error::CliError, output::Out, random::SystemRandom};

pub(super) async fn run(
    engine: &Engine,
    command: args::Key,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Key::Create { name, scopes, expires } => {
            let known = counterfoil_api::scope::SCOPES;
            if let Some(unknown) = scopes.iter().find(|scope| !known.contains(&scope.as_str())) {
                return Err(CliError::asked(format!(
                    "there is no scope {unknown:?}; there are: {}",
                    known.join(", ")
                )));
            }
            let request =
                KeyRequest { id: None, name, scopes, customer: None, expires_at: expires };
            let new = engine.create_key(request, &SystemRandom).await?;
            out.value(&serde_json::json!({
                "id": new.key.id, "secret": new.secret, "scopes": new.key.scopes,
                "expires_at": new.key.expires_at,
            }))?;
            out.line(format_args!("{}", new.secret))?;
            out.line(format_args!(
                "\nKey {} ({}). The secret is not stored and cannot be shown again.",
                new.key.id,
                new.key.scopes.join(", ")
            ))?;
        }
        args::Key::List => {
            let mut rows = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let page =
                    engine.store().api_keys(&engine.tenant().id, "", after.as_deref(), 500).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                rows.extend(page);
            }
            let shown: Vec<_> = rows
                .iter()
                .map(|key| {
                    serde_json::json!({
                        "id": key.id, "prefix": key.prefix, "name": key.name,
                        "scopes": key.scopes, "customer": key.customer,
                        "created_at": key.created_at, "expires_at": key.expires_at,
                        "revoked_at": key.revoked_at, "last_used_at": key.last_used_at,
                    })
                })
                .collect();
            out.value(&shown)?;
            let time = |at: Option<counterfoil_types::Timestamp>| {
                at.map(|at| at.to_string()).unwrap_or_default()
            };
            let rows = rows.iter().map(|key| {
                vec![
                    key.id.clone(),
                    key.name.clone(),
                    key.scopes.join(" "),
                    time(key.expires_at),
                    time(key.revoked_at),
                    time(key.last_used_at),
                ]
            });
            let head = ["key", "name", "scopes", "expires", "revoked", "last used"];
            out.table(&head, rows.collect(), &[])?;
        }
        args::Key::Revoke { id } => {
            let key = engine.revoke_key(&id, engine.now()).await?;
            out.line(format_args!("key {} is refused from now on", key.id))?;
        }
    }
    Ok(Verdict::Done)
}
