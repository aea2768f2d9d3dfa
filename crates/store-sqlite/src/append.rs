//! The ingest path. One transaction per batch:
//!
//! | step | statement |
//! |---|---|
//! | take the write lock, read the lane heads | `BEGIN IMMEDIATE`, one `SELECT` |
//! | insert all as if new | multi-row `INSERT OR FAIL` |
//! | only if a key was taken: roll back, start over, probe the keys first, insert the rest | `SELECT … IN`, `INSERT` |
//! | advance the heads | one `UPDATE` per lane |
//!
//! The common batch (all new) costs no probe and no savepoint (whose journal of page images cost
//! a fifth of the time); a batch sent again costs one wasted insert and a probe. Positions are
//! handed out under the write lock, so they are contiguous and commit order is position order. A
//! key that stands twice in one batch waits for a second round, in which the first is found
//! stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_ledger::{
    CorrectionKind, LaneId, Receipt, Reject, StoredEvent, check_correction, content_hash, key_hash,
    leaf_hash,
};
use counterfoil_store::{Known, Pending, StoreError, Tenant};
use counterfoil_types::{Digest, TenantId, Timestamp};
use sqlx::{Row, Sqlite, SqliteConnection};

use crate::{
    archive::archived_by_key,
    error::{is_unique_violation, store_error},
    multi,
    rows::{self, event_query, signed, unsigned},
};

const INSERT: &str = "INSERT OR FAIL INTO usage_event (lane_id, position, key, leaf, recorded_at, time, customer, type, source, id, quantity, body, target) VALUES";
const INSERT_COLUMNS: usize = 13;

struct Heads {
    heads: BTreeMap<LaneId, (u64, Timestamp)>,
    changed: HashSet<LaneId>,
    now: Timestamp,
}

impl Heads {
    /// The next position of a lane and the time it is recorded at.
    fn next(&mut self, lane: LaneId) -> (u64, Timestamp) {
        let head = self.heads.entry(lane).or_insert((0, Timestamp::MIN));
        head.0 += 1;
        head.1 = head.1.max(self.now);
        self.changed.insert(lane);
        *head
    }
}

