//! Listing events, and telling what became of one: what it counts for, which charge bills it and on
//! which invoice, or why none does.

use counterfoil_ledger::{CorrectionKind, Event, LaneId, StoredEvent, effective_as_of};
use counterfoil_metering::{Measured, Measurement, measure};
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, PlanKey, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Engine, EngineError, project::CHUNK};

/// Rows looked at for one page, so that a filter that fits nothing costs a bounded time.
const LOOKED_AT: usize = 100_000;

/// Which events to list. All that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// Of this type.
    pub event_type: Option<String>,
    /// From this producer.
    pub source: Option<String>,
    /// That happened at this time or later.
    pub from: Option<Timestamp>,
    /// That happened before this time.
    pub to: Option<Timestamp>,
}

impl EventFilter {
    fn fits(&self, row: &StoredEvent) -> bool {
        let event = &row.event;
        self.event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
            && self.source.as_ref().is_none_or(|wanted| *wanted == event.source)
            && self.from.is_none_or(|from| row.time() >= from)
            && self.to.is_none_or(|to| row.time() < to)
    }
}

/// A place in the ledger to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the lane within the tenant, from 0.
    pub lane: usize,
    /// The last position that was looked at.
    pub position: u64,
}

/// Some events, and where to go on.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in order of lane and position.
    pub events: Vec<StoredEvent>,
    /// Where to go on; absent at the end.
    pub next: Option<Place>,
}

/// How an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As it was sent.
    Counts,
    /// As the last event that amends it says.
    Amended,
    /// Taken back: counts for nothing.
    Reversed,
    /// It corrects another event and counts for nothing by itself.
    Correction,
}

/// What a meter makes of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Metered {
    /// The meter.
    pub meter: MeterKey,
    /// The group it counts in; empty for meters without groups.
    pub group: String,
    /// What it adds; absent for one of the things a unique count counts.
    pub value: Option<Exact>,
    /// Why the meter cannot use it.
    pub unusable: Option<String>,
}

/// Where an event is billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BilledBy {
    /// The subscription.
    pub subscription: String,
    /// The plan.
    pub plan: PlanKey,
    /// The charges that price one of its meters.
    pub charges: Vec<String>,
    /// The billing period it falls in.
    pub period: Period,
    /// Invoices of that period, with what became of them.
    pub invoices: Vec<InvoiceOf>,
}

/// An invoice of a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InvoiceOf {
    /// Its id.
    pub id: String,
    /// Its number, once it has one.
    pub number: Option<String>,
    /// Its state.
    pub state: String,
    /// Whether the event lay in the ledger when it was computed. One that came later is settled by
    /// a later invoice or a credit note.
    pub includes_event: bool,
}

/// What became of an event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventExplanation {
    /// How it stands.
    pub standing: Standing,
    /// Positions of the events that correct it.
    pub corrected_by: Vec<u64>,
    /// What meters make of it.
    pub meters: Vec<Metered>,
    /// Where it is billed.
    pub billed_by: Vec<BilledBy>,
    /// Why it is not billed; absent when it is.
    pub unbilled: Option<String>,
}

