//! The archive port: the content of rows goes when an archive holds it, and comes back. Each is
//! one transaction under the write lock, so no append, projection or correction comes in between.

use async_trait::async_trait;
use counterfoil_ledger::{LaneId, StoredEvent, body, content_hash, key_hash};
use counterfoil_store::{
    ArchiveRecord, ArchiveState, ArchiveStore, Known, Manifest, Seal, StoreError, Tenant,
    archive::{fact, read_remains, refuse_other_rows, remains},
};
use counterfoil_types::{CustomerId, Digest, TenantId, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    catalog,
    error::store_error,
    journal,
    open::SqliteStore,
    rows::{self, event_query, get, signed, unsigned},
};

#[async_trait]
impl ArchiveStore for SqliteStore {
    async fn seals(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
        limit: u32,
    ) -> Result<Vec<Seal>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, recorded_at, time, customer, target, leaf, archived FROM usage_event WHERE lane_id = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?",
        )
        .bind(lane.0)
        .bind(signed(after))
        .bind(signed(upto))
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| seal(lane, row)).collect()
    }

    async fn corrections_after(
        &self,
        lane: LaneId,
        first: u64,
        last: u64,
        after: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(event_query!(
            "WHERE lane_id = ? AND target IS NOT NULL AND target BETWEEN ? AND ? AND position > ? ORDER BY position"
        ))
        .bind(lane.0)
        .bind(signed(first))
        .bind(signed(last))
        .bind(signed(after))
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(rows::event).collect()
    }

    async fn known(
        &self,
        tenant: &TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<Known>, StoreError> {
        let key = key_hash(tenant, source, id);
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        match archived_by_key(&mut connection, &key).await? {
            Some(known) => Ok(Some(known)),
            None => {
                let row = crate::append::row_by_key(&mut connection, &key).await?;
                Ok(row.map(|row| Known {
                    lane: row.lane,
                    position: row.position,
                    content: content_hash(tenant, &row.event),
                }))
            }
        }
    }

    async fn archives(&self, tenant: &TenantId) -> Result<Vec<ArchiveRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.state, a.at, a.place, a.manifest FROM archive AS a JOIN tenant AS t ON t.number = a.tenant WHERE t.id = ? ORDER BY a.lane_id, a.first, a.last",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let state: &str = get(row, 0)?;
                let place: String = get(row, 2)?;
                Ok(ArchiveRecord {
                    manifest: rows::json("archive", &place, get(row, 3)?)?,
                    state: ArchiveState::parse(state).ok_or_else(|| {
                        StoreError::corrupt("archive", &place, format!("state {state:?}"))
                    })?,
                    at: Timestamp::from_micros(get(row, 1)?),
                    place,
                })
            })
            .collect()
    }

    async fn drop_content(
        &self,
        tenant: &Tenant,
        manifest: &Manifest,
        place: &str,
        rows: &[StoredEvent],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        refuse_other_rows(tenant, manifest, rows)?;
        let mut tx = self.begin().await?;
        match state_of(&mut tx, manifest).await? {
            Some(ArchiveState::Archived) => return Ok(()),
            Some(ArchiveState::Restored) | None => {}
        }
        may_drop(&mut tx, manifest).await?;
        let number = catalog::number_of(&mut tx, &tenant.id).await?;
        record(&mut tx, number, manifest, place, at).await?;
        for row in rows {
            let done = sqlx::query(
                "UPDATE usage_event SET archived = ?, type = '', source = '', id = '', quantity = '', body = NULL WHERE lane_id = ? AND position = ? AND leaf = ? AND archived IS NULL",
            )
            .bind(remains(&tenant.id, row))
            .bind(row.lane.0)
            .bind(signed(row.position))
            .bind(row.leaf.0.to_vec())
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
            one(manifest, row, done.rows_affected())?;
        }
        let fact = fact("ledger.archived", manifest, at)?;
        journal::record(&mut tx, number, &fact).await?;
        tx.commit().await.map_err(store_error)
    }

    async fn put_back(
        &self,
        tenant: &Tenant,
        manifest: &Manifest,
        rows: &[StoredEvent],
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        refuse_other_rows(tenant, manifest, rows)?;
        let mut tx = self.begin().await?;
        let id = manifest.id();
        match state_of(&mut tx, manifest).await? {
            None => {
                return Err(StoreError::conflict(
                    format!("archive {id}"),
                    "the store has no record of it",
                ));
            }
            Some(ArchiveState::Restored) => return still_whole(&mut tx, manifest).await,
            Some(ArchiveState::Archived) => {}
        }
        let (_, last) = held(&mut tx, manifest.lane()).await?;
        if last != manifest.last {
            return Err(StoreError::conflict(
                format!("archive {id}"),
                format!("its lane is archived up to position {last}; restore the later ones first"),
            ));
        }
        let number = catalog::number_of(&mut tx, &tenant.id).await?;
        set_state(&mut tx, manifest, ArchiveState::Restored, at).await?;
        for row in rows {
            let event = &row.event;
            let done = sqlx::query(
                "UPDATE usage_event SET archived = NULL, type = ?, source = ?, id = ?, quantity = ?, body = ? WHERE lane_id = ? AND position = ? AND leaf = ? AND archived = ?",
            )
            .bind(event.event_type.as_str())
            .bind(event.source.as_str())
            .bind(event.id.as_str())
            .bind(event.quantity.to_string())
            .bind(body::encode(event))
            .bind(row.lane.0)
            .bind(signed(row.position))
            .bind(row.leaf.0.to_vec())
            .bind(remains(&tenant.id, row))
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
            one(manifest, row, done.rows_affected())?;
        }
        let fact = fact("ledger.restored", manifest, at)?;
        journal::record(&mut tx, number, &fact).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(manifest.rows)
    }
}

