//! What a tenant has to do with Stripe: the mode, and what is called what over there. They are
//! settings; the engine reads them to queue usage, the adapter to send it.
//!
//! | setting | what |
//! |---|---|
//! | `stripe/link` | [`Link`] |
//! | `stripe/customer/<customer>` | id of the customer at Stripe |
//! | `stripe/meter/<meter>` | [`MeterLink`] |
//! | `stripe/item/<meter>/<customer>` | the subscription item that usage records go to |
//! | `stripe/pushed/<period start>/<meter>/<customer>` | [`Pushed`]: how far usage was queued |
//! | `stripe/reconciled` | what the last reconciliation found |
//!
//! Settings about money are in [`money`].

pub mod money;

use counterfoil_types::{CustomerId, MeterKey, Period, Quantity, TenantId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Store, StoreError, Write};

/// Kind of the effect that carries usage; only the sender to Stripe hears of it.
pub const USAGE: &str = "stripe.usage";
/// Name of the target in the outbox.
pub const TARGET: &str = "stripe";
/// Setting with the link.
pub const LINK: &str = "stripe/link";
/// Front of the settings that name customers.
pub const CUSTOMERS: &str = "stripe/customer/";
/// Front of the settings that name meters.
pub const METERS: &str = "stripe/meter/";
/// Front of the settings that name subscription items.
pub const ITEMS: &str = "stripe/item/";
/// Front of the watermarks.
pub const PUSHED: &str = "stripe/pushed/";
/// Setting with the last reconciliation.
pub const RECONCILED: &str = "stripe/reconciled";

/// What goes to Stripe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// Usage, as meter events. Stripe prices and bills it.
    MeterEvents,
    /// Usage, as usage records of subscription items, for accounts on an old version of the API.
    UsageRecords,
    /// Finalized invoices. Stripe collects them.
    Invoices,
}

impl Mode {
    /// Whether usage is pushed.
    #[must_use]
    pub const fn pushes_usage(self) -> bool {
        matches!(self, Self::MeterEvents | Self::UsageRecords)
    }

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::MeterEvents => "meter_events",
            Self::UsageRecords => "usage_records",
            Self::Invoices => "invoices",
        }
    }
}

/// The link of a tenant to an account at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What goes there.
    pub mode: Mode,
    /// Drawn at random when the link was made, and part of every idempotency key: two databases
    /// that talk to one account never use the same.
    pub nonce: String,
    /// How long after its end late usage of a period is still pushed, in hours. Stripe finalizes
    /// its invoice about an hour after the end unless it is given a longer grace.
    pub straggler_hours: u32,
    /// Usage records: whether the total replaces what was there (`set`), instead of being added to.
    #[serde(default)]
    pub set: bool,
    /// Whether a difference keeps a run from being finalized.
    #[serde(default)]
    pub hold: bool,
    /// Invoices: days to pay, as an invoice by e-mail; charged automatically when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_until_due: Option<u32>,
}

impl Link {
    /// A link with the usual settings.
    #[must_use]
    pub fn new(mode: Mode, nonce: String) -> Self {
        Self { mode, nonce, straggler_hours: 1, set: false, hold: false, days_until_due: None }
    }

    /// The change that keeps it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self) -> Result<Write, StoreError> {
        kept(LINK.to_owned(), self)
    }
}

/// What a meter is called at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterLink {
    /// The name its events carry.
    pub event_name: String,
    /// Its id, by which totals are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// Decimals of the totals that are pushed; whole numbers when 0.
    #[serde(default)]
    pub decimals: u8,
}

impl MeterLink {
    /// The change that keeps it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self, meter: &MeterKey) -> Result<Write, StoreError> {
        kept(format!("{METERS}{meter}"), self)
    }
}

/// How far the usage of a customer by a meter in a period was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Whose.
    pub customer: CustomerId,
    /// By which meter.
    pub meter: MeterKey,
    /// When.
    pub period: Period,
    /// How often something was queued; part of the key of the next effect.
    pub count: u64,
    /// What was queued in all.
    pub total: Quantity,
}

impl Pushed {
    /// Nothing was queued yet.
    #[must_use]
    pub fn nothing(customer: CustomerId, meter: MeterKey, period: Period) -> Self {
        Self { customer, meter, period, count: 0, total: Quantity::ZERO }
    }

    /// Its setting.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{PUSHED}{}/{}/{}", self.period.start.micros(), self.meter, self.customer)
    }

    /// The change that keeps it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self) -> Result<Write, StoreError> {
        kept(self.key(), self)
    }
}

