//! Verification: the ledger is whole and unchanged, aggregates equal the fold, invoices are what
//! their inputs give, numbers have no gap. Differences are listed, never repaired.

use std::collections::BTreeMap;

use counterfoil_invoicing::{Customer, Invoice, InvoiceState};
use counterfoil_ledger::LaneId;
use counterfoil_store::{InvoiceFilter, InvoiceSummary, RecordedFact, StoreError};
use counterfoil_types::{Digest, Timestamp};
use serde::Serialize;

use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    draft::{Account, As, Earlier, Known, Outcome},
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
    /// Ledger rows whose content is archived: their seals were checked here.
    pub archived: u64,
    /// What could only be checked through an archive that cannot be read, in words.
    pub unchecked: Vec<String>,
    /// Problems, in words.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Notes an error: damage is a problem, an archive that cannot be read leaves something
    /// unchecked; a store that fails is no finding but an error.
    fn note(&mut self, what: &str, error: EngineError) -> Result<(), EngineError> {
        match error {
            EngineError::Archived { archive, why } => {
                self.unchecked.push(format!("{what}: archive {archive} is needed: {why}"));
            }
            other => {
                let damage = damage(other)?;
                self.problems.push(format!("{what}: {damage}"));
            }
        }
        Ok(())
    }
}

/// What is wrong with what is stored, in words; a store that fails is no finding but an error.
fn damage(error: EngineError) -> Result<String, EngineError> {
    match error {
        EngineError::Store(StoreError::Corrupt { .. }) => Ok(error.to_string()),
        EngineError::Store(StoreError::Archived { lane, position }) => {
            Ok(format!("lane {lane} position {position} has no content, and no archive holds it"))
        }
        EngineError::Store(_) => Err(error),
        other => Ok(other.to_string()),
    }
}

impl Engine {
    /// Checks everything that can be checked.
    ///
    /// # Errors
    /// As the store has them. Problems found are no error but are listed.
    pub async fn verify(&self) -> Result<VerifyReport, EngineError> {
        let mut report = VerifyReport::default();
        self.verify_ledger(&mut report).await?;
        self.verify_anchor(&mut report).await?;
        match self.check_aggregates().await {
            Ok(aggregates) => {
                report.buckets = aggregates.buckets;
                let differences = aggregates.differences.into_iter();
                report.problems.extend(differences.map(|d| format!("aggregate {d}")));
            }
            Err(error) => report.note("aggregates", error)?,
        }
        let mut issued = BTreeMap::new();
        match self.books().await {
            Ok(books) => self.verify_invoices(&books, &mut issued, &mut report).await?,
            Err(error) => report.problems.push(damage(error)?),
        }
        self.verify_journal(&issued, &mut report).await?;
        Ok(report)
    }

