//! The file of refused events: one JSON object a line, with line number, code and reason. It is
//! made when the first one comes; a file of an earlier try is replaced, any other file is not.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Read, Write},
    path::PathBuf,
};

use counterfoil_ledger::Receipt;

use crate::error::CliError;

/// Characters of the refused text that are kept.
const KEPT: usize = 2_000;
/// How each entry begins: keys are written in the order of the alphabet.
const HEAD: &[u8] = b"{\"code\":\"";

pub(crate) struct Rejects {
    path: PathBuf,
    /// Entries of other inputs of this command stand in the file and stay there.
    more: bool,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    /// Rejects that go to `path`; with `more`, after those of an earlier input.
    ///
    /// # Errors
    /// When something else lies there, for example the input itself.
    pub(crate) fn at(path: PathBuf, more: bool) -> Result<Self, CliError> {
        let failed = |error| CliError::file(path.display(), error);
        if !more && path.is_file() {
            let mut head = Vec::new();
            let file = File::open(&path).map_err(failed)?;
            file.take(HEAD.len() as u64).read_to_end(&mut head).map_err(failed)?;
            if !HEAD.starts_with(&head) {
                return Err(CliError::file(
                    path.display(),
                    "this file holds something else than rejected events; name another one with --rejects",
                ));
            }
        }
        Ok(Self { path, more, file: None })
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
            let mut options = OpenOptions::new();
            options.create(true).append(self.more).write(true).truncate(!self.more);
            self.file = Some(BufWriter::new(options.open(&self.path).map_err(failed)?));
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
                // A pipe or device is not ours to remove.
                if !self.more && self.path.is_file() {
                    std::fs::remove_file(&self.path)
                        .map_err(|error| CliError::file(self.path.display(), error))?;
                }
                Ok(None)
            }
        }
    }
}
