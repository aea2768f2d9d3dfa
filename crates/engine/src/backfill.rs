//! Managed backfills: history that is loaded as one thing, looked at, and kept or taken back.
//!
//! Every event loaded carries the property `backfill` with the backfill's id, and the backfill
//! remembers how far the ledger reached when it was opened. So what belongs to it can be told from
//! the ledger alone, whatever crashed while it was loaded. An event that lies in the ledger already,
//! without the mark, is a duplicate and not part of the backfill.
//!
//! Events count from the moment they are stored, as all events do; *closing* says that no more
//! come, *reverting* takes every one of them back by an event of its own.

use std::collections::BTreeMap;

use counterfoil_ledger::{Event, LaneId, Receipt, Reject, Scalar, StoredEvent};
use counterfoil_store::{Commit, Pending, Write};
use counterfoil_types::{CustomerId, Exact, Money, Period, Timestamp, derive_uuid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    events::reversal,
    ingest::{IngestOptions, Prepared},
    project::CHUNK,
    report::AsOf,
};

/// The property that marks events of a backfill.
pub const MARK: &str = "backfill";
const PREFIX: &str = "backfill/";
/// Most billing periods of one customer whose cost is compared.
const MOST_PERIODS: usize = 240;

/// Where a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackfillState {
    /// Events may be loaded.
    Open,
    /// No more come.
    Closed,
    /// All of them were taken back.
    Reverted,
}

/// A backfill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backfill {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub state: BackfillState,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed or reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How far each lane of the ledger reached when it was opened.
    heads: Vec<(i64, u64)>,
}

/// Events of one customer and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoadedEvents {
    /// Whose.
    pub customer: CustomerId,
    /// Their type.
    pub event_type: String,
    /// How many count.
    pub events: u64,
    /// Sum of their quantities.
    pub quantity: Exact,
    /// Time of the first one.
    pub first: Timestamp,
    /// Time of the last one.
    pub last: Timestamp,
}

/// What a backfill changes in a billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CostChange {
    /// The subscription.
    pub subscription: String,
    /// The billing period.
    pub period: Period,
    /// Cost of usage as the ledger stood when the backfill was opened.
    pub before: Money,
    /// Cost of usage now; what else came since is part of it.
    pub after: Money,
}

/// What a backfill did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackfillEffect {
    /// The backfill.
    pub backfill: Backfill,
    /// What was loaded and counts.
    pub loaded: Vec<LoadedEvents>,
    /// Billing periods whose cost differs. Those that are invoiced already are settled by the next
    /// invoice or a credit note.
    pub costs: Vec<CostChange>,
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn marked(mut event: Event, id: &str) -> Event {
    event.properties.insert(MARK.to_owned(), Scalar::Text(id.to_owned()));
    event
}

impl Engine {
    /// Opens a backfill. Opening the same again changes nothing.
    ///
    /// # Errors
    /// When the id makes no sense or is taken by another one.
    pub async fn open_backfill(&self, id: &str, reason: &str) -> Result<Backfill, EngineError> {
        let sensible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if id.is_empty() || id.len() > 128 || !id.chars().all(sensible) {
            return Err(EngineError::refused(
                "a backfill's id is 1 to 128 letters, digits, '_', '-' and '.'",
            ));
        }
        if let Ok(known) = self.backfill(id).await {
            if known.reason == reason && known.state == BackfillState::Open {
                return Ok(known);
            }
            return Err(EngineError::refused(format!("there is a backfill {id:?} already")));
        }
        let heads = self.store.heads(&self.tenant).await?;
        let opened_at = self.now();
        let backfill = Backfill {
            id: id.to_owned(),
            reason: reason.to_owned(),
            state: BackfillState::Open,
            opened_at,
            ended_at: None,
            heads: heads.iter().map(|head| (head.lane.0, head.position)).collect(),
        };
        self.put_backfill(&backfill, "backfill.opened", opened_at).await?;
        Ok(backfill)
    }

    async fn put_backfill(
        &self,
        backfill: &Backfill,
        fact: &str,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        let value = Some(serde_json::to_string(backfill)?);
        let body = serde_json::json!({"backfill": backfill.id, "reason": backfill.reason});
        let commit = Commit::of(Write::Set { key: key(&backfill.id), value });
        let commit = commit.fact(fact, format!("{fact}/{}", backfill.id), at, body);
        Ok(self.commit(&commit).await?)
    }

