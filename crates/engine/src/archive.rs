//! Archives: the content of old ledger rows goes into files, and comes back (`docs/adr/0009`).
//!
//! | file | what |
//! |---|---|
//! | here | archiving, restoring, holding files against the store |
//! | [`plan`] | which prefix of a lane may go, and what holds the rest back |
//! | `through` | reading rows wherever their content is |

pub mod plan;
mod through;

use std::sync::Arc;

use counterfoil_ledger::{LaneId, StoredEvent, Tree, leaf_hash};
use counterfoil_store::{
    ArchiveFiles, ArchiveRecord, ArchiveState, FileError, Manifest, StoreError,
};
use counterfoil_types::{Digest, Timestamp};
use serde::Serialize;

pub use plan::HeldBack;
pub(crate) use through::Beside;

use crate::{Engine, EngineError, project::CHUNK};

/// How often a lane is tried that was written to meanwhile.
const TRIES: usize = 4;

/// What to archive.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveOptions {
    /// Events before this time.
    pub before: Timestamp,
    /// Most rows in one file; bounds memory.
    pub rows_per_file: u64,
}

impl ArchiveOptions {
    /// Events before this time, in files of the usual size.
    #[must_use]
    pub fn before(before: Timestamp) -> Self {
        Self { before, rows_per_file: 100_000 }
    }
}

/// What an archiving did.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveReport {
    /// Events before this time were asked for.
    pub before: Timestamp,
    /// Where the files are.
    pub place: String,
    /// Rows whose content was dropped.
    pub rows: u64,
    /// The archives written, by lane.
    pub archives: Vec<Manifest>,
    /// For each lane that holds older events still: what holds them back.
    pub held_back: Vec<HeldBack>,
}

/// What was found about one archive.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveCheck {
    /// Its name.
    pub archive: String,
    /// Whether its content is in the file only.
    pub state: ArchiveState,
    /// Rows.
    pub rows: u64,
    /// What is wrong, in words.
    pub problem: Option<String>,
}

impl Engine {
    /// Reads archived rows from, and writes archives to, these files.
    #[must_use]
    pub fn with_archives(mut self, files: Arc<dyn ArchiveFiles>) -> Self {
        self.beside = Arc::new(Beside::new(Some(files), self.beside.anchor.clone()));
        self
    }

    /// Archives what may be archived. Repeating it goes on where it stopped.
    ///
    /// # Errors
    /// When a file cannot be written, or as the store has them; a range is dropped from the store
    /// only once its file was read back and compared.
    pub async fn archive(&self, options: &ArchiveOptions) -> Result<ArchiveReport, EngineError> {
        let files = self.beside.files()?;
        let mut report = ArchiveReport {
            before: options.before,
            place: files.place(),
            rows: 0,
            archives: Vec::new(),
            held_back: Vec::new(),
        };
        self.project_all().await?;
        let mut planner = self.archive_planner(options.before).await?;
        for lane in self.tenant.lane_ids() {
            let part = planner.lane(lane).await?;
            let mut first = part.first;
            while first <= part.last {
                let last = part.last.min(first + options.rows_per_file.max(1) - 1);
                let manifest = self.archive_range(&files, lane, first, last).await?;
                report.rows += manifest.rows;
                report.archives.push(manifest);
                first = last + 1;
            }
            report.held_back.extend(part.held_back);
        }
        report.place = files.place();
        Ok(report)
    }

