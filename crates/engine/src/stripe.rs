//! Usage for Stripe: what is owed to it, and queueing that with the watermark in one commit.
//!
//! For each customer, meter and billing period the exact total is held against what was queued
//! before; the difference becomes one effect. Total and effect are written together, under a lease
//! of their own, so each unit is queued once whoever crashes or races. Nothing here knows how
//! Stripe is talked to.
//!
//! Any aggregation works: what arrives is a sum of differences, and that is the total.

pub mod back;
pub mod hold;
pub mod paid;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_invoicing::Customer;
use counterfoil_metering::Meter;
use counterfoil_store::{
    Commit, Lease, Write,
    stripe::{self, Address, Link, Mode, Pushed, UsagePush},
};
use counterfoil_types::{
    CustomerId, Exact, Interval, MeterKey, Period, Quantity, Rounding, Timestamp, derive_uuid,
    schedule::{IntervalUnit, Schedule},
    timestamp::{DAY_MICROS, HOUR_MICROS},
};

use crate::{Books, Engine, EngineError, contract::Account};

/// Customers whose usage is queued in one commit.
const BATCH: usize = 50;
/// How long the lease of a push lasts without a sign of life.
const TTL: i64 = 60_000_000;
/// Stripe takes no usage that is older.
const OLDEST: i64 = 35 * DAY_MICROS;
/// How long a watermark is kept after its period can no longer be pushed.
const KEPT: i64 = 400 * DAY_MICROS;
const SECOND: i64 = 1_000_000;

/// How the usage of a customer by a meter in a period stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it goes.
    pub address: Address,
    /// The total now, rounded to what Stripe is given.
    pub total: Quantity,
    /// How far it was queued.
    pub pushed: Pushed,
}

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Queued {
    /// Effects that were queued.
    pub effects: u64,
    /// Customers that were looked at.
    pub customers: u64,
    /// Customers whose usage could not be read, and why.
    pub failed: Vec<(CustomerId, String)>,
}

/// How all usage stands.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    /// What is known.
    pub found: Vec<Standing>,
    /// Customers whose usage could not be read, and why.
    pub failed: Vec<(CustomerId, String)>,
}

/// Meters of one customer, and where each goes.
type Targets = BTreeMap<MeterKey, (Address, u8)>;