    /// A backfill.
    ///
    /// # Errors
    /// When there is none.
    pub async fn backfill(&self, id: &str) -> Result<Backfill, EngineError> {
        let wanted = key(id);
        let found = self.store.settings(&self.tenant.id, &wanted).await?;
        let found = found.into_iter().find(|(name, _)| *name == wanted);
        let (_, text) = found.ok_or_else(|| EngineError::not_found("backfill", id, ""))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// All backfills.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn backfills(&self) -> Result<Vec<Backfill>, EngineError> {
        let found = self.store.settings(&self.tenant.id, PREFIX).await?;
        found.iter().map(|(_, text)| Ok(serde_json::from_str(text)?)).collect()
    }

    /// Loads events into an open backfill; receipts come in the same order.
    ///
    /// # Errors
    /// When the backfill is not open, or the store fails; then loading again is safe.
    pub async fn load_backfill(
        &self,
        id: &str,
        events: Vec<Result<Event, Reject>>,
    ) -> Result<Vec<Receipt>, EngineError> {
        let backfill = self.backfill(id).await?;
        if backfill.state != BackfillState::Open {
            return Err(EngineError::refused(format!("backfill {id:?} is not open any more")));
        }
        let now = self.now();
        let options = IngestOptions { backfill: true };
        let plain: Vec<Option<Pending>> = events
            .iter()
            .map(|event| event.as_ref().ok().map(|e| Pending::new(&self.tenant, e.clone())))
            .collect();
        let prepared = events
            .into_iter()
            .map(|event| match event {
                Ok(event) => self.prepare(marked(event, id), options, now),
                Err(reject) => Prepared::Refused(reject),
            })
            .collect();
        let receipts = self.append_prepared(prepared, now).await?;
        // What came in without the mark is there; it is no conflict.
        let told = |(receipt, plain): (Receipt, Option<Pending>)| match (receipt, plain) {
            (Receipt::Conflict { lane, position, stored, .. }, Some(plain))
                if plain.content == stored =>
            {
                Receipt::Duplicate { lane, position }
            }
            (receipt, _) => receipt,
        };
        Ok(receipts.into_iter().zip(plain).map(told).collect())
    }

    /// The events of a backfill that count.
    async fn loaded(&self, backfill: &Backfill) -> Result<Vec<StoredEvent>, EngineError> {
        let mut found = Vec::new();
        for (lane, head) in &backfill.heads {
            let (lane, mut after) = (LaneId(*lane), *head);
            let mut rows = Vec::new();
            loop {
                let page = self.rows(lane, after, u64::MAX >> 1, None, CHUNK).await?;
                let Some(last) = page.last() else { break };
                after = last.position;
                let is_loaded = |row: &StoredEvent| {
                    let mark = row.event.properties.get(MARK);
                    row.event.correction.is_none()
                        && matches!(mark, Some(Scalar::Text(id)) if *id == backfill.id)
                };
                rows.extend(page.into_iter().filter(is_loaded));
            }
            for row in rows {
                let corrections = self.corrections_of(lane, row.position, row.position).await?;
                if counterfoil_ledger::effective_as_of(&row, &corrections, u64::MAX).is_some() {
                    found.push(row);
                }
            }
        }
        Ok(found)
    }

