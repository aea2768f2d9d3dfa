//! Quota windows that began, as billing facts at their start, with what rolled over into them.
//! Limits never depend on these facts: they say what was given, for whoever asks later.

use counterfoil_rating::quota::QuotaWindow;
use counterfoil_store::Fact;
use counterfoil_types::{CustomerId, Exact, Timestamp};

use super::Quota;
use crate::{Engine, EngineError};

/// Most windows of one quota that are caught up in one go, the latest ones.
const MOST: usize = 1_000;

impl Engine {
    /// The windows of a customer's quotas that began after `since` and up to `upto`, in order.
    pub(crate) async fn quota_resets(
        &self,
        customer: &CustomerId,
        since: Timestamp,
        upto: Timestamp,
    ) -> Result<Vec<Fact>, EngineError> {
        let mut facts = Vec::new();
        for quota in self.quotas_of(customer).await?.iter() {
            if quota.spec.window == QuotaWindow::Rolling {
                continue;
            }
            let mut windows = Vec::new();
            let mut at = upto;
            while windows.len() < MOST
                && let Some(window) = quota.window_at(at)?
                && window.start > since
                && window.start <= upto
            {
                // The first window of all is a beginning, not a reset.
                let before = quota.window_at(window.start.plus_micros(-1))?;
                windows.push(window);
                if before.is_none() {
                    windows.pop();
                    break;
                }
                at = window.start.plus_micros(-1);
            }
            for window in windows.into_iter().rev() {
                facts.push(self.quota_reset(customer, quota, window).await?);
            }
        }
        facts.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        Ok(facts)
    }

    async fn quota_reset(
        &self,
        customer: &CustomerId,
        quota: &Quota,
        window: counterfoil_types::Period,
    ) -> Result<Fact, EngineError> {
        let limits = self.limits(customer, quota, window).await?;
        let own = quota.spec.hard.map(counterfoil_types::Quantity::exact);
        let carried = match (&limits.hard, &own) {
            (Some(hard), Some(own)) => hard.sub(own),
            _ => Exact::ZERO,
        };
        let meter = &quota.spec.meter;
        Ok(Fact {
            kind: "quota.reset".to_owned(),
            key: format!("quota.reset/{customer}/{meter}/{}", window.start.micros()),
            at: window.start,
            body: serde_json::json!({
                "customer": customer, "meter": meter, "window": quota.spec.window,
                "until": window.end, "hard": limits.hard, "carried": carried,
            }),
        })
    }
}
