//! The leases port, and the fence that a write may carry.
//!
//! A fence is a shared lock on the lease's row, taken first and held to the end of the write: a
//! program that would take the lease over meanwhile leaves it for later, and a write that comes after
//! it was taken finds another token.

use async_trait::async_trait;
use counterfoil_store::{Fence, Lease, LeaseStore, StoreError};
use counterfoil_types::Timestamp;
use sqlx::PgConnection;

use crate::{
    error::{StepError, store_error},
    open::PostgresStore,
    rows::{get, signed, unsigned},
};

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        ttl_micros: i64,
    ) -> Result<Option<Lease>, StoreError> {
        // A holder that hangs inside a write has the row locked: it is passed over, not waited for.
        let taken = sqlx::query(
            "WITH free AS (SELECT name FROM lease WHERE name = $1 AND (holder IS NULL OR holder = $2 OR until <= $3) FOR UPDATE SKIP LOCKED) UPDATE lease SET holder = $2, token = lease.token + 1, until = $4 FROM free WHERE lease.name = free.name RETURNING lease.token",
        )
        .bind(name)
        .bind(holder)
        .bind(now.micros())
        .bind(now.plus_micros(ttl_micros).micros())
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error)?;
        let row = match taken {
            Some(row) => Some(row),
            None => sqlx::query(
                "INSERT INTO lease (name, holder, token, until) VALUES ($1, $2, 1, $3) ON CONFLICT (name) DO NOTHING RETURNING token",
            )
            .bind(name)
            .bind(holder)
            .bind(now.plus_micros(ttl_micros).micros())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?,
        };
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
            "UPDATE lease SET until = greatest(until, $3) WHERE name = $1 AND token = $2 AND holder IS NOT NULL",
        )
        .bind(lease.name.as_str())
        .bind(signed(lease.token))
        .bind(now.plus_micros(ttl_micros).micros())
        .execute(&self.pool)
        .await
        .map_err(store_error)?;
        match done.rows_affected() {
            0 => Err(StoreError::LeaseLost(lease.name.clone())),
            _ => Ok(()),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        sqlx::query("UPDATE lease SET holder = NULL WHERE name = $1 AND token = $2")
            .bind(lease.name.as_str())
            .bind(signed(lease.token))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

/// Lets a write go on if the lease it was made under is still held, and keeps it so until the
/// write ends.
pub(crate) async fn hold(tx: &mut PgConnection, fence: Option<&Fence>) -> Result<(), StepError> {
    let Some(fence) = fence else { return Ok(()) };
    let held = sqlx::query(
        "SELECT 1 FROM lease WHERE name = $1 AND token = $2 AND holder IS NOT NULL FOR SHARE",
    )
    .bind(fence.name.as_str())
    .bind(signed(fence.token))
    .fetch_optional(tx)
    .await?;
    match held {
        Some(_) => Ok(()),
        None => Err(StoreError::LeaseLost(fence.name.clone()).into()),
    }
}
