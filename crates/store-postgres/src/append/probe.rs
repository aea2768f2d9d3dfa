//! Which keys of a batch are taken, and by what. A row that was committed never changes, so what
//! a probe finds holds for ever and needs no lock; what it does not find may be taken a moment
//! later, and then the unique index says so.

use std::collections::HashMap;

use counterfoil_ledger::{
    CorrectionKind, LaneId, Receipt, StoredEvent, content_hash, key_hash, leaf_hash,
};
use counterfoil_store::StoreError;
use counterfoil_types::{Digest, Timestamp};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::stage::{Item, Key, Staged};
use crate::{
    archive::archived_by_keys,
    error::store_error,
    rows::{self, event_query, get, signed, unsigned},
};

/// Where a key is stored, and with which content.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) lane: LaneId,
    pub(crate) position: u64,
    pub(crate) identity: Digest,
    pub(crate) content: Digest,
}

impl Known {
    /// The receipt of an item whose key is taken.
    pub(crate) fn receipt(&self, item: &Item) -> Result<Receipt, StoreError> {
        let Self { lane, position, .. } = *self;
        // The index holds half a digest; the identity itself decides.
        if self.identity != item.identity {
            return Err(StoreError::Driver(format!(
                "two events share half a SHA-256: {} and {}",
                self.identity, item.identity
            )));
        }
        if self.content == item.content {
            return Ok(Receipt::Duplicate { lane, position });
        }
        Ok(Receipt::Conflict { lane, position, stored: self.content, given: item.content })
    }
}

/// Keys that are taken.
pub(crate) type Taken = HashMap<Key, Known>;

/// Adds those keys of `batch` to `taken` that are.
pub(crate) async fn probe(
    connection: &mut PgConnection,
    batch: &Staged,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let keys: Vec<Uuid> = batch
        .items
        .iter()
        .filter(|item| !taken.contains_key(&item.key))
        .map(|item| Uuid::from_bytes(item.key))
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let query = match batch.lane {
        None => sqlx::query(
            "SELECT key, lane_id, position, recorded_at, leaf FROM ledger_event WHERE key = ANY($1)",
        )
        .bind(&keys),
        Some(lane) => sqlx::query(
            "SELECT key, lane_id, position, recorded_at, leaf FROM ledger_event WHERE key = ANY($1) AND lane_id = $2",
        )
        .bind(&keys)
        .bind(lane),
    };
    let found = query.fetch_all(&mut *connection).await.map_err(store_error)?;
    if found.is_empty() {
        return Ok(());
    }
    let mut stored: HashMap<Key, (LaneId, u64, Timestamp, &[u8])> =
        HashMap::with_capacity(found.len());
    for row in &found {
        let key: Uuid = get(row, 0)?;
        let recorded_at = Timestamp::from_micros(get(row, 3)?);
        let place = (LaneId(get(row, 1)?), unsigned(get(row, 2)?), recorded_at, get(row, 4)?);
        stored.insert(key.into_bytes(), place);
    }
    // The seal tells whether the content is the same without reading the row.
    let mut others: Vec<Uuid> = Vec::new();
    for item in &batch.items {
        let Some((lane, position, recorded_at, leaf)) = stored.get(&item.key) else { continue };
        let same = leaf_hash(&batch.tenant, *lane, *position, *recorded_at, &item.content);
        if same.0 == *leaf {
            let known = Known {
                lane: *lane,
                position: *position,
                identity: item.identity,
                content: item.content,
            };
            taken.insert(item.key, known);
        } else {
            others.push(Uuid::from_bytes(item.key));
        }
    }
    others.retain(|key| !taken.contains_key(key.as_bytes()));
    let archived = archived_by_keys(&mut *connection, &others, batch.lane).await?;
    for item in &batch.items {
        let found = archived.iter().find(|found| *found.key.as_bytes() == item.key);
        if let Some(known) = found.map(|found| found.checked(&item.identity)).transpose()? {
            let identity = item.identity;
            let counterfoil_store::Known { lane, position, content } = known;
            taken.insert(item.key, Known { lane, position, identity, content });
        }
    }
    others.retain(|key| !taken.contains_key(key.as_bytes()));
    for row in whole_by_keys(connection, &others, batch.lane).await? {
        let identity = key_hash(&batch.tenant, &row.event.source, &row.event.id);
        let content = content_hash(&batch.tenant, &row.event);
        let known = Known { lane: row.lane, position: row.position, identity, content };
        taken.insert(identity.prefix16(), known);
    }
    Ok(())
}

