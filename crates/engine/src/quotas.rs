//! Quotas: how much of a meter a customer may still use.
//!
//! *Checking* tells what a use would come to; it may rest on usage read a second ago. *Consuming*
//! is exact: usage is read, the verdict is given, and the event is appended only if nothing of the
//! customer came in between, which the store checks under the lock of the lane. So however many
//! processes consume at once, together they never pass a hard limit. Within a process, those who
//! consume wait for one another and are decided on together.
//!
//! A customer's quota comes from its plan, add-ons adding to it; a quota of its own replaces that.

mod consume;
mod decide;
mod resets;
mod tally;

use std::sync::Arc;

use counterfoil_invoicing::Customer;
use counterfoil_metering::{Aggregation, Meter};
use counterfoil_rating::quota::{Limits, QuotaSpec, QuotaWindow, Verdict};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, Quantity, Timestamp, Zone};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Books, Engine, EngineError, contract::Account};

pub use consume::Consumed;
pub(crate) use consume::Gate;
pub(crate) use tally::Tallies;

pub(crate) const PREFIX: &str = "quota/";

/// Where a quota comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaSource {
    /// The customer's plan.
    Plan,
    /// The customer's own.
    Customer,
}

/// A quota of a customer.
#[derive(Clone, Debug)]
pub struct Quota {
    /// What it says.
    pub spec: QuotaSpec,
    /// Where it comes from.
    pub source: QuotaSource,
    /// The meter.
    pub(crate) meter: Meter,
    /// The customer's zone.
    zone: Zone,
    /// The account whose billing periods count.
    account: Option<Arc<Account>>,
}

/// How a quota stands, or would stand after a use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaState {
    /// What is counted.
    pub meter: MeterKey,
    /// Unit of the numbers below.
    pub unit: String,
    /// What it says to the use.
    pub verdict: Verdict,
    /// From here on a use is answered with a warning.
    pub soft: Option<Exact>,
    /// No use passes this; what rolled over from the window before is part of it.
    pub hard: Option<Exact>,
    /// Used so far, without the use that is asked about unless it was consumed.
    pub used: Exact,
    /// Left of the hard limit; absent where there is none.
    pub remaining: Option<Exact>,
    /// The stretch of time that counts.
    pub window: Option<QuotaWindow>,
    /// That stretch, now.
    pub period: Option<Period>,
    /// When it starts over; of a rolling window, when all that counts now no longer does.
    pub resets_at: Option<Timestamp>,
    /// Where the quota comes from; absent where there is none.
    pub source: Option<QuotaSource>,
}

impl QuotaState {
    fn unlimited(meter: &MeterKey, unit: &str) -> Self {
        Self {
            meter: meter.clone(),
            unit: unit.to_owned(),
            verdict: Verdict::Unlimited,
            soft: None,
            hard: None,
            used: Exact::ZERO,
            remaining: None,
            window: None,
            period: None,
            resets_at: None,
            source: None,
        }
    }
}

impl Quota {
    pub(crate) fn window_at(&self, at: Timestamp) -> Result<Option<Period>, EngineError> {
        let billing = match &self.account {
            Some(account) if self.spec.window == QuotaWindow::BillingPeriod => {
                billing_period(account, at)?
            }
            _ => None,
        };
        Ok(self.spec.window_at(at, &self.zone, billing)?)
    }

    /// What usage comes to when something of `value` is added.
    fn after(&self, before: &Exact, value: &Exact) -> Exact {
        let value = value.mul(&self.meter.factor);
        match self.meter.aggregation {
            Aggregation::Max => before.clone().max(value),
            _ => before.add(&value),
        }
    }

    fn state(&self, limits: &Limits, used: Exact, verdict: Verdict, period: Period) -> QuotaState {
        let remaining = limits.hard.as_ref().map(|hard| hard.sub(&used).max(Exact::ZERO));
        let resets_at = match self.spec.window {
            QuotaWindow::Rolling => period.end.plus_micros(period.micros()),
            _ => period.end,
        };
        QuotaState {
            meter: self.spec.meter.clone(),
            unit: self.meter.unit.clone(),
            verdict,
            soft: limits.soft.clone(),
            hard: limits.hard.clone(),
            used,
            remaining,
            window: Some(self.spec.window),
            period: Some(period),
            resets_at: Some(resets_at),
            source: Some(self.source),
        }
    }
}