    /// What a backfill changed: events that count, and the cost of each billing period they fall
    /// in, before and now.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn backfill_effect(&self, id: &str) -> Result<BackfillEffect, EngineError> {
        let backfill = self.backfill(id).await?;
        let mut groups: BTreeMap<(CustomerId, String), LoadedEvents> = BTreeMap::new();
        for row in self.loaded(&backfill).await? {
            let time = row.time();
            let event = row.event;
            let group = groups
                .entry((event.customer.clone(), event.event_type.clone()))
                .or_insert_with(|| LoadedEvents {
                    customer: event.customer,
                    event_type: event.event_type,
                    events: 0,
                    quantity: Exact::ZERO,
                    first: time,
                    last: time,
                });
            group.events += 1;
            group.quantity = group.quantity.add(&event.quantity.exact());
            group.first = group.first.min(time);
            group.last = group.last.max(time);
        }
        let mut spans: BTreeMap<CustomerId, (Timestamp, Timestamp)> = BTreeMap::new();
        for group in groups.values() {
            let span = spans.entry(group.customer.clone()).or_insert((group.first, group.last));
            *span = (span.0.min(group.first), span.1.max(group.last));
        }
        let mut costs = Vec::new();
        for (customer, (first, last)) in spans {
            if self.store.customer(&self.tenant.id, &customer).await?.is_some() {
                costs.extend(self.cost_changes(&backfill, &customer, first, last).await?);
            }
        }
        Ok(BackfillEffect { backfill, loaded: groups.into_values().collect(), costs })
    }

    async fn cost_changes(
        &self,
        backfill: &Backfill,
        customer: &CustomerId,
        first: Timestamp,
        last: Timestamp,
    ) -> Result<Vec<CostChange>, EngineError> {
        let lane = self.tenant.lane_of(customer);
        let head = backfill.heads.iter().find(|(known, _)| *known == lane.0);
        let position = head.map_or(0, |(_, position)| *position);
        let mut changes = Vec::new();
        let mut at = first;
        for _ in 0..MOST_PERIODS {
            if at > last {
                break;
            }
            let after = self.current_usage(customer, at, None).await?;
            let before = self.current_usage(customer, at, Some(AsOf::Position(position))).await?;
            let mut next = None;
            for now in &after {
                let period = now.period;
                next = Some(next.map_or(period.end, |next: Timestamp| next.min(period.end)));
                let then = before.iter().find(|then| then.subscription == now.subscription);
                let then = then.map_or(Money::zero(now.cost.currency()), |then| then.cost);
                let change = CostChange {
                    subscription: now.subscription.clone(),
                    period,
                    before: then,
                    after: now.cost,
                };
                if then != now.cost && !changes.contains(&change) {
                    changes.push(change);
                }
            }
            // Where no subscription covers the time, go on day by day.
            let day = counterfoil_types::timestamp::DAY_MICROS;
            at = next.unwrap_or_else(|| at.plus_micros(day)).max(at.plus_micros(1));
        }
        Ok(changes)
    }

    /// Says that no more events come.
    ///
    /// # Errors
    /// When it was reverted.
    pub async fn close_backfill(&self, id: &str) -> Result<Backfill, EngineError> {
        self.end_backfill(id, BackfillState::Closed, "backfill.closed").await
    }

    async fn end_backfill(
        &self,
        id: &str,
        state: BackfillState,
        fact: &str,
    ) -> Result<Backfill, EngineError> {
        let mut backfill = self.backfill(id).await?;
        if backfill.state == state {
            return Ok(backfill);
        }
        if backfill.state == BackfillState::Reverted {
            return Err(EngineError::refused(format!("backfill {id:?} was reverted")));
        }
        let at = self.now();
        backfill.state = state;
        backfill.ended_at = Some(at);
        self.put_backfill(&backfill, fact, at).await?;
        Ok(backfill)
    }

    /// Takes every event of a backfill back, each by an event of its own. Interrupted, it is gone
    /// on with by reverting again.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn revert_backfill(&self, id: &str) -> Result<Backfill, EngineError> {
        // First no more may come; then what is there is taken back.
        let backfill = self.end_backfill(id, BackfillState::Reverted, "backfill.reverted").await?;
        let now = self.now();
        let loaded = self.loaded(&backfill).await?;
        for chunk in loaded.chunks(1_000) {
            let back = chunk
                .iter()
                .map(|row| {
                    let parts = [id, row.event.source.as_str(), row.event.id.as_str()];
                    let own = format!("revert-{}", derive_uuid("backfill.revert", &parts));
                    reversal(&row.event, own, None)
                })
                .collect();
            let receipts = self.ingest(back, IngestOptions { backfill: true }).await?;
            let refused = receipts.iter().find_map(|receipt| match receipt {
                Receipt::Rejected(reject) => Some(reject.to_string()),
                Receipt::Conflict { .. } => Some("its id is taken".to_owned()),
                _ => None,
            });
            if let Some(why) = refused {
                return Err(EngineError::refused(format!(
                    "an event of backfill {id:?} could not be taken back at {now}: {why}"
                )));
            }
        }
        Ok(backfill)
    }
}