impl Engine {
    /// The link to Stripe, if there is one.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn stripe_link(&self) -> Result<Option<Link>, EngineError> {
        Ok(stripe::link(self.store(), &self.tenant.id).await?)
    }

    /// Queues what Stripe was not told of yet. `holder` names this program; no two at once may have
    /// the same name. Doing it twice queues once.
    ///
    /// # Errors
    /// When another program is at it, the store was rolled back, or as the store has them.
    pub async fn queue_usage_for_stripe(&self, holder: &str) -> Result<Queued, EngineError> {
        let Some(link) = self.stripe_link().await?.filter(|link| link.mode.pushes_usage()) else {
            return Ok(Queued::default());
        };
        // A watermark that was rolled back would send again what has arrived.
        self.may_bill().await?;
        let name = format!("stripe-usage/{}", self.tenant.id);
        let taken = self.store.acquire(&name, holder, self.clock.now(), TTL).await?;
        let Some(lease) = taken else {
            return Err(EngineError::refused(
                "another program queues usage for Stripe at this moment; ask again",
            ));
        };
        let queued = self.under(&lease).queue_under(&link, &lease).await;
        // Where it is lost, or its store does not answer, it runs out by itself.
        if let Err(error) = self.store.release(&lease).await {
            tracing::debug!(%error, "the lease of a push was not given back");
        }
        queued
    }

    async fn queue_under(&self, link: &Link, lease: &Lease) -> Result<Queued, EngineError> {
        let books = self.books().await?;
        let mut known = self.watermarks().await?;
        let mut queued = Queued::default();
        let targets: Vec<_> = self.stripe_targets(link).await?.into_iter().collect();
        for page in targets.chunks(BATCH) {
            self.store.renew(lease, self.clock.now(), TTL).await?;
            let mut commit = Commit::default();
            for (customer, targets) in page {
                queued.customers += 1;
                match self.standings_of(&books, link, customer, targets, &mut known, true).await {
                    Ok(standings) => {
                        for standing in standings {
                            self.push(link, standing, &mut commit)?;
                        }
                    }
                    Err(EngineError::Store(error)) => return Err(error.into()),
                    Err(error) => queued.failed.push((customer.clone(), error.to_string())),
                }
            }
            if !commit.writes.is_empty() {
                self.commit(&commit).await?;
                queued.effects += commit.writes.len() as u64 / 2;
            }
        }
        self.forget_watermarks(known).await?;
        Ok(queued)
    }

    /// How usage stands, for all customers that Stripe knows and all periods that ended after
    /// `since` or are open.
    ///
    /// # Errors
    /// As the store has them. A customer whose usage cannot be read is listed as failed.
    pub async fn stripe_standings(&self, since: Timestamp) -> Result<Standings, EngineError> {
        let Some(link) = self.stripe_link().await?.filter(|link| link.mode.pushes_usage()) else {
            return Ok(Standings::default());
        };
        let books = self.books().await?;
        let mut known = self.watermarks().await?;
        let mut standings = Standings::default();
        for (customer, targets) in self.stripe_targets(&link).await? {
            match self.standings_of(&books, &link, &customer, &targets, &mut known, false).await {
                Ok(found) => standings.found.extend(found),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => standings.failed.push((customer, error.to_string())),
            }
        }
        // Periods that are over and were pushed before.
        let over = known.into_values().filter(|pushed| pushed.period.end > since);
        let mut targets = self.stripe_targets(&link).await?;
        for pushed in over {
            let Some(of_customer) = targets.get_mut(&pushed.customer) else { continue };
            let Some((address, decimals)) = of_customer.get(&pushed.meter).cloned() else {
                continue;
            };
            let Some(meter) = books.meters().get(&pushed.meter) else { continue };
            match self.total_of(&pushed, meter, decimals).await {
                Ok(total) => standings.found.push(Standing { address, total, pushed }),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => standings.failed.push((pushed.customer, error.to_string())),
            }
        }
        Ok(standings)
    }

    async fn total_of(
        &self,
        pushed: &Pushed,
        meter: &Meter,
        decimals: u8,
    ) -> Result<Quantity, EngineError> {
        let usage = self.usage(&pushed.customer, pushed.period, &[meter]).await?;
        rounded(&usage.total(meter)?, decimals)
    }

    async fn watermarks(&self) -> Result<HashMap<String, Pushed>, EngineError> {
        let pushed = stripe::pushed(self.store(), &self.tenant.id).await?;
        Ok(pushed.into_iter().map(|pushed| (pushed.key(), pushed)).collect())
    }

    /// Forgets the watermarks of periods that nobody asks for any more.
    async fn forget_watermarks(&self, left: HashMap<String, Pushed>) -> Result<(), EngineError> {
        let now = self.now();
        let mut commit = Commit::default();
        for (key, pushed) in left {
            if pushed.period.end.plus_micros(KEPT) < now {
                commit.writes.push(Write::Set { key, value: None });
            }
        }
        if commit.writes.is_empty() {
            return Ok(());
        }
        Ok(self.commit(&commit).await?)
    }

    /// Whose usage by which meters goes where.
    async fn stripe_targets(
        &self,
        link: &Link,
    ) -> Result<BTreeMap<CustomerId, Targets>, EngineError> {
        let (store, tenant) = (self.store(), &self.tenant.id);
        let meters = stripe::meters(store, tenant).await?;
        let mut targets: BTreeMap<CustomerId, Targets> = BTreeMap::new();
        if link.mode == Mode::UsageRecords {
            let decimals: HashMap<_, _> =
                meters.into_iter().map(|(meter, link)| (meter, link.decimals)).collect();
            for (meter, customer, item) in stripe::items(store, tenant).await? {
                let decimals = decimals.get(&meter).copied().unwrap_or(0);
                let address = Address::Item { item, set: link.set };
                targets.entry(customer).or_default().insert(meter, (address, decimals));
            }
            return Ok(targets);
        }
        for (customer, id) in stripe::customers(store, tenant).await? {
            let of_customer = meters.iter().map(|(meter, link)| {
                let address = Address::Meter {
                    customer: id.clone(),
                    event_name: link.event_name.clone(),
                    meter: link.meter.clone(),
                };
                (meter.clone(), (address, link.decimals))
            });
            targets.insert(customer, of_customer.collect());
        }
        Ok(targets)
    }

    /// How the usage of a customer stands in the periods that are open, stragglers' time included.
    /// Watermarks that it looks at are taken out of `known`.
    async fn standings_of(
        &self,
        books: &Books,
        link: &Link,
        customer: &CustomerId,
        targets: &Targets,
        known: &mut HashMap<String, Pushed>,
        open_only: bool,
    ) -> Result<Vec<Standing>, EngineError> {
        let whose = self.customer(customer).await?;
        let mut standings = Vec::new();
        for (period, keys) in self.open_periods(books, link, &whose, targets).await? {
            let meters: Vec<&Meter> =
                keys.iter().filter_map(|key| books.meters().get(key)).collect();
            let usage = self.usage(customer, period, &meters).await?;
            for meter in meters {
                let Some((address, decimals)) = targets.get(&meter.key).cloned() else { continue };
                let total = rounded(&usage.total(meter)?, decimals)?;
                let nothing = Pushed::nothing(customer.clone(), meter.key.clone(), period);
                let pushed = known.remove(&nothing.key()).unwrap_or(nothing);
                if !open_only || pushed.total != total {
                    standings.push(Standing { address, total, pushed });
                }
            }
        }
        Ok(standings)
    }

    /// The periods that usage goes to now, each with its meters. A meter counts in the periods of
    /// the subscription that charges it; one that none charges, in those of the first; without any
    /// subscription, in calendar months.
    async fn open_periods(
        &self,
        books: &Books,
        link: &Link,
        customer: &Customer,
        targets: &Targets,
    ) -> Result<BTreeMap<Period, BTreeSet<MeterKey>>, EngineError> {
        let now = self.now_of(&customer.id);
        let late = now.plus_micros(-i64::from(link.straggler_hours) * HOUR_MICROS).max(
            // Older usage is not taken any more.
            now.plus_micros(-OLDEST + HOUR_MICROS),
        );
        let mut found: Vec<(Period, BTreeSet<MeterKey>)> = Vec::new();
        for subscription in self.subscriptions_of(&customer.id).await? {
            let account = Account::new(books, customer.clone(), subscription)?;
            for number in [account.cycles.period_at(late)?, account.cycles.period_at(now)?] {
                let Some(number) = number else { continue };
                let Some((period, _)) = account.cycles.period(number)? else { continue };
                found.push((period, charged(books, &account, period)?));
            }
        }
        let mut periods: BTreeMap<Period, BTreeSet<MeterKey>> = BTreeMap::new();
        for meter in targets.keys() {
            let charging: Vec<Period> = found
                .iter()
                .filter(|(_, meters)| meters.contains(meter))
                .map(|(period, _)| *period)
                .collect();
            let any = || found.iter().map(|(period, _)| *period).collect();
            let mut candidates = if charging.is_empty() { any() } else { charging };
            if candidates.is_empty() {
                candidates = months(customer, late, now)?;
            }
            let mut taken: Vec<Period> = Vec::new();
            for period in candidates {
                // One instant counts once, whatever subscriptions overlap.
                if taken.iter().all(|other| other.intersect(&period).is_empty()) {
                    taken.push(period);
                    periods.entry(period).or_default().insert(meter.clone());
                }
            }
        }
        Ok(periods)
    }

    /// Adds the effect that tells of the difference, and the new watermark.
    fn push(
        &self,
        link: &Link,
        standing: Standing,
        commit: &mut Commit,
    ) -> Result<(), EngineError> {
        let Standing { address, total, pushed } = standing;
        let now = self.now_of(&pushed.customer);
        let delta = total.exact().sub(&pushed.total.exact());
        let count = pushed.count + 1;
        let chain = format!(
            "stripe-usage/{}/{}/{}",
            pushed.period.start.micros(),
            pushed.meter,
            pushed.customer
        );
        let key = format!("{}/{chain}/{count}", stripe::USAGE);
        let tenant = self.tenant.id.as_str();
        let id = format!("cf_{}", derive_uuid("stripe", &[tenant, &link.nonce, &key]).simple());
        // The last second of the period at most, and never the future.
        let last = pushed.period.end.plus_micros(-SECOND);
        let body = UsagePush {
            id,
            chain,
            address,
            customer: pushed.customer.clone(),
            meter: pushed.meter.clone(),
            period: pushed.period,
            count,
            before: pushed.total,
            after: total,
            delta: Quantity::try_from(&delta)?,
            time: now.min(last).max(pushed.period.start),
        };
        let body = serde_json::to_value(&body)?;
        commit.writes.push(Write::Queue { key, kind: stripe::USAGE.to_owned(), body, at: now });
        commit.writes.push(Pushed { count, total, ..pushed }.kept()?);
        Ok(())
    }
}