/// Why an append did not come through.
pub(crate) enum AppendError {
    /// A key was taken: roll back and append with probing.
    KeyTaken,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Appends `batch`; see the module header.
pub(crate) async fn append(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    now: Timestamp,
    probing: bool,
) -> Result<Vec<Receipt>, AppendError> {
    let mut heads = read_heads(tx, tenant, now).await?;
    let mut receipts: Vec<Option<Receipt>> = vec![None; batch.len()];
    let mut waiting: Vec<usize> = (0..batch.len()).collect();
    let mut probing = probing;
    while !waiting.is_empty() {
        let (round, later) = next_round(batch, waiting);
        for group in by_correction(batch, &round) {
            let outcome = match group.as_slice() {
                [only] if is_correction(batch, *only) => {
                    correct(tx, tenant, batch, *only, &mut heads).await?
                }
                _ => plain(tx, tenant, batch, &group, &mut heads, probing).await?,
            };
            for (at, receipt) in outcome {
                if let Some(slot) = receipts.get_mut(at) {
                    *slot = Some(receipt);
                }
            }
        }
        waiting = later;
        // What comes in a later round has its key stored by an earlier one.
        probing = true;
    }
    write_heads(tx, &heads).await?;
    let missing = || StoreError::Driver("an event got no receipt".to_owned());
    receipts.into_iter().map(|receipt| receipt.ok_or_else(|| missing().into())).collect()
}

/// What can be stored together, and what must wait: a key that stands twice waits for its first
/// use. Where that one is a correction, which may be refused and leave its key free, all that
/// follows waits too, so that positions follow the order of the batch.
fn next_round(batch: &[Pending], waiting: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let mut seen: HashMap<Digest, bool> = HashMap::with_capacity(waiting.len());
    let mut held = false;
    waiting.into_iter().partition(|at| {
        let Some(pending) = batch.get(*at) else { return false };
        match seen.get(&pending.key) {
            Some(correction) => held |= *correction,
            None if held => {}
            None => return seen.insert(pending.key, pending.event.correction.is_some()).is_none(),
        }
        false
    })
}

fn is_correction(batch: &[Pending], at: usize) -> bool {
    batch.get(at).is_some_and(|pending| pending.event.correction.is_some())
}

/// Cuts a round at its corrections: what stands before one must be stored when it is checked.
fn by_correction(batch: &[Pending], round: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut open = false;
    for at in round {
        if is_correction(batch, *at) {
            groups.push(vec![*at]);
            open = false;
        } else if let (true, Some(group)) = (open, groups.last_mut()) {
            group.push(*at);
        } else {
            groups.push(vec![*at]);
            open = true;
        }
    }
    groups
}

async fn read_heads(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    now: Timestamp,
) -> Result<Heads, StoreError> {
    let rows = sqlx::query("SELECT lane_id, position, recorded_at FROM lane WHERE tenant = ?")
        .bind(tenant.number)
        .fetch_all(tx)
        .await
        .map_err(store_error)?;
    let mut heads = BTreeMap::new();
    for row in rows {
        let lane = LaneId(row.try_get(0).map_err(store_error)?);
        let position: i64 = row.try_get(1).map_err(store_error)?;
        let recorded_at: i64 = row.try_get(2).map_err(store_error)?;
        heads.insert(lane, (unsigned(position), Timestamp::from_micros(recorded_at)));
    }
    Ok(Heads { heads, changed: HashSet::new(), now })
}

async fn write_heads(tx: &mut SqliteConnection, heads: &Heads) -> Result<(), StoreError> {
    for lane in &heads.changed {
        let Some((position, recorded_at)) = heads.heads.get(lane) else { continue };
        let done = sqlx::query("UPDATE lane SET position = ?, recorded_at = ? WHERE lane_id = ?")
            .bind(signed(*position))
            .bind(recorded_at.micros())
            .bind(lane.0)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        if done.rows_affected() != 1 {
            return Err(StoreError::corrupt("lane", lane, "the lane's head row is missing"));
        }
    }
    Ok(())
}

/// Inserts events without corrections.
async fn plain(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    group: &[usize],
    heads: &mut Heads,
    probing: bool,
) -> Result<Vec<(usize, Receipt)>, AppendError> {
    let mut receipts = if probing { probe(tx, tenant, batch, group).await? } else { Vec::new() };
    let known: HashSet<usize> = receipts.iter().map(|(at, _)| *at).collect();
    let fresh: Vec<usize> = group.iter().copied().filter(|at| !known.contains(at)).collect();
    match insert(tx, tenant, batch, &fresh, heads).await {
        Ok(inserted) => receipts.extend(inserted),
        Err(error) if !probing && is_unique_violation(&error) => return Err(AppendError::KeyTaken),
        Err(error) => return Err(store_error(error).into()),
    }
    Ok(receipts)
}

async fn insert(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    group: &[usize],
    heads: &mut Heads,
) -> Result<Vec<(usize, Receipt)>, sqlx::Error> {
    let mut receipts = Vec::with_capacity(group.len());
    let mut build = |chunk: &[usize]| {
        let mut query = sqlx::query(multi::values(INSERT, INSERT_COLUMNS, chunk.len(), ""));
        for at in chunk {
            let Some(pending) = batch.get(*at) else { continue };
            let (position, recorded_at) = heads.next(pending.lane);
            query = bind(query, tenant, pending, position, recorded_at, None);
            receipts.push((*at, Receipt::Inserted { lane: pending.lane, position }));
        }
        query
    };
    // While the database works on one chunk, the next one is being bound.
    let mut chunks = multi::chunks(group).into_iter();
    let mut ready = chunks.next().map(&mut build);
    while let Some(query) = ready.take() {
        let next = chunks.next();
        let (done, built) = tokio::join!(query.execute(&mut *tx), async { next.map(&mut build) });
        done?;
        ready = built;
    }
    Ok(receipts)
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(
    query: Query<'q>,
    tenant: &Tenant,
    pending: &'q Pending,
    position: u64,
    recorded_at: Timestamp,
    target: Option<u64>,
) -> Query<'q> {
    let leaf = leaf_hash(&tenant.id, pending.lane, position, recorded_at, &pending.content);
    let event = &pending.event;
    query
        .bind(pending.lane.0)
        .bind(signed(position))
        .bind(pending.key.prefix16().to_vec())
        .bind(leaf.0.to_vec())
        .bind(recorded_at.micros())
        .bind(event.time.map(Timestamp::micros))
        .bind(event.customer.as_str())
        .bind(event.event_type.as_str())
        .bind(event.source.as_str())
        .bind(event.id.as_str())
        .bind(pending.quantity.as_str())
        .bind(pending.body.as_deref())
        .bind(target.map(signed))
}

/// Receipts of those events of `group` whose keys are taken.
async fn probe(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    group: &[usize],
) -> Result<Vec<(usize, Receipt)>, StoreError> {
    let mut by_key: HashMap<[u8; 16], usize> = HashMap::with_capacity(group.len());
    for at in group {
        if let Some(pending) = batch.get(*at) {
            by_key.insert(pending.key.prefix16(), *at);
        }
    }
    let keys: Vec<[u8; 16]> = by_key.keys().copied().collect();
    let mut receipts = Vec::new();
    for chunk in multi::chunks(&keys) {
        let mut query = sqlx::query(multi::list(
            "SELECT key, lane_id, position, recorded_at, leaf FROM usage_event WHERE key IN",
            chunk.len(),
            "",
        ));
        for key in chunk {
            query = query.bind(key.to_vec());
        }
        for row in query.fetch_all(&mut *tx).await.map_err(store_error)? {
            let key: &[u8] = rows::get(&row, 0)?;
            let found = <[u8; 16]>::try_from(key).ok().and_then(|key| by_key.get(&key));
            let Some((at, pending)) = found.and_then(|at| Some((*at, batch.get(*at)?))) else {
                continue;
            };
            let lane = LaneId(rows::get(&row, 1)?);
            let position = unsigned(rows::get(&row, 2)?);
            let recorded_at = Timestamp::from_micros(rows::get(&row, 3)?);
            let leaf: &[u8] = rows::get(&row, 4)?;
            let same = leaf_hash(&tenant.id, lane, position, recorded_at, &pending.content);
            let receipt = if same.0 == leaf {
                Receipt::Duplicate { lane, position }
            } else {
                conflict(&mut *tx, &tenant.id, lane, position, pending).await?
            };
            receipts.push((at, receipt));
        }
    }
    Ok(receipts)
}

async fn conflict(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    lane: LaneId,
    position: u64,
    pending: &Pending,
) -> Result<Receipt, StoreError> {
    if let Some(known) = archived_by_key(&mut *tx, &pending.key).await? {
        let (stored, given) = (known.content, pending.content);
        return Ok(Receipt::Conflict { lane, position, stored, given });
    }
    let stored = row_at(tx, lane, position).await?.ok_or_else(|| {
        StoreError::corrupt("usage_event", format!("lane {lane} position {position}"), "vanished")
    })?;
    // The index holds half a digest; the identity itself decides.
    if key_hash(tenant, &stored.event.source, &stored.event.id) != pending.key {
        return Err(StoreError::Driver(format!(
            "two events share half a SHA-256: {:?} and {:?}",
            stored.event.id, pending.event.id
        )));
    }
    let stored: Digest = content_hash(tenant, &stored.event);
    Ok(Receipt::Conflict { lane, position, stored, given: pending.content })
}

/// Checks and inserts one correction.
async fn correct(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    batch: &[Pending],
    at: usize,
    heads: &mut Heads,
) -> Result<Vec<(usize, Receipt)>, StoreError> {
    let known = probe(tx, tenant, batch, &[at]).await?;
    if !known.is_empty() {
        return Ok(known);
    }
    let Some(pending) = batch.get(at) else { return Ok(Vec::new()) };
    let Some(correction) = &pending.event.correction else { return Ok(Vec::new()) };
    let key = key_hash(&tenant.id, &pending.event.source, &correction.target);
    if let Some(Known { lane, position, .. }) = archived_by_key(&mut *tx, &key).await? {
        let target = correction.target.clone();
        return Ok(vec![(at, Receipt::Rejected(Reject::Archived { target, lane, position }))]);
    }
    let target = row_by_key(tx, &key).await?;
    let earlier = match &target {
        Some(target) => corrections(tx, target.lane, target.position).await?,
        None => Vec::new(),
    };
    let verdict = check_correction(&pending.event, target.as_ref().map(|row| &row.event), &earlier);
    if let Err(error) = verdict {
        return Ok(vec![(at, Receipt::Rejected(Reject::Correction(error.to_string())))]);
    }
    let (position, recorded_at) = heads.next(pending.lane);
    let query = sqlx::query(multi::values(INSERT, INSERT_COLUMNS, 1, ""));
    let target = target.map(|row| row.position);
    bind(query, tenant, pending, position, recorded_at, target)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    Ok(vec![(at, Receipt::Inserted { lane: pending.lane, position })])
}

async fn corrections(
    tx: &mut SqliteConnection,
    lane: LaneId,
    target: u64,
) -> Result<Vec<CorrectionKind>, StoreError> {
    let rows = crate::ledger::corrections_of(tx, lane, target, target).await?;
    Ok(rows.iter().filter_map(|row| Some(row.event.correction.as_ref()?.kind)).collect())
}

async fn row_at(
    tx: &mut SqliteConnection,
    lane: LaneId,
    position: u64,
) -> Result<Option<StoredEvent>, StoreError> {
    Ok(crate::ledger::rows_at(tx, lane, &[position]).await?.pop())
}

/// The row with this key.
pub(crate) async fn row_by_key(
    tx: &mut SqliteConnection,
    key: &Digest,
) -> Result<Option<StoredEvent>, StoreError> {
    let row = sqlx::query(event_query!("WHERE key = ?"))
        .bind(key.prefix16().to_vec())
        .fetch_optional(tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(rows::event).transpose()
}
