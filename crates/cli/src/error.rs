//! What can go wrong at the command line.

use counterfoil_engine::EngineError;
use counterfoil_exports::ExportError;
use counterfoil_ledger::csv_map::MappingError;
use counterfoil_store::StoreError;
use thiserror::Error;

/// An error of a command.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// A use-case.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Reading or writing.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file.
    #[error("{path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A mapping does not fit its file.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Asked(String),
}

impl CliError {
    /// Something wrong with a file.
    pub(crate) fn file(path: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_string(), why: why.to_string() }
    }

    /// Something wrong with what was asked for.
    pub(crate) fn asked(why: impl Into<String>) -> Self {
        Self::Asked(why.into())
    }
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        match error {
            // A closed pipe must stay recognizable.
            ExportError::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Self::Io(error)
            }
            other => Self::Engine(EngineError::Export(other)),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Engine(EngineError::Store(error))
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::Engine(EngineError::Json(error))
    }
}

macro_rules! from_engine {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::Engine(EngineError::from(error))
            }
        }
    )*};
}

from_engine!(
    counterfoil_catalog::BookError,
    counterfoil_types::TimeError,
    counterfoil_types::ExactError,
    counterfoil_types::MoneyError,
    counterfoil_rating::RatingError,
    counterfoil_invoicing::CycleError,
);
