//! Usage over time, by property and by customer.

use std::collections::{BTreeMap, HashMap};

use counterfoil_metering::{Aggregation, GroupKey, Meter, PeriodUsage, State, fold, value_of};
use counterfoil_types::{
    CustomerId, Exact, MeterKey, Period, Timestamp, Zone, timestamp::HOUR_MICROS,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError};

/// Most steps of one series.
pub const MOST_STEPS: usize = 1_000;

/// Positions of a lane that are read at once where every event is looked at.
const STRETCH: u64 = 200_000;

/// Length of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// An hour.
    Hour,
    /// A local day.
    #[default]
    Day,
    /// A local week, Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

/// One step of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Point {
    /// The step, cut at the ends of what was asked for.
    pub period: Period,
    /// Usage in it.
    pub value: Exact,
    /// Events that counted.
    pub events: u64,
}

/// Usage of one value of a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Share {
    /// The value; absent for events without the property, and for the rest.
    pub value: Option<String>,
    /// Whether this is everything that is not listed.
    pub rest: bool,
    /// Usage.
    pub usage: Exact,
    /// Events that counted.
    pub events: u64,
}

/// Usage of one customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CustomerShare {
    /// The customer.
    pub customer: CustomerId,
    /// Usage.
    pub usage: Exact,
    /// Events that counted.
    pub events: u64,
}

/// The steps of a period on the clock of `zone`, the first and the last cut at its ends.
///
/// # Errors
/// When there are more than [`MOST_STEPS`], or a date leaves the years that can be computed with.
pub fn steps(period: Period, step: Step, zone: &Zone) -> Result<Vec<Period>, EngineError> {
    let mut found = Vec::new();
    let out = |_| EngineError::refused("the range leaves the years that can be computed with");
    let mut at = period.start;
    while at < period.end {
        if found.len() >= MOST_STEPS {
            return Err(EngineError::refused(format!(
                "that are more than {MOST_STEPS} steps; ask for a shorter range or longer steps"
            )));
        }
        let day = zone.civil(at)?.date();
        let next = match step {
            Step::Hour => {
                let civil = zone.civil(at)?;
                let past = i64::from(civil.minute()) * 60_000_000
                    + i64::from(civil.second()) * 1_000_000
                    + i64::from(civil.subsec_nanosecond()) / 1_000;
                at.plus_micros(HOUR_MICROS - past)
            }
            Step::Day => zone.instant(day.tomorrow().map_err(out)?.at(0, 0, 0, 0))?,
            Step::Week => {
                let days = 7 - i64::from(day.weekday().to_monday_zero_offset());
                let span = jiff::Span::new().try_days(days).map_err(out)?;
                zone.instant(day.checked_add(span).map_err(out)?.at(0, 0, 0, 0))?
            }
            Step::Month => {
                zone.instant(day.last_of_month().tomorrow().map_err(out)?.at(0, 0, 0, 0))?
            }
        };
        found.push(Period::new(at, next.min(period.end)));
        at = next;
    }
    Ok(found)
}

impl Engine {
    /// Usage of a customer step by step, on the customer's clock. A level counts up to now.
    ///
    /// # Errors
    /// When customer or meter do not exist, or there are too many steps.
    pub async fn usage_series(
        &self,
        customer: &CustomerId,
        meter: &MeterKey,
        period: Period,
        step: Step,
    ) -> Result<Vec<Point>, EngineError> {
        let zone = self.customer(customer).await?.zone;
        let books = self.recent_books().await?;
        let meter = known_meter(&books, meter)?;
        let now = self.now_of(customer);
        let steps = steps(period, step, &zone)?;
        // A level lasts up to now; what lies ahead is nothing yet.
        let read: Vec<Period> = steps
            .iter()
            .map(|step| {
                let end = if is_level(meter) { step.end.min(now) } else { step.end };
                Period::new(step.start, end)
            })
            .filter(|step| step.start < step.end)
            .collect();
        let mut used = self.usage_steps(customer, &read, &[meter]).await?.into_iter();
        let mut points = Vec::with_capacity(steps.len());
        for step in steps {
            let nothing = (Exact::ZERO, 0);
            let (value, events) = if is_level(meter) && now <= step.start {
                nothing
            } else {
                match used.next() {
                    Some(usage) => (usage.total(meter)?, usage.events(&meter.key)),
                    None => nothing,
                }
            };
            points.push(Point { period: step, value, events });
        }
        Ok(points)
    }

