//! The file of refused events: one JSON object a line, with line number, code and reason. It is
//! made when the first one comes; a file of an earlier try is replaced.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use counterfoil_ledger::Receipt;

use crate::error::CliError;

/// Characters of the refused text that are kept.
const KEPT: usize = 2_000;

pub(super) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Writes down a refusal; other receipts leave no trace.
    pub(super) fn note(
        &mut self,
        source: &str,
        line: u64,
        text: &str,
        receipt: &Receipt,
    ) -> Result<(), CliError> {
        let (code, reason) = match receipt {
            Receipt::Inserted { .. } | Receipt::Duplicate { .. } => return Ok(()),
            Receipt::Rejected(reject) => (reject.code(), reject.to_string()),
            Receipt::Conflict { lane, position, stored, given } => (
                "conflict",
                format!(
                    "its id is taken by other content: the event at lane {lane} position {position} has content hash {stored}, this one {given}"
                ),
            ),
        };
        let text: String = text.chars().take(KEPT).collect();
        let entry = serde_json::json!({
            "file": source, "line": line, "code": code, "reason": reason, "text": text,
        });
        let failed = |error| CliError::file(self.path.display(), error);
        if self.file.is_none() {
            self.file = Some(BufWriter::new(File::create(&self.path).map_err(failed)?));
        }
        if let Some(file) = &mut self.file {
            writeln!(file, "{entry}")
                .map_err(|error| CliError::file(self.path.display(), error))?;
        }
        Ok(())
    }

    /// Closes the file; its path if there is one. A leftover of an earlier try is removed when
    /// nothing was refused this time.
    pub(super) fn finish(mut self) -> Result<Option<String>, CliError> {
        match self.file.take() {
            Some(mut file) => {
                file.flush().map_err(|error| CliError::file(self.path.display(), error))?;
                Ok(Some(self.path.display().to_string()))
            }
            None => {
                if self.path.exists() {
                    std::fs::remove_file(&self.path)
                        .map_err(|error| CliError::file(self.path.display(), error))?;
                }
                Ok(None)
            }
        }
    }
}
