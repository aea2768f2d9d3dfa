//! The anchor file: where the store stood, kept outside of it.

use std::{fs, io, path::PathBuf};

use counterfoil_store::{Anchor, AnchorStore, FileError};

use crate::durable;

/// An anchor in a file.
#[derive(Clone, Debug)]
pub struct AnchorFile {
    path: PathBuf,
}

impl AnchorFile {
    /// The anchor in this file; it is made when it is first written.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl AnchorStore for AnchorFile {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&self) -> Result<Option<Anchor>, FileError> {
        let path = self.place();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::Io { path, why: error.to_string() }),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| FileError::Damaged { path, why: error.to_string() })
    }

    fn write(&self, anchor: &Anchor) -> Result<(), FileError> {
        let path = self.place();
        let text = serde_json::to_string_pretty(anchor)
            .map_err(|error| FileError::Damaged { path: path.clone(), why: error.to_string() })?;
        durable::write(&self.path, |out| out.write_all(text.as_bytes())).map_err(
            |error| match error.kind() {
                io::ErrorKind::StorageFull => FileError::Full { path },
                _ => FileError::Io { path, why: error.to_string() },
            },
        )
    }
}
