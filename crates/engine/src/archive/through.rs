//! Reading rows wherever their content is. The store says when a row is archived; only then its
//! file is looked at, and every row of the file is checked. A file that is missing is an error
//! that names the archive: no answer is ever made from fewer rows.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use counterfoil_ledger::{LaneId, StoredEvent};
use counterfoil_store::{AnchorStore, ArchiveFiles, ArchiveRecord, ArchiveState, StoreError};
use counterfoil_types::{CustomerId, Timestamp};

use crate::{Engine, EngineError};

/// Files kept in memory: a fold reads a lane's archives one after another, page by page.
const KEPT: usize = 2;

type Kept = (String, Arc<Vec<StoredEvent>>);

/// What lies beside the store.
#[derive(Default)]
pub(crate) struct Beside {
    files: Option<Arc<dyn ArchiveFiles>>,
    kept: Mutex<Vec<Kept>>,
    pub(crate) anchor: Option<Arc<dyn AnchorStore>>,
    /// Whether the store was found to agree with its anchor, before the first billing.
    pub(crate) agrees: AtomicBool,
}

impl Beside {
    pub(crate) fn new(
        files: Option<Arc<dyn ArchiveFiles>>,
        anchor: Option<Arc<dyn AnchorStore>>,
    ) -> Self {
        Self { files, anchor, ..Self::default() }
    }

    pub(crate) fn files(&self) -> Result<Arc<dyn ArchiveFiles>, EngineError> {
        let files = self.files.clone();
        files.ok_or_else(|| EngineError::refused("no directory for archives is configured"))
    }

    /// The files, when there are any.
    pub(crate) fn any_files(&self) -> Option<Arc<dyn ArchiveFiles>> {
        self.files.clone()
    }

    fn kept(&self, id: &str) -> Option<Arc<Vec<StoredEvent>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(name, _)| name == id).map(|(_, rows)| rows.clone())
    }

    fn keep(&self, id: String, rows: &Arc<Vec<StoredEvent>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, (id, rows.clone()));
        kept.truncate(KEPT);
    }
}

/// The last position that archives hold.
pub(crate) fn prefix_end(held: &[ArchiveRecord]) -> u64 {
    held.last().map_or(0, |record| record.manifest.last)
}

fn is_archived<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Archived { .. }))
}

impl Engine {
    /// The archives that hold rows of a lane, in order.
    pub(crate) async fn held(&self, lane: LaneId) -> Result<Vec<ArchiveRecord>, EngineError> {
        let mut held = self.store.archives(&self.tenant.id).await?;
        held.retain(|record| {
            record.manifest.lane() == lane && record.state == ArchiveState::Archived
        });
        held.sort_by_key(|record| record.manifest.first);
        Ok(held)
    }

    /// The rows of an archive, from its file.
    pub(crate) async fn archived_rows(
        &self,
        record: &ArchiveRecord,
    ) -> Result<Arc<Vec<StoredEvent>>, EngineError> {
        let id = record.manifest.id();
        if let Some(rows) = self.beside.kept(&id) {
            return Ok(rows);
        }
        let why = |why: String| EngineError::Archived { archive: id.clone(), why };
        let files = self.beside.any_files();
        let files = files.ok_or_else(|| why("no directory for archives is configured".into()))?;
        let wanted = record.clone();
        let read = tokio::task::spawn_blocking(move || files.read(&wanted)).await;
        let rows = read
            .map_err(|error| why(format!("reading stopped: {error}")))?
            .map_err(|error| why(error.to_string()))?;
        let rows = Arc::new(rows);
        self.beside.keep(id, &rows);
        Ok(rows)
    }

    /// Rows of a lane as [`counterfoil_store::LedgerStore::read`], archived ones from their files.
    pub(crate) async fn rows(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
        customer: Option<&CustomerId>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, EngineError> {
        let outcome = self.store.read(lane, after, upto, customer, limit).await;
        if !is_archived(&outcome) {
            return Ok(outcome?);
        }
        let held = self.held(lane).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found: Vec<StoredEvent> = Vec::new();
        for record in &held {
            if record.manifest.last <= after || record.manifest.first > upto {
                continue;
            }
            let rows = self.archived_rows(record).await?;
            let wanted = rows.iter().filter(|row| {
                after < row.position
                    && row.position <= upto
                    && customer.is_none_or(|customer| row.event.customer == *customer)
            });
            found.extend(wanted.take(most - found.len()).cloned());
            if found.len() == most {
                return Ok(found);
            }
        }
        let end = prefix_end(&held).max(after);
        if end < upto {
            let rest = u32::try_from(most - found.len()).unwrap_or(limit);
            found.extend(self.store.read(lane, end, upto, customer, rest).await?);
        }
        Ok(found)
    }

    /// Rows as [`counterfoil_store::LedgerStore::rows_at`], archived ones from their files.
    pub(crate) async fn rows_at(
        &self,
        lane: LaneId,
        positions: &[u64],
    ) -> Result<Vec<StoredEvent>, EngineError> {
        let outcome = self.store.rows_at(lane, positions).await;
        if !is_archived(&outcome) {
            return Ok(outcome?);
        }
        let held = self.held(lane).await?;
        let end = prefix_end(&held);
        let wanted: BTreeSet<u64> = positions.iter().copied().collect();
        let mut found = Vec::new();
        for record in &held {
            let (first, last) = (record.manifest.first, record.manifest.last);
            if wanted.range(first..=last).next().is_some() {
                let rows = self.archived_rows(record).await?;
                found.extend(rows.iter().filter(|row| wanted.contains(&row.position)).cloned());
            }
        }
        let rest: Vec<u64> = wanted.range(end + 1..).copied().collect();
        found.extend(self.store.rows_at(lane, &rest).await?);
        Ok(found)
    }

    /// Corrections as [`counterfoil_store::LedgerStore::corrections_of`], archived ones from their
    /// files.
    pub(crate) async fn corrections_of(
        &self,
        lane: LaneId,
        first: u64,
        last: u64,
    ) -> Result<Vec<StoredEvent>, EngineError> {
        let outcome = self.store.corrections_of(lane, first, last).await;
        if !is_archived(&outcome) {
            return Ok(outcome?);
        }
        let held = self.held(lane).await?;
        let mut found = Vec::new();
        // A correction stands after what it corrects.
        for record in held.iter().filter(|record| record.manifest.last > first) {
            let rows = self.archived_rows(record).await?;
            let wanted = rows.iter().filter(|row| {
                row.target_position.is_some_and(|target| first <= target && target <= last)
            });
            found.extend(wanted.cloned());
        }
        let end = prefix_end(&held);
        found.extend(self.store.corrections_after(lane, first, last, end).await?);
        Ok(found)
    }

    /// The end of the archives at the beginning of a lane that hold nothing from `since` on: who
    /// asks for usage from then on need not look at them.
    pub(crate) async fn archived_before(
        &self,
        lane: LaneId,
        since: Timestamp,
    ) -> Result<u64, EngineError> {
        let held = self.held(lane).await?;
        let past = held.iter().take_while(|record| record.manifest.latest < since);
        Ok(past.last().map_or(0, |record| record.manifest.last))
    }
}
