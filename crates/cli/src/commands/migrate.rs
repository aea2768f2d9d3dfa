//! `migrate`: brings the schema up to date and says where it stands. It makes no tenant.

use super::Verdict;
use crate::{config::Config, context::AnyStore, error::CliError, output::Out};

pub(super) async fn run(config: &Config, out: &mut Out) -> Result<Verdict, CliError> {
    let store = AnyStore::open(config).await?;
    let facts = store.shared().describe().await;
    store.close().await;
    let facts = facts?;
    let kind = facts.iter().find(|(name, _)| name == "store").map(|(_, value)| value.as_str());
    out.value(&serde_json::json!({"store": kind, "place": store.place(), "schema": "current"}))?;
    out.line(format_args!(
        "the schema of {} ({}) is up to date",
        store.place(),
        kind.unwrap_or("store")
    ))?;
    Ok(Verdict::Done)
}
