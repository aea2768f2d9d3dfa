//! The archive port: the content of rows goes when an archive holds it, and comes back. Each is
//! one transaction that locks the lane's head, as appends do, so no append comes in between.

use async_trait::async_trait;
use counterfoil_ledger::{LaneId, StoredEvent, body, content_hash, key_hash};
use counterfoil_store::{
    ArchiveRecord, ArchiveState, ArchiveStore, Fact, Known, Manifest, Seal, StoreError, Tenant,
    archive::{fact, read_remains, refuse_other_rows, remains},
};
use counterfoil_types::{CustomerId, Digest, TenantId, Timestamp};
use sqlx::{PgConnection, PgExecutor, Postgres, Transaction, postgres::PgRow};
use uuid::Uuid;

use crate::{
    append::probe::by_keys,
    catalog,
    error::{commit_error, store_error},
    journal,
    open::PostgresStore,
    rows::{self, event_query, get, signed, to_text, unsigned},
};

/// Rows changed by one statement.
const CHUNK: usize = 5_000;

#[async_trait]
impl ArchiveStore for PostgresStore {
    async fn seals(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
        limit: u32,
    ) -> Result<Vec<Seal>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, recorded_at, time, customer, target, leaf, archived FROM ledger_event WHERE lane_id = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4",
        )
        .bind(lane.0)
        .bind(signed(after))
        .bind(signed(upto))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(lane).await?)
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
            "WHERE lane_id = $1 AND target IS NOT NULL AND target BETWEEN $2 AND $3 AND position > $4 ORDER BY position"
        ))
        .bind(lane.0)
        .bind(signed(first))
        .bind(signed(last))
        .bind(signed(after))
        .fetch_all(&mut *self.on(lane).await?)
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
        let mut connection = self.on(tenant).await?;
        let narrow = Uuid::from_bytes(key.prefix16());
        if let Some(known) = archived_by_keys(&mut *connection, &[narrow], None).await?.pop() {
            return Ok(Some(known.checked(&key)?));
        }
        let row = by_keys(&mut *connection, &[narrow], None).await?.pop();
        Ok(row.map(|row| Known {
            lane: row.lane,
            position: row.position,
            content: content_hash(tenant, &row.event),
        }))
    }

    async fn archives(&self, tenant: &TenantId) -> Result<Vec<ArchiveRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.state, a.at, a.place, a.manifest FROM archive AS a JOIN tenant AS t ON t.number = a.tenant WHERE t.id = $1 ORDER BY a.lane_id, a.first, a.last",
        )
        .bind(tenant.as_str())
        .fetch_all(&mut *self.on(tenant).await?)
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
        let mut tx = lock(self, manifest.lane()).await?;
        if state_of(&mut tx, manifest).await? == Some(ArchiveState::Archived) {
            return Ok(());
        }
        may_drop(&mut tx, manifest).await?;
        let number = catalog::lock(&mut *tx, &tenant.id).await?;
        record(&mut tx, number, manifest, place, at).await?;
        for chunk in rows.chunks(CHUNK) {
            let positions: Vec<i64> = chunk.iter().map(|row| signed(row.position)).collect();
            let leaves: Vec<Vec<u8>> = chunk.iter().map(|row| row.leaf.0.to_vec()).collect();
            let kept: Vec<Vec<u8>> = chunk.iter().map(|row| remains(&tenant.id, row)).collect();
            let done = sqlx::query(
                "UPDATE ledger_event AS u SET archived = n.kept, type = '', source = '', id = '', quantity = 0, body = NULL FROM UNNEST($2::bigint[], $3::bytea[], $4::bytea[]) AS n (position, leaf, kept) WHERE u.lane_id = $1 AND u.position = n.position AND u.leaf = n.leaf AND u.archived IS NULL",
            )
            .bind(manifest.lane)
            .bind(&positions)
            .bind(&leaves)
            .bind(&kept)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
            all(manifest, chunk, done.rows_affected())?;
        }
        finish(tx, number, fact("ledger.archived", manifest, at)?).await
    }

    async fn put_back(
        &self,
        tenant: &Tenant,
        manifest: &Manifest,
        rows: &[StoredEvent],
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        refuse_other_rows(tenant, manifest, rows)?;
        let mut tx = lock(self, manifest.lane()).await?;
        let refused =
            |why: String| Err(StoreError::conflict(format!("archive {}", manifest.id()), why));
        match state_of(&mut tx, manifest).await? {
            None => return refused("the store has no record of it".to_owned()),
            Some(ArchiveState::Restored) => return still_whole(&mut tx, manifest).await,
            Some(ArchiveState::Archived) => {}
        }
        let last = held(&mut tx, manifest.lane()).await?;
        if last != manifest.last {
            return refused(format!(
                "its lane is archived up to position {last}; restore the later ones first"
            ));
        }
        let number = catalog::lock(&mut *tx, &tenant.id).await?;
        sqlx::query(
            "UPDATE archive SET state = 'restored', at = $4 WHERE lane_id = $1 AND first = $2 AND last = $3",
        )
        .bind(manifest.lane)
        .bind(signed(manifest.first))
        .bind(signed(manifest.last))
        .bind(at.micros())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        for chunk in rows.chunks(CHUNK) {
            put_chunk(&mut tx, tenant, manifest, chunk).await?;
        }
        finish(tx, number, fact("ledger.restored", manifest, at)?).await?;
        Ok(manifest.rows)
    }
}

