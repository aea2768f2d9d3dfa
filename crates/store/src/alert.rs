//! The alerts port: what rules have fired, and what became of it.
//!
//! An alert is one (rule, meter, threshold, window) of one customer; its id is derived from these, so
//! it fires once, whoever evaluates and however often. It says which effect tells of it: firing it
//! again with the same effect changes nothing, with another it is a conflict, and whoever decided
//! on stale data decides again. An alert that no effect tells of yet waits for a digest.

use async_trait::async_trait;
use counterfoil_alerting::Severity;
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, TenantId, Timestamp, derive_uuid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// How an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Nobody has looked at it.
    Open,
    /// Somebody has.
    Acknowledged,
    /// It, and what follows it, is not told of for a while.
    Snoozed,
    /// Its window is over.
    Resolved,
}

impl AlertState {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
            Self::Resolved => "resolved",
        }
    }

    /// Read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Acknowledged, Self::Snoozed, Self::Resolved]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// An alert that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Its id, derived from rule, meter, threshold, window and customer.
    pub id: String,
    /// Whose.
    pub customer: CustomerId,
    /// The rule.
    pub rule: String,
    /// What the rule watches: `included`, `quota`, `usage`, `spend`, `change`, `anomaly`, `forecast`.
    pub kind: String,
    /// The meter; absent for spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterKey>,
    /// The threshold that was passed.
    pub threshold: String,
    /// How grave it is.
    pub severity: Severity,
    /// The stretch of time it counts in; it fires once in it.
    pub window: Period,
    /// When it fired.
    pub at: Timestamp,
    /// What was seen.
    pub value: Exact,
    /// What it is held against: included units, a quota, an amount, what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Exact>,
    /// Unit of both: that of the meter, or a currency.
    pub unit: String,
    /// When the limit is passed, in a forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_at: Option<Timestamp>,
    /// Why it fired, with the numbers.
    pub explanation: String,
    /// How it stands.
    pub state: AlertState,
    /// Until when it is snoozed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who moved it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// When it was moved last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// Key of the effect that tells of it; absent while it waits for a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

impl Alert {
    /// The id of an alert.
    #[must_use]
    pub fn id_of(
        tenant: &TenantId,
        customer: &CustomerId,
        rule: &str,
        meter: Option<&MeterKey>,
        threshold: &str,
        window: Period,
    ) -> String {
        let start = window.start.micros().to_string();
        let meter = meter.map_or("", MeterKey::as_str);
        let parts = [tenant.as_str(), customer.as_str(), rule, meter, threshold, &start];
        format!("alr_{}", derive_uuid("alert", &parts).simple())
    }
}

/// What evaluating needs to know of an alert that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Its id.
    pub id: String,
    /// Whose.
    pub customer: CustomerId,
    /// The rule.
    pub rule: String,
    /// The meter.
    pub meter: Option<MeterKey>,
    /// When it fired.
    pub at: Timestamp,
    /// Until when it is snoozed, if it is.
    pub snoozed_until: Option<Timestamp>,
    /// The effect that tells of it.
    pub told: Option<String>,
}

/// Which alerts to list.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// In this state only.
    pub state: Option<AlertState>,
    /// Of this rule only.
    pub rule: Option<String>,
}

/// Reading alerts.
#[async_trait]
pub trait AlertStore: Send + Sync {
    /// An alert.
    async fn alert(&self, tenant: &TenantId, id: &str) -> Result<Option<Alert>, StoreError>;

    /// Alerts, the newest first, those before a place (time, id) only, at most `limit`.
    async fn alerts(
        &self,
        tenant: &TenantId,
        filter: &AlertFilter,
        before: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<Alert>, StoreError>;

    /// What fired for these customers in windows that end after `since`, in any order.
    async fn fired_among(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
        since: Timestamp,
    ) -> Result<Vec<Fired>, StoreError>;

    /// Alerts that no effect tells of, the oldest first, at most `limit`: open ones, and those whose
    /// snooze ended by `now`.
    async fn untold_alerts(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Alert>, StoreError>;
}
