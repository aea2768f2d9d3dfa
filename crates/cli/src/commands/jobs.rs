//! `jobs`: what runs by itself, for whoever looks after it.

use std::sync::Arc;

use counterfoil_engine::{
    Engine,
    jobs::{Scheduler, desk::JobView, work::Worked},
};
use counterfoil_store::{JobFilter, JobItem, JobRun, JobState};

use super::{Verdict, worker};
use crate::{args, config::Config, error::CliError, output::Out};

fn stands(view: &JobView) -> String {
    if let Some(pause) = &view.pause {
        return format!("rests ({}: {})", pause.by, pause.reason);
    }
    if view.open.iter().any(|run| run.state == JobState::Parked) || !view.parked_items.is_empty() {
        return "parked, see `counterfoil jobs parked`".to_owned();
    }
    if !view.enabled {
        return "switched off".to_owned();
    }
    match &view.last {
        None => "never ran".to_owned(),
        Some(run) => said(run),
    }
}

fn said(run: &JobRun) -> String {
    let words = match run.state {
        JobState::Done => run.outcome.as_ref(),
        _ => run.error.as_ref().or(run.outcome.as_ref()),
    };
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    format!("{}{words}", run.state.as_str())
}

fn list(views: &[JobView], out: &mut Out) -> Result<(), CliError> {
    out.value(&views)?;
    let rows = views.iter().map(|view| {
        let at = |run: &JobRun| run.started_at.unwrap_or(run.scheduled_for).to_string();
        vec![
            view.name.clone(),
            format!("{} {}", view.cron, view.zone),
            view.next.filter(|_| view.enabled).map(|at| at.to_string()).unwrap_or_default(),
            view.last.as_ref().map(at).unwrap_or_default(),
            stands(view),
        ]
    });
    out.table(&["job", "when", "next", "last", "how it stands"], rows.collect(), &[])
}

fn runs(found: &[JobRun], out: &mut Out) -> Result<(), CliError> {
    let rows = found.iter().map(|run| {
        vec![
            run.job.clone(),
            run.scheduled_for.to_string(),
            run.started_at.map(|at| at.to_string()).unwrap_or_default(),
            run.ended_at.map(|at| at.to_string()).unwrap_or_default(),
            run.attempts.to_string(),
            run.progress.to_string(),
            said(run),
        ]
    });
    let head = ["job", "for", "started", "ended", "failures", "progress", "what it said"];
    out.table(&head, rows.collect(), &[4, 5])
}

fn items(found: &[JobItem], out: &mut Out) -> Result<(), CliError> {
    let rows = found.iter().map(|item| {
        let JobItem { job, item, attempts, at, error, .. } = item.clone();
        vec![job, item, attempts.to_string(), at.to_string(), error]
    });
    out.table(&["job", "item", "failures", "last", "why"], rows.collect(), &[2])
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Jobs,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let table = config.timetable()?;
    match command {
        args::Jobs::List => list(&engine.jobs(&table).await?, out)?,
        args::Jobs::Run { job } => {
            let asked = engine.trigger_job(&table, &job, "the command line").await?;
            let (_switch, cut) = tokio::sync::watch::channel(false);
            let scheduler = Scheduler::new(engine.clone(), Arc::new(table), worker::name(), cut);
            let worked = scheduler.work_on(&asked, engine.now()).await?;
            let (says, done) = match worked {
                Worked::Done(says) => (says, true),
                Worked::Again(why) => (format!("not yet: {why}"), false),
                Worked::Parked(why) => (format!("parked: {why}"), false),
                Worked::Busy | Worked::Lost => {
                    ("another worker is at it, and does this next".to_owned(), true)
                }
                Worked::Settled => ("another worker did it".to_owned(), true),
            };
            out.value(&serde_json::json!({"job": job, "done": done, "says": says}))?;
            out.line(format_args!("{job}: {says}"))?;
            return Ok(Verdict::unless(!done));
        }
        args::Jobs::Pause { job, reason, by } => {
            engine.pause_job(&table, &job, &by, &reason).await?;
            out.line(format_args!("{job} rests"))?;
        }
        args::Jobs::Resume { job } => {
            engine.resume_job(&table, &job).await?;
            out.line(format_args!("{job} goes on"))?;
        }
        args::Jobs::History { job, state, before, limit } => {
            if let Some(job) = &job {
                table.named(job)?;
            }
            let state = match state {
                Some(state) => Some(JobState::parse(&state).ok_or_else(|| {
                    CliError::asked(format!("a run is due, running, done or parked, not {state:?}"))
                })?),
                None => None,
            };
            let filter = JobFilter { job, state };
            let before = before.map(|at| (at, ""));
            let tenant = &engine.tenant().id;
            let found = engine.store().job_history(tenant, &filter, before, limit).await?;
            out.value(&found)?;
            runs(&found, out)?;
        }
        args::Jobs::Parked => {
            let parked = engine.parked_jobs().await?;
            out.value(&parked)?;
            if parked.runs.is_empty() && parked.items.is_empty() {
                out.line("nothing is parked")?;
                return Ok(Verdict::Done);
            }
            runs(&parked.runs, out)?;
            items(&parked.items, out)?;
            return Ok(Verdict::WantsDecision);
        }
        args::Jobs::Unpark { job, item } => {
            let count = engine.unpark_job(&table, &job, item.as_deref()).await?;
            out.line(format_args!("{count} let go; they are tried again with the next beat"))?;
        }
    }
    Ok(Verdict::Done)
}
