//! Customers and subscriptions.

use counterfoil_invoicing::{Customer, Cycles, Subscription};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, SubscriptionId, Timestamp};

use crate::{Books, Engine, EngineError};

/// Rows fetched at a time.
pub(crate) const PAGE: u32 = 500;

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
            if !subscribed.is_empty()
                && (stored.currency != customer.currency || stored.zone != customer.zone)
            {
                return Err(EngineError::refused(format!(
                    "customer {} has subscriptions; its currency and zone cannot change any more",
                    customer.id
                )));
            }
        }
        let now = self.clock.now();
        let body = serde_json::to_value(customer)?;
        let digest = counterfoil_types::Digest::of(body.to_string().as_bytes());
        // With the time: a customer may go back to what it was before, and that is a fact too.
        let key = format!("customer.put/{}/{}/{}", customer.id, now.micros(), digest.short());
        let commit =
            Commit::of(Write::PutCustomer(customer.clone())).fact("customer.put", key, now, body);
        Ok(self.store.commit(&self.tenant.id, &commit).await?)
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
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
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
        let (book, plan) = books.plan_at(subscription, start, &customer.zone)?;
        if book.currency != customer.currency {
            return Err(EngineError::refused(format!(
                "customer {} is billed in {}, price book {} is in {}",
                customer.id, customer.currency, book.reference, book.currency
            )));
        }
        // Periods must be computable for as long as anyone will look at them.
        Cycles::of(subscription, plan, &customer.zone)?.cycle(1)?;
        for other in self.subscriptions_of(&customer.id).await? {
            self.refuse_double_billing(&books, subscription, &other, start, &customer)?;
        }
        let now = self.clock.now();
        let commit = Commit::of(Write::PutSubscription(subscription.clone())).fact(
            "subscription.started",
            format!("subscription.started/{}", subscription.id),
            now,
            serde_json::to_value(subscription)?,
        );
        Ok(self.store.commit(&self.tenant.id, &commit).await?)
    }

    fn refuse_double_billing(
        &self,
        books: &Books,
        new: &Subscription,
        other: &Subscription,
        at: Timestamp,
        customer: &Customer,
    ) -> Result<(), EngineError> {
        if !new.overlaps(other) {
            return Ok(());
        }
        let (_, plan) = books.plan_at(new, at, &customer.zone)?;
        let other_start = customer.zone.instant(other.start.at(0, 0, 0, 0))?;
        let (_, other_plan) = books.plan_at(other, other_start, &customer.zone)?;
        let shared = plan.charges.iter().filter_map(|charge| charge.meter.as_ref()).find(|meter| {
            other_plan.charges.iter().any(|charge| charge.meter.as_ref() == Some(*meter))
        });
        match shared {
            Some(meter) => Err(EngineError::refused(format!(
                "subscription {} would overlap subscription {} of the same customer, and both bill meter {meter}: the same usage would be billed twice. End the other one first",
                new.id, other.id
            ))),
            None => Ok(()),
        }
    }

    /// Ends a subscription: `end` is the first local day it no longer covers.
    ///
    /// # Errors
    /// When it does not exist, would end before it starts, or has ended already.
    pub async fn end_subscription(
        &self,
        id: &SubscriptionId,
        end: jiff::civil::Date,
    ) -> Result<Subscription, EngineError> {
        let mut subscription = self.subscription(id).await?;
        if subscription.end == Some(end) {
            return Ok(subscription);
        }
        if let Some(ended) = subscription.end {
            return Err(EngineError::refused(format!(
                "subscription {id} ended on {ended} already"
            )));
        }
        if end <= subscription.start {
            return Err(EngineError::refused("a subscription must end after it starts"));
        }
        subscription.end = Some(end);
        let now = self.clock.now();
        let commit = Commit::of(Write::PutSubscription(subscription.clone())).fact(
            "subscription.ended",
            format!("subscription.ended/{id}"),
            now,
            serde_json::json!({"subscription": id, "end": end.to_string()}),
        );
        self.store.commit(&self.tenant.id, &commit).await?;
        Ok(subscription)
    }
}
