//! Driver errors, sorted by what the caller can do (SQLSTATE classes of PostgreSQL).

use counterfoil_store::StoreError;

/// SQLSTATE of an error the server reported.
fn state(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// Maps a driver error.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let text = database.message().to_owned();
            let code = database.code().unwrap_or_default();
            match &*code {
                // lock_not_available: a lock was waited for as long as it is worth it.
                "55P03" => StoreError::Locked(text),
                // disk_full
                "53100" => StoreError::Full(text),
                // insufficient_privilege: of the role, or of row-level security.
                "42501" => StoreError::Driver(format!(
                    "{text}; connect as a role with the right to do this, see `counterfoil doctor`"
                )),
                // read_only_sql_transaction: a standby, or set so.
                "25006" => StoreError::ReadOnly(text),
                // serialization_failure, deadlock_detected: rolled back, may be tried again.
                "40001" | "40P01"
                // The server stops, starts or has no connection left; idle too long.
                | "57P01" | "57P02" | "57P03" | "53300" | "25P03" | "57014" => {
                    StoreError::Unavailable(text)
                }
                // data_corrupted, index_corrupted
                "XX001" | "XX002" => StoreError::corrupt("database", "page", text),
                // 40003: it is unknown whether the statement was completed.
                _ if code.starts_with("08") || code.starts_with("40") => {
                    StoreError::Unavailable(text)
                }
                _ if code.starts_with("23") => StoreError::conflict("a row", text),
                _ => StoreError::Driver(format!("{text} (SQLSTATE {code})")),
            }
        }
        // A connection that breaks between two messages is reported as a protocol error.
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Driver(error.to_string()),
    }
}

/// Maps an error of COMMIT. Unless the server itself refused, the outcome is unknown.
pub(crate) fn commit_error(error: sqlx::Error) -> StoreError {
    if error.as_database_error().is_some() {
        return store_error(error);
    }
    StoreError::Unavailable(format!(
        "the connection was lost while committing, so the outcome is unknown ({error}); repeating is safe"
    ))
}

/// Whether an error is the violation of a unique key.
pub(crate) fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// Whether the server rolled the transaction back for no fault of its own content.
pub(crate) fn is_rolled_back(error: &sqlx::Error) -> bool {
    matches!(state(error).as_deref(), Some("40001" | "40P01"))
}

/// An error of one step of a transaction that may be repeated as a whole.
#[derive(Debug)]
pub(crate) enum StepError {
    /// What was done was rolled back by the server and may be tried again.
    Again(StoreError),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        if is_rolled_back(&error) {
            Self::Again(store_error(error))
        } else {
            Self::Store(store_error(error))
        }
    }
}

impl From<StepError> for StoreError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Again(error) | StepError::Store(error) => error,
        }
    }
}
