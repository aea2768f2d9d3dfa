//! Opening a store: connections, the settings of a session, migrations.

use std::{str::FromStr, sync::Arc, time::Duration};

use counterfoil_store::StoreError;
use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, PgPool, Row,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    append::Queues,
    distribute::is_sharded,
    error::store_error,
    scope::{Numbers, is_walled},
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Oldest server that is supported.
const OLDEST: u32 = 15;
/// A connection that rested longer is asked for a sign of life before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// How to connect.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Most connections at once.
    pub max_connections: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How long to wait for a lock that another process holds.
    pub lock_timeout: Duration,
    /// Most events that wait for their turn in this process; what comes beyond waits outside.
    pub waiting_events: u32,
    /// How many batches are looked up before they are written, at the start and while no key is
    /// found taken. It is a matter of time only: the unique index has the last word.
    pub probed_batches: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(30),
            waiting_events: 100_000,
            probed_batches: 8,
        }
    }
}

/// A store in one PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pub(crate) pool: PgPool,
    pub(crate) queues: Arc<Queues>,
    /// Whether row-level security holds for us.
    pub(crate) walled: bool,
    pub(crate) numbers: Arc<Numbers>,
    /// Whether the ledger is sharded by lane.
    pub(crate) sharded: bool,
    place: Arc<str>,
}

impl PostgresStore {
    /// Connects to the database that `url` names (`postgres://user@host/database`), and brings its
    /// schema up to this program's. Of several programs that start at once one migrates and the
    /// others wait.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::NewerSchema`] and so on.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let connect = parse(url)?
            .application_name("counterfoil")
            .statement_cache_capacity(256)
            // A statement that waited for a lane is slow and nothing to warn of.
            .disable_statement_logging();
        let place: Arc<str> =
            format!("{}:{}/{}", connect.get_host(), connect.get_port(), database(&connect)).into();
        let located = |error: sqlx::Error| match store_error(error) {
            StoreError::Unavailable(text) => StoreError::Unavailable(format!("{place}: {text}")),
            other => other,
        };
        let mut first = connect.connect().await.map_err(located)?;
        check_version(&first)?;
        migrate(&mut first).await?;
        let walled = is_walled(&mut first).await?;
        let sharded = is_sharded(&mut first).await?;
        first.close().await.map_err(store_error)?;
        let queues = Queues::new(options.waiting_events, options.probed_batches);
        let pool = pool(connect, options).await.map_err(located)?;
        let (queues, numbers) = (Arc::new(queues), Arc::default());
        Ok(Self { pool, queues, walled, numbers, sharded, place })
    }

    /// Host, port and database, without user and password.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// How many batches wait for their turn to be appended: the sign of back-pressure.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queues.waiting()
    }

    /// The connections, for tests that must break things on purpose.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Lets what is being written finish and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What an error says could quote the URL, and that may hold a password; so it is not passed on.
fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let ours = url.starts_with("postgres://") || url.starts_with("postgresql://");
    PgConnectOptions::from_str(url).ok().filter(|_| ours).ok_or_else(|| {
        StoreError::Driver(
            "the database URL is not understood; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
                .to_owned(),
        )
    })
}

fn database(options: &PgConnectOptions) -> &str {
    options.get_database().unwrap_or_else(|| options.get_username())
}

fn check_version(connection: &PgConnection) -> Result<(), StoreError> {
    match connection.server_version_num() {
        Some(version) if version < OLDEST * 10_000 => Err(StoreError::Driver(format!(
            "the server is PostgreSQL {}; version {OLDEST} or newer is needed",
            version / 10_000
        ))),
        _ => Ok(()),
    }
}

async fn pool(connect: PgConnectOptions, options: PostgresOptions) -> Result<PgPool, sqlx::Error> {
    let lock_timeout = options.lock_timeout.as_millis().to_string();
    let port = connect.get_port();
    PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                Ok(meta.idle_for < FRESH || connection.ping().await.is_ok())
            })
        })
        .after_connect(move |connection, _| {
            let lock_timeout = lock_timeout.clone();
            Box::pin(async move {
                // Without it everything works, only slower.
                let _ = crate::nodelay::set(port);
                // A process that hangs with a lane locked must not hold up all others for ever.
                // An acknowledged event is on disk, whatever the server's default is.
                // A plan that was made while a table was empty stays bad until somebody analyzes
                // it: planning anew costs a tenth of a millisecond, a scan of a tenant's invoices
                // for each of them costs the run.
                connection
                    .execute(
                        sqlx::query(
                            "SELECT set_config('lock_timeout', $1, false), set_config('idle_in_transaction_session_timeout', '60s', false), set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false), set_config('plan_cache_mode', 'force_custom_plan', false)",
                        )
                        .bind(lock_timeout),
                    )
                    .await?;
                Ok(())
            })
        })
        .connect_with(connect)
        .await
}

/// Whether exactly the migrations this program knows were applied, unedited.
async fn is_current(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let known_table = sqlx::query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    if !known_table.try_get::<bool, _>(0).map_err(store_error)? {
        return Ok(false);
    }
    let rows = sqlx::query(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(connection)
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

/// Brings the schema up to date under an advisory lock of the database, which the driver takes.
/// On an error the connection must be closed, and the lock goes with it.
async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    // A database that is up to date is opened without the lock and without the right to change
    // its schema.
    if is_current(connection).await? {
        return Ok(());
    }
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => StoreError::Driver(other.to_string()),
    })
}
