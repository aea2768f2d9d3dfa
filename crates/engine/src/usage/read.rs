//! Reading usage; see [`crate::usage`].

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use counterfoil_ledger::{Effective, LaneId};
use counterfoil_metering::{
    Aggregation, EVENTS_METER, GroupKey, Measured, Measurement, Meter, State, fold, measure,
    value::closing_level,
};
use counterfoil_store::{Bucket, StoreError, UsageRead, UsageWanted};
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, Timestamp, timestamp::HOUR_MICROS};

use super::{
    CustomerUsage, MeterUsage,
    cover::{Cover, cover},
};
use crate::{Engine, EngineError, project::CHUNK};

/// How often a reading starts over because the projector moved, before it folds all events.
const TRIES: usize = 8;
/// Start of what can be remembered: year 1. Openings sum up everything from here.
const BEGINNING: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);

/// Where a lane stood when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// The lane.
    pub lane: LaneId,
    /// Its head.
    pub head: u64,
    /// How far each meter is projected.
    progress: Arc<Vec<(MeterKey, u64)>>,
    /// Buckets that were read while it stood there.
    kept: Option<Arc<Kept>>,
}

/// Usage that was read before it is asked for, by customer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept(HashMap<CustomerId, Vec<(UsageWanted, Vec<Bucket>)>>);

/// What to read of a customer for a period in which no hour must be folded.
pub(crate) fn wanted_over(customer: CustomerId, period: &Period) -> UsageWanted {
    let Cover { days, hours, .. } = cover(period, &BTreeSet::new());
    UsageWanted { customer, days, hours }
}

fn projected_to(progress: &[(MeterKey, u64)], key: &str) -> u64 {
    progress.iter().find(|(meter, _)| meter.as_str() == key).map_or(0, |(_, at)| *at)
}

impl LaneView {
    /// A lane that stands so. Rows that were projected after the head was read count as well.
    pub(crate) fn new(lane: LaneId, head: u64, progress: Vec<(MeterKey, u64)>) -> Self {
        let head = progress.iter().map(|(_, at)| *at).fold(head, u64::max);
        Self { lane, head, progress: Arc::new(progress), kept: None }
    }

    /// The same with what was read of `wanted`, unless any meter stood elsewhere at that moment.
    /// All meters of the price books were looked for.
    pub(crate) fn with_usage(&self, wanted: Vec<UsageWanted>, read: UsageRead) -> Option<Self> {
        let UsageRead { progress: then, found } = read;
        let stands = then.iter().all(|(key, at)| projected_to(&self.progress, key.as_str()) == *at);
        if !stands || then.len() != self.progress.len() {
            return None;
        }
        let mut kept: HashMap<CustomerId, Vec<(UsageWanted, Vec<Bucket>)>> = HashMap::new();
        for (want, buckets) in wanted.into_iter().zip(found) {
            kept.entry(want.customer.clone()).or_default().push((want, buckets));
        }
        Some(Self { kept: Some(Arc::new(Kept(kept))), ..self.clone() })
    }

    /// What was kept of exactly this part of a period.
    fn kept(&self, customer: &CustomerId, cover: &Cover) -> Option<&[Bucket]> {
        let of_customer = self.kept.as_ref()?.0.get(customer)?;
        let same = |(want, _): &&(UsageWanted, Vec<Bucket>)| {
            want.days == cover.days && want.hours == cover.hours
        };
        of_customer.iter().find(same).map(|(_, buckets)| buckets.as_slice())
    }

    /// Whether one of these meters lags behind the head.
    pub(crate) fn is_behind(&self, meters: &[&Meter]) -> bool {
        self.projected(meters) < self.head
    }

    /// Position up to which all these meters are projected.
    pub(crate) fn projected(&self, meters: &[&Meter]) -> u64 {
        let at = |key: &str| projected_to(&self.progress, key);
        // The count of all events tells where to look for the events of an hour.
        meters.iter().map(|meter| at(meter.key.as_str())).fold(at(EVENTS_METER), u64::min)
    }

    /// Whether these meters still stand where they stood.
    fn holds(&self, now: &[(MeterKey, u64)], meters: &[&Meter]) -> bool {
        let mut keys = meters.iter().map(|meter| meter.key.as_str()).chain([EVENTS_METER]);
        keys.all(|key| projected_to(&self.progress, key) == projected_to(now, key))
    }
}

