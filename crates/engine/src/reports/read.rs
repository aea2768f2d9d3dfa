//! Reading what reports are made of, page by page.

use std::collections::BTreeMap;

use counterfoil_invoicing::{CreditNote, Invoice, InvoiceState, Subscription};
use counterfoil_store::{AccountFilter, DocumentFilter, InvoiceFilter, RecordedPosting};
use counterfoil_types::{InvoiceId, Timestamp};
use serde::de::DeserializeOwned;

use crate::{Engine, EngineError, accounts::PAGE};

/// Where a reading of invoices stands.
pub(super) type After = Option<(Timestamp, InvoiceId)>;

/// A document with what its body says.
pub(super) struct Issued<T> {
    pub(super) body: T,
    pub(super) number: String,
    pub(super) at: Timestamp,
}

/// Credit notes by the invoice they stand on.
pub(super) type Notes = BTreeMap<String, Vec<Issued<CreditNote>>>;

/// The notes on an invoice.
pub(super) fn notes_of<'a>(notes: &'a Notes, invoice: &InvoiceId) -> &'a [Issued<CreditNote>] {
    notes.get(&invoice.to_string()).map_or(&[], Vec::as_slice)
}

/// Whether an invoice counts: finalized and not withdrawn.
pub(super) fn is_live(invoice: &Invoice) -> bool {
    !matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void)
}

impl Engine {
    /// The next finalized invoices, withdrawn ones included, in order of due time; `None` after
    /// the last.
    pub(super) async fn next_finalized(
        &self,
        after: &mut After,
    ) -> Result<Option<Vec<Invoice>>, EngineError> {
        let filter = InvoiceFilter::default();
        let page = self.store.invoices(&self.tenant.id, &filter, *after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some((last.due_cycle_at, last.id));
        let mut invoices = Vec::with_capacity(page.len());
        for summary in page.iter().filter(|summary| summary.state != InvoiceState::Draft) {
            invoices.push(self.invoice(&summary.id).await?);
        }
        Ok(Some(invoices))
    }

    /// All documents of a kind.
    pub(super) async fn all_issued<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<Vec<Issued<T>>, EngineError> {
        let filter = DocumentFilter::default();
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .documents(&self.tenant.id, kind, &filter, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.id.clone());
            for document in page {
                all.push(Issued {
                    body: serde_json::from_value(document.body)?,
                    number: document.number.unwrap_or(document.id),
                    at: document.at,
                });
            }
        }
    }

    /// All credit notes.
    pub(super) async fn all_notes(&self) -> Result<Notes, EngineError> {
        let mut notes = Notes::new();
        for note in self.all_issued::<CreditNote>("credit_note").await? {
            notes.entry(note.body.invoice.to_string()).or_default().push(note);
        }
        for own in notes.values_mut() {
            own.sort_by(|a, b| (a.at, &a.number).cmp(&(b.at, &b.number)));
        }
        Ok(notes)
    }

    /// All accounts whose name begins so.
    pub(super) async fn all_accounts(
        &self,
        prefix: &str,
    ) -> Result<Vec<counterfoil_store::Account>, EngineError> {
        let filter = AccountFilter { prefix: prefix.to_owned(), customer: None, open: false };
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page =
                self.store.accounts(&self.tenant.id, &filter, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.name.clone());
            all.extend(page);
        }
    }

    /// The next postings; `None` after the last.
    pub(super) async fn next_postings(
        &self,
        after: &mut u64,
    ) -> Result<Option<Vec<RecordedPosting>>, EngineError> {
        let page = self.store.postings(&self.tenant.id, None, *after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = last.position;
        Ok(Some(page))
    }

    /// The next subscriptions; `None` after the last.
    pub(super) async fn next_subscriptions(
        &self,
        after: &mut Option<counterfoil_types::SubscriptionId>,
    ) -> Result<Option<Vec<Subscription>>, EngineError> {
        let page = self.store.subscriptions(&self.tenant.id, None, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some(last.id.clone());
        Ok(Some(page))
    }
}