/// Where usage goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// Meter events of a customer.
    Meter {
        /// The customer at Stripe.
        customer: String,
        /// Name of the events.
        event_name: String,
        /// The meter, by which totals are asked for.
        meter: Option<String>,
    },
    /// Usage records of a subscription item.
    Item {
        /// The item.
        item: String,
        /// Whether the total replaces what was there.
        set: bool,
    },
}

/// What an effect of kind [`USAGE`] says. It is written once and never changes, so every attempt
/// sends the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePush {
    /// Idempotency key and identifier at Stripe.
    pub id: String,
    /// Keeps the pushes for one customer, meter and period in order.
    pub chain: String,
    /// Where it goes.
    pub address: Address,
    /// Whose.
    pub customer: CustomerId,
    /// By which meter.
    pub meter: MeterKey,
    /// The billing period.
    pub period: Period,
    /// Which push for them it is, from 1.
    pub count: u64,
    /// What was queued before.
    pub before: Quantity,
    /// What is queued with it.
    pub after: Quantity,
    /// What it adds.
    pub delta: Quantity,
    /// The time it counts at: inside the period.
    pub time: Timestamp,
}

fn kept<T: Serialize>(key: String, value: &T) -> Result<Write, StoreError> {
    let text = serde_json::to_string(value)
        .map_err(|error| StoreError::corrupt("setting", &key, error))?;
    Ok(Write::Set { key, value: Some(text) })
}

fn read<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt("setting", key, error))
}

/// The setting with exactly this key.
///
/// # Errors
/// As the store has them.
pub async fn setting(
    store: &dyn Store,
    tenant: &TenantId,
    key: &str,
) -> Result<Option<String>, StoreError> {
    let found = store.settings(tenant, key).await?;
    Ok(found.into_iter().find(|(name, _)| name == key).map(|(_, value)| value))
}

/// The link of a tenant, if it has one.
///
/// # Errors
/// As the store has them.
pub async fn link(store: &dyn Store, tenant: &TenantId) -> Result<Option<Link>, StoreError> {
    setting(store, tenant, LINK).await?.map(|text| read(LINK, &text)).transpose()
}

/// All customers that are known at Stripe, with their ids there.
///
/// # Errors
/// As the store has them.
pub async fn customers(
    store: &dyn Store,
    tenant: &TenantId,
) -> Result<Vec<(CustomerId, String)>, StoreError> {
    let mut found = Vec::new();
    for (key, value) in store.settings(tenant, CUSTOMERS).await? {
        let name = key.strip_prefix(CUSTOMERS).unwrap_or_default();
        let id =
            CustomerId::new(name).map_err(|error| StoreError::corrupt("setting", &key, error))?;
        found.push((id, value));
    }
    Ok(found)
}

/// All meters that are known at Stripe.
///
/// # Errors
/// As the store has them.
pub async fn meters(
    store: &dyn Store,
    tenant: &TenantId,
) -> Result<Vec<(MeterKey, MeterLink)>, StoreError> {
    let mut found = Vec::new();
    for (key, value) in store.settings(tenant, METERS).await? {
        let name = key.strip_prefix(METERS).unwrap_or_default();
        let meter =
            MeterKey::new(name).map_err(|error| StoreError::corrupt("setting", &key, error))?;
        found.push((meter, read(&key, &value)?));
    }
    Ok(found)
}

/// All subscription items that usage records go to.
///
/// # Errors
/// As the store has them.
pub async fn items(
    store: &dyn Store,
    tenant: &TenantId,
) -> Result<Vec<(MeterKey, CustomerId, String)>, StoreError> {
    let mut found = Vec::new();
    for (key, value) in store.settings(tenant, ITEMS).await? {
        let wrong = |why: String| StoreError::corrupt("setting", &key, why);
        let names = key.strip_prefix(ITEMS).and_then(|names| names.split_once('/'));
        let (meter, customer) = names.ok_or_else(|| wrong("it names no customer".to_owned()))?;
        let meter = MeterKey::new(meter).map_err(|error| wrong(error.to_string()))?;
        let customer = CustomerId::new(customer).map_err(|error| wrong(error.to_string()))?;
        found.push((meter, customer, value));
    }
    Ok(found)
}

/// All watermarks.
///
/// # Errors
/// As the store has them.
pub async fn pushed(store: &dyn Store, tenant: &TenantId) -> Result<Vec<Pushed>, StoreError> {
    let settings = store.settings(tenant, PUSHED).await?;
    settings.iter().map(|(key, value)| read(key, value)).collect()
}