impl Engine {
    /// Events after a place, at most `limit`.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<EventPage, EngineError> {
        let lanes = self.tenant.lane_ids();
        let only = filter.customer.as_ref().map(|customer| self.tenant.lane_of(customer));
        let start = after.unwrap_or(Place { lane: 0, position: 0 });
        let mut events = Vec::new();
        let mut looked_at = 0;
        for (number, lane) in lanes.iter().enumerate().skip(start.lane) {
            if only.is_some_and(|only| only != *lane) {
                continue;
            }
            let mut position = if number == start.lane { start.position } else { 0 };
            loop {
                let room = u32::try_from(limit.max(64)).unwrap_or(CHUNK).min(CHUNK);
                let rows = self
                    .rows(*lane, position, u64::MAX >> 1, filter.customer.as_ref(), room)
                    .await?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    position = row.position;
                    looked_at += 1;
                    if filter.fits(&row) {
                        events.push(row);
                    }
                    if events.len() >= limit || looked_at >= LOOKED_AT {
                        let next = Some(Place { lane: number, position });
                        return Ok(EventPage { events, next });
                    }
                }
            }
        }
        Ok(EventPage { events, next: None })
    }

    /// The event with this identity.
    ///
    /// # Errors
    /// When there is none.
    pub async fn event(&self, source: &str, id: &str) -> Result<StoredEvent, EngineError> {
        let found = self.store.find(&self.tenant.id, source, id).await?;
        found.ok_or_else(|| EngineError::not_found("event", format!("{source} {id}"), ""))
    }

    /// What became of an event.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn explain_event(&self, row: &StoredEvent) -> Result<EventExplanation, EngineError> {
        let corrections = self.corrections_of(row.lane, row.position, row.position).await?;
        let mut told = EventExplanation {
            standing: Standing::Correction,
            corrected_by: corrections.iter().map(|row| row.position).collect(),
            meters: Vec::new(),
            billed_by: Vec::new(),
            unbilled: None,
        };
        if let Some(correction) = &row.event.correction {
            let what = match correction.kind {
                CorrectionKind::Reverses => "it takes another event back",
                CorrectionKind::Amends => "it restates another event",
            };
            told.unbilled = Some(format!("{what}: {}", correction.target));
            return Ok(told);
        }
        let Some(standing) = effective_as_of(row, &corrections, u64::MAX) else {
            told.standing = Standing::Reversed;
            told.unbilled = Some("it was taken back".to_owned());
            return Ok(told);
        };
        told.standing = if corrections.is_empty() { Standing::Counts } else { Standing::Amended };
        let books = self.recent_books().await?;
        let mut counted = Vec::new();
        for meter in books.meters().values() {
            let metered = match measure(meter, &standing.event) {
                Measurement::NotMine => continue,
                Measurement::Unusable(why) => Metered {
                    meter: meter.key.clone(),
                    group: String::new(),
                    value: None,
                    unusable: Some(why.to_owned()),
                },
                Measurement::Value { group, value } => {
                    counted.push(meter.key.clone());
                    Metered {
                        meter: meter.key.clone(),
                        group: if meter.group_by.is_empty() {
                            String::new()
                        } else {
                            group.to_string()
                        },
                        value: match value {
                            Measured::Number(value) => Some(value.mul(&meter.factor)),
                            Measured::Member(_) => None,
                        },
                        unusable: None,
                    }
                }
            };
            told.meters.push(metered);
        }
        let accounts = self.accounts_of(&books, &row.event.customer).await?;
        let at = standing.time;
        told.unbilled =
            crate::unbilled::reason_at(&books, accounts.as_ref(), &row.event.event_type, at)?;
        if told.unbilled.is_none() && counted.is_empty() {
            told.unbilled = Some(match told.meters.first().and_then(|m| m.unusable.clone()) {
                Some(why) => format!("its meters cannot use it: {why}"),
                None => "no meter counts it: their conditions do not hold for it".to_owned(),
            });
        }
        if told.unbilled.is_some() {
            return Ok(told);
        }
        for account in accounts.unwrap_or_default() {
            let Some(number) = account.cycles.period_at(at)? else { continue };
            let Some((period, _)) = account.cycles.period(number)? else { continue };
            let segments = account.segments(&books, period)?;
            let Some(segment) = segments.iter().find(|segment| segment.period.contains(at)) else {
                continue;
            };
            for entry in &segment.plans {
                let charges: Vec<String> = entry
                    .plan
                    .charges
                    .iter()
                    .filter(|charge| {
                        charge.meter.as_ref().is_some_and(|meter| counted.contains(meter))
                    })
                    .map(|charge| charge.key.clone())
                    .collect();
                if charges.is_empty() {
                    continue;
                }
                let id = &account.subscription.id;
                let invoices = self.invoices_closing(id, number + 1, row).await?;
                told.billed_by.push(BilledBy {
                    subscription: id.to_string(),
                    plan: entry.plan.key.clone(),
                    charges,
                    period,
                    invoices,
                });
            }
        }
        if told.billed_by.is_empty() {
            told.unbilled = Some("no charge of the customer's plan prices its meters".to_owned());
        }
        Ok(told)
    }

    async fn invoices_closing(
        &self,
        subscription: &counterfoil_types::SubscriptionId,
        cycle: counterfoil_invoicing::cycle::CycleNumber,
        row: &StoredEvent,
    ) -> Result<Vec<InvoiceOf>, EngineError> {
        let found = self.store.cycle_summaries(&self.tenant.id, subscription, cycle).await?;
        Ok(found
            .into_iter()
            .map(|invoice| InvoiceOf {
                id: invoice.id.to_string(),
                number: invoice.number,
                state: invoice.state.as_str().to_owned(),
                includes_event: row.position <= invoice.position,
            })
            .collect())
    }

    /// Lane and number within the tenant of a lane.
    pub(crate) fn lanes(&self) -> Vec<LaneId> {
        self.tenant.lane_ids()
    }
}

/// An event that takes another one back.
#[must_use]
pub fn reversal(of: &Event, id: String, time: Option<Timestamp>) -> Event {
    Event {
        id,
        source: of.source.clone(),
        customer: of.customer.clone(),
        event_type: of.event_type.clone(),
        time,
        quantity: of.quantity,
        unit: of.unit.clone(),
        properties: std::collections::BTreeMap::new(),
        subject: None,
        resource: None,
        user: None,
        correction: Some(counterfoil_ledger::Correction {
            kind: CorrectionKind::Reverses,
            target: of.id.clone(),
        }),
    }
}
