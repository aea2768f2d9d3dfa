//! What the last reconciliation with Stripe found, and whether it keeps a run from being finalized.

use counterfoil_invoicing::{Run, RunState};
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
    /// How many of those that differ are about a period that was over.
    #[serde(default)]
    pub over: u64,
    /// Customers that could not be compared, and why: the first of them.
    #[serde(default)]
    pub failed: Vec<(CustomerId, String)>,
    /// How many could not be compared.
    #[serde(default)]
    pub failing: u64,
}

impl Reconciled {
    /// Nothing was compared yet.
    #[must_use]
    pub fn begun(at: Timestamp) -> Self {
        Self {
            at,
            compared: 0,
            differing: 0,
            differences: Vec::new(),
            over: 0,
            failed: Vec::new(),
            failing: 0,
        }
    }

    /// Something differs.
    pub fn differs(&mut self, difference: Difference) {
        self.differing += 1;
        self.over += u64::from(difference.period.end <= self.at);
        self.differences.push(difference);
    }

    /// Whether all was compared and nothing differs.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.differing == 0 && self.failed.is_empty()
    }
}

/// How a run that is held is let go all the same.
const WAY_OUT: &str = "; `counterfoil stripe mode MODE --hold false` finalizes it in spite of that";

impl Engine {
    /// Writes down what a reconciliation found, and tells of it where something differs.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn keep_reconciled(&self, mut found: Reconciled) -> Result<(), EngineError> {
        found.failing = found.failed.len() as u64;
        found.differences.truncate(MOST);
        found.failed.truncate(MOST);
        let value = Some(serde_json::to_string(&found)?);
        let mut commit = Commit::of(Write::Set { key: stripe::RECONCILED.to_owned(), value });
        if !found.agrees() {
            // Told once a day.
            let day = found.at.bucket(counterfoil_types::timestamp::DAY_MICROS);
            commit.writes.push(Write::Queue {
                key: format!("stripe.differs/{day}"),
                kind: "stripe.differs".to_owned(),
                body: serde_json::json!({
                    "compared": found.compared.to_string(),
                    "differing": found.differing.to_string(),
                    "differences": found.differences,
                    "failing": found.failing.to_string(),
                    "failed": found.failed,
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
            return Ok(Some(format!(
                "usage was not yet compared with Stripe; `counterfoil stripe reconcile` does it{WAY_OUT}"
            )));
        };
        // What was signed off is held against Stripe as it is then, not as it was some morning.
        let needed = run.approved_at.map_or(end, |at| at.max(end));
        if found.at < needed {
            return Ok(Some(format!(
                "usage was last compared with Stripe on {}, before {} was over and signed off; the job `stripe-before-finalizing` or `counterfoil stripe reconcile` does it{WAY_OUT}",
                found.at, run.period
            )));
        }
        if found.failing > 0 {
            return Ok(Some(format!(
                "{} customers could not be compared with Stripe; `counterfoil stripe reconcile` says why{WAY_OUT}",
                found.failing
            )));
        }
        Ok(match found.over {
            0 => None,
            count => Some(format!(
                "Stripe counts {count} of {} totals otherwise; `counterfoil stripe reconcile` lists them{WAY_OUT}",
                found.compared
            )),
        })
    }

    /// Whether a run is signed off and waits for being compared with Stripe.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn stripe_is_asked_for(&self) -> Result<bool, EngineError> {
        let link = self.stripe_link().await?;
        if !link.is_some_and(|link| link.hold && link.mode.pushes_usage()) {
            return Ok(false);
        }
        let last = self.reconciled().await?;
        for run in self.store.runs(&self.tenant.id).await? {
            let old =
                last.as_ref().is_none_or(|last| run.approved_at.is_some_and(|at| last.at < at));
            if run.state == RunState::Approved && old {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
