//! The archive port: rows of the ledger whose content lies in a file.
//!
//! What stays of an archived row is its place (lane, position, recorded time), its key and its
//! seal, its customer and time, what it corrects, and its content hash. So dedupe holds for ever,
//! positions stay contiguous and seals stay checkable. What goes is what the producer said. Archived
//! rows always are a prefix of their lane.

use async_trait::async_trait;
use counterfoil_ledger::{LaneId, StoredEvent};
use counterfoil_types::{CustomerId, Digest, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{catalog::Tenant, error::StoreError, journal::Fact};

/// Version of manifest and file.
pub const ARCHIVE_FORMAT: &str = "counterfoil-archive/1";

/// What an archive holds. It depends on the rows and on nothing else, so writing the same rows
/// again gives the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`ARCHIVE_FORMAT`].
    pub format: String,
    /// Whose rows.
    pub tenant: TenantId,
    /// Their lane.
    pub lane: i64,
    /// First position.
    pub first: u64,
    /// Last position.
    pub last: u64,
    /// How many rows there are: one for each position.
    pub rows: u64,
    /// Earliest time of an event.
    pub earliest: Timestamp,
    /// Latest time of an event.
    pub latest: Timestamp,
    /// When the first row was recorded.
    pub recorded_from: Timestamp,
    /// When the last row was recorded.
    pub recorded_to: Timestamp,
    /// Tree head (RFC 9162) over the seals of the rows, in order.
    pub root: Digest,
    /// Name of the file, beside the manifest.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

impl Manifest {
    /// Its name: lane and range.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.lane, self.first, self.last)
    }

    /// The lane.
    #[must_use]
    pub fn lane(&self) -> LaneId {
        LaneId(self.lane)
    }

    /// Its text, as it stands in the manifest file and in the store.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn text(&self) -> Result<String, StoreError> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| StoreError::Driver(error.to_string()))
    }
}

/// Where the content of archived rows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveState {
    /// In the file only.
    Archived,
    /// Back in the store.
    Restored,
}

impl ArchiveState {
    /// As stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archived => "archived",
            Self::Restored => "restored",
        }
    }

    /// From its stored form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Archived, Self::Restored].into_iter().find(|state| state.as_str() == text)
    }
}

/// The store's own record of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveRecord {
    /// The manifest, as it was when the rows were dropped.
    pub manifest: Manifest,
    /// Where the content is.
    pub state: ArchiveState,
    /// The directory the file was written to.
    pub place: String,
    /// When that was last changed.
    pub at: Timestamp,
}

/// What a row is known by, whether its content is here or archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Its position.
    pub position: u64,
    /// When the ledger took it.
    pub recorded_at: Timestamp,
    /// When the usage happened, if the producer said so.
    pub time: Option<Timestamp>,
    /// Whose it is.
    pub customer: CustomerId,
    /// Position of the corrected event, for corrections.
    pub target: Option<u64>,
    /// The seal.
    pub leaf: Digest,
    /// The content hash, when the content is archived.
    pub archived: Option<Digest>,
}

impl Seal {
    /// When the usage happened.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time.unwrap_or(self.recorded_at)
    }
}

/// Where an event is and what its content hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its lane.
    pub lane: LaneId,
    /// Its position.
    pub position: u64,
    /// Its content hash.
    pub content: Digest,
}

