//! `doctor`: is this installation fit for billing?

use counterfoil_engine::{Engine, EngineError};
use counterfoil_store::ArchiveState;
use counterfoil_types::Clock;

use super::Verdict;
use crate::{config::Config, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let mut facts = vec![
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("tenant".to_owned(), engine.tenant().id.to_string()),
        (
            "clock".to_owned(),
            match config.now {
                Some(now) => format!("stands at {now} (test mode)"),
                None => engine.now().to_string(),
            },
        ),
        (
            "time zones".to_owned(),
            format!("{} bundled", counterfoil_types::Zone::all_names().len()),
        ),
    ];
    facts.extend(engine.store().describe().await?);
    let mut lag = 0;
    let heads = engine.store().heads(engine.tenant()).await?;
    for head in &heads {
        let progress = engine.store().progress(head.lane).await?;
        let slowest = progress.iter().map(|(_, position)| *position).min().unwrap_or(0);
        lag += head.position - slowest.min(head.position);
    }
    facts.push(("events not projected yet".to_owned(), lag.to_string()));
    let books = engine.books().await?;
    facts.push(("price books".to_owned(), books.all().count().to_string()));
    facts.push(("meters".to_owned(), books.meters().len().to_string()));
    // A head recorded after now means the clock went back, and receipts would carry old times.
    let ahead = heads.iter().any(|head| head.recorded_at > engine.now().plus_micros(60_000_000));
    let mut problems: Vec<String> = Vec::new();
    let records = engine.archives().await?;
    let archived = records.iter().filter(|record| record.state == ArchiveState::Archived);
    let archived: u64 = archived.map(|record| record.manifest.rows).sum();
    facts.push(("events archived".to_owned(), archived.to_string()));
    match engine.check_anchor().await {
        Ok(check) => {
            let at = check.as_ref().and_then(|check| Some(check.anchor.as_ref()?.at));
            let at = at.map_or_else(|| "not taken yet".to_owned(), |at| at.to_string());
            let place = config.anchor_file(&config.tenant).display().to_string();
            facts.push(("anchor".to_owned(), format!("{place}, {at}")));
            let findings = check.into_iter().flat_map(|check| check.findings);
            problems.extend(findings.map(|finding| {
                format!("{finding}: an older backup was restored; see docs/backup.md")
            }));
        }
        Err(EngineError::File(error)) => problems.push(format!("anchor: {error}")),
        Err(other) => return Err(other.into()),
    }
    if ahead {
        problems
            .push("the clock lies behind the last recorded event; set it right (NTP)".to_owned());
    }
    // The wall's time, whatever a test clock says: it is held against another machine's.
    let findings = engine.store().examine(crate::clock::SystemClock.now()).await?;
    let (grave, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.grave);
    problems.extend(grave.into_iter().map(|finding| finding.text));
    out.value(&serde_json::json!({
        "facts": facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "problems": problems,
        "warnings": warnings.iter().map(|finding| &finding.text).collect::<Vec<_>>(),
    }))?;
    out.table(
        &["what", "is"],
        facts.into_iter().map(|(name, value)| vec![name, value]).collect(),
        &[],
    )?;
    for problem in &problems {
        out.line(format_args!("problem: {problem}"))?;
    }
    for warning in &warnings {
        out.line(format_args!("warning: {}", warning.text))?;
    }
    if problems.is_empty() {
        out.line("no problem found")?;
    }
    Ok(Verdict::unless(!problems.is_empty()))
}
