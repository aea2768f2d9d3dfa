//! Everything a page of customers needs, read in a few round trips: who they are, what their plans
//! include, their quotas, usage in the windows that the rules count, and what fired before.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use counterfoil_alerting::{Rule, Watch, WatchWindow, rule::effective};
use counterfoil_invoicing::Customer;
use counterfoil_ledger::LaneId;
use counterfoil_metering::{Aggregation, GroupKey, Level, Meter, PeriodUsage, State, value_of};
use counterfoil_rating::{
    prepare::Preparation,
    quota::{QuotaSpec, QuotaWindow},
};
use counterfoil_store::{Bucket, Fired, StoreError, UsageWanted};
use counterfoil_types::{
    CustomerId, Exact, MeterKey, Period, PlanKey, Timestamp, timestamp::DAY_MICROS,
};

use crate::{
    Books, Engine, EngineError,
    contract::{Account, spans},
    quotas::Quota,
    usage::wanted_over,
};

/// What one evaluation works with.
pub(super) struct Setup {
    pub(super) rules: Vec<Rule>,
    pub(super) books: Arc<Books>,
    pub(super) seen: HashMap<LaneId, u64>,
    pub(super) quotas: HashMap<CustomerId, Vec<QuotaSpec>>,
}

/// Units a plan includes.
pub(super) struct Included {
    pub(super) meter: MeterKey,
    pub(super) preparation: Preparation,
    pub(super) window: Period,
}

/// One customer, with the rules that hold for it.
pub(super) struct Case<'a> {
    pub(super) customer: Customer,
    pub(super) at: Timestamp,
    pub(super) rules: Vec<&'a Rule>,
    /// The billing periods that hold now.
    pub(super) periods: Vec<Period>,
    pub(super) included: Vec<Included>,
    pub(super) quotas: Vec<(Quota, Period)>,
    /// Meters its plans price.
    pub(super) meters: Vec<MeterKey>,
}

/// A page.
pub(super) struct Page<'a> {
    pub(super) setup: &'a Setup,
    pub(super) cases: Vec<Case<'a>>,
    pub(super) fired: HashMap<CustomerId, Vec<Fired>>,
    usage: HashMap<(CustomerId, Period), Vec<Bucket>>,
}

/// The UTC days before today, as many as are looked back on.
pub(super) fn days_before(at: Timestamp, days: u16) -> Period {
    let today = at.bucket(DAY_MICROS);
    Period::new(today.plus_micros(-i64::from(days) * DAY_MICROS), today)
}

/// Today in UTC.
pub(super) fn today(at: Timestamp) -> Period {
    let start = at.bucket(DAY_MICROS);
    Period::new(start, start.plus_micros(DAY_MICROS))
}

/// Whether a meter's value over a period follows from the states of its buckets alone.
pub(super) fn is_plain(meter: &Meter) -> bool {
    !matches!(
        meter.aggregation,
        Aggregation::UniqueCount | Aggregation::TimeWeightedSum | Aggregation::TimeWeightedLevel
    )
}

/// Whether a period is made of whole hours.
fn is_whole(period: &Period) -> bool {
    let hour = counterfoil_types::timestamp::HOUR_MICROS;
    period.start.bucket(hour) == period.start && period.end.bucket(hour) == period.end
}

impl Case<'_> {
    /// The longest history a rule looks back on, in days.
    pub(super) fn history(&self) -> u16 {
        self.rules.iter().map(|rule| rule.watch.history()).max().unwrap_or(0)
    }

    /// The window of a rule on usage that holds now.
    pub(super) fn windows(&self, window: WatchWindow) -> Result<Vec<Period>, EngineError> {
        let calendar = match window {
            WatchWindow::BillingPeriod => return Ok(self.periods.clone()),
            WatchWindow::Day => QuotaWindow::Daily,
            WatchWindow::Month => QuotaWindow::Monthly,
        };
        let spec = QuotaSpec {
            meter: counterfoil_metering_key()?,
            soft: None,
            hard: None,
            window: calendar,
            hours: None,
            rollover: None,
        };
        Ok(spec.window_at(self.at, &self.customer.zone, None)?.into_iter().collect())
    }

    /// The stretches whose usage the rules want.
    fn wanted(&self) -> Result<HashSet<Period>, EngineError> {
        let mut wanted = HashSet::new();
        for rule in &self.rules {
            match &rule.watch {
                Watch::Included { .. } | Watch::Forecast { .. } => {
                    wanted.extend(self.included.iter().map(|included| included.window));
                }
                Watch::Quota { .. } => {
                    wanted.extend(self.quotas.iter().map(|(_, window)| *window));
                }
                Watch::Usage { window, .. } => wanted.extend(self.windows(*window)?),
                Watch::Change { .. } | Watch::Anomaly { .. } => {
                    wanted.insert(days_before(self.at, self.history()));
                    wanted.insert(today(self.at));
                }
                Watch::Spend { .. } => {}
            }
        }
        Ok(wanted)
    }
}

