//! The finance run on a schedule: the months that are over are computed, one after the other; what is
//! signed off, by a person or inside stated bounds, is finalized; what waits is brought to mind.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use counterfoil_invoicing::{ItemStatus, Run, RunState};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{Exact, Quantity, Timestamp, Zone, timestamp::HOUR_MICROS};
use jiff::{ToSpan, civil::Date};

use super::{AutoApprove, CatchUp, Job, JobSettings, Told, Turn};
use crate::{Engine, EngineError, accounts::PAGE, run::Month};

/// The last zone to end a month lies so far behind UTC.
const LAST_ZONE: i64 = 12 * HOUR_MICROS;
/// How often a month is looked at again that waits for another one.
const LOOK_AGAIN: i64 = HOUR_MICROS;
/// How often accounts are tried again whose usage kept changing.
const TRY_AGAIN: i64 = HOUR_MICROS / 6;
/// Who signs when nobody does.
const BY_BOUNDS: &str = "auto-approval";

fn label(first: Date) -> String {
    format!("{:04}-{:02}", first.year(), first.month())
}

fn month(first: Date) -> Result<Month, EngineError> {
    label(first).parse()
}

fn step(first: Date, months: i64) -> Result<Date, EngineError> {
    first.checked_add(months.months()).map_err(|_| EngineError::refused("a month is out of range"))
}

/// First day of the month before the one in which `at` lies.
fn month_before(at: Timestamp, zone: &Zone) -> Result<Date, EngineError> {
    step(zone.civil(at)?.date().first_of_month(), -1)
}

/// The run that is furthest: by month, then attempt.
fn latest(runs: &[Run]) -> Option<&Run> {
    runs.iter().max_by_key(|run| (&run.period, run.attempt))
}

/// What a run came to.
#[derive(Default)]
struct Summary {
    items: BTreeMap<ItemStatus, u64>,
    totals: BTreeMap<&'static str, Exact>,
    before: BTreeMap<&'static str, Exact>,
    greatest: BTreeMap<&'static str, Exact>,
}

impl Summary {
    fn count(&self, status: ItemStatus) -> u64 {
        self.items.get(&status).copied().unwrap_or(0)
    }

    fn body(&self, run: &Run) -> serde_json::Value {
        let totals: BTreeMap<_, _> =
            self.totals.iter().map(|(code, sum)| (*code, sum.to_string())).collect();
        let items: BTreeMap<_, _> =
            self.items.iter().map(|(status, count)| (status.as_str(), count)).collect();
        serde_json::json!({
            "run": run.id, "period": run.period, "attempt": run.attempt,
            "items": items, "totals": totals,
        })
    }

    /// Why the run may not be signed off without anybody.
    fn objections(&self, bounds: &AutoApprove) -> Vec<String> {
        let mut found = Vec::new();
        let parked = self.count(ItemStatus::Parked);
        if parked > bounds.max_parked {
            found.push(format!("{parked} accounts are parked, {} may be", bounds.max_parked));
        }
        for (code, total) in &self.totals {
            if *total > bounds.max_total.exact() {
                found.push(format!("{total} {code} in all is above {}", bounds.max_total));
            }
        }
        for (code, most) in &self.greatest {
            if let Some(bound) = bounds.max_invoice.filter(|bound| *most > bound.exact()) {
                found.push(format!("an invoice of {most} {code} is above {bound}"));
            }
        }
        if let Some(growth) = bounds.max_growth {
            found.extend(self.grown(growth));
        }
        found
    }

    fn grown(&self, growth: Quantity) -> Vec<String> {
        let mut found = Vec::new();
        for (code, total) in &self.totals {
            let before = self.before.get(code).cloned().unwrap_or(Exact::ZERO);
            if *total > before.mul(&growth.exact()) {
                found.push(format!(
                    "{total} {code} in all is more than {growth} times what it was ({before})"
                ));
            }
        }
        found
    }
}

impl Engine {
    async fn summary_of(&self, run: &Run) -> Result<Summary, EngineError> {
        let mut summary = Summary::default();
        let mut after = None;
        loop {
            let page =
                self.store.run_items(&self.tenant.id, &run.id, &[], after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(summary) };
            after = Some((last.subscription.clone(), last.cycle));
            for item in page {
                *summary.items.entry(item.status).or_default() += 1;
                if !matches!(item.status, ItemStatus::Done | ItemStatus::Finalized) {
                    continue;
                }
                let Some(total) = item.total else { continue };
                let (code, exact) = (total.currency().code(), total.exact());
                let sum = summary.totals.entry(code).or_insert(Exact::ZERO);
                *sum = sum.add(&exact);
                let most = summary.greatest.entry(code).or_insert(Exact::ZERO);
                *most = most.clone().max(exact);
                if let Some(before) = item.before.filter(|before| before.currency().code() == code)
                {
                    let sum = summary.before.entry(code).or_insert(Exact::ZERO);
                    *sum = sum.add(&before.exact());
                }
            }
        }
    }

