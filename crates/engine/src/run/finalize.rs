//! Sign-off and finalization: numbers are given, lines become immutable, effects are queued.

use std::collections::HashMap;

use counterfoil_invoicing::{ItemStatus, Run, RunItem, RunState};
use counterfoil_rating::LatePolicy;
use counterfoil_store::{Commit, StoreError, Write};
use counterfoil_types::{CustomerId, timestamp::DAY_MICROS};

use super::{RunOptions, TERMS_DAYS};
use crate::{Engine, EngineError, accounts::CREDIT_NOTE_CUSTOMERS, postings::raced};

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
        let now = self.now();
        let approved = Run {
            state: RunState::Approved,
            approved_by: Some(by.to_owned()),
            approved_at: Some(now),
            ..run.clone()
        };
        let commit = Commit::of(Write::UpdateRun(approved.clone())).told(
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
    /// When the run is not approved, Stripe counts otherwise and that holds it, or as the store has
    /// them; repeating continues.
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
        if let Some(why) = self.stripe_objection(&run).await? {
            return Err(EngineError::refused(format!("run {} is held: {why}", run.id)));
        }
        let year = run.period.split('-').next().unwrap_or_default();
        let series = format!("{}-{year}-", options.series);
        let done = [ItemStatus::Done];
        let mut after = None;
        loop {
            // From the last one on: behind it all are finalized or parked.
            let page = self
                .store
                .run_items(&self.tenant.id, &run.id, &done, after.as_ref(), BATCH)
                .await?;
            match page.last() {
                Some(last) => after = Some((last.subscription.clone(), last.cycle)),
                // Once more from the beginning, in case another program left some.
                None if after.take().is_some() => continue,
                None => break,
            }
            let count = page.len() as u64;
            self.finalize_items(page, &series).await?;
            progress(count);
        }
        self.use_balances(None).await?;

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
        let now = self.now();
        let run = Run { state: RunState::Finalized, finalized_at: Some(now), ..run };
        commit.writes.push(Write::UpdateRun(run.clone()));
        let commit = commit.told(
            "run.finalized",
            format!("run.finalized/{}", run.id),
            now,
            serde_json::json!({"run": run.id, "period": run.period}),
        );
        self.commit(&commit).await?;
        self.take_anchor(true).await?;
        Ok(run)
    }

    /// Finalizes a page together, or, when an account stands in the way of one of them, one by
    /// one: that one is parked.
    async fn finalize_items(&self, page: Vec<RunItem>, series: &str) -> Result<(), EngineError> {
        let commit = self.finalize_page(&page, series).await?;
        match self.commit(&commit).await {
            Err(error) if raced(&error) && page.len() > 1 => {}
            outcome => return self.or_park(page, outcome).await,
        }
        for item in page {
            let alone = vec![item];
            let commit = self.finalize_page(&alone, series).await?;
            let outcome = self.commit(&commit).await;
            self.or_park(alone, outcome).await?;
        }
        Ok(())
    }

    async fn or_park(
        &self,
        page: Vec<RunItem>,
        outcome: Result<(), StoreError>,
    ) -> Result<(), EngineError> {
        let error = match outcome {
            Err(error) if raced(&error) => error,
            outcome => return Ok(outcome?),
        };
        let parked = page.into_iter().map(|item| RunItem {
            status: ItemStatus::Parked,
            reason: Some(format!("{error}; run the month again to bill it")),
            ..item
        });
        let commit = Commit::of(Write::PutRunItems(parked.collect()));
        Ok(self.commit(&commit).await?)
    }

    async fn finalize_page(&self, page: &[RunItem], series: &str) -> Result<Commit, EngineError> {
        let mut commit = Commit::default();
        let mut posted = Vec::new();
        let mut days: HashMap<CustomerId, (CustomerId, i64)> = HashMap::new();
        let grants = self.has_grants().await?;
        let customers = self.customers_named(page.iter().map(|item| &item.customer)).await?;
        let parents = customers.values().filter_map(|customer| customer.parent.as_ref());
        let parents = self.customers_named(parents).await?;
        let named = |id: &CustomerId| customers.get(id).or_else(|| parents.get(id)).cloned();
        for item in page {
            let Some(invoice) = item.invoice else { continue };
            let (payer, terms) = match days.get(&item.customer) {
                Some(known) => known.clone(),
                None => {
                    let customer = match named(&item.customer) {
                        Some(customer) => customer,
                        None => self.customer(&item.customer).await?,
                    };
                    let payer = match &customer.parent {
                        Some(parent) => match named(parent) {
                            Some(parent) => parent,
                            None => self.customer(parent).await?,
                        },
                        None => customer,
                    };
                    let terms = payer.terms_days.map_or(TERMS_DAYS, i64::from);
                    days.insert(item.customer.clone(), (payer.id.clone(), terms));
                    (payer.id, terms)
                }
            };
            let at = self.now_of(&item.customer);
            let due_at = at.plus_micros(terms * DAY_MICROS);
            let series = series.to_owned();
            commit.writes.push(Write::Finalize { invoice, series, at, due_at });
            if let Some(total) = item.total {
                posted.extend(self.issue_postings(invoice, &payer, total, at)?);
            }
            if grants {
                posted.extend(self.grant_postings(&self.invoice(&invoice).await?, at, false)?);
            }
        }
        if !posted.is_empty() {
            commit.writes.push(Write::Post(posted));
        }
        let finalized =
            page.iter().cloned().map(|item| RunItem { status: ItemStatus::Finalized, ..item });
        commit.writes.push(Write::PutRunItems(finalized.collect()));
        Ok(commit)
    }

    /// Late usage that made closed periods cheaper, for customers whose policy is a credit note:
    /// given back before the run is computed, so that its invoices carry only what no note could.
    pub(super) async fn credit_late_of(&self, run: &Run) -> Result<(), EngineError> {
        let books = self.books().await?;
        let by_plan = books
            .all()
            .flat_map(|book| &book.spec.plans)
            .any(|plan| plan.late_events == LatePolicy::CreditNote);
        let by_customer = self.store.settings(&self.tenant.id, CREDIT_NOTE_CUSTOMERS).await?;
        if !by_plan && by_customer.is_empty() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page =
                self.store.run_items(&self.tenant.id, &run.id, &[], after.as_ref(), BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.subscription.clone(), last.cycle));
            for item in page {
                let customer = self.customer(&item.customer).await?;
                let own = customer.late_events;
                let wanted = own.map_or(by_plan, |policy| policy == LatePolicy::CreditNote);
                if wanted {
                    self.credit_late(&item.subscription).await?;
                }
            }
        }
    }
}
