//! What an invoice is computed from besides the ledger and the price books: what was billed
//! before, the tax decision, open credits and grants. All of it is written on the invoice, so that
//! the invoice can be computed again.

use counterfoil_invoicing::{
    CreditNote, Cycle, Invoice, InvoiceState, ItemStatus, OpenCredit, RunState, TaxDecision,
    UnitGrant, cycle::CycleNumber, invoice::invoice_id, settle::Billed,
};
use counterfoil_store::DocumentFilter;
use counterfoil_types::{Exact, InvoiceId, Period, Quantity, Timestamp};

use super::Account;
use crate::{
    Engine, EngineError, accounts::PAGE, grants::OpenGrants, tax::TaxRequest, voiding::Job,
};

/// What was billed and given back before.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// Live invoices of the subscription.
    pub invoices: Vec<Invoice>,
    /// Late-usage credit notes on them.
    pub notes: Vec<CreditNote>,
    /// Cycles that are left alone: their invoice is void and was not reissued, or is about to be
    /// made.
    pub withdrawn: Vec<CycleNumber>,
    /// Whether anything is to be compared at all.
    pub compared: bool,
}

impl Earlier {
    /// The cycles before `own` that are held against what is known now: those that were invoiced,
    /// if only over nothing, and the opening, which has no invoice when nothing was due in advance.
    pub(crate) fn cycles(&self, billed: &Billed, own: CycleNumber) -> Vec<CycleNumber> {
        let mut cycles: Vec<CycleNumber> = billed.cycles().collect();
        cycles.extend(self.invoices.iter().map(|invoice| invoice.body.cycle));
        if self.compared {
            cycles.push(0);
        }
        cycles.sort_unstable();
        cycles.dedup();
        cycles.retain(|cycle| *cycle < own && !self.withdrawn.contains(cycle));
        cycles
    }
}

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// 0, or higher after a void.
    pub revision: u32,
    /// 0, or the number of a part of an open cycle.
    pub part: u32,
    /// Up to where usage is billed, for a part.
    pub until: Option<Timestamp>,
    /// What was billed before; empty when nothing can have changed.
    pub earlier: Earlier,
    /// The taxes.
    pub tax: TaxDecision,
    /// Open prepaid credits, in order of use.
    pub credits: Vec<OpenCredit>,
    /// Open grants of units, in order of use.
    pub grants: Vec<UnitGrant>,
}

/// The units that a cycle's invoices took from grants, as grants to be taken again: computing an
/// invoiced cycle anew must not reach for units that others have used since.
pub(super) fn grants_of(cycle: CycleNumber, invoices: &[Invoice]) -> Vec<UnitGrant> {
    let mut found: Vec<UnitGrant> = Vec::new();
    for invoice in invoices.iter().filter(|invoice| invoice.body.cycle == cycle) {
        for used in &invoice.body.granted {
            let Some(grant) = invoice
                .body
                .inputs
                .grants
                .iter()
                .find(|grant| grant.grant == used.grant && grant.meter == used.meter)
            else {
                continue;
            };
            match found.iter_mut().find(|known| known.grant == grant.grant) {
                Some(known) => known.left = sum(known.left, used.units),
                None => found.push(UnitGrant { left: used.units, ..grant.clone() }),
            }
        }
    }
    found
}

/// Open grants, with what parts of the cycle have taken put back: the whole cycle is computed, and
/// the parts are taken off afterwards.
pub(super) fn grants_for(
    cycle: CycleNumber,
    open: &[UnitGrant],
    invoices: &[Invoice],
) -> Vec<UnitGrant> {
    let mut grants = open.to_vec();
    for taken in grants_of(cycle, invoices) {
        match grants.iter_mut().find(|grant| grant.grant == taken.grant) {
            Some(grant) => grant.left = sum(grant.left, taken.left),
            None => grants.push(taken),
        }
    }
    grants
}

/// The sum, or the first where it does not fit: a grant of 28 digits is never used up.
fn sum(one: Quantity, other: Quantity) -> Quantity {
    let sum: Exact = one.exact().add(&other.exact());
    Quantity::try_from(&sum).unwrap_or(one)
}

