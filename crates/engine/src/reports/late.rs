//! Events that were recorded after the invoice of their period, and what became of them.
//!
//! An invoice looked at the ledger up to its watermark. Each later invoice of the subscription that
//! was compared with it looked further; so the time after an invoice is cut at the watermarks of
//! those that followed. What lies between two of them was settled by the second; what lies after
//! the last one waits.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_invoicing::{CreditNote, Invoice, LineKind, Subscription};
use counterfoil_ledger::StoredEvent;
use counterfoil_metering::{Measurement, Meter, measure};
use counterfoil_rating::LatePolicy;
use counterfoil_types::{Exact, MeterKey, Period, Timestamp};

use super::{
    Cell, Kind, Range, Report, Table,
    range::month_of,
    read::{Issued, Notes, is_live, notes_of},
};
use crate::{Books, Engine, EngineError, draft::Account, project::CHUNK, usage::Request};

/// A row of the ledger with the event it is about: itself, or the one it corrects.
struct Arrival {
    row: StoredEvent,
    about: StoredEvent,
}

/// Late arrivals of one meter (or none) and type within one stretch of the ledger.
type Groups = BTreeMap<(Option<MeterKey>, String), (u64, Timestamp)>;

/// What is needed of the subscription whose arrivals are looked at.
struct Context<'a> {
    books: &'a Books,
    account: Account,
    invoices: Vec<Invoice>,
    notes: &'a Notes,
}

impl Engine {
    pub(super) async fn late_report(&self, range: &Range) -> Result<Report, EngineError> {
        self.project_all().await?;
        let books = self.books().await?;
        let notes = self.all_notes().await?;
        let mut report = Report::of(
            Kind::Late,
            Table::new(&[
                "customer",
                "subscription",
                "invoice",
                "from",
                "to",
                "meter",
                "type",
                "events",
                "quantity",
                "unit",
                "outcome",
                "document",
            ]),
        );
        let mut after = None;
        while let Some(page) = self.next_subscriptions(&mut after).await? {
            for subscription in page {
                let rows = &mut report.table.rows;
                self.late_of(&books, &notes, range, subscription, rows).await?;
            }
        }
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        for row in &report.table.rows {
            if let (Some(Cell::Count(events)), Some(outcome)) = (row.get(7), row.get(10)) {
                *outcomes.entry(outcome.plain()).or_default() += events;
            }
        }
        report.totals = Table::new(&["outcome", "events"]);
        for (outcome, events) in outcomes {
            report.totals.rows.push(vec![Cell::Text(outcome), Cell::Count(events)]);
        }
        Ok(report)
    }

    async fn late_of(
        &self,
        books: &Books,
        notes: &Notes,
        range: &Range,
        subscription: Subscription,
        rows: &mut Vec<Vec<Cell>>,
    ) -> Result<(), EngineError> {
        let mut invoices = self.store.invoices_of(&self.tenant.id, &subscription.id).await?;
        invoices.retain(is_live);
        if invoices.is_empty() {
            return Ok(());
        }
        let account = self.account(books, subscription).await?;
        let context = Context { books, account, invoices, notes };
        for invoice in &context.invoices {
            // Parts of a cycle are settled by its closing invoice.
            let cycle = context.account.cycles.cycle(invoice.body.cycle)?;
            if cycle.is_none_or(|cycle| cycle.closes.is_none()) {
                continue;
            }
            // The period as it was billed: the contract may have been cut since.
            let period = invoice.body.period;
            if invoice.body.part > 0 || !range.holds(month_of(period.start, &invoice.body.zone)?) {
                continue;
            }
            let lane = self.tenant.lane_of(&invoice.body.customer);
            let watermark = invoice.body.inputs.position;
            let customer = &invoice.body.customer;
            if self.store.touched_after(lane, customer, period.end, watermark).await? {
                self.late_for(&context, invoice, period, rows).await?;
            }
        }
        Ok(())
    }

    /// What came late for the period of one invoice.
    async fn late_for(
        &self,
        context: &Context<'_>,
        invoice: &Invoice,
        period: Period,
        rows: &mut Vec<Vec<Cell>>,
    ) -> Result<(), EngineError> {
        let body = &invoice.body;
        let arrivals = self.arrivals(invoice, period).await?;
        let mut later: Vec<&Invoice> = context
            .invoices
            .iter()
            .filter(|other| {
                other.body.inputs.position > body.inputs.position
                    && other.body.inputs.billed_by.contains(&invoice.id)
            })
            .collect();
        later.sort_by_key(|other| (other.body.inputs.position, other.issued_at));
        let priced = body.lines.iter().filter(|line| line.origin.is_none());
        let mut meters: Vec<&Meter> = Vec::new();
        for key in priced.filter_map(|line| line.meter.as_ref()) {
            if let Some(meter) = context.books.meters().get(key)
                && !meters.iter().any(|known| known.key == meter.key)
            {
                meters.push(meter);
            }
        }
        let policy = self.late_policy(context.books, &context.account, body.cycle)?;
        let mut from = body.inputs.position;
        let stretches = later.into_iter().map(Some).chain([None]);
        for by in stretches {
            let to = by.map_or(u64::MAX, |by| by.body.inputs.position);
            let inside = arrivals.iter().filter(|a| from < a.row.position && a.row.position <= to);
            let groups = grouped(inside, &meters);
            let mut changes: HashMap<MeterKey, Exact> = HashMap::new();
            for ((meter, event_type), (events, recorded)) in groups {
                let meter = meters.iter().copied().find(|known| Some(&known.key) == meter.as_ref());
                let quantity = match meter {
                    None => Cell::Empty,
                    Some(meter) => {
                        let change = match changes.get(&meter.key) {
                            Some(known) => known.clone(),
                            None => self.change(body, meter, period, from, to).await?,
                        };
                        changes.insert(meter.key.clone(), change.clone());
                        Cell::Exact(change)
                    }
                };
                let (outcome, document) = match meter {
                    None => ("not billed: no charge prices it", None),
                    Some(_) if policy == LatePolicy::ReportOnly => ("reported only", None),
                    Some(meter) => outcome(context, invoice, meter, by, recorded),
                };
                rows.push(vec![
                    Cell::text(&body.customer),
                    Cell::text(&body.subscription),
                    Cell::maybe(invoice.number.as_ref()),
                    Cell::Time(period.start),
                    Cell::Time(period.end),
                    Cell::maybe(meter.map(|meter| &meter.key)),
                    Cell::Text(event_type),
                    Cell::Count(events),
                    quantity,
                    Cell::maybe(meter.map(|meter| &meter.unit)),
                    Cell::text(outcome),
                    Cell::maybe(document),
                ]);
            }
            from = to.min(u64::MAX >> 1);
        }
        Ok(())
    }