async fn put_chunk(
    tx: &mut PgConnection,
    tenant: &Tenant,
    manifest: &Manifest,
    chunk: &[StoredEvent],
) -> Result<(), StoreError> {
    let positions: Vec<i64> = chunk.iter().map(|row| signed(row.position)).collect();
    let leaves: Vec<Vec<u8>> = chunk.iter().map(|row| row.leaf.0.to_vec()).collect();
    let kept: Vec<Vec<u8>> = chunk.iter().map(|row| remains(&tenant.id, row)).collect();
    let text = |of: fn(&StoredEvent) -> &str| -> Vec<String> {
        chunk.iter().map(|row| to_text(of(row)).into_owned()).collect()
    };
    let quantities: Vec<String> = chunk.iter().map(|row| row.event.quantity.to_string()).collect();
    let bodies: Vec<Option<String>> = chunk.iter().map(|row| body::encode(&row.event)).collect();
    let done = sqlx::query(
        "UPDATE ledger_event AS u SET archived = NULL, type = n.type, source = n.source, id = n.id, quantity = n.quantity::numeric, body = n.body FROM UNNEST($2::bigint[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) AS n (position, leaf, kept, type, source, id, quantity, body) WHERE u.lane_id = $1 AND u.position = n.position AND u.leaf = n.leaf AND u.archived = n.kept",
    )
    .bind(manifest.lane)
    .bind(&positions)
    .bind(&leaves)
    .bind(&kept)
    .bind(text(|row| &row.event.event_type))
    .bind(text(|row| &row.event.source))
    .bind(text(|row| &row.event.id))
    .bind(&quantities)
    .bind(&bodies)
    .execute(tx)
    .await
    .map_err(store_error)?;
    all(manifest, chunk, done.rows_affected())
}

/// A transaction that holds the lane.
async fn lock(
    store: &PostgresStore,
    lane: LaneId,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut tx = store.begin_on(lane).await?;
    sqlx::query("SELECT position FROM lane WHERE lane_id = $1 FOR UPDATE")
        .bind(lane.0)
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
    Ok(tx)
}

async fn finish(
    mut tx: Transaction<'static, Postgres>,
    tenant: i64,
    fact: Fact,
) -> Result<(), StoreError> {
    journal::record(&mut tx, tenant, &[fact]).await.map_err(StoreError::from)?;
    tx.commit().await.map_err(commit_error)
}

fn all(manifest: &Manifest, chunk: &[StoredEvent], changed: u64) -> Result<(), StoreError> {
    if changed == chunk.len() as u64 {
        return Ok(());
    }
    let first = chunk.first().map_or(0, |row| row.position);
    Err(StoreError::conflict(
        format!("archive {}", manifest.id()),
        format!("from position {first} on, rows are not those it was written from"),
    ))
}

