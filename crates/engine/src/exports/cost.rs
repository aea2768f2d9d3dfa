//! What an event costs. Prices have tiers, so no event has a price of its own: the cost of a meter
//! in a billing period, as it stands now, is spread over its events by what each adds to the meter.
//! The costs of all events of a period sum to what the charges come to, up to the last decimal of
//! each. Where that cannot be said (a maximum, a mean, a level; nothing prices it) there is none.

use std::collections::HashMap;

use counterfoil_ledger::Event;
use counterfoil_metering::{Aggregation, Measured, Measurement, Meter, measure};
use counterfoil_types::{Currency, CustomerId, Exact, MeterKey, Period, Rounding, Timestamp};

use crate::{Books, Engine, EngineError, draft::Account};

/// Decimals of a cost.
const DECIMALS: i32 = 12;

/// Cost and units of a meter in a billing period.
struct Priced {
    meter: MeterKey,
    cost: Exact,
    units: Exact,
}

/// A billing period of one subscription.
struct Stretch {
    currency: Currency,
    priced: Vec<Priced>,
}

/// The billing periods that hold together, and in which stretch of time exactly these do.
struct Looked {
    valid: Period,
    stretches: Vec<Stretch>,
}

/// Costs that were looked up.
#[derive(Default)]
pub(super) struct Costs {
    known: HashMap<CustomerId, Vec<Looked>>,
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
        let known = self.known.entry(customer.clone()).or_default();
        if !known.iter().any(|looked| looked.valid.contains(at)) {
            known.push(look_up(engine, books, customer, at).await?);
        }
        let Some(looked) = known.iter().find(|looked| looked.valid.contains(at)) else {
            return Ok(None);
        };
        let mut sum: Option<Cost> = None;
        for stretch in &looked.stretches {
            for priced in &stretch.priced {
                let Some(meter) = books.meters().get(&priced.meter) else { continue };
                let Measurement::Value { value, .. } = measure(meter, event) else { continue };
                let Measured::Number(value) = value else { return Ok(None) };
                if !adds_up(meter) || priced.units.is_zero() {
                    return Ok(None);
                }
                let share = value.mul(&meter.factor).div(&priced.units)?.mul(&priced.cost);
                let before = match sum {
                    // Two currencies have no sum.
                    Some(cost) if cost.currency != stretch.currency => return Ok(None),
                    Some(cost) => cost.amount,
                    None => Exact::ZERO,
                };
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
) -> Result<Looked, EngineError> {
    let mut valid = Period::new(Timestamp::MIN, Timestamp::MAX);
    let whose = match engine.customer(customer).await {
        Ok(whose) => whose,
        // Events of customers that are not known here are in the ledger all the same.
        Err(EngineError::NotFound { what: "customer", .. }) => {
            return Ok(Looked { valid, stretches: Vec::new() });
        }
        Err(other) => return Err(other),
    };
    // Where a subscription begins or ends, others hold than before.
    for subscription in engine.subscriptions_of(customer).await? {
        let cycles = Account::new(books, whose.clone(), subscription)?.cycles;
        for edge in [Some(cycles.start()), cycles.end()].into_iter().flatten() {
            if edge <= at {
                valid.start = valid.start.max(edge);
            } else {
                valid.end = valid.end.min(edge);
            }
        }
    }
    let mut stretches = Vec::new();
    for subscription in engine.current_usage(customer, at, None).await? {
        valid = valid.intersect(&subscription.period);
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
        stretches.push(Stretch { currency: subscription.cost.currency(), priced });
    }
    Ok(Looked { valid, stretches })
}
