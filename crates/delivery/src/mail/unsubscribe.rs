//! Unsubscribing with one click (RFC 8058). The link carries customer and kind and an HMAC over
//! them, so that nobody unsubscribes somebody else, and needs no table of tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use counterfoil_store::{Commit, Store, StoreError, Write};
use counterfoil_types::{CustomerId, TenantId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Where, and with which key.
#[derive(Clone)]
pub struct Unsubscribe {
    /// The page; the token is added as `?token=`.
    pub url: String,
    /// Key of the HMAC.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Unsubscribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsubscribe").field("url", &self.url).finish_non_exhaustive()
    }
}

fn mac(key: &[u8], text: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(b"unsubscribe\n");
    mac.update(text.as_bytes());
    Some(mac)
}

impl Unsubscribe {
    /// The link in a mail to this customer.
    #[must_use]
    pub fn link(&self, tenant: &TenantId, customer: &CustomerId, kind: &str) -> Option<String> {
        let text = format!("{tenant}\n{customer}\n{kind}");
        let proof = mac(&self.key, &text)?.finalize().into_bytes();
        let token = format!("{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(proof));
        Some(format!("{}?token={token}", self.url))
    }

    /// Who a token unsubscribes from what; `None` where it was not made here.
    #[must_use]
    pub fn read(&self, token: &str) -> Option<(TenantId, CustomerId, String)> {
        let (text, proof) = token.split_once('.')?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let proof = URL_SAFE_NO_PAD.decode(proof).ok()?;
        mac(&self.key, &text)?.verify_slice(&proof).ok()?;
        let mut parts = text.splitn(3, '\n');
        let tenant = TenantId::new(parts.next()?).ok()?;
        let customer = CustomerId::new(parts.next()?).ok()?;
        Some((tenant, customer, parts.next()?.to_owned()))
    }
}

fn setting(customer: &CustomerId, kind: &str) -> String {
    format!("unsubscribed/{customer}/{kind}")
}

/// Stops mails of a kind to a customer.
///
/// # Errors
/// As the store has them.
pub async fn stop(
    store: &dyn Store,
    tenant: &TenantId,
    customer: &CustomerId,
    kind: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let write = Write::Set { key: setting(customer, kind), value: Some(now.to_string()) };
    store.commit(tenant, &Commit::of(write)).await
}

/// The change that lets mails of a kind go to a customer again.
#[must_use]
pub fn resumed(customer: &CustomerId, kind: &str) -> Write {
    Write::Set { key: setting(customer, kind), value: None }
}

/// Kinds that a customer wants no more mails of.
///
/// # Errors
/// As the store has them.
pub async fn stopped(
    store: &dyn Store,
    tenant: &TenantId,
    customer: &CustomerId,
) -> Result<Vec<String>, StoreError> {
    let front = setting(customer, "");
    let found = store.settings(tenant, &front).await?;
    // A customer whose id begins with this one's and a slash has other settings.
    let kind = |key: &str| {
        key.strip_prefix(&front).filter(|kind| !kind.contains('/')).map(ToOwned::to_owned)
    };
    Ok(found.iter().filter_map(|(key, _)| kind(key)).collect())
}

/// Whether a customer wants no more mails of a kind.
///
/// # Errors
/// As the store has them.
pub async fn is_stopped(
    store: &dyn Store,
    tenant: &TenantId,
    customer: &CustomerId,
    kind: &str,
) -> Result<bool, StoreError> {
    let key = setting(customer, kind);
    Ok(store.settings(tenant, &key).await?.iter().any(|(found, _)| *found == key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_and_cannot_be_made_up() {
        let here = Unsubscribe { url: "https://a.example/u".into(), key: b"key".to_vec() };
        let (tenant, customer) = (TenantId::new("t").unwrap(), CustomerId::new("acme").unwrap());
        let link = here.link(&tenant, &customer, "quota.exceeded").unwrap();
        let token = link.strip_prefix("https://a.example/u?token=").unwrap();
        assert_eq!(here.read(token), Some((tenant, customer, "quota.exceeded".to_owned())));
        let elsewhere = Unsubscribe { key: b"other".to_vec(), ..here.clone() };
        assert_eq!(elsewhere.read(token), None);
        let (_, proof) = token.split_once('.').unwrap();
        let forged = format!("{}.{proof}", URL_SAFE_NO_PAD.encode("t\nrival\nquota.exceeded"));
        assert_eq!(here.read(&forged), None);
        assert_eq!(here.read("x"), None);
    }
}
