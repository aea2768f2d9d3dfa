//! Mistakes in a price book, by file, line and key.

use thiserror::Error;

/// A mistake in a price book.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}:{line}:{column}: {}{message}", key_prefix(path))]
pub struct BookError {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key; empty when the text is no TOML.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

fn key_prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
