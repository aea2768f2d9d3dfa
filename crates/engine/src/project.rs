//! The projector: reads the ledger in chunks and moves aggregates and watermark together.
//!
//! Meters that stand at the same position advance together; one that was registered later catches
//! up first. Losing a race against another projector is no error: the loser reads again.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_ledger::{Effective, LaneId, StoredEvent, effective_as_of, standing};
use counterfoil_metering::{
    BucketKey, ChunkDelta, Delta, EVENTS_METER, Level, Meter, MeterIndex, State, fold,
};
use counterfoil_store::{Bucket, Fence, MemberDelta, Projection, StoreError};
use counterfoil_types::{CustomerId, MeterKey, Timestamp};

use crate::{Books, Engine, EngineError};

/// Ledger rows projected in one transaction.
pub const CHUNK: u32 = 20_000;

/// Lanes projected at once: two cores keep busy with three, and memory stays bounded.
const LANES_AT_ONCE: usize = 3;

/// What one projection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Ledger rows projected.
    pub rows: u64,
}

/// What a lane is to be projected next.
pub(crate) struct Step {
    /// The meters that stand least far.
    pub(crate) keys: Vec<MeterKey>,
    /// Where they stand.
    pub(crate) from: u64,
    /// Up to where they advance together.
    pub(crate) upto: u64,
}

/// The meters of a lane by where they stand, the engine's own included.
async fn cohorts(
    engine: &Engine,
    books: &Books,
    lane: LaneId,
) -> Result<BTreeMap<u64, Vec<MeterKey>>, EngineError> {
    let stored: HashMap<MeterKey, u64> = engine.store.progress(lane).await?.into_iter().collect();
    let own = crate::books::events_meter()?.key;
    let mut cohorts: BTreeMap<u64, Vec<MeterKey>> = BTreeMap::new();
    for key in books.meters().keys().cloned().chain([own]) {
        let at = stored.get(&key).copied().unwrap_or(0);
        cohorts.entry(at).or_default().push(key);
    }
    Ok(cohorts)
}

impl Engine {
    /// Projects all lanes up to their heads, `workers` lanes at a time.
    ///
    /// # Errors
    /// As the store has them; what was projected stays projected.
    pub async fn project_all(&self) -> Result<Progress, EngineError> {
        let books = std::sync::Arc::new(self.books().await?);
        let mut tasks = tokio::task::JoinSet::new();
        let mut total = Progress::default();
        let mut heads = self.store.heads(&self.tenant).await?.into_iter();
        loop {
            // Each lane at work holds a chunk of rows and what they change.
            while tasks.len() < LANES_AT_ONCE
                && let Some(head) = heads.next()
            {
                let (engine, books) = (self.clone(), books.clone());
                tasks.spawn(async move { engine.project_lane(&books, head.lane).await });
            }
            let Some(done) = tasks.join_next().await else { break };
            let progress =
                done.map_err(|error| EngineError::refused(format!("projector stopped: {error}")))??;
            total.rows += progress.rows;
        }
        Ok(total)
    }

