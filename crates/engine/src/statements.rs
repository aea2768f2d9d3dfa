//! Consolidation: the invoices of a parent and its children on one document.
//!
//! Each invoice stays what it is, with its own number, tax and account; its payer is the parent.
//! The consolidated invoice lists them and sums them up, and a payment by its number is spread over
//! them, so no amount is ever on two accounts.

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::{Commit, Document, DocumentFilter, InvoiceFilter, Write};
use counterfoil_types::{CustomerId, InvoiceId, Money, Timestamp, derive_uuid};
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, accounts::PAGE, run::Month};

/// One invoice on a consolidated one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsolidatedLine {
    /// The invoice.
    pub invoice: InvoiceId,
    /// Its number.
    pub number: String,
    /// Whose usage it bills.
    pub customer: CustomerId,
    /// Name of the customer.
    pub name: String,
    /// Its total.
    pub total: Money,
}

/// A consolidated invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consolidated {
    /// Who pays.
    pub payer: CustomerId,
    /// The month whose run issued the invoices.
    pub month: String,
    /// The invoices.
    pub lines: Vec<ConsolidatedLine>,
    /// Their sum.
    pub total: Money,
    /// The latest day one of them is due.
    pub due_at: Option<Timestamp>,
}

impl Engine {
    /// Issues the consolidated invoice of each parent for a month: over the finalized invoices of
    /// the month it pays that no earlier one lists. Doing it twice issues nothing twice.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn consolidate(&self, month: &Month) -> Result<Vec<Document>, EngineError> {
        let mut issued = Vec::new();
        for parent in self.parents().await? {
            let customer = self.customer(&parent).await?;
            let (from, to) = month.bounds(&customer.zone)?;
            let listed = self.listed(&parent).await?;
            let mut invoices = self.paid_by(&parent, from, to).await?;
            invoices.retain(|invoice| !listed.contains(&invoice.id));
            if invoices.is_empty() {
                continue;
            }
            let lines: Vec<ConsolidatedLine> = invoices
                .iter()
                .map(|invoice| ConsolidatedLine {
                    invoice: invoice.id,
                    number: invoice.number.clone().unwrap_or_default(),
                    customer: invoice.body.customer.clone(),
                    name: invoice.body.customer_name.clone(),
                    total: invoice.body.total,
                })
                .collect();
            let body = Consolidated {
                payer: parent.clone(),
                month: month.label().to_owned(),
                total: Money::sum(customer.currency, lines.iter().map(|line| line.total))?,
                due_at: invoices.iter().filter_map(|invoice| invoice.due_at).max(),
                lines,
            };
            let at = self.now_of(&parent);
            let first = invoices.first().map(|invoice| invoice.id.to_string()).unwrap_or_default();
            let id = derive_uuid("consolidated", &[parent.as_str(), month.label(), &first]);
            let document = Document {
                kind: "consolidated".to_owned(),
                id: id.to_string(),
                customer: parent.clone(),
                subject: month.label().to_owned(),
                number: None,
                at,
                body: serde_json::to_value(&body)?,
            };
            let year = month.label().split('-').next().unwrap_or_default();
            let series = Some(format!("CON-{year}-"));
            let commit = Commit::of(Write::Issue { document, series }).told(
                "consolidated.issued",
                format!("consolidated.issued/{id}"),
                at,
                serde_json::json!({"consolidated": id, "payer": parent, "month": month.label()}),
            );
            self.commit(&commit).await?;
            issued.extend(
                self.store.document(&self.tenant.id, "consolidated", &id.to_string()).await?,
            );
        }
        Ok(issued)
    }

    /// Consolidated invoices, of one payer when given.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn consolidated(
        &self,
        payer: Option<&CustomerId>,
    ) -> Result<Vec<Document>, EngineError> {
        let filter = DocumentFilter { customer: payer.cloned(), subject: None };
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .documents(&self.tenant.id, "consolidated", &filter, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            found.extend(page);
        }
        found.sort_by(|a, b| a.number.cmp(&b.number));
        Ok(found)
    }

    async fn parents(&self) -> Result<Vec<CustomerId>, EngineError> {
        let mut parents = std::collections::BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.store.customers(&self.tenant.id, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(parents.into_iter().collect()) };
            after = Some(last.id.clone());
            parents.extend(page.into_iter().filter_map(|customer| customer.parent));
        }
    }

    async fn listed(&self, payer: &CustomerId) -> Result<Vec<InvoiceId>, EngineError> {
        let mut listed = Vec::new();
        for document in self.consolidated(Some(payer)).await? {
            let body: Consolidated = serde_json::from_value(document.body)?;
            listed.extend(body.lines.into_iter().map(|line| line.invoice));
        }
        Ok(listed)
    }

    /// The parent's own and its children's invoices that fell due in a month.
    async fn paid_by(
        &self,
        payer: &CustomerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Invoice>, EngineError> {
        let mut members = vec![payer.clone()];
        let mut after = None;
        loop {
            let page = self.store.customers(&self.tenant.id, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            members.extend(
                page.into_iter()
                    .filter(|customer| customer.parent.as_ref() == Some(payer))
                    .map(|customer| customer.id),
            );
        }
        let mut invoices = Vec::new();
        for member in members {
            let filter = InvoiceFilter { customer: Some(member), ..InvoiceFilter::default() };
            let mut after = None;
            loop {
                let page = self.store.invoices(&self.tenant.id, &filter, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some((last.due_cycle_at, last.id));
                for summary in page {
                    let due = from <= summary.due_cycle_at && summary.due_cycle_at <= to;
                    let stands = !matches!(summary.state, InvoiceState::Draft | InvoiceState::Void);
                    if !due || !stands {
                        continue;
                    }
                    let invoice = self.invoice(&summary.id).await?;
                    if invoice.body.paid_by() == payer {
                        invoices.push(invoice);
                    }
                }
            }
        }
        invoices.sort_by(|a, b| a.number.cmp(&b.number));
        Ok(invoices)
    }
}
