//! `recover` and `backup`: a copy of the store, and what must be said after an older one was put
//! back.

use std::path::Path;

use counterfoil_engine::Engine;

use super::Verdict;
use crate::{args::Recover, context::AnyStore, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    command: Recover,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let Recover::Acknowledge { reason, by } = command;
    let findings = engine.acknowledge_rollback(&reason, &by).await?;
    out.value(&serde_json::json!({"acknowledged": findings}))?;
    out.line("acknowledged and written into the journal:")?;
    for finding in &findings {
        out.line(format_args!("  {finding}"))?;
    }
    out.line("the store is anchored as it is now; billing may go on")?;
    Ok(Verdict::Done)
}

pub(super) async fn backup(
    store: &AnyStore,
    file: &Path,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match store {
        AnyStore::Sqlite(store) => store.backup(file).await?,
        AnyStore::Postgres(_) => {
            return Err(CliError::asked(
                "a server is backed up with its own tools (pg_dump, pg_basebackup); see docs/backup.md",
            ));
        }
    }
    out.value(&serde_json::json!({"file": file}))?;
    out.line(format_args!("backed up into {}", file.display()))?;
    Ok(Verdict::Done)
}
