//! Backtest: real history rated again under another price book. Nothing is written.
//!
//! Each finished period of each subscription on the book is rated twice from the same usage: with
//! the version that was in force, and with the book that is tried. Late usage counts in its own
//! period on both sides, so the difference is the prices' alone. Taxes are left out.

use counterfoil_catalog::PriceBook;
use counterfoil_invoicing::{Customer, LineKind};
use counterfoil_rating::{Plan, Timing, spec::Recurrence};
use counterfoil_types::{CustomerId, Exact, Money, Period, PlanKey, SubscriptionId};
use serde::Serialize;

use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    draft::{Account, As, Rating, line, plan_minimum},
    run::Month,
    usage::CustomerUsage,
};

/// One subscription before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BacktestRow {
    /// Who pays.
    pub customer: CustomerId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its plan.
    pub plan: PlanKey,
    /// Finished periods that were rated.
    pub periods: u32,
    /// Under the versions that were in force.
    pub before: Money,
    /// Under the book that is tried.
    pub after: Money,
    /// After less before.
    pub difference: Money,
}

/// All subscriptions before and after.
#[derive(Clone, Debug, Serialize)]
pub struct Backtest {
    /// By subscription, greatest loss first.
    pub rows: Vec<BacktestRow>,
    /// Subscriptions that could not be rated, with the reason.
    pub failed: Vec<(SubscriptionId, String)>,
    /// Sum of `before`.
    pub before: Money,
    /// Sum of `after`.
    pub after: Money,
    /// Sum of the differences.
    pub difference: Money,
}

impl Engine {
    /// Rates the periods that ended in the months `from` to `to` (both included) under `book`.
    ///
    /// # Errors
    /// As the store has them. A subscription that cannot be rated is listed, not fatal.
    pub async fn backtest(
        &self,
        book: &PriceBook,
        from: &Month,
        to: &Month,
    ) -> Result<Backtest, EngineError> {
        self.project_all().await?;
        let known = self.books().await?;
        let zero = Money::zero(book.currency);
        let mut result = Backtest {
            rows: Vec::new(),
            failed: Vec::new(),
            before: zero,
            after: zero,
            difference: zero,
        };
        let mut after = None;
        loop {
            let page =
                self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for subscription in page {
                if subscription.book != book.reference.name {
                    continue;
                }
                let id = subscription.id.clone();
                let account = self.account(&known, subscription).await?;
                match self.backtest_account(&known, book, &account, from, to).await {
                    Ok(row) if row.periods > 0 => result.rows.push(row),
                    Ok(_) => {}
                    Err(error @ EngineError::Store(_)) => return Err(error),
                    Err(error) => result.failed.push((id, error.to_string())),
                }
            }
        }
        for row in &result.rows {
            result.before = result.before.checked_add(row.before)?;
            result.after = result.after.checked_add(row.after)?;
            result.difference = result.difference.checked_add(row.difference)?;
        }
        result.rows.sort_by(|a, b| {
            let by_loss = b.difference.exact().cmp(&a.difference.exact());
            by_loss.then_with(|| a.subscription.cmp(&b.subscription))
        });
        Ok(result)
    }

    async fn backtest_account(
        &self,
        known: &Books,
        tried: &PriceBook,
        account: &Account,
        from: &Month,
        to: &Month,
    ) -> Result<BacktestRow, EngineError> {
        let customer = &account.customer;
        let (start, _) = from.bounds(&customer.zone)?;
        let (_, end) = to.bounds(&customer.zone)?;
        let zero = Money::zero(tried.currency);
        let mut row = BacktestRow {
            customer: customer.id.clone(),
            subscription: account.subscription.id.clone(),
            plan: account.subscription.plan.clone(),
            periods: 0,
            before: zero,
            after: zero,
            difference: zero,
        };
        let new_plan = tried.plan(&row.plan).ok_or_else(|| {
            EngineError::not_found("plan", &row.plan, &format!(" in {}", tried.reference))
        })?;
        let lane = self.tenant.lane_of(&customer.id);
        let new_books = known.with_meters_of(tried);
        for cycle in account.cycles.due(start, end.min(self.now()))? {
            let (Some(period), Some(full)) = (cycle.closes, cycle.closes_full) else { continue };
            let (book, plan) =
                known.plan_at(&account.subscription, period.start, &customer.zone)?;
            let (old_usage, new_usage) = loop {
                let view = self.lane_view(lane).await?;
                let at = As::Of(&view);
                let Some(old) = self.plan_usage(known, plan, customer, period, at).await? else {
                    continue;
                };
                // A meter that is not registered has no aggregates: its usage is folded.
                let at = if known.knows_meters_of(tried) { at } else { As::Rebuilt(view.head) };
                let new = self.plan_usage(&new_books, new_plan, customer, period, at).await?;
                if let Some(new) = new {
                    break (old, new);
                }
            };
            let first = cycle.number == 1;
            let before = cost(known, customer, (book, plan), &old_usage, (period, full), first)?;
            let after =
                cost(&new_books, customer, (tried, new_plan), &new_usage, (period, full), first)?;
            row.before = row.before.checked_add(before)?;
            row.after = row.after.checked_add(after)?;
            row.periods += 1;
        }
        row.difference = row.after.checked_sub(row.before)?;
        Ok(row)
    }
}

/// All charges of a plan for one period, in advance and in arrears, before tax.
fn cost(
    books: &Books,
    customer: &Customer,
    (book, plan): (&PriceBook, &Plan),
    usage: &CustomerUsage,
    (period, full): (Period, Period),
    first: bool,
) -> Result<Money, EngineError> {
    let mut total = Money::zero(book.currency);
    // As on invoices, the plan's minimum looks at what is billed in arrears.
    let mut arrears = Exact::ZERO;
    for charge in &plan.charges {
        if charge.recurrence == Recurrence::Once && !first {
            continue;
        }
        let in_arrears = charge.is_metered() || charge.timing == Timing::Arrears;
        let kind = if charge.is_metered() { LineKind::Usage } else { LineKind::FeeArrears };
        let rating = Rating { kind, charge, plan, book, period, full };
        let line = line(books, customer, &rating, Some(usage))?;
        total = total.checked_add(line.amount)?;
        if in_arrears {
            arrears = arrears.add(&line.amount.exact());
        }
    }
    if let Some(minimum) = plan_minimum(plan, book, (period, full), &customer.zone)? {
        let line = minimum.line(&arrears, period, book.currency, book.rounding)?;
        total = total.checked_add(line.amount)?;
    }
    Ok(total)
}
