//! The aggregates port. A row holds one UTC day of one customer × meter × group: the day's state,
//! and its hours packed as JSON beside it. So a projector touches one row where it would touch
//! twenty-five, and a month is thirty rows.
//!
//! Projecting: the watermarks are moved first, and their row locks held to the end. So of two
//! projectors of one step the second waits, finds the watermark moved and writes nothing.

mod among;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use counterfoil_ledger::LaneId;
use counterfoil_metering::{BucketKey, GroupKey, Level, State};
use counterfoil_store::{
    AggregateStore, Bucket, MemberDelta, Projection, StoreError, TouchWanted, UsageRead,
    UsageWanted,
    hours::{Hours, day_of},
};
use counterfoil_types::{CustomerId, MeterKey, Period, Timestamp};
use sqlx::{PgConnection, PgExecutor, postgres::PgRow};

use crate::{
    error::{StepError, commit_error, store_error},
    leases,
    open::PostgresStore,
    rows::{self, get, signed, unsigned},
};

/// How often a projection is tried that deadlocked with another program.
const TRIES: u32 = 8;

macro_rules! day_query {
    ($rest:literal) => {
        concat!(
            "SELECT customer, day, meter, grp, state, first, last, touched, hours FROM aggregate ",
            $rest
        )
    };
}

/// One stored row.
struct Day {
    bucket: Bucket,
    hours: Hours,
}

impl Day {
    fn read(row: &PgRow) -> Result<Self, StoreError> {
        let customer: &str = get(row, 0)?;
        let start = Timestamp::from_micros(get(row, 1)?);
        let meter: &str = get(row, 2)?;
        let damage = |error: String| {
            StoreError::corrupt("aggregate", format!("{customer} {meter} {start}"), error)
        };
        let group: String = get(row, 3)?;
        let state: State =
            serde_json::from_str(get(row, 4)?).map_err(|error| damage(error.to_string()))?;
        let hours = match get::<Option<&str>>(row, 8)? {
            None => Hours::default(),
            Some(text) => serde_json::from_str(text).map_err(|error| damage(error.to_string()))?,
        };
        Ok(Self {
            hours,
            bucket: Bucket {
                key: BucketKey {
                    meter: MeterKey::new(meter).map_err(|error| damage(error.to_string()))?,
                    customer: CustomerId::new(customer)
                        .map_err(|error| damage(error.to_string()))?,
                    group: GroupKey::from_stored(group),
                    level: Level::Day,
                    start,
                },
                state,
                first: unsigned(get(row, 5)?),
                last: unsigned(get(row, 6)?),
                touched: unsigned(get(row, 7)?),
            },
        })
    }

    /// Its hours that start inside `span`, as buckets.
    fn hours_in(&self, span: &Period) -> Vec<Bucket> {
        self.hours.buckets(&self.bucket.key).filter(|b| span.contains(b.key.start)).collect()
    }
}

/// The columns of many keys.
#[derive(Default)]
struct Keys<'a> {
    customers: Vec<&'a str>,
    days: Vec<i64>,
    meters: Vec<&'a str>,
    groups: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn of(keys: impl Iterator<Item = &'a BucketKey>) -> Self {
        let mut all = Self::default();
        for key in keys {
            all.customers.push(key.customer.as_str());
            all.days.push(key.start.micros());
            all.meters.push(key.meter.as_str());
            all.groups.push(key.group.as_str());
        }
        all
    }
}

/// How far each meter is projected.
async fn progress(
    executor: impl PgExecutor<'_>,
    lane: LaneId,
) -> Result<Vec<(MeterKey, u64)>, StoreError> {
    let rows = sqlx::query("SELECT meter, position FROM projection WHERE lane_id = $1")
        .bind(lane.0)
        .fetch_all(executor)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let meter: &str = get(row, 0)?;
            let meter = MeterKey::new(meter)
                .map_err(|error| StoreError::corrupt("projection", lane, error))?;
            Ok((meter, unsigned(get(row, 1)?)))
        })
        .collect()
}

/// The stored rows with these keys.
async fn days(
    executor: impl PgExecutor<'_>,
    lane: LaneId,
    keys: &Keys<'_>,
) -> Result<Vec<Day>, StoreError> {
    let rows = sqlx::query(day_query!(
        "JOIN UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[]) AS k (k_customer, k_day, k_meter, k_grp) ON lane_id = $1 AND customer = k_customer AND day = k_day AND meter = k_meter AND grp = k_grp"
    ))
    .bind(lane.0)
    .bind(&keys.customers)
    .bind(&keys.days)
    .bind(&keys.meters)
    .bind(&keys.groups)
    .fetch_all(executor)
    .await
    .map_err(store_error)?;
    rows.iter().map(Day::read).collect()
}

