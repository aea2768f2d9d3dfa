//! The aggregates port. A row holds one UTC day of one customer × meter × group: the day's state,
//! and its hours packed as JSON beside it. So a projector touches one row where it would touch
//! twenty-five, and a month is thirty rows.

use std::collections::HashMap;

use async_trait::async_trait;
use counterfoil_ledger::LaneId;
use counterfoil_metering::{BucketKey, GroupKey, Level, State};
use counterfoil_store::{
    AggregateStore, Bucket, Projection, StoreError, TouchWanted, UsageRead, UsageWanted,
    hours::{Hours, day_of},
};
use counterfoil_types::{CustomerId, MeterKey, Period, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    leases, multi,
    open::SqliteStore,
    rows::{self, get, signed, unsigned},
};

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
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let customer: String = get(row, 0)?;
        let start = Timestamp::from_micros(get(row, 1)?);
        let meter: String = get(row, 2)?;
        let damage = |error: String| {
            StoreError::corrupt("aggregate", format!("{customer} {meter} {start}"), error)
        };
        let group: String = get(row, 3)?;
        let state: State =
            serde_json::from_str(get(row, 4)?).map_err(|error| damage(error.to_string()))?;
        Ok(Self {
            hours: serde_json::from_str(get(row, 8)?).map_err(|error| damage(error.to_string()))?,
            bucket: Bucket {
                key: BucketKey {
                    meter: MeterKey::new(meter.as_str())
                        .map_err(|error| damage(error.to_string()))?,
                    customer: CustomerId::new(customer.as_str())
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

/// How far each meter is projected.
async fn progress(
    connection: &mut SqliteConnection,
    lane: LaneId,
) -> Result<Vec<(MeterKey, u64)>, StoreError> {
    let rows = sqlx::query("SELECT meter, position FROM projection WHERE lane_id = ?")
        .bind(lane.0)
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let meter: String = get(row, 0)?;
            let meter = MeterKey::new(meter)
                .map_err(|error| StoreError::corrupt("projection", lane, error))?;
            Ok((meter, unsigned(get(row, 1)?)))
        })
        .collect()
}

/// The stored rows with these keys.
async fn days(
    connection: &mut SqliteConnection,
    lane: LaneId,
    keys: &[BucketKey],
) -> Result<Vec<Day>, StoreError> {
    let mut found = Vec::with_capacity(keys.len());
    for chunk in multi::chunks(keys) {
        let mut query = sqlx::query(multi::values(
            day_query!("WHERE (lane_id, customer, day, meter, grp) IN (VALUES"),
            5,
            chunk.len(),
            ")",
        ));
        for key in chunk {
            query = query
                .bind(lane.0)
                .bind(key.customer.as_str())
                .bind(key.start.micros())
                .bind(key.meter.as_str())
                .bind(key.group.as_str());
        }
        for row in query.fetch_all(&mut *connection).await.map_err(store_error)? {
            found.push(Day::read(&row)?);
        }
    }
    Ok(found)
}

/// A customer's buckets over spans of days and of hours.
async fn spans(
    connection: &mut SqliteConnection,
    lane: LaneId,
    customer: &CustomerId,
    meter: Option<&MeterKey>,
    days: &[Period],
    hours: &[Period],
) -> Result<Vec<Bucket>, StoreError> {
    let mut found = Vec::new();
    let spans = (days.iter().map(|span| (Level::Day, span)))
        .chain(hours.iter().map(|span| (Level::Hour, span)))
        .filter(|(_, span)| !span.is_empty());
    for (level, span) in spans {
        // Hours may begin within a day; days are looked at whole.
        let from = match level {
            Level::Day => span.start,
            Level::Hour => span.start.bucket(Level::Day.micros()),
        };
        let rows = sqlx::query(day_query!(
            "WHERE lane_id = ?1 AND customer = ?2 AND day >= ?3 AND day < ?4 AND (?5 IS NULL OR meter = ?5)"
        ))
        .bind(lane.0)
        .bind(customer.as_str())
        .bind(from.micros())
        .bind(span.end.micros())
        .bind(meter.map(MeterKey::as_str))
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        for row in &rows {
            let day = Day::read(row)?;
            match level {
                Level::Day => found.push(day.bucket),
                Level::Hour => found.extend(day.hours_in(span)),
            }
        }
    }
    Ok(found)
}

#[async_trait]
impl AggregateStore for SqliteStore {
    async fn progress(&self, lane: LaneId) -> Result<Vec<(MeterKey, u64)>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        progress(&mut connection, lane).await
    }

    async fn buckets(&self, lane: LaneId, keys: &[BucketKey]) -> Result<Vec<Bucket>, StoreError> {
        let mut wanted: HashMap<BucketKey, Vec<&BucketKey>> = HashMap::new();
        for key in keys {
            wanted.entry(day_of(key)).or_default().push(key);
        }
        let rows: Vec<BucketKey> = wanted.keys().cloned().collect();
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        let mut found = Vec::with_capacity(keys.len());
        for day in days(&mut connection, lane, &rows).await? {
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
        let mut tx = self.begin().await?;
        leases::hold(&mut tx, projection.fence.as_ref()).await?;
        advance(&mut tx, projection).await?;
        write_days(&mut tx, projection).await?;
        write_members(&mut tx, projection).await?;
        tx.commit().await.map_err(store_error)
    }

    async fn usage(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        meter: Option<&MeterKey>,
        days: &[Period],
        hours: &[Period],
    ) -> Result<Vec<Bucket>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        spans(&mut connection, lane, customer, meter, days, hours).await
    }

    async fn usage_among(
        &self,
        lane: LaneId,
        meters: &[MeterKey],
        wanted: &[UsageWanted],
    ) -> Result<UsageRead, StoreError> {
        // A reading transaction, so that all of it is as of one moment.
        let mut tx = self.read.begin().await.map_err(store_error)?;
        let progress = progress(&mut tx, lane).await?;
        let mut found = Vec::with_capacity(wanted.len());
        for want in wanted {
            let mut buckets =
                spans(&mut tx, lane, &want.customer, None, &want.days, &want.hours).await?;
            buckets.retain(|bucket| meters.contains(&bucket.key.meter));
            found.push(buckets);
        }
        tx.commit().await.map_err(store_error)?;
        Ok(UsageRead { progress, found })
    }

    async fn meter_buckets(
        &self,
        lane: LaneId,
        meter: &MeterKey,
        hours: &Period,
    ) -> Result<Vec<Bucket>, StoreError> {
        let rows = sqlx::query(day_query!(
            "WHERE lane_id = ? AND meter = ? AND day >= ? AND day < ? ORDER BY customer, day, grp"
        ))
        .bind(lane.0)
        .bind(meter.as_str())
        .bind(hours.start.bucket(Level::Day.micros()).micros())
        .bind(hours.end.micros())
        .fetch_all(&self.read)
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
            "SELECT DISTINCT grp, member FROM aggregate_member WHERE lane_id = ? AND customer = ? AND meter = ? AND hour >= ? AND hour < ? AND n > 0",
        )
        .bind(lane.0)
        .bind(customer.as_str())
        .bind(meter.as_str())
        .bind(hours.start.micros())
        .bind(hours.end.micros())
        .fetch_all(&self.read)
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
            "SELECT EXISTS (SELECT 1 FROM aggregate WHERE lane_id = ? AND customer = ? AND day < ? AND touched > ?)",
        )
        .bind(lane.0)
        .bind(customer.as_str())
        .bind(before.micros())
        .bind(signed(after))
        .fetch_one(&self.read)
        .await
        .map_err(store_error)?;
        get(&row, 0)
    }

    async fn touched_among(
        &self,
        lane: LaneId,
        wanted: &[TouchWanted],
    ) -> Result<Vec<bool>, StoreError> {
        let mut touched = Vec::with_capacity(wanted.len());
        for want in wanted {
            touched.push(self.touched_after(lane, &want.customer, want.before, want.after).await?);
        }
        Ok(touched)
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
                    "WHERE lane_id = ? ORDER BY customer, day, meter, grp LIMIT ?"
                ))
                .bind(lane.0)
                .bind(limit)
                .fetch_all(&self.read)
                .await
            }
            Some(key) => {
                sqlx::query(day_query!(
                    "WHERE lane_id = ? AND (customer, day, meter, grp) >= (?, ?, ?, ?) ORDER BY customer, day, meter, grp LIMIT ?"
                ))
                .bind(lane.0)
                .bind(key.customer.as_str())
                .bind(key.start.micros())
                .bind(key.meter.as_str())
                .bind(key.group.as_str())
                .bind(limit.saturating_add(1))
                .fetch_all(&self.read)
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
        let mut tx = self.begin().await?;
        for sql in [
            "DELETE FROM projection WHERE lane_id = ?",
            "DELETE FROM aggregate WHERE lane_id = ?",
            "DELETE FROM aggregate_member WHERE lane_id = ?",
        ] {
            sqlx::query(sql).bind(lane.0).execute(&mut *tx).await.map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)
    }
}