/// The total as Stripe is given it: rounded, and never below zero, as Stripe counts it.
fn rounded(total: &Exact, decimals: u8) -> Result<Quantity, EngineError> {
    let total = if total.is_negative() { Exact::ZERO } else { total.clone() };
    Ok(Quantity::try_from(&total.round(i32::from(decimals), Rounding::HalfAwayFromZero))?)
}

/// The meters that a subscription charges in a period.
fn charged(
    books: &Books,
    account: &Account,
    period: Period,
) -> Result<BTreeSet<MeterKey>, EngineError> {
    let segments = account.segments(books, period)?;
    let plans = segments.iter().flat_map(|segment| &segment.plans);
    Ok(plans
        .flat_map(|entry| &entry.plan.charges)
        .filter_map(|charge| charge.meter.clone())
        .collect())
}

/// The calendar months that two instants lie in.
fn months(
    customer: &Customer,
    late: Timestamp,
    now: Timestamp,
) -> Result<Vec<Period>, EngineError> {
    let month = Interval::one(IntervalUnit::Month);
    let mut periods = Vec::new();
    for at in [late, now] {
        let wrong =
            |error: counterfoil_types::ScheduleError| EngineError::refused(error.to_string());
        let schedule = Schedule::calendar(month, at, customer.zone.clone()).map_err(wrong)?;
        periods.push(schedule.period_at(at).map_err(wrong)?);
    }
    periods.dedup();
    Ok(periods)
}
