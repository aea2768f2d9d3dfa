//! Answers of the service, in the form it sends them. Fields it adds later are passed over.

use std::collections::BTreeMap;

use counterfoil_types::{CustomerId, Exact, MeterKey, Money, Period, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReceiptStatus {
    /// Stored now.
    Inserted,
    /// Stored before; counted once.
    Duplicate,
    /// Not stored: its id is taken by other content.
    Conflict,
    /// Not stored: not acceptable.
    Rejected,
}

/// The receipt of an event.
#[derive(Clone, Debug, Deserialize)]
pub struct Receipt {
    /// Its number in the request, from 0.
    pub index: u64,
    /// Its id, where it could be read.
    pub id: Option<String>,
    /// What became of it.
    pub status: ReceiptStatus,
    /// Lane of the stored event.
    pub lane: Option<i64>,
    /// Position of the stored event in its lane.
    pub position: Option<u64>,
    /// Why it was rejected, for programs.
    pub code: Option<String>,
    /// Why it was rejected, for people.
    pub reason: Option<String>,
}

/// How many events got which receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ReceiptCounts {
    /// Stored now.
    pub inserted: u64,
    /// Stored before.
    pub duplicate: u64,
    /// Refused: id taken by other content.
    pub conflict: u64,
    /// Refused: not acceptable.
    pub rejected: u64,
}

/// Receipts of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Receipts {
    /// How many of each.
    pub counts: ReceiptCounts,
    /// In the order of the events.
    pub receipts: Vec<Receipt>,
}

/// What a quota says to a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// There is room.
    Allowed,
    /// There is room, but the soft limit is reached.
    Warning,
    /// There is no room.
    Denied,
    /// There is no limit.
    Unlimited,
}

/// How a quota stands.
#[derive(Clone, Debug, Deserialize)]
pub struct QuotaState {
    /// What is counted.
    pub meter: MeterKey,
    /// Unit of the numbers below.
    pub unit: String,
    /// What it says to the use.
    pub verdict: Verdict,
    /// Used so far.
    pub used: Exact,
    /// From here on a use is answered with a warning.
    pub soft: Option<Exact>,
    /// No use passes this.
    pub hard: Option<Exact>,
    /// Left of the hard limit.
    pub remaining: Option<Exact>,
    /// When it starts over.
    pub resets_at: Option<Timestamp>,
}

/// The answer to a question about a use.
#[derive(Clone, Debug, Deserialize)]
pub struct QuotaVerdict {
    /// Whether it may go on.
    pub allowed: bool,
    /// How the quota stands.
    #[serde(flatten)]
    pub quota: QuotaState,
    /// Where to get more.
    pub upgrade: Option<String>,
}

/// What became of a use. A use over the limit is a [`crate::ClientError::Problem`] with the code
/// `over_quota`.
#[derive(Clone, Debug, Deserialize)]
pub struct Consumed {
    /// The receipt of its event.
    pub receipt: Receipt,
    /// The quotas it counts for, after it.
    pub quotas: Vec<QuotaState>,
}

/// What rate limits say to a call. One that comes too soon is a [`crate::ClientError::Problem`]
/// with the code `rate_limited`.
#[derive(Clone, Debug, Deserialize)]
pub struct CallAnswer {
    /// Whether it may go on.
    pub allowed: bool,
    /// Calls left at once under the tightest limit.
    pub remaining: Option<u32>,
    /// Seconds until the next one may go on, when it may not.
    pub retry_after_seconds: Option<u64>,
}

/// A rate limit of a plan.
#[derive(Clone, Debug, Deserialize)]
pub struct RateLimit {
    /// Calls of this endpoint only; of each when absent.
    pub endpoint: Option<String>,
    /// How many calls.
    pub limit: u32,
    /// In how long: `second`, `minute`, `hour`.
    pub per: String,
    /// How many at once.
    pub burst: Option<u32>,
}

/// What a customer's plans give.
#[derive(Clone, Debug, Deserialize)]
pub struct Entitlements {
    /// Switches, numbers and texts.
    pub entitlements: BTreeMap<String, Value>,
    /// How fast the customer may call.
    pub rate_limits: Vec<RateLimit>,
    /// Quotas as they stand.
    pub quotas: Vec<QuotaState>,
}

/// Usage of a charge.
#[derive(Clone, Debug, Deserialize)]
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
    /// What usage comes to at the end of the period if it goes on like this.
    pub forecast: Option<Exact>,
}

/// Usage of a subscription in its current period.
#[derive(Clone, Debug, Deserialize)]
pub struct SubscriptionUsage {
    /// The subscription.
    pub subscription: String,
    /// The billing period.
    pub period: Period,
    /// Usage up to here was looked at.
    pub until: Timestamp,
    /// By charge.
    pub charges: Vec<ChargeUsage>,
    /// Sum of the costs of usage.
    pub cost: Money,
}

/// Usage of a customer now.
#[derive(Clone, Debug, Deserialize)]
pub struct CustomerUsage {
    /// The customer.
    pub customer: CustomerId,
    /// By subscription.
    pub subscriptions: Vec<SubscriptionUsage>,
}

/// An invoice without its lines.
#[derive(Clone, Debug, Deserialize)]
pub struct InvoiceSummary {
    /// Id.
    pub id: String,
    /// Number, from finalization on.
    pub number: Option<String>,
    /// `draft`, `pending`, `paid`, `overdue`, `uncollectible`, `void`.
    pub state: String,
    /// Who pays.
    pub customer: CustomerId,
    /// The subscription.
    pub subscription: String,
    /// When the cycle fell due.
    pub due_cycle_at: Timestamp,
    /// When it was finalized.
    pub issued_at: Option<Timestamp>,
    /// Total.
    pub total: Money,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; absent on the last one.
    pub next: Option<String>,
}