    /// What the ledger took after an invoice for its period, in order.
    async fn arrivals(
        &self,
        invoice: &Invoice,
        period: Period,
    ) -> Result<Vec<Arrival>, EngineError> {
        let customer = &invoice.body.customer;
        let lane = self.tenant.lane_of(customer);
        let mut found = Vec::new();
        let mut after = invoice.body.inputs.position;
        loop {
            let page = self.rows(lane, after, u64::MAX >> 1, Some(customer), CHUNK).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.position;
            let targets: Vec<u64> = page.iter().filter_map(|row| row.target_position).collect();
            let targets: HashMap<u64, StoredEvent> = self
                .rows_at(lane, &targets)
                .await?
                .into_iter()
                .map(|row| (row.position, row))
                .collect();
            for row in page {
                let about = match row.target_position {
                    None => Some(row.clone()),
                    Some(target) => targets.get(&target).cloned(),
                };
                if let Some(about) = about.filter(|about| period.contains(about.time())) {
                    found.push(Arrival { row, about });
                }
            }
        }
    }

    /// By how much a meter's value changed between two positions.
    async fn change(
        &self,
        body: &counterfoil_invoicing::InvoiceBody,
        meter: &Meter,
        period: Period,
        from: u64,
        to: u64,
    ) -> Result<Exact, EngineError> {
        let meters = vec![meter];
        let customer = &body.customer;
        let request = Request { customer, period, meters, transactions: HashSet::new() };
        let before = self.fold_usage(&request, from).await?.total(meter)?;
        let after = self.fold_usage(&request, to.min(u64::MAX >> 1)).await?.total(meter)?;
        Ok(after.sub(&before))
    }
}

/// Arrivals by meter and type: how many, and when the last one was recorded. What no meter takes
/// stands under none.
fn grouped<'a>(arrivals: impl Iterator<Item = &'a Arrival>, meters: &[&Meter]) -> Groups {
    let mut groups = Groups::new();
    for arrival in arrivals {
        let takes = |meter: &&&Meter| {
            [&arrival.row, &arrival.about]
                .iter()
                .any(|row| matches!(measure(meter, &row.event), Measurement::Value { .. }))
        };
        let mut keys: Vec<Option<MeterKey>> =
            meters.iter().filter(takes).map(|meter| Some(meter.key.clone())).collect();
        if keys.is_empty() {
            keys.push(None);
        }
        for key in keys {
            let recorded = arrival.row.recorded_at;
            let slot = groups
                .entry((key, arrival.about.event.event_type.clone()))
                .or_insert((0, recorded));
            slot.0 += 1;
            slot.1 = slot.1.max(recorded);
        }
    }
    groups
}

/// What became of late usage of a meter that `by` has looked at, with the document's number.
fn outcome(
    context: &Context<'_>,
    invoice: &Invoice,
    meter: &Meter,
    by: Option<&Invoice>,
    recorded: Timestamp,
) -> (&'static str, Option<String>) {
    let cycle = invoice.body.cycle;
    let billed = by.filter(|by| {
        by.body.lines.iter().any(|line| {
            line.meter.as_ref() == Some(&meter.key)
                && line
                    .origin
                    .is_some_and(|origin| origin.cycle == cycle && origin.kind == LineKind::Usage)
        })
    });
    if let Some(by) = billed {
        return ("billed", by.number.clone());
    }
    let charges: Vec<&str> = invoice
        .body
        .lines
        .iter()
        .filter(|line| line.meter.as_ref() == Some(&meter.key))
        .map(|line| line.charge.as_str())
        .collect();
    let gives_back = |note: &CreditNote| {
        note.corrects.iter().any(|corrected| {
            corrected.cycle == cycle
                && corrected.kind == LineKind::Usage
                && charges.contains(&corrected.charge.as_str())
        })
    };
    let mut notes: Vec<&Issued<CreditNote>> = context
        .invoices
        .iter()
        .flat_map(|other| notes_of(context.notes, &other.id))
        .filter(|note| note.at >= recorded && gives_back(&note.body))
        .collect();
    notes.sort_by(|a, b| (a.at, &a.number).cmp(&(b.at, &b.number)));
    if let Some(note) = notes.first() {
        return ("credited", Some(note.number.clone()));
    }
    match by {
        Some(by) => ("changes no amount", by.number.clone()),
        None => ("waits for the next invoice", None),
    }
}
