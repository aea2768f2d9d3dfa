//! Documents, accounts with their postings, and settings. The caller of a write holds the lock of
//! the tenant's row, so positions stay contiguous and balances stand still.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use counterfoil_store::{
    Account, AccountFilter, Document, DocumentFilter, DocumentStore, Posting, RecordedPosting,
    StoreError,
};
use counterfoil_types::{CustomerId, Exact, Quantity, TenantId, Timestamp};
use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    error::{StepError, store_error},
    finalize,
    open::PostgresStore,
    rows::{self, get, signed, unsigned},
};

/// Issues a document, unless the same one is there.
pub(crate) async fn issue(
    tx: &mut PgConnection,
    tenant: i64,
    document: &Document,
    series: Option<&str>,
) -> Result<(), StepError> {
    let digest = document.digest();
    let stored =
        sqlx::query("SELECT digest FROM document WHERE tenant = $1 AND kind = $2 AND id = $3")
            .bind(tenant)
            .bind(document.kind.as_str())
            .bind(document.id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    if let Some(row) = stored {
        let stored: &[u8] = get(&row, 0)?;
        if stored == digest.0 {
            return Ok(());
        }
        return Err(StoreError::conflict(
            format!("{} {}", document.kind, document.id),
            "it is there with other content; give the new one another id",
        )
        .into());
    }
    let number = match series {
        Some(series) => finalize::numbers(tx, tenant, series, 1).await?.pop(),
        None => None,
    };
    sqlx::query(
        "INSERT INTO document (tenant, kind, id, customer, subject, number, at, digest, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant)
    .bind(document.kind.as_str())
    .bind(document.id.as_str())
    .bind(document.customer.as_str())
    .bind(document.subject.as_str())
    .bind(number)
    .bind(document.at.micros())
    .bind(digest.0.as_slice())
    .bind(rows::to_json(&document.body)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// Posts, unless posted before.
pub(crate) async fn post(
    tx: &mut PgConnection,
    tenant: i64,
    postings: &[Posting],
) -> Result<(), StepError> {
    let mut known = known_keys(tx, tenant, postings).await?;
    let mut fresh = Vec::with_capacity(postings.len());
    for posting in postings {
        let says = (posting.account.clone(), posting.amount.to_string());
        match known.get(&posting.key) {
            None => {
                known.insert(posting.key.clone(), says);
                fresh.push(posting);
            }
            Some(stored) if *stored == says => {}
            Some((account, amount)) => {
                return Err(StoreError::conflict(
                    format!("posting {}", posting.key),
                    format!("it was posted as {amount} on {account}"),
                )
                .into());
            }
        }
    }
    if fresh.is_empty() {
        return Ok(());
    }
    let mut accounts = accounts_of(tx, tenant, &fresh).await?;
    let mut balances = Vec::with_capacity(fresh.len());
    for posting in &fresh {
        let account = accounts.entry(posting.account.clone()).or_insert_with(|| Account {
            name: posting.account.clone(),
            customer: posting.customer.clone(),
            unit: posting.unit.clone(),
            balance: Quantity::ZERO,
        });
        account.balance = account.after(posting)?;
        balances.push(account.balance.to_string());
    }
    let column = |value: &dyn Fn(&Posting) -> String| -> Vec<String> {
        fresh.iter().map(|posting| value(posting)).collect()
    };
    let times: Vec<i64> = fresh.iter().map(|posting| posting.at.micros()).collect();
    sqlx::query(
        "INSERT INTO posting (tenant, position, key, account, amount, balance, at, cause, reference) SELECT $1, (SELECT coalesce(max(position), 0) FROM posting WHERE tenant = $1) + p.place, p.key, p.account, p.amount::numeric, p.balance::numeric, p.at, p.cause, p.reference FROM UNNEST($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[]) WITH ORDINALITY AS p (key, account, amount, balance, at, cause, reference, place)",
    )
    .bind(tenant)
    .bind(column(&|posting| posting.key.clone()))
    .bind(column(&|posting| posting.account.clone()))
    .bind(column(&|posting| posting.amount.to_string()))
    .bind(&balances)
    .bind(&times)
    .bind(column(&|posting| posting.cause.clone()))
    .bind(column(&|posting| posting.reference.clone()))
    .execute(&mut *tx)
    .await?;
    let column = |value: &dyn Fn(&Account) -> String| -> Vec<String> {
        accounts.values().map(value).collect()
    };
    sqlx::query(
        "INSERT INTO account (tenant, name, customer, unit, balance) SELECT $1, a.name, a.customer, a.unit, a.balance::numeric FROM UNNEST($2::text[], $3::text[], $4::text[], $5::text[]) AS a (name, customer, unit, balance) ON CONFLICT (tenant, name) DO UPDATE SET balance = excluded.balance",
    )
    .bind(tenant)
    .bind(column(&|account| account.name.clone()))
    .bind(column(&|account| account.customer.to_string()))
    .bind(column(&|account| account.unit.clone()))
    .bind(column(&|account| account.balance.to_string()))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Account and amount of those keys that are posted.
async fn known_keys(
    tx: &mut PgConnection,
    tenant: i64,
    postings: &[Posting],
) -> Result<HashMap<String, (String, String)>, StepError> {
    let keys: Vec<&str> = postings.iter().map(|posting| posting.key.as_str()).collect();
    let found = sqlx::query(
        "SELECT key, account, amount::text FROM posting WHERE tenant = $1 AND key = ANY($2)",
    )
    .bind(tenant)
    .bind(&keys)
    .fetch_all(tx)
    .await?;
    let mut known = HashMap::with_capacity(found.len());
    for row in &found {
        let key: String = get(row, 0)?;
        let amount = quantity("posting", &key, get(row, 2)?)?;
        known.insert(key, (get(row, 1)?, amount.to_string()));
    }
    Ok(known)
}

/// The accounts these postings move, as far as they exist, locked in order of name.
async fn accounts_of(
    tx: &mut PgConnection,
    tenant: i64,
    postings: &[&Posting],
) -> Result<BTreeMap<String, Account>, StepError> {
    let names: Vec<&str> = postings.iter().map(|posting| posting.account.as_str()).collect();
    let found = sqlx::query(
        "SELECT name, customer, unit, balance::text FROM account WHERE tenant = $1 AND name = ANY($2) ORDER BY name FOR UPDATE",
    )
    .bind(tenant)
    .bind(&names)
    .fetch_all(tx)
    .await?;
    let mut accounts = BTreeMap::new();
    for row in &found {
        let account = account(row)?;
        accounts.insert(account.name.clone(), account);
    }
    Ok(accounts)
}

/// Sets or removes a setting.
pub(crate) async fn set(
    tx: &mut PgConnection,
    tenant: i64,
    key: &str,
    value: Option<&str>,
) -> Result<(), StepError> {
    let query = match value {
        Some(value) => sqlx::query(
            "INSERT INTO setting (tenant, key, value) VALUES ($1, $2, $3) ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value",
        )
        .bind(tenant)
        .bind(key)
        .bind(value),
        None => sqlx::query("DELETE FROM setting WHERE tenant = $1 AND key = $2")
            .bind(tenant)
            .bind(key),
    };
    query.execute(tx).await?;
    Ok(())
}

fn customer(table: &'static str, row: &str, name: &str) -> Result<CustomerId, StoreError> {
    CustomerId::new(name).map_err(|error| StoreError::corrupt(table, row, error))
}

fn quantity(table: &'static str, row: &str, text: &str) -> Result<Quantity, StoreError> {
    text.parse().map_err(|error| StoreError::corrupt(table, row, error))
}

fn account(row: &PgRow) -> Result<Account, StoreError> {
    let name: String = get(row, 0)?;
    Ok(Account {
        customer: customer("account", &name, get(row, 1)?)?,
        unit: get(row, 2)?,
        balance: quantity("account", &name, get(row, 3)?)?,
        name,
    })
}

fn document(row: &PgRow) -> Result<Document, StoreError> {
    let id: String = get(row, 1)?;
    let digest: &[u8] = get(row, 6)?;
    let body: &str = get(row, 7)?;
    let document = Document {
        kind: get(row, 0)?,
        customer: customer("document", &id, get(row, 2)?)?,
        subject: get(row, 3)?,
        number: get(row, 4)?,
        at: Timestamp::from_micros(get(row, 5)?),
        body: rows::json("document", &id, body)?,
        id,
    };
    if document.digest().0 != digest {
        return Err(StoreError::corrupt("document", &document.id, "it is not what was sealed"));
    }
    Ok(document)
}

fn recorded(row: &PgRow) -> Result<RecordedPosting, StoreError> {
    let key: String = get(row, 1)?;
    Ok(RecordedPosting {
        position: unsigned(get(row, 0)?),
        balance: quantity("posting", &key, get(row, 4)?)?,
        posting: Posting {
            account: get(row, 2)?,
            amount: quantity("posting", &key, get(row, 3)?)?,
            at: Timestamp::from_micros(get(row, 5)?),
            cause: get(row, 6)?,
            reference: get(row, 7)?,
            customer: customer("account", &key, get(row, 8)?)?,
            unit: get(row, 9)?,
            expects: None::<Exact>,
            key,
        },
    })
}

#[async_trait]
impl DocumentStore for PostgresStore {
    async fn document(
        &self,
        tenant: &TenantId,
        kind: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        let row = sqlx::query(
            "SELECT d.kind, d.id, d.customer, d.subject, d.number, d.at, d.digest, d.body FROM document d JOIN tenant t ON t.number = d.tenant WHERE t.id = $1 AND d.kind = $2 AND d.id = $3",
        )
        .bind(tenant.as_str())
        .bind(kind)
        .bind(id)
        .fetch_optional(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        row.as_ref().map(document).transpose()
    }

    async fn documents(
        &self,
        tenant: &TenantId,
        kind: &str,
        filter: &DocumentFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError> {
        let rows = sqlx::query(
            "SELECT d.kind, d.id, d.customer, d.subject, d.number, d.at, d.digest, d.body FROM document d JOIN tenant t ON t.number = d.tenant WHERE t.id = $1 AND d.kind = $2 AND ($3::text IS NULL OR d.customer = $3) AND ($4::text IS NULL OR d.subject = $4) AND d.id > $5 ORDER BY d.id LIMIT $6",
        )
        .bind(tenant.as_str())
        .bind(kind)
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.subject.as_deref())
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(document).collect()
    }

    async fn account(&self, tenant: &TenantId, name: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(
            "SELECT a.name, a.customer, a.unit, a.balance::text FROM account a JOIN tenant t ON t.number = a.tenant WHERE t.id = $1 AND a.name = $2",
        )
        .bind(tenant.as_str())
        .bind(name)
        .fetch_optional(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        row.as_ref().map(account).transpose()
    }

    async fn accounts(
        &self,
        tenant: &TenantId,
        filter: &AccountFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.name, a.customer, a.unit, a.balance::text FROM account a JOIN tenant t ON t.number = a.tenant WHERE t.id = $1 AND starts_with(a.name, $2) AND ($3::text IS NULL OR a.customer = $3) AND (NOT $4 OR a.balance <> 0) AND a.name > $5 AND a.name >= $2 ORDER BY a.name LIMIT $6",
        )
        .bind(tenant.as_str())
        .bind(filter.prefix.as_str())
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.open)
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(account).collect()
    }

    async fn postings(
        &self,
        tenant: &TenantId,
        account: Option<&str>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedPosting>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.position, p.key, p.account, p.amount::text, p.balance::text, p.at, p.cause, p.reference, a.customer, a.unit FROM posting p JOIN tenant t ON t.number = p.tenant JOIN account a ON a.tenant = p.tenant AND a.name = p.account WHERE t.id = $1 AND ($2::text IS NULL OR p.account = $2) AND p.position > $3 ORDER BY p.position LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(account)
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(recorded).collect()
    }

    async fn settings(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT s.key, s.value FROM setting s JOIN tenant t ON t.number = s.tenant WHERE t.id = $1 AND starts_with(s.key, $2) ORDER BY s.key",
        )
        .bind(tenant.as_str())
        .bind(prefix)
        .fetch_all(&mut *self.on(tenant).await?)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }
}