fn one(manifest: &Manifest, row: &StoredEvent, changed: u64) -> Result<(), StoreError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::conflict(
        format!("archive {}", manifest.id()),
        format!("position {} is not the row it was written from", row.position),
    ))
}

/// Where an archive stands; a record that says otherwise than the manifest is a conflict.
async fn state_of(
    tx: &mut SqliteConnection,
    manifest: &Manifest,
) -> Result<Option<ArchiveState>, StoreError> {
    let row = sqlx::query(
        "SELECT state, manifest FROM archive WHERE lane_id = ? AND first = ? AND last = ?",
    )
    .bind(manifest.lane)
    .bind(signed(manifest.first))
    .bind(signed(manifest.last))
    .fetch_optional(tx)
    .await
    .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let id = manifest.id();
    if get::<&str>(&row, 1)? != manifest.text()? {
        return Err(StoreError::conflict(
            format!("archive {id}"),
            "the store's record of it says otherwise than this manifest",
        ));
    }
    let state: &str = get(&row, 0)?;
    let known = ArchiveState::parse(state);
    known.map(Some).ok_or_else(|| StoreError::corrupt("archive", id, format!("state {state:?}")))
}

/// The positions of a lane that are held by archives; (1, 0) when none is.
async fn held(tx: &mut SqliteConnection, lane: LaneId) -> Result<(u64, u64), StoreError> {
    let row = sqlx::query(
        "SELECT coalesce(min(first), 1), coalesce(max(last), 0) FROM archive WHERE lane_id = ? AND state = 'archived'",
    )
    .bind(lane.0)
    .fetch_one(tx)
    .await
    .map_err(store_error)?;
    Ok((unsigned(get(&row, 0)?), unsigned(get(&row, 1)?)))
}

async fn may_drop(tx: &mut SqliteConnection, manifest: &Manifest) -> Result<(), StoreError> {
    let refused =
        |why: String| Err(StoreError::conflict(format!("archive {}", manifest.id()), why));
    let (_, last) = held(tx, manifest.lane()).await?;
    if manifest.first != last + 1 {
        return refused(format!("its lane is archived up to position {last}"));
    }
    let row = sqlx::query("SELECT coalesce(min(position), 0) FROM projection WHERE lane_id = ?")
        .bind(manifest.lane)
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    let projected = unsigned(get(&row, 0)?);
    if projected < manifest.last {
        return refused(format!("its lane is projected up to position {projected} only"));
    }
    let row = sqlx::query(
        "SELECT count(*) FROM usage_event WHERE lane_id = ? AND target IS NOT NULL AND target <= ? AND position > ?",
    )
    .bind(manifest.lane)
    .bind(signed(manifest.last))
    .bind(signed(projected))
    .fetch_one(tx)
    .await
    .map_err(store_error)?;
    let open: i64 = get(&row, 0)?;
    if open > 0 {
        return refused(format!("{open} corrections of its rows are not projected"));
    }
    Ok(())
}

