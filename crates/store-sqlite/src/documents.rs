//! Documents, accounts with their postings, and settings.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use counterfoil_store::{
    Account, AccountFilter, Document, DocumentFilter, DocumentStore, Posting, RecordedPosting,
    StoreError,
};
use counterfoil_types::{CustomerId, Exact, Quantity, TenantId, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    finalize, multi,
    open::SqliteStore,
    rows::{self, get, signed, unsigned},
};

/// Issues a document, unless the same one is there.
pub(crate) async fn issue(
    tx: &mut SqliteConnection,
    tenant: i64,
    document: &Document,
    series: Option<&str>,
) -> Result<(), StoreError> {
    let digest = document.digest();
    let stored =
        sqlx::query("SELECT digest FROM document WHERE tenant = ? AND kind = ? AND id = ?")
            .bind(tenant)
            .bind(document.kind.as_str())
            .bind(document.id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
    if let Some(row) = stored {
        let stored: &[u8] = get(&row, 0)?;
        if stored == digest.0 {
            return Ok(());
        }
        return Err(StoreError::conflict(
            format!("{} {}", document.kind, document.id),
            "it is there with other content; give the new one another id",
        ));
    }
    let number = match series {
        Some(series) => Some(finalize::next_number(tx, tenant, series).await?),
        None => None,
    };
    sqlx::query(
        "INSERT INTO document (tenant, kind, id, customer, subject, number, at, digest, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(document.kind.as_str())
    .bind(document.id.as_str())
    .bind(document.customer.as_str())
    .bind(document.subject.as_str())
    .bind(number)
    .bind(document.at.micros())
    .bind(digest.0.to_vec())
    .bind(rows::to_json(&document.body)?)
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Posts, unless posted before.
pub(crate) async fn post(
    tx: &mut SqliteConnection,
    tenant: i64,
    postings: &[Posting],
) -> Result<(), StoreError> {
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
                ));
            }
        }
    }
    if fresh.is_empty() {
        return Ok(());
    }
    let mut accounts = accounts_of(tx, tenant, &fresh).await?;
    let row = sqlx::query("SELECT coalesce(max(position), 0) FROM posting WHERE tenant = ?")
        .bind(tenant)
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    let last: i64 = get(&row, 0)?;
    let mut balances = Vec::with_capacity(fresh.len());
    for posting in &fresh {
        let account = accounts.entry(posting.account.as_str()).or_insert_with(|| Account {
            name: posting.account.clone(),
            customer: posting.customer.clone(),
            unit: posting.unit.clone(),
            balance: Quantity::ZERO,
        });
        account.balance = account.after(posting)?;
        balances.push(account.balance);
    }
    let numbered: Vec<(i64, &Posting, Quantity)> = (last + 1..)
        .zip(fresh.iter().zip(balances))
        .map(|(position, (posting, balance))| (position, *posting, balance))
        .collect();
    for chunk in multi::chunks(&numbered) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO posting (tenant, position, key, account, amount, balance, at, cause, reference) VALUES",
            9,
            chunk.len(),
            "",
        ));
        for (position, posting, balance) in chunk {
            query = query
                .bind(tenant)
                .bind(position)
                .bind(posting.key.as_str())
                .bind(posting.account.as_str())
                .bind(posting.amount.to_string())
                .bind(balance.to_string())
                .bind(posting.at.micros())
                .bind(posting.cause.as_str())
                .bind(posting.reference.as_str());
        }
        query.execute(&mut *tx).await.map_err(store_error)?;
    }
    let accounts: Vec<&Account> = accounts.values().collect();
    for chunk in multi::chunks(&accounts) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO account (tenant, name, customer, unit, balance) VALUES",
            5,
            chunk.len(),
            "ON CONFLICT DO UPDATE SET balance = excluded.balance",
        ));
        for account in chunk {
            query = query
                .bind(tenant)
                .bind(account.name.as_str())
                .bind(account.customer.as_str())
                .bind(account.unit.as_str())
                .bind(account.balance.to_string());
        }
        query.execute(&mut *tx).await.map_err(store_error)?;
    }
    Ok(())
}

/// Account and amount of those keys that are posted.
async fn known_keys(
    tx: &mut SqliteConnection,
    tenant: i64,
    postings: &[Posting],
) -> Result<HashMap<String, (String, String)>, StoreError> {
    let mut known = HashMap::new();
    for chunk in multi::chunks(postings) {
        let mut query = sqlx::query(multi::list(
            "SELECT key, account, amount FROM posting WHERE tenant = ? AND key IN",
            chunk.len(),
            "",
        ))
        .bind(tenant);
        for posting in chunk {
            query = query.bind(posting.key.as_str());
        }
        for row in query.fetch_all(&mut *tx).await.map_err(store_error)? {
            known.insert(get(&row, 0)?, (get(&row, 1)?, get(&row, 2)?));
        }
    }
    Ok(known)
}

