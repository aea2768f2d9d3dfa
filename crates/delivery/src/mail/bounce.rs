//! Addresses that mail came back from. Nothing more is sent there until somebody resets it, or the
//! customer gets another address.

use counterfoil_store::{Store, StoreError, Write};
use counterfoil_types::{CustomerId, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const FRONT: &str = "bounced/";
/// Longest reason that is kept.
const LONGEST: usize = 500;

/// That mail came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bounce {
    /// From which address.
    pub address: String,
    /// When.
    pub at: Timestamp,
    /// SMTP code, where the mail server said it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What the mail system said.
    pub reason: String,
}

impl Bounce {
    /// One that was seen.
    #[must_use]
    pub fn seen(address: String, at: Timestamp, code: Option<u16>, reason: &str) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let reason = reason.chars().map(clean).take(LONGEST).collect();
        Self { address, at, code, reason }
    }

    /// The change that keeps it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn kept(&self, customer: &CustomerId) -> Result<Write, StoreError> {
        let key = format!("{FRONT}{customer}");
        let value = serde_json::to_string(self)
            .map_err(|error| StoreError::corrupt("setting", &key, error))?;
        Ok(Write::Set { key, value: Some(value) })
    }
}

/// The change that forgets it.
#[must_use]
pub fn forgotten(customer: &CustomerId) -> Write {
    Write::Set { key: format!("{FRONT}{customer}"), value: None }
}

fn parsed(key: &str, value: &str) -> Result<Bounce, StoreError> {
    serde_json::from_str(value).map_err(|error| StoreError::corrupt("setting", key, error))
}

/// The bounce of a customer, if there is one.
///
/// # Errors
/// As the store has them.
pub async fn of(
    store: &dyn Store,
    tenant: &TenantId,
    customer: &CustomerId,
) -> Result<Option<Bounce>, StoreError> {
    let wanted = format!("{FRONT}{customer}");
    let found = store.settings(tenant, &wanted).await?;
    found.iter().find(|(key, _)| *key == wanted).map(|(key, value)| parsed(key, value)).transpose()
}

/// All bounces, in order of customer.
///
/// # Errors
/// As the store has them.
pub async fn list(
    store: &dyn Store,
    tenant: &TenantId,
) -> Result<Vec<(String, Bounce)>, StoreError> {
    let found = store.settings(tenant, FRONT).await?;
    found
        .iter()
        .map(|(key, value)| Ok((key.trim_start_matches(FRONT).to_owned(), parsed(key, value)?)))
        .collect()
}

/// Whether a refusal is about the address: there is no such mailbox, or it takes nothing. What is
/// refused for its content, or because of who we are, says nothing of the address.
#[must_use]
pub fn is_about_address(code: u16, said: &str) -> bool {
    let about = |class: &str| said.contains(class);
    let policy = about("5.7.") || about("5.6.") || about("5.3.4") || about("5.5.");
    match code {
        550 | 551 | 553 => !policy,
        552 | 554 | 555 | 556 => about("5.1.") || about("5.2.1"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_about_address;

    #[test]
    fn only_refusals_of_the_mailbox_are_about_the_address() {
        for (code, said, is) in [
            (550, "5.1.1 no such user", true),
            (550, "mailbox unavailable", true),
            (553, "5.1.3 bad address", true),
            (554, "5.1.1 unknown", true),
            (550, "5.7.1 rejected as spam", false),
            (554, "5.7.1 no", false),
            (552, "5.3.4 too big", false),
            (552, "5.2.2 mailbox full", false),
            (535, "5.7.8 who are you", false),
        ] {
            assert_eq!(is_about_address(code, said), is, "{code} {said}");
        }
    }
}