    /// Whether any subscription began before a day.
    async fn anybody_before(&self, day: Date) -> Result<bool, EngineError> {
        let mut after = None;
        loop {
            let page =
                self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = Some(last.id.clone());
            if page.iter().any(|subscription| subscription.start < day) {
                return Ok(true);
            }
        }
    }
}

/// How far a month came.
enum Stands {
    Finalized,
    Nothing,
    Waits(String),
    Later(Timestamp, String),
}

/// Computes the months that are over.
pub struct InvoiceRun(pub Arc<JobSettings>);

#[async_trait]
impl Job for InvoiceRun {
    fn name(&self) -> &str {
        "invoice-run"
    }

    fn about(&self) -> &str {
        "Computes the invoices of the month that is over; they wait for a signature, or are signed off inside stated bounds."
    }

    fn cron(&self) -> &str {
        "0 2 1 * *"
    }

    fn catch_up(&self) -> CatchUp {
        CatchUp::Each
    }

    fn closes(&self) -> bool {
        true
    }

    /// From the month after the last that was run, by whomever.
    async fn since(&self, engine: &Engine) -> Result<Option<Timestamp>, EngineError> {
        let runs = engine.store.runs(&engine.tenant.id).await?;
        let Some(last) = latest(&runs) else { return Ok(None) };
        let last: Month = last.period.parse()?;
        let (_, end) = last.bounds(&Zone::utc())?;
        // One month further back: done twice is done once.
        Ok(Some(end.plus_micros(-2 * LAST_ZONE)))
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let target = month_before(turn.scheduled_for, &turn.zone)?;
        let runs = turn.engine.store.runs(&turn.engine.tenant.id).await?;
        // What is open comes first: months are billed one after the other.
        let mut first = match latest(&runs) {
            None => target,
            Some(last) => {
                let day = last.period.parse::<Month>()?.first();
                if last.state == RunState::Finalized { step(day, 1)? } else { day }
            }
        };
        if first > target {
            return Ok(Told::Done(format!("{} was run already", label(target))));
        }
        let mut told = Vec::new();
        while first <= target {
            let name = label(first);
            match self.month(&turn, first).await? {
                Stands::Finalized => told.push(format!("{name} is finalized")),
                Stands::Nothing => told.push(format!("{name}: nobody to bill")),
                Stands::Waits(why) if first == target => {
                    told.push(format!("{name} is computed and waits for a signature: {why}"));
                }
                Stands::Waits(why) => {
                    let at = turn.now.plus_micros(LOOK_AGAIN);
                    return Ok(Told::Later { at, why: format!("{name} waits first: {why}") });
                }
                Stands::Later(at, why) => return Ok(Told::Later { at, why }),
            }
            first = step(first, 1)?;
        }
        Ok(Told::Done(told.join("; ")))
    }
}

impl InvoiceRun {
    /// Takes one month as far as it may go.
    async fn month(&self, turn: &Turn, first: Date) -> Result<Stands, EngineError> {
        let (engine, options) = (&turn.engine, &self.0.run);
        let month = month(first)?;
        let (_, end) = month.bounds(&Zone::utc())?;
        let over = end.plus_micros(LAST_ZONE + options.grace_micros);
        // A test clock may stand elsewhere than this worker's.
        if engine.now().max(turn.now) < over {
            let why = format!("{} is over everywhere at {over}, grace included", month.label());
            return Ok(Stands::Later(over, why));
        }
        let known = engine.store.runs(&engine.tenant.id).await?;
        if !known.iter().any(|run| run.period == month.label())
            && !engine.anybody_before(step(first, 1)?).await?
        {
            return Ok(Stands::Nothing);
        }
        let run = engine.open_run(&month, options).await?;
        let books = Arc::new(engine.books().await?);
        let run = engine.plan_run(&books, run).await?;
        let was_reviewed = run.state >= RunState::Review;
        let mut run = if was_reviewed {
            run
        } else {
            engine.compute_run(&books, run, options, &|count| turn.did(count)).await?
        };
        if run.state == RunState::Review {
            let summary = engine.summary_of(&run).await?;
            if summary.count(ItemStatus::Failed) + summary.count(ItemStatus::Planned) > 0 {
                engine.compute_run(&books, run, options, &|count| turn.did(count)).await?;
                let at = turn.now.plus_micros(TRY_AGAIN);
                let why = "usage of some accounts kept changing while it was read".to_owned();
                return Ok(Stands::Later(at, why));
            }
            self.tell(turn, &run, &summary).await?;
            let objections = match &self.0.auto_approve {
                None => vec!["runs are signed off by people here".to_owned()],
                Some(bounds) => summary.objections(bounds),
            };
            if !objections.is_empty() {
                let why = objections.join("; ");
                remind(turn, &run, &self.0, Some((&summary, &why))).await?;
                return Ok(Stands::Waits(why));
            }
            run = engine.approve_run(run, BY_BOUNDS).await?;
        }
        if run.state == RunState::Approved {
            if let Some(why) = engine.stripe_objection(&run).await? {
                return Ok(Stands::Later(turn.now.plus_micros(LOOK_AGAIN), why));
            }
            run = engine.finalize_run(run, options, &|count| turn.did(count)).await?;
        }
        Ok(match run.state {
            RunState::Finalized => Stands::Finalized,
            // Another program works on it at this moment.
            _ => Stands::Later(turn.now.plus_micros(TRY_AGAIN), "somebody is at it".to_owned()),
        })
    }

