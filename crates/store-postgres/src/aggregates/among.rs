//! Aggregates of many customers in one statement: what an invoice run reads by the page.

use counterfoil_ledger::LaneId;
use counterfoil_metering::Level;
use counterfoil_store::{StoreError, TouchWanted, UsageRead, UsageWanted};
use counterfoil_types::{MeterKey, Period};
use sqlx::Connection;

use super::{Day, progress};
use crate::{
    error::store_error,
    open::PostgresStore,
    rows::{get, signed},
};

/// The item that a place, counted from 1, stands for.
fn at<T>(items: &mut [T], place: i64) -> Option<&mut T> {
    usize::try_from(place - 1).ok().and_then(|at| items.get_mut(at))
}

/// See [`counterfoil_store::AggregateStore::usage_among`].
pub(super) async fn usage(
    store: &PostgresStore,
    lane: LaneId,
    meters: &[MeterKey],
    wanted: &[UsageWanted],
) -> Result<UsageRead, StoreError> {
    let mut found: Vec<Vec<_>> = vec![Vec::new(); wanted.len()];
    let meters: Vec<&str> = meters.iter().map(MeterKey::as_str).collect();
    // What each row of the answer was asked for.
    let mut asked: Vec<(usize, Level, &Period)> = Vec::new();
    for (number, want) in wanted.iter().enumerate() {
        asked.extend(want.days.iter().map(|span| (number, Level::Day, span)));
        asked.extend(want.hours.iter().map(|span| (number, Level::Hour, span)));
    }
    asked.retain(|(_, _, span)| !span.is_empty());
    let (mut customers, mut firsts, mut lasts, mut deep) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, level, span) in &asked {
        customers.push(wanted.get(*number).map_or("", |want| want.customer.as_str()));
        // Hours may begin within a day; days are looked at whole.
        firsts.push(match level {
            Level::Day => span.start.micros(),
            Level::Hour => span.start.bucket(Level::Day.micros()).micros(),
        });
        lasts.push(span.end.micros());
        deep.push(*level == Level::Hour);
    }
    let mut connection = store.on(lane).await?;
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let mut tx = connection.begin_with(snapshot).await.map_err(store_error)?;
    let progress = progress(&mut *tx, lane).await?;
    let rows = sqlx::query(
        "SELECT a.customer, a.day, a.meter, a.grp, a.state, a.first, a.last, a.touched, CASE WHEN w.deep THEN a.hours END, w.place FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::boolean[]) WITH ORDINALITY AS w (customer, first, last, deep, place) JOIN aggregate a ON a.lane_id = $1 AND a.customer = w.customer AND a.day >= w.first AND a.day < w.last WHERE a.meter = ANY($6)",
    )
    .bind(lane.0)
    .bind(&customers)
    .bind(&firsts)
    .bind(&lasts)
    .bind(&deep)
    .bind(&meters)
    .fetch_all(&mut *tx)
    .await
    .map_err(store_error)?;
    tx.commit().await.map_err(store_error)?;
    for row in &rows {
        let Some((number, level, span)) = at(&mut asked, get(row, 9)?) else { continue };
        let Some(buckets) = found.get_mut(*number) else { continue };
        let day = Day::read(row)?;
        match level {
            Level::Day => buckets.push(day.bucket),
            Level::Hour => buckets.extend(day.hours_in(span)),
        }
    }
    Ok(UsageRead { progress, found })
}

/// See [`counterfoil_store::AggregateStore::touched_among`].
pub(super) async fn touched(
    store: &PostgresStore,
    lane: LaneId,
    wanted: &[TouchWanted],
) -> Result<Vec<bool>, StoreError> {
    let customers: Vec<&str> = wanted.iter().map(|want| want.customer.as_str()).collect();
    let befores: Vec<i64> = wanted.iter().map(|want| want.before.micros()).collect();
    let afters: Vec<i64> = wanted.iter().map(|want| signed(want.after)).collect();
    let rows = sqlx::query(
        "SELECT w.place FROM UNNEST($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS w (customer, before, after, place) WHERE EXISTS (SELECT 1 FROM aggregate a WHERE a.lane_id = $1 AND a.customer = w.customer AND a.day < w.before AND a.touched > w.after)",
    )
    .bind(lane.0)
    .bind(&customers)
    .bind(&befores)
    .bind(&afters)
    .fetch_all(&mut *store.on(lane).await?)
    .await
    .map_err(store_error)?;
    let mut touched = vec![false; wanted.len()];
    for row in &rows {
        if let Some(slot) = at(&mut touched, get(row, 0)?) {
            *slot = true;
        }
    }
    Ok(touched)
}