async fn record(
    tx: &mut SqliteConnection,
    tenant: i64,
    manifest: &Manifest,
    place: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO archive (lane_id, first, last, tenant, state, at, place, manifest) VALUES (?, ?, ?, ?, 'archived', ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, at = excluded.at, place = excluded.place",
    )
    .bind(manifest.lane)
    .bind(signed(manifest.first))
    .bind(signed(manifest.last))
    .bind(tenant)
    .bind(at.micros())
    .bind(place)
    .bind(manifest.text()?)
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn set_state(
    tx: &mut SqliteConnection,
    manifest: &Manifest,
    state: ArchiveState,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE archive SET state = ?, at = ? WHERE lane_id = ? AND first = ? AND last = ?",
    )
    .bind(state.as_str())
    .bind(at.micros())
    .bind(manifest.lane)
    .bind(signed(manifest.first))
    .bind(signed(manifest.last))
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// A restored archive has nothing to put back, unless a later one holds its rows.
async fn still_whole(tx: &mut SqliteConnection, manifest: &Manifest) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT max(a.lane_id || '-' || a.first || '-' || a.last) FROM archive AS a WHERE a.lane_id = ? AND a.state = 'archived' AND a.first <= ? AND a.last >= ?",
    )
    .bind(manifest.lane)
    .bind(signed(manifest.last))
    .bind(signed(manifest.first))
    .fetch_one(tx)
    .await
    .map_err(store_error)?;
    match get::<Option<String>>(&row, 0)? {
        None => Ok(0),
        Some(other) => Err(StoreError::conflict(
            format!("archive {}", manifest.id()),
            format!("its rows lie in archive {other} by now; restore that one"),
        )),
    }
}

fn seal(lane: LaneId, row: &SqliteRow) -> Result<Seal, StoreError> {
    let position = unsigned(get(row, 0)?);
    let damage = |why: String| {
        StoreError::corrupt("usage_event", format!("lane {lane} position {position}"), why)
    };
    let customer: &str = get(row, 3)?;
    let archived: Option<&[u8]> = get(row, 6)?;
    let content = |bytes| Some(read_remains(bytes)?.0);
    Ok(Seal {
        position,
        recorded_at: Timestamp::from_micros(get(row, 1)?),
        time: get::<Option<i64>>(row, 2)?.map(Timestamp::from_micros),
        customer: CustomerId::new(customer).map_err(|error| damage(error.to_string()))?,
        target: get::<Option<i64>>(row, 4)?.map(unsigned),
        leaf: Digest::try_from(get::<&[u8]>(row, 5)?).map_err(|error| damage(error.to_string()))?,
        archived: match archived {
            None => None,
            Some(bytes) => {
                Some(content(bytes).ok_or_else(|| damage("its content hash".to_owned()))?)
            }
        },
    })
}

/// The event with this key, if its content is archived.
pub(crate) async fn archived_by_key(
    connection: &mut SqliteConnection,
    key: &Digest,
) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query(
        "SELECT lane_id, position, archived FROM usage_event WHERE key = ? AND archived IS NOT NULL",
    )
    .bind(key.prefix16().to_vec())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let (lane, position) = (LaneId(get(&row, 0)?), unsigned(get(&row, 1)?));
    let Some((content, rest)) = read_remains(get(&row, 2)?) else {
        let place = format!("lane {lane} position {position}");
        return Err(StoreError::corrupt("usage_event", place, "its content hash"));
    };
    // The index holds half a digest; the identity itself decides.
    if !key.0.ends_with(rest) {
        return Err(StoreError::Driver(format!(
            "two events share half a SHA-256: {key} and lane {lane} position {position}"
        )));
    }
    Ok(Some(Known { lane, position, content }))
}