/// The rows with these keys, in one lane where the ledger is sharded.
pub(crate) async fn by_keys(
    executor: impl PgExecutor<'_>,
    keys: &[Uuid],
    lane: Option<i64>,
) -> Result<Vec<StoredEvent>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let query = match lane {
        None => sqlx::query(event_query!("WHERE key = ANY($1)")).bind(keys),
        Some(lane) => {
            sqlx::query(event_query!("WHERE key = ANY($1) AND lane_id = $2")).bind(keys).bind(lane)
        }
    };
    let found = query.fetch_all(executor).await.map_err(store_error)?;
    found.iter().map(rows::event).collect()
}

/// The rows with these keys, but those that are archived: one that was archived a moment ago is
/// not found, and the unique index says so.
async fn whole_by_keys(
    executor: impl PgExecutor<'_>,
    keys: &[Uuid],
    lane: Option<i64>,
) -> Result<Vec<StoredEvent>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let query = match lane {
        None => sqlx::query(event_query!("WHERE key = ANY($1) AND archived IS NULL")).bind(keys),
        Some(lane) => {
            sqlx::query(event_query!("WHERE key = ANY($1) AND archived IS NULL AND lane_id = $2"))
                .bind(keys)
                .bind(lane)
        }
    };
    let found = query.fetch_all(executor).await.map_err(store_error)?;
    found.iter().map(rows::event).collect()
}

/// What is to be corrected.
pub(crate) enum Target {
    /// A row, and which corrections it has already.
    Whole { row: Box<StoredEvent>, earlier: Vec<CorrectionKind> },
    /// A row whose content is archived.
    Archived { lane: LaneId, position: u64 },
}

/// What the corrections of a batch name, as far as it is stored. To be read under the lock of the
/// customers' lanes, so that no other correction comes in between.
pub(crate) async fn targets(
    tx: &mut PgConnection,
    batch: &Staged,
) -> Result<HashMap<Key, Target>, StoreError> {
    if batch.events.is_none() {
        return Ok(HashMap::new());
    }
    let named: Vec<Digest> = (0..batch.items.len()).filter_map(|at| batch.target(at)).collect();
    let mut keys: Vec<Uuid> = named.iter().map(|key| Uuid::from_bytes(key.prefix16())).collect();
    let mut targets = HashMap::new();
    for found in archived_by_keys(&mut *tx, &keys, batch.lane).await? {
        for key in named.iter().filter(|key| key.prefix16() == *found.key.as_bytes()) {
            let counterfoil_store::Known { lane, position, .. } = found.checked(key)?;
            targets.insert(key.prefix16(), Target::Archived { lane, position });
        }
    }
    keys.retain(|key| !targets.contains_key(key.as_bytes()));
    let stored = whole_by_keys(&mut *tx, &keys, batch.lane).await?;
    let lanes: Vec<i64> = stored.iter().map(|row| row.lane.0).collect();
    let positions: Vec<i64> = stored.iter().map(|row| signed(row.position)).collect();
    let corrections = sqlx::query(
        "SELECT lane_id, position, leaf, recorded_at, time, target, customer, type, source, id, quantity::text, body, archived IS NOT NULL FROM ledger_event WHERE target IS NOT NULL AND (lane_id, target) IN (SELECT * FROM UNNEST($1::bigint[], $2::bigint[])) ORDER BY lane_id, position",
    )
    .bind(&lanes)
    .bind(&positions)
    .fetch_all(tx)
    .await
    .map_err(store_error)?;
    let mut earlier: HashMap<(LaneId, u64), Vec<CorrectionKind>> = HashMap::new();
    for row in &corrections {
        let row = rows::event(row)?;
        if let (Some(target), Some(correction)) = (row.target_position, &row.event.correction) {
            earlier.entry((row.lane, target)).or_default().push(correction.kind);
        }
    }
    for row in stored {
        let key = key_hash(&batch.tenant, &row.event.source, &row.event.id).prefix16();
        let earlier = earlier.remove(&(row.lane, row.position)).unwrap_or_default();
        targets.insert(key, Target::Whole { row: Box::new(row), earlier });
    }
    Ok(targets)
}
