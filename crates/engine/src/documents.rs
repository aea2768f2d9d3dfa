//! What documents are made of, read from the store: the invoice, note, payment or account of a
//! customer, with the branding of the tenant and what is known of the customer's address.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_documents::{
    Branding, Model, Party,
    build::{self, Entry, Received},
    model::{Annex, MovementKind},
};
use counterfoil_invoicing::{CreditNote, Invoice, InvoiceState, LineKind};
use counterfoil_metering::Aggregation;
use counterfoil_store::{AccountFilter, Commit, Document, Write};
use counterfoil_types::{CustomerId, Exact, Money, Period};

use crate::{Engine, EngineError, accounts::PAGE, payments::Payment, series::Step};

const BRANDING: &str = "branding";
/// Most values of a property in an annex.
const MOST_VALUES: usize = 100;

impl Engine {
    async fn setting(&self, key: &str) -> Result<Option<String>, EngineError> {
        let found = self.store.settings(&self.tenant.id, key).await?;
        Ok(found.into_iter().find(|(known, _)| known == key).map(|(_, value)| value))
    }

    /// The branding of the tenant's documents.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn branding(&self) -> Result<Branding, EngineError> {
        let stored = self.setting(BRANDING).await?;
        Ok(stored.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default())
    }

    /// Replaces the branding.
    ///
    /// # Errors
    /// When it makes no sense.
    pub async fn set_branding(&self, branding: &Branding) -> Result<(), EngineError> {
        branding.check()?;
        let value = Some(serde_json::to_string(branding)?);
        let write = Write::Set { key: BRANDING.to_owned(), value };
        Ok(self.commit(&Commit::of(write)).await?)
    }

    /// What is known of a customer for its documents, besides its name.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn billing_details(&self, customer: &CustomerId) -> Result<Party, EngineError> {
        let stored = self.setting(&format!("billing-details/{customer}")).await?;
        Ok(stored.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default())
    }

    /// Replaces what is known of a customer for its documents.
    ///
    /// # Errors
    /// When the customer does not exist, or a field makes no sense.
    pub async fn set_billing_details(
        &self,
        customer: &CustomerId,
        party: &Party,
    ) -> Result<(), EngineError> {
        self.customer(customer).await?;
        party.check()?;
        let (key, value) =
            (format!("billing-details/{customer}"), Some(serde_json::to_string(party)?));
        Ok(self.commit(&Commit::of(Write::Set { key, value })).await?)
    }

    /// The document of an invoice, to who pays it.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn invoice_document(&self, invoice: &Invoice) -> Result<Model, EngineError> {
        let payer = invoice.body.paid_by();
        let customer = self.customer(payer).await?;
        let party = self.billing_details(payer).await?;
        Ok(build::invoice(invoice, &customer, &party)?)
    }

    /// Usage by day for each line of an invoice that bills usage of its period, and by the values of
    /// a property where one is named. As known now: what arrived late is in it.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn usage_annex(
        &self,
        invoice: &Invoice,
        by: Option<&str>,
    ) -> Result<Vec<Annex>, EngineError> {
        let body = &invoice.body;
        let books = self.recent_books().await?;
        let (mut seen, mut annex) = (BTreeSet::new(), Vec::new());
        for line in body.lines.iter().filter(|line| line.kind == LineKind::Usage) {
            let Some(meter) = &line.meter else { continue };
            // Days of a maximum or a mean do not add up to anything.
            let adds_up = books.meters().get(meter).is_some_and(|meter| {
                matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count)
            });
            if !adds_up || !seen.insert((meter.clone(), line.period.start)) {
                continue;
            }
            let points = self.usage_series(&body.customer, meter, line.period, Step::Day).await?;
            let by = match by {
                None => None,
                Some(property) => {
                    let shares = self
                        .usage_breakdown(&body.customer, meter, property, line.period, MOST_VALUES)
                        .await?;
                    let values = shares.into_iter().map(|share| {
                        let rest = if share.rest { "…".to_owned() } else { String::new() };
                        (share.value.unwrap_or(rest), share.usage)
                    });
                    Some((property.to_owned(), values.collect()))
                }
            };
            annex.push(Annex {
                name: line.name.clone(),
                unit: line.unit.clone().unwrap_or_default(),
                days: points.into_iter().map(|point| (point.period.start, point.value)).collect(),
                by,
            });
        }
        Ok(annex)
    }

    /// A stored document that must exist.
    async fn stored(
        &self,
        kind: &str,
        what: &'static str,
        id: &str,
    ) -> Result<Document, EngineError> {
        let found = self.store.document(&self.tenant.id, kind, id).await?;
        found.ok_or_else(|| EngineError::not_found(what, id, ""))
    }

    /// The document of a credit note.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn credit_note_document(&self, id: &str) -> Result<Model, EngineError> {
        let stored = self.stored("credit_note", "credit note", id).await?;
        let digest = stored.digest();
        let note: CreditNote = serde_json::from_value(stored.body)?;
        let invoice = self.invoice(&note.invoice).await?;
        let payer = invoice.body.paid_by();
        let customer = self.customer(payer).await?;
        let party = self.billing_details(payer).await?;
        let issued = (stored.number, stored.at, digest);
        Ok(build::credit_note(&note, issued, &invoice, &customer, &party)?)
    }

    /// The receipt of a payment.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn receipt_document(&self, id: &str) -> Result<Model, EngineError> {
        let stored = self.stored("payment", "payment", id).await?;
        let digest = stored.digest();
        let payment: Payment = serde_json::from_value(stored.body)?;
        let applied = self.known_payment(&payment).await?;
        let applied = applied.ok_or_else(|| EngineError::not_found("payment", id, ""))?;
        let mut to_invoices = Vec::new();
        for (invoice, amount) in applied.to_invoices {
            let number = self.invoice(&invoice).await?.number;
            to_invoices.push((number.unwrap_or_else(|| invoice.to_string()), amount));
        }
        let customer = self.customer(&payment.customer).await?;
        let party = self.billing_details(&payment.customer).await?;
        let received = Received {
            id: payment.id,
            amount: payment.amount,
            method: payment.method,
            at: payment.received_at,
            digest,
            to_invoices,
            to_balance: applied.to_balance,
        };
        Ok(build::receipt(&received, &customer, &party)?)
    }

    /// The statement of a customer: all that moved its accounts in a period, and what it owed before.
    ///
    /// # Errors
    /// When the customer does not exist.
    pub async fn statement_document(
        &self,
        id: &CustomerId,
        period: Period,
    ) -> Result<Model, EngineError> {
        let customer = self.customer(id).await?;
        let party = self.billing_details(id).await?;
        // What was moved by one cause at one time is one line: a payment over three invoices, say.
        let mut moved: BTreeMap<(counterfoil_types::Timestamp, String, String), Exact> =
            BTreeMap::new();
        for (prefix, owed) in [("receivable/", true), ("balance/", false)] {
            for account in self.money_accounts(id, prefix).await? {
                if account.unit != customer.currency.code() {
                    continue;
                }
                let mut after = 0;
                loop {
                    let page = self
                        .store
                        .postings(&self.tenant.id, Some(&account.name), after, PAGE)
                        .await?;
                    let Some(last) = page.last() else { break };
                    after = last.position;
                    for posting in page.into_iter().map(|recorded| recorded.posting) {
                        // From what is in credit to what is open: both are the customer's.
                        if posting.cause == "balance_used" {
                            continue;
                        }
                        let amount = posting.amount.exact();
                        let amount = if owed { amount } else { amount.neg() };
                        let sum = moved
                            .entry((posting.at, posting.cause, posting.reference))
                            .or_default();
                        *sum = sum.add(&amount);
                    }
                }
            }
        }
        let mut entries = Vec::new();
        for ((at, cause, reference), amount) in moved {
            // What was only moved from one account of the customer to another changes nothing.
            if amount.is_zero() {
                continue;
            }
            let kind = match cause.as_str() {
                "payment" => MovementKind::Payment,
                "credit_note" => MovementKind::CreditNote,
                "refund" => MovementKind::Refund,
                "void" => MovementKind::Void,
                "write_off" => MovementKind::WriteOff,
                _ => MovementKind::Invoice,
            };
            let reference = self.number_of(kind, reference).await?;
            let amount = Money::from_exact(&amount, customer.currency)?;
            entries.push(Entry { at, kind, reference, amount });
        }
        Ok(build::statement(&customer, &party, period, entries)?)
    }

    async fn money_accounts(
        &self,
        customer: &CustomerId,
        prefix: &str,
    ) -> Result<Vec<counterfoil_store::Account>, EngineError> {
        let filter = AccountFilter {
            prefix: prefix.to_owned(),
            customer: Some(customer.clone()),
            open: false,
        };
        let (mut all, mut after): (Vec<counterfoil_store::Account>, Option<String>) =
            (Vec::new(), None);
        loop {
            let page =
                self.store.accounts(&self.tenant.id, &filter, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.name.clone());
            all.extend(page);
        }
    }

    /// The number a customer knows something by.
    async fn number_of(&self, kind: MovementKind, id: String) -> Result<String, EngineError> {
        let number = match kind {
            MovementKind::CreditNote => {
                let found = self.store.document(&self.tenant.id, "credit_note", &id).await?;
                found.and_then(|found| found.number)
            }
            MovementKind::Payment | MovementKind::Refund => None,
            MovementKind::Invoice | MovementKind::Void | MovementKind::WriteOff => match id.parse()
            {
                Ok(invoice) => self
                    .store
                    .invoice(&self.tenant.id, &invoice)
                    .await?
                    .and_then(|invoice| invoice.number),
                Err(_) => None,
            },
        };
        Ok(number.unwrap_or(id))
    }

    /// Whether a customer may see the document of an invoice: its own, and no drafts.
    #[must_use]
    pub fn is_shown_to(invoice: &Invoice, customer: &CustomerId) -> bool {
        invoice.state != InvoiceState::Draft
            && (invoice.body.customer == *customer || invoice.body.paid_by() == customer)
    }
}