/// Any key: calendar windows are those of every meter.
fn counterfoil_metering_key() -> Result<MeterKey, EngineError> {
    Ok(crate::books::events_meter()?.key)
}

impl Page<'_> {
    fn meter(&self, key: &MeterKey) -> Option<&Meter> {
        self.setup.books.meters().get(key)
    }

    /// What a meter came to in a window that was read.
    fn kept(
        &self,
        customer: &CustomerId,
        meter: &Meter,
        period: Period,
        only: impl Fn(&Bucket) -> bool,
    ) -> Result<Option<Exact>, EngineError> {
        let Some(buckets) = self.usage.get(&(customer.clone(), period)) else { return Ok(None) };
        let mut groups: BTreeMap<&GroupKey, Vec<&Bucket>> = BTreeMap::new();
        for bucket in buckets.iter().filter(|bucket| bucket.key.meter == meter.key) {
            if bucket.state.events() != 0 && only(bucket) {
                groups.entry(&bucket.key.group).or_default().push(bucket);
            }
        }
        let mut total = Exact::ZERO;
        for (group, mut buckets) in groups {
            buckets.sort_by_key(|bucket| bucket.key.start);
            let mut inside: Option<State> = None;
            for bucket in buckets {
                match &mut inside {
                    None => inside = Some(bucket.state.clone()),
                    Some(sum) => sum
                        .merge(&bucket.state)
                        .map_err(|error| StoreError::corrupt("aggregate", group, error))?,
                }
            }
            let usage = PeriodUsage { inside, ..PeriodUsage::default() };
            total = total.add(&value_of(meter, &usage, &period)?);
        }
        Ok(Some(total))
    }

    /// Usage in a window.
    pub(super) async fn used(
        &self,
        engine: &Engine,
        case: &Case<'_>,
        meter: &MeterKey,
        period: Period,
    ) -> Result<Exact, EngineError> {
        let Some(meter) = self.meter(meter) else { return Ok(Exact::ZERO) };
        let customer = &case.customer.id;
        if is_plain(meter)
            && is_whole(&period)
            && let Some(kept) = self.kept(customer, meter, period, |_| true)?
        {
            return Ok(kept);
        }
        // Levels last count up to now, not to the end of a period that is still open.
        let until = if is_plain(meter) { period.end } else { period.end.min(case.at) };
        let read = Period::new(period.start, until.max(period.start));
        Ok(engine.usage(customer, read, &[meter]).await?.total(meter)?)
    }

    /// What each whole UTC day of a window that was read came to, up to `until`; nothing for meters
    /// that buckets alone do not tell.
    pub(super) fn days(
        &self,
        case: &Case<'_>,
        meter: &MeterKey,
        period: Period,
        until: Timestamp,
    ) -> Result<Vec<Exact>, EngineError> {
        let Some(meter) = self.meter(meter).filter(|meter| is_plain(meter)) else {
            return Ok(Vec::new());
        };
        let mut days = Vec::new();
        let first = period.start.bucket(DAY_MICROS);
        let mut day = if first == period.start { first } else { first.plus_micros(DAY_MICROS) };
        while day.plus_micros(DAY_MICROS) <= until {
            let same = |bucket: &Bucket| bucket.key.level == Level::Day && bucket.key.start == day;
            let kept = self.kept(&case.customer.id, meter, period, same)?;
            days.push(kept.unwrap_or(Exact::ZERO));
            day = day.plus_micros(DAY_MICROS);
        }
        Ok(days)
    }
}

impl Engine {
    /// The quotas that customers have of their own.
    pub(super) async fn all_own_quotas(
        &self,
    ) -> Result<HashMap<CustomerId, Vec<QuotaSpec>>, EngineError> {
        let mut found: HashMap<CustomerId, Vec<QuotaSpec>> = HashMap::new();
        for (key, value) in self.store.settings(&self.tenant.id, "quota/").await? {
            let Some((customer, _)) = key.trim_start_matches("quota/").rsplit_once('/') else {
                continue;
            };
            if let Ok(customer) = CustomerId::new(customer) {
                found.entry(customer).or_default().push(serde_json::from_str(&value)?);
            }
        }
        Ok(found)
    }