    /// Every row: contiguous positions, times that never decrease, seals that hold.
    async fn verify_ledger(&self, report: &mut VerifyReport) -> Result<(), EngineError> {
        for head in self.store.heads(&self.tenant).await? {
            let lane = head.lane;
            let (mut expected, mut recorded) = self.verify_archived(lane, report).await?;
            loop {
                let rows = self.store.read(lane, expected - 1, head.position, None, CHUNK).await;
                let rows = match rows {
                    Ok(rows) => rows,
                    Err(error) => {
                        report.problems.push(damage(error.into())?);
                        break;
                    }
                };
                if rows.is_empty() {
                    // Unreadable rows break off above; here the lane ends.
                    if expected != head.position + 1 {
                        report.problems.push(format!(
                            "ledger lane {lane}: the head stands at {}, the last row at {}",
                            head.position,
                            expected - 1
                        ));
                    }
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
        }
        Ok(())
    }

    /// The archived prefix of a lane: seals by what stayed of the rows, content by the archives,
    /// where they can be read. Gives the position after it and when its last row was recorded.
    async fn verify_archived(
        &self,
        lane: LaneId,
        report: &mut VerifyReport,
    ) -> Result<(u64, Timestamp), EngineError> {
        let (mut expected, mut recorded) = (1u64, Timestamp::MIN);
        for record in self.held(lane).await? {
            let id = record.manifest.id();
            if record.manifest.first != expected {
                report.problems.push(format!("archive {id}: it does not begin at {expected}"));
            }
            if record.manifest.recorded_from < recorded {
                report.problems.push(format!("archive {id}: recorded before its predecessor"));
            }
            match self.check_seals(&record).await {
                Ok(None) => {}
                Ok(Some(why)) => report.problems.push(format!("archive {id}: {why}")),
                Err(error) => report.note(&format!("archive {id}"), error)?,
            }
            match self.archived_rows(&record).await {
                Ok(_) => {}
                Err(EngineError::Archived { why, .. }) if self.is_missing(&record).await => {
                    report.unchecked.push(format!(
                        "archive {id}: {} rows have their seals, their content was not read: {why}",
                        record.manifest.rows
                    ));
                }
                Err(EngineError::Archived { why, .. }) => {
                    report.problems.push(format!("archive {id}: {why}"));
                }
                Err(error) => return Err(error),
            }
            report.archived += record.manifest.rows;
            report.events += record.manifest.rows;
            expected = record.manifest.last + 1;
            recorded = record.manifest.recorded_to;
        }
        Ok((expected, recorded))
    }

    /// Every finalized invoice: sealed, the same when computed again, numbered without gaps. Notes
    /// their numbers in `issued`.
    async fn verify_invoices(
        &self,
        books: &Books,
        issued: &mut BTreeMap<String, String>,
        report: &mut VerifyReport,
    ) -> Result<(), EngineError> {
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
                let number = summary.number.clone().unwrap_or_default();
                if let Some((series, number)) = number.rsplit_once('-')
                    && let Ok(number) = number.parse()
                {
                    numbers.entry(series.to_owned()).or_default().push(number);
                }
                issued.insert(summary.id.to_string(), number.clone());
                report.invoices += 1;
                if let Err(error) = self.verify_invoice(books, summary, report).await {
                    report.note(&format!("invoice {number}"), error)?;
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

    async fn verify_invoice(
        &self,
        books: &Books,
        row: &InvoiceSummary,
        report: &mut VerifyReport,
    ) -> Result<(), EngineError> {
        let name = row.number.clone().unwrap_or_else(|| row.id.to_string());
        let Some(invoice) = self.store.invoice(&self.tenant.id, &row.id).await? else {
            report.problems.push(format!("invoice {name} vanished"));
            return Ok(());
        };
        let body = &invoice.body;
        let canonical = body.canonical()?;
        if Digest::of(canonical.as_bytes()) != invoice.digest {
            report.problems.push(format!("invoice {name}: its body is not what was sealed"));
        }
        let same = row.id == body.id()
            && row.customer == body.customer
            && row.subscription == body.subscription
            && row.due_cycle_at == body.due_cycle_at
            && row.position == body.inputs.position
            && row.total == body.total;
        if !same {
            report.problems.push(format!("invoice {name}: its row says otherwise than its body"));
        }
        if self.rebuild_invoice(books, &invoice).await? != canonical {
            report.problems.push(format!(
                "invoice {name}: computing it again from its inputs gives another invoice"
            ));
        }
        Ok(())
    }

    /// The journal: contiguous, and of one mind with the invoices about what was finalized.
    async fn verify_journal(
        &self,
        issued: &BTreeMap<String, String>,
        report: &mut VerifyReport,
    ) -> Result<(), EngineError> {
        let mut unheard: BTreeMap<&str, &str> =
            issued.iter().map(|(id, number)| (id.as_str(), number.as_str())).collect();
        let mut archives: BTreeMap<String, Digest> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = match self.store.facts(&self.tenant.id, after, CHUNK).await {
                Ok(page) => page,
                Err(error) => {
                    report.problems.push(damage(error.into())?);
                    return Ok(());
                }
            };
            if page.is_empty() {
                break;
            }
            for RecordedFact { position, fact } in page {
                if position != after + 1 {
                    report.problems.push(format!("journal: no fact follows position {after}"));
                }
                after = position;
                let said = |name| fact.body.get(name).and_then(serde_json::Value::as_str);
                if fact.kind == "ledger.archived"
                    && let (Some(id), Some(digest)) = (said("archive"), said("manifest"))
                    && let Ok(digest) = digest.parse()
                {
                    archives.insert(id.to_owned(), digest);
                }
                if fact.kind != "invoice.finalized" {
                    continue;
                }
                let (id, number) =
                    (said("invoice").unwrap_or_default(), said("number").unwrap_or_default());
                if unheard.remove(id) != Some(number) {
                    report.problems.push(format!(
                        "journal position {position}: invoice {number} was finalized, but is not there"
                    ));
                }
            }
        }
        for number in unheard.into_values() {
            report.problems.push(format!("invoice {number}: the journal never heard of it"));
        }
        report.problems.extend(self.unheard_archives(&archives).await?);
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
            parent: body.payer.clone(),
            late_events: body.inputs.late_events,
            ..Customer::new(
                body.customer.clone(),
                body.customer_name.clone(),
                body.currency,
                body.inputs.zone.clone(),
            )
        };
        let account = Account::new(books, customer, body.inputs.subscription.clone())?;
        let cycle = account.cycles.cycle(body.cycle)?.ok_or_else(|| {
            EngineError::refused(format!(
                "subscription {} has no cycle {}",
                body.subscription, body.cycle
            ))
        })?;
        let mut earlier = Earlier {
            compared: body.inputs.compared,
            withdrawn: body.inputs.withdrawn.clone(),
            ..Earlier::default()
        };
        for id in &body.inputs.billed_by {
            earlier.invoices.push(self.invoice(id).await?);
        }
        for id in &body.inputs.credited_by {
            let note = self.store.document(&self.tenant.id, "credit_note", id).await?;
            let note = note.ok_or_else(|| EngineError::not_found("credit note", id, ""))?;
            earlier.notes.push(serde_json::from_value(note.body)?);
        }
        let known = Known {
            revision: body.revision,
            part: body.part,
            until: body.inputs.until,
            earlier,
            tax: body.inputs.tax.clone(),
            credits: body.inputs.credits.clone(),
            grants: body.inputs.grants.clone(),
        };
        let at = As::Rebuilt(body.inputs.position);
        match self.compute(books, &account, &cycle, &known, at).await? {
            Outcome::Invoice(rebuilt) => Ok(rebuilt.canonical()?),
            Outcome::Nothing(reason) => Err(EngineError::refused(reason)),
            Outcome::Moved => Err(EngineError::refused("the ledger moved while it was read")),
        }
    }
}
