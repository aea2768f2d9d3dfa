//! A file that appears under its name only when it is whole: written beside it as `NAME.partial`,
//! brought to disk, then renamed. An export that was interrupted can go on: `NAME.partial.state`
//! says up to which byte the file is right, with a hash of those bytes, and from where to go on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ExportError;

/// From where an export goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What is exported: an export goes on only with the same.
    pub what: String,
    /// Where it stands, in the words of whoever makes the rows.
    pub place: String,
    /// Rows written.
    pub rows: u64,
    /// Bytes of the file that count.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: String,
}

struct Inner {
    file: File,
    bytes: u64,
    hash: Sha256,
}

/// The target of a sink. Clones write to the same file.
#[derive(Clone)]
pub struct Target(Arc<Mutex<Inner>>);

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = inner.file.write(bytes)?;
        inner.bytes += written as u64;
        inner.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is being written.
pub struct Whole {
    path: PathBuf,
    partial: PathBuf,
    target: Target,
    /// The partial file stays when it is not finished.
    keep: bool,
    done: bool,
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn failed(path: &Path, why: impl std::fmt::Display) -> ExportError {
    ExportError::File { path: path.display().to_string(), why: why.to_string() }
}

impl Whole {
    /// Begins a file. `keep`: what is there after an interruption stays, to go on with.
    ///
    /// # Errors
    /// When the file exists and `force` is not given, or it cannot be made.
    pub fn create(path: &Path, force: bool, keep: bool) -> Result<Self, ExportError> {
        if !force && path.exists() {
            return Err(failed(
                path,
                "exists already; name another file, or give --force to replace it",
            ));
        }
        if path.is_dir() {
            return Err(failed(path, "is a directory; end it with / to have files named in it"));
        }
        let partial = with(path, ".partial");
        let _ = std::fs::remove_file(with(path, ".partial.state"));
        let file = File::create(&partial).map_err(|error| failed(&partial, error))?;
        let inner = Inner { file, bytes: 0, hash: Sha256::new() };
        Ok(Self {
            path: path.to_owned(),
            partial,
            target: Target(Arc::new(Mutex::new(inner))),
            keep,
            done: false,
        })
    }

    /// Goes on with a file that was begun; `None` when there is nothing to go on with.
    ///
    /// # Errors
    /// When what is there was begun for something else, or is not what was written.
    pub fn resume(path: &Path, what: &str) -> Result<Option<(Self, State)>, ExportError> {
        let (partial, noted) = (with(path, ".partial"), with(path, ".partial.state"));
        let text = match std::fs::read_to_string(&noted) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&noted, error)),
        };
        let state: State = serde_json::from_str(&text).map_err(|error| failed(&noted, error))?;
        if state.what != what {
            return Err(failed(
                &noted,
                format!("was begun for another export ({}); remove it to begin anew", state.what),
            ));
        }
        let changed = || failed(&partial, "is not what was written; remove it to begin anew");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(&partial);
        let mut file = file.map_err(|error| failed(&partial, error))?;
        let mut hash = Sha256::new();
        let mut left = state.bytes;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..most).unwrap_or_default();
            let read = file.read(piece).map_err(|error| failed(&partial, error))?;
            if read == 0 {
                return Err(changed());
            }
            hash.update(piece.get(..read).unwrap_or_default());
            left -= read as u64;
        }
        if hex::encode(hash.clone().finalize()) != state.sha256 {
            return Err(changed());
        }
        file.set_len(state.bytes).map_err(|error| failed(&partial, error))?;
        file.seek(io::SeekFrom::Start(state.bytes)).map_err(|error| failed(&partial, error))?;
        let inner = Inner { file, bytes: state.bytes, hash };
        let target = Target(Arc::new(Mutex::new(inner)));
        let whole = Self { path: path.to_owned(), partial, target, keep: true, done: false };
        Ok(Some((whole, state)))
    }

    /// What a sink writes to.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// Whether an interrupted export can go on with it.
    #[must_use]
    pub fn can_go_on(&self) -> bool {
        self.keep && with(&self.path, ".partial.state").exists()
    }

    /// The name it gets.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes how far the file is right, after the sink was flushed: on disk first the file, then
    /// the note.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn note(&self, what: &str, place: &str, rows: u64) -> Result<(), ExportError> {
        let state = {
            let inner = self.target.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.file.sync_data().map_err(|error| failed(&self.partial, error))?;
            State {
                what: what.to_owned(),
                place: place.to_owned(),
                rows,
                bytes: inner.bytes,
                sha256: hex::encode(inner.hash.clone().finalize()),
            }
        };
        let (noted, new) =
            (with(&self.path, ".partial.state"), with(&self.path, ".partial.state.new"));
        let text = serde_json::to_string(&state).map_err(|error| failed(&noted, error))?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &noted)
        };
        write().map_err(|error| failed(&noted, error))
    }

    /// Brings the file to disk and gives it its name. Its size in bytes.
    ///
    /// # Errors
    /// When the disk does not take it; then it has no name.
    pub fn finish(mut self) -> Result<u64, ExportError> {
        let bytes = {
            let inner = self.target.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.file.sync_all().map_err(|error| failed(&self.partial, error))?;
            inner.bytes
        };
        std::fs::rename(&self.partial, &self.path).map_err(|error| failed(&self.path, error))?;
        self.done = true;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failed(directory, error))?;
        let _ = std::fs::remove_file(with(&self.path, ".partial.state"));
        Ok(bytes)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.done && !self.can_go_on() {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}