fn billing_period(account: &Account, at: Timestamp) -> Result<Option<Period>, EngineError> {
    let Some(number) = account.cycles.period_at(at)? else { return Ok(None) };
    Ok(account.cycles.period(number)?.map(|(period, _)| period))
}

/// The limits of two quotas of one meter, added.
fn sum(a: Option<Quantity>, b: Option<Quantity>) -> Result<Option<Quantity>, EngineError> {
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    Ok(Some(Quantity::try_from(&a.exact().add(&b.exact()))?))
}

impl Engine {
    /// The quotas of a customer, as they stood a few seconds ago at most.
    ///
    /// # Errors
    /// When the customer does not exist.
    pub async fn quotas_of(&self, customer: &CustomerId) -> Result<Arc<Vec<Quota>>, EngineError> {
        let now = self.clock.now();
        if let Some(known) = self.memory.quotas(customer, now) {
            return Ok(known);
        }
        let books = self.recent_books().await?;
        let quotas = match self.read_quotas(&books, customer).await {
            // A book that another process published a moment ago.
            Err(EngineError::NotFound { what, .. }) if what != "customer" => {
                let books = self.fresh_books().await?;
                self.read_quotas(&books, customer).await?
            }
            outcome => outcome?,
        };
        let quotas = Arc::new(quotas);
        self.memory.keep_quotas(customer, now, Arc::clone(&quotas));
        Ok(quotas)
    }

    async fn read_quotas(&self, books: &Books, id: &CustomerId) -> Result<Vec<Quota>, EngineError> {
        let customer = self.customer(id).await?;
        let mut accounts = Vec::new();
        for subscription in self.subscriptions_of(id).await? {
            accounts.push(Arc::new(Account::new(books, customer.clone(), subscription)?));
        }
        let own = self.own_quotas(id).await?;
        Self::quotas_under(books, &customer, &accounts, self.now_of(id), own)
    }

    /// The quotas that follow from a customer's accounts at an instant, and from its own.
    pub(crate) fn quotas_under(
        books: &Books,
        customer: &Customer,
        all: &[Arc<Account>],
        at: Timestamp,
        own: Vec<QuotaSpec>,
    ) -> Result<Vec<Quota>, EngineError> {
        let mut found: Vec<Quota> = Vec::new();
        let mut accounts = Vec::new();
        for account in all {
            let Some(period) = billing_period(account, at)? else { continue };
            accounts.push(Arc::clone(account));
            let segments = account.segments(books, period)?;
            let Some(segment) = segments.iter().find(|segment| segment.period.contains(at)) else {
                continue;
            };
            for spec in segment.plans.iter().flat_map(|entry| &entry.plan.quotas) {
                let same = found.iter_mut().find(|quota| quota.spec.meter == spec.meter);
                if let Some(quota) = same {
                    quota.spec.soft = sum(quota.spec.soft, spec.soft)?;
                    quota.spec.hard = sum(quota.spec.hard, spec.hard)?;
                    continue;
                }
                let Some(meter) = books.meters().get(&spec.meter) else { continue };
                found.push(Quota {
                    spec: spec.clone(),
                    source: QuotaSource::Plan,
                    meter: meter.clone(),
                    zone: customer.zone.clone(),
                    account: Some(Arc::clone(account)),
                });
            }
        }
        for spec in own {
            found.retain(|quota| quota.spec.meter != spec.meter);
            let Some(meter) = books.meters().get(&spec.meter) else { continue };
            found.push(Quota {
                source: QuotaSource::Customer,
                meter: meter.clone(),
                zone: customer.zone.clone(),
                account: accounts.first().cloned(),
                spec,
            });
        }
        Ok(found)
    }

