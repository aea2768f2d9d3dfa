//! Billing inside a period: when unbilled spending passes the plan's `bill_at`, or on demand.
//!
//! A part bills what the open cycle comes to so far, less the parts before it. The cycle's own
//! invoice is computed by the same rule, so all of them sum to what one invoice would have said.

use counterfoil_invoicing::{Cycle, Invoice, InvoiceState};
use counterfoil_types::{Money, SubscriptionId, Timestamp};
use serde::Serialize;

use crate::{Books, Engine, EngineError, accounts::PAGE, draft::Account, voiding::Job};

/// What became of a subscription that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartBilled {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Number of the invoice.
    pub number: Option<String>,
    /// Its total.
    pub total: Money,
}

impl Engine {
    /// Bills what a subscription's open cycle comes to so far, whatever the threshold; usage in
    /// advance of `now` is left out.
    ///
    /// # Errors
    /// When nothing is to be billed.
    pub async fn bill_now(&self, id: &SubscriptionId) -> Result<Invoice, EngineError> {
        let books = self.books().await?;
        let subscription = self.subscription(id).await?;
        let account = self.account(&books, subscription).await?;
        let now = self.now_of(&account.customer.id);
        // A part whose answer was lost is there; what followed it may not be.
        let payer = account.customer.parent.as_ref().unwrap_or(&account.customer.id);
        self.use_balances(Some(payer)).await?;
        let draft = self.part(&books, &account, now).await?;
        self.finalize_alone(draft, "billed on demand").await
    }

    /// Bills all subscriptions whose unbilled spending in the open period has passed the `bill_at`
    /// of their plan. Doing it twice bills nothing twice.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn bill_thresholds(&self) -> Result<Vec<PartBilled>, EngineError> {
        self.project_all().await?;
        let books = self.books().await?;
        let mut billed = Vec::new();
        let mut after = None;
        loop {
            let page =
                self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(billed) };
            after = Some(last.id.clone());
            for subscription in page {
                let account = self.account(&books, subscription).await?;
                let now = self.now_of(&account.customer.id);
                let Some(threshold) = threshold(&books, &account, now)? else { continue };
                let draft = match self.part(&books, &account, now).await {
                    Ok(draft) => draft,
                    Err(EngineError::Refused(_)) => continue,
                    Err(error) => return Err(error),
                };
                if draft.body.subtotal.exact() < threshold {
                    continue;
                }
                let invoice = self.finalize_alone(draft, "threshold passed").await?;
                billed.push(PartBilled {
                    subscription: invoice.body.subscription.clone(),
                    number: invoice.number.clone(),
                    total: invoice.body.total,
                });
            }
        }
    }

    /// The next part of the cycle that is open at `now`.
    async fn part(
        &self,
        books: &Books,
        account: &Account,
        now: Timestamp,
    ) -> Result<Invoice, EngineError> {
        let cycle = open_cycle(account, now)?.ok_or_else(|| {
            EngineError::refused(format!(
                "subscription {} has no open period at {now}",
                account.subscription.id
            ))
        })?;
        let known = self
            .store
            .cycle_summaries(&self.tenant.id, &account.subscription.id, cycle.number)
            .await?;
        if known.iter().any(|other| other.part == 0 && other.state != InvoiceState::Draft) {
            return Err(EngineError::refused(format!(
                "cycle {} of subscription {} is invoiced",
                cycle.number, account.subscription.id
            )));
        }
        let part = known.iter().map(|other| other.part).max().unwrap_or(0) + 1;
        let job = Job { cycle, revision: 0, part, until: Some(now) };
        self.compute_alone(books, account, &job).await
    }
}

/// The cycle that closes the period open at `now`.
fn open_cycle(account: &Account, now: Timestamp) -> Result<Option<Cycle>, EngineError> {
    let Some(number) = account.cycles.period_at(now)? else { return Ok(None) };
    Ok(account.cycles.cycle(number + 1)?)
}

/// The `bill_at` of the plan that holds now.
fn threshold(
    books: &Books,
    account: &Account,
    now: Timestamp,
) -> Result<Option<counterfoil_types::Exact>, EngineError> {
    let Some(number) = account.cycles.period_at(now)? else { return Ok(None) };
    let Some((period, _)) = account.cycles.period(number)? else { return Ok(None) };
    let segments = account.segments(books, period)?;
    let here = segments.iter().find(|segment| segment.period.contains(now));
    let plan = here.and_then(|segment| segment.plans.first());
    Ok(plan.and_then(|entry| entry.plan.bill_at).map(|amount| amount.exact()))
}
