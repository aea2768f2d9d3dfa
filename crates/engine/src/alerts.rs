//! Alerts: rules evaluated over what was used, each firing once.
//!
//! | file | what |
//! |---|---|
//! | [`rules`] | the rules of a tenant: defaults, its own, those of plans and customers |
//! | `page` | everything a page of customers needs, read in a few round trips |
//! | `judge` | what the rules say about one customer |
//! | `fire` | which alerts are new, how they are told, a digest instead of a flood |
//! | [`events`] | web hook events about usage and limits, few of them however much happens |
//!
//! Evaluating changes nothing but alerts, so anybody may do it at any time, several at once: an
//! alert's id is derived from rule, meter, threshold, window and customer, and the store takes each
//! once. Where an evaluation stopped is kept per lane and only saves work.

pub mod events;
mod fire;
mod judge;
mod page;
pub mod rules;

use std::{collections::BTreeSet, sync::Arc};

use counterfoil_alerting::Rule;
use counterfoil_ledger::LaneId;
use counterfoil_store::{AlertState, Commit, StoreError, Write};
use counterfoil_types::{CustomerId, Digest, Timestamp, timestamp::DAY_MICROS};
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError};
use page::Setup;

/// Customers evaluated together.
const PAGE: usize = 500;
/// Pages evaluated at once: one computes while the other waits for the store.
const AT_ONCE: usize = 3;
/// Rows of a lane whose customers one look after a projection evaluates.
const ROWS: u64 = 20_000;
/// How often an evaluation that somebody came in between is made again.
const TRIES: usize = 6;
const SEEN: &str = "alert-seen/";
const SWEPT: &str = "alert-swept";

/// Whose usage is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Customers with events since the last evaluation; everybody once a day, and after a change of
    /// rules.
    Due,
    /// Everybody.
    All,
}

/// What an evaluation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct AlertReport {
    /// Customers looked at.
    pub customers: u64,
    /// Alerts that fired.
    pub fired: u64,
    /// Effects queued to tell of alerts.
    pub told: u64,
    /// Customers that could not be evaluated; the log says why.
    pub failed: u64,
}

impl AlertReport {
    fn add(&mut self, other: Self) {
        self.customers += other.customers;
        self.fired += other.fired;
        self.told += other.told;
        self.failed += other.failed;
    }
}

/// When everybody was evaluated last, and by which rules.
#[derive(Debug, Serialize, Deserialize)]
struct Swept {
    at: Timestamp,
    rules: String,
}

impl Engine {
    /// Evaluates alert rules for everybody who may have passed something, tells of what waits for a
    /// digest, and resolves what is over. Safe to repeat, and to run several times at once.
    ///
    /// # Errors
    /// As the store has them; what fired stays fired, and repeating goes on.
    pub async fn evaluate_alerts(&self, sweep: Sweep) -> Result<AlertReport, EngineError> {
        let now = self.now();
        let setup = Arc::new(self.alert_setup().await?);
        let rules = digest(&setup.rules)?;
        let swept = self.store.settings(&self.tenant.id, SWEPT).await?;
        let swept: Option<Swept> = swept
            .iter()
            .find(|(key, _)| key == SWEPT)
            .and_then(|(_, v)| serde_json::from_str(v).ok());
        let stale = |swept: &Swept| {
            swept.rules != rules || now >= swept.at.plus_micros(DAY_MICROS) || now < swept.at
        };
        let all = sweep == Sweep::All || swept.as_ref().is_none_or(stale);
        let mut report = AlertReport::default();
        // Where lanes stand is read before customers are, so nothing is left out.
        let lanes = self.projected_lanes(&setup).await?;
        let mut writes = Vec::new();
        if all {
            report.add(self.evaluate_everybody(&setup).await?);
            let text = serde_json::to_string(&Swept { at: now, rules })?;
            writes.push(Write::Set { key: SWEPT.to_owned(), value: Some(text) });
        } else {
            let mut touched = BTreeSet::new();
            for (lane, upto) in &lanes {
                let from = setup.seen.get(lane).copied().unwrap_or(0);
                if from < *upto {
                    touched.extend(self.store.customers_between(*lane, from, *upto).await?);
                }
            }
            let touched: Vec<CustomerId> = touched.into_iter().collect();
            report.add(self.evaluate_customers(&setup, &touched).await?);
        }
        writes.extend(lanes.iter().filter_map(|(lane, upto)| moved(&setup, *lane, *upto)));
        report.told += self.tell_held(now).await?;
        writes.push(Write::ResolveAlerts { by: now });
        self.commit(&Commit { writes, ..Commit::default() }).await?;
        Ok(report)
    }

