//! An engine over the configured store and clock.

use std::sync::Arc;

use counterfoil_archive::{AnchorFile, ArchiveDir};
use counterfoil_engine::Engine;
use counterfoil_store::Store;
use counterfoil_store_postgres::{PostgresOptions, PostgresStore};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Clock, FixedClock};

use crate::{clock::SystemClock, config::Config, error::CliError};

/// The configured store.
pub(crate) enum AnyStore {
    /// One file.
    Sqlite(SqliteStore),
    /// A server.
    Postgres(PostgresStore),
}

impl AnyStore {
    /// Opens it, bringing its schema up to date.
    pub(crate) async fn open(config: &Config) -> Result<Self, CliError> {
        Ok(match &config.postgres {
            Some(url) => {
                Self::Postgres(PostgresStore::connect(url, PostgresOptions::default()).await?)
            }
            None => Self::Sqlite(SqliteStore::open(&config.database).await?),
        })
    }

    /// The store as the engine takes it.
    pub(crate) fn shared(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Where it is, without a password.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Sqlite(store) => store.path().display().to_string(),
            Self::Postgres(store) => store.place().to_owned(),
        }
    }

    /// Finishes writing and closes it.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// The configured clock.
pub(crate) fn clock(config: &Config) -> Arc<dyn Clock> {
    match config.now {
        Some(now) => Arc::new(FixedClock::new(now)),
        None => Arc::new(SystemClock),
    }
}

/// The engine with the files that belong to its tenant.
pub(crate) fn beside(config: &Config, engine: Engine) -> Engine {
    let anchor = config.anchor_file(&engine.tenant().id);
    engine
        .with_archives(Arc::new(ArchiveDir::new(&config.archives)))
        .with_anchor(Arc::new(AnchorFile::new(anchor)))
}

/// Opens the store and the tenant. The store comes along so that it can be closed.
pub(crate) async fn engine(config: &Config) -> Result<(Engine, AnyStore), CliError> {
    let store = AnyStore::open(config).await?;
    let engine = Engine::open(store.shared(), clock(config), &config.tenant, config.lanes).await?;
    let mut engine = beside(config, engine);
    if config.test_mode {
        engine = engine.with_test_clocks().await?;
    }
    Ok((engine, store))
}
