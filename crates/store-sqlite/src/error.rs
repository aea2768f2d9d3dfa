//! Driver errors, sorted by what the caller can do (primary result codes of SQLite).

use counterfoil_store::StoreError;

/// Maps a driver error.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<i64>().ok()).unwrap_or(0);
            let text = database.message().to_owned();
            // Extended codes carry the primary code in their low byte.
            match code & 0xff {
                5 | 6 => StoreError::Locked(text),
                8 => StoreError::ReadOnly(text),
                13 => StoreError::Full(text),
                14 => {
                    StoreError::ReadOnly(format!("{text} (is the directory there and writable?)"))
                }
                11 | 26 => StoreError::corrupt("file", "header or page", text),
                19 => StoreError::conflict("a row", text),
                _ => StoreError::Driver(format!("{text} (code {code})")),
            }
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable(error.to_string())
        }
        sqlx::Error::Io(io) => match io.kind() {
            std::io::ErrorKind::StorageFull => StoreError::Full(io.to_string()),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::ReadOnly(io.to_string())
            }
            _ => StoreError::Unavailable(io.to_string()),
        },
        _ => StoreError::Driver(error.to_string()),
    }
}

/// Whether an error is the violation of a unique key.
pub(crate) fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