    /// Evaluates alert rules for those whose events were projected since the last look: bounded
    /// work, for calling after each projection. A lane that was never looked at is left to
    /// [`Engine::evaluate_alerts`].
    ///
    /// # Errors
    /// As the store has them; repeating goes on.
    pub async fn alerts_after_projection(&self) -> Result<AlertReport, EngineError> {
        let seen = self.seen_lanes().await?;
        let books = self.recent_books().await?;
        let mut turns = Vec::new();
        for (lane, upto) in self.projected_of(&books).await? {
            let from = seen.get(&lane).copied();
            if let Some(from) = from.filter(|from| *from < upto) {
                turns.push((lane, from, upto.min(from.saturating_add(ROWS))));
            }
        }
        if turns.is_empty() {
            return Ok(AlertReport::default());
        }
        let setup = Arc::new(self.alert_setup().await?);
        let how = self.usage_events().await?;
        let mut touched = BTreeSet::new();
        for (lane, from, upto) in &turns {
            let customers = self.store.customers_between(*lane, *from, *upto).await?;
            self.tell_usage(how, *lane, (*from, *upto), &customers).await?;
            touched.extend(customers);
        }
        let touched: Vec<CustomerId> = touched.into_iter().collect();
        let report = self.evaluate_customers(&setup, &touched).await?;
        let writes: Vec<Write> =
            turns.iter().filter_map(|(lane, _, upto)| moved(&setup, *lane, *upto)).collect();
        self.commit(&Commit { writes, ..Commit::default() }).await?;
        Ok(report)
    }

    /// Moves an alert, for `by`.
    ///
    /// # Errors
    /// When it does not exist, or is resolved.
    pub async fn move_alert(
        &self,
        alert: &str,
        to: AlertState,
        until: Option<Timestamp>,
        by: &str,
    ) -> Result<counterfoil_store::Alert, EngineError> {
        let missing = || EngineError::NotFound {
            what: "alert",
            name: alert.to_owned(),
            hint: "; `counterfoil alert list` shows those there are".to_owned(),
        };
        self.store.alert(&self.tenant.id, alert).await?.ok_or_else(missing)?;
        let at = self.now();
        if to == AlertState::Snoozed && until.is_none_or(|until| until <= at) {
            return Err(EngineError::refused("an alert is snoozed until a time that is to come"));
        }
        let (alert_id, by) = (alert.to_owned(), by.to_owned());
        let write = Write::MoveAlert { alert: alert_id, to, until, by, at };
        self.commit(&Commit::of(write)).await?;
        self.store.alert(&self.tenant.id, alert).await?.ok_or_else(missing)
    }

    async fn seen_lanes(&self) -> Result<std::collections::HashMap<LaneId, u64>, EngineError> {
        let stored = self.store.settings(&self.tenant.id, SEEN).await?;
        Ok(stored
            .iter()
            .filter_map(|(key, value)| {
                let lane = key.strip_prefix(SEEN)?.parse().ok()?;
                Some((LaneId(lane), value.parse().ok()?))
            })
            .collect())
    }

    async fn alert_setup(&self) -> Result<Setup, EngineError> {
        let rules = self.alert_rules().await?;
        let (books, seen) = (self.recent_books().await?, self.seen_lanes().await?);
        Ok(Setup { rules, books, seen, quotas: self.all_own_quotas().await? })
    }

    async fn projected_lanes(&self, setup: &Setup) -> Result<Vec<(LaneId, u64)>, EngineError> {
        self.projected_of(&setup.books).await
    }