    /// Usage of a customer by the values of a property, largest first, at most `top` of them and
    /// the rest. Totals are exact; of a maximum, mean or the like the rest is left out, since they
    /// do not add up.
    ///
    /// # Errors
    /// When customer or meter do not exist.
    pub async fn usage_breakdown(
        &self,
        customer: &CustomerId,
        meter: &MeterKey,
        property: &str,
        period: Period,
        top: usize,
    ) -> Result<Vec<Share>, EngineError> {
        self.customer(customer).await?;
        let books = self.recent_books().await?;
        let meter = known_meter(&books, meter)?;
        let by = Meter { group_by: vec![property.to_owned()], ..meter.clone() };
        let events = self.events_in(customer, period).await?;
        let mut shares = Vec::new();
        let mut states: Vec<(GroupKey, State)> = fold(&by, &events, &period).into_iter().collect();
        states.sort_by(|a, b| a.0.cmp(&b.0));
        for (group, state) in states {
            let members = match &state {
                State::Unique { members, .. } => members.len() as u64,
                _ => 0,
            };
            let count = u64::try_from(state.events()).unwrap_or(0);
            let usage = PeriodUsage { inside: Some(state), opening: None, members };
            shares.push(Share {
                value: group.values().into_iter().next().flatten(),
                rest: false,
                usage: value_of(&by, &usage, &period)?,
                events: count,
            });
        }
        shares.sort_by(|a, b| b.usage.cmp(&a.usage).then_with(|| a.value.cmp(&b.value)));
        if shares.len() > top {
            let rest = shares.split_off(top);
            if matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count) {
                shares.push(Share {
                    value: None,
                    rest: true,
                    usage: rest.iter().map(|share| &share.usage).sum(),
                    events: rest.iter().map(|share| share.events).sum(),
                });
            }
        }
        Ok(shares)
    }

    /// What a customer's events in a period count for, tail included.
    pub(crate) async fn events_in(
        &self,
        customer: &CustomerId,
        period: Period,
    ) -> Result<Vec<counterfoil_ledger::Effective>, EngineError> {
        let mut found = Vec::new();
        let mut keep = |event: &counterfoil_ledger::Effective| found.push(event.clone());
        self.each_event_in(customer, period, &mut keep).await?;
        Ok(found)
    }

    /// Hands over what each of a customer's events in a period counts for, tail included, a stretch
    /// of the ledger at a time: memory is that of a stretch.
    pub(crate) async fn each_event_in(
        &self,
        customer: &CustomerId,
        period: Period,
        each: &mut (dyn FnMut(&counterfoil_ledger::Effective) + Send),
    ) -> Result<(), EngineError> {
        let lane = self.tenant.lane_of(customer);
        let view = self.lane_view(lane).await?;
        let events = crate::books::events_meter()?;
        let projected = view.projected(&[&events]);
        let hours = Period::new(
            period.start.bucket(HOUR_MICROS),
            period.end.plus_micros(HOUR_MICROS - 1).bucket(HOUR_MICROS),
        );
        let buckets = self.store.usage(lane, customer, Some(&events.key), &[], &[hours]).await?;
        let ends = buckets
            .iter()
            .map(|bucket| (bucket.first, bucket.last))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let known = ends.map(|(first, last)| (first, last.min(projected)));
        let tail = (projected < view.head).then_some((projected + 1, view.head));
        for (first, last) in known.into_iter().chain(tail) {
            let mut from = first;
            while from <= last {
                let to = last.min(from.saturating_add(STRETCH - 1));
                let stretch = (from, to);
                let found =
                    self.standing_between(lane, customer, stretch, view.head, period.start).await?;
                found.iter().filter(|event| period.contains(event.time)).for_each(&mut *each);
                from = to + 1;
            }
        }
        Ok(())
    }

    /// The customers that used most of a meter in the whole hours of a period, largest first.
    ///
    /// # Errors
    /// When the meter does not exist, or is one whose usage over hours cannot be put together.
    pub async fn top_customers(
        &self,
        meter: &MeterKey,
        period: Period,
        top: usize,
    ) -> Result<Vec<CustomerShare>, EngineError> {
        let books = self.recent_books().await?;
        let meter = known_meter(&books, meter)?;
        if is_level(meter) || meter.aggregation == Aggregation::UniqueCount {
            return Err(EngineError::refused(format!(
                "customers cannot be ranked by meter {}: its hours do not add up",
                meter.key
            )));
        }
        self.project_all().await?;
        let hours = Period::new(
            period.start.bucket(HOUR_MICROS),
            period.end.plus_micros(HOUR_MICROS - 1).bucket(HOUR_MICROS),
        );
        let mut found: Vec<CustomerShare> = Vec::new();
        for lane in self.lanes() {
            let mut groups: HashMap<(CustomerId, GroupKey), Vec<(Timestamp, State)>> =
                HashMap::new();
            for bucket in self.store.meter_buckets(lane, &meter.key, &hours).await? {
                if bucket.state.events() != 0 {
                    let key = (bucket.key.customer, bucket.key.group);
                    groups.entry(key).or_default().push((bucket.key.start, bucket.state));
                }
            }
            let mut customers: BTreeMap<CustomerId, (Exact, u64)> = BTreeMap::new();
            for ((customer, _), mut states) in groups {
                states.sort_by_key(|(start, _)| *start);
                let mut whole: Option<State> = None;
                for (_, state) in states {
                    match &mut whole {
                        None => whole = Some(state),
                        Some(sum) => sum.merge(&state).map_err(|error| {
                            counterfoil_store::StoreError::corrupt("aggregate", &customer, error)
                        })?,
                    }
                }
                let usage = PeriodUsage { inside: whole, opening: None, members: 0 };
                let slot = customers.entry(customer).or_insert((Exact::ZERO, 0));
                slot.0 = slot.0.add(&value_of(meter, &usage, &hours)?);
                slot.1 += usage.events();
            }
            found.extend(customers.into_iter().map(|(customer, (usage, events))| CustomerShare {
                customer,
                usage,
                events,
            }));
        }
        found.sort_by(|a, b| b.usage.cmp(&a.usage).then_with(|| a.customer.cmp(&b.customer)));
        found.truncate(top);
        Ok(found)
    }
}

fn known_meter<'a>(books: &'a crate::Books, meter: &MeterKey) -> Result<&'a Meter, EngineError> {
    let found = books.meters().get(meter);
    found.ok_or_else(|| EngineError::not_found("meter", meter, "; see the list of meters"))
}

fn is_level(meter: &Meter) -> bool {
    matches!(meter.aggregation, Aggregation::TimeWeightedSum | Aggregation::TimeWeightedLevel)
}