#[async_trait]
impl AggregateStore for PostgresStore {
    async fn progress(&self, lane: LaneId) -> Result<Vec<(MeterKey, u64)>, StoreError> {
        progress(&mut *self.on(lane).await?, lane).await
    }

    async fn buckets(&self, lane: LaneId, keys: &[BucketKey]) -> Result<Vec<Bucket>, StoreError> {
        let mut wanted: HashMap<BucketKey, Vec<&BucketKey>> = HashMap::new();
        for key in keys {
            wanted.entry(day_of(key)).or_default().push(key);
        }
        let mut found = Vec::with_capacity(keys.len());
        for day in days(&mut *self.on(lane).await?, lane, &Keys::of(wanted.keys())).await? {
            for key in wanted.get(&day.bucket.key).into_iter().flatten() {
                match key.level {
                    Level::Day => found.push(day.bucket.clone()),
                    Level::Hour => found.extend(day.hours.bucket(key)),
                }
            }
        }
        Ok(found)
    }

    async fn project(&self, projection: &Projection) -> Result<(), StoreError> {
        let mut last = StoreError::Unavailable("the projection was not tried".to_owned());
        for _ in 0..TRIES {
            match try_project(self, projection).await {
                Ok(()) => return Ok(()),
                Err(StepError::Store(error)) => return Err(error),
                // Rolled back whole, as the server says.
                Err(StepError::Again(error)) => last = error,
            }
        }
        Err(last)
    }

