//! Accepted but not billed, in the common shape.

use super::{Cell, Kind, Range, Report, Table};
use crate::{Engine, EngineError};

impl Engine {
    pub(super) async fn unbilled_report(&self, range: &Range) -> Result<Report, EngineError> {
        let mut report = Report::of(
            Kind::Unbilled,
            Table::new(&["customer", "type", "reason", "events", "lane", "position"]),
        );
        let mut events = 0;
        for group in self.unbilled(range.period()?).await? {
            events += group.events;
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
        report.totals = Table::new(&["events"]);
        report.totals.rows.push(vec![Cell::Count(events)]);
        report.wants_decision = events > 0;
        Ok(report)
    }
}