/// A lane as of its head, with the tail that the wanted meters have not projected.
struct Tail {
    lane: LaneId,
    head: u64,
    projected: u64,
}

/// What to read.
pub(crate) struct Request<'a> {
    pub(crate) customer: &'a CustomerId,
    pub(crate) period: Period,
    pub(crate) meters: Vec<&'a Meter>,
    /// Meters whose single values are wanted.
    pub(crate) transactions: HashSet<MeterKey>,
}

/// A stretch of time to be read.
struct Part<'a> {
    period: Period,
    /// By this meter only.
    only: Option<&'a Meter>,
    /// Where buckets may be kept.
    kept: Option<&'a LaneView>,
}

type Groups = BTreeMap<GroupKey, Vec<(Timestamp, State)>>;

impl Engine {
    /// Where a lane stands.
    pub(crate) async fn lane_view(&self, lane: LaneId) -> Result<LaneView, EngineError> {
        let heads = self.store.heads(&self.tenant).await?;
        let head = heads.iter().find(|head| head.lane == lane).map_or(0, |head| head.position);
        Ok(LaneView::new(lane, head, self.store.progress(lane).await?))
    }

    /// Usage of a customer over `period` by `meters`, as of the ledger's head.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn usage(
        &self,
        customer: &CustomerId,
        period: Period,
        meters: &[&Meter],
    ) -> Result<CustomerUsage, EngineError> {
        let transactions = HashSet::new();
        self.read(&Request { customer, period, meters: meters.to_vec(), transactions }).await
    }

    pub(crate) async fn read(&self, request: &Request<'_>) -> Result<CustomerUsage, EngineError> {
        let lane = self.tenant.lane_of(request.customer);
        for _ in 0..TRIES {
            let view = self.lane_view(lane).await?;
            if let Some(usage) = self.read_at(request, &view).await? {
                return Ok(usage);
            }
        }
        let view = self.lane_view(lane).await?;
        self.fold_usage(request, view.head).await
    }

    /// Reads with stored buckets as of `view.head`; `None` when the projector moved meanwhile.
    pub(crate) async fn read_at(
        &self,
        request: &Request<'_>,
        view: &LaneView,
    ) -> Result<Option<CustomerUsage>, EngineError> {
        let projected = view.projected(&request.meters);
        let tail = Tail { lane: view.lane, head: view.head, projected };
        let touched = self.touched_hours(&tail, request.customer).await?;
        // What was kept is of where the lane stood; only what is read now may be of another place.
        let mut asked = false;
        let whole = Part { period: request.period, only: None, kept: Some(view) };
        let part = self.states(request, whole, &touched, &tail, &mut asked).await?;
        let mut usage = CustomerUsage {
            customer: request.customer.clone(),
            lane: view.lane,
            position: view.head,
            period: request.period,
            meters: part,
        };
        for meter in request.meters.iter().filter(|meter| is_weighted(meter)) {
            let before = Period::new(BEGINNING, request.period.start);
            let earlier = Part { period: before, only: Some(meter), kept: None };
            let earlier = self.states(request, earlier, &touched, &tail, &mut asked).await?;
            set_openings(&mut usage, meter, earlier);
        }
        for key in &request.transactions {
            let values = self.transactions(request, key, view.head).await?;
            usage.meters.entry(key.clone()).or_default().transactions = Some(values);
        }
        if !asked {
            return Ok(Some(usage));
        }
        let now = self.store.progress(view.lane).await?;
        Ok(view.holds(&now, &request.meters).then_some(usage))
    }

    /// The hours that rows after the watermark fall in, or change by a correction.
    async fn touched_hours(
        &self,
        view: &Tail,
        customer: &CustomerId,
    ) -> Result<BTreeSet<Timestamp>, EngineError> {
        let mut hours = BTreeSet::new();
        let mut targets = Vec::new();
        let mut after = view.projected;
        while after < view.head {
            let rows = self.rows(view.lane, after, view.head, Some(customer), CHUNK).await?;
            let Some(last) = rows.last().map(|row| row.position) else { break };
            for row in &rows {
                match row.target_position {
                    None => {
                        hours.insert(row.time().bucket(HOUR_MICROS));
                    }
                    Some(target) => targets.push(target),
                }
            }
            after = last;
        }
        for row in self.rows_at(view.lane, &targets).await? {
            hours.insert(row.time().bucket(HOUR_MICROS));
        }
        Ok(hours)
    }

    /// States of the meters over a part, merged in order of time. `asked` becomes true when
    /// something that projectors write was read.
    async fn states(
        &self,
        request: &Request<'_>,
        part: Part<'_>,
        touched: &BTreeSet<Timestamp>,
        view: &Tail,
        asked: &mut bool,
    ) -> Result<BTreeMap<MeterKey, MeterUsage>, EngineError> {
        let Part { period, only, kept } = part;
        let meters: Vec<&Meter> = only.map_or_else(|| request.meters.clone(), |meter| vec![meter]);
        let cover = cover(&period, touched);
        let customer = request.customer;
        let stored = match kept.and_then(|view| view.kept(customer, &cover)) {
            Some(kept) => Cow::Borrowed(kept),
            None => {
                *asked = true;
                let only = only.map(|meter| &meter.key);
                let (days, hours) = (&cover.days, &cover.hours);
                Cow::Owned(self.store.usage(view.lane, customer, only, days, hours).await?)
            }
        };
        *asked |= !cover.folds.is_empty();
        let mut found: HashMap<&MeterKey, Groups> = HashMap::new();
        let wanted: HashMap<&MeterKey, &Meter> =
            meters.iter().map(|meter| (&meter.key, *meter)).collect();
        for bucket in stored.iter() {
            let Some((key, _)) = wanted.get_key_value(&bucket.key.meter) else { continue };
            if bucket.state.events() != 0 {
                let groups = found.entry(*key).or_default();
                let states = groups.entry(bucket.key.group.clone()).or_default();
                states.push((bucket.key.start, bucket.state.clone()));
            }
        }
        let mut members: HashMap<&MeterKey, BTreeSet<(GroupKey, String)>> = HashMap::new();
        for meter in meters.iter().filter(|m| m.aggregation == Aggregation::UniqueCount) {
            *asked = true;
            let seen = members.entry(&meter.key).or_default();
            for hours in cover.days.iter().chain(&cover.hours) {
                seen.extend(self.store.members(view.lane, customer, &meter.key, hours).await?);
            }
        }
        for (part, events) in self.folded_parts(view, customer, &cover).await? {
            for meter in &meters {
                for (group, state) in fold(meter, &events, &part) {
                    if let State::Unique { members: names, .. } = &state {
                        let seen = members.entry(&meter.key).or_default();
                        seen.extend(names.keys().map(|name| (group.clone(), name.clone())));
                    }
                    let groups = found.entry(&meter.key).or_default();
                    groups.entry(group).or_default().push((part.start, state));
                }
            }
        }
        let mut usage = BTreeMap::new();
        for meter in &meters {
            let groups = found.remove(&meter.key).unwrap_or_default();
            let mut merged = merged(groups)?;
            for (group, _) in members.remove(&meter.key).unwrap_or_default() {
                merged.groups.entry(group).or_default().members += 1;
            }
            usage.insert(meter.key.clone(), merged);
        }
        Ok(usage)
    }

    /// The events of each part that must be folded.
    async fn folded_parts(
        &self,
        view: &Tail,
        customer: &CustomerId,
        cover: &Cover,
    ) -> Result<Vec<(Period, Vec<Effective>)>, EngineError> {
        let events_meter = crate::books::events_meter()?.key;
        let mut parts = Vec::with_capacity(cover.folds.len());
        for part in &cover.folds {
            let start = part.start.bucket(HOUR_MICROS);
            let hour = Period::new(start, start.plus_micros(HOUR_MICROS));
            let buckets =
                self.store.usage(view.lane, customer, Some(&events_meter), &[], &[hour]).await?;
            let stored = buckets
                .iter()
                .map(|bucket| (bucket.first, bucket.last))
                .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            let mut events = Vec::new();
            if let Some((first, last)) = stored {
                let last = last.min(view.projected);
                events = self
                    .standing_between(view.lane, customer, (first, last), view.head, part.start)
                    .await?;
            }
            if view.projected < view.head {
                let tail = self
                    .standing_between(
                        view.lane,
                        customer,
                        (view.projected + 1, view.head),
                        view.head,
                        part.start,
                    )
                    .await?;
                events.extend(tail);
            }
            parts.push((*part, events));
        }
        Ok(parts)
    }

    /// The single values of a meter, in order of time.
    async fn transactions(
        &self,
        request: &Request<'_>,
        key: &MeterKey,
        as_of: u64,
    ) -> Result<Vec<Exact>, EngineError> {
        let Some(meter) = request.meters.iter().find(|meter| meter.key == *key) else {
            return Ok(Vec::new());
        };
        let lane = self.tenant.lane_of(request.customer);
        let since = request.period.start;
        let events =
            self.standing_between(lane, request.customer, (1, as_of), as_of, since).await?;
        let mut values: Vec<(Timestamp, u64, Exact)> = events
            .iter()
            .filter(|event| request.period.contains(event.time))
            .filter_map(|event| match measure(meter, &event.event) {
                Measurement::Value { value: Measured::Number(value), .. } => {
                    Some((event.time, event.position, value))
                }
                _ => None,
            })
            .collect();
        values.sort_by_key(|(time, position, _)| (*time, *position));
        Ok(values.into_iter().map(|(.., value)| value).collect())
    }

    /// Usage folded from the ledger alone, as of any position: the reference everything else is
    /// held against, and the way an old invoice is rebuilt.
    pub(crate) async fn fold_usage(
        &self,
        request: &Request<'_>,
        as_of: u64,
    ) -> Result<CustomerUsage, EngineError> {
        let lane = self.tenant.lane_of(request.customer);
        // Levels remember everything before.
        let weighted = request.meters.iter().any(|meter| is_weighted(meter));
        let since = if weighted { BEGINNING } else { request.period.start };
        let events =
            self.standing_between(lane, request.customer, (1, as_of), as_of, since).await?;
        let fold_over = |meter: &Meter, period: &Period| {
            let mut usage = MeterUsage::default();
            for (group, state) in fold(meter, &events, period) {
                let slot = usage.groups.entry(group).or_default();
                if let State::Unique { members, .. } = &state {
                    slot.members = members.len() as u64;
                }
                slot.inside = Some(state);
            }
            usage
        };
        let mut usage = CustomerUsage {
            customer: request.customer.clone(),
            lane,
            position: as_of,
            period: request.period,
            meters: BTreeMap::new(),
        };
        for meter in &request.meters {
            usage.meters.insert(meter.key.clone(), fold_over(meter, &request.period));
            if is_weighted(meter) {
                let before = Period::new(BEGINNING, request.period.start);
                let earlier = BTreeMap::from([(meter.key.clone(), fold_over(meter, &before))]);
                set_openings(&mut usage, meter, earlier);
            }
        }
        for key in &request.transactions {
            let values = self.transactions(request, key, as_of).await?;
            usage.meters.entry(key.clone()).or_default().transactions = Some(values);
        }
        Ok(usage)
    }
}