/// Dropping the content of rows that lie in an archive, and putting it back.
///
/// The reading methods of [`crate::LedgerStore`] answer [`StoreError::Archived`] when a row they
/// would return is archived: they never return less than is asked for.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// Seals of a lane with `after < position ≤ upto`, in order, at most `limit`.
    async fn seals(
        &self,
        lane: LaneId,
        after: u64,
        upto: u64,
        limit: u32,
    ) -> Result<Vec<Seal>, StoreError>;

    /// As [`crate::LedgerStore::corrections_of`], but only those that stand after position `after`.
    async fn corrections_after(
        &self,
        lane: LaneId,
        first: u64,
        last: u64,
        after: u64,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// The event with this identity, archived or not.
    async fn known(
        &self,
        tenant: &TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<Known>, StoreError>;

    /// All archives of a tenant, by lane and first position.
    async fn archives(&self, tenant: &TenantId) -> Result<Vec<ArchiveRecord>, StoreError>;

    /// Records an archive of `rows` that lies in `place`, drops their content and records the fact
    /// `ledger.archived`, in one transaction that holds the lane. Done before: nothing happens.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the rows do not follow the lane's archived prefix, are not
    /// those stored, are not projected by all meters, or a correction of them is not.
    async fn drop_content(
        &self,
        tenant: &Tenant,
        manifest: &Manifest,
        place: &str,
        rows: &[StoredEvent],
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Puts the content of the rows of an archive back and records the fact `ledger.restored`, in
    /// one transaction that holds the lane. Gives the number of rows that were put back: 0 when
    /// all were there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the store has no record of this archive, a later archive of
    /// the lane is not restored yet, or the rows are not those that were archived.
    async fn put_back(
        &self,
        tenant: &Tenant,
        manifest: &Manifest,
        rows: &[StoredEvent],
        at: Timestamp,
    ) -> Result<u64, StoreError>;
}

/// What stays of a row's content, as stored: the content hash and the second half of its key.
#[must_use]
pub fn remains(tenant: &TenantId, row: &StoredEvent) -> Vec<u8> {
    let content = counterfoil_ledger::content_hash(tenant, &row.event);
    let key = counterfoil_ledger::key_hash(tenant, &row.event.source, &row.event.id);
    content.0.into_iter().chain(key.0.into_iter().skip(16)).collect()
}

/// Reads what [`remains`] wrote: the content hash and the second half of the key.
#[must_use]
pub fn read_remains(bytes: &[u8]) -> Option<(Digest, &[u8])> {
    let (content, key) = bytes.split_at_checked(32)?;
    Some((Digest::try_from(content).ok()?, (key.len() == 16).then_some(key)?))
}

/// Whether `rows` are what `manifest` describes, in words when they are not. Seals are recomputed.
#[must_use]
pub fn mismatch(manifest: &Manifest, rows: &[StoredEvent]) -> Option<String> {
    let id = manifest.id();
    let mut tree = counterfoil_ledger::Tree::default();
    for (expected, row) in (manifest.first..).zip(rows) {
        if row.lane != manifest.lane() || row.position != expected {
            return Some(format!("archive {id}: position {expected} is missing"));
        }
        if !row.seal_holds(&manifest.tenant) {
            return Some(format!("archive {id}: position {expected} is not what was sealed"));
        }
        tree.push(row.leaf);
    }
    let complete = rows.len() as u64 == manifest.rows
        && manifest.last.checked_sub(manifest.first).map(|more| more + 1) == Some(manifest.rows);
    if !complete {
        return Some(format!("archive {id}: it has {} rows, not {}", rows.len(), manifest.rows));
    }
    (tree.root() != manifest.root).then(|| format!("archive {id}: its tree head is another one"))
}

/// Refuses rows that are not what `manifest` describes, or not of this tenant.
///
/// # Errors
/// [`StoreError::Conflict`].
pub fn refuse_other_rows(
    tenant: &Tenant,
    manifest: &Manifest,
    rows: &[StoredEvent],
) -> Result<(), StoreError> {
    let foreign = manifest.tenant != tenant.id || !tenant.lane_ids().contains(&manifest.lane());
    let why = if foreign {
        Some(format!("it is of tenant {} lane {}", manifest.tenant, manifest.lane))
    } else {
        mismatch(manifest, rows)
    };
    match why {
        Some(why) => Err(StoreError::conflict(format!("archive {}", manifest.id()), why)),
        None => Ok(()),
    }
}

/// The fact that an archive was dropped from the store or put back.
///
/// # Errors
/// When the manifest cannot be written as JSON.
pub fn fact(kind: &str, manifest: &Manifest, at: Timestamp) -> Result<Fact, StoreError> {
    let (id, rows) = (manifest.id(), manifest.rows);
    let digest = Digest::of(manifest.text()?.as_bytes());
    Ok(Fact {
        kind: kind.to_owned(),
        key: format!("{kind}/{id}/{}", at.micros()),
        at,
        body: serde_json::json!({"archive": id, "manifest": digest, "rows": rows}),
    })
}