/// The accounts these postings move, as far as they exist.
async fn accounts_of<'a>(
    tx: &mut SqliteConnection,
    tenant: i64,
    postings: &[&'a Posting],
) -> Result<BTreeMap<&'a str, Account>, StoreError> {
    let mut names: Vec<&str> = postings.iter().map(|posting| posting.account.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut found = BTreeMap::new();
    for chunk in multi::chunks(&names) {
        let mut query = sqlx::query(multi::list(
            "SELECT name, customer, unit, balance FROM account WHERE tenant = ? AND name IN",
            chunk.len(),
            "",
        ))
        .bind(tenant);
        for name in chunk {
            query = query.bind(*name);
        }
        for row in query.fetch_all(&mut *tx).await.map_err(store_error)? {
            let account = account(&row)?;
            if let Ok(at) = names.binary_search(&account.name.as_str())
                && let Some(name) = names.get(at)
            {
                found.insert(*name, account);
            }
        }
    }
    Ok(found)
}

/// Sets or removes a setting.
pub(crate) async fn set(
    tx: &mut SqliteConnection,
    tenant: i64,
    key: &str,
    value: Option<&str>,
) -> Result<(), StoreError> {
    let query = match value {
        Some(value) => sqlx::query(
            "INSERT INTO setting (tenant, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        )
        .bind(tenant)
        .bind(key)
        .bind(value),
        None => {
            sqlx::query("DELETE FROM setting WHERE tenant = ? AND key = ?").bind(tenant).bind(key)
        }
    };
    query.execute(tx).await.map_err(store_error)?;
    Ok(())
}

fn customer(table: &'static str, row: &str, name: String) -> Result<CustomerId, StoreError> {
    CustomerId::new(name).map_err(|error| StoreError::corrupt(table, row, error))
}

fn quantity(table: &'static str, row: &str, text: &str) -> Result<Quantity, StoreError> {
    text.parse().map_err(|error| StoreError::corrupt(table, row, error))
}

fn account(row: &SqliteRow) -> Result<Account, StoreError> {
    let name: String = get(row, 0)?;
    Ok(Account {
        customer: customer("account", &name, get(row, 1)?)?,
        unit: get(row, 2)?,
        balance: quantity("account", &name, get(row, 3)?)?,
        name,
    })
}

fn document(row: &SqliteRow) -> Result<Document, StoreError> {
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

fn recorded(row: &SqliteRow) -> Result<RecordedPosting, StoreError> {
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
impl DocumentStore for SqliteStore {
    async fn document(
        &self,
        tenant: &TenantId,
        kind: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        let row = sqlx::query(
            "SELECT d.kind, d.id, d.customer, d.subject, d.number, d.at, d.digest, d.body FROM document d JOIN tenant t ON t.number = d.tenant WHERE t.id = ? AND d.kind = ? AND d.id = ?",
        )
        .bind(tenant.as_str())
        .bind(kind)
        .bind(id)
        .fetch_optional(&self.read)
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
            "SELECT d.kind, d.id, d.customer, d.subject, d.number, d.at, d.digest, d.body FROM document d JOIN tenant t ON t.number = d.tenant WHERE t.id = ?1 AND d.kind = ?2 AND (?3 IS NULL OR d.customer = ?3) AND (?4 IS NULL OR d.subject = ?4) AND d.id > ?5 ORDER BY d.id LIMIT ?6",
        )
        .bind(tenant.as_str())
        .bind(kind)
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.subject.as_deref())
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(document).collect()
    }

    async fn account(&self, tenant: &TenantId, name: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(
            "SELECT a.name, a.customer, a.unit, a.balance FROM account a JOIN tenant t ON t.number = a.tenant WHERE t.id = ? AND a.name = ?",
        )
        .bind(tenant.as_str())
        .bind(name)
        .fetch_optional(&self.read)
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
            "SELECT a.name, a.customer, a.unit, a.balance FROM account a JOIN tenant t ON t.number = a.tenant WHERE t.id = ?1 AND substr(a.name, 1, length(?2)) = ?2 AND (?3 IS NULL OR a.customer = ?3) AND (NOT ?4 OR a.balance <> '0') AND a.name > ?5 AND a.name >= ?2 ORDER BY a.name LIMIT ?6",
        )
        .bind(tenant.as_str())
        .bind(filter.prefix.as_str())
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.open)
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.read)
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
            "SELECT p.position, p.key, p.account, p.amount, p.balance, p.at, p.cause, p.reference, a.customer, a.unit FROM posting p JOIN tenant t ON t.number = p.tenant JOIN account a ON a.tenant = p.tenant AND a.name = p.account WHERE t.id = ?1 AND (?2 IS NULL OR p.account = ?2) AND p.position > ?3 ORDER BY p.position LIMIT ?4",
        )
        .bind(tenant.as_str())
        .bind(account)
        .bind(signed(after))
        .bind(limit)
        .fetch_all(&self.read)
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
            "SELECT s.key, s.value FROM setting s JOIN tenant t ON t.number = s.tenant WHERE t.id = ?1 AND s.key >= ?2 AND substr(s.key, 1, length(?2)) = ?2 AND s.key < coalesce(?3, x'ff') ORDER BY s.key",
        )
        .bind(tenant.as_str())
        .bind(prefix)
        .bind(after_all_with(prefix))
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }
}

/// The first text behind all that begin so, by bytes as SQLite orders them, where it is text: so a
/// prefix is a range of the primary key.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut bytes = prefix.as_bytes().to_vec();
    let last = bytes.last_mut().filter(|last| **last < 0x7e)?;
    *last += 1;
    String::from_utf8(bytes).ok()
}