/// Moves the watermarks, or finds that another projector did.
async fn advance(tx: &mut SqliteConnection, projection: &Projection) -> Result<(), StoreError> {
    for meter in &projection.meters {
        let done = sqlx::query(
            "INSERT INTO projection (lane_id, meter, position) SELECT ?1, ?2, ?4 WHERE ?3 = 0 OR EXISTS (SELECT 1 FROM projection WHERE lane_id = ?1 AND meter = ?2) ON CONFLICT (lane_id, meter) DO UPDATE SET position = ?4 WHERE position = ?3",
        )
        .bind(projection.lane.0)
        .bind(meter.as_str())
        .bind(signed(projection.from))
        .bind(signed(projection.to))
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        if done.rows_affected() != 1 {
            return Err(StoreError::conflict(
                format!("projection of {meter} in lane {}", projection.lane),
                format!("it no longer stands at position {}", projection.from),
            ));
        }
    }
    Ok(())
}

/// Writes day buckets with their hours. Hours that a projection does not name stay as they are.
async fn write_days(tx: &mut SqliteConnection, projection: &Projection) -> Result<(), StoreError> {
    let lane = projection.lane;
    let mut rows: HashMap<BucketKey, (Option<&Bucket>, Hours)> = HashMap::new();
    for bucket in &projection.buckets {
        let row = rows.entry(day_of(&bucket.key)).or_default();
        match bucket.key.level {
            Level::Day => row.0 = Some(bucket),
            Level::Hour => row.1.put(bucket),
        }
    }
    let keys: Vec<BucketKey> = rows.keys().cloned().collect();
    let mut kept: HashMap<BucketKey, Bucket> = HashMap::new();
    for day in days(tx, lane, &keys).await? {
        if let Some((new, hours)) = rows.get_mut(&day.bucket.key) {
            hours.keep(day.hours);
            if new.is_none() {
                kept.insert(day.bucket.key.clone(), day.bucket);
            }
        }
    }
    let mut ready: Vec<(&BucketKey, &Bucket, &Hours)> = Vec::with_capacity(rows.len());
    for (key, (new, hours)) in &rows {
        let day = new.or_else(|| kept.get(key)).ok_or_else(|| {
            StoreError::corrupt("aggregate", &key.customer, "hours without their day")
        })?;
        ready.push((key, day, hours));
    }
    // In key order neighbouring rows share pages.
    ready.sort_by_key(|(key, ..)| *key);
    for chunk in multi::chunks(&ready) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO aggregate (lane_id, customer, day, meter, grp, state, first, last, touched, hours) VALUES",
            10,
            chunk.len(),
            "ON CONFLICT DO UPDATE SET state = excluded.state, first = excluded.first, last = excluded.last, touched = excluded.touched, hours = excluded.hours",
        ));
        for (key, day, hours) in chunk {
            query = query
                .bind(lane.0)
                .bind(key.customer.as_str())
                .bind(key.start.micros())
                .bind(key.meter.as_str())
                .bind(key.group.as_str())
                .bind(rows::to_json(&day.state)?)
                .bind(signed(day.first))
                .bind(signed(day.last))
                .bind(signed(day.touched))
                .bind(rows::to_json(hours)?);
        }
        query.execute(&mut *tx).await.map_err(store_error)?;
    }
    Ok(())
}

async fn write_members(
    tx: &mut SqliteConnection,
    projection: &Projection,
) -> Result<(), StoreError> {
    for chunk in multi::chunks(&projection.members) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO aggregate_member (lane_id, customer, meter, hour, grp, member, n) VALUES",
            7,
            chunk.len(),
            "ON CONFLICT DO UPDATE SET n = n + excluded.n",
        ));
        for delta in chunk {
            query = query
                .bind(projection.lane.0)
                .bind(delta.customer.as_str())
                .bind(delta.meter.as_str())
                .bind(delta.hour.micros())
                .bind(delta.group.as_str())
                .bind(delta.member.as_str())
                .bind(delta.by);
        }
        query.execute(&mut *tx).await.map_err(store_error)?;
    }
    Ok(())
}
