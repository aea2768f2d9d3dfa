//! Planning a run: which cycles fall due in the month.

use counterfoil_invoicing::{Cycle, Invoice, InvoiceState, ItemStatus, Run, RunItem, RunState};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{RunId, Zone};

use super::{Month, RunOptions};
use crate::{Books, Engine, EngineError, accounts::PAGE, draft::Account};

impl Engine {
    /// The open run of a month, or a new one. A new run of a month that was finalized before
    /// holds what that one left out.
    ///
    /// # Errors
    /// When the month is not over yet anywhere, grace included, or the run of another month is
    /// still open: what is late for one month is found by the next, so they go one by one.
    pub async fn open_run(&self, month: &Month, options: &RunOptions) -> Result<Run, EngineError> {
        let now = self.now();
        let (_, end) = month.bounds(&Zone::utc())?;
        // The last zone to end a month lies twelve hours behind UTC.
        let over = end.plus_micros(12 * 3_600_000_000 + options.grace_micros);
        if now < over {
            return Err(EngineError::refused(format!(
                "{} is not over everywhere yet (with the grace for stragglers it is at {over}; now is {now})",
                month.label()
            )));
        }
        let runs = self.store.runs(&self.tenant.id).await?;
        let (of_month, others): (Vec<Run>, Vec<Run>) =
            runs.into_iter().partition(|run| run.period == month.label());
        if let Some(open) = of_month.iter().find(|run| run.state != RunState::Finalized) {
            return Ok(open.clone());
        }
        if let Some(open) = others.iter().find(|run| run.state != RunState::Finalized) {
            return Err(EngineError::refused(format!(
                "run {} of {} is {}; finish it before {} is run",
                open.id,
                open.period,
                open.state.as_str(),
                month.label()
            )));
        }
        let attempt = u32::try_from(of_month.len()).unwrap_or(u32::MAX) + 1;
        let run = Run {
            id: RunId::derive(&[self.tenant.id.as_str(), month.label(), &attempt.to_string()]),
            period: month.label().to_owned(),
            attempt,
            state: RunState::Planning,
            started_at: now,
            approved_by: None,
            approved_at: None,
            finalized_at: None,
        };
        let commit = Commit::of(Write::CreateRun(run.clone())).fact(
            "run.started",
            format!("run.started/{}", run.id),
            now,
            serde_json::json!({"run": run.id, "period": run.period, "attempt": attempt}),
        );
        self.commit(&commit).await?;
        self.run(&run.id).await
    }

    /// Lists the cycles of a run that is being planned, and opens it for computing.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn plan_run(&self, books: &Books, run: Run) -> Result<Run, EngineError> {
        if run.state != RunState::Planning {
            return Ok(run);
        }
        let mut after = None;
        loop {
            let page =
                self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            let customers = self.customers_of(&page).await?;
            let mut items = Vec::new();
            for subscription in page {
                let customer = customers.get(&subscription.customer).cloned();
                items.extend(self.items_of(books, &run, subscription, customer).await?);
            }
            self.commit(&Commit::of(Write::PutRunItems(items))).await?;
        }
        let run = Run { state: RunState::Computing, ..run };
        self.commit(&Commit::of(Write::UpdateRun(run.clone()))).await?;
        Ok(run)
    }

    /// The items of one subscription, whose customer may be known. One whose cycles cannot be computed is one parked item.
    pub(super) async fn items_of(
        &self,
        books: &Books,
        run: &Run,
        subscription: counterfoil_invoicing::Subscription,
        customer: Option<counterfoil_invoicing::Customer>,
    ) -> Result<Vec<RunItem>, EngineError> {
        let month: Month = run.period.parse()?;
        let item = |cycle: u32, status: ItemStatus, reason: Option<String>| RunItem {
            run: run.id,
            subscription: subscription.id.clone(),
            customer: subscription.customer.clone(),
            cycle,
            status,
            reason,
            invoice: None,
            total: None,
            before: None,
        };
        let account = match customer {
            Some(customer) => Account::new(books, customer, subscription.clone()),
            None => self.account(books, subscription.clone()).await,
        };
        let account = match account {
            Ok(account) => account,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Ok(vec![item(0, ItemStatus::Parked, Some(error.to_string()))]),
        };
        let (from, to) = month.bounds(&account.customer.zone)?;
        let mut items = Vec::new();
        for cycle in account.cycles.due(from, to)? {
            if cycle.settles() && !self.came_late(books, &account, &cycle).await? {
                continue;
            }
            // What an earlier attempt finalized is not this attempt's any more.
            let known = if run.attempt > 1 {
                self.store.cycle_summaries(&self.tenant.id, &subscription.id, cycle.number).await?
            } else {
                Vec::new()
            };
            let regular = known.iter().filter(|invoice| invoice.part == 0);
            if regular.clone().all(|invoice| invoice.state == InvoiceState::Draft) {
                items.push(item(cycle.number, ItemStatus::Planned, None));
            }
        }
        Ok(items)
    }

    /// Whether an ended subscription has something to settle: usage that came after its last
    /// invoice, or a contract that changed after it.
    async fn came_late(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
    ) -> Result<bool, EngineError> {
        let (tenant, id) = (&self.tenant.id, &account.subscription.id);
        let invoices = self.store.invoices_of(tenant, id).await?;
        let stands = |invoice: &&Invoice| {
            !matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void)
                && invoice.body.cycle < cycle.number
        };
        let Some(last) =
            invoices.iter().filter(stands).max_by_key(|invoice| invoice.body.inputs.position)
        else {
            return Ok(false);
        };
        if last.body.inputs.subscription != account.subscription {
            return Ok(true);
        }
        let end = account.cycles.end().unwrap_or(cycle.at);
        let lane = self.tenant.lane_of(&account.customer.id);
        let view = self.lane_view(lane).await?;
        let meters: Vec<_> = books.meters().values().collect();
        let position = last.body.inputs.position;
        let customer = &account.customer.id;
        Ok(view.projected(&meters) < view.head
            || self.store.touched_after(lane, customer, end, position).await?)
    }
}
