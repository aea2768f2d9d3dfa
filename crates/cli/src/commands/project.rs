//! `project`: one projector's share of the work.

use counterfoil_engine::{Engine, share::Sharing};

use super::Verdict;
use crate::{error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    holder: Option<String>,
    lease_seconds: u32,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let holder = holder.unwrap_or_else(|| {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}/{}", machine.trim(), std::process::id())
    });
    let ttl_micros = i64::from(lease_seconds) * 1_000_000;
    let done = engine.project_some(&holder, &Sharing { ttl_micros, ..Sharing::default() }).await?;
    out.value(&serde_json::json!({
        "holder": holder,
        "rows": done.rows,
        "turns": done.turns,
        "busy": done.busy,
        "lost": done.lost,
    }))?;
    out.line(format_args!("{} events projected in {} turns", done.rows, done.turns))?;
    if done.busy > 0 {
        out.line(format_args!("{} lanes are left to other projectors", done.busy))?;
    }
    if done.lost > 0 {
        out.line(format_args!(
            "{} lanes were lost to other projectors: this one was too slow for its lease",
            done.lost
        ))?;
    }
    Ok(Verdict::Done)
}
