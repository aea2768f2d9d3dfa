//! Archives in a directory: one gzip CSV and one JSON manifest for each lane and range. The
//! manifest is written last, so a manifest that is there has its file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use counterfoil_ledger::{StoredEvent, Tree};
use counterfoil_store::{
    ArchiveFiles, ArchiveRecord, FileError, Manifest,
    archive::{ARCHIVE_FORMAT, mismatch},
};
use counterfoil_types::{Digest, TenantId};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use crate::{durable, rows};

/// A directory of archives.
#[derive(Clone, Debug)]
pub struct ArchiveDir {
    path: PathBuf,
}

fn failed(path: &Path, error: &io::Error) -> FileError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path },
        io::ErrorKind::StorageFull => FileError::Full { path },
        _ => FileError::Io { path, why: error.to_string() },
    }
}

fn damaged(path: &Path, why: impl ToString) -> FileError {
    FileError::Damaged { path: path.display().to_string(), why: why.to_string() }
}

impl ArchiveDir {
    /// Archives in this directory; it is made when it is needed.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads the manifest that `path` names: itself, or that of the file of rows beside it.
    ///
    /// # Errors
    /// When there is none or it is not readable.
    pub fn manifest(path: &Path) -> Result<Manifest, FileError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = match name.strip_suffix(".csv.gz") {
            Some(stem) => path.with_file_name(format!("{stem}.json")),
            None => path.to_owned(),
        };
        let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| damaged(&path, error))?;
        if manifest.format != ARCHIVE_FORMAT {
            return Err(damaged(&path, format!("its format is {}", manifest.format)));
        }
        Ok(manifest)
    }

    /// Reads the rows a manifest describes from its file in `directory`, and checks every one.
    ///
    /// # Errors
    /// When the file is missing or is not what the manifest says.
    pub fn rows(directory: &Path, manifest: &Manifest) -> Result<Vec<StoredEvent>, FileError> {
        // The name comes from outside: it stays inside the directory.
        let name = Path::new(&manifest.file).file_name();
        let path = directory.join(name.unwrap_or_default());
        let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
        if bytes.len() as u64 != manifest.bytes || Digest::of(&bytes) != manifest.sha256 {
            return Err(damaged(&path, "its SHA-256 is not the one of the manifest"));
        }
        let rows = rows::read(GzDecoder::new(bytes.as_slice()), manifest.lane())
            .map_err(|why| damaged(&path, why))?;
        match mismatch(manifest, &rows) {
            Some(why) => Err(damaged(&path, why)),
            None => Ok(rows),
        }
    }
}