impl Engine {
    /// What the invoice of a job is computed from. `compare`: what was billed before may differ
    /// from what is known now. `grants`: the tenant has granted something.
    pub(crate) async fn known(
        &self,
        account: &Account,
        job: &Job,
        compare: bool,
        grants: bool,
    ) -> Result<Known, EngineError> {
        let subscription = &account.subscription.id;
        let id =
            invoice_id(&self.tenant.id, subscription, job.cycle.number, job.revision, job.part);
        let mut earlier =
            if compare { self.earlier(account, Some(id)).await? } else { Earlier::default() };
        let opened = earlier.invoices.iter().any(|invoice| invoice.body.cycle == 0);
        if compare && !opened && !self.opening_was_empty(account, &job.cycle).await? {
            earlier.withdrawn.push(0);
        }
        let customer = &account.customer;
        let parent = match &customer.parent {
            Some(parent) => Some(self.customer(parent).await?),
            None => None,
        };
        let at = job.until.unwrap_or(job.cycle.at);
        let payer = parent.as_ref().unwrap_or(customer);
        let tax = self.tax.decide(TaxRequest { customer, payer, at }).await?;
        let open = if grants {
            let period = job.cycle.closes.unwrap_or(Period::new(at, at));
            self.open_grants(&customer.id, id, period, at).await?
        } else {
            OpenGrants::default()
        };
        Ok(Known {
            revision: job.revision,
            part: job.part,
            until: job.until,
            earlier,
            tax,
            credits: open.credits,
            grants: open.units,
        })
    }

    /// Whether a run looked at the opening and found nothing due, so that what turned out to be due
    /// since is this invoice's. An opening that is in the same run has an invoice of its own; one
    /// that no run looked at was not this program's to bill.
    async fn opening_was_empty(
        &self,
        account: &Account,
        cycle: &Cycle,
    ) -> Result<bool, EngineError> {
        if account.opens_in_the_run_of(cycle)? {
            return Ok(false);
        }
        let opening = account.opening_month()?;
        let label = format!("{:04}-{:02}", opening.year(), opening.month());
        for run in self.store.runs(&self.tenant.id).await? {
            if run.period != label || run.state != RunState::Finalized {
                continue;
            }
            let (tenant, id) = (&self.tenant.id, &account.subscription.id);
            let item = self.store.run_item(tenant, &run.id, id, 0).await?;
            if item.is_some_and(|item| item.status == ItemStatus::Skipped) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The live invoices of a subscription but for `except`, with the late-usage notes on them.
    pub(crate) async fn earlier(
        &self,
        account: &Account,
        except: Option<InvoiceId>,
    ) -> Result<Earlier, EngineError> {
        let subscription = &account.subscription.id;
        let mut invoices = self.store.invoices_of(&self.tenant.id, subscription).await?;
        let cycles_of = |void: bool| -> Vec<CycleNumber> {
            let matching = invoices.iter().filter(|invoice| {
                invoice.state != InvoiceState::Draft
                    && invoice.body.part == 0
                    && Some(invoice.id) != except
                    && (invoice.state == InvoiceState::Void) == void
            });
            matching.map(|invoice| invoice.body.cycle).collect()
        };
        let live = cycles_of(false);
        let mut withdrawn = cycles_of(true);
        withdrawn.retain(|cycle| !live.contains(cycle));
        withdrawn.dedup();
        invoices.retain(|invoice| {
            !matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void)
                && Some(invoice.id) != except
        });
        let mut notes = Vec::new();
        let filter = DocumentFilter { customer: Some(account.customer.id.clone()), subject: None };
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .documents(&self.tenant.id, "credit_note", &filter, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for document in page {
                let note: CreditNote = serde_json::from_value(document.body)?;
                let on_one = invoices.iter().any(|invoice| invoice.id == note.invoice);
                if on_one && !note.corrects.is_empty() {
                    notes.push(note);
                }
            }
        }
        Ok(Earlier { invoices, notes, withdrawn, compared: true })
    }
}
