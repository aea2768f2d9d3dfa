//! Which prefix of a lane may be archived: rows older than the cutoff, projected by all meters,
//! and in no cycle that is still to be billed. The first row that is not ends it.

use std::collections::{BTreeSet, HashMap};

use counterfoil_invoicing::{InvoiceState, Subscription, cycle::CycleNumber};
use counterfoil_ledger::LaneId;
use counterfoil_metering::EVENTS_METER;
use counterfoil_store::{InvoiceFilter, Seal};
use counterfoil_types::{CustomerId, Period, SubscriptionId, Timestamp};
use serde::Serialize;

use super::through::prefix_end;
use crate::{Books, Engine, EngineError, accounts::PAGE, project::CHUNK};

/// What ends the prefix of a lane that may be archived, while older events stand behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// The lane.
    pub lane: i64,
    /// The first row that stays.
    pub position: u64,
    /// Whose it is.
    pub customer: CustomerId,
    /// Why it stays.
    pub reason: String,
}

/// The part of a lane that may go.
pub(crate) struct LanePart {
    pub(crate) first: u64,
    /// Before `first` when nothing may go.
    pub(crate) last: u64,
    pub(crate) held_back: Option<HeldBack>,
}

/// The periods of a customer that are still to be billed, with the reason in words.
type Open = Vec<(Period, String)>;

/// Plans one archiving.
pub(crate) struct Planner<'a> {
    engine: &'a Engine,
    books: Books,
    before: Timestamp,
    open: HashMap<CustomerId, Open>,
}

impl Engine {
    pub(crate) async fn archive_planner(
        &self,
        before: Timestamp,
    ) -> Result<Planner<'_>, EngineError> {
        Ok(Planner { engine: self, books: self.books().await?, before, open: HashMap::new() })
    }
}

impl Planner<'_> {
    pub(crate) async fn lane(&mut self, lane: LaneId) -> Result<LanePart, EngineError> {
        let engine = self.engine;
        let held = engine.held(lane).await?;
        let archived = prefix_end(&held);
        let stored = engine.store.progress(lane).await?;
        let at = |key: &str| {
            stored.iter().find(|(meter, _)| meter.as_str() == key).map_or(0, |(_, at)| *at)
        };
        let meters = self.books.meters().keys().map(|key| at(key.as_str()));
        let projected = meters.fold(at(EVENTS_METER), u64::min);
        let mut part = LanePart { first: archived + 1, last: archived, held_back: None };
        loop {
            let page = engine.store.seals(lane, part.last, u64::MAX >> 1, CHUNK).await?;
            if page.is_empty() {
                return Ok(part);
            }
            for seal in page {
                if let Some(reason) = self.reason(&seal, projected).await? {
                    // A row that is too young holds nothing back unless older ones follow it.
                    let young = seal.time() >= self.before;
                    if !young || self.older_follow(lane, seal.position).await? {
                        let Seal { position, customer, .. } = seal;
                        part.held_back =
                            Some(HeldBack { lane: lane.0, position, customer, reason });
                    }
                    return Ok(part);
                }
                part.last = seal.position;
            }
        }
    }

    /// Why a row stays.
    async fn reason(&mut self, seal: &Seal, projected: u64) -> Result<Option<String>, EngineError> {
        let time = seal.time();
        if time >= self.before {
            return Ok(Some(format!("its time {time} is not before {}", self.before)));
        }
        if seal.position > projected {
            return Ok(Some(format!("the lane is projected up to position {projected} only")));
        }
        if !self.open.contains_key(&seal.customer) {
            let open = self.open_periods(&seal.customer).await?;
            self.open.insert(seal.customer.clone(), open);
        }
        let mut open = self.open.get(&seal.customer).into_iter().flatten();
        Ok(open.find(|(period, _)| period.contains(time)).map(|(_, reason)| reason.clone()))
    }

    /// Whether events before the cutoff stand among the rows that follow.
    async fn older_follow(&self, lane: LaneId, position: u64) -> Result<bool, EngineError> {
        // One page tells enough: this is for information only.
        let page = self.engine.store.seals(lane, position, u64::MAX >> 1, CHUNK).await?;
        Ok(page.iter().any(|seal| seal.time() < self.before))
    }

    /// The periods that begin before the cutoff and whose closing invoice is not finalized. An
    /// invoice that was withdrawn counts: withdrawing is a decision.
    async fn open_periods(&self, customer: &CustomerId) -> Result<Open, EngineError> {
        let engine = self.engine;
        let mut open = Open::new();
        if engine.store.customer(&engine.tenant.id, customer).await?.is_none() {
            return Ok(open);
        }
        let closed = self.closed_cycles(customer).await?;
        for subscription in engine.subscriptions_of(customer).await? {
            let name = subscription.id.clone();
            match self.open_of(subscription, &closed).await {
                Ok(periods) => open.extend(periods.into_iter().map(|period| {
                    let reason =
                        format!("subscription {name} is not invoiced for {period}; bill it first");
                    (period, reason)
                })),
                Err(EngineError::Store(error)) => return Err(error.into()),
                // One contract that cannot be read holds its own events back, not the archiving.
                Err(error) => {
                    let always = Period::new(Timestamp::MIN, Timestamp::MAX);
                    open.push((always, format!("subscription {name} cannot be read: {error}")));
                }
            }
        }
        Ok(open)
    }

    async fn open_of(
        &self,
        subscription: Subscription,
        closed: &BTreeSet<(SubscriptionId, CycleNumber)>,
    ) -> Result<Vec<Period>, EngineError> {
        let name = subscription.id.clone();
        let account = self.engine.account(&self.books, subscription).await?;
        let mut open = Vec::new();
        let mut number: CycleNumber = 0;
        while let Some((period, _)) = account.cycles.period(number)? {
            if period.start >= self.before {
                break;
            }
            number += 1;
            if !closed.contains(&(name.clone(), number)) {
                open.push(period);
            }
        }
        Ok(open)
    }

    async fn closed_cycles(
        &self,
        customer: &CustomerId,
    ) -> Result<BTreeSet<(SubscriptionId, CycleNumber)>, EngineError> {
        let filter = InvoiceFilter { customer: Some(customer.clone()), ..InvoiceFilter::default() };
        let (store, tenant) = (&self.engine.store, &self.engine.tenant.id);
        let mut closed = BTreeSet::new();
        let mut after = None;
        loop {
            let page = store.invoices(tenant, &filter, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(closed) };
            after = Some((last.due_cycle_at, last.id));
            let finalized = page.into_iter().filter(|invoice| {
                // A part that was billed before the cycle closed does not close it.
                invoice.state != InvoiceState::Draft && invoice.part == 0
            });
            closed.extend(finalized.map(|invoice| (invoice.subscription, invoice.cycle)));
        }
    }
}
