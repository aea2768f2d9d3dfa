//! The aggregates port.

use async_trait::async_trait;
use counterfoil_ledger::LaneId;
use counterfoil_metering::{BucketKey, GroupKey, Level, State};
use counterfoil_store::{AggregateStore, Bucket, Projection, StoreError};
use counterfoil_types::{CustomerId, MeterKey, Period, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    multi,
    open::SqliteStore,
    rows::{self, get, signed, unsigned},
};

macro_rules! bucket_query {
    ($rest:literal) => {
        concat!(
            "SELECT customer, level, start, meter, grp, state, first, last, touched FROM aggregate ",
            $rest
        )
    };
}

fn bucket(row: &SqliteRow) -> Result<Bucket, StoreError> {
    let customer: String = get(row, 0)?;
    let start = Timestamp::from_micros(get(row, 2)?);
    let meter: String = get(row, 3)?;
    let state: &str = get(row, 5)?;
    let place = || format!("{customer} {meter} {start}");
    let damage = |error: String| StoreError::corrupt("aggregate", place(), error);
    let level: i64 = get(row, 1)?;
    let state: State = rows::json("aggregate", &place(), state)?;
    Ok(Bucket {
        key: BucketKey {
            meter: MeterKey::new(meter.clone()).map_err(|error| damage(error.to_string()))?,
            customer: CustomerId::new(customer.clone())
                .map_err(|error| damage(error.to_string()))?,
            group: GroupKey::from_stored(get(row, 4)?),
            level: if level == Level::Day.code() { Level::Day } else { Level::Hour },
            start,
        },
        state,
        first: unsigned(get(row, 6)?),
        last: unsigned(get(row, 7)?),
        touched: unsigned(get(row, 8)?),
    })
}

#[async_trait]
impl AggregateStore for SqliteStore {
    async fn progress(&self, lane: LaneId) -> Result<Vec<(MeterKey, u64)>, StoreError> {
        let rows = sqlx::query("SELECT meter, position FROM projection WHERE lane_id = ?")
            .bind(lane.0)
            .fetch_all(&self.read)
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

    async fn buckets(&self, lane: LaneId, keys: &[BucketKey]) -> Result<Vec<Bucket>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        let mut found = Vec::with_capacity(keys.len());
        for chunk in multi::chunks(keys) {
            let mut query = sqlx::query(multi::values(
                bucket_query!("WHERE (lane_id, customer, level, start, meter, grp) IN (VALUES"),
                6,
                chunk.len(),
                ")",
            ));
            for key in chunk {
                query = query
                    .bind(lane.0)
                    .bind(key.customer.as_str())
                    .bind(key.level.code())
                    .bind(key.start.micros())
                    .bind(key.meter.as_str())
                    .bind(key.group.as_str());
            }
            for row in query.fetch_all(&mut *connection).await.map_err(store_error)? {
                found.push(bucket(&row)?);
            }
        }
        Ok(found)
    }

    async fn project(&self, projection: &Projection) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        advance(&mut tx, projection).await?;
        write_buckets(&mut tx, projection).await?;
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
        let mut found = Vec::new();
        let spans = (days.iter().map(|days| (Level::Day, days)))
            .chain(hours.iter().map(|hours| (Level::Hour, hours)))
            .filter(|(_, span)| !span.is_empty());
        for (level, span) in spans {
            let rows = sqlx::query(bucket_query!(
                "WHERE lane_id = ?1 AND customer = ?2 AND level = ?3 AND start >= ?4 AND start < ?5 AND (?6 IS NULL OR meter = ?6)"
            ))
            .bind(lane.0)
            .bind(customer.as_str())
            .bind(level.code())
            .bind(span.start.micros())
            .bind(span.end.micros())
            .bind(meter.map(MeterKey::as_str))
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
            for row in &rows {
                found.push(bucket(row)?);
            }
        }
        Ok(found)
    }

    async fn meter_buckets(
        &self,
        lane: LaneId,
        meter: &MeterKey,
        hours: &Period,
    ) -> Result<Vec<Bucket>, StoreError> {
        let rows = sqlx::query(bucket_query!(
            "WHERE lane_id = ? AND meter = ? AND level = 0 AND start >= ? AND start < ? ORDER BY customer, start, grp"
        ))
        .bind(lane.0)
        .bind(meter.as_str())
        .bind(hours.start.micros())
        .bind(hours.end.micros())
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(bucket).collect()
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
            "SELECT EXISTS (SELECT 1 FROM aggregate WHERE lane_id = ? AND customer = ? AND level = 1 AND start < ? AND touched > ?)",
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

    async fn all_buckets(
        &self,
        lane: LaneId,
        after: Option<&BucketKey>,
        limit: u32,
    ) -> Result<Vec<Bucket>, StoreError> {
        // Hour buckets only, in key order; the row values compare like the primary key.
        let rows = match after {
            None => sqlx::query(bucket_query!(
                "WHERE lane_id = ? AND level = 0 ORDER BY customer, start, meter, grp LIMIT ?"
            ))
            .bind(lane.0)
            .bind(limit)
            .fetch_all(&self.read)
            .await,
            Some(key) => sqlx::query(bucket_query!(
                "WHERE lane_id = ? AND level = 0 AND (customer, start, meter, grp) > (?, ?, ?, ?) ORDER BY customer, start, meter, grp LIMIT ?"
            ))
            .bind(lane.0)
            .bind(key.customer.as_str())
            .bind(key.start.micros())
            .bind(key.meter.as_str())
            .bind(key.group.as_str())
            .bind(limit)
            .fetch_all(&self.read)
            .await,
        };
        rows.map_err(store_error)?.iter().map(bucket).collect()
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

async fn write_buckets(
    tx: &mut SqliteConnection,
    projection: &Projection,
) -> Result<(), StoreError> {
    for chunk in multi::chunks(&projection.buckets) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO aggregate (lane_id, customer, level, start, meter, grp, state, first, last, touched) VALUES",
            10,
            chunk.len(),
            "ON CONFLICT DO UPDATE SET state = excluded.state, first = excluded.first, last = excluded.last, touched = excluded.touched",
        ));
        for bucket in chunk {
            query = query
                .bind(projection.lane.0)
                .bind(bucket.key.customer.as_str())
                .bind(bucket.key.level.code())
                .bind(bucket.key.start.micros())
                .bind(bucket.key.meter.as_str())
                .bind(bucket.key.group.as_str())
                .bind(rows::to_json(&bucket.state)?)
                .bind(signed(bucket.first))
                .bind(signed(bucket.last))
                .bind(signed(bucket.touched));
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
