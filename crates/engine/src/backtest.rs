//! Backtest: real history rated again under another price book. Nothing is written.
//!
//! Each finished period of each subscription on the book is rated twice from the same usage: with
//! the version that was in force, and with the book that is tried. Late usage counts in its own
//! period on both sides, so the difference is the prices' alone. Taxes are left out.

use counterfoil_catalog::PriceBook;
use counterfoil_invoicing::Cycle;
use counterfoil_types::{CustomerId, Money, PlanKey, SubscriptionId};
use serde::Serialize;

use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    draft::{Account, As, Scope},
    run::Month,
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
        let lane = self.tenant.lane_of(&customer.id);
        let trying = known.trying(tried);
        let after_account = Account::new(&trying, customer.clone(), account.subscription.clone())?;
        for cycle in account.cycles.due(start, end.min(self.now_of(&customer.id)))? {
            let Some(period) = cycle.closes else { continue };
            let terms = account.terms_at(period.start)?;
            if terms.book != tried.reference.name {
                continue;
            }
            let same = after_account.cycles.cycle(cycle.number)?;
            let same = same.filter(|other| other.closes == cycle.closes).ok_or_else(|| {
                EngineError::refused(format!(
                    "plan {} has other billing periods in {}",
                    terms.plan, tried.reference
                ))
            })?;
            let (old, new) = loop {
                let view = self.lane_view(lane).await?;
                let at = As::Of(&view);
                let Some(old) = self.whole(known, account, &cycle, at).await? else { continue };
                // A meter that is not registered has no aggregates: its usage is folded.
                let at = if known.knows_meters_of(tried) { at } else { As::Rebuilt(view.head) };
                if let Some(new) = self.whole(&trying, &after_account, &same, at).await? {
                    break (old, new);
                }
            };
            row.before = row.before.checked_add(old)?;
            row.after = row.after.checked_add(new)?;
            row.periods += 1;
        }
        row.difference = row.after.checked_sub(row.before)?;
        Ok(row)
    }

    /// All that a cycle's period costs, fees in advance included, before credits and tax; `None`
    /// when the projector moved.
    async fn whole(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        at: As<'_>,
    ) -> Result<Option<Money>, EngineError> {
        // The period's own advance fees stand on the invoice before its closing.
        let Some(before) =
            cycle.number.checked_sub(1).map(|number| account.cycles.cycle(number)).transpose()?
        else {
            return Ok(Some(Money::zero(account.customer.currency)));
        };
        let closing = Cycle { opens: None, opens_full: None, ..*cycle };
        let scope = Scope::default();
        let Some(found) = self.expected(books, account, &closing, &scope, at).await? else {
            return Ok(None);
        };
        let mut total = Money::zero(account.customer.currency);
        for line in &found.lines {
            total = total.checked_add(line.amount)?;
        }
        if let Some(before) = before {
            let opening = Cycle { closes: None, closes_full: None, ..before };
            let Some(found) = self.expected(books, account, &opening, &scope, at).await? else {
                return Ok(None);
            };
            for line in &found.lines {
                total = total.checked_add(line.amount)?;
            }
        }
        Ok(Some(total))
    }
}