    pub(super) async fn read_alert_page<'a>(
        &self,
        setup: &'a Setup,
        customers: &[CustomerId],
    ) -> Result<Page<'a>, EngineError> {
        let known = self.store.customers_named(&self.tenant.id, customers).await?;
        let mut of: HashMap<CustomerId, Vec<_>> = HashMap::new();
        for one in self.store.subscriptions_among(&self.tenant.id, customers).await? {
            of.entry(one.customer.clone()).or_default().push(one);
        }
        let mut cases = Vec::with_capacity(known.len());
        for customer in known {
            let id = customer.id.clone();
            let mut subscriptions = of.remove(&id).unwrap_or_default();
            subscriptions.sort_by(|a, b| a.id.cmp(&b.id));
            let case = subscriptions
                .into_iter()
                .map(|one| Ok(Arc::new(Account::new(&setup.books, customer.clone(), one)?)))
                .collect::<Result<Vec<_>, EngineError>>()
                .and_then(|accounts| self.case(setup, customer, accounts));
            match case {
                Ok(case) if case.rules.is_empty() => {}
                Ok(case) => cases.push(case),
                Err(error) => {
                    tracing::warn!(customer = %id, %error, "alerts were not evaluated");
                }
            }
        }
        let usage = self.usage_of_cases(setup, &cases).await?;
        let since = cases.iter().map(|case| case.at).min().unwrap_or_else(|| self.now());
        // What was told within the hour counts for digests, whatever its window.
        let since = since.plus_micros(-super::fire::HOUR.max(2 * DAY_MICROS));
        let mut fired: HashMap<CustomerId, Vec<Fired>> = HashMap::new();
        for one in self.store.fired_among(&self.tenant.id, customers, since).await? {
            fired.entry(one.customer.clone()).or_default().push(one);
        }
        Ok(Page { setup, cases, fired, usage })
    }

    fn case<'a>(
        &self,
        setup: &'a Setup,
        customer: Customer,
        accounts: Vec<Arc<Account>>,
    ) -> Result<Case<'a>, EngineError> {
        let at = self.now_of(&customer.id);
        let mut plans: Vec<PlanKey> = Vec::new();
        let (mut periods, mut included, mut meters) = (Vec::new(), Vec::new(), Vec::new());
        for account in &accounts {
            let Some(number) = account.cycles.period_at(at)? else { continue };
            let Some((period, _)) = account.cycles.period(number)? else { continue };
            periods.push(period);
            let segments = account.segments(&setup.books, period)?;
            let now = segments.iter().filter(|segment| segment.period.contains(at));
            plans.extend(now.flat_map(|now| &now.plans).map(|entry| entry.plan.key.clone()));
            for span in spans(&segments).iter().filter(|span| span.period.contains(at)) {
                let Some(charge) = span.charge() else { continue };
                let Some(meter) = &charge.meter else { continue };
                if !meters.contains(meter) {
                    meters.push(meter.clone());
                }
                if charge.preparation.included.exact().is_positive() {
                    included.push(Included {
                        meter: meter.clone(),
                        preparation: charge.preparation.clone(),
                        window: span.period,
                    });
                }
            }
        }
        let own = setup.quotas.get(&customer.id).cloned().unwrap_or_default();
        let mut quotas = Vec::new();
        for quota in Self::quotas_under(&setup.books, &customer, &accounts, at, own)? {
            if let Some(window) = quota.window_at(at)? {
                quotas.push((quota, window));
            }
        }
        let rules = effective(&setup.rules, &customer.id, &plans);
        Ok(Case { customer, at, rules, periods, included, quotas, meters })
    }

    /// Buckets of all windows the cases want, lane by lane.
    async fn usage_of_cases(
        &self,
        setup: &Setup,
        cases: &[Case<'_>],
    ) -> Result<HashMap<(CustomerId, Period), Vec<Bucket>>, EngineError> {
        let meters: Vec<MeterKey> = setup
            .books
            .meters()
            .values()
            .filter(|meter| is_plain(meter))
            .map(|meter| meter.key.clone())
            .collect();
        let mut wanted: BTreeMap<LaneId, Vec<(Period, UsageWanted)>> = BTreeMap::new();
        for case in cases {
            let of_lane = wanted.entry(self.tenant.lane_of(&case.customer.id)).or_default();
            for period in case.wanted()?.into_iter().filter(is_whole) {
                of_lane.push((period, wanted_over(case.customer.id.clone(), &period)));
            }
        }
        let mut usage = HashMap::new();
        for (lane, wanted) in wanted {
            let (periods, wanted): (Vec<Period>, Vec<UsageWanted>) = wanted.into_iter().unzip();
            let read = self.store.usage_among(lane, &meters, &wanted).await?;
            for ((period, want), buckets) in periods.into_iter().zip(wanted).zip(read.found) {
                usage.insert((want.customer, period), buckets);
            }
        }
        Ok(usage)
    }
}
