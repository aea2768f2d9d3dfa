//! Usage of one customer step by step (hours, days, weeks), read at once: the stored buckets of all
//! steps come in one reading, and only hours that must be folded are read one by one.

use std::collections::HashSet;

use counterfoil_metering::{Level, Meter};
use counterfoil_store::{Bucket, UsageRead, UsageWanted};
use counterfoil_types::{CustomerId, MeterKey, Period};

use super::{CustomerUsage, Request, wanted_over};
use crate::{Engine, EngineError, usage::LaneView};

/// How often a reading starts over because the projector moved.
const TRIES: usize = 8;

/// Joins stretches that touch, so that they are asked for as one.
fn joined(mut parts: Vec<Period>) -> Vec<Period> {
    parts.retain(|part| !part.is_empty());
    parts.sort_unstable();
    let mut whole: Vec<Period> = Vec::new();
    for part in parts {
        match whole.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => whole.push(part),
        }
    }
    whole
}

/// Hands each bucket to the steps that count it. Steps lie in order and do not overlap.
fn distribute(wanted: &[UsageWanted], buckets: Vec<Bucket>) -> Vec<Vec<Bucket>> {
    let mut parts: Vec<(Level, Period, usize)> = Vec::new();
    for (step, want) in wanted.iter().enumerate() {
        parts.extend(want.days.iter().map(|part| (Level::Day, *part, step)));
        parts.extend(want.hours.iter().map(|part| (Level::Hour, *part, step)));
    }
    parts.sort_unstable_by_key(|(_, part, _)| part.start);
    let (days, hours): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|(level, ..)| *level == Level::Day);
    let mut found = vec![Vec::new(); wanted.len()];
    for bucket in buckets {
        let parts = if bucket.key.level == Level::Day { &days } else { &hours };
        let after = parts.partition_point(|(_, part, _)| part.start <= bucket.key.start);
        let Some((_, part, step)) = after.checked_sub(1).and_then(|at| parts.get(at)) else {
            continue;
        };
        if part.contains(bucket.key.start)
            && let Some(slot) = found.get_mut(*step)
        {
            slot.push(bucket);
        }
    }
    found
}

impl Engine {
    /// Usage of a customer in each of `steps`, which lie in order and do not overlap; all of it as
    /// of one standing of the ledger.
    ///
    /// # Errors
    /// As the store has them.
    pub(crate) async fn usage_steps(
        &self,
        customer: &CustomerId,
        steps: &[Period],
        meters: &[&Meter],
    ) -> Result<Vec<CustomerUsage>, EngineError> {
        let lane = self.tenant.lane_of(customer);
        for _ in 0..TRIES {
            let view = self.lane_view(lane).await?;
            let view = self.with_steps(view, customer, steps, meters).await?;
            let mut found = Vec::with_capacity(steps.len());
            for step in steps {
                match self.read_at(&request(customer, *step, meters), &view).await? {
                    Some(usage) => found.push(usage),
                    None => break,
                }
            }
            if found.len() == steps.len() {
                return Ok(found);
            }
        }
        let view = self.lane_view(lane).await?;
        let mut found = Vec::with_capacity(steps.len());
        for step in steps {
            found.push(self.fold_usage(&request(customer, *step, meters), view.head).await?);
        }
        Ok(found)
    }

    /// The view with the buckets of all steps, unless the projector moved.
    async fn with_steps(
        &self,
        view: LaneView,
        customer: &CustomerId,
        steps: &[Period],
        meters: &[&Meter],
    ) -> Result<LaneView, EngineError> {
        let wanted: Vec<UsageWanted> =
            steps.iter().map(|step| wanted_over(customer.clone(), step)).collect();
        let all = UsageWanted {
            customer: customer.clone(),
            days: joined(wanted.iter().flat_map(|want| want.days.clone()).collect()),
            hours: joined(wanted.iter().flat_map(|want| want.hours.clone()).collect()),
        };
        let keys: Vec<MeterKey> = meters.iter().map(|meter| meter.key.clone()).collect();
        let read = self.store.usage_among(view.lane, &keys, &[all]).await?;
        let UsageRead { progress, found } = read;
        let found = distribute(&wanted, found.into_iter().flatten().collect());
        Ok(view.with_usage(wanted, UsageRead { progress, found }).unwrap_or(view))
    }
}

fn request<'a>(customer: &'a CustomerId, period: Period, meters: &[&'a Meter]) -> Request<'a> {
    Request { customer, period, meters: meters.to_vec(), transactions: HashSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_are_joined() {
        let part = |from: i64, to: i64| {
            Period::new(
                counterfoil_types::Timestamp::from_micros(from),
                counterfoil_types::Timestamp::from_micros(to),
            )
        };
        let found = joined(vec![part(5, 9), part(0, 3), part(3, 5), part(20, 20), part(12, 14)]);
        assert_eq!(found, [part(0, 9), part(12, 14)]);
    }
}
