//! The catalog port.

use async_trait::async_trait;
use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_ledger::Guards;
use counterfoil_metering::MeterSpec;
use counterfoil_store::{BookRow, CatalogStore, MeterRow, StoreError, Tenant};
use counterfoil_types::{BookRef, CustomerId, Digest, SubscriptionId, TenantId, Timestamp};
use sqlx::{PgConnection, PgExecutor, postgres::PgRow};

use crate::{
    error::{StepError, store_error},
    open::PostgresStore,
    rows::{self, get},
};

/// The number of a tenant.
pub(crate) async fn number_of(
    executor: impl PgExecutor<'_>,
    tenant: &TenantId,
) -> Result<i64, StepError> {
    let row = sqlx::query("SELECT number FROM tenant WHERE id = $1")
        .bind(tenant.as_str())
        .fetch_optional(executor)
        .await?;
    number(row.as_ref(), tenant)
}

/// The number of a tenant, its row locked: what is contiguous per tenant (the journal) and per
/// series (invoice numbers) is written by one transaction at a time.
pub(crate) async fn lock(
    executor: impl PgExecutor<'_>,
    tenant: &TenantId,
) -> Result<i64, StepError> {
    let row = sqlx::query("SELECT number FROM tenant WHERE id = $1 FOR NO KEY UPDATE")
        .bind(tenant.as_str())
        .fetch_optional(executor)
        .await?;
    number(row.as_ref(), tenant)
}

fn number(row: Option<&PgRow>, tenant: &TenantId) -> Result<i64, StepError> {
    match row {
        Some(row) => Ok(get(row, 0)?),
        None => Err(StoreError::NoTenant(tenant.to_string()).into()),
    }
}

async fn find(
    executor: impl PgExecutor<'_>,
    tenant: &TenantId,
) -> Result<Option<Tenant>, StoreError> {
    let row =
        sqlx::query("SELECT number, lanes, future_micros, past_micros FROM tenant WHERE id = $1")
            .bind(tenant.as_str())
            .fetch_optional(executor)
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
    row: &PgRow,
) -> Result<T, StoreError> {
    let id: &str = get(row, 0)?;
    let body: &str = get(row, 1)?;
    rows::json(table, id, body)
}

#[async_trait]
impl CatalogStore for PostgresStore {
    async fn ensure_tenant(&self, tenant: &TenantId, lanes: u16) -> Result<Tenant, StoreError> {
        if let Some(found) = self.tenant(tenant).await? {
            return Ok(found);
        }
        let guards = Guards::default();
        sqlx::query("SELECT create_tenant($1, $2, $3, $4, $5)")
            .bind(tenant.as_str())
            .bind(i64::from(lanes))
            .bind(guards.future_micros)
            .bind(guards.past_micros)
            .bind(Timestamp::MIN.micros())
            .execute(&mut *self.on(tenant).await?)
            .await
            .map_err(store_error)?;
        self.tenant(tenant).await?.ok_or_else(|| StoreError::NoTenant(tenant.to_string()))
    }

    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, StoreError> {
        find(&mut *self.on(tenant).await?, tenant).await
    }

    async fn customer(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
    ) -> Result<Option<Customer>, StoreError> {
        let row = sqlx::query(
            "SELECT c.id, c.body FROM customer c JOIN tenant t ON t.number = c.tenant WHERE t.id = $1 AND c.id = $2",
        )
        .bind(tenant.as_str())
        .bind(customer.as_str())
        .fetch_optional(&mut *self.on(tenant).await?)
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
            "SELECT c.id, c.body FROM customer c JOIN tenant t ON t.number = c.tenant WHERE t.id = $1 AND c.id > $2 ORDER BY c.id LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(after.map_or("", CustomerId::as_str))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| text_row("customer", row)).collect()
    }

