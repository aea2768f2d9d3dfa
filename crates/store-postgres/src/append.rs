//! The ingest path.
//!
//! | step | where | statement |
//! |---|---|---|
//! | encode all of the rows that does not depend on their place | the caller's task | – |
//! | while keys of late were taken: look up which ones are | the caller's task, no lock | `SELECT … WHERE key = ANY` |
//! | all taken: answer | | – |
//! | wait for this tenant's turn; batches that wait become one group | `queue` | – |
//! | lock the lane heads, in lane order | one transaction for the group | `SELECT … FOR UPDATE` |
//! | positions, seals, receipts, rows | in memory, `plan` | binary `COPY`, batch by batch |
//! | advance the heads | | one `UPDATE` |
//! | commit, then answer | | `COMMIT` |
//!
//! Positions are handed out under the heads' locks and those are held until the commit, so
//! positions are contiguous, commit order is position order, and a reader of a lane sees a prefix
//! of it. A key that is taken without our knowing violates the unique index; the whole group is
//! rolled back, probed and repeated. Producers rarely send again, and looking up keys costs the
//! server half of what storing them does; so the next batches are probed after a key was found
//! taken, and none are once that is long ago ([`Caution`]), but those with corrections: there a key
//! that is taken decides before anything else does.

mod after;
mod copy;
pub(crate) mod plan;
pub(crate) mod probe;
mod queue;
pub(crate) mod stage;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicU32, Ordering},
};

use counterfoil_ledger::{LaneId, Receipt};
use counterfoil_store::{Pending, StoreError, Tenant};
use counterfoil_types::{Digest, TenantId, Timestamp};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use self::{
    plan::{Heads, Plan},
    probe::{Taken, probe, targets},
    stage::Staged,
};
use crate::{
    error::{StepError, commit_error, is_unique_violation, store_error},
    open::PostgresStore,
    rows::{get, signed, unsigned},
};

pub(crate) use after::append_after;
pub(crate) use queue::Queues;

/// How often a group is tried. Each further try means that another process has just stored a key
/// of ours, or a deadlock with it.
const TRIES: u32 = 16;
/// Bytes handed to the connection at once.
const PIECE: usize = 128 * 1024;

/// Whether to probe a batch before it is written.
#[derive(Debug)]
pub(crate) struct Caution(AtomicU32);

impl Caution {
    /// Batches to be probed after one whose keys were taken.
    const LONG: u32 = 64;

    /// Caution for this many batches.
    pub(crate) fn new(batches: u32) -> Self {
        Self(AtomicU32::new(batches))
    }

    /// Whether the next batch is to be probed.
    fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// A key was found taken: more may follow.
    fn renew(&self) {
        self.0.store(Self::LONG, Ordering::Relaxed);
    }
}

/// A batch and what is known of its keys.
struct Batch {
    staged: Staged,
    taken: Taken,
}

impl Batch {
    /// The lanes it will write to.
    fn lanes(&self) -> impl Iterator<Item = i64> + '_ {
        let fresh = self.staged.items.iter().filter(|item| !self.taken.contains_key(&item.key));
        fresh.map(|item| item.lane.0)
    }
}

/// Appends `batch`; see the module header. Where the ledger is sharded, lane by lane: a transaction
/// over several shards would need two phases.
pub(crate) async fn append(
    store: &PostgresStore,
    tenant: &Tenant,
    batch: &[Pending],
    now: Timestamp,
) -> Result<Vec<Receipt>, StoreError> {
    if !store.sharded {
        return append_at_once(store, tenant, batch, now, tenant.number).await;
    }
    let mut lanes: BTreeMap<LaneId, Vec<(usize, Pending)>> = BTreeMap::new();
    for (at, pending) in batch.iter().enumerate() {
        lanes.entry(pending.lane).or_default().push((at, pending.clone()));
    }
    let mut receipts: BTreeMap<usize, Receipt> = BTreeMap::new();
    for (lane, part) in lanes {
        let (places, part): (Vec<usize>, Vec<Pending>) = part.into_iter().unzip();
        let part = append_at_once(store, tenant, &part, now, lane.0).await?;
        receipts.extend(places.into_iter().zip(part));
    }
    Ok(receipts.into_values().collect())
}

/// Appends a batch in one transaction, with what else waits in the same queue.
async fn append_at_once(
    store: &PostgresStore,
    tenant: &Tenant,
    batch: &[Pending],
    now: Timestamp,
    queue: i64,
) -> Result<Vec<Receipt>, StoreError> {
    let mut batch =
        Batch { staged: Staged::new(tenant, batch, now, store.sharded)?, taken: Taken::new() };
    if store.queues.caution.take() {
        look_up(store, &mut batch).await?;
        if !batch.taken.is_empty() {
            store.queues.caution.renew();
        }
    }
    if batch.lanes().next().is_none() {
        // All are stored already (or there are none): nothing is written, nothing to lock.
        let nothing = HashMap::new();
        return Plan::new(Heads::none(), &[]).add(&batch.staged, &batch.taken, &nothing);
    }
    queue::submit(store, queue, batch).await
}

/// Looks up which keys of a batch are taken, without a lock.
async fn look_up(store: &PostgresStore, batch: &mut Batch) -> Result<(), StoreError> {
    let mut connection = store.on(&batch.staged.tenant).await?;
    probe(&mut connection, &batch.staged, &mut batch.taken).await
}

