//! Looking after the store: is it well, and is it what was sealed?

use std::sync::Arc;

use async_trait::async_trait;
use counterfoil_ledger::{LaneId, leaf_hash};
use counterfoil_store::{Commit, DeliveryFilter, DeliveryState, Seal, Write};
use counterfoil_types::Timestamp;

use super::{Job, Told, Turn};
use crate::{Engine, EngineError, project::CHUNK};

/// Setting: what the last look found.
const HEALTH: &str = "jobs/health";
/// Settings: how far each lane was checked.
const CHECKED: &str = "jobs/integrity/";

/// Looks at the store every few minutes.
pub struct Health;

#[async_trait]
impl Job for Health {
    fn name(&self) -> &str {
        "health"
    }

    fn about(&self) -> &str {
        "Looks at the store, at the backlog and at what is parked; operators hear of turns."
    }

    fn cron(&self) -> &str {
        "*/5 * * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let engine = &turn.engine;
        let (store, tenant) = (&engine.store, &engine.tenant.id);
        let findings = store.examine(engine.clock.now()).await?;
        let grave: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.grave)
            .map(|finding| finding.text.as_str())
            .collect();
        let filter = DeliveryFilter { state: Some(DeliveryState::Parked), ..Default::default() };
        let parked = store.deliveries(tenant, &filter, None, 1_000).await?.len();
        let jobs = engine.parked_jobs().await?;
        let lag = engine.rows_behind().await?;
        let says = format!(
            "{lag} events to roll up, {parked} deliveries parked, {} runs and {} items of jobs parked",
            jobs.runs.len(),
            jobs.items.len()
        );
        let issues = grave.join("; ");
        let before = store.settings(tenant, HEALTH).await?;
        let before = before.first().map(|(_, text)| text.as_str()).unwrap_or_default();
        if before != issues {
            let value = (!issues.is_empty()).then(|| issues.clone());
            let mut commit = Commit::of(Write::Set { key: HEALTH.to_owned(), value });
            // What is wrong changed: only a turn to the worse or better is told.
            if before.is_empty() != issues.is_empty() {
                let (kind, from, to) = if issues.is_empty() {
                    ("api.health.recovered", "unhealthy", "healthy")
                } else {
                    ("api.health.unhealthy", "healthy", "unhealthy")
                };
                let body = serde_json::json!({"from": from, "to": to, "issues": issues});
                // Two that look at once for one time tell once.
                let key = format!("{kind}/job/{}", turn.scheduled_for.micros());
                let kind = kind.to_owned();
                commit.writes.push(Write::Queue { key, kind, body, at: turn.now });
            }
            engine.commit(&commit).await?;
        }
        Ok(Told::Done(if issues.is_empty() { says } else { format!("{issues}; {says}") }))
    }
}

/// Checks a slice of the ledger each night.
pub struct Integrity;

#[async_trait]
impl Job for Integrity {
    fn name(&self) -> &str {
        "integrity"
    }

    fn about(&self) -> &str {
        "Holds the store against its anchor and recomputes the seals of the next slice of the ledger."
    }

    fn cron(&self) -> &str {
        "0 4 * * *"
    }

    async fn run(&self, turn: Arc<Turn>) -> Result<Told, EngineError> {
        let engine = &turn.engine;
        engine.may_bill().await?;
        let mut rows = 0;
        for head in engine.store.heads(&engine.tenant).await? {
            let slice = engine.check_slice(head.lane, head.position).await?;
            turn.did(slice);
            rows += slice;
        }
        engine.take_anchor(false).await?;
        Ok(Told::Done(format!("the anchor holds; {rows} seals are right")))
    }
}

fn damaged(lane: LaneId, position: u64, why: &str) -> EngineError {
    EngineError::refused(format!(
        "ledger lane {lane} position {position}: {why}. Run `counterfoil verify`, and bill nothing until it is explained"
    ))
}

impl Engine {
    /// Rows of the ledger that are not in the aggregates yet.
    async fn rows_behind(&self) -> Result<u64, EngineError> {
        let books = self.books().await?;
        let meters: Vec<_> = books.meters().values().collect();
        let mut behind = 0;
        for head in self.store.heads(&self.tenant).await? {
            let view = self.lane_view(head.lane).await?;
            behind += head.position.saturating_sub(view.projected(&meters));
        }
        Ok(behind)
    }

    /// Checks the next rows of a lane: positions without a gap, times that never decrease, seals
    /// that hold. Remembers how far it came; behind the end it begins anew.
    async fn check_slice(&self, lane: LaneId, head: u64) -> Result<u64, EngineError> {
        let key = format!("{CHECKED}{lane}");
        let stored = self.store.settings(&self.tenant.id, &key).await?;
        let from = stored.iter().find(|(known, _)| *known == key);
        let from: u64 = from.and_then(|(_, at)| at.parse().ok()).unwrap_or(0);
        let from = if from >= head { 0 } else { from };
        let upto = head.min(from + u64::from(CHUNK));
        let seals = self.store.seals(lane, from, upto, CHUNK).await?;
        let (mut expected, mut recorded) = (from + 1, Timestamp::MIN);
        for seal in &seals {
            if seal.position != expected {
                return Err(damaged(lane, expected, "it is missing"));
            }
            if seal.recorded_at < recorded {
                return Err(damaged(lane, expected, "it was recorded before its predecessor"));
            }
            self.check_archived(lane, seal)?;
            (expected, recorded) = (expected + 1, seal.recorded_at);
        }
        if expected <= upto {
            return Err(damaged(lane, expected, "it is missing"));
        }
        // What is archived has its content elsewhere; `archive check` reads that.
        let mut after = seals.iter().filter(|seal| seal.archived.is_some()).map(|s| s.position);
        let mut after = after.next_back().unwrap_or(from);
        while after < upto {
            let page = self.store.read(lane, after, upto, None, CHUNK).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            if let Some(row) = page.iter().find(|row| !row.seal_holds(&self.tenant.id)) {
                return Err(damaged(lane, row.position, "it is not what was sealed"));
            }
        }
        let value = Some(upto.to_string());
        self.commit(&Commit::of(Write::Set { key, value })).await?;
        Ok(upto - from)
    }

    fn check_archived(&self, lane: LaneId, seal: &Seal) -> Result<(), EngineError> {
        let Some(content) = &seal.archived else { return Ok(()) };
        let leaf = leaf_hash(&self.tenant.id, lane, seal.position, seal.recorded_at, content);
        if leaf == seal.leaf {
            Ok(())
        } else {
            Err(damaged(lane, seal.position, "its seal is not the one it was archived with"))
        }
    }
}
