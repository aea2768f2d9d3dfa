//! What computing a page of a run reads, read for the whole page at once: a run over a network costs
//! a few round trips a page, not nine an invoice.
//!
//! It changes cost, never the outcome. Customers, subscriptions and summaries are what each account
//! would have read a moment later. Usage is kept with where its lane stood, and only if no projector
//! moved while it was read; what is not kept is read when it is asked for, one account at a time.

use std::collections::{HashMap, HashSet};

use counterfoil_invoicing::{
    Customer, InvoiceState, RunItem, Subscription,
    cycle::{Cycle, CycleNumber},
};
use counterfoil_ledger::LaneId;
use counterfoil_metering::Meter;
use counterfoil_store::{InvoiceSummary, TouchWanted};
use counterfoil_types::{CustomerId, MeterKey, Period, SubscriptionId, Timestamp};

use crate::{
    Books, Engine, EngineError,
    draft::Account,
    usage::{LaneView, wanted_over},
};

/// How things stood when a page was begun.
#[derive(Default)]
pub(super) struct Page {
    /// Where lanes stand, with the usage kept.
    pub(super) lanes: HashMap<LaneId, LaneView>,
    /// Whether anything was ever granted.
    pub(super) grants: bool,
    accounts: HashMap<SubscriptionId, Account>,
    summaries: HashMap<(SubscriptionId, CycleNumber), Vec<InvoiceSummary>>,
    touched: HashMap<(CustomerId, Timestamp, u64), bool>,
}

impl Page {
    /// The account of a subscription, where all of it is there.
    pub(super) fn account(&self, id: &SubscriptionId) -> Option<Account> {
        self.accounts.get(id).cloned()
    }
}

/// The invoice among the revisions of a cycle that stands.
pub(super) fn billed(revisions: &[InvoiceSummary]) -> Option<&InvoiceSummary> {
    let stands = |summary: &&InvoiceSummary| {
        summary.part == 0 && !matches!(summary.state, InvoiceState::Draft | InvoiceState::Void)
    };
    revisions.iter().rev().find(stands)
}

impl Engine {
    /// Reads what a page needs.
    pub(super) async fn read_page(
        &self,
        books: &Books,
        items: &[RunItem],
    ) -> Result<Page, EngineError> {
        let mut page = Page { grants: self.has_grants().await?, ..Page::default() };
        page.accounts = self.page_accounts(books, items).await?;
        page.summaries = self.summaries_of(items).await?;
        let mut progress: HashMap<LaneId, Vec<(MeterKey, u64)>> = HashMap::new();
        let heads = self.store.heads(&self.tenant).await?;
        for head in &heads {
            progress.insert(head.lane, self.store.progress(head.lane).await?);
        }
        for head in heads {
            let progress = progress.remove(&head.lane).unwrap_or_default();
            page.lanes.insert(head.lane, LaneView::new(head.lane, head.position, progress));
        }
        let mut due: Vec<(&Account, Cycle)> = Vec::with_capacity(items.len());
        for item in items {
            // What cannot be computed is told by the account itself, later.
            if let Some(account) = page.accounts.get(&item.subscription)
                && let Ok(Some(cycle)) = account.cycles.cycle(item.cycle)
            {
                due.push((account, cycle));
            }
        }
        let usage = self.keep_usage(books, &page.lanes, &due).await?;
        page.touched = self.touched_of(books, &page, &due).await?;
        page.lanes.extend(usage);
        Ok(page)
    }

    async fn page_accounts(
        &self,
        books: &Books,
        items: &[RunItem],
    ) -> Result<HashMap<SubscriptionId, Account>, EngineError> {
        let mut ids: Vec<SubscriptionId> =
            items.iter().map(|item| item.subscription.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let subscriptions = self.store.subscriptions_named(&self.tenant.id, &ids).await?;
        let customers = self.customers_of(&subscriptions).await?;
        let mut accounts = HashMap::with_capacity(subscriptions.len());
        for subscription in subscriptions {
            let Some(customer) = customers.get(&subscription.customer) else { continue };
            if let Ok(account) = Account::new(books, customer.clone(), subscription) {
                accounts.insert(account.subscription.id.clone(), account);
            }
        }
        Ok(accounts)
    }

    /// The customers of some subscriptions.
    pub(super) async fn customers_of(
        &self,
        subscriptions: &[Subscription],
    ) -> Result<HashMap<CustomerId, Customer>, EngineError> {
        let wanted = subscriptions.iter().map(|subscription| &subscription.customer);
        self.customers_named(wanted).await
    }

    /// Those of these customers that exist.
    pub(super) async fn customers_named<'a>(
        &self,
        ids: impl Iterator<Item = &'a CustomerId>,
    ) -> Result<HashMap<CustomerId, Customer>, EngineError> {
        let ids: HashSet<&CustomerId> = ids.collect();
        let mut ids: Vec<CustomerId> = ids.into_iter().cloned().collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.store.customers_named(&self.tenant.id, &ids).await?;
        Ok(found.into_iter().map(|customer| (customer.id.clone(), customer)).collect())
    }