/// Where an archive stands; a record that says otherwise than the manifest is a conflict.
async fn state_of(
    tx: &mut PgConnection,
    manifest: &Manifest,
) -> Result<Option<ArchiveState>, StoreError> {
    let row = sqlx::query(
        "SELECT state, manifest FROM archive WHERE lane_id = $1 AND first = $2 AND last = $3",
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

/// The last position of a lane that an archive holds; 0 when none does.
async fn held(tx: &mut PgConnection, lane: LaneId) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT coalesce(max(last), 0) FROM archive WHERE lane_id = $1 AND state = 'archived'",
    )
    .bind(lane.0)
    .fetch_one(tx)
    .await
    .map_err(store_error)?;
    Ok(unsigned(get(&row, 0)?))
}

async fn may_drop(tx: &mut PgConnection, manifest: &Manifest) -> Result<(), StoreError> {
    let refused =
        |why: String| Err(StoreError::conflict(format!("archive {}", manifest.id()), why));
    let last = held(tx, manifest.lane()).await?;
    if manifest.first != last + 1 {
        return refused(format!("its lane is archived up to position {last}"));
    }
    let row = sqlx::query("SELECT coalesce(min(position), 0) FROM projection WHERE lane_id = $1")
        .bind(manifest.lane)
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    let projected = unsigned(get(&row, 0)?);
    if projected < manifest.last {
        return refused(format!("its lane is projected up to position {projected} only"));
    }
    let row = sqlx::query(
        "SELECT count(*) FROM ledger_event WHERE lane_id = $1 AND target IS NOT NULL AND target <= $2 AND position > $3",
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
    tx: &mut PgConnection,
    tenant: i64,
    manifest: &Manifest,
    place: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO archive (lane_id, first, last, tenant, state, at, place, manifest) VALUES ($1, $2, $3, $4, 'archived', $5, $6, $7) ON CONFLICT (lane_id, first, last) DO UPDATE SET state = excluded.state, at = excluded.at, place = excluded.place",
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

/// A restored archive has nothing to put back, unless a later one holds its rows.
async fn still_whole(tx: &mut PgConnection, manifest: &Manifest) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT max(lane_id::text || '-' || first || '-' || last) FROM archive WHERE lane_id = $1 AND state = 'archived' AND first <= $2 AND last >= $3",
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

fn seal(lane: LaneId, row: &PgRow) -> Result<Seal, StoreError> {
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

/// An archived row, found by half a key.
pub(crate) struct Found {
    pub(crate) key: Uuid,
    rest: Vec<u8>,
    known: Known,
}

impl Found {
    /// What it is, once its whole key is compared: the index holds half a digest.
    pub(crate) fn checked(&self, key: &Digest) -> Result<Known, StoreError> {
        if key.0.ends_with(&self.rest) {
            return Ok(self.known);
        }
        let Known { lane, position, .. } = self.known;
        Err(StoreError::Driver(format!(
            "two events share half a SHA-256: {key} and lane {lane} position {position}"
        )))
    }
}

/// Those of the events with these keys whose content is archived.
pub(crate) async fn archived_by_keys(
    executor: impl PgExecutor<'_>,
    keys: &[Uuid],
    lane: Option<i64>,
) -> Result<Vec<Found>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let query = match lane {
        None => sqlx::query(
            "SELECT key, lane_id, position, archived FROM ledger_event WHERE key = ANY($1) AND archived IS NOT NULL",
        )
        .bind(keys),
        Some(lane) => sqlx::query(
            "SELECT key, lane_id, position, archived FROM ledger_event WHERE key = ANY($1) AND archived IS NOT NULL AND lane_id = $2",
        )
        .bind(keys)
        .bind(lane),
    };
    let rows = query.fetch_all(executor).await.map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let (lane, position) = (LaneId(get(row, 1)?), unsigned(get(row, 2)?));
            let (content, rest) = read_remains(get(row, 3)?).ok_or_else(|| {
                let place = format!("lane {lane} position {position}");
                StoreError::corrupt("usage_event", place, "its content hash")
            })?;
            let known = Known { lane, position, content };
            Ok(Found { key: get(row, 0)?, rest: rest.to_vec(), known })
        })
        .collect()
}
