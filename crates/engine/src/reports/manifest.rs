//! The manifest of an invoice run: what became of each subscription and cycle.

use std::collections::BTreeMap;

use counterfoil_types::{Exact, Money, RunId};

use super::{Cell, Kind, Report, Table};
use crate::{Engine, EngineError, accounts::PAGE};

impl Engine {
    pub(super) async fn manifest_report(&self, run: Option<&RunId>) -> Result<Report, EngineError> {
        let run = match run {
            Some(id) => Some(self.run(id).await?),
            None => self.store.runs(&self.tenant.id).await?.pop(),
        };
        let mut table = Table::new(&[
            "run",
            "month",
            "subscription",
            "customer",
            "cycle",
            "status",
            "reason",
            "invoice",
            "currency",
            "total",
            "before",
            "change",
        ]);
        // By status and currency; what has no total counts under no currency.
        let mut sums: BTreeMap<(&'static str, &'static str), (u64, Option<Money>)> =
            BTreeMap::new();
        let Some(run) = run else { return Ok(Report::of(Kind::Manifest, table)) };
        let mut after = None;
        loop {
            let page =
                self.store.run_items(&self.tenant.id, &run.id, &[], after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.subscription.clone(), last.cycle));
            for item in page {
                let currency = item.total.or(item.before).map(Money::currency);
                let key = item.total.map_or("", |total| total.currency().code());
                let slot = sums.entry((item.status.as_str(), key)).or_default();
                slot.0 += 1;
                if let Some(total) = item.total {
                    slot.1 = Some(match slot.1 {
                        Some(sum) => sum.checked_add(total)?,
                        None => total,
                    });
                }
                // Parked and skipped drafts are gone: only what is there is named.
                let invoice = match item.invoice {
                    Some(id) => self.store.invoice(&self.tenant.id, &id).await?,
                    None => None,
                };
                let change = match (item.total, item.before) {
                    (Some(total), Some(before)) => Cell::Money(total.checked_sub(before)?),
                    _ => Cell::Empty,
                };
                table.rows.push(vec![
                    Cell::text(run.id),
                    Cell::text(&run.period),
                    Cell::text(&item.subscription),
                    Cell::text(&item.customer),
                    Cell::Count(u64::from(item.cycle)),
                    Cell::text(item.status.as_str()),
                    Cell::maybe(item.reason),
                    Cell::maybe(invoice.and_then(|invoice| invoice.number)),
                    Cell::maybe(currency),
                    item.total.map_or(Cell::Empty, Cell::Money),
                    item.before.map_or(Cell::Empty, Cell::Money),
                    change,
                ]);
            }
        }
        let mut report = Report::of(Kind::Manifest, table);
        report.totals = Table::new(&["status", "currency", "items", "total"]);
        for ((status, currency), (count, total)) in sums {
            report.totals.rows.push(vec![
                Cell::text(status),
                Cell::text(currency),
                Cell::Count(count),
                total.map_or(Cell::Empty, Cell::Money),
            ]);
        }
        let counted = self.manifest(run).await?.totals;
        for (currency, expected) in counted.totals {
            let done = report.totals.rows.iter().filter(|row| {
                let name = |at: usize| row.get(at).map(Cell::plain).unwrap_or_default();
                name(1) == currency && matches!(name(0).as_str(), "done" | "finalized")
            });
            let mut sum = Exact::ZERO;
            for row in done {
                if let Some(Cell::Money(total)) = row.get(3) {
                    sum = sum.add(&total.exact());
                }
            }
            super::adds_up("the items of the run", &sum, &expected.exact())?;
        }
        Ok(report)
    }
}
