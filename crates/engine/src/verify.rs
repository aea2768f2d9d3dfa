//! Verification: the ledger is whole and unchanged, aggregates equal the fold, invoices are what
//! their inputs give, numbers have no gap. Differences are listed, never repaired.

use std::collections::BTreeMap;

use counterfoil_invoicing::{Customer, Invoice, InvoiceState};
use counterfoil_store::InvoiceFilter;
use counterfoil_types::{Digest, Timestamp};
use serde::Serialize;

use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    draft::{As, Outcome},
    project::CHUNK,
};

/// What verification found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Ledger rows checked.
    pub events: u64,
    /// Aggregates compared.
    pub buckets: u64,
    /// Invoices rebuilt from their inputs.
    pub invoices: u64,
    /// Problems, in words.
    pub problems: Vec<String>,
}

impl Engine {
    /// Checks everything that can be checked.
    ///
    /// # Errors
    /// As the store has them. Problems found are no error but are listed.
    pub async fn verify(&self) -> Result<VerifyReport, EngineError> {
        let mut report = VerifyReport::default();
        self.verify_ledger(&mut report).await?;
        let aggregates = self.check_aggregates().await?;
        report.buckets = aggregates.buckets;
        report
            .problems
            .extend(aggregates.differences.into_iter().map(|d| format!("aggregate {d}")));
        self.verify_invoices(&mut report).await?;
        Ok(report)
    }

    /// Every row: contiguous positions, times that never decrease, seals that hold.
    async fn verify_ledger(&self, report: &mut VerifyReport) -> Result<(), EngineError> {
        for head in self.store.heads(&self.tenant).await? {
            let (mut expected, mut recorded) = (1u64, Timestamp::MIN);
            let lane = head.lane;
            loop {
                let rows = self.store.read(lane, expected - 1, head.position, None, CHUNK).await?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    let place = format!("lane {lane} position {}", row.position);
                    if row.position != expected {
                        report.problems.push(format!(
                            "ledger {place}: positions {expected} to {} are missing",
                            row.position - 1
                        ));
                    }
                    if row.recorded_at < recorded {
                        report
                            .problems
                            .push(format!("ledger {place}: recorded before its predecessor"));
                    }
                    if !row.seal_holds(&self.tenant.id) {
                        report.problems.push(format!(
                            "ledger {place}: event {:?} of {:?} is not what was sealed",
                            row.event.id, row.event.source
                        ));
                    }
                    expected = row.position + 1;
                    recorded = row.recorded_at;
                    report.events += 1;
                }
            }
            if expected != head.position + 1 {
                report.problems.push(format!(
                    "ledger lane {lane}: the head stands at {}, the last row at {}",
                    head.position,
                    expected - 1
                ));
            }
        }
        Ok(())
    }

    async fn verify_invoices(&self, report: &mut VerifyReport) -> Result<(), EngineError> {
        let books = self.books().await?;
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self
                .store
                .invoices(&self.tenant.id, &InvoiceFilter::default(), after, PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some((last.due_cycle_at, last.id));
            for summary in page.iter().filter(|summary| summary.state != InvoiceState::Draft) {
                let Some(invoice) = self.store.invoice(&self.tenant.id, &summary.id).await? else {
                    report.problems.push(format!("invoice {} vanished", summary.id));
                    continue;
                };
                report.invoices += 1;
                let name = invoice.number.clone().unwrap_or_else(|| invoice.id.to_string());
                if let Some((series, number)) = name.rsplit_once('-')
                    && let Ok(number) = number.parse()
                {
                    numbers.entry(series.to_owned()).or_default().push(number);
                }
                if Digest::of(invoice.body.canonical()?.as_bytes()) != invoice.digest {
                    report
                        .problems
                        .push(format!("invoice {name}: its body is not what was sealed"));
                }
                match self.rebuild_invoice(&books, &invoice).await {
                    Ok(rebuilt) if rebuilt == invoice.body.canonical()? => {}
                    Ok(_) => report.problems.push(format!(
                        "invoice {name}: computing it again from its inputs gives another invoice"
                    )),
                    Err(EngineError::Store(error)) => return Err(error.into()),
                    Err(error) => report.problems.push(format!("invoice {name}: {error}")),
                }
            }
        }
        for (series, mut given) in numbers {
            given.sort_unstable();
            for (expected, number) in (1u64..).zip(given) {
                if expected != number {
                    report.problems.push(format!(
                        "series {series}: number {expected} is missing or given twice"
                    ));
                    break;
                }
            }
        }
        Ok(())
    }

    /// The canonical body an invoice has when it is computed again from the inputs it names.
    ///
    /// # Errors
    /// When its inputs are not there any more.
    pub async fn rebuild_invoice(
        &self,
        books: &Books,
        invoice: &Invoice,
    ) -> Result<String, EngineError> {
        let body = &invoice.body;
        // Customer and subscription as they stood: what changed since is not this invoice's.
        let customer = Customer {
            id: body.customer.clone(),
            name: body.customer_name.clone(),
            email: None,
            currency: body.currency,
            zone: body.zone.clone(),
            tax: body.inputs.tax.clone(),
        };
        let account = self.account_of(books, customer, body.inputs.subscription.clone())?;
        let cycle = account.cycles.cycle(body.cycle)?.ok_or_else(|| {
            EngineError::refused(format!(
                "subscription {} has no cycle {}",
                body.subscription, body.cycle
            ))
        })?;
        let earlier = self.store.invoices_of(&self.tenant.id, &body.subscription).await?;
        let at = As::Rebuilt(body.inputs.position);
        match self.compute(books, &account, &cycle, &earlier, at).await? {
            Outcome::Invoice(rebuilt) => Ok(rebuilt.canonical()?),
            Outcome::Nothing(reason) => Err(EngineError::refused(reason)),
            Outcome::Moved => Err(EngineError::refused("the ledger moved while it was read")),
        }
    }
}
