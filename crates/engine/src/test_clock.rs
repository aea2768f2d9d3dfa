//! Test clocks: time frozen for the tenant or for one customer, and advanced by hand.
//!
//! They are settings of the store, so that every program sees the same time; loading them is a
//! decision of the composition root, which does so in test mode only. The time a ledger row was
//! recorded is the tenant's: it never decreases within a lane, whatever a customer's clock says.

use std::{collections::BTreeMap, sync::Arc};

use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, Timestamp};

use crate::{Engine, EngineError};

const PREFIX: &str = "test_clock/";

/// The frozen clocks there are; none outside test mode.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    frozen: Arc<BTreeMap<String, Timestamp>>,
}

impl Clocks {
    /// The tenant's.
    #[must_use]
    pub fn tenant(&self) -> Option<Timestamp> {
        self.frozen.get("").copied()
    }

    /// A customer's own, or else the tenant's.
    #[must_use]
    pub fn of(&self, customer: &CustomerId) -> Option<Timestamp> {
        self.frozen.get(customer.as_str()).copied().or_else(|| self.tenant())
    }

    /// All of them: customer (empty for the tenant) and time.
    pub fn all(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.frozen.iter().map(|(scope, at)| (scope.as_str(), *at))
    }
}

impl Engine {
    /// The same engine under the test clocks of its store. For test mode only.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn with_test_clocks(self) -> Result<Self, EngineError> {
        let mut frozen = BTreeMap::new();
        for (key, value) in self.store.settings(&self.tenant.id, PREFIX).await? {
            let scope = key.strip_prefix(PREFIX).unwrap_or_default();
            frozen.insert(scope.to_owned(), value.parse()?);
        }
        Ok(Self { clocks: Clocks { frozen: Arc::new(frozen) }, ..self })
    }

    /// The test clocks in force.
    #[must_use]
    pub fn test_clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Now, by the clock that holds for a customer.
    #[must_use]
    pub fn now_of(&self, customer: &CustomerId) -> Timestamp {
        self.clocks.of(customer).unwrap_or_else(|| self.clock.now())
    }

    /// Freezes or advances the clock of a customer, or of the tenant. `None` lets it run again.
    ///
    /// # Errors
    /// When the clock would go back: what was billed at a time cannot be unbilled by it.
    pub async fn set_test_clock(
        &self,
        customer: Option<&CustomerId>,
        to: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        if let Some(customer) = customer {
            self.customer(customer).await?;
        }
        let scope = customer.map_or("", CustomerId::as_str);
        if let (Some(to), Some(stands)) = (to, self.clocks.frozen.get(scope))
            && to < *stands
        {
            return Err(EngineError::refused(format!(
                "the clock stands at {stands} and cannot go back to {to}"
            )));
        }
        let now = self.clock.now();
        let set =
            Write::Set { key: format!("{PREFIX}{scope}"), value: to.map(|to| to.to_string()) };
        let body = serde_json::json!({"customer": customer, "at": to});
        let key = format!("test_clock.set/{scope}/{}/{}", now.micros(), body);
        let commit = Commit::of(set).fact("test_clock.set", key, now, body);
        Ok(self.commit(&commit).await?)
    }
}