    async fn usage(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        meter: Option<&MeterKey>,
        days: &[Period],
        hours: &[Period],
    ) -> Result<Vec<Bucket>, StoreError> {
        let spans: Vec<(Level, &Period)> = (days.iter().map(|span| (Level::Day, span)))
            .chain(hours.iter().map(|span| (Level::Hour, span)))
            .filter(|(_, span)| !span.is_empty())
            .collect();
        // Hours may begin within a day; days are looked at whole.
        let from = |level: Level, span: &Period| match level {
            Level::Day => span.start.micros(),
            Level::Hour => span.start.bucket(Level::Day.micros()).micros(),
        };
        let starts: Vec<i64> = spans.iter().map(|(level, span)| from(*level, span)).collect();
        let ends: Vec<i64> = spans.iter().map(|(_, span)| span.end.micros()).collect();
        let (Some(first), Some(last)) = (starts.iter().min(), ends.iter().max()) else {
            return Ok(Vec::new());
        };
        let rows = sqlx::query(day_query!(
            "WHERE lane_id = $1 AND customer = $2 AND day >= $3 AND day < $4 AND ($5::text IS NULL OR meter = $5) AND EXISTS (SELECT 1 FROM UNNEST($6::bigint[], $7::bigint[]) AS s (s_start, s_end) WHERE day >= s_start AND day < s_end)"
        ))
        .bind(lane.0)
        .bind(customer.as_str())
        .bind(first)
        .bind(last)
        .bind(meter.map(MeterKey::as_str))
        .bind(&starts)
        .bind(&ends)
        .fetch_all(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        let all = rows.iter().map(Day::read).collect::<Result<Vec<_>, _>>()?;
        let mut found = Vec::new();
        for ((level, span), start) in spans.iter().zip(&starts) {
            let within = Period::new(Timestamp::from_micros(*start), span.end);
            for day in all.iter().filter(|day| within.contains(day.bucket.key.start)) {
                match level {
                    Level::Day => found.push(day.bucket.clone()),
                    Level::Hour => found.extend(day.hours_in(span)),
                }
            }
        }
        Ok(found)
    }

    async fn usage_among(
        &self,
        lane: LaneId,
        meters: &[MeterKey],
        wanted: &[UsageWanted],
    ) -> Result<UsageRead, StoreError> {
        among::usage(self, lane, meters, wanted).await
    }

    async fn meter_buckets(
        &self,
        lane: LaneId,
        meter: &MeterKey,
        hours: &Period,
    ) -> Result<Vec<Bucket>, StoreError> {
        let rows = sqlx::query(day_query!(
            "WHERE lane_id = $1 AND meter = $2 AND day >= $3 AND day < $4 ORDER BY customer, day, grp"
        ))
        .bind(lane.0)
        .bind(meter.as_str())
        .bind(hours.start.bucket(Level::Day.micros()).micros())
        .bind(hours.end.micros())
        .fetch_all(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        let mut found = Vec::new();
        for row in &rows {
            found.extend(Day::read(row)?.hours_in(hours));
        }
        Ok(found)
    }

    async fn members(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        meter: &MeterKey,
        hours: &Period,
    ) -> Result<Vec<(GroupKey, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT grp, member FROM aggregate_member WHERE lane_id = $1 AND customer = $2 AND meter = $3 AND hour >= $4 AND hour < $5 AND n > 0",
        )
        .bind(lane.0)
        .bind(customer.as_str())
        .bind(meter.as_str())
        .bind(hours.start.micros())
        .bind(hours.end.micros())
        .fetch_all(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| Ok((GroupKey::from_stored(get(row, 0)?), get::<String>(row, 1)?)))
            .collect()
    }

    async fn touched_after(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        before: Timestamp,
        after: u64,
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM aggregate WHERE lane_id = $1 AND customer = $2 AND day < $3 AND touched > $4)",
        )
        .bind(lane.0)
        .bind(customer.as_str())
        .bind(before.micros())
        .bind(signed(after))
        .fetch_one(&mut *self.on(lane).await?)
        .await
        .map_err(store_error)?;
        get(&row, 0)
    }

    async fn touched_among(
        &self,
        lane: LaneId,
        wanted: &[TouchWanted],
    ) -> Result<Vec<bool>, StoreError> {
        among::touched(self, lane, wanted).await
    }

    async fn all_buckets(
        &self,
        lane: LaneId,
        after: Option<&BucketKey>,
        limit: u32,
    ) -> Result<Vec<Bucket>, StoreError> {
        // A row gives its day first, then its hours; a page may end within a row, and the next
        // one begins with what is left of it.
        let from = after.map(day_of);
        let rows = match &from {
            None => {
                sqlx::query(day_query!(
                    "WHERE lane_id = $1 ORDER BY customer, day, meter, grp LIMIT $2"
                ))
                .bind(lane.0)
                .bind(i64::from(limit))
                .fetch_all(&mut *self.on(lane).await?)
                .await
            }
            Some(key) => {
                sqlx::query(day_query!(
                    "WHERE lane_id = $1 AND (customer, day, meter, grp) >= ($2, $3, $4, $5) ORDER BY customer, day, meter, grp LIMIT $6"
                ))
                .bind(lane.0)
                .bind(key.customer.as_str())
                .bind(key.start.micros())
                .bind(key.meter.as_str())
                .bind(key.group.as_str())
                .bind(i64::from(limit) + 1)
                .fetch_all(&mut *self.on(lane).await?)
                .await
            }
        };
        let mut found = Vec::new();
        for row in &rows.map_err(store_error)? {
            let day = Day::read(row)?;
            let resumed = after.filter(|_| from.as_ref() == Some(&day.bucket.key));
            let seen = |bucket: &Bucket| match resumed.map(|key| (key.level, key.start)) {
                None => false,
                Some((Level::Day, _)) => bucket.key.level == Level::Day,
                Some((Level::Hour, start)) => {
                    bucket.key.level == Level::Day || bucket.key.start <= start
                }
            };
            let hours = day.hours.buckets(&day.bucket.key);
            let all = std::iter::once(day.bucket.clone()).chain(hours);
            found.extend(all.filter(|bucket| !seen(bucket)));
            if found.len() >= limit as usize {
                break;
            }
        }
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn forget(&self, lane: LaneId) -> Result<(), StoreError> {
        let mut tx = self.begin_on(lane).await?;
        for sql in [
            "DELETE FROM projection WHERE lane_id = $1",
            "DELETE FROM aggregate WHERE lane_id = $1",
            "DELETE FROM aggregate_member WHERE lane_id = $1",
        ] {
            sqlx::query(sql).bind(lane.0).execute(&mut *tx).await.map_err(store_error)?;
        }
        tx.commit().await.map_err(commit_error)
    }
}

async fn try_project(store: &PostgresStore, projection: &Projection) -> Result<(), StepError> {
    let mut tx = store.begin_on(projection.lane).await?;
    leases::hold(&mut tx, projection.fence.as_ref()).await?;
    advance(&mut tx, projection).await?;
    write_days(&mut tx, projection).await?;
    write_members(&mut tx, projection).await?;
    tx.commit().await.map_err(commit_error)?;
    Ok(())
}

/// Moves the watermarks, or finds that another projector did.
async fn advance(tx: &mut PgConnection, projection: &Projection) -> Result<(), StepError> {
    let meters: BTreeSet<&str> = projection.meters.iter().map(MeterKey::as_str).collect();
    let meters: Vec<&str> = meters.into_iter().collect();
    if projection.from == 0 {
        // Those that were never projected stand at 0; what comes next finds them there.
        sqlx::query(
            "INSERT INTO projection (lane_id, meter, position) SELECT $1, m.meter, 0 FROM UNNEST($2::text[]) AS m (meter) ON CONFLICT (lane_id, meter) DO NOTHING",
        )
        .bind(projection.lane.0)
        .bind(&meters)
        .execute(&mut *tx)
        .await?;
    }
    let moved = sqlx::query(
        "UPDATE projection SET position = $4 WHERE lane_id = $1 AND meter = ANY($2) AND position = $3 RETURNING meter",
    )
    .bind(projection.lane.0)
    .bind(&meters)
    .bind(signed(projection.from))
    .bind(signed(projection.to))
    .fetch_all(tx)
    .await?;
    if moved.len() == meters.len() {
        return Ok(());
    }
    let moved = moved.iter().map(|row| get(row, 0)).collect::<Result<BTreeSet<&str>, _>>()?;
    let stuck = meters.iter().find(|meter| !moved.contains(*meter)).copied().unwrap_or_default();
    Err(StepError::Store(StoreError::conflict(
        format!("projection of {stuck} in lane {}", projection.lane),
        format!("it no longer stands at position {}", projection.from),
    )))
}