    /// Summaries of each item's cycle and the one before it, all those that exist and those that do
    /// not.
    async fn summaries_of(
        &self,
        items: &[RunItem],
    ) -> Result<HashMap<(SubscriptionId, CycleNumber), Vec<InvoiceSummary>>, EngineError> {
        let mut found = HashMap::with_capacity(items.len() * 2);
        for item in items {
            for cycle in item.cycle.saturating_sub(1)..=item.cycle {
                found.insert((item.subscription.clone(), cycle), Vec::new());
            }
        }
        let mut cycles: Vec<(SubscriptionId, CycleNumber)> = found.keys().cloned().collect();
        cycles.sort_unstable();
        for summary in self.store.summaries_among(&self.tenant.id, &cycles).await? {
            let place = (summary.subscription.clone(), summary.cycle);
            found.entry(place).or_default().push(summary);
        }
        Ok(found)
    }

    /// Reads the usage of the periods that the page closes. A lane that was projected since it was
    /// looked at keeps nothing.
    async fn keep_usage(
        &self,
        books: &Books,
        lanes: &HashMap<LaneId, LaneView>,
        due: &[(&Account, Cycle)],
    ) -> Result<Vec<(LaneId, LaneView)>, EngineError> {
        let meters: Vec<MeterKey> = books.meters().keys().cloned().collect();
        let mut wanted: HashMap<LaneId, HashSet<(CustomerId, Period)>> = HashMap::new();
        for (account, cycle) in due {
            if let Some(period) = cycle.closes {
                let customer = &account.customer.id;
                let of_lane = wanted.entry(self.tenant.lane_of(customer)).or_default();
                of_lane.insert((customer.clone(), period));
            }
        }
        let mut kept = Vec::with_capacity(wanted.len());
        for (lane, wanted) in wanted {
            let Some(view) = lanes.get(&lane) else { continue };
            let mut wanted: Vec<(CustomerId, Period)> = wanted.into_iter().collect();
            wanted.sort_unstable();
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(customer, period)| wanted_over(customer, &period))
                .collect();
            let read = self.store.usage_among(lane, &meters, &wanted).await?;
            if let Some(view) = view.with_usage(wanted, read) {
                kept.push((lane, view));
            }
        }
        Ok(kept)
    }

    /// Asks for all accounts that will want to know whether earlier periods were touched.
    async fn touched_of(
        &self,
        books: &Books,
        page: &Page,
        due: &[(&Account, Cycle)],
    ) -> Result<HashMap<(CustomerId, Timestamp, u64), bool>, EngineError> {
        let meters: Vec<&Meter> = books.meters().values().collect();
        let mut wanted: HashMap<LaneId, Vec<TouchWanted>> = HashMap::new();
        for (account, cycle) in due {
            let lane = self.tenant.lane_of(&account.customer.id);
            let behind = page.lanes.get(&lane).is_none_or(|view| view.is_behind(&meters));
            if behind || !account.subscription.is_plain() || !account.corrects(cycle)? {
                continue;
            }
            let before = cycle.number.checked_sub(1);
            let last = before.and_then(|number| {
                billed(page.summaries.get(&(account.subscription.id.clone(), number))?)
            });
            if let Some(last) = last {
                let customer = account.customer.id.clone();
                let until = cycle.closes.map_or(cycle.at, |closes| closes.start);
                let want = TouchWanted { customer, before: until, after: last.position };
                wanted.entry(lane).or_default().push(want);
            }
        }
        let mut touched = HashMap::new();
        for (lane, wanted) in wanted {
            let found = self.store.touched_among(lane, &wanted).await?;
            for (want, is) in wanted.into_iter().zip(found) {
                touched.insert((want.customer, want.before, want.after), is);
            }
        }
        Ok(touched)
    }

    /// The summaries of a cycle.
    pub(super) async fn summaries(
        &self,
        page: &Page,
        subscription: &SubscriptionId,
        cycle: CycleNumber,
    ) -> Result<Vec<InvoiceSummary>, EngineError> {
        match page.summaries.get(&(subscription.clone(), cycle)) {
            Some(known) => Ok(known.clone()),
            None => Ok(self.store.cycle_summaries(&self.tenant.id, subscription, cycle).await?),
        }
    }

    /// Whether anything of a customer before `before` was touched after position `after`.
    pub(super) async fn touched(
        &self,
        page: &Page,
        lane: LaneId,
        customer: &CustomerId,
        before: Timestamp,
        after: u64,
    ) -> Result<bool, EngineError> {
        match page.touched.get(&(customer.clone(), before, after)) {
            Some(known) => Ok(*known),
            None => Ok(self.store.touched_after(lane, customer, before, after).await?),
        }
    }
}