    /// Projects one lane up to its head.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn project_lane(&self, books: &Books, lane: LaneId) -> Result<Progress, EngineError> {
        let mut progress = Progress::default();
        loop {
            let head = self.head_of(lane).await?;
            let Some(Step { keys, from, upto }) = self.next_step(books, lane, head).await? else {
                return Ok(progress);
            };
            match self.project_chunk(books, lane, &keys, (from, upto), None).await {
                Ok(rows) => progress.rows += rows,
                // Another projector was faster; look again where things stand.
                Err(EngineError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The last position of a lane.
    pub(crate) async fn head_of(&self, lane: LaneId) -> Result<u64, EngineError> {
        let heads = self.store.heads(&self.tenant).await?;
        Ok(heads.iter().find(|head| head.lane == lane).map_or(0, |head| head.position))
    }

    /// What a lane with this head is to be projected next; `None` when it is.
    pub(crate) async fn next_step(
        &self,
        books: &Books,
        lane: LaneId,
        head: u64,
    ) -> Result<Option<Step>, EngineError> {
        let mut cohorts = cohorts(self, books, lane).await?;
        let Some((from, keys)) = cohorts.pop_first() else { return Ok(None) };
        let upto = cohorts.keys().next().copied().unwrap_or(head).min(head);
        Ok((from < head).then_some(Step { keys, from, upto }))
    }

    /// Projects rows of a lane for meters that stand at `from`, a chunk at most, under a fence where
    /// one is given.
    pub(crate) async fn project_chunk(
        &self,
        books: &Books,
        lane: LaneId,
        keys: &[MeterKey],
        (from, upto): (u64, u64),
        fence: Option<Fence>,
    ) -> Result<u64, EngineError> {
        let rows = self.rows(lane, from, upto, None, CHUNK).await?;
        let Some(to) = rows.last().map(|row| row.position) else {
            return Err(StoreError::corrupt(
                "lane",
                lane,
                format!("its head stands at {upto}, but no row follows position {from}"),
            )
            .into());
        };
        let index = self.index_of(books, keys);
        let mut delta = ChunkDelta::default();
        let chunk: BTreeMap<u64, &StoredEvent> =
            rows.iter().map(|row| (row.position, row)).collect();
        for row in &rows {
            match row.target_position {
                None => delta.added(&index, &row.event, row.time(), row.position),
                Some(target) => {
                    let (before, after) =
                        self.standings(lane, &chunk, target, row.position).await?;
                    delta.corrected(&index, before.as_ref(), after.as_ref(), row.position);
                }
            }
        }
        let (buckets, members) = self.merge(&index, lane, delta, (from, to)).await?;
        let meters = keys.to_vec();
        let projection = Projection { lane, meters, from, to, buckets, members, fence };
        self.store.project(&projection).await?;
        Ok(rows.len() as u64)
    }

    pub(crate) fn index_of(&self, books: &Books, keys: &[MeterKey]) -> MeterIndex {
        let meters: Vec<Meter> =
            keys.iter().filter_map(|key| books.meters().get(key).cloned()).collect();
        MeterIndex::new(meters, keys.iter().any(|key| key.as_str() == EVENTS_METER))
    }

    /// The standing of a corrected event before and after the correction at `position`.
    async fn standings(
        &self,
        lane: LaneId,
        chunk: &BTreeMap<u64, &StoredEvent>,
        target: u64,
        position: u64,
    ) -> Result<(Option<Effective>, Option<Effective>), EngineError> {
        let original = match chunk.get(&target) {
            Some(row) => (*row).clone(),
            None => self.rows_at(lane, &[target]).await?.pop().ok_or_else(|| {
                StoreError::corrupt(
                    "usage_event",
                    format!("lane {lane} position {position}"),
                    format!("it corrects position {target}, which is not there"),
                )
            })?,
        };
        let corrections = self.corrections_of(lane, target, target).await?;
        let before = effective_as_of(&original, &corrections, position.saturating_sub(1));
        let after = effective_as_of(&original, &corrections, position);
        Ok((before, after))
    }

    /// Merges the deltas of a chunk into what is stored: hours first, then the days they lie in.
    async fn merge(
        &self,
        index: &MeterIndex,
        lane: LaneId,
        delta: ChunkDelta,
        (from, to): (u64, u64),
    ) -> Result<(Vec<Bucket>, Vec<MemberDelta>), EngineError> {
        let keys: Vec<BucketKey> = delta.buckets.keys().cloned().collect();
        let mut stored: HashMap<BucketKey, Bucket> = HashMap::with_capacity(keys.len() * 2);
        // Before a lane's first row there is nothing to merge into.
        if from > 0 {
            let days: HashSet<BucketKey> = keys.iter().map(day_of).collect();
            let wanted: Vec<BucketKey> = keys.iter().cloned().chain(days).collect();
            for bucket in self.store.buckets(lane, &wanted).await? {
                stored.insert(bucket.key.clone(), bucket);
            }
        }
        let mut members = Vec::new();
        let mut hours: HashMap<BucketKey, Bucket> = HashMap::with_capacity(keys.len());
        let mut by_day: HashMap<BucketKey, Vec<(BucketKey, Delta)>> = HashMap::new();
        for (key, mut change) in delta.buckets {
            take_members(&key, &mut change, &mut members);
            let hour = match merge_into(stored.get(&key), &key, &change) {
                Some(bucket) => bucket,
                None => self.refold(index, lane, stored.get(&key), &key, &change, to).await?,
            };
            hours.insert(key.clone(), hour);
            by_day.entry(day_of(&key)).or_default().push((key, change));
        }
        let mut out: Vec<Bucket> = hours.values().cloned().collect();
        for (day, mut changes) in by_day {
            changes.sort_by_key(|(hour, _)| hour.start);
            let mut merged = stored.get(&day).cloned();
            let mut whole = true;
            for (_, change) in &changes {
                match merge_into(merged.as_ref(), &day, change) {
                    Some(bucket) => merged = Some(bucket),
                    None => whole = false,
                }
            }
            out.push(match merged {
                Some(bucket) if whole => bucket,
                // Some hour was folded again: the day is put together from its hours.
                _ => self.day_from_hours(lane, &day, &hours).await?,
            });
        }
        Ok((out, members))
    }

    /// Folds one hour again from its events, as of position `to`.
    async fn refold(
        &self,
        index: &MeterIndex,
        lane: LaneId,
        stored: Option<&Bucket>,
        key: &BucketKey,
        change: &Delta,
        to: u64,
    ) -> Result<Bucket, EngineError> {
        let first = stored.map_or(change.first, |bucket| bucket.first.min(change.first));
        let last = stored.map_or(change.last, |bucket| bucket.last.max(change.last));
        let since = key.start;
        let events = self.standing_between(lane, &key.customer, (first, last), to, since).await?;
        let state = index
            .get(&key.meter)
            .and_then(|meter| fold(meter, &events, &key.period()).remove(&key.group));
        Ok(Bucket {
            key: key.clone(),
            state: state.unwrap_or(State::Count { n: 0 }),
            first,
            last,
            touched: stored.map_or(change.touched, |bucket| bucket.touched.max(change.touched)),
        })
    }

    /// A day put together from its hours: those just computed, else those stored.
    async fn day_from_hours(
        &self,
        lane: LaneId,
        day: &BucketKey,
        computed: &HashMap<BucketKey, Bucket>,
    ) -> Result<Bucket, EngineError> {
        let period = day.period();
        let stored =
            self.store.usage(lane, &day.customer, Some(&day.meter), &[], &[period]).await?;
        let mut hours: BTreeMap<i64, Bucket> = stored
            .into_iter()
            .filter(|bucket| bucket.key.group == day.group)
            .map(|bucket| (bucket.key.start.micros(), bucket))
            .collect();
        for bucket in computed.values() {
            if day_of(&bucket.key) == *day {
                hours.insert(bucket.key.start.micros(), bucket.clone());
            }
        }
        let mut whole: Option<Bucket> = None;
        for hour in hours.into_values() {
            let live = hour.state.events() > 0;
            match &mut whole {
                None => whole = Some(Bucket { key: day.clone(), ..hour }),
                Some(bucket) => {
                    bucket.first = bucket.first.min(hour.first);
                    bucket.last = bucket.last.max(hour.last);
                    bucket.touched = bucket.touched.max(hour.touched);
                    if bucket.state.events() == 0 {
                        bucket.state = hour.state;
                    } else if live {
                        // Hours of a day follow one another, so they always merge.
                        bucket.state.merge(&hour.state).map_err(|error| {
                            StoreError::corrupt("aggregate", &day.customer, error)
                        })?;
                    }
                }
            }
        }
        whole.ok_or_else(|| {
            StoreError::corrupt("aggregate", &day.customer, "a day without hours").into()
        })
    }

    /// What the events of a customer at positions `first..=last` count for as of `as_of`. Those
    /// before `since` may be missing: the caller has no use for them.
    pub(crate) async fn standing_between(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        (first, last): (u64, u64),
        as_of: u64,
        since: Timestamp,
    ) -> Result<Vec<Effective>, EngineError> {
        let mut rows = Vec::new();
        let (mut first, mut after) = (first, first.saturating_sub(1));
        loop {
            let page = match self.store.read(lane, after, last, Some(customer), CHUNK).await {
                Err(StoreError::Archived { .. }) => {
                    let past = self.archived_before(lane, since).await?.min(last);
                    if past > after {
                        (first, after) = (past + 1, past);
                        continue;
                    }
                    self.rows(lane, after, last, Some(customer), CHUNK).await?
                }
                outcome => outcome?,
            };
            let Some(end) = page.last().map(|row| row.position) else { break };
            after = end;
            rows.extend(page);
        }
        let inside = rows.last().map_or(0, |row| row.position);
        // Corrections may stand behind the rows they correct.
        let corrections = self.corrections_of(lane, first, last).await?;
        rows.extend(corrections.into_iter().filter(|row| row.position > inside));
        Ok(standing(&rows, as_of))
    }
}

/// The day bucket an hour bucket lies in.
pub(crate) fn day_of(hour: &BucketKey) -> BucketKey {
    BucketKey { level: Level::Day, start: hour.start.bucket(Level::Day.micros()), ..hour.clone() }
}

/// Members of unique counts lie in rows of their own; the state keeps only the number of events.
fn take_members(key: &BucketKey, change: &mut Delta, members: &mut Vec<MemberDelta>) {
    if let Some(State::Unique { members: counts, .. }) = &mut change.state {
        for (member, by) in std::mem::take(counts) {
            members.push(MemberDelta {
                customer: key.customer.clone(),
                meter: key.meter.clone(),
                group: key.group.clone(),
                hour: key.start,
                member,
                by,
            });
        }
    }
}

/// The stored bucket with the change merged in; `None` when it must be folded again.
fn merge_into(stored: Option<&Bucket>, key: &BucketKey, change: &Delta) -> Option<Bucket> {
    if change.refold {
        return None;
    }
    let more = change.state.as_ref()?;
    let Some(stored) = stored else {
        return Some(Bucket {
            key: key.clone(),
            state: more.clone(),
            first: change.first,
            last: change.last,
            touched: change.touched,
        });
    };
    let mut bucket = stored.clone();
    if bucket.state.events() == 0 && more.inverse().is_err() {
        bucket.state = more.clone();
    } else {
        bucket.state.merge(more).ok()?;
    }
    bucket.first = bucket.first.min(change.first);
    bucket.last = bucket.last.max(change.last);
    bucket.touched = bucket.touched.max(change.touched);
    Some(bucket)
}
