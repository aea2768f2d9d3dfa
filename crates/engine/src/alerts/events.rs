//! Web hook events about usage and limits: however often a limit is hit, one event tells of it per
//! window, and usage is told in batches or samples, where a tenant wants it.

use std::sync::PoisonError;

use counterfoil_ledger::LaneId;
use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, Timestamp, timestamp::HOUR_MICROS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Engine, EngineError, quotas::QuotaState};

const TRACKED: &str = "usage-events";
/// Customers a batch names; its counts are of all.
const NAMED: usize = 500;
/// Samples told of one projection.
const SAMPLES: usize = 50;
/// Keys remembered, so that what was told is not written again; what is forgotten is harmless.
const REMEMBERED: usize = 100_000;

/// Whether and how usage is told to web hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum UsageEvents {
    /// Not at all.
    #[default]
    Off,
    /// One event for what was projected together.
    Batch,
    /// One event for each so many-th event of a lane.
    Sample {
        /// How many.
        every: u32,
    },
}

impl Engine {
    /// Whether something is done for the first time by this process.
    fn first(&self, key: &str) -> bool {
        let mut told = self.memory.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(key.to_owned())
    }

    /// The same engine, acting for nobody: a request that is refused leaves no claim, although
    /// somebody is told of it.
    fn unprompted(&self) -> Self {
        Self { origin: None, ..self.clone() }
    }

    async fn once(
        &self,
        kind: &str,
        key: String,
        body: serde_json::Value,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        if !self.first(&key) {
            return Ok(());
        }
        let write = Write::Queue { key: key.clone(), kind: kind.to_owned(), body, at };
        let outcome = self.unprompted().commit(&Commit::of(write)).await;
        if outcome.is_err() {
            // The next time is the first one again.
            self.memory.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
        Ok(outcome?)
    }

    /// Tells web hooks that a customer ran into a quota, once per quota and window.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn tell_quota_exceeded(
        &self,
        customer: &CustomerId,
        quotas: &[QuotaState],
    ) -> Result<(), EngineError> {
        for state in quotas.iter().filter(|state| !state.verdict.is_allowed()) {
            let Some(period) = state.period else { continue };
            let at = self.now_of(customer);
            let start = period.start.max(at.bucket(24 * HOUR_MICROS));
            let key = format!("api.quota.exceeded/{customer}/{}/{}", state.meter, start.micros());
            let body = json!({"customer": customer, "quota": state});
            self.once("api.quota.exceeded", key, body, at).await?;
        }
        Ok(())
    }

    /// Tells web hooks that somebody calls too often, once an hour: a customer, or, without one, the
    /// holder of a key.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn tell_rate_limited(
        &self,
        customer: Option<&CustomerId>,
        key_id: Option<&str>,
        limit: u32,
        endpoint: Option<&str>,
    ) -> Result<(), EngineError> {
        let at = self.now();
        let hour = at.bucket(HOUR_MICROS);
        let who = customer.map_or_else(
            || format!("key/{}", key_id.unwrap_or("-")),
            |customer| format!("customer/{customer}"),
        );
        let key = format!("api.rate_limit.exceeded/{}/{who}", hour.micros());
        let body = json!({
            "customer": customer, "key": key_id, "limit": limit, "endpoint": endpoint,
            "hour": hour,
        });
        self.once("api.rate_limit.exceeded", key, body, at).await
    }

    /// Whether and how usage is told to web hooks.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn usage_events(&self) -> Result<UsageEvents, EngineError> {
        let stored = self.store.settings(&self.tenant.id, TRACKED).await?;
        let found = stored.iter().find(|(key, _)| key == TRACKED);
        Ok(found.map(|(_, text)| serde_json::from_str(text)).transpose()?.unwrap_or_default())
    }

    /// Sets whether and how usage is told to web hooks.
    ///
    /// # Errors
    /// When every zeroth event is to be told of, or as the store has them.
    pub async fn set_usage_events(&self, to: UsageEvents) -> Result<(), EngineError> {
        if to == (UsageEvents::Sample { every: 0 }) {
            return Err(EngineError::refused("every: must be 1 or more"));
        }
        let value = Some(serde_json::to_string(&to)?);
        Ok(self.commit(&Commit::of(Write::Set { key: TRACKED.to_owned(), value })).await?)
    }

    /// Tells web hooks of usage at positions after `from` up to `upto` of a lane, as the tenant
    /// wants it.
    ///
    /// # Errors
    /// As the store has them.
    pub(super) async fn tell_usage(
        &self,
        how: UsageEvents,
        lane: LaneId,
        (from, upto): (u64, u64),
        customers: &[CustomerId],
    ) -> Result<(), EngineError> {
        let at = self.now();
        let kind = "api.usage.tracked".to_owned();
        let writes = match how {
            UsageEvents::Off => return Ok(()),
            UsageEvents::Batch => {
                let named: Vec<&CustomerId> = customers.iter().take(NAMED).collect();
                let body = json!({
                    "mode": "batch", "lane": lane.0, "from": from + 1, "to": upto,
                    "events": upto - from, "customers": customers.len(), "named": named,
                });
                let key = format!("{kind}/{}/{}", lane.0, from + 1);
                vec![Write::Queue { key, kind, body, at }]
            }
            UsageEvents::Sample { every } => {
                let every = u64::from(every.max(1));
                let first = (from / every + 1) * every;
                let step = usize::try_from(every).unwrap_or(usize::MAX);
                let positions: Vec<u64> = (first..=upto).step_by(step).take(SAMPLES).collect();
                let rows = self.rows_at(lane, &positions).await?;
                rows.into_iter()
                    .map(|row| Write::Queue {
                        key: format!("{kind}/{}/{}", lane.0, row.position),
                        kind: kind.clone(),
                        body: json!({
                            "mode": "sample", "every": every, "lane": lane.0,
                            "position": row.position, "customer": row.event.customer,
                            "type": row.event.event_type, "quantity": row.event.quantity,
                            "time": row.time(),
                        }),
                        at,
                    })
                    .collect()
            }
        };
        Ok(self.unprompted().commit(&Commit { writes, ..Commit::default() }).await?)
    }
}
