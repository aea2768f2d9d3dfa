//! Deciding on uses of several customers, in order, and appending what is allowed in one step.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use counterfoil_ledger::{Event, Receipt};
use counterfoil_metering::{Measured, Measurement, measure};
use counterfoil_rating::quota::QuotaWindow;
use counterfoil_store::{Pending, Seen};
use counterfoil_types::{CustomerId, Exact, Period, Timestamp};

use super::{Quota, QuotaState, consume::Use, tally::Tally};
use crate::{Engine, EngineError};

/// How often a decision is taken again because a customer's usage moved meanwhile.
const TRIES: usize = 64;

/// What was decided on a use.
pub(super) type Decision = Result<Decided, Arc<EngineError>>;

/// See [`Decision`].
pub(super) struct Decided {
    /// The receipt; absent when a quota denied the use and nothing was stored.
    pub(super) receipt: Option<Receipt>,
    /// The quotas that the use counts for, after it.
    pub(super) quotas: Vec<QuotaState>,
}

/// The quotas an event counts for, each with its window and the value.
type Counted<'a> = (&'a Quota, Period, Exact);

/// What is known of one customer while a group is decided on.
#[derive(Default)]
struct Account {
    tally: Option<Tally>,
    /// Uses allowed in this round, which no reading of the store shows.
    applied: Vec<(Event, Timestamp)>,
    /// Whether the tally was read in this round.
    read: bool,
    /// Whether an event was corrected in this round: what that comes to shows when it is stored.
    corrected: bool,
    /// Whether a use waits for the next round, and with it all that follows it.
    waits: bool,
}

/// One round of deciding.
#[derive(Default)]
struct Round {
    accounts: BTreeMap<CustomerId, Account>,
    allowed: Vec<(usize, Vec<QuotaState>)>,
    denied: Vec<(usize, Vec<QuotaState>)>,
}

impl Engine {
    /// Decides on uses, in order, and appends what is allowed.
    pub(super) async fn decide_all(&self, wanted: &[Use]) -> Vec<Decision> {
        let mut done: Vec<Option<Decision>> = wanted.iter().map(|_| None).collect();
        let (mut tries, mut left) = (0, wanted.len());
        while tries < TRIES {
            let open: Vec<usize> =
                (0..wanted.len()).filter(|at| done.get(*at).is_some_and(Option::is_none)).collect();
            if open.is_empty() {
                break;
            }
            // Only rounds that settled nothing are tries in vain.
            tries = if open.len() < left { 0 } else { tries + 1 };
            left = open.len();
            self.round(wanted, &open, &mut done).await;
        }
        let moved = || EngineError::refused("usage kept changing meanwhile; consume again");
        done.into_iter().map(|slot| slot.unwrap_or_else(|| Err(Arc::new(moved())))).collect()
    }

    async fn round(&self, wanted: &[Use], open: &[usize], done: &mut [Option<Decision>]) {
        let mut round = Round::default();
        let mut settle = |at: usize, decision: Decision| {
            if let Some(slot) = done.get_mut(at) {
                *slot = Some(decision);
            }
        };
        for at in open {
            let Some(wanted) = wanted.get(*at) else { continue };
            // What goes wrong for one customer is no matter of the others.
            if let Err(error) = self.weigh(wanted, *at, &mut round).await {
                settle(*at, Err(Arc::new(error)));
            }
        }
        let Round { mut accounts, allowed, denied } = round;
        let pending = |at: &usize| wanted.get(*at).map(|wanted| &wanted.pending);
        let batch: Vec<Pending> =
            allowed.iter().filter_map(|(at, _)| pending(at).cloned()).collect();
        let seen: Vec<Seen> = batch
            .iter()
            .map(|pending| (&pending.event.customer, pending.lane))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter_map(|(customer, lane)| {
                let position = accounts.get(customer)?.tally.as_ref()?.position;
                Some(Seen { customer: customer.clone(), lane, position })
            })
            .collect();
        let receipts = if batch.is_empty() {
            Ok(Vec::new())
        } else {
            self.store.append_after(&self.tenant, &batch, self.now(), &seen).await
        };
        let receipts = match receipts {
            Ok(receipts) => receipts,
            Err(error) => {
                // Whether it took effect is unknown: nothing that was counted is kept.
                let error = Arc::new(EngineError::from(error));
                accounts.keys().for_each(|customer| self.tallies.forget(customer));
                for at in open {
                    settle(*at, Err(Arc::clone(&error)));
                }
                return;
            }
        };
        self.memory.forget_usage(batch.iter().map(|pending| &pending.event.customer));
        // The last position of each customer, and those whose uses did not all become new rows.
        let mut last: HashMap<CustomerId, u64> = HashMap::new();
        let mut unclean: BTreeSet<CustomerId> = BTreeSet::new();
        for ((at, quotas), receipt) in allowed.into_iter().zip(receipts) {
            let Some(Pending { event, .. }) = pending(&at) else { continue };
            match &receipt {
                Some(Receipt::Inserted { position, .. }) => {
                    last.insert(event.customer.clone(), *position);
                }
                _ => {
                    unclean.insert(event.customer.clone());
                }
            }
            if let Some(receipt) = receipt {
                settle(at, Ok(Decided { receipt: Some(receipt), quotas }));
            }
        }
        for (at, quotas) in denied {
            // Something that was counted turned out to be stored before, or usage moved: there
            // may be room.
            let customer = pending(&at).map(|pending| &pending.event.customer);
            if customer.is_some_and(|customer| !unclean.contains(customer)) {
                settle(at, Ok(Decided { receipt: None, quotas }));
            }
        }
        unclean.iter().for_each(|customer| self.tallies.forget(customer));
        accounts.retain(|customer, _| !unclean.contains(customer));
        let now = self.clock.now();
        for (customer, account) in accounts {
            let Some(tally) = account.tally else { continue };
            let lane = self.tenant.lane_of(&customer);
            self.tallies.confirm(&customer, lane, tally, last.get(&customer).copied(), now);
        }
    }

