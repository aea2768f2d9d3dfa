//! Who brought more than in the month before, and who brought less: net revenue as in `revenue`.

use std::collections::BTreeMap;

use counterfoil_analytics::trend;
use counterfoil_types::{Currency, Exact, Zone};

use super::{
    By, Cell, Kind, Range, Report, Table, Wanted,
    range::{before, label, month_of},
    revenue::source_of,
};
use crate::{Engine, EngineError};

/// Most rows each way, when not said otherwise.
const TOP: usize = 10;

impl Engine {
    pub(super) async fn growth_report(&self, wanted: &Wanted) -> Result<Report, EngineError> {
        let by = wanted.by.unwrap_or(By::Customer);
        if !matches!(by, By::Customer | By::Plan | By::Meter) {
            return Err(EngineError::refused("growth is told --by customer, plan or meter"));
        }
        let now = match wanted.range.last() {
            Some(month) => month,
            None => before(month_of(self.now(), &Zone::utc())?)?,
        };
        let then = match wanted.range.first() {
            Some(month) if month < now => month,
            Some(_) => return Err(EngineError::refused("name two months that differ")),
            None => before(now)?,
        };
        let mut sums: BTreeMap<(String, &'static str), (Currency, Exact, Exact)> = BTreeMap::new();
        let mut note = |entry: &super::revenue::Entry<'_>| {
            let key = match by {
                By::Plan => entry.line.plan.to_string(),
                By::Meter => source_of(entry.line),
                _ => entry.body.customer.to_string(),
            };
            let currency = entry.body.currency;
            let slot = sums.entry((key, currency.code()));
            let (_, old, new) = slot.or_insert_with(|| (currency, Exact::ZERO, Exact::ZERO));
            // Months between the two are read and left out.
            if entry.month == then {
                *old = old.add(&entry.sums.revenue());
            } else if entry.month == now {
                *new = new.add(&entry.sums.revenue());
            }
        };
        self.revenue_entries(&Range::of_months(then, now), &mut note).await?;
        let mut rows: Vec<(String, Currency, Exact, Exact)> = sums
            .into_iter()
            .map(|((key, _), (currency, old, new))| (key, currency, old, new))
            .filter(|(_, _, old, new)| old != new)
            .collect();
        // Amounts of different currencies are never held against each other.
        rows.sort_by(|a, b| {
            let change = |row: &(String, Currency, Exact, Exact)| row.3.sub(&row.2);
            a.1.code().cmp(b.1.code()).then_with(|| change(b).cmp(&change(a)))
        });
        let columns =
            [by.column(), "direction", "currency", "before", "after", "change", "percent_change"];
        let mut report = Report::of(Kind::Growth, Table::new(&columns));
        let top = wanted.top.unwrap_or(TOP);
        let mut shown: BTreeMap<(&'static str, bool), usize> = BTreeMap::new();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for row in &rows {
            if row.3 > row.2 { up.push(row) } else { down.push(row) }
        }
        // The largest decline first.
        down.reverse();
        for (grew, (key, currency, old, new)) in
            up.into_iter().map(|row| (true, row)).chain(down.into_iter().map(|row| (false, row)))
        {
            let count = shown.entry((currency.code(), grew)).or_default();
            *count += 1;
            if *count > top {
                continue;
            }
            report.table.rows.push(vec![
                Cell::text(key),
                Cell::text(if grew { "up" } else { "down" }),
                Cell::text(currency),
                Cell::money(old, *currency)?,
                Cell::money(new, *currency)?,
                Cell::money(&new.sub(old), *currency)?,
                trend::percent(old, new).map_or(Cell::Empty, Cell::Exact),
            ]);
        }
        if !rows.is_empty() {
            report.totals = Table::new(&[
                "month_before",
                "month_after",
                "currency",
                "before",
                "after",
                "change",
            ]);
            let mut totals: BTreeMap<&'static str, (Currency, Exact, Exact)> = BTreeMap::new();
            for (_, currency, old, new) in &rows {
                let slot = totals
                    .entry(currency.code())
                    .or_insert_with(|| (*currency, Exact::ZERO, Exact::ZERO));
                slot.1 = slot.1.add(old);
                slot.2 = slot.2.add(new);
            }
            for (currency, old, new) in totals.into_values() {
                report.totals.rows.push(vec![
                    Cell::Text(label(then)),
                    Cell::Text(label(now)),
                    Cell::text(currency),
                    Cell::money(&old, currency)?,
                    Cell::money(&new, currency)?,
                    Cell::money(&new.sub(&old), currency)?,
                ]);
            }
        }
        Ok(report)
    }
}
