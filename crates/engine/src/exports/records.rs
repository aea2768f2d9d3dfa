//! The layout `usage-records`: each event that counts, as last amended, newest first, with what it
//! costs. All rows are read, then sorted outside of memory, then handed out.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeSet};

use counterfoil_exports::{
    Cell, Column, Kind,
    sort::{Sorted, Sorter},
};
use counterfoil_ledger::effective_as_of;
use counterfoil_store::LaneHead;
use counterfoil_types::{Currency, Exact, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Wanted, cost, events};
use crate::{Engine, EngineError};

/// Rows handed out at once.
const CHUNK: usize = 4_000;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    time: Reverse<i64>,
    lane: i64,
    position: Reverse<u64>,
    service: String,
    quantity: Quantity,
    unit_cost: Option<Quantity>,
    total_cost: Option<Quantity>,
    metadata: String,
}

pub(super) fn columns(json: bool) -> Vec<Column> {
    let time = if json { Kind::Timestamp } else { Kind::Text };
    vec![
        Column::new("timestamp", time),
        Column::new("service", Kind::Text),
        Column::new("quantity", Kind::Decimal),
        Column::new("unit_cost", Kind::Decimal),
        Column::total("total_cost", Kind::Decimal),
        Column::new("metadata", Kind::Json),
    ]
}

impl Record {
    pub(super) fn cells(&self, json: bool) -> [Cell<'_>; 6] {
        let at = Timestamp::from_micros(self.time.0);
        let decimal = |number: Quantity| Cell::Decimal(number.decimal().normalize());
        let money = |amount: Option<Quantity>| amount.map_or(Cell::Empty, decimal);
        let time = if json {
            Cell::Timestamp(at)
        } else {
            // As the layout has it: a blank for the T, and UTC goes without saying.
            let text = at.to_string().replacen('T', " ", 1);
            Cell::Text(Cow::Owned(text.trim_end_matches('Z').to_owned()))
        };
        [
            time,
            Cell::text(self.service.as_str()),
            decimal(self.quantity),
            money(self.unit_cost),
            money(self.total_cost),
            Cell::Json(Cow::Borrowed(&self.metadata)),
        ]
    }
}

/// Where the export is.
#[derive(Default)]
pub(super) struct Records {
    sorted: Option<Sorted<Record>>,
    services: BTreeSet<String>,
    cost: Option<Exact>,
    currencies: BTreeSet<String>,
}

impl Records {
    pub(super) async fn next(
        &mut self,
        engine: &Engine,
        wanted: &Wanted,
        heads: &[LaneHead],
    ) -> Result<Option<Vec<Record>>, EngineError> {
        if self.sorted.is_none() {
            self.sorted = Some(self.read(engine, wanted, heads).await?);
        }
        let Some(sorted) = &mut self.sorted else { return Ok(None) };
        let mut rows = Vec::with_capacity(CHUNK);
        while rows.len() < CHUNK {
            let Some(row) = sorted.next_row()? else { break };
            rows.push(row);
        }
        Ok((!rows.is_empty()).then_some(rows))
    }

    async fn read(
        &mut self,
        engine: &Engine,
        wanted: &Wanted,
        heads: &[LaneHead],
    ) -> Result<Sorted<Record>, EngineError> {
        // Costs are those of the aggregates: all of the ledger is in them first.
        engine.project_all().await?;
        let books = engine.recent_books().await?;
        let mut costs = cost::Costs::default();
        let mut source = events::Events::new((0, 0));
        let mut sorter = Sorter::default();
        while let Some(rows) = source.next(engine, wanted, heads).await? {
            let amended: Vec<u64> = rows
                .iter()
                .filter(|row| row.standing == "amended")
                .map(|row| row.row.position)
                .collect();
            let corrections = match (amended.first(), amended.last(), rows.first()) {
                (Some(first), Some(last), Some(row)) => {
                    engine.corrections_of(row.row.lane, *first, *last).await?
                }
                _ => Vec::new(),
            };
            for row in rows.iter().filter(|row| matches!(row.standing, "counts" | "amended")) {
                let row = &row.row;
                let as_of = heads.iter().find(|head| head.lane == row.lane);
                let own = corrections.iter().filter(|c| c.target_position == Some(row.position));
                let as_of = as_of.map_or(u64::MAX, |head| head.position);
                let Some(standing) = effective_as_of(row, own, as_of) else { continue };
                let event = &standing.event;
                let cost = costs.of(engine, &books, event, standing.time).await?;
                if let Some(cost) = &cost {
                    self.count(&cost.amount, cost.currency);
                }
                let total = cost.map(|cost| cost.amount);
                let per_unit = match &total {
                    Some(total) if !event.quantity.is_zero() => {
                        Some(cost::rounded(&total.div(&event.quantity.exact())?))
                    }
                    _ => None,
                };
                let decimal = |amount: Option<Exact>| {
                    amount.map(|amount| Quantity::try_from(&amount)).transpose()
                };
                self.services.insert(event.event_type.clone());
                sorter.push(Record {
                    time: Reverse(standing.time.micros()),
                    lane: row.lane.0,
                    position: Reverse(row.position),
                    service: event.event_type.clone(),
                    quantity: event.quantity,
                    unit_cost: decimal(per_unit)?,
                    total_cost: decimal(total)?,
                    metadata: events::properties(event).into_owned(),
                })?;
            }
        }
        Ok(sorter.sorted()?)
    }

    fn count(&mut self, amount: &Exact, currency: Currency) {
        self.currencies.insert(currency.to_string());
        let before = self.cost.take().unwrap_or(Exact::ZERO);
        self.cost = Some(before.add(amount));
    }

    /// Totals; amounts in different currencies have none.
    pub(super) fn summary(&self, rows: u64) -> Result<Vec<(&'static str, String)>, EngineError> {
        let cost = match &self.cost {
            Some(cost) if self.currencies.len() == 1 => cost.to_string(),
            None => "0".to_owned(),
            Some(_) => "null".to_owned(),
        };
        Ok(vec![
            ("total_events", rows.to_string()),
            ("total_cost", cost),
            ("currencies", serde_json::to_string(&self.currencies)?),
            ("services", serde_json::to_string(&self.services)?),
        ])
    }
}
