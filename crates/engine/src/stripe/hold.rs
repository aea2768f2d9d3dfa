//! What the last reconciliation with Stripe found, and whether it keeps a run from being finalized.

use counterfoil_invoicing::Run;
use counterfoil_store::{Commit, Write, stripe};
use counterfoil_types::{CustomerId, MeterKey, Period, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, run::Month};

/// Differences that are kept; of others only the number.
const MOST: usize = 200;

/// Something that Stripe counts otherwise than we do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Whose.
    pub customer: CustomerId,
    /// By which meter; none for an invoice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterKey>,
    /// The invoice's id; none for usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// When.
    pub period: Period,
    /// What we count.
    pub ours: String,
    /// What was queued for Stripe.
    pub queued: String,
    /// What Stripe counts.
    pub theirs: String,
}

/// What a reconciliation found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// When.
    pub at: Timestamp,
    /// How many things were compared.
    pub compared: u64,
    /// How many differ.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

impl Engine {
    /// Writes down what a reconciliation found, and tells of it where something differs.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn keep_reconciled(&self, mut found: Reconciled) -> Result<(), EngineError> {
        found.differences.truncate(MOST);
        let value = Some(serde_json::to_string(&found)?);
        let mut commit = Commit::of(Write::Set { key: stripe::RECONCILED.to_owned(), value });
        if found.differing > 0 {
            // Told once a day.
            let day = found.at.bucket(counterfoil_types::timestamp::DAY_MICROS);
            commit.writes.push(Write::Queue {
                key: format!("stripe.differs/{day}"),
                kind: "stripe.differs".to_owned(),
                body: serde_json::json!({
                    "compared": found.compared.to_string(),
                    "differing": found.differing.to_string(),
                    "differences": found.differences,
                }),
                at: found.at,
            });
        }
        Ok(self.commit(&commit).await?)
    }

    /// What the last reconciliation found.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn reconciled(&self) -> Result<Option<Reconciled>, EngineError> {
        let text = stripe::setting(self.store(), &self.tenant.id, stripe::RECONCILED).await?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Why a run may not be finalized before Stripe and we agree; `None`: it may.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn stripe_objection(&self, run: &Run) -> Result<Option<String>, EngineError> {
        let held = |link: &stripe::Link| link.hold && link.mode.pushes_usage();
        if self.stripe_link().await?.as_ref().is_none_or(|link| !held(link)) {
            return Ok(None);
        }
        let month: Month = run.period.parse()?;
        // The last zone to begin a month lies twelve hours behind UTC, the first fourteen before.
        let (_, end) = month.bounds(&counterfoil_types::Zone::utc())?;
        let Some(found) = self.reconciled().await? else {
            return Ok(Some(
                "usage was not yet compared with Stripe; `counterfoil stripe reconcile` does"
                    .to_owned(),
            ));
        };
        if found.at < end {
            return Ok(Some(format!(
                "usage was last compared with Stripe on {}, before {} was over; `counterfoil stripe reconcile` does it now",
                found.at, run.period
            )));
        }
        let over = found.differences.iter().filter(|difference| difference.period.end <= found.at);
        Ok(match over.count() {
            0 => None,
            count => Some(format!(
                "Stripe counts {count} of {} totals otherwise; `counterfoil stripe reconcile` lists them",
                found.compared
            )),
        })
    }
}
