//! The invoice run: plan → compute → review → approve → finalize → deliver.
//!
//! | step | writes | repeated after a crash |
//! |---|---|---|
//! | plan | the run, its items | items are keyed by (subscription, cycle); listing them again changes nothing |
//! | compute | drafts and item statuses, a page at a time | items still planned or failed are computed; drafts are replaceable |
//! | approve | who and when, a fact | approving twice is approving once |
//! | finalize | numbers, states, facts, outbox rows, a page at a time | a finalized invoice stays as it is |
//!
//! Every step may be stopped anywhere and resumed: what is done stays done. An account that looks
//! wrong is parked with its reason and never billed as it is.

mod compute;
mod finalize;
mod page;
mod plan;

use counterfoil_invoicing::{Bounds, ItemStatus, Run, RunItem, RunState, RunTotals};
use counterfoil_store::{Commit, StoreError};
use counterfoil_types::{RunId, SubscriptionId, Timestamp, Zone};
use serde::Serialize;

use crate::{Engine, EngineError, accounts::PAGE};

/// Time a finished period waits for stragglers: one hour.
pub const GRACE_MICROS: i64 = 3_600_000_000;
/// Days a customer has to pay.
pub const TERMS_DAYS: i64 = 30;

/// How a run is done.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Bounds outside which an invoice is parked.
    pub bounds: Bounds,
    /// Subscriptions billed although they are outside the bounds.
    pub accept: Vec<SubscriptionId>,
    /// Time a finished period waits, in microseconds.
    pub grace_micros: i64,
    /// Prefix of invoice numbers; the year of the run is added.
    pub series: String,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            accept: Vec::new(),
            grace_micros: GRACE_MICROS,
            series: "INV".to_owned(),
        }
    }
}

/// A run with its items counted.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Manifest {
    /// The run.
    pub run: Run,
    /// Items and totals.
    pub totals: RunTotals,
    /// Items that are not simply done: skipped, parked, failed, with their reasons.
    pub exceptions: Vec<RunItem>,
    /// How many exceptions there are; the list above holds the first ones.
    pub exception_count: u64,
    /// Items whose total changed most against the cycle before, greatest change first.
    pub changes: Vec<RunItem>,
}

/// Exceptions and changes a manifest lists.
const LISTED: usize = 50;

/// A calendar month, as the user writes it: `2026-10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    label: String,
    first: jiff::civil::Date,
}

impl std::str::FromStr for Month {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let refused =
            || EngineError::refused(format!("{text:?} is not a month; write for example 2026-10"));
        let (year, month) = text.split_once('-').ok_or_else(refused)?;
        if year.len() != 4 || month.len() != 2 {
            return Err(refused());
        }
        let year = year.parse().map_err(|_| refused())?;
        let month = month.parse().map_err(|_| refused())?;
        let first = jiff::civil::Date::new(year, month, 1).map_err(|_| refused())?;
        Ok(Self { label: text.to_owned(), first })
    }
}

impl Month {
    /// The month as written.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its first day.
    #[must_use]
    pub fn first(&self) -> jiff::civil::Date {
        self.first
    }

    /// First instant of the month and of the next one, in a zone.
    ///
    /// # Errors
    /// When the year is out of range.
    pub fn bounds(&self, zone: &Zone) -> Result<(Timestamp, Timestamp), EngineError> {
        let next = self
            .first
            .checked_add(jiff::ToSpan::month(1))
            .map_err(|_| EngineError::refused("the month is out of range"))?;
        let instant = |date: jiff::civil::Date| zone.instant(date.at(0, 0, 0, 0));
        Ok((instant(self.first)?, instant(next)?))
    }
}

impl Engine {
    /// A run that must exist.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn run(&self, id: &RunId) -> Result<Run, EngineError> {
        self.store
            .run(&self.tenant.id, id)
            .await?
            .ok_or_else(|| EngineError::not_found("run", id, "; see `counterfoil run --list`"))
    }

    /// Commits a step of a run that stands as `run`. When it is refused because another program
    /// took the run further meanwhile, the run as it stands now is returned.
    pub(crate) async fn step(
        &self,
        run: &Run,
        commit: &Commit,
    ) -> Result<Option<Run>, EngineError> {
        match self.commit(commit).await {
            Ok(()) => Ok(None),
            Err(error @ StoreError::Conflict { .. }) => {
                let now = self.run(&run.id).await?;
                if now.state > run.state { Ok(Some(now)) } else { Err(error.into()) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Counts a run's items.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn manifest(&self, run: Run) -> Result<Manifest, EngineError> {
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let page =
                self.store.run_items(&self.tenant.id, &run.id, &[], after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.subscription.clone(), last.cycle));
            items.extend(page);
        }
        manifest_of(run, items)
    }
}

/// The manifest of a run with these items.
pub(crate) fn manifest_of(run: Run, items: Vec<RunItem>) -> Result<Manifest, EngineError> {
    let mut totals = RunTotals::default();
    let mut exceptions = Vec::new();
    let mut exception_count = 0;
    let mut changes = Vec::new();
    for item in items {
        totals.count(&item)?;
        match item.status {
            ItemStatus::Skipped | ItemStatus::Parked | ItemStatus::Failed => {
                exception_count += 1;
                // Parked and failed ones want a decision; they come before the merely skipped.
                exceptions.push(item);
            }
            ItemStatus::Done | ItemStatus::Finalized if item.before != item.total => {
                changes.push(item);
            }
            _ => {}
        }
    }
    exceptions.sort_by_key(|item| {
        (item.status == ItemStatus::Skipped, item.subscription.clone(), item.cycle)
    });
    exceptions.truncate(LISTED);
    changes.sort_by_key(|item| std::cmp::Reverse(change_of(item)));
    changes.truncate(LISTED);
    Ok(Manifest { run, totals, exceptions, exception_count, changes })
}

/// Magnitude of an item's change against the cycle before.
fn change_of(item: &RunItem) -> counterfoil_types::Exact {
    let exact = |money: Option<counterfoil_types::Money>| {
        money.map_or(counterfoil_types::Exact::ZERO, counterfoil_types::Money::exact)
    };
    exact(item.total).sub(&exact(item.before)).abs()
}

/// Whether a run still needs computing.
pub(crate) fn needs_computing(run: &Run) -> bool {
    matches!(run.state, RunState::Planning | RunState::Computing | RunState::Review)
}
