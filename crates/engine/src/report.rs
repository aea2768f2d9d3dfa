//! What a customer sees: used, included, remaining, overage and cost so far, per charge.

use counterfoil_invoicing::{Customer, LineKind, invoice::invoice_id};
use counterfoil_ledger::LaneId;
use counterfoil_metering::Meter;
use counterfoil_types::{BookRef, CustomerId, Exact, MeterKey, Money, Period, PlanKey, Timestamp};
use serde::Serialize;

use crate::{
    Engine, EngineError,
    contract::{Span, spans},
    draft::{Account, As, Bill, Scope},
};

/// How often a reading starts over because the projector moved.
const TRIES: usize = 16;

/// Usage and cost of one charge in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ChargeUsage {
    /// The charge.
    pub charge: String,
    /// Shown to people.
    pub name: String,
    /// The meter.
    pub meter: MeterKey,
    /// Unit of the numbers below.
    pub unit: String,
    /// Used so far.
    pub used: Exact,
    /// Units the plan includes.
    pub included: Exact,
    /// Included units not used yet.
    pub remaining: Exact,
    /// Units above the included ones.
    pub overage: Exact,
    /// Cost so far.
    pub cost: Money,
    /// Events that counted.
    pub events: u64,
}

/// Usage of one subscription in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct SubscriptionUsage {
    /// The subscription.
    pub subscription: String,
    /// Its price book.
    pub book: BookRef,
    /// Its plan.
    pub plan: PlanKey,
    /// The billing period.
    pub period: Period,
    /// Usage up to here was looked at.
    pub until: Timestamp,
    /// Ledger position it is true as of.
    pub position: u64,
    /// By charge.
    pub charges: Vec<ChargeUsage>,
    /// Sum of the costs.
    pub cost: Money,
}

/// The value of one meter over any period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct MeterValue {
    /// The meter.
    pub meter: MeterKey,
    /// Its unit.
    pub unit: String,
    /// Its value.
    pub value: Exact,
    /// By group, for meters with groups.
    pub groups: Vec<(String, Exact)>,
    /// Events that counted.
    pub events: u64,
}

/// A past standing of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Up to this position of the customer's lane.
    Position(u64),
    /// Up to what was recorded by this time.
    Recorded(Timestamp),
}

impl std::str::FromStr for AsOf {
    type Err = EngineError;

    /// A position is a whole number, a recorded time an instant.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text.parse() {
            Ok(position) => Ok(Self::Position(position)),
            Err(_) => Ok(Self::Recorded(text.parse()?)),
        }
    }
}

