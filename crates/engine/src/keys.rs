//! API keys: made, found, checked, renewed, revoked.
//!
//! A secret reads `cf_<12 hex digits>_<64 hex digits>`. The front finds the row and may be shown;
//! of the whole only SHA-256 is kept. 256 random bits need no slow hash. Digests are compared
//! without telling by time where they differ.

use std::sync::Arc;

use counterfoil_store::{ApiKey, Commit, Store, Write};
use counterfoil_types::{CustomerId, Digest, Random, TenantId, Timestamp};

use crate::{Engine, EngineError};

/// How often the last use of a key is written down, in microseconds.
const TOUCHED_EVERY: i64 = 60_000_000;

/// A key that was made, with its secret: the only time it can be seen.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key.
    pub key: ApiKey,
    /// The secret.
    pub secret: String,
}

/// What a new key may do.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// Its id; derived from the secret when absent.
    pub id: Option<String>,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The one customer it may see.
    pub customer: Option<CustomerId>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

fn prefix_of(secret: &str) -> Option<&str> {
    let (front, rest) = secret.rsplit_once('_')?;
    let random = front.strip_prefix("cf_")?;
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (random.len() == 12 && hex(random) && rest.len() == 64 && hex(rest)).then_some(front)
}

/// Whether two digests are equal, in a time that does not depend on where they differ.
fn same(a: &Digest, b: &Digest) -> bool {
    let differing = a.0.iter().zip(&b.0).fold(0_u8, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0
}

/// Finds the key of a secret, and whose it is. `None` when there is none: a wrong secret, an
/// expired and a revoked key look alike to the caller.
///
/// # Errors
/// As the store has them.
pub async fn authenticate(
    store: &Arc<dyn Store>,
    secret: &str,
    now: Timestamp,
) -> Result<Option<(TenantId, ApiKey)>, EngineError> {
    let Some(prefix) = prefix_of(secret) else { return Ok(None) };
    let found = store.key_with_prefix(prefix).await?;
    let digest = Digest::of(secret.as_bytes());
    Ok(found.filter(|(_, key)| same(&key.digest, &digest) && key.is_valid(now)))
}

impl Engine {
    /// Makes a key.
    ///
    /// # Errors
    /// When the customer does not exist, or the id is taken.
    pub async fn create_key(
        &self,
        request: KeyRequest,
        random: &dyn Random,
    ) -> Result<NewKey, EngineError> {
        if let Some(customer) = &request.customer {
            self.customer(customer).await?;
        }
        let (mut front, mut rest) = ([0_u8; 6], [0_u8; 32]);
        random.fill(&mut front);
        random.fill(&mut rest);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let prefix = format!("cf_{}", hex(&front));
        let secret = format!("{prefix}_{}", hex(&rest));
        let now = self.now();
        if request.expires_at.is_some_and(|at| at <= now) {
            return Err(EngineError::refused("the key would expire before it is made"));
        }
        let id = request.id.unwrap_or_else(|| format!("key_{}", hex(&front)));
        if self.key(&id).await.is_ok() {
            return Err(EngineError::refused(format!("there is a key {id:?} already")));
        }
        let key = ApiKey {
            id,
            prefix,
            digest: Digest::of(secret.as_bytes()),
            name: request.name,
            scopes: request.scopes,
            customer: request.customer,
            created_at: now,
            expires_at: request.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        self.commit(&Commit::of(Write::PutKey(key.clone()))).await?;
        Ok(NewKey { key, secret })
    }

    /// A key by id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn key(&self, id: &str) -> Result<ApiKey, EngineError> {
        let tenant = &self.tenant.id;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.api_keys(tenant, "", after.as_deref(), 500).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            if let Some(key) = page.into_iter().find(|key| key.id == id) {
                return Ok(key);
            }
        }
        Err(EngineError::not_found("API key", id, ""))
    }

    /// Refuses a key from `at` on: at once, or after a time in which its successor takes over.
    ///
    /// # Errors
    /// When there is none.
    pub async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<ApiKey, EngineError> {
        let mut key = self.key(id).await?;
        if key.revoked_at.is_none_or(|then| then > at) {
            key.revoked_at = Some(at);
            self.commit(&Commit::of(Write::PutKey(key.clone()))).await?;
        }
        Ok(key)
    }

    /// Writes down that a key was used, unless it was only a minute ago.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn key_was_used(&self, key: &ApiKey, at: Timestamp) -> Result<(), EngineError> {
        if key.last_used_at.is_some_and(|last| at < last.plus_micros(TOUCHED_EVERY)) {
            return Ok(());
        }
        let used = ApiKey { last_used_at: Some(at), ..key.clone() };
        Ok(self.commit(&Commit::of(Write::PutKey(used))).await?)
    }
}
