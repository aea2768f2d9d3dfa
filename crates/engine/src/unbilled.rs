//! Accepted is not billed: events that no invoice will carry, with the reason, while something
//! can still be done about it.

use std::collections::BTreeMap;

use counterfoil_metering::{Meter, UNUSABLE_METER};
use counterfoil_types::{CustomerId, MeterKey, Period, Timestamp};
use serde::Serialize;

use crate::{Books, Engine, EngineError, draft::Account};

/// Events of one customer and type that are not billed, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Unbilled {
    /// Whose.
    pub customer: CustomerId,
    /// Event type.
    pub event_type: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub events: u64,
    /// Lane and position of one of them.
    pub example: (i64, u64),
}

type Found = BTreeMap<(CustomerId, String, String), (u64, (i64, u64))>;

impl Engine {
    /// Events in `period` that no subscription bills.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn unbilled(&self, period: Period) -> Result<Vec<Unbilled>, EngineError> {
        self.project_all().await?;
        let books = self.books().await?;
        let mut found = Found::new();
        let mut accounts: BTreeMap<CustomerId, Option<Vec<Account>>> = BTreeMap::new();
        let events = crate::books::events_meter()?.key;
        let unusable = MeterKey::new(UNUSABLE_METER)
            .map_err(|error| EngineError::refused(error.to_string()))?;
        let hours =
            Period::new(period.start.bucket(counterfoil_types::timestamp::HOUR_MICROS), period.end);
        for lane in self.tenant.lane_ids() {
            for bucket in self.store.meter_buckets(lane, &unusable, &hours).await? {
                let values = bucket.key.group.values();
                let value = |at: usize| values.get(at).cloned().flatten().unwrap_or_default();
                let reason = format!("meter {} cannot use it: {}", value(1), value(2));
                let events = u64::try_from(bucket.state.events()).unwrap_or(0);
                note(
                    &mut found,
                    &bucket.key.customer,
                    value(0),
                    reason,
                    events,
                    (lane.0, bucket.first),
                );
            }
            for bucket in self.store.meter_buckets(lane, &events, &hours).await? {
                let customer = bucket.key.customer.clone();
                if !accounts.contains_key(&customer) {
                    let loaded = self.accounts_of(&books, &customer).await?;
                    accounts.insert(customer.clone(), loaded);
                }
                let known = accounts.get(&customer).and_then(Option::as_ref);
                let event_type =
                    bucket.key.group.values().into_iter().next().flatten().unwrap_or_default();
                let hour = bucket.key.period().intersect(&period);
                let reason = |at: Timestamp| reason_at(&books, known, &event_type, at);
                let whole = reason(hour.start)?;
                let edge = reason(hour.end.plus_micros(-1))?;
                let cut = bucket.key.period() != hour;
                if whole == edge && !cut {
                    if let Some(reason) = whole {
                        let events = u64::try_from(bucket.state.events()).unwrap_or(0);
                        note(
                            &mut found,
                            &customer,
                            event_type.clone(),
                            reason,
                            events,
                            (lane.0, bucket.first),
                        );
                    }
                    continue;
                }
                // A subscription or the period begins or ends within the hour: event by event.
                let rows = self
                    .standing_between(
                        lane,
                        &customer,
                        (bucket.first, bucket.last),
                        u64::MAX >> 1,
                        hour.start,
                    )
                    .await?;
                for row in rows {
                    if hour.contains(row.time)
                        && row.event.event_type == event_type
                        && let Some(reason) = reason(row.time)?
                    {
                        note(
                            &mut found,
                            &customer,
                            event_type.clone(),
                            reason,
                            1,
                            (lane.0, row.position),
                        );
                    }
                }
            }
        }
        Ok(found
            .into_iter()
            .filter(|(_, (events, _))| *events > 0)
            .map(|((customer, event_type, reason), (events, example))| Unbilled {
                customer,
                event_type,
                reason,
                events,
                example,
            })
            .collect())
    }

    /// Accounts of a customer; `None` when the customer is unknown.
    pub(crate) async fn accounts_of(
        &self,
        books: &Books,
        customer: &CustomerId,
    ) -> Result<Option<Vec<Account>>, EngineError> {
        if self.store.customer(&self.tenant.id, customer).await?.is_none() {
            return Ok(None);
        }
        let mut accounts = Vec::new();
        for subscription in self.subscriptions_of(customer).await? {
            accounts.push(self.account(books, subscription).await?);
        }
        Ok(Some(accounts))
    }
}

fn note(
    found: &mut Found,
    customer: &CustomerId,
    event_type: String,
    reason: String,
    events: u64,
    example: (i64, u64),
) {
    let slot = found.entry((customer.clone(), event_type, reason)).or_insert((0, example));
    slot.0 += events;
}

/// Why an event of this type at this time is not billed; `None` when it is.
pub(crate) fn reason_at(
    books: &Books,
    accounts: Option<&Vec<Account>>,
    event_type: &str,
    at: Timestamp,
) -> Result<Option<String>, EngineError> {
    let Some(accounts) = accounts else { return Ok(Some("unknown customer".to_owned())) };
    let meters: Vec<&Meter> =
        books.meters().values().filter(|meter| meter.event_type == event_type).collect();
    if meters.is_empty() {
        return Ok(Some("no meter measures this type of event".to_owned()));
    }
    let (mut covered, mut paused) = (false, false);
    for account in accounts {
        let Some(number) = account.cycles.period_at(at)? else { continue };
        let Some((period, _)) = account.cycles.period(number)? else { continue };
        covered = true;
        let segments = account.segments(books, period)?;
        let Some(segment) = segments.iter().find(|segment| segment.period.contains(at)) else {
            continue;
        };
        if segment.terms.paused {
            paused = true;
            continue;
        }
        if account.is_free(number)? {
            return Ok(Some("its plan gives the first short period away".to_owned()));
        }
        let priced = segment.plans.iter().flat_map(|entry| &entry.plan.charges).any(|charge| {
            charge.meter.as_ref().is_some_and(|key| meters.iter().any(|meter| meter.key == *key))
        });
        if priced {
            return Ok(None);
        }
    }
    if paused {
        return Ok(Some("the subscription is paused".to_owned()));
    }
    Ok(Some(if covered {
        "no charge of the customer's plan prices it".to_owned()
    } else {
        "no subscription of the customer covers its time".to_owned()
    }))
}
