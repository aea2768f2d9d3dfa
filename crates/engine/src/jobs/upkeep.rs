//! What comes again and again: rolling up, quotas that start over, grants, dunning, tidying up.

use std::sync::Arc;

use async_trait::async_trait;
use counterfoil_store::{Commit, Write};
use counterfoil_types::{Timestamp, timestamp::HOUR_MICROS};

use super::{Job, JobSettings, Told, Turn};
use crate::{
    Engine, EngineError,
    accounts::PAGE,
    alerts::{AlertReport, Sweep},
    archive::ArchiveOptions,
    share::Sharing,
};

/// Projects the ledger.
pub struct RollUp;

#[async_trait]
impl Job for RollUp {
    fn name(&self) -> &str {
        "aggregate"
    }

    fn about(&self) -> &str {
        "Rolls usage up into aggregates. The service does so all the time; this is for what it missed."
    }

    fn cron(&self) -> &str {
        "0 * * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let done = turn.engine.project_some(&turn.holder, &Sharing::default()).await?;
        turn.did(done.rows);
        Ok(Told::Done(format!("{} events rolled up", done.rows)))
    }
}

/// Setting: up to when windows that began are in the journal.
const RESETS: &str = "jobs/quota-reset";

/// Evaluates alert rules.
pub struct EvaluateAlerts;

#[async_trait]
impl Job for EvaluateAlerts {
    fn name(&self) -> &str {
        "alerts"
    }

    fn about(&self) -> &str {
        "Evaluates alert rules, sends digests, resolves what is over. Usage is judged at once when it is projected; this is for what only time brings about."
    }

    fn cron(&self) -> &str {
        "*/30 * * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let report = turn.engine.evaluate_alerts(Sweep::Due).await?;
        if report.failed > 0 {
            return Err(EngineError::refused(format!(
                "{} customers could not be evaluated; the log says why",
                report.failed
            )));
        }
        let AlertReport { customers, fired, .. } = report;
        turn.did(customers);
        Ok(Told::Done(format!("{fired} alerts of {customers} customers")))
    }
}

/// Writes the beginnings of quota windows into the journal.
pub struct ResetQuotas;

#[async_trait]
impl Job for ResetQuotas {
    fn name(&self) -> &str {
        "quota-reset"
    }

    fn about(&self) -> &str {
        "Records each quota window that began, with what rolled over into it."
    }

    fn cron(&self) -> &str {
        "1 * * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let engine = &turn.engine;
        let tenant = &engine.tenant.id;
        let stored = engine.store.settings(tenant, RESETS).await?;
        let since = stored.first().and_then(|(_, text)| text.parse::<i64>().ok());
        // At first, the hour that has passed: windows that began before are under way.
        let since = since.map_or(turn.now.plus_micros(-HOUR_MICROS), Timestamp::from_micros);
        let mut count = 0;
        if since < turn.now && engine.any_quotas().await? {
            let mut after = None;
            loop {
                let page = engine.store.customers(tenant, after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                let mut commit = Commit::default();
                for customer in page {
                    let began = engine.quota_resets(&customer.id, since, turn.now);
                    let name = format!("customer/{}", customer.id);
                    commit.facts.extend(turn.item(&name, began).await?.into_iter().flatten());
                }
                count += commit.facts.len();
                if !commit.facts.is_empty() {
                    engine.commit(&commit).await?;
                }
            }
        }
        let value = Some(turn.now.max(since).micros().to_string());
        let key = RESETS.to_owned();
        engine.commit(&Commit::of(Write::Set { key, value })).await?;
        Ok(turn.told(format!("{count} quota windows began")))
    }
}

/// Expires grants and renews those that come again.
pub struct RenewGrants(pub Arc<JobSettings>);

#[async_trait]
impl Job for RenewGrants {
    fn name(&self) -> &str {
        "grants"
    }

    fn about(&self) -> &str {
        "Expires grants and gives the next window of those that come again."
    }

    fn cron(&self) -> &str {
        "10 * * * *"
    }

    fn closes(&self) -> bool {
        true
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let done = turn.engine.renew_grants_in(self.0.grant_wait_micros, Some(&turn)).await?;
        let (expired, granted) = (done.expired.len(), done.granted.len());
        Ok(turn.told(format!("{expired} grants expired, {granted} were renewed")))
    }
}

/// Overdue invoices and the steps of dunning.
pub struct Dunning;

#[async_trait]
impl Job for Dunning {
    fn name(&self) -> &str {
        "dunning"
    }

    fn about(&self) -> &str {
        "Moves invoices beyond their terms to overdue and takes the steps of dunning."
    }

    fn cron(&self) -> &str {
        "0 9 * * *"
    }

    fn closes(&self) -> bool {
        true
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let done = turn.engine.dun_in(Some(&turn)).await?;
        let (overdue, steps) = (done.overdue.len(), done.steps.len());
        Ok(turn.told(format!("{overdue} invoices are overdue now, {steps} steps were taken")))
    }
}

/// Archives what is old.
pub struct CleanUp(pub Arc<JobSettings>);

#[async_trait]
impl Job for CleanUp {
    fn name(&self) -> &str {
        "cleanup"
    }

    fn about(&self) -> &str {
        "Moves the content of old events into the archive, where one is configured."
    }

    fn cron(&self) -> &str {
        "0 3 * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let Some(age) = self.0.archive_after_micros else {
            return Ok(Told::Done("no archive is configured".to_owned()));
        };
        let before = turn.now.plus_micros(-age);
        let report = turn.engine.archive(&ArchiveOptions::before(before)).await?;
        turn.did(report.rows);
        let (rows, held) = (report.rows, report.held_back.len());
        Ok(Told::Done(format!("{rows} events archived; {held} lanes hold older ones back")))
    }
}

/// Forgets what need not be kept.
pub struct Forget(pub Arc<JobSettings>);

#[async_trait]
impl Job for Forget {
    fn name(&self) -> &str {
        "forget"
    }

    fn about(&self) -> &str {
        "Forgets answers of old requests, keys of customers that expired, and old runs of jobs."
    }

    fn cron(&self) -> &str {
        "20 3 * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let requests = turn.now.plus_micros(-self.0.requests_micros);
        let runs = turn.now.plus_micros(-self.0.history_micros);
        let mut commit = Commit::of(Write::Forget { before: requests });
        commit.writes.push(Write::ForgetJobRuns { before: runs });
        turn.engine.commit(&commit).await?;
        Ok(Told::Done(format!("requests before {requests} and runs before {runs} are forgotten")))
    }
}

impl Engine {
    /// Whether any customer can have a quota.
    async fn any_quotas(&self) -> Result<bool, EngineError> {
        let books = self.books().await?;
        let by_plan =
            books.all().flat_map(|book| &book.spec.plans).any(|plan| !plan.quotas.is_empty());
        Ok(by_plan
            || !self.store.settings(&self.tenant.id, crate::quotas::PREFIX).await?.is_empty())
    }
}
