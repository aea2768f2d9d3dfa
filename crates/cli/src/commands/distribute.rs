//! `distribute`: shards the ledger over a Citus cluster.

use counterfoil_store_postgres::Distributed;

use super::Verdict;
use crate::{config::Config, context::AnyStore, error::CliError, output::Out};

pub(super) async fn run(config: &Config, out: &mut Out) -> Result<Verdict, CliError> {
    let store = AnyStore::open(config).await?;
    let outcome = match &store {
        AnyStore::Sqlite(_) => Err(CliError::asked(
            "a SQLite file cannot be distributed; name a PostgreSQL database with --database-url",
        )),
        AnyStore::Postgres(store) => store.distribute().await.map_err(CliError::from),
    };
    store.close().await;
    let done = outcome? == Distributed::Now;
    out.value(&serde_json::json!({"place": store.place(), "distributed": true, "now": done}))?;
    out.line(if done {
        "the ledger is distributed by lane; start every other program on this database anew"
    } else {
        "the ledger is distributed already"
    })?;
    Ok(Verdict::Done)
}
