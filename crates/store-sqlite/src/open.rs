//! Opening a store: directory, pragmas, migrations, the one writer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use counterfoil_store::StoreError;
use sqlx::{
    Connection, Row, Sqlite, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{error::store_error, group::Queue};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long a writer waits for another process before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often, and how far apart, opening a locked file is tried before waiting as a writer.
const CONNECT_TRIES: u32 = 20;
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Reading connections. Two cores want no more.
const READERS: u32 = 4;

/// A store in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pub(crate) read: SqlitePool,
    pub(crate) write: SqlitePool,
    pub(crate) queue: Queue,
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
            .pragma("temp_store", "memory")
            .pragma("wal_autocheckpoint", "4000")
            .statement_cache_capacity(256)
            .row_buffer_size(1024);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            // On a full disk SQLite rolls back by itself; the driver then goes on counting a
            // transaction that is over, and could never begin another one.
            .before_acquire(|connection, _| {
                let usable = !connection.is_in_transaction();
                Box::pin(async move { Ok(usable) })
            });
        let write = connect(pool, &options).await.map_err(|error| located(path, error))?;
        migrate(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(store_error)?;
        Ok(Self { read, write, queue: Queue::default(), path: path.to_owned() })
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

    /// Copies the store into `file` as it stands at one moment, while others go on using it. The
    /// copy is compact, and complete once it has its name.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub async fn backup(&self, file: &Path) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::StorageFull => StoreError::Full(file.display().to_string()),
            _ => StoreError::ReadOnly(format!("{}: {error}", file.display())),
        };
        if file.exists() {
            let why = format!("{} exists; name another file", file.display());
            return Err(StoreError::conflict("the backup", why));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let temporary = file.with_file_name(format!(".{name}.tmp"));
        if temporary.exists() {
            std::fs::remove_file(&temporary).map_err(failed)?;
        }
        let copied = sqlx::query("VACUUM INTO ?")
            .bind(temporary.display().to_string())
            .execute(&self.read)
            .await
            .map_err(store_error)
            .and_then(|_| std::fs::File::open(&temporary).map_err(failed))
            .and_then(|copy| copy.sync_all().map_err(failed))
            .and_then(|()| std::fs::rename(&temporary, file).map_err(failed));
        if copied.is_err() {
            // What went wrong matters more than what cannot be tidied up.
            let _ = std::fs::remove_file(&temporary);
            return copied;
        }
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        std::fs::File::open(directory).and_then(|entry| entry.sync_all()).map_err(failed)
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

/// Connects. Two programs that turn a new file into a WAL file at once refuse each other without
/// waiting, so the waiting is done here.
async fn connect(
    pool: SqlitePoolOptions,
    options: &SqliteConnectOptions,
) -> Result<SqlitePool, StoreError> {
    for _ in 0..CONNECT_TRIES {
        match pool.clone().connect_with(options.clone()).await.map_err(store_error) {
            Err(StoreError::Locked(_)) => tokio::time::sleep(CONNECT_PAUSE).await,
            outcome => return outcome,
        }
    }
    pool.connect_with(options.clone()).await.map_err(store_error)
}

fn located(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::ReadOnly(text) => StoreError::ReadOnly(format!("{}: {text}", path.display())),
        StoreError::Locked(text) => StoreError::Locked(format!("{}: {text}", path.display())),
        other => other,
    }
}

/// Whether exactly the migrations this program knows were applied, unedited.
async fn is_current(pool: &SqlitePool) -> Result<bool, StoreError> {
    let table = "SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'";
    if sqlx::query(table).fetch_optional(pool).await.map_err(store_error)?.is_none() {
        return Ok(false);
    }
    let rows = sqlx::query(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(pool)
    .await
    .map_err(store_error)?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in &rows {
        let version: i64 = row.try_get(0).map_err(store_error)?;
        let checksum: Vec<u8> = row.try_get(1).map_err(store_error)?;
        applied.push((version, checksum));
    }
    let known = MIGRATIONS.iter().map(|known| (known.version, known.checksum.to_vec()));
    Ok(known.eq(applied))
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    // A file that is up to date is opened without the write lock, so that reading works while
    // another program writes for long.
    if is_current(pool).await? {
        return Ok(());
    }
    // All in one transaction: of two programs opening a new file, one waits for the other.
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
    MIGRATIONS.run_direct(None, &mut *tx, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => StoreError::Driver(other.to_string()),
    })?;
    tx.commit().await.map_err(store_error)
}
