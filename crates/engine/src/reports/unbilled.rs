//! Accepted but not billed, in the common shape.

use super::{Cell, Kind, Range, Report, Table};
use crate::{Engine, EngineError};

impl Engine {
    pub(super) async fn unbilled_report(&self, range: &Range) -> Result<Report, EngineError> {
        let mut report = Report::of(
            Kind::Unbilled,
            Table::new(&["customer", "type", "reason", "events", "lane", "position"]),
        );
        for group in self.unbilled(range.period()?).await? {
            let (lane, position) = group.example;
            report.table.rows.push(vec![
                Cell::text(&group.customer),
                Cell::Text(group.event_type),
                Cell::Text(group.reason),
                Cell::Count(group.events),
                Cell::text(lane),
                Cell::Count(position),
            ]);
        }
        // No totals: an event that two meters cannot use stands under two reasons.
        report.wants_decision = !report.table.rows.is_empty();
        Ok(report)
    }
}
