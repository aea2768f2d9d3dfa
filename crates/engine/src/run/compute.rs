//! Computing a run: a draft for each planned cycle, a page at a time, several accounts at once.

use std::{collections::HashMap, sync::Arc};

use counterfoil_invoicing::{Invoice, ItemStatus, Run, RunItem, RunState, cycle::CycleNumber};
use counterfoil_metering::Meter;
use counterfoil_store::{AccountFilter, Commit, Write};
use counterfoil_types::{CustomerId, InvoiceId, RunId};

use super::{
    Manifest, Month, RunOptions, manifest_of, needs_computing,
    page::{Page, billed},
};
use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    draft::{Account, As, Outcome},
    voiding::Job,
};

/// Accounts computed at once.
const AT_ONCE: usize = 4;
/// How often one account is computed again because the projector moved.
const TRIES: usize = 5;

/// What one item came to, with its draft.
struct Computed {
    item: RunItem,
    draft: Option<Box<Invoice>>,
    /// A draft of an earlier attempt that does not hold any more.
    orphan: Option<InvoiceId>,
}

impl Engine {
    /// Computes all items that are planned or failed, and opens the run for review. `progress`
    /// hears how many items were computed.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn compute_run(
        &self,
        books: &Arc<Books>,
        run: Run,
        options: &RunOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Run, EngineError> {
        if !needs_computing(&run) {
            return Ok(run);
        }
        self.project_all().await?;
        self.credit_late_of(&run).await?;
        let open = [ItemStatus::Planned, ItemStatus::Failed, ItemStatus::Parked];
        let mut after = None;
        let mut ready = None;
        loop {
            let page =
                self.store.run_items(&self.tenant.id, &run.id, &open, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.subscription.clone(), last.cycle));
            let (pages, together) = self.cut_page(page).await?;
            for page in pages {
                // While the drafts of one page are written, the next one is computed; but not
                // where each page must see what the one before it is about to use.
                let (ahead, computed) = if together {
                    let computing = self.compute_page(books, page, options);
                    let (ahead, computed) =
                        tokio::join!(self.write_page(&run, ready.take(), progress), computing);
                    (ahead?, computed?)
                } else {
                    let ahead = self.write_page(&run, ready.take(), progress).await?;
                    (ahead, self.compute_page(books, page, options).await?)
                };
                if let Some(ahead) = ahead {
                    return Ok(ahead);
                }
                ready = Some(computed);
            }
        }
        if let Some(ahead) = self.write_page(&run, ready, progress).await? {
            return Ok(ahead);
        }
        let next = Run { state: RunState::Review, ..run.clone() };
        let commit = Commit::of(Write::UpdateRun(next.clone()));
        Ok(self.step(&run, &commit).await?.unwrap_or(next))
    }

    /// Writes what a page came to, while the run stands where it stood: what is signed off is not
    /// computed again. Otherwise returns the run as it stands now.
    async fn write_page(
        &self,
        run: &Run,
        computed: Option<Vec<Computed>>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<Run>, EngineError> {
        let Some(computed) = computed else { return Ok(None) };
        let count = computed.len() as u64;
        let mut commit = Commit::of(Write::UpdateRun(run.clone()));
        let mut items = Vec::with_capacity(computed.len());
        for Computed { item, draft, orphan } in computed {
            match (draft, orphan) {
                (Some(draft), _) => commit.writes.push(Write::PutDraft(draft)),
                (None, Some(orphan)) => commit.writes.push(Write::DropDraft(orphan)),
                (None, None) => {}
            }
            items.push(item);
        }
        commit.writes.push(Write::PutRunItems(items));
        let ahead = self.step(run, &commit).await?;
        if ahead.is_none() {
            progress(count);
        }
        Ok(ahead)
    }

    /// What a run of the month would come to. Nothing is written.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn dry_run(
        &self,
        month: &Month,
        options: &RunOptions,
    ) -> Result<Manifest, EngineError> {
        let books = Arc::new(self.books().await?);
        let runs = self.store.runs(&self.tenant.id).await?;
        let done = runs.iter().filter(|run| run.period == month.label()).count();
        let run = Run {
            id: RunId::derive(&[self.tenant.id.as_str(), month.label(), "dry"]),
            period: month.label().to_owned(),
            // An attempt after the first leaves out what is finalized.
            attempt: u32::try_from(done).unwrap_or(u32::MAX).saturating_add(1),
            state: RunState::Computing,
            started_at: self.now(),
            approved_by: None,
            approved_at: None,
            finalized_at: None,
        };
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let page =
                self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            let customers = self.customers_of(&page).await?;
            let mut planned = Vec::new();
            for subscription in page {
                let customer = customers.get(&subscription.customer).cloned();
                planned.extend(self.items_of(&books, &run, subscription, customer).await?);
            }
            let computed = self.compute_page(&books, planned, options).await?;
            items.extend(computed.into_iter().map(|computed| computed.item));
        }
        manifest_of(run, items)
    }

    async fn compute_page(
        &self,
        books: &Arc<Books>,
        page: Vec<RunItem>,
        options: &RunOptions,
    ) -> Result<Vec<Computed>, EngineError> {
        let views = Arc::new(self.read_page(books, &page).await?);
        let options = Arc::new(options.clone());
        let mut tasks = tokio::task::JoinSet::new();
        let mut waiting = page.into_iter();
        let mut computed = Vec::new();
        loop {
            while tasks.len() < AT_ONCE
                && let Some(item) = waiting.next()
            {
                let (engine, books) = (self.clone(), books.clone());
                let (views, options) = (views.clone(), options.clone());
                tasks.spawn(
                    async move { engine.compute_item(&books, item, &options, &views).await },
                );
            }
            let Some(done) = tasks.join_next().await else { break };
            computed.push(done.map_err(|error| {
                EngineError::refused(format!("computing an account stopped: {error}"))
            })??);
        }
        computed.sort_by(|a, b| {
            (&a.item.subscription, a.item.cycle).cmp(&(&b.item.subscription, b.item.cycle))
        });
        Ok(computed)
    }

    /// Cuts a page so that invoices that may draw on the same grants are drafted one after the
    /// other: each sees what the drafts before it are about to use. Also says whether nothing was
    /// granted, so that the page has nothing to do with the one before it.
    async fn cut_page(&self, page: Vec<RunItem>) -> Result<(Vec<Vec<RunItem>>, bool), EngineError> {
        if !self.has_grants().await? {
            return Ok((vec![page], true));
        }
        let mut free = Vec::new();
        let mut alone = Vec::new();
        let mut granted: HashMap<CustomerId, bool> = HashMap::new();
        for item in page {
            let has = match granted.get(&item.customer) {
                Some(has) => *has,
                None => {
                    let filter = AccountFilter {
                        prefix: "grant/".to_owned(),
                        customer: Some(item.customer.clone()),
                        open: true,
                    };
                    let open = self.store.accounts(&self.tenant.id, &filter, None, 1).await?;
                    granted.insert(item.customer.clone(), !open.is_empty());
                    !open.is_empty()
                }
            };
            if has { alone.push(vec![item]) } else { free.push(item) }
        }
        let mut pages = vec![free];
        pages.extend(alone);
        pages.retain(|page| !page.is_empty());
        Ok((pages, false))
    }

    /// Computes one item. Only what may pass by itself is an error; what is wrong with the
    /// account is its status and reason.
    async fn compute_item(
        &self,
        books: &Books,
        item: RunItem,
        options: &RunOptions,
        views: &Page,
    ) -> Result<Computed, EngineError> {
        let orphan = item.invoice;
        match self.try_compute(books, &item, views).await {
            Ok((Outcome::Invoice(body), before)) => {
                let draft = Invoice::draft(*body)?;
                let total = draft.body.total;
                let objection = options
                    .bounds
                    .objection(total, before)
                    .filter(|_| !options.accept.contains(&item.subscription));
                let status =
                    if objection.is_some() { ItemStatus::Parked } else { ItemStatus::Done };
                let item = RunItem {
                    status,
                    reason: objection,
                    invoice: Some(draft.id),
                    total: Some(total),
                    before,
                    ..item
                };
                Ok(Computed { item, draft: Some(Box::new(draft)), orphan: None })
            }
            Ok((Outcome::Nothing(reason), before)) => Ok(Computed {
                item: RunItem {
                    status: ItemStatus::Skipped,
                    reason: Some(reason.to_owned()),
                    invoice: None,
                    total: None,
                    before,
                    ..item
                },
                draft: None,
                orphan,
            }),
            Ok((Outcome::Moved, _)) => Ok(Computed {
                item: RunItem {
                    status: ItemStatus::Failed,
                    reason: Some(
                        "usage kept changing while it was read; resume the run".to_owned(),
                    ),
                    ..item
                },
                draft: None,
                orphan: None,
            }),
            Err(error @ EngineError::Store(_)) => Err(error),
            Err(error) => Ok(Computed {
                item: RunItem {
                    status: ItemStatus::Parked,
                    reason: Some(error.to_string()),
                    invoice: None,
                    total: None,
                    ..item
                },
                draft: None,
                orphan,
            }),
        }
    }

    async fn try_compute(
        &self,
        books: &Books,
        item: &RunItem,
        page: &Page,
    ) -> Result<(Outcome, Option<counterfoil_types::Money>), EngineError> {
        let account = match page.account(&item.subscription) {
            Some(account) => account,
            None => {
                let subscription = self.subscription(&item.subscription).await?;
                self.account(books, subscription).await?
            }
        };
        let Some(cycle) = account.cycles.cycle(item.cycle)? else {
            return Ok((Outcome::Nothing("the subscription has ended"), None));
        };
        let before = match item.cycle.checked_sub(1) {
            Some(number) => self.summaries(page, &item.subscription, number).await?,
            None => Vec::new(),
        };
        let last = billed(&before);
        let corrects = account.corrects(&cycle)?;
        let settled = if corrects { self.settled(&account, item.cycle, page).await? } else { None };
        let parts = self.summaries(page, &item.subscription, item.cycle).await?;
        let has_parts = parts.iter().any(|part| part.part > 0);
        let meters: Vec<&Meter> = books.meters().values().collect();
        let lane = self.tenant.lane_of(&account.customer.id);
        let mut view = page.lanes.get(&lane).cloned();
        for _ in 0..TRIES {
            let current = match view.take() {
                Some(view) => view,
                None => self.lane_view(lane).await?,
            };
            let until = cycle.closes.map_or(cycle.at, |closes| closes.start);
            let changed = match settled {
                _ if !corrects => false,
                _ if !account.subscription.is_plain() => true,
                // The first closing beside its opening: nothing was billed before.
                _ if item.cycle == 1 && account.opens_in_the_run_of(&cycle)? => false,
                None => true,
                Some(position) => {
                    let customer = &account.customer.id;
                    current.is_behind(&meters)
                        || self.touched(page, lane, customer, until, position).await?
                }
            };
            let job = Job::regular(cycle);
            let known = self.known(&account, &job, changed || has_parts, page.grants).await?;
            let outcome = self.compute(books, &account, &cycle, &known, As::Of(&current)).await?;
            if !matches!(outcome, Outcome::Moved) {
                return Ok((outcome, last.map(|last| last.total)));
            }
        }
        Ok((Outcome::Moved, last.map(|last| last.total)))
    }

    /// Position up to which the invoices of the run before looked at all earlier periods; `None`
    /// when one of them is missing, so that nobody can tell.
    async fn settled(
        &self,
        account: &Account,
        cycle: CycleNumber,
        page: &Page,
    ) -> Result<Option<u64>, EngineError> {
        let mut least: Option<u64> = None;
        let mut number = cycle.saturating_sub(1);
        let month = account.run_month(number)?;
        while number > 0 && account.run_month(number)? == month {
            let found = self.summaries(page, &account.subscription.id, number).await?;
            let Some(position) = billed(&found).map(|summary| summary.position) else {
                return Ok(None);
            };
            least = Some(least.map_or(position, |least| least.min(position)));
            number -= 1;
        }
        Ok(least)
    }
}
