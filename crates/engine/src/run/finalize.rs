//! Sign-off and finalization: numbers are given, lines become immutable, effects are queued.

use counterfoil_invoicing::{ItemStatus, Run, RunItem, RunState};
use counterfoil_store::{Commit, Write};
use counterfoil_types::timestamp::DAY_MICROS;

use super::{RunOptions, TERMS_DAYS};
use crate::{Engine, EngineError};

/// Invoices finalized in one transaction.
const BATCH: u32 = 200;

impl Engine {
    /// Signs a run off.
    ///
    /// # Errors
    /// When it is not in review, or items failed that a resume could still compute.
    pub async fn approve_run(&self, run: Run, by: &str) -> Result<Run, EngineError> {
        match run.state {
            RunState::Review => {}
            RunState::Approved | RunState::Finalized => return Ok(run),
            state => {
                return Err(EngineError::refused(format!(
                    "run {} is {}; compute it before approving it",
                    run.id,
                    state.as_str()
                )));
            }
        }
        let open = [ItemStatus::Planned, ItemStatus::Failed];
        let failed = self.store.run_items(&self.tenant.id, &run.id, &open, None, 1).await?;
        if let Some(item) = failed.first() {
            return Err(EngineError::refused(format!(
                "run {} has items that are not computed, for example {} ({}); resume it first",
                run.id,
                item.subscription,
                item.reason.as_deref().unwrap_or("planned")
            )));
        }
        let now = self.clock.now();
        let approved = Run {
            state: RunState::Approved,
            approved_by: Some(by.to_owned()),
            approved_at: Some(now),
            ..run.clone()
        };
        let commit = Commit::of(Write::UpdateRun(approved.clone())).fact(
            "run.approved",
            format!("run.approved/{}", run.id),
            now,
            serde_json::json!({"run": run.id, "by": by}),
        );
        Ok(self.step(&run, &commit).await?.unwrap_or(approved))
    }

    /// Finalizes the drafts of an approved run. `progress` hears how many were finalized.
    ///
    /// # Errors
    /// When the run is not approved, or as the store has them; repeating continues.
    pub async fn finalize_run(
        &self,
        run: Run,
        options: &RunOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Run, EngineError> {
        if run.state == RunState::Finalized {
            return Ok(run);
        }
        if run.state != RunState::Approved {
            return Err(EngineError::refused(format!(
                "run {} is not signed off; review it, then approve it with --approve",
                run.id
            )));
        }
        let year = run.period.split('-').next().unwrap_or_default();
        let series = format!("{}-{year}-", options.series);
        loop {
            let done = [ItemStatus::Done];
            let page = self.store.run_items(&self.tenant.id, &run.id, &done, None, BATCH).await?;
            if page.is_empty() {
                break;
            }
            let count = page.len() as u64;
            self.store.commit(&self.tenant.id, &self.finalize_page(page, &series)).await?;
            progress(count);
        }
        // Drafts of parked items are not to be billed: they go, the item and its reason stay.
        let mut commit = Commit::default();
        let mut after = None;
        loop {
            let parked = [ItemStatus::Parked];
            let page = self
                .store
                .run_items(&self.tenant.id, &run.id, &parked, after.as_ref(), BATCH)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some((last.subscription.clone(), last.cycle));
            let drafts = page.iter().filter_map(|item| item.invoice);
            commit.writes.extend(drafts.map(Write::DropDraft));
        }
        let now = self.clock.now();
        let run = Run { state: RunState::Finalized, finalized_at: Some(now), ..run };
        commit.writes.push(Write::UpdateRun(run.clone()));
        let commit = commit.fact(
            "run.finalized",
            format!("run.finalized/{}", run.id),
            now,
            serde_json::json!({"run": run.id, "period": run.period}),
        );
        self.store.commit(&self.tenant.id, &commit).await?;
        Ok(run)
    }

    fn finalize_page(&self, page: Vec<RunItem>, series: &str) -> Commit {
        let at = self.clock.now();
        let due_at = at.plus_micros(TERMS_DAYS * DAY_MICROS);
        let mut commit = Commit::default();
        for item in &page {
            if let Some(invoice) = item.invoice {
                let series = series.to_owned();
                commit.writes.push(Write::Finalize { invoice, series, at, due_at });
            }
        }
        let finalized =
            page.into_iter().map(|item| RunItem { status: ItemStatus::Finalized, ..item });
        commit.writes.push(Write::PutRunItems(finalized.collect()));
        commit
    }
}
