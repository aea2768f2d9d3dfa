//! An engine over the configured store and clock.

use std::sync::Arc;

use counterfoil_engine::Engine;
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Clock, FixedClock};

use crate::{clock::SystemClock, config::Config, error::CliError};

/// Opens the store and the tenant. The store comes along so that it can be closed.
pub(crate) async fn engine(config: &Config) -> Result<(Engine, SqliteStore), CliError> {
    let store = SqliteStore::open(&config.database).await?;
    let clock: Arc<dyn Clock> = match config.now {
        Some(now) => Arc::new(FixedClock::new(now)),
        None => Arc::new(SystemClock),
    };
    let shared = Arc::new(store.clone());
    let mut engine = Engine::open(shared, clock, &config.tenant, config.lanes).await?;
    if config.test_mode {
        engine = engine.with_test_clocks().await?;
    }
    Ok((engine, store))
}
