//! What usage in a range adds to the bill: for each billing period that the range meets, what its
//! charges come to with all usage up to the end of the range, less what they come to with all usage
//! up to its beginning. So costs of days add up to the cost of the month, and tiers and included
//! units count from the beginning of the billing period.
//!
//! It is the price of usage alone: before granted units, minimums, maximums and discounts of the
//! plan, prepaid credit and tax. A minimum of the charge itself counts at the end of the period.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_invoicing::{Customer, LineKind, Subscription};
use counterfoil_ledger::LaneId;
use counterfoil_store::UsageWanted;
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, Timestamp};

use crate::{
    Books, Engine, EngineError,
    contract::{Account, Span, spans},
    draft::{As, Bill, Scope},
    usage::{LaneView, wanted_over},
};

/// How often a reading starts over because the projector moved.
const TRIES: usize = 16;

/// Costs by meter, of each step between two cuts.
pub(super) type Costs = Vec<BTreeMap<MeterKey, Exact>>;

/// The accounts of a customer.
pub(super) fn accounts_of(
    books: &Books,
    customer: &Customer,
    subscriptions: Vec<Subscription>,
) -> Result<Vec<Account>, EngineError> {
    let of = |one| Account::new(books, customer.clone(), one);
    subscriptions.into_iter().map(of).collect()
}

/// The billing periods of an account that meet a range: number, period, full period.
fn periods(account: &Account, range: &Period) -> Result<Vec<(Period, Period)>, EngineError> {
    let mut found = Vec::new();
    let at = range.start.max(account.cycles.start());
    let Some(mut number) = account.cycles.period_at(at)? else { return Ok(found) };
    while let Some((period, full)) = account.cycles.period(number)? {
        if period.start >= range.end {
            break;
        }
        if !account.is_free(number)? && !period.intersect(range).is_empty() {
            found.push((period, full));
        }
        number += 1;
    }
    Ok(found)
}

impl Engine {
    /// What usage of an account adds to its bills between each two of `cuts`, which lie in order.
    pub(super) async fn costs(
        &self,
        books: &Books,
        account: &Account,
        cuts: &[Timestamp],
        view: Option<&LaneView>,
    ) -> Result<Costs, EngineError> {
        let mut costs: Costs = vec![BTreeMap::new(); cuts.len().saturating_sub(1)];
        let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return Ok(costs) };
        for (period, full) in periods(account, &Period::new(*first, *last))? {
            let mut before: BTreeMap<MeterKey, Exact> = BTreeMap::new();
            if period.start < *first {
                before = self.come_to(books, account, (period, full), *first, view).await?;
            }
            for (step, ends) in cuts.windows(2).enumerate() {
                let &[from, to] = ends else { continue };
                let until = to.min(period.end);
                if from >= period.end || until <= period.start {
                    continue;
                }
                let now = self.come_to(books, account, (period, full), until, view).await?;
                let Some(slot) = costs.get_mut(step) else { continue };
                for (meter, cost) in &now {
                    let more = before.get(meter).map_or_else(|| cost.clone(), |b| cost.sub(b));
                    let sum = slot.entry(meter.clone()).or_insert(Exact::ZERO);
                    *sum = sum.add(&more);
                }
                before = now;
            }
        }
        Ok(costs)
    }

    /// What the charges of a billing period come to with usage up to `until`, by meter.
    async fn come_to(
        &self,
        books: &Books,
        account: &Account,
        (period, full): (Period, Period),
        until: Timestamp,
        view: Option<&LaneView>,
    ) -> Result<BTreeMap<MeterKey, Exact>, EngineError> {
        let read = Period::new(period.start, until);
        let segments = account.segments(books, period)?;
        let whole: Vec<Span> = spans(&segments)
            .into_iter()
            .filter(|span| span.charge().is_some_and(|charge| charge.is_metered()))
            .filter(|span| !span.period.intersect(&read).is_empty())
            .collect();
        let cut: Vec<Span> = whole
            .iter()
            .map(|span| Span { period: span.period.intersect(&read), ..span.clone() })
            .collect();
        let lane = self.tenant.lane_of(&account.customer.id);
        let mut usage = None;
        for attempt in 0..TRIES {
            let scope = Scope::default();
            usage = match view.filter(|_| attempt == 0) {
                Some(view) => self.span_usage(books, account, &cut, &scope, As::Of(view)).await?,
                None => {
                    let view = self.lane_view(lane).await?;
                    self.span_usage(books, account, &cut, &scope, As::Of(&view)).await?
                }
            };
            if usage.is_some() {
                break;
            }
        }
        let usage = usage.ok_or_else(|| {
            EngineError::refused("usage kept changing while it was read; ask again")
        })?;
        let mut costs: BTreeMap<MeterKey, Exact> = BTreeMap::new();
        for (span, metered) in whole.iter().zip(usage.by_span) {
            let (Some(charge), Some(metered)) = (span.charge(), metered) else { continue };
            let Some(meter) = &charge.meter else { continue };
            // Bounds and fractions are those of the whole stretch, as its invoice will have them.
            let bill = Bill { kind: LineKind::Usage, span, full, once: false };
            let line = bill.rated(account, &metered.usage, until < span.period.end)?;
            let sum = costs.entry(meter.clone()).or_insert(Exact::ZERO);
            *sum = sum.add(&line.amount.exact());
        }
        Ok(costs)
    }

    /// Where the lanes of some accounts stand, with what a report over `range` will read of them:
    /// the range itself, and each billing period up to its end or the range's.
    pub(super) async fn views_for(
        &self,
        books: &Books,
        customers: &[(Period, &Customer, &[Account])],
    ) -> Result<HashMap<LaneId, LaneView>, EngineError> {
        let mut wanted: HashMap<LaneId, HashSet<(CustomerId, Period)>> = HashMap::new();
        for (range, customer, accounts) in customers {
            let of_lane = wanted.entry(self.tenant.lane_of(&customer.id)).or_default();
            of_lane.insert((customer.id.clone(), *range));
            for account in *accounts {
                for (period, _) in periods(account, range)? {
                    let until = range.end.min(period.end);
                    of_lane.insert((customer.id.clone(), Period::new(period.start, until)));
                }
            }
        }
        let keys: Vec<MeterKey> = books.meters().keys().cloned().collect();
        let mut views = HashMap::new();
        for (lane, wanted) in wanted {
            let view = self.lane_view(lane).await?;
            let mut wanted: Vec<(CustomerId, Period)> = wanted.into_iter().collect();
            wanted.sort_unstable();
            let wanted: Vec<UsageWanted> =
                wanted.into_iter().map(|(customer, part)| wanted_over(customer, &part)).collect();
            let read = self.store.usage_among(lane, &keys, &wanted).await?;
            views.insert(lane, view.with_usage(wanted, read).unwrap_or(view));
        }
        Ok(views)
    }
}