/// Writes day buckets with their hours. Hours that a projection does not name stay as they are.
async fn write_days(tx: &mut PgConnection, projection: &Projection) -> Result<(), StepError> {
    let lane = projection.lane;
    // In key order, so that neighbouring rows share pages and nobody can deadlock.
    let mut rows: BTreeMap<BucketKey, (Option<Bucket>, Hours)> = BTreeMap::new();
    for bucket in &projection.buckets {
        let row = rows.entry(day_of(&bucket.key)).or_default();
        match bucket.key.level {
            Level::Day => row.0 = Some(bucket.clone()),
            Level::Hour => row.1.put(bucket),
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    for day in days(&mut *tx, lane, &Keys::of(rows.keys())).await? {
        if let Some((new, hours)) = rows.get_mut(&day.bucket.key) {
            hours.keep(day.hours);
            new.get_or_insert(day.bucket);
        }
    }
    let (mut firsts, mut lasts, mut touched) = (Vec::new(), Vec::new(), Vec::new());
    let (mut states, mut packed) = (Vec::new(), Vec::new());
    for (key, (day, hours)) in &rows {
        let day = day.as_ref().ok_or_else(|| {
            StoreError::corrupt("aggregate", &key.customer, "hours without their day")
        })?;
        firsts.push(signed(day.first));
        lasts.push(signed(day.last));
        touched.push(signed(day.touched));
        states.push(rows::to_json(&day.state)?);
        packed.push(rows::to_json(hours)?);
    }
    let keys = Keys::of(rows.keys());
    sqlx::query(
        "INSERT INTO aggregate (lane_id, customer, day, meter, grp, first, last, touched, state, hours) SELECT $1, a.* FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[]) AS a ON CONFLICT (lane_id, customer, day, meter, grp) DO UPDATE SET first = excluded.first, last = excluded.last, touched = excluded.touched, state = excluded.state, hours = excluded.hours",
    )
    .bind(lane.0)
    .bind(&keys.customers)
    .bind(&keys.days)
    .bind(&keys.meters)
    .bind(&keys.groups)
    .bind(&firsts)
    .bind(&lasts)
    .bind(&touched)
    .bind(&states)
    .bind(&packed)
    .execute(tx)
    .await?;
    Ok(())
}

/// What counts as one member: customer, meter, hour, group, member.
type MemberKey<'a> = (&'a str, &'a str, i64, &'a str, &'a str);

fn member_key(delta: &MemberDelta) -> MemberKey<'_> {
    (
        delta.customer.as_str(),
        delta.meter.as_str(),
        delta.hour.micros(),
        delta.group.as_str(),
        delta.member.as_str(),
    )
}

async fn write_members(tx: &mut PgConnection, projection: &Projection) -> Result<(), StepError> {
    // One statement may touch a row once only.
    let mut sums: BTreeMap<MemberKey<'_>, i64> = BTreeMap::new();
    for delta in &projection.members {
        *sums.entry(member_key(delta)).or_default() += delta.by;
    }
    if sums.is_empty() {
        return Ok(());
    }
    let customers: Vec<&str> = sums.keys().map(|key| key.0).collect();
    let meters: Vec<&str> = sums.keys().map(|key| key.1).collect();
    let hours: Vec<i64> = sums.keys().map(|key| key.2).collect();
    let groups: Vec<&str> = sums.keys().map(|key| key.3).collect();
    let members: Vec<&str> = sums.keys().map(|key| key.4).collect();
    let counts: Vec<i64> = sums.values().copied().collect();
    sqlx::query(
        "INSERT INTO aggregate_member (lane_id, customer, meter, hour, grp, member, n) SELECT $1, m.* FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[]) AS m ON CONFLICT (lane_id, customer, meter, hour, grp, member) DO UPDATE SET n = aggregate_member.n + excluded.n",
    )
    .bind(projection.lane.0)
    .bind(&customers)
    .bind(&meters)
    .bind(&hours)
    .bind(&groups)
    .bind(&members)
    .bind(&counts)
    .execute(tx)
    .await?;
    Ok(())
}
