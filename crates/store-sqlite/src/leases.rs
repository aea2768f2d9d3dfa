//! The leases port, and the fence that a write may carry. There is one writer at a time, so what a
//! fence reads inside a write stays true to its end.

use async_trait::async_trait;
use counterfoil_store::{Fence, Lease, LeaseStore, StoreError};
use counterfoil_types::Timestamp;
use sqlx::SqliteConnection;

use crate::{
    error::store_error,
    open::SqliteStore,
    rows::{get, signed, unsigned},
};

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        ttl_micros: i64,
    ) -> Result<Option<Lease>, StoreError> {
        let row = sqlx::query(
            "INSERT INTO lease (name, holder, token, until) VALUES (?1, ?2, 1, ?4) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = token + 1, until = excluded.until WHERE holder IS NULL OR holder = excluded.holder OR until <= ?3 RETURNING token",
        )
        .bind(name)
        .bind(holder)
        .bind(now.micros())
        .bind(now.plus_micros(ttl_micros).micros())
        .fetch_optional(&self.write)
        .await
        .map_err(store_error)?;
        row.map(|row| Ok(Lease { name: name.to_owned(), token: unsigned(get(&row, 0)?) }))
            .transpose()
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl_micros: i64,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE lease SET until = max(until, ?) WHERE name = ? AND token = ? AND holder IS NOT NULL",
        )
        .bind(now.plus_micros(ttl_micros).micros())
        .bind(lease.name.as_str())
        .bind(signed(lease.token))
        .execute(&self.write)
        .await
        .map_err(store_error)?;
        match done.rows_affected() {
            0 => Err(StoreError::LeaseLost(lease.name.clone())),
            _ => Ok(()),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        sqlx::query("UPDATE lease SET holder = NULL WHERE name = ? AND token = ?")
            .bind(lease.name.as_str())
            .bind(signed(lease.token))
            .execute(&self.write)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

/// Lets a write go on if the lease it was made under is still held.
pub(crate) async fn hold(
    tx: &mut SqliteConnection,
    fence: Option<&Fence>,
) -> Result<(), StoreError> {
    let Some(fence) = fence else { return Ok(()) };
    let held =
        sqlx::query("SELECT 1 FROM lease WHERE name = ? AND token = ? AND holder IS NOT NULL")
            .bind(fence.name.as_str())
            .bind(signed(fence.token))
            .fetch_optional(tx)
            .await
            .map_err(store_error)?;
    match held {
        Some(_) => Ok(()),
        None => Err(StoreError::LeaseLost(fence.name.clone())),
    }
}