impl ArchiveFiles for ArchiveDir {
    fn place(&self) -> String {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone()).display().to_string()
    }

    fn write(&self, tenant: &TenantId, rows: &[StoredEvent]) -> Result<Manifest, FileError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Err(damaged(&self.path, "an archive needs rows"));
        };
        let (from, to) = (first.position, last.position);
        let stem = format!("{tenant}-lane-{}-{from:012}-{to:012}", first.lane);
        let file = format!("{stem}.csv.gz");
        let path = self.path.join(&file);
        durable::write(&path, |out| {
            let mut gzip = GzEncoder::new(out, Compression::default());
            rows::write(&mut gzip, rows)?;
            gzip.finish()?.flush()
        })
        .map_err(|error| failed(&path, &error))?;
        let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
        let mut tree = Tree::default();
        rows.iter().for_each(|row| tree.push(row.leaf));
        let manifest = Manifest {
            format: ARCHIVE_FORMAT.to_owned(),
            tenant: tenant.clone(),
            lane: first.lane.0,
            first: from,
            last: to,
            rows: rows.len() as u64,
            earliest: rows.iter().map(StoredEvent::time).min().unwrap_or(first.recorded_at),
            latest: rows.iter().map(StoredEvent::time).max().unwrap_or(last.recorded_at),
            recorded_from: first.recorded_at,
            recorded_to: last.recorded_at,
            root: tree.root(),
            file,
            bytes: bytes.len() as u64,
            sha256: Digest::of(&bytes),
        };
        let read = Self::rows(&self.path, &manifest)?;
        if read != rows {
            return Err(damaged(&path, "what was read back is not what was written"));
        }
        let text = manifest.text().map_err(|error| damaged(&path, error))?;
        let path = self.path.join(format!("{stem}.json"));
        durable::write(&path, |out| out.write_all(text.as_bytes()))
            .map_err(|error| failed(&path, &error))?;
        Ok(manifest)
    }

    fn read(&self, record: &ArchiveRecord) -> Result<Vec<StoredEvent>, FileError> {
        match Self::rows(&self.path, &record.manifest) {
            // It may still lie where it was written.
            Err(FileError::Missing { path }) => {
                Self::rows(Path::new(&record.place), &record.manifest).map_err(
                    |error| match error {
                        FileError::Missing { .. } => FileError::Missing { path },
                        other => other,
                    },
                )
            }
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use counterfoil_ledger::{Event, LaneId, Scalar, content_hash, leaf_hash};
    use counterfoil_store::ArchiveState;
    use counterfoil_types::{CustomerId, Timestamp};

    use super::*;

    fn tenant() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    fn stored(position: u64, id: &str) -> StoredEvent {
        let lane = LaneId(64);
        let recorded_at =
            Timestamp::from_micros(1_759_996_800_123_456 + i64::try_from(position).unwrap());
        let event = Event {
            id: id.to_owned(),
            source: "a, \"b\"".to_owned(),
            customer: CustomerId::new("=cmd|' /C calc'!A0").unwrap(),
            event_type: "t".to_owned(),
            time: position.is_multiple_of(2).then_some(Timestamp::from_micros(-1)),
            quantity: "-0.0000000000000000000000000012".parse().unwrap(),
            unit: Some(String::new()),
            properties: BTreeMap::from([(
                "n".to_owned(),
                Scalar::Text("line\nbreak,\"".to_owned()),
            )]),
            subject: None,
            resource: Some("r\u{0}".to_owned()),
            user: None,
            correction: None,
        };
        let content = content_hash(&tenant(), &event);
        let leaf = leaf_hash(&tenant(), lane, position, recorded_at, &content);
        StoredEvent { lane, position, recorded_at, target_position: None, event, leaf }
    }

    fn record(manifest: Manifest, place: &Path) -> ArchiveRecord {
        let place = place.display().to_string();
        ArchiveRecord { manifest, state: ArchiveState::Archived, place, at: Timestamp::MIN }
    }

    #[test]
    fn rows_are_read_back_to_the_byte_and_written_the_same_again() {
        let directory = tempfile::tempdir().unwrap();
        let dir = ArchiveDir::new(directory.path().join("new"));
        let rows: Vec<StoredEvent> = [" lead", "quote\"", "comma,", "ünï"]
            .into_iter()
            .zip(7..)
            .map(|(id, at)| stored(at, id))
            .collect();
        let manifest = dir.write(&tenant(), &rows).unwrap();
        assert_eq!(manifest.id(), "64-7-10");
        assert_eq!(dir.read(&record(manifest.clone(), Path::new("/nowhere"))).unwrap(), rows);
        assert_eq!(dir.write(&tenant(), &rows).unwrap(), manifest);
        let csv = directory.path().join("new").join(&manifest.file);
        assert_eq!(ArchiveDir::manifest(&csv).unwrap(), manifest);
        // From where it was written, when it was not moved along.
        let moved = ArchiveDir::new(directory.path().join("else"));
        let place = directory.path().join("new");
        assert_eq!(moved.read(&record(manifest, &place)).unwrap(), rows);
    }

    #[test]
    fn any_changed_byte_and_any_other_row_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let dir = ArchiveDir::new(directory.path());
        let rows = [stored(1, "a"), stored(2, "b")];
        let manifest = dir.write(&tenant(), &rows).unwrap();
        let path = directory.path().join(&manifest.file);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let found = ArchiveDir::rows(directory.path(), &manifest);
            assert!(matches!(found, Err(FileError::Damaged { .. })), "byte {at}: {found:?}");
        }
        // A file with a hash of its own, but other rows.
        let mut other = rows.to_vec();
        other[1].event.quantity = "5".parse().unwrap();
        assert!(matches!(dir.write(&tenant(), &other), Err(FileError::Damaged { .. })), "unsealed");
        fs::remove_file(&path).unwrap();
        let found = ArchiveDir::rows(directory.path(), &manifest);
        assert!(matches!(found, Err(FileError::Missing { .. })), "{found:?}");
    }
}