impl Engine {
    /// The last position of a lane that was recorded by `time`; 0 when none was. Recorded times
    /// never decrease within a lane, so halving finds it.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn position_at(&self, lane: LaneId, time: Timestamp) -> Result<u64, EngineError> {
        let heads = self.store.heads(&self.tenant).await?;
        let head = heads.iter().find(|head| head.lane == lane).map_or(0, |head| head.position);
        let (mut known, mut beyond) = (0, head + 1);
        while beyond - known > 1 {
            let middle = known + (beyond - known) / 2;
            let seal = self.store.seals(lane, middle - 1, middle, 1).await?.pop();
            match seal {
                Some(seal) if seal.recorded_at <= time => known = middle,
                _ => beyond = middle,
            }
        }
        Ok(known)
    }

    /// Usage of a customer in the billing periods that hold `at`, as of the ledger's head, or
    /// (slower, from the ledger alone) as it stood earlier.
    ///
    /// # Errors
    /// When the customer does not exist, or a charge cannot be rated.
    pub async fn current_usage(
        &self,
        customer: &CustomerId,
        at: Timestamp,
        as_of: Option<AsOf>,
    ) -> Result<Vec<SubscriptionUsage>, EngineError> {
        let whose = self.customer(customer).await?;
        let as_of = match as_of {
            Some(AsOf::Position(position)) => {
                let lane = self.tenant.lane_of(customer);
                let head = self.position_at(lane, Timestamp::MAX).await?;
                if position > head {
                    return Err(EngineError::refused(format!(
                        "the customer's lane ends at position {head}, before {position}"
                    )));
                }
                Some(position)
            }
            Some(AsOf::Recorded(time)) => {
                Some(self.position_at(self.tenant.lane_of(customer), time).await?)
            }
            None => None,
        };
        let books = self.recent_books().await?;
        match self.usage_under(&books, &whose, at, as_of).await {
            // A book that another process published a moment ago.
            Err(EngineError::NotFound { .. }) => {
                let books = self.fresh_books().await?;
                self.usage_under(&books, &whose, at, as_of).await
            }
            outcome => outcome,
        }
    }

    async fn usage_under(
        &self,
        books: &crate::Books,
        customer: &Customer,
        at: Timestamp,
        as_of: Option<u64>,
    ) -> Result<Vec<SubscriptionUsage>, EngineError> {
        let mut found = Vec::new();
        for subscription in self.subscriptions_of(&customer.id).await? {
            let account = Account::new(books, customer.clone(), subscription)?;
            if let Some(usage) = self.subscription_usage(books, &account, at, as_of).await? {
                found.push(usage);
            }
        }
        Ok(found)
    }

    async fn subscription_usage(
        &self,
        books: &crate::Books,
        account: &Account,
        at: Timestamp,
        as_of: Option<u64>,
    ) -> Result<Option<SubscriptionUsage>, EngineError> {
        let Some(number) = account.cycles.period_at(at)? else { return Ok(None) };
        let Some((period, full)) = account.cycles.period(number)? else { return Ok(None) };
        let customer = &account.customer;
        // Levels that last count up to now, not to the end of a period that is still open.
        let until = period.end.min(self.now_of(&customer.id)).max(period.start);
        let read = Period::new(period.start, until);
        let segments = account.segments(books, period)?;
        let Some(entry) = segments.iter().rev().find_map(|segment| segment.plans.first()) else {
            return Ok(None);
        };
        let (book, plan) = (entry.book.reference.clone(), entry.plan.key.clone());
        let metered: Vec<Span> = spans(&segments)
            .into_iter()
            .filter(|span| span.charge().is_some_and(|charge| charge.is_metered()))
            .filter(|span| !span.period.intersect(&read).is_empty() || read.is_empty())
            .map(|mut span| {
                // An event whose producer's clock is ahead of ours counts at once all the same.
                let key = span.charge().and_then(|charge| charge.meter.as_ref());
                if key.and_then(|key| books.meters().get(key)).is_none_or(is_level) {
                    span.period = span.period.intersect(&read);
                }
                span
            })
            .collect();
        let lane = self.tenant.lane_of(&customer.id);
        let mut scope = Scope::default();
        if self.has_grants().await? {
            let id = invoice_id(&self.tenant.id, &account.subscription.id, number + 1, 0, 0);
            scope.grants = self.open_grants(&customer.id, id, period, until).await?.units;
        }
        let mut usage = None;
        for _ in 0..TRIES {
            let view = self.lane_view(lane).await?;
            let at = as_of.map_or(As::Of(&view), As::Rebuilt);
            usage = self.span_usage(books, account, &metered, &scope, at).await?;
            if usage.is_some() {
                break;
            }
        }
        let usage = usage.ok_or_else(|| {
            EngineError::refused("usage kept changing while it was read; ask again")
        })?;
        let mut charges = Vec::new();
        let mut cost = Money::zero(customer.currency);
        for (span, found) in metered.iter().zip(usage.by_span) {
            let (Some(charge), Some(found)) = (span.charge(), found) else { continue };
            let Some(meter) = charge.meter.as_ref().and_then(|key| books.meters().get(key)) else {
                continue;
            };
            // Bounds and fractions are those of the whole stretch, as its invoice will have them.
            let stretch = segments_end(&segments, span, period);
            let whole = Span { period: stretch, ..span.clone() };
            let bill = Bill { kind: LineKind::Usage, span: &whole, full, once: false };
            let line = bill.rated(account, &found.usage, false)?;
            let included = charge.preparation.included.exact();
            let left = |value: Exact| if value.is_positive() { value } else { Exact::ZERO };
            cost = cost.checked_add(line.amount)?;
            charges.push(ChargeUsage {
                charge: charge.key.clone(),
                name: charge.name.clone(),
                meter: meter.key.clone(),
                unit: meter.unit.clone(),
                remaining: left(included.sub(&line.units)),
                overage: left(line.units.sub(&included)),
                included,
                used: line.units,
                cost: line.amount,
                events: found.usage.events,
            });
        }
        Ok(Some(SubscriptionUsage {
            subscription: account.subscription.id.to_string(),
            book,
            plan,
            period,
            until,
            position: usage.position,
            charges,
            cost,
        }))
    }

    /// All meters of a customer over any period; meters without events are left out.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn metered(
        &self,
        customer: &CustomerId,
        period: Period,
    ) -> Result<Vec<MeterValue>, EngineError> {
        let books = self.recent_books().await?;
        let meters: Vec<&Meter> = books.meters().values().collect();
        let usage = self.usage(customer, period, &meters).await?;
        let mut found = Vec::new();
        for meter in meters {
            let values = usage.values(meter)?;
            let value: Exact = values.values().sum();
            let events = usage.events(&meter.key);
            if events == 0 && value.is_zero() {
                continue;
            }
            let groups = if meter.group_by.is_empty() {
                Vec::new()
            } else {
                values.into_iter().map(|(group, value)| (group.to_string(), value)).collect()
            };
            found.push(MeterValue {
                meter: meter.key.clone(),
                unit: meter.unit.clone(),
                value,
                groups,
                events,
            });
        }
        Ok(found)
    }
}

fn is_level(meter: &Meter) -> bool {
    use counterfoil_metering::Aggregation::{TimeWeightedLevel, TimeWeightedSum};
    matches!(meter.aggregation, TimeWeightedSum | TimeWeightedLevel)
}

/// The stretch a span had before it was cut at now.
fn segments_end(segments: &[crate::contract::Segment], span: &Span, period: Period) -> Period {
    let whole = spans(segments).into_iter().find(|other| {
        other.period.start == span.period.start
            && other.plan.key == span.plan.key
            && other.charge().map(|charge| &charge.key) == span.charge().map(|charge| &charge.key)
    });
    whole.map_or(period, |whole| whole.period)
}
