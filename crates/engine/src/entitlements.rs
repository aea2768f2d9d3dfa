//! What a customer's plans give besides metered use: entitlements, rate limits; and price books
//! that no new subscription may use.

use std::collections::BTreeMap;

use counterfoil_rating::quota::{Entitlement, RateLimitSpec};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{BookRef, CustomerId};

use crate::{Engine, EngineError};

const RETIRED: &str = "retired_book/";

/// What a customer may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitled {
    /// Switches, numbers and texts. Numbers of add-ons are added; a switch is on when one plan has
    /// it on; of texts the first plan's counts.
    pub entitlements: BTreeMap<String, Entitlement>,
    /// How fast the customer may call; all of them hold.
    pub rate_limits: Vec<RateLimitSpec>,
}

fn merge(all: &mut BTreeMap<String, Entitlement>, more: &BTreeMap<String, Entitlement>) {
    for (name, value) in more {
        let merged = match (all.get(name), value) {
            (Some(Entitlement::Number(a)), Entitlement::Number(b)) => {
                Entitlement::Number(a.saturating_add(*b))
            }
            (Some(Entitlement::Switch(a)), Entitlement::Switch(b)) => Entitlement::Switch(*a || *b),
            (Some(first), _) => first.clone(),
            (None, value) => value.clone(),
        };
        all.insert(name.clone(), merged);
    }
}

impl Engine {
    /// What a customer's plans give now.
    ///
    /// # Errors
    /// When the customer does not exist.
    pub async fn entitled(&self, customer: &CustomerId) -> Result<Entitled, EngineError> {
        self.customer(customer).await?;
        let books = self.recent_books().await?;
        let at = self.now_of(customer);
        let mut entitled = Entitled::default();
        for subscription in self.subscriptions_of(customer).await? {
            let account = self.account(&books, subscription).await?;
            let Some(number) = account.cycles.period_at(at)? else { continue };
            let Some((period, _)) = account.cycles.period(number)? else { continue };
            let segments = account.segments(&books, period)?;
            let Some(segment) = segments.iter().find(|segment| segment.period.contains(at)) else {
                continue;
            };
            for entry in &segment.plans {
                merge(&mut entitled.entitlements, &entry.plan.entitlements);
                entitled.rate_limits.extend(entry.plan.rate_limits.iter().cloned());
            }
        }
        Ok(entitled)
    }

    /// Whether new subscriptions are refused under a version of a book.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn is_retired(&self, book: &BookRef) -> Result<bool, EngineError> {
        let key = format!("{RETIRED}{book}");
        let found = self.store.settings(&self.tenant.id, &key).await?;
        Ok(found.iter().any(|(name, _)| *name == key))
    }

    /// Lets no new subscription begin under a version of a book; those that are there go on.
    ///
    /// # Errors
    /// When the book does not exist.
    pub async fn retire_book(&self, book: &BookRef) -> Result<(), EngineError> {
        let books = self.books().await?;
        if books.exact(book).is_none() {
            return Err(EngineError::not_found("price book", book, ""));
        }
        let at = self.now();
        let write = Write::Set { key: format!("{RETIRED}{book}"), value: Some(at.to_string()) };
        let commit = Commit::of(write).fact(
            "price_book.retired",
            format!("price_book.retired/{book}"),
            at,
            serde_json::json!({"book": book}),
        );
        Ok(self.commit(&commit).await?)
    }
}
