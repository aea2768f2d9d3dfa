//! Billing inside a period: when unbilled spending passes the plan's `bill_at`, or on demand.
//!
//! A part bills what the open cycle comes to so far, less the parts before it. The cycle's own
//! invoice is computed by the same rule, so all of them sum to what one invoice would have said.

use counterfoil_invoicing::{Cycle, Invoice, InvoiceState, Subscription};
use counterfoil_types::{Money, SubscriptionId, Timestamp};
use serde::Serialize;

use crate::{
    Books, Engine, EngineError, accounts::PAGE, draft::Account, run::RunOptions, voiding::Job,
};

/// What became of the subscriptions that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Thresholds {
    /// Those that passed their threshold and are billed.
    pub billed: Vec<PartBilled>,
    /// Those that somebody must look at, with the reason: out of bounds, or not computable.
    pub held: Vec<(SubscriptionId, String)>,
}

/// A part that was billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
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
    pub async fn bill_now(
        &self,
        id: &SubscriptionId,
        options: &RunOptions,
    ) -> Result<Invoice, EngineError> {
        let books = self.books().await?;
        let subscription = self.subscription(id).await?;
        let account = self.account(&books, subscription).await?;
        let now = self.now_of(&account.customer.id);
        // A part whose answer was lost is there; what followed it may not be.
        let payer = account.customer.parent.as_ref().unwrap_or(&account.customer.id);
        self.use_balances(Some(payer)).await?;
        let draft = self.part(&books, &account, now).await?;
        self.finalize_alone(draft, "billed on demand", options).await
    }

    /// Bills all subscriptions whose unbilled spending in the open period has passed the `bill_at`
    /// of their plan. Doing it twice bills nothing twice. As in a run, what looks wrong is held and
    /// stops nobody else.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn bill_thresholds(&self, options: &RunOptions) -> Result<Thresholds, EngineError> {
        self.project_all().await?;
        let books = self.books().await?;
        let mut done = Thresholds::default();
        let mut after = None;
        loop {
            let page =
                self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(done) };
            after = Some(last.id.clone());
            for subscription in page {
                let id = subscription.id.clone();
                match self.bill_threshold(&books, subscription, options).await {
                    Ok(Some(Ok(part))) => done.billed.push(part),
                    Ok(Some(Err(objection))) => done.held.push((id, objection)),
                    Ok(None) => {}
                    Err(error @ EngineError::Store(_)) => return Err(error),
                    Err(error) => done.held.push((id, error.to_string())),
                }
            }
        }
    }

    /// The part of one subscription that has passed its threshold, or why it is held.
    async fn bill_threshold(
        &self,
        books: &Books,
        subscription: Subscription,
        options: &RunOptions,
    ) -> Result<Option<Result<PartBilled, String>>, EngineError> {
        let account = self.account(books, subscription).await?;
        let now = self.now_of(&account.customer.id);
        let Some(threshold) = threshold(books, &account, now)? else { return Ok(None) };
        let Some(draft) = self.next_part(books, &account, now).await? else { return Ok(None) };
        if draft.body.subtotal.exact() < threshold {
            return Ok(None);
        }
        let accepted = options.accept.contains(&account.subscription.id);
        let objection = options.bounds.objection(draft.body.total, None);
        if let Some(objection) = objection.filter(|_| !accepted) {
            return Ok(Some(Err(objection)));
        }
        let invoice = self.finalize_alone(draft, "threshold passed", options).await?;
        Ok(Some(Ok(PartBilled {
            subscription: invoice.body.subscription.clone(),
            number: invoice.number.clone(),
            total: invoice.body.total,
        })))
    }

    /// The next part of the open cycle; an error when there is nothing to bill.
    async fn part(
        &self,
        books: &Books,
        account: &Account,
        now: Timestamp,
    ) -> Result<Invoice, EngineError> {
        self.next_part(books, account, now).await?.ok_or_else(|| {
            EngineError::refused(format!(
                "nothing is to be billed for subscription {} at {now}",
                account.subscription.id
            ))
        })
    }

    /// The next part of the cycle that is open at `now`; `None` when no period is open, its cycle
    /// is invoiced, or nothing is to be billed yet.
    async fn next_part(
        &self,
        books: &Books,
        account: &Account,
        now: Timestamp,
    ) -> Result<Option<Invoice>, EngineError> {
        let Some(cycle) = open_cycle(account, now)? else { return Ok(None) };
        let known = self
            .store
            .cycle_summaries(&self.tenant.id, &account.subscription.id, cycle.number)
            .await?;
        if known.iter().any(|other| other.part == 0 && other.state != InvoiceState::Draft) {
            return Ok(None);
        }
        let part = known.iter().map(|other| other.part).max().unwrap_or(0) + 1;
        let job = Job { cycle, revision: 0, part, until: Some(now) };
        self.try_alone(books, account, &job).await.map(Result::ok)
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