    async fn tell(&self, turn: &Turn, run: &Run, summary: &Summary) -> Result<(), EngineError> {
        let queue = Write::Queue {
            key: format!("run.computed/{}", run.id),
            kind: "run.computed".to_owned(),
            body: summary.body(run),
            at: turn.now,
        };
        Ok(turn.engine.commit(&Commit::of(queue)).await?)
    }
}

/// Tells finance, once in each interval, that a run waits.
async fn remind(
    turn: &Turn,
    run: &Run,
    settings: &JobSettings,
    about: Option<(&Summary, &str)>,
) -> Result<(), EngineError> {
    let every = settings.remind_micros.max(1);
    let waited = turn.now.micros().saturating_sub(run.started_at.micros()).max(0);
    if about.is_none() && waited < every {
        // Whoever computed it tells of it, or signs it off in the next moment.
        return Ok(());
    }
    let mut body = serde_json::json!({
        "run": run.id, "period": run.period, "waiting_since": run.started_at,
    });
    if let (Some((summary, why)), Some(fields)) = (about, body.as_object_mut()) {
        let invoices = summary.count(ItemStatus::Done).to_string();
        let parked = summary.count(ItemStatus::Parked).to_string();
        fields.insert("invoices".to_owned(), invoices.into());
        fields.insert("parked".to_owned(), parked.into());
        for (code, total) in &summary.totals {
            fields.insert(format!("total {code}"), total.to_string().into());
        }
        fields.insert("why".to_owned(), why.into());
    }
    let queue = Write::Queue {
        key: format!("run.waiting/{}/{}", run.id, waited / every),
        kind: "run.waiting".to_owned(),
        body,
        at: turn.now,
    };
    Ok(turn.engine.commit(&Commit::of(queue)).await?)
}

/// Finalizes what is signed off.
pub struct FinalizeRuns(pub Arc<JobSettings>);

#[async_trait]
impl Job for FinalizeRuns {
    fn name(&self) -> &str {
        "finalize-runs"
    }

    fn about(&self) -> &str {
        "Finalizes the invoice runs that are signed off."
    }

    fn cron(&self) -> &str {
        "*/5 * * * *"
    }

    fn closes(&self) -> bool {
        true
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let engine = &turn.engine;
        let mut told = Vec::new();
        for run in engine.store.runs(&engine.tenant.id).await? {
            if run.state == RunState::Approved {
                if let Some(why) = engine.stripe_objection(&run).await? {
                    told.push(format!("the run of {} is held: {why}", run.period));
                    continue;
                }
                let did = |count| turn.did(count);
                let run = engine.finalize_run(run, &self.0.run, &did).await?;
                told.push(format!("the run of {} is finalized", run.period));
            }
        }
        let nothing = "no run was signed off".to_owned();
        Ok(Told::Done(if told.is_empty() { nothing } else { told.join("; ") }))
    }
}

/// Brings to mind what waits for a signature.
pub struct RemindOfRuns(pub Arc<JobSettings>);

#[async_trait]
impl Job for RemindOfRuns {
    fn name(&self) -> &str {
        "run-reminder"
    }

    fn about(&self) -> &str {
        "Reminds finance of invoice runs that wait for a signature."
    }

    fn cron(&self) -> &str {
        "30 * * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let engine = &turn.engine;
        let mut waiting = 0;
        for run in engine.store.runs(&engine.tenant.id).await? {
            if run.state == RunState::Review {
                remind(&turn, &run, &self.0, None).await?;
                waiting += 1;
            }
        }
        Ok(Told::Done(format!("{waiting} runs wait for a signature")))
    }
}
