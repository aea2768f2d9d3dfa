//! Accounts and what moves them.
//!
//! | account | what is on it | up | down |
//! |---|---|---|---|
//! | `receivable/<invoice>` | still to be paid | finalized | payment, credit note, balance used, void, write-off |
//! | `balance/<customer>/<currency>` | what the customer has in credit | overpayment, credit note, invoice below zero, void after payment | used on an invoice, refund |
//! | `refunded/<invoice>` | what went back outside, at Stripe | refund, lost dispute | |
//! | `grant/<grant>` | left of a grant | granted, given back | used by an invoice, expired, voided |
//!
//! No account may go below zero; the store refuses it, whoever races.

use counterfoil_store::{Posting, StoreError};
use counterfoil_types::{Currency, CustomerId, Exact, InvoiceId, Money, Quantity, Timestamp};

use crate::{Engine, EngineError};

/// Tries when others move the same accounts.
pub(crate) const TRIES: usize = 16;

/// The account of what is open on an invoice.
#[must_use]
pub fn receivable(invoice: &InvoiceId) -> String {
    format!("receivable/{invoice}")
}

/// The account of what a customer has in credit.
#[must_use]
pub fn balance(customer: &CustomerId, currency: Currency) -> String {
    format!("balance/{customer}/{currency}")
}

/// The account of what went back of an invoice outside of these books.
#[must_use]
pub fn refunded(invoice: &InvoiceId) -> String {
    format!("refunded/{invoice}")
}

/// The account of what is left of a grant.
#[must_use]
pub fn grant(id: &str) -> String {
    format!("grant/{id}")
}

/// A posting of money.
pub(crate) struct Move<'a> {
    pub(crate) key: String,
    pub(crate) account: String,
    pub(crate) customer: &'a CustomerId,
    pub(crate) amount: Money,
    pub(crate) at: Timestamp,
    pub(crate) cause: &'a str,
    pub(crate) reference: &'a str,
    pub(crate) expects: Option<Exact>,
}

impl Move<'_> {
    pub(crate) fn posting(self) -> Result<Posting, EngineError> {
        Ok(Posting {
            key: self.key,
            account: self.account,
            customer: self.customer.clone(),
            unit: self.amount.currency().code().to_owned(),
            amount: Quantity::try_from(&self.amount.exact())?,
            at: self.at,
            cause: self.cause.to_owned(),
            reference: self.reference.to_owned(),
            expects: self.expects,
        })
    }
}

impl Engine {
    /// What is on a money account; nothing when nothing was ever posted on it.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn money_on(&self, account: &str, currency: Currency) -> Result<Money, EngineError> {
        let found = self.store.account(&self.tenant.id, account).await?;
        let exact = found.map_or(Exact::ZERO, |account| account.balance.exact());
        Ok(Money::from_exact(&exact, currency)?)
    }
}

/// Whether somebody else moved something first, so that it is worth deciding again.
pub(crate) fn raced(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict { .. })
}
