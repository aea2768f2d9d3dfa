//! What is owed beyond its terms: overdue, and the steps of dunning as facts.

use std::collections::BTreeSet;

use counterfoil_invoicing::{
    InvoiceState,
    dunning::{DunningStep, default_steps, steps_reached},
};
use counterfoil_store::{Commit, InvoiceFilter, InvoiceSummary, Write};
use counterfoil_types::InvoiceId;
use serde::Serialize;

use crate::{Engine, EngineError, accounts::PAGE, jobs::Turn};

const SETTING: &str = "dunning/steps";

/// What became of unpaid invoices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Dunned {
    /// Invoices that are overdue from now on.
    pub overdue: Vec<InvoiceId>,
    /// Steps that were reached now: invoice and step.
    pub steps: Vec<(InvoiceId, String)>,
}

impl Engine {
    /// The tenant's dunning steps.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn dunning_steps(&self) -> Result<Vec<DunningStep>, EngineError> {
        let stored = self.store.settings(&self.tenant.id, SETTING).await?;
        match stored.first() {
            Some((_, text)) => Ok(serde_json::from_str(text)?),
            None => Ok(default_steps()),
        }
    }

    /// Replaces the tenant's dunning steps.
    ///
    /// # Errors
    /// When two steps fall on one day.
    pub async fn set_dunning_steps(&self, steps: &[DunningStep]) -> Result<(), EngineError> {
        let days: BTreeSet<u32> = steps.iter().map(|step| step.after_days).collect();
        if days.len() != steps.len() {
            return Err(EngineError::refused("two dunning steps fall on one day"));
        }
        let value = Some(serde_json::to_string(steps)?);
        let commit = Commit::of(Write::Set { key: SETTING.to_owned(), value });
        Ok(self.commit(&commit).await?)
    }

    /// Moves what is past its due date to overdue and records the dunning steps it has come to.
    /// Each step is one fact and one effect, however often this is done.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn dun(&self) -> Result<Dunned, EngineError> {
        self.dun_in(None).await
    }

    /// The same as part of a job: an invoice that fails does not hold the others up.
    pub(crate) async fn dun_in(&self, turn: Option<&Turn>) -> Result<Dunned, EngineError> {
        let steps = self.dunning_steps().await?;
        let mut taken = self.dunning_taken().await?;
        let mut done = Dunned::default();
        for state in [InvoiceState::Pending, InvoiceState::Overdue] {
            let filter = InvoiceFilter { state: Some(state), ..InvoiceFilter::default() };
            let mut after = None;
            loop {
                let page = self.store.invoices(&self.tenant.id, &filter, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some((last.due_cycle_at, last.id));
                for summary in page {
                    let name = format!("invoice/{}", summary.id);
                    let dunned = self.dun_one(&steps, &mut taken, &summary, &mut done);
                    match turn {
                        None => dunned.await?,
                        Some(turn) => {
                            turn.item(&name, dunned).await?;
                        }
                    }
                }
            }
        }
        Ok(done)
    }

    async fn dun_one(
        &self,
        steps: &[DunningStep],
        taken: &mut BTreeSet<String>,
        summary: &InvoiceSummary,
        done: &mut Dunned,
    ) -> Result<(), EngineError> {
        let now = self.now_of(&summary.customer);
        let Some(due) = self.invoice(&summary.id).await?.due_at else { return Ok(()) };
        // One below zero is owed to the customer.
        if now < due || !summary.total.exact().is_positive() {
            return Ok(());
        }
        let id = summary.id;
        let mut commit = Commit::default();
        let was_pending = summary.state == InvoiceState::Pending;
        if was_pending {
            let to = InvoiceState::Overdue;
            commit.writes.push(Write::MoveInvoice { invoice: id, to });
            let body = serde_json::json!({"invoice": id, "due_at": due});
            let key = format!("invoice.overdue/{id}");
            commit = commit.told("invoice.overdue", key, now, body);
        }
        let (mut reached, mut keys) = (Vec::new(), Vec::new());
        for step in steps_reached(steps, due, now) {
            let key = format!("dunning.step/{id}/{}", step.after_days);
            if taken.contains(&key) {
                continue;
            }
            let body = serde_json::json!({
                "invoice": id, "step": step.name, "after_days": step.after_days,
            });
            keys.push(key.clone());
            commit = commit.told("dunning.step", key, now, body);
            reached.push((id, step.name.clone()));
        }
        if commit.facts.is_empty() {
            return Ok(());
        }
        match self.commit(&commit).await {
            Ok(()) => {}
            // Paid or voided meanwhile: nothing to remind of.
            Err(error) if crate::postings::raced(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if was_pending {
            done.overdue.push(id);
        }
        done.steps.extend(reached);
        // What became overdue just now comes up again among the overdue ones.
        taken.extend(keys);
        Ok(())
    }

    /// Keys of the steps that were taken before.
    async fn dunning_taken(&self) -> Result<BTreeSet<String>, EngineError> {
        let mut taken = BTreeSet::new();
        let mut after = 0;
        loop {
            let page = self.store.facts(&self.tenant.id, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(taken) };
            after = last.position;
            taken.extend(
                page.into_iter()
                    .filter(|recorded| recorded.fact.kind == "dunning.step")
                    .map(|recorded| recorded.fact.key),
            );
        }
    }
}
