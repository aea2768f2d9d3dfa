//! What an event costs. Prices have tiers, so no event has a price of its own: the cost of a meter
//! in a billing period, as it stands now, is spread over its events by what each adds to the meter.
//! The costs of all events of a period sum to what the charges come to, up to the last decimal of
//! each. Where that cannot be said (a maximum, a mean, a level; nothing prices it) there is none.

use std::collections::HashMap;

use counterfoil_ledger::Event;
use counterfoil_metering::{Aggregation, Measured, Measurement, Meter, measure};
use counterfoil_types::{
    Currency, CustomerId, Exact, MeterKey, Period, Rounding, Timestamp, timestamp::HOUR_MICROS,
};

use crate::{Books, Engine, EngineError};

/// Decimals of a cost.
const DECIMALS: i32 = 12;

/// Cost and units of a meter in a billing period.
struct Priced {
    meter: MeterKey,
    cost: Exact,
    units: Exact,
}

struct Stretch {
    period: Period,
    currency: Currency,
    priced: Vec<Priced>,
}

/// Costs that were looked up.
#[derive(Default)]
pub(super) struct Costs {
    known: HashMap<CustomerId, Vec<Stretch>>,
}

/// What an event costs.
pub(super) struct Cost {
    pub(super) amount: Exact,
    pub(super) currency: Currency,
}

fn adds_up(meter: &Meter) -> bool {
    matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count)
}

impl Costs {
    /// The cost of an event as it stands; `None` where it cannot be told.
    pub(super) async fn of(
        &mut self,
        engine: &Engine,
        books: &Books,
        event: &Event,
        at: Timestamp,
    ) -> Result<Option<Cost>, EngineError> {
        let customer = &event.customer;
        let known = |stretches: &Vec<Stretch>| stretches.iter().any(|s| s.period.contains(at));
        if !self.known.get(customer).is_some_and(known) {
            let found = look_up(engine, books, customer, at).await?;
            self.known.entry(customer.clone()).or_default().extend(found);
        }
        let mut sum: Option<Cost> = None;
        let stretches = self.known.get(customer).into_iter().flatten();
        for stretch in stretches.filter(|stretch| stretch.period.contains(at)) {
            for priced in &stretch.priced {
                let Some(meter) = books.meters().get(&priced.meter) else { continue };
                let Measurement::Value { value, .. } = measure(meter, event) else { continue };
                let Measured::Number(value) = value else { return Ok(None) };
                if !adds_up(meter) || priced.units.is_zero() {
                    return Ok(None);
                }
                let share = value.mul(&meter.factor).div(&priced.units)?.mul(&priced.cost);
                let before = sum.map_or(Exact::ZERO, |cost| cost.amount);
                sum = Some(Cost { amount: before.add(&share), currency: stretch.currency });
            }
        }
        Ok(sum.map(|cost| Cost { amount: rounded(&cost.amount), ..cost }))
    }
}

/// To the decimals that costs have.
pub(super) fn rounded(amount: &Exact) -> Exact {
    amount.round(DECIMALS, Rounding::HalfAwayFromZero)
}

async fn look_up(
    engine: &Engine,
    books: &Books,
    customer: &CustomerId,
    at: Timestamp,
) -> Result<Vec<Stretch>, EngineError> {
    let subscriptions = match engine.current_usage(customer, at, None).await {
        Ok(subscriptions) => subscriptions,
        // Events of customers that are not known here are in the ledger all the same.
        Err(EngineError::NotFound { what: "customer", .. }) => Vec::new(),
        Err(other) => return Err(other),
    };
    let mut found = Vec::new();
    for subscription in subscriptions {
        let mut priced: Vec<Priced> = Vec::new();
        for charge in subscription.charges {
            let cost = charge.cost.exact();
            if let Some(same) = priced.iter_mut().find(|priced| priced.meter == charge.meter) {
                same.cost = same.cost.add(&cost);
                continue;
            }
            let Some(meter) = books.meters().get(&charge.meter) else { continue };
            let units = if adds_up(meter) {
                engine.usage(customer, subscription.period, &[meter]).await?.total(meter)?
            } else {
                Exact::ZERO
            };
            priced.push(Priced { meter: charge.meter, cost, units });
        }
        let currency = subscription.cost.currency();
        found.push(Stretch { period: subscription.period, currency, priced });
    }
    if found.is_empty() {
        // Nothing holds here; the hour is enough to remember, a subscription may begin after it.
        let start = at.bucket(HOUR_MICROS);
        let period = Period::new(start, start.plus_micros(HOUR_MICROS));
        let currency = "USD".parse().map_err(|_| EngineError::refused("USD is no currency"))?;
        found.push(Stretch { period, currency, priced: Vec::new() });
    }
    Ok(found)
}