/// Appends batches in one transaction.
async fn write(
    store: &PostgresStore,
    batches: &mut [Batch],
) -> Result<Vec<Vec<Receipt>>, StoreError> {
    let mut last = StoreError::Unavailable("the batch was not tried".to_owned());
    for _ in 0..TRIES {
        match try_write(store, batches).await {
            Ok(receipts) => return Ok(receipts),
            Err(StepError::Store(error)) => return Err(error),
            Err(StepError::Again(error)) => last = error,
        }
        store.queues.caution.renew();
        for batch in &mut *batches {
            look_up(store, batch).await?;
        }
    }
    Err(StoreError::Unavailable(format!("other programs were in the way {TRIES} times: {last}")))
}

async fn try_write(
    store: &PostgresStore,
    batches: &mut [Batch],
) -> Result<Vec<Vec<Receipt>>, StepError> {
    let lanes: BTreeSet<i64> = batches.iter().flat_map(Batch::lanes).collect();
    let Some(tenant) = batches.first().map(|batch| batch.staged.tenant.clone()) else {
        return Ok(Vec::new());
    };
    let mut tx = store.begin_on(&tenant).await?;
    let heads = lock(&mut tx, lanes.into_iter().collect()).await?;
    store_rows(tx, heads, batches).await
}

/// Writes batches under the locks of their lanes, and commits.
async fn store_rows(
    mut tx: Transaction<'static, Postgres>,
    heads: Heads,
    batches: &mut [Batch],
) -> Result<Vec<Vec<Receipt>>, StepError> {
    let mut corrected = Vec::with_capacity(batches.len());
    for batch in &mut *batches {
        // A correction that is stored must be known for certain: checking it again could refuse
        // what was taken in once.
        if batch.staged.events.is_some() {
            probe(&mut tx, &batch.staged, &mut batch.taken).await?;
        }
        corrected.push(targets(&mut tx, &batch.staged).await?);
    }
    let staged: Vec<&Staged> = batches.iter().map(|batch| &batch.staged).collect();
    let mut plan = Plan::new(heads, &staged);
    let mut receipts = Vec::with_capacity(batches.len());
    // While the server stores the rows of one batch, those of the next are worked out.
    let mut copy = tx.copy_in_raw(plan::COPY).await?;
    for (batch, targets) in batches.iter().zip(&corrected) {
        receipts.push(plan.add(&batch.staged, &batch.taken, targets)?);
        for piece in plan.rows.take().chunks(PIECE) {
            copy.send(piece).await?;
        }
    }
    let Plan { rows, heads, .. } = plan;
    let count = rows.count();
    copy.send(rows.finish()).await?;
    let stored = copy.finish().await.map_err(taken)?;
    if stored != count {
        return Err(StoreError::Driver(format!("{stored} of {count} rows were stored")).into());
    }
    if count > 0 {
        advance(&mut tx, &heads).await?;
    }
    tx.commit().await.map_err(commit_error)?;
    Ok(receipts)
}

/// Locks the heads of lanes, in lane order, so that two processes cannot wait for each other.
async fn lock(tx: &mut PgConnection, lanes: Vec<i64>) -> Result<Heads, StepError> {
    if lanes.is_empty() {
        return Ok(Heads::none());
    }
    // The check that holds a row to its tenant looks at this setting first; without it the owner of
    // the tables would pay for a longer look at each row.
    let rows = sqlx::query(
        "SELECT lane_id, position, recorded_at, set_config('counterfoil.tenant', (lane_id / 64)::text, true) FROM lane WHERE lane_id = ANY($1) ORDER BY lane_id FOR UPDATE",
    )
    .bind(lanes)
    .fetch_all(tx)
    .await?;
    let mut lanes = BTreeMap::new();
    for row in &rows {
        let recorded_at = Timestamp::from_micros(get(row, 2)?);
        lanes.insert(LaneId(get(row, 0)?), (unsigned(get(row, 1)?), recorded_at));
    }
    Ok(Heads { lanes, changed: BTreeSet::new() })
}

/// A key that was taken since the probe is no error; a place in the ledger that is, is damage.
fn taken(error: sqlx::Error) -> StepError {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    match (is_unique_violation(&error), constraint) {
        (true, Some(name)) if name.starts_with("usage_event_key") => {
            StepError::Again(store_error(error))
        }
        (true, _) => {
            let why = format!("its head lies before its last row ({error})");
            StoreError::corrupt("lane", "of an appended event", why).into()
        }
        _ => error.into(),
    }
}

async fn advance(tx: &mut PgConnection, heads: &Heads) -> Result<(), StepError> {
    let (mut lanes, mut positions, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for lane in &heads.changed {
        let Some((position, recorded_at)) = heads.lanes.get(lane) else { continue };
        lanes.push(lane.0);
        positions.push(signed(*position));
        times.push(recorded_at.micros());
    }
    let done = sqlx::query(
        "UPDATE lane SET position = new.position, recorded_at = new.recorded_at FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS new (lane_id, position, recorded_at) WHERE lane.lane_id = new.lane_id",
    )
    .bind(&lanes)
    .bind(&positions)
    .bind(&times)
    .execute(tx)
    .await?;
    if done.rows_affected() == lanes.len() as u64 {
        return Ok(());
    }
    Err(StoreError::corrupt("lane", "of an appended event", "its head row is missing").into())
}

/// The row with this key.
pub(crate) async fn row_by_key(
    store: &PostgresStore,
    tenant: &TenantId,
    key: &Digest,
) -> Result<Option<counterfoil_ledger::StoredEvent>, StoreError> {
    let key = Uuid::from_bytes(key.prefix16());
    Ok(probe::by_keys(&mut *store.on(tenant).await?, &[key], None).await?.pop())
}