    /// How far all meters of each lane are projected.
    async fn projected_of(&self, books: &crate::Books) -> Result<Vec<(LaneId, u64)>, EngineError> {
        let mut lanes = Vec::new();
        for lane in self.tenant.lane_ids() {
            let progress = self.store.progress(lane).await?;
            let at = |key| progress.iter().find(|(meter, _)| meter == key).map_or(0, |(_, at)| *at);
            lanes.push((lane, books.meters().keys().map(at).min().unwrap_or(0)));
        }
        Ok(lanes)
    }

    async fn evaluate_everybody(&self, setup: &Arc<Setup>) -> Result<AlertReport, EngineError> {
        let mut report = AlertReport::default();
        let mut after: Option<CustomerId> = None;
        let size = u32::try_from(PAGE * AT_ONCE * 4).unwrap_or(u32::MAX);
        loop {
            let page = self.store.customers(&self.tenant.id, after.as_ref(), size).await?;
            let Some(last) = page.last() else { return Ok(report) };
            after = Some(last.id.clone());
            let page: Vec<CustomerId> = page.into_iter().map(|customer| customer.id).collect();
            report.add(self.evaluate_customers(setup, &page).await?);
        }
    }

    async fn evaluate_customers(
        &self,
        setup: &Arc<Setup>,
        customers: &[CustomerId],
    ) -> Result<AlertReport, EngineError> {
        let mut report = AlertReport::default();
        // Those of a lane come together, so that a page reads few lanes.
        let mut sorted: Vec<CustomerId> = customers.to_vec();
        sorted.sort_by_cached_key(|customer| (self.tenant.lane_of(customer), customer.clone()));
        let mut pages = sorted.chunks(PAGE);
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.len() < AT_ONCE
                && let Some(page) = pages.next()
            {
                let (engine, setup, page) = (self.clone(), setup.clone(), page.to_vec());
                tasks.spawn(async move { engine.evaluate_page(&setup, &page).await });
            }
            let Some(done) = tasks.join_next().await else { return Ok(report) };
            let stopped =
                |error| EngineError::refused(format!("an evaluation of alerts stopped: {error}"));
            report.add(done.map_err(stopped)??);
        }
    }

    /// Evaluates a page. Where somebody else fired meanwhile, it is looked at again, in the end one
    /// customer at a time.
    async fn evaluate_page(
        &self,
        setup: &Setup,
        customers: &[CustomerId],
    ) -> Result<AlertReport, EngineError> {
        match self.try_page(setup, customers).await {
            Err(EngineError::Store(StoreError::Conflict { .. })) => {}
            outcome => return outcome,
        }
        let mut report = AlertReport::default();
        for customer in customers {
            let one = std::slice::from_ref(customer);
            for tries in 1..=TRIES {
                match self.try_page(setup, one).await {
                    Err(EngineError::Store(StoreError::Conflict { .. })) if tries < TRIES => {}
                    outcome => {
                        report.add(outcome?);
                        break;
                    }
                }
            }
        }
        Ok(report)
    }

    async fn try_page(
        &self,
        setup: &Setup,
        customers: &[CustomerId],
    ) -> Result<AlertReport, EngineError> {
        let page = self.read_alert_page(setup, customers).await?;
        let mut report = AlertReport { customers: customers.len() as u64, ..Default::default() };
        let mut writes = Vec::new();
        for case in &page.cases {
            let found = match self.judge(&page, case).await {
                Ok(found) => found,
                Err(EngineError::Store(error)) => return Err(error.into()),
                // One that cannot be computed holds nobody else up; its invoice will tell as well.
                Err(error) => {
                    tracing::warn!(customer = %case.customer.id, %error, "alerts were not evaluated");
                    report.failed += 1;
                    continue;
                }
            };
            let (fired, told) = fire::fire(&mut writes, case, &page, found);
            report.fired += fired;
            report.told += told;
        }
        if !writes.is_empty() {
            self.commit(&Commit { writes: fire::in_order(writes), ..Commit::default() }).await?;
        }
        Ok(report)
    }
}

fn moved(setup: &Setup, lane: LaneId, upto: u64) -> Option<Write> {
    (setup.seen.get(&lane) != Some(&upto))
        .then(|| Write::Set { key: format!("{SEEN}{}", lane.0), value: Some(upto.to_string()) })
}

fn digest(rules: &[Rule]) -> Result<String, EngineError> {
    Ok(Digest::of(&serde_json::to_vec(rules)?).to_string())
}