fn is_weighted(meter: &Meter) -> bool {
    matches!(meter.aggregation, Aggregation::TimeWeightedSum | Aggregation::TimeWeightedLevel)
}

/// The levels a period opens with: what everything before it left behind.
fn set_openings(usage: &mut CustomerUsage, meter: &Meter, earlier: BTreeMap<MeterKey, MeterUsage>) {
    let Some(earlier) =
        earlier.into_iter().find_map(|(key, found)| (key == meter.key).then_some(found))
    else {
        return;
    };
    let groups = &mut usage.meters.entry(meter.key.clone()).or_default().groups;
    for (group, before) in earlier.groups {
        let Some(state) = before.inside else { continue };
        let level = closing_level(&Exact::ZERO, &state);
        if !level.is_zero() {
            groups.entry(group).or_default().opening = Some(level);
        }
    }
}

fn merged(groups: Groups) -> Result<MeterUsage, EngineError> {
    let mut usage = MeterUsage::default();
    for (group, mut states) in groups {
        // In order of time, so that stated levels append.
        states.sort_by_key(|(start, _)| *start);
        let mut whole: Option<State> = None;
        for (_, state) in states {
            match &mut whole {
                None => whole = Some(state),
                Some(sum) => sum
                    .merge(&state)
                    .map_err(|error| StoreError::corrupt("aggregate", &group, error))?,
            }
        }
        usage.groups.entry(group).or_default().inside = whole;
    }
    Ok(usage)
}