    async fn customers_named(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
    ) -> Result<Vec<Customer>, StoreError> {
        let names: Vec<&str> = customers.iter().map(CustomerId::as_str).collect();
        let rows = sqlx::query(
            "SELECT c.id, c.body FROM customer c JOIN tenant t ON t.number = c.tenant WHERE t.id = $1 AND c.id = ANY($2)",
        )
        .bind(tenant.as_str())
        .bind(&names)
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| text_row("customer", row)).collect()
    }

    async fn subscription(
        &self,
        tenant: &TenantId,
        subscription: &SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        let row = sqlx::query(
            "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = $1 AND s.id = $2",
        )
        .bind(tenant.as_str())
        .bind(subscription.as_str())
        .fetch_optional(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        row.map(|row| text_row("subscription", &row)).transpose()
    }

    async fn subscriptions_named(
        &self,
        tenant: &TenantId,
        subscriptions: &[SubscriptionId],
    ) -> Result<Vec<Subscription>, StoreError> {
        let names: Vec<&str> = subscriptions.iter().map(SubscriptionId::as_str).collect();
        let rows = sqlx::query(
            "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = $1 AND s.id = ANY($2)",
        )
        .bind(tenant.as_str())
        .bind(&names)
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| text_row("subscription", row)).collect()
    }

    async fn subscriptions_among(
        &self,
        tenant: &TenantId,
        customers: &[CustomerId],
    ) -> Result<Vec<Subscription>, StoreError> {
        let names: Vec<&str> = customers.iter().map(CustomerId::as_str).collect();
        let rows = sqlx::query(
            "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = $1 AND s.customer = ANY($2)",
        )
        .bind(tenant.as_str())
        .bind(&names)
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| text_row("subscription", row)).collect()
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
                    "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = $1 AND s.id > $2 ORDER BY s.id LIMIT $3",
                )
                .bind(tenant.as_str())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(&mut *self.on(tenant).await?)
                .await
            }
            Some(customer) => {
                sqlx::query(
                    "SELECT s.id, s.body FROM subscription s JOIN tenant t ON t.number = s.tenant WHERE t.id = $1 AND s.customer = $2 AND s.id > $3 ORDER BY s.id LIMIT $4",
                )
                .bind(tenant.as_str())
                .bind(customer.as_str())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(&mut *self.on(tenant).await?)
                .await
            }
        };
        rows.map_err(store_error)?.iter().map(|row| text_row("subscription", row)).collect()
    }

    async fn books(&self, tenant: &TenantId) -> Result<Vec<BookRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT b.name, b.version, b.digest, b.effective_from, b.text, b.published_at FROM price_book b JOIN tenant t ON t.number = b.tenant WHERE t.id = $1 ORDER BY b.name, b.effective_from, b.version",
        )
        .bind(tenant.as_str())
        .fetch_all(&mut *self.on(tenant).await?)
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
            "SELECT m.key, m.spec, m.definition FROM meter m JOIN tenant t ON t.number = m.tenant WHERE t.id = $1 ORDER BY m.key",
        )
        .bind(tenant.as_str())
        .fetch_all(&mut *self.on(tenant).await?)
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
pub(crate) async fn lane_count(store: &PostgresStore) -> Result<(i64, i64), StoreError> {
    let row = sqlx::query("SELECT count(*), coalesce(sum(position), 0)::bigint FROM lane")
        .fetch_one(&store.pool)
        .await
        .map_err(store_error)?;
    Ok((get(&row, 0)?, get(&row, 1)?))
}

/// Creates or replaces a customer.
pub(crate) async fn put_customer(
    tx: &mut PgConnection,
    tenant: i64,
    customer: &Customer,
) -> Result<(), StepError> {
    sqlx::query(
        "INSERT INTO customer (tenant, id, body) VALUES ($1, $2, $3) ON CONFLICT (tenant, id) DO UPDATE SET body = excluded.body",
    )
    .bind(tenant)
    .bind(customer.id.as_str())
    .bind(rows::to_json(customer)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// Creates or replaces a subscription.
pub(crate) async fn put_subscription(
    tx: &mut PgConnection,
    tenant: i64,
    subscription: &Subscription,
) -> Result<(), StepError> {
    sqlx::query(
        "INSERT INTO subscription (tenant, id, customer, body) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, id) DO UPDATE SET customer = excluded.customer, body = excluded.body",
    )
    .bind(tenant)
    .bind(subscription.id.as_str())
    .bind(subscription.customer.as_str())
    .bind(rows::to_json(subscription)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// Publishes a price book; the same version with another hash is a conflict. The insert waits for
/// another program that publishes the same version; what it left is then compared.
pub(crate) async fn publish(
    tx: &mut PgConnection,
    tenant: i64,
    book: &BookRow,
) -> Result<(), StepError> {
    let done = sqlx::query(
        "INSERT INTO price_book (tenant, name, version, digest, effective_from, text, published_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, name, version) DO NOTHING",
    )
    .bind(tenant)
    .bind(book.reference.name.as_str())
    .bind(book.reference.version.as_str())
    .bind(book.digest.0.as_slice())
    .bind(book.effective_from.as_str())
    .bind(book.text.as_str())
    .bind(book.published_at.micros())
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query(
        "SELECT digest FROM price_book WHERE tenant = $1 AND name = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(book.reference.name.as_str())
    .bind(book.reference.version.as_str())
    .fetch_one(tx)
    .await?;
    let digest: &[u8] = get(&row, 0)?;
    if digest == book.digest.0 {
        return Ok(());
    }
    let stored = Digest::try_from(digest)
        .map_err(|error| StoreError::corrupt("price_book", &book.reference, error))?;
    Err(StepError::Store(StoreError::conflict(
        format!("price book {}", book.reference),
        format!("published with hash {stored}, the file has {}", book.digest),
    )))
}

/// Registers a meter; the same key with another definition is a conflict.
pub(crate) async fn register(
    tx: &mut PgConnection,
    tenant: i64,
    meter: &MeterRow,
) -> Result<(), StepError> {
    let done = sqlx::query(
        "INSERT INTO meter (tenant, key, definition, spec) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, key) DO NOTHING",
    )
    .bind(tenant)
    .bind(meter.spec.key.as_str())
    .bind(meter.definition.0.as_slice())
    .bind(rows::to_json(&meter.spec)?)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query("SELECT definition FROM meter WHERE tenant = $1 AND key = $2")
        .bind(tenant)
        .bind(meter.spec.key.as_str())
        .fetch_one(tx)
        .await?;
    let definition: &[u8] = get(&row, 0)?;
    if definition == meter.definition.0 {
        return Ok(());
    }
    Err(StepError::Store(StoreError::conflict(
        format!("meter {}", meter.spec.key),
        "it is registered with another definition; give the new one another key",
    )))
}
