//! Customers and subscriptions.

use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_rating::LatePolicy;
use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, MeterKey, SubscriptionId};

use crate::{Books, Engine, EngineError, contract::Account, contracts::check_contract};

/// Rows fetched at a time.
pub(crate) const PAGE: u32 = 500;
/// Setting that says that some customer has late events credited by notes, so that runs look for
/// them.
pub(crate) const CREDIT_NOTE_CUSTOMERS: &str = "late/credit_note";

impl Engine {
    /// Creates or replaces a customer.
    ///
    /// # Errors
    /// When a field is wrong, or the currency changes under invoices to come.
    pub async fn put_customer(&self, customer: &Customer) -> Result<(), EngineError> {
        customer.check().map_err(EngineError::refused)?;
        let stored = self.store.customer(&self.tenant.id, &customer.id).await?;
        if let Some(stored) = &stored {
            if stored == customer {
                return Ok(());
            }
            let subscribed = self.subscriptions_of(&customer.id).await?;
            if !subscribed.is_empty() && stored.currency != customer.currency {
                return Err(EngineError::refused(format!(
                    "customer {} has subscriptions; its currency cannot change any more",
                    customer.id
                )));
            }
            if !subscribed.is_empty() && stored.zone != customer.zone {
                return Err(EngineError::refused(format!(
                    "customer {} has subscriptions; change its zone with `counterfoil customer zone`, which says from when",
                    customer.id
                )));
            }
        }
        self.check_parent(customer).await?;
        let now = self.now();
        let body = serde_json::to_value(customer)?;
        let digest = counterfoil_types::Digest::of(body.to_string().as_bytes());
        // With the time: a customer may go back to what it was before, and that is a fact too.
        let key = format!("customer.put/{}/{}/{}", customer.id, now.micros(), digest.short());
        let mut commit =
            Commit::of(Write::PutCustomer(customer.clone())).fact("customer.put", key, now, body);
        if customer.late_events == Some(LatePolicy::CreditNote) {
            let value = Some("some".to_owned());
            commit.writes.push(Write::Set { key: CREDIT_NOTE_CUSTOMERS.to_owned(), value });
        }
        Ok(self.commit(&commit).await?)
    }

    /// A customer that must exist.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn customer(&self, id: &CustomerId) -> Result<Customer, EngineError> {
        self.store.customer(&self.tenant.id, id).await?.ok_or_else(|| {
            EngineError::not_found("customer", id, "; add it with `counterfoil customer add`")
        })
    }

    /// A subscription that must exist.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn subscription(&self, id: &SubscriptionId) -> Result<Subscription, EngineError> {
        self.store.subscription(&self.tenant.id, id).await?.ok_or_else(|| {
            EngineError::not_found("subscription", id, "; see `counterfoil subscription list`")
        })
    }

    /// All subscriptions of a customer.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn subscriptions_of(
        &self,
        customer: &CustomerId,
    ) -> Result<Vec<Subscription>, EngineError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|subscription: &Subscription| subscription.id.clone());
            let page = self
                .store
                .subscriptions(&self.tenant.id, Some(customer), after.as_ref(), PAGE)
                .await?;
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Customer, subscription and cycles of a subscription.
    ///
    /// # Errors
    /// When something does not exist.
    pub async fn account(
        &self,
        books: &Books,
        subscription: Subscription,
    ) -> Result<Account, EngineError> {
        let customer = self.customer(&subscription.customer).await?;
        Account::new(books, customer, subscription)
    }

    /// Starts a subscription. Starting the same one again changes nothing.
    ///
    /// # Errors
    /// When customer, book or plan do not exist, currencies differ, or the subscription would
    /// bill a meter that another one of the customer bills at the same time.
    pub async fn start_subscription(&self, subscription: &Subscription) -> Result<(), EngineError> {
        let customer = self.customer(&subscription.customer).await?;
        if subscription.end.is_some_and(|end| end <= subscription.start) {
            return Err(EngineError::refused("a subscription must end after it starts"));
        }
        if let Some(stored) = self.store.subscription(&self.tenant.id, &subscription.id).await? {
            if stored == *subscription {
                return Ok(());
            }
            return Err(EngineError::refused(format!(
                "subscription {} exists with other terms ({} of {}, from {}); choose another name",
                stored.id, stored.plan, stored.book, stored.start
            )));
        }
        let books = self.books().await?;
        let start = customer.zone.instant(subscription.start.at(0, 0, 0, 0))?;
        let (book, _) = books.plan_at(subscription, start, &customer.zone)?;
        if self.is_retired(&book.reference).await? {
            return Err(EngineError::refused(format!(
                "price book {} is retired; start the subscription under a newer version or another book",
                book.reference
            )));
        }
        if !book.currencies().contains(&customer.currency) {
            return Err(EngineError::refused(format!(
                "customer {} is billed in {}, price book {} is in {}",
                customer.id, customer.currency, book.reference, book.currency
            )));
        }
        let account = Account::new(&books, customer.clone(), subscription.clone())?;
        check_contract(&books, &account)?;
        for other in self.subscriptions_of(&customer.id).await? {
            refuse_double_billing(&books, subscription, &other)?;
        }
        let now = self.now();
        let commit = Commit::of(Write::PutSubscription(subscription.clone())).told(
            "subscription.started",
            format!("subscription.started/{}", subscription.id),
            now,
            serde_json::to_value(subscription)?,
        );
        Ok(self.commit(&commit).await?)
    }

    /// A parent pays for others and is paid for by nobody, and is billed in the same currency.
    async fn check_parent(&self, customer: &Customer) -> Result<(), EngineError> {
        let Some(parent) = &customer.parent else { return Ok(()) };
        let parent = self.customer(parent).await?;
        if parent.parent.is_some() {
            return Err(EngineError::refused(format!(
                "customer {} has a parent itself; name the one that pays",
                parent.id
            )));
        }
        if parent.currency != customer.currency {
            return Err(EngineError::refused(format!(
                "customer {} is billed in {}, its parent {} in {}",
                customer.id, customer.currency, parent.id, parent.currency
            )));
        }
        Ok(())
    }
}

/// Meters that a subscription prices at one time or another.
fn meters_of(books: &Books, subscription: &Subscription) -> Result<Vec<MeterKey>, EngineError> {
    let mut meters = Vec::new();
    let days = std::iter::once(subscription.start).chain(subscription.cuts());
    for day in days {
        let terms = subscription.terms_on(day);
        let book = books.version(&terms, day)?;
        let add_ons = terms.add_ons.iter().map(|add_on| &add_on.plan);
        for plan in std::iter::once(&terms.plan).chain(add_ons) {
            let charges = &books.plan(book, plan)?.charges;
            meters.extend(charges.iter().filter_map(|charge| charge.meter.clone()));
        }
    }
    Ok(meters)
}

/// Two subscriptions that cover a common day may not price a common meter.
pub(crate) fn refuse_double_billing(
    books: &Books,
    new: &Subscription,
    other: &Subscription,
) -> Result<(), EngineError> {
    if new.id == other.id || !new.overlaps(other) {
        return Ok(());
    }
    let others = meters_of(books, other)?;
    match meters_of(books, new)?.into_iter().find(|meter| others.contains(meter)) {
        Some(meter) => Err(EngineError::refused(format!(
            "subscription {} would overlap subscription {} of the same customer, and both bill meter {meter}: the same usage would be billed twice. End the other one first",
            new.id, other.id
        ))),
        None => Ok(()),
    }
}
