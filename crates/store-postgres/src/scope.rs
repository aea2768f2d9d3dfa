//! Which tenant a connection works for: the second wall, behind the `WHERE` of each statement.
//!
//! Roles that row-level security holds for (`migrations/postgres/0006_roles.sql`) see nothing until
//! the session says whose work it does, so each use of a connection begins by saying it. For the
//! owner of the tables the wall is not there, and saying so would be a round trip for nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use counterfoil_ledger::{LaneId, MAX_LANES};
use counterfoil_store::StoreError;
use counterfoil_types::TenantId;
use sqlx::{PgConnection, Postgres, Transaction, pool::PoolConnection};

use crate::{error::store_error, open::PostgresStore, rows::get};

/// Whose work is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// That of the tenant with this name.
    Name(&'a TenantId),
    /// That of the tenant with this number.
    Number(i64),
}

impl<'a> From<&'a TenantId> for Scope<'a> {
    fn from(tenant: &'a TenantId) -> Self {
        Self::Name(tenant)
    }
}

impl From<i64> for Scope<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<LaneId> for Scope<'_> {
    fn from(lane: LaneId) -> Self {
        Self::Number(lane.0.div_euclid(i64::from(MAX_LANES)))
    }
}

/// Numbers of tenants, which never change.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<HashMap<TenantId, i64>>);

impl Numbers {
    fn known(&self, tenant: &TenantId) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).copied()
    }

    fn learn(&self, tenant: &TenantId, number: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), number);
    }
}

impl PostgresStore {
    /// A connection that works for a tenant.
    pub(crate) async fn on<'a>(
        &self,
        scope: impl Into<Scope<'a>>,
    ) -> Result<PoolConnection<Postgres>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(store_error)?;
        self.bind(&mut connection, scope.into()).await?;
        Ok(connection)
    }

    /// A transaction that works for a tenant.
    pub(crate) async fn begin_on<'a>(
        &self,
        scope: impl Into<Scope<'a>>,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut tx = self.pool.begin().await.map_err(store_error)?;
        self.bind(&mut tx, scope.into()).await?;
        Ok(tx)
    }

    async fn bind(
        &self,
        connection: &mut PgConnection,
        scope: Scope<'_>,
    ) -> Result<(), StoreError> {
        if !self.walled {
            return Ok(());
        }
        let (name, number) = match scope {
            Scope::Number(number) => ("", Some(number)),
            Scope::Name(tenant) => (tenant.as_str(), self.numbers.known(tenant)),
        };
        say(connection, name, number).await?;
        let Scope::Name(tenant) = scope else { return Ok(()) };
        if number.is_some() {
            return Ok(());
        }
        // Its own row is there by its name.
        let row = sqlx::query("SELECT number FROM tenant WHERE id = $1")
            .bind(name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        let Some(row) = row else { return Ok(()) };
        let number = get(&row, 0)?;
        self.numbers.learn(tenant, number);
        say(connection, name, Some(number)).await
    }
}

async fn say(
    connection: &mut PgConnection,
    name: &str,
    number: Option<i64>,
) -> Result<(), StoreError> {
    sqlx::query(
        "SELECT set_config('counterfoil.name', $1, false), set_config('counterfoil.tenant', $2, false)",
    )
    .bind(name)
    .bind(number.map(|number| number.to_string()).unwrap_or_default())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Whether row-level security holds for who is connected.
pub(crate) async fn is_walled(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT row_security_active('tenant'::regclass)")
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    get(&row, 0)
}
