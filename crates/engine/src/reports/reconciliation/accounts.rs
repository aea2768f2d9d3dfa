//! The accounts' side of reconciliation: postings against balances, invoices and documents.

use std::collections::{BTreeMap, HashMap};

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::Posting;
use counterfoil_types::Exact;

use super::{
    super::{Report, read::Notes},
    Check, off_receivable,
};
use crate::{Engine, EngineError, payments::Payment, postings};

/// What was posted on the account of an invoice.
#[derive(Default)]
struct Receivable {
    paid: Exact,
    voided: Exact,
}

/// All postings, summed for the checks.
#[derive(Default)]
pub(super) struct Posted {
    /// What invoices posted when they were issued, by posting key: below zero where the customer
    /// got it.
    issued: HashMap<String, Exact>,
    receivable: HashMap<String, Receivable>,
    balances: HashMap<String, Exact>,
    /// What payments moved, by id.
    payments: HashMap<String, Exact>,
    /// What credit notes took off what may be credited, by id.
    notes: HashMap<String, Exact>,
}

fn note(map: &mut HashMap<String, Exact>, key: &str, amount: &Exact) {
    let sum = map.entry(key.to_owned()).or_default();
    *sum = sum.add(amount);
}

/// The kind of an account: what stands before the slash.
fn kind_of(account: &str) -> &str {
    account.split_once('/').map_or(account, |(kind, _)| kind)
}

impl Posted {
    fn add(&mut self, posting: &Posting) {
        let amount = posting.amount.exact();
        note(&mut self.balances, &posting.account, &amount);
        match (kind_of(&posting.account), posting.cause.as_str()) {
            ("receivable", "invoice") => note(&mut self.issued, &posting.key, &amount),
            ("balance", "invoice") => note(&mut self.issued, &posting.key, &amount.neg()),
            ("receivable", cause @ ("payment" | "balance_used")) => {
                let slot = self.receivable.entry(posting.account.clone()).or_default();
                slot.paid = slot.paid.sub(&amount);
                if cause == "payment" {
                    note(&mut self.payments, &posting.reference, &amount.neg());
                }
            }
            ("receivable", "void") => {
                let slot = self.receivable.entry(posting.account.clone()).or_default();
                slot.voided = slot.voided.sub(&amount);
            }
            ("balance", "payment") => note(&mut self.payments, &posting.reference, &amount),
            ("creditable", "credit_note") => {
                note(&mut self.notes, &posting.reference, &amount.neg());
            }
            _ => {}
        }
    }

    /// The total of an invoice against what it posted when it was issued.
    pub(super) fn check_issued(&self, invoice: &Invoice, check: &mut Check) {
        let posted = self.issued.get(&format!("issued/{}", invoice.id)).cloned();
        let total = invoice.body.total.exact();
        let name = || invoice.number.clone().unwrap_or_default();
        let group = ("invoices", invoice.body.currency.code());
        check.compare(group, name, &total, &posted.unwrap_or_default());
    }

    /// What is open on an invoice against what its total, payments and notes leave.
    pub(super) fn check_open(&self, invoice: &Invoice, notes: &Notes, check: &mut Check) {
        let account = postings::receivable(&invoice.id);
        let open = self.balances.get(&account).cloned().unwrap_or_default();
        let total = invoice.body.total.exact().at_least(&Exact::ZERO);
        let mut left = total.sub(&off_receivable(notes, invoice));
        if let Some(moved) = self.receivable.get(&account) {
            left = left.sub(&moved.paid).sub(&moved.voided);
        }
        let name = || invoice.number.clone().unwrap_or_default();
        check.compare(("invoices", invoice.body.currency.code()), name, &open, &left);
        // Nothing may be open on what is withdrawn or paid.
        if matches!(invoice.state, InvoiceState::Void | InvoiceState::Paid) {
            let group = ("paid and void invoices", invoice.body.currency.code());
            check.compare(group, name, &open, &Exact::ZERO);
        }
    }
}

impl Engine {
    /// Reads all postings, and holds them against the balances.
    pub(super) async fn posted(&self, report: &mut Report) -> Result<Posted, EngineError> {
        let mut posted = Posted::default();
        let mut check = Check::new("postings = balances");
        let mut after = 0;
        while let Some(page) = self.next_postings(&mut after).await? {
            for recorded in page {
                posted.add(&recorded.posting);
                let account = &recorded.posting.account;
                let running = posted.balances.get(account).cloned().unwrap_or_default();
                if running != recorded.balance.exact() {
                    let subject = format!("{account} after posting {}", recorded.position);
                    let unit = recorded.posting.unit.clone();
                    check.differing.push((subject, unit, running, recorded.balance.exact()));
                }
            }
        }
        let mut unseen: BTreeMap<&str, &Exact> =
            posted.balances.iter().map(|(name, sum)| (name.as_str(), sum)).collect();
        for account in self.all_accounts("").await? {
            let sum = unseen.remove(account.name.as_str()).cloned().unwrap_or_default();
            let group = (kind_of(&account.name), account.unit.as_str());
            check.compare(group, || account.name.clone(), &sum, &account.balance.exact());
        }
        for (name, sum) in unseen {
            let group = (kind_of(name), "");
            check.compare(group, || format!("{name} has no balance"), sum, &Exact::ZERO);
        }
        check.finish(report);
        Ok(posted)
    }

    /// Payments and credit notes against what they moved.
    pub(super) async fn check_documents(
        &self,
        posted: &Posted,
        notes: &Notes,
        report: &mut Report,
    ) -> Result<(), EngineError> {
        let mut check = Check::new("payments = postings");
        for payment in self.all_issued::<Payment>("payment").await? {
            let Payment { id, amount, .. } = payment.body;
            let moved = posted.payments.get(&id).cloned().unwrap_or_default();
            let group = ("payments", amount.currency().code());
            check.compare(group, || id.clone(), &amount.exact(), &moved);
        }
        check.finish(report);
        let mut check = Check::new("notes = postings");
        for issued in notes.values().flatten() {
            let moved = posted.notes.get(&issued.body.id).cloned().unwrap_or_default();
            let group = ("credit notes", issued.body.currency.code());
            check.compare(group, || issued.number.clone(), &issued.body.total.exact(), &moved);
        }
        check.finish(report);
        Ok(())
    }
}