    /// Decides on one use.
    async fn weigh(&self, wanted: &Use, at: usize, round: &mut Round) -> Result<(), EngineError> {
        let event = &wanted.pending.event;
        let (counted, time) = self.counted(&wanted.quotas, event)?;
        let account = match round.accounts.entry(event.customer.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let tally = self.tallies.of(&event.customer, wanted.pending.lane);
                entry.insert(Account { tally, ..Account::default() })
            }
        };
        let corrects = event.correction.is_some();
        account.waits |= account.corrected && !corrects;
        if account.waits {
            return Ok(());
        }
        account.corrected |= corrects;
        loop {
            let states = self.stands(&event.customer, account, &counted).await?;
            if states.iter().all(|state| state.verdict.is_allowed()) {
                if let Some(tally) = &mut account.tally {
                    tally.count(event, time);
                }
                account.applied.push((event.clone(), time));
                round.allowed.push((at, states));
                return Ok(());
            }
            let now = self.clock.now();
            let recent = account.tally.as_ref().is_none_or(|tally| tally.may_deny(now));
            if account.read || recent || !account.applied.is_empty() {
                round.denied.push((at, states));
                return Ok(());
            }
            // Not on what may be different by now.
            account.tally = None;
        }
    }

    /// How the quotas would stand after a use.
    async fn stands(
        &self,
        customer: &CustomerId,
        account: &mut Account,
        counted: &[Counted<'_>],
    ) -> Result<Vec<QuotaState>, EngineError> {
        let mut states = Vec::with_capacity(counted.len());
        for (quota, window, value) in counted {
            let known = account.tally.as_ref().and_then(|tally| tally.used(quota, *window));
            let before = match known {
                Some(before) => before.clone(),
                None => self.read_into(customer, account, quota, *window).await?,
            };
            let limits = self.limits(customer, quota, *window).await?;
            let after = quota.after(&before, value);
            let verdict = limits.verdict(&before, &after);
            let stands = if verdict.is_allowed() { after } else { before };
            states.push(quota.state(&limits, stands, verdict, *window));
        }
        Ok(states)
    }

    /// Reads a total into the tally, and counts what was allowed since in this round.
    async fn read_into(
        &self,
        customer: &CustomerId,
        account: &mut Account,
        quota: &Quota,
        window: Period,
    ) -> Result<Exact, EngineError> {
        let now = self.clock.now();
        let usage = self.usage(customer, window, &[&quota.meter]).await?;
        let mut alone = Tally::new(usage.position, now);
        alone.put(quota, window, usage.position, usage.total(&quota.meter)?);
        for (event, time) in &account.applied {
            alone.count(event, *time);
        }
        let value = alone.used(quota, window).cloned().unwrap_or(Exact::ZERO);
        match &mut account.tally {
            Some(tally) => tally.put(quota, window, usage.position, value.clone()),
            None => {
                account.read = true;
                account.tally = Some(alone);
            }
        }
        Ok(value)
    }

    /// Reads what a use will need before its turn, so that others need not wait for it.
    pub(super) async fn warm(&self, wanted: &Use) -> Result<(), EngineError> {
        let (customer, lane) = (&wanted.pending.event.customer, wanted.pending.lane);
        let (counted, _) = self.counted(&wanted.quotas, &wanted.pending.event)?;
        let windows: Vec<(&Quota, Period)> = counted
            .iter()
            .filter(|(quota, ..)| quota.spec.window != QuotaWindow::Rolling)
            .map(|(quota, window, _)| (*quota, *window))
            .collect();
        if windows.is_empty() || self.tallies.has(customer, lane, &windows) {
            return Ok(());
        }
        for (quota, window) in windows {
            let now = self.clock.now();
            let usage = self.usage(customer, window, &[&quota.meter]).await?;
            let read = (usage.position, usage.total(&quota.meter)?);
            self.tallies.offer(customer, quota, window, read, now);
        }
        Ok(())
    }

    /// The quotas an event counts for, and the time it counts at.
    fn counted<'a>(
        &self,
        quotas: &'a [Quota],
        event: &Event,
    ) -> Result<(Vec<Counted<'a>>, Timestamp), EngineError> {
        let at = event.time.unwrap_or_else(|| self.now_of(&event.customer));
        let mut counted = Vec::new();
        // A correction takes usage back or restates it; it is not a use.
        if event.correction.is_some() {
            return Ok((counted, at));
        }
        for quota in quotas {
            let Measurement::Value { value: Measured::Number(value), .. } =
                measure(&quota.meter, event)
            else {
                continue;
            };
            if let Some(window) = quota.window_at(at)? {
                counted.push((quota, window, value));
            }
        }
        Ok((counted, at))
    }
}
