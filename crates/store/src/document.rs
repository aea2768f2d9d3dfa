//! The documents port: what follows an invoice (payments, credit notes, grants, consolidated
//! invoices), the accounts they move, and small settings.
//!
//! An account is a running sum of postings that may never go below zero: what is open on an
//! invoice, what a line may still be credited, what is left of a grant, what a customer has in
//! credit. "Never more than is left" is therefore one rule, kept under the transaction of the
//! commit, whoever races.

use async_trait::async_trait;
use counterfoil_types::{CustomerId, Digest, Exact, Quantity, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// An immutable document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Document {
    /// What it is: `payment`, `credit_note`, `grant` …
    pub kind: String,
    /// Its id within the kind.
    pub id: String,
    /// Whose.
    pub customer: CustomerId,
    /// What it is about, for example the id of an invoice; empty for nothing in particular.
    pub subject: String,
    /// Its number, where its series gives one.
    pub number: Option<String>,
    /// When it was made.
    pub at: Timestamp,
    /// What it says, as JSON.
    pub body: serde_json::Value,
}

impl Document {
    /// SHA-256 over what the document says; its number and time are not part of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.body.to_string().as_bytes())
    }
}

/// A movement on an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Posting {
    /// Makes the posting unique: posting it twice posts it once.
    pub key: String,
    /// The account, for example `receivable/<invoice>`; see the engine's `postings`.
    pub account: String,
    /// Whose account.
    pub customer: CustomerId,
    /// Currency code or meter key.
    pub unit: String,
    /// By how much the balance changes.
    pub amount: Quantity,
    /// When.
    pub at: Timestamp,
    /// What caused it, in a word: `invoice`, `payment`, `credit_note` …
    pub cause: String,
    /// The document or invoice that caused it.
    pub reference: String,
    /// The balance the caller saw; another one is a conflict. Not checked when absent.
    #[serde(skip)]
    pub expects: Option<Exact>,
}

/// A posting with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RecordedPosting {
    /// Position, from 1 without gaps per tenant.
    pub position: u64,
    /// The posting.
    #[serde(flatten)]
    pub posting: Posting,
    /// The account's balance after it.
    pub balance: Quantity,
}

/// An account as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Whose.
    pub customer: CustomerId,
    /// Currency code or meter key.
    pub unit: String,
    /// What is on it; never below zero.
    pub balance: Quantity,
}

impl Account {
    /// The balance after a posting: the rule of every backend.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the account is kept otherwise, does not stand where the caller
    /// saw it, or would go below zero.
    pub fn after(&self, posting: &Posting) -> Result<Quantity, StoreError> {
        let refused = |why: String| StoreError::conflict(format!("account {}", self.name), why);
        if self.unit != posting.unit || self.customer != posting.customer {
            return Err(refused(format!(
                "it is kept in {} for {}, not in {} for {}",
                self.unit, self.customer, posting.unit, posting.customer
            )));
        }
        let stands = self.balance.exact();
        if let Some(expected) = &posting.expects
            && *expected != stands
        {
            return Err(refused(format!("it stands at {stands}, not at {expected}")));
        }
        let after = stands.add(&posting.amount.exact());
        if after.is_negative() {
            return Err(refused(format!(
                "{} {} is left on it, {} is too much",
                self.balance,
                self.unit,
                posting.amount.exact().neg()
            )));
        }
        Quantity::try_from(&after).map_err(|error| refused(error.to_string()))
    }
}

/// Which documents to list.
#[derive(Clone, Debug, Default)]
pub struct DocumentFilter {
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// About this subject only.
    pub subject: Option<String>,
}

/// Which accounts to list.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Names that begin so.
    pub prefix: String,
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// Those with something on them only.
    pub open: bool,
}

/// Reading documents, accounts and settings.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// A document.
    async fn document(
        &self,
        tenant: &TenantId,
        kind: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError>;

    /// Documents of a kind in order of id after `after`, at most `limit`.
    async fn documents(
        &self,
        tenant: &TenantId,
        kind: &str,
        filter: &DocumentFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError>;

    /// An account, if anything was ever posted on it.
    async fn account(&self, tenant: &TenantId, name: &str) -> Result<Option<Account>, StoreError>;

    /// Accounts in order of name after `after`, at most `limit`.
    async fn accounts(
        &self,
        tenant: &TenantId,
        filter: &AccountFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, StoreError>;

    /// Postings in order after a position, at most `limit`; on one account only, when given.
    async fn postings(
        &self,
        tenant: &TenantId,
        account: Option<&str>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RecordedPosting>, StoreError>;

    /// Settings whose key begins with `prefix`, in order of key.
    async fn settings(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, StoreError>;
}
