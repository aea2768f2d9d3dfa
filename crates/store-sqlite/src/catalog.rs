//! The catalog port.

use async_trait::async_trait;
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_ledger::Guards;
use counterfoil_metering::MeterSpec;
use counterfoil_store::{BookRow, CatalogStore, MeterRow, StoreError, Tenant};
use counterfoil_types::{BookRef, CustomerId, Digest, SubscriptionId, TenantId, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    multi,
    open::SqliteStore,
    rows::{self, get},
};

/// The number of a tenant.
pub(crate) async fn number_of(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT number FROM tenant WHERE id = ?")
        .bind(tenant.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    match row {
        Some(row) => get(&row, 0),
        None => Err(StoreError::NoTenant(tenant.to_string())),
    }
}

async fn find(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<Option<Tenant>, StoreError> {
    let row =
        sqlx::query("SELECT number, lanes, future_micros, past_micros FROM tenant WHERE id = ?")
            .bind(tenant.as_str())
            .fetch_optional(connection)
            .await
            .map_err(store_error)?;
    row.map(|row| {
        let lanes: i64 = get(&row, 1)?;
        Ok(Tenant {
            id: tenant.clone(),
            number: get(&row, 0)?,
            lanes: u16::try_from(lanes)
                .map_err(|error| StoreError::corrupt("tenant", tenant, error))?,
            guards: Guards { future_micros: get(&row, 2)?, past_micros: get(&row, 3)? },
        })
    })
    .transpose()
}

fn text_row<T: serde::de::DeserializeOwned>(
    table: &'static str,
    row: &SqliteRow,
) -> Result<T, StoreError> {
    let id: String = get(row, 0)?;
    let body: &str = get(row, 1)?;
    rows::json(table, &id, body)
}

#[async_trait]
impl CatalogStore for SqliteStore {
    async fn ensure_tenant(&self, tenant: &TenantId, lanes: u16) -> Result<Tenant, StoreError> {
        if let Some(found) = self.tenant(tenant).await? {
            return Ok(found);
        }
        let guards = Guards::default();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO tenant (number, id, lanes, future_micros, past_micros) SELECT coalesce(max(number), 0) + 1, ?, ?, ?, ? FROM tenant WHERE true ON CONFLICT (id) DO NOTHING",
        )
        .bind(tenant.as_str())
        .bind(i64::from(lanes))
        .bind(guards.future_micros)
        .bind(guards.past_micros)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        let created =
            find(&mut tx, tenant).await?.ok_or_else(|| StoreError::NoTenant(tenant.to_string()))?;
        for lane in created.lane_ids() {
            sqlx::query(
                "INSERT INTO lane (lane_id, tenant, position, recorded_at) VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING",
            )
            .bind(lane.0)
            .bind(created.number)
            .bind(Timestamp::MIN.micros())
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(created)
    }

    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        find(&mut connection, tenant).await
    }

    async fn customer(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
    ) -> Result<Option<Customer>, StoreError> {
        let row = sqlx::query(
            "SELECT c.id, c.body FROM customer c JOIN tenant t ON t.number = c.tenant WHERE t.id = ? AND c.id = ?",
        )
        .bind(tenant.as_str())
        .bind(customer.as_str())
        .fetch_optional(&self.read)
        .await
        .map_err(store_error)?;
        row.map(|row| text_row("customer", &row)).transpose()
    }

    async fn customers(
        &self,
        tenant: &TenantId,
        after: Option<&CustomerId>,
        limit: u32,
    ) -> Result<Vec<Customer>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.id, c.body FROM customer c JOIN tenant t ON t.number = c.tenant WHERE t.id = ? AND c.id > ? ORDER BY c.id LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(after.map_or("", CustomerId::as_str))
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| text_row("customer", row)).collect()
    }

    async fn customers_named(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
    ) -> Result<Vec<Customer>, StoreError> {
        let mut found = Vec::with_capacity(customers.len());
        for chunk in multi::chunks(customers) {
            let mut query = sqlx::query(multi::list(
                "SELECT c.id, c.body FROM customer c JOIN tenant t ON t.number = c.tenant WHERE t.id = ? AND c.id IN",
                chunk.len(),
                "",
            ))
            .bind(tenant.as_str());
            for customer in chunk {
                query = query.bind(customer.as_str());
            }
            for row in query.fetch_all(&self.read).await.map_err(store_error)? {
                found.push(text_row("customer", &row)?);
            }
        }
        Ok(found)
    }

    async fn subscription(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        let row = sqlx::query(
            "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = ? AND s.id = ?",
        )
        .bind(tenant.as_str())
        .bind(subscription.as_str())
        .fetch_optional(&self.read)
        .await
        .map_err(store_error)?;
        row.map(|row| text_row("subscription", &row)).transpose()
    }

    async fn subscriptions_named(
        &self,
        tenant: &TenantId,
        subscriptions: &[SubscriptionId],
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut found = Vec::with_capacity(subscriptions.len());
        for chunk in multi::chunks(subscriptions) {
            let mut query = sqlx::query(multi::list(
                "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = ? AND s.id IN",
                chunk.len(),
                "",
            ))
            .bind(tenant.as_str());
            for subscription in chunk {
                query = query.bind(subscription.as_str());
            }
            for row in query.fetch_all(&self.read).await.map_err(store_error)? {
                found.push(text_row("subscription", &row)?);
            }
        }
        Ok(found)
    }

    async fn subscriptions_among(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut found = Vec::with_capacity(customers.len());
        for chunk in multi::chunks(customers) {
            let mut query = sqlx::query(multi::list(
                "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = ? AND s.customer IN",
                chunk.len(),
                "",
            ))
            .bind(tenant.as_str());
            for customer in chunk {
                query = query.bind(customer.as_str());
            }
            for row in query.fetch_all(&self.read).await.map_err(store_error)? {
                found.push(text_row("subscription", &row)?);
            }
        }
        Ok(found)
    }

    async fn subscriptions(
        &self,
        tenant: &TenantId,
        customer: Option<&CustomerId>,
        after: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let after = after.map_or("", SubscriptionId::as_str);
        let rows = match customer {
            None => {
                sqlx::query(
                    "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = ? AND s.id > ? ORDER BY s.id LIMIT ?",
                )
                .bind(tenant.as_str())
                .bind(after)
                .bind(limit)
                .fetch_all(&self.read)
                .await
            }
            Some(customer) => {
                sqlx::query(
                    "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = ? AND s.customer = ? AND s.id > ? ORDER BY s.id LIMIT ?",
                )
                .bind(tenant.as_str())
                .bind(customer.as_str())
                .bind(after)
                .bind(limit)
                .fetch_all(&self.read)
                .await
            }
        };
        rows.map_err(store_error)?.iter().map(|row| text_row("subscription", row)).collect()
    }

    async fn books(&self, tenant: &TenantId) -> Result<Vec<BookRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT b.name, b.version, b.digest, b.effective_from, b.text, b.published_at FROM price_book b JOIN tenant t ON t.number = b.tenant WHERE t.id = ? ORDER BY b.name, b.effective_from, b.version",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let reference = BookRef { name: get(row, 0)?, version: get(row, 1)? };
                let digest: &[u8] = get(row, 2)?;
                let digest = Digest::try_from(digest)
                    .map_err(|error| StoreError::corrupt("price_book", &reference, error))?;
                Ok(BookRow {
                    reference,
                    digest,
                    effective_from: get(row, 3)?,
                    text: get(row, 4)?,
                    published_at: Timestamp::from_micros(get(row, 5)?),
                })
            })
            .collect()
    }

    async fn meters(&self, tenant: &TenantId) -> Result<Vec<MeterRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT m.key, m.spec, m.definition FROM meter m JOIN tenant t ON t.number = m.tenant WHERE t.id = ? ORDER BY m.key",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let spec: MeterSpec = text_row("meter", row)?;
                let definition: &[u8] = get(row, 2)?;
                let definition = Digest::try_from(definition)
                    .map_err(|error| StoreError::corrupt("meter", spec.key.as_str(), error))?;
                Ok(MeterRow { spec, definition })
            })
            .collect()
    }
}

/// Numbers of lanes and events, for `describe`.
pub(crate) async fn lane_count(store: &SqliteStore) -> Result<(i64, i64), StoreError> {
    let row = sqlx::query("SELECT count(*), coalesce(sum(position), 0) FROM lane")
        .fetch_one(&store.read)
        .await
        .map_err(store_error)?;
    Ok((get(&row, 0)?, get(&row, 1)?))
}