    async fn archive_range(
        &self,
        files: &Arc<dyn ArchiveFiles>,
        lane: LaneId,
        first: u64,
        last: u64,
    ) -> Result<Manifest, EngineError> {
        let mut rows: Vec<StoredEvent> = Vec::new();
        let mut after = first - 1;
        while after < last {
            let page = self.store.read(lane, after, last, None, CHUNK).await?;
            let Some(row) = page.last() else { break };
            after = row.position;
            rows.extend(page);
        }
        let (writer, tenant) = (files.clone(), self.tenant.id.clone());
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&tenant, &rows).map(|manifest| (manifest, rows))
        });
        let (manifest, rows) = written
            .await
            .map_err(|error| EngineError::refused(format!("writing stopped: {error}")))??;
        let place = files.place();
        for _ in 1..TRIES {
            let now = self.now();
            match self.store.drop_content(&self.tenant, &manifest, &place, &rows, now).await {
                // Corrections came in meanwhile: they are projected, then it is tried again.
                Err(StoreError::Conflict { .. }) => self.project_all().await?,
                outcome => return Ok(outcome.map(|()| manifest)?),
            };
        }
        self.store.drop_content(&self.tenant, &manifest, &place, &rows, self.now()).await?;
        Ok(manifest)
    }

    /// All archives, by lane and first position.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn archives(&self) -> Result<Vec<ArchiveRecord>, EngineError> {
        Ok(self.store.archives(&self.tenant.id).await?)
    }

    /// Puts the content of an archive back from its file. Gives the number of rows put back: 0
    /// when it is restored already.
    ///
    /// # Errors
    /// When there is no such archive, its file is missing or damaged, or a later archive of the
    /// lane must be restored first.
    pub async fn restore_archive(&self, id: &str) -> Result<u64, EngineError> {
        let records = self.archives().await?;
        let record = records.into_iter().find(|record| record.manifest.id() == id);
        let record = record.ok_or_else(|| {
            EngineError::not_found("archive", id, "; see `counterfoil archive list`")
        })?;
        let rows = self.archived_rows(&record).await?;
        self.restore_rows(&record.manifest, &rows).await
    }

    /// Puts rows back that were read from a file the caller found.
    ///
    /// # Errors
    /// As [`Engine::restore_archive`]; the store compares them with its own record.
    pub async fn restore_rows(
        &self,
        manifest: &Manifest,
        rows: &[StoredEvent],
    ) -> Result<u64, EngineError> {
        Ok(self.store.put_back(&self.tenant, manifest, rows, self.now()).await?)
    }

    /// Holds every archive against the store's record of it: the file, each row in it, and the
    /// seals that stayed in the store.
    ///
    /// # Errors
    /// As the store has them. What is wrong with an archive is no error but listed.
    pub async fn check_archives(&self) -> Result<Vec<ArchiveCheck>, EngineError> {
        let mut checks = Vec::new();
        for record in self.archives().await? {
            let mut problem = None;
            if record.state == ArchiveState::Archived {
                problem = self.check_seals(&record).await?;
                if problem.is_none() {
                    problem = match self.archived_rows(&record).await {
                        Err(EngineError::Archived { why, .. }) => Some(why),
                        outcome => outcome.map(|_| None)?,
                    };
                }
            }
            let Manifest { rows, .. } = record.manifest;
            let archive = record.manifest.id();
            checks.push(ArchiveCheck { archive, state: record.state, rows, problem });
        }
        Ok(checks)
    }

    /// Whether the seals that stayed in the store are those of the record; in words when not.
    pub(crate) async fn check_seals(
        &self,
        record: &ArchiveRecord,
    ) -> Result<Option<String>, EngineError> {
        let Manifest { first, last, root, .. } = record.manifest;
        let lane = record.manifest.lane();
        let mut tree = Tree::default();
        let mut expected = first;
        while expected <= last {
            let page = self.store.seals(lane, expected - 1, last, CHUNK).await?;
            if page.is_empty() {
                return Ok(Some(format!("position {expected} is missing")));
            }
            for seal in page {
                let position = seal.position;
                if position != expected {
                    return Ok(Some(format!("position {expected} is missing")));
                }
                let Some(content) = seal.archived else {
                    return Ok(Some(format!(
                        "position {position} has content, although it is archived"
                    )));
                };
                let leaf = leaf_hash(&self.tenant.id, lane, position, seal.recorded_at, &content);
                if leaf != seal.leaf {
                    return Ok(Some(format!("position {position} is not what was sealed")));
                }
                tree.push(seal.leaf);
                expected += 1;
            }
        }
        let same = tree.root() == root;
        Ok((!same).then(|| "its seals in the store are not those that were archived".to_owned()))
    }

    /// Whether the file of an archive is not there, as opposed to there and damaged.
    pub(crate) async fn is_missing(&self, record: &ArchiveRecord) -> bool {
        let Some(files) = self.beside.any_files() else { return true };
        let wanted = record.clone();
        let read = tokio::task::spawn_blocking(move || files.read(&wanted)).await;
        matches!(read, Ok(Err(FileError::Missing { .. })))
    }

    /// Names the archives whose facts the journal does not have as they are recorded.
    pub(crate) async fn unheard_archives(
        &self,
        facts: &std::collections::BTreeMap<String, Digest>,
    ) -> Result<Vec<String>, EngineError> {
        let mut unheard = Vec::new();
        for record in self.archives().await? {
            let id = record.manifest.id();
            let digest = Digest::of(record.manifest.text()?.as_bytes());
            if facts.get(&id) != Some(&digest) {
                unheard.push(format!("archive {id}: the journal knows it otherwise or not at all"));
            }
        }
        Ok(unheard)
    }
}