    /// The quotas a customer has of its own.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn own_quotas(&self, customer: &CustomerId) -> Result<Vec<QuotaSpec>, EngineError> {
        let prefix = format!("{PREFIX}{customer}/");
        let mut found = Vec::new();
        for (key, value) in self.store.settings(&self.tenant.id, &prefix).await? {
            // A customer whose id begins with this one's and a slash has other settings.
            if key.rsplit_once('/').is_some_and(|(front, _)| front.len() + 1 == prefix.len()) {
                found.push(serde_json::from_str(&value)?);
            }
        }
        Ok(found)
    }

    /// Gives a customer a quota of its own, or takes it back.
    ///
    /// # Errors
    /// When customer or meter do not exist, or the quota makes no sense.
    pub async fn set_quota(
        &self,
        customer: &CustomerId,
        meter: &MeterKey,
        spec: Option<&QuotaSpec>,
    ) -> Result<(), EngineError> {
        self.customer(customer).await?;
        if let Some(spec) = spec {
            spec.check().map_err(|error| EngineError::refused(error.to_string()))?;
            let books = self.books().await?;
            let known = books.meters().get(meter);
            let known = known.ok_or_else(|| {
                EngineError::not_found("meter", meter, "; publish its price book")
            })?;
            if !matches!(
                known.aggregation,
                Aggregation::Sum | Aggregation::Count | Aggregation::Max
            ) {
                return Err(EngineError::refused(format!(
                    "meter {meter} neither counts, sums nor takes the largest value; it can have no quota"
                )));
            }
        }
        let at = self.now_of(customer);
        let value = spec.map(serde_json::to_string).transpose()?;
        let says = value.clone().unwrap_or_default();
        let commit = Commit::of(Write::Set { key: format!("{PREFIX}{customer}/{meter}"), value })
            .fact(
                "quota.set",
                format!("quota.set/{customer}/{meter}/{}", at.micros()),
                at,
                serde_json::json!({"customer": customer, "meter": meter, "quota": says}),
            );
        Ok(self.commit(&commit).await?)
    }

    /// How a quota would stand if the customer used `quantity` more of a meter.
    ///
    /// # Errors
    /// When customer or meter do not exist.
    pub async fn check_quota(
        &self,
        customer: &CustomerId,
        meter: &MeterKey,
        quantity: &Exact,
    ) -> Result<QuotaState, EngineError> {
        let quotas = self.quotas_of(customer).await?;
        let Some(quota) = quotas.iter().find(|quota| quota.spec.meter == *meter) else {
            let books = self.recent_books().await?;
            let known = books.meters().get(meter);
            let known = known.ok_or_else(|| EngineError::not_found("meter", meter, ""))?;
            return Ok(QuotaState::unlimited(meter, &known.unit));
        };
        let at = self.now_of(customer);
        let Some(window) = quota.window_at(at)? else {
            return Ok(QuotaState::unlimited(meter, &quota.meter.unit));
        };
        // A rolling window moves with the clock; whole seconds are near enough for a check.
        let window = match quota.spec.window {
            QuotaWindow::Rolling => {
                let end = window.end.bucket(1_000_000).plus_micros(1_000_000);
                Period::new(end.plus_micros(-window.micros()), end)
            }
            _ => window,
        };
        let used = self.recent_used(customer, quota, window).await?;
        let limits = self.limits(customer, quota, window).await?;
        let after = match quota.meter.aggregation {
            Aggregation::Max => used.clone().max(quantity.clone()),
            _ => used.add(quantity),
        };
        let verdict = limits.verdict(&used, &after);
        Ok(quota.state(&limits, used, verdict, window))
    }

    /// All quotas of a customer as they stand.
    ///
    /// # Errors
    /// When the customer does not exist.
    pub async fn quota_states(
        &self,
        customer: &CustomerId,
    ) -> Result<Vec<QuotaState>, EngineError> {
        let mut states = Vec::new();
        for quota in self.quotas_of(customer).await?.iter() {
            states.push(self.check_quota(customer, &quota.spec.meter, &Exact::ZERO).await?);
        }
        Ok(states)
    }

    /// The limits of a quota in a window.
    pub(crate) async fn limits(
        &self,
        customer: &CustomerId,
        quota: &Quota,
        window: Period,
    ) -> Result<Limits, EngineError> {
        if quota.spec.rollover.is_none() {
            return Ok(Limits::of(&quota.spec, None));
        }
        let before = quota.window_at(window.start.plus_micros(-1))?;
        let Some(before) = before else { return Ok(Limits::of(&quota.spec, None)) };
        // A customer that was not there yet has left nothing over.
        if let Some(account) = &quota.account
            && billing_period(account, before.start)?.is_none()
        {
            return Ok(Limits::of(&quota.spec, None));
        }
        let used = self.recent_used(customer, quota, before).await?;
        Ok(Limits::of(&quota.spec, Some(&used)))
    }

    async fn recent_used(
        &self,
        customer: &CustomerId,
        quota: &Quota,
        window: Period,
    ) -> Result<Exact, EngineError> {
        let (meter, now) = (&quota.spec.meter, self.clock.now());
        if let Some(used) = self.memory.used(customer, meter, window, now) {
            return Ok(used);
        }
        let used = self.usage(customer, window, &[&quota.meter]).await?.total(&quota.meter)?;
        self.memory.keep_used(customer, meter, window, now, used.clone());
        Ok(used)
    }
}
