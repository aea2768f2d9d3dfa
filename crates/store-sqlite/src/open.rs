//! Opening a store: directory, pragmas, migrations, the one writer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use counterfoil_store::StoreError;
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::error::store_error;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long a writer waits for another process before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Reading connections. Two cores want no more.
const READERS: u32 = 4;

/// A store in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pub(crate) read: SqlitePool,
    pub(crate) write: SqlitePool,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the store in `path`, creating it if it does not exist, and brings its schema up to
    /// this program's.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], [`StoreError::Locked`], [`StoreError::NewerSchema`] and so on.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(|error| {
                StoreError::ReadOnly(format!("cannot create {}: {error}", directory.display()))
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "4000")
            .statement_cache_capacity(256)
            .row_buffer_size(1024);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(|error| located(path, store_error(error)))?;
        migrate(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(store_error)?;
        Ok(Self { read, write, path: path.to_owned() })
    }

    /// Where the store lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The writing connection, for tests that must break things on purpose.
    #[must_use]
    pub fn writer(&self) -> &SqlitePool {
        &self.write
    }

    /// Finishes writing and closes the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// A writing transaction. It takes the write lock at once, so that what it reads stays true.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.write.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)
    }
}

fn located(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::ReadOnly(text) => StoreError::ReadOnly(format!("{}: {text}", path.display())),
        StoreError::Locked(text) => StoreError::Locked(format!("{}: {text}", path.display())),
        other => other,
    }
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => StoreError::Driver(other.to_string()),
    })
}
