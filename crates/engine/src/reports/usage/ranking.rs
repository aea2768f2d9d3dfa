//! Rankings: customers by usage of a meter, and a customer's usage by the values of a property.

use counterfoil_types::{Exact, Rounding};

use crate::{
    Engine, EngineError,
    reports::{Cell, Kind, Report, Table, Wanted},
};

/// A share in percent, to two decimals.
fn share(part: &Exact, whole: &Exact) -> Cell {
    let percent = part.mul(&Exact::from(100_u64)).div(whole).ok();
    percent.map_or(Cell::Empty, |share| Cell::Exact(share.round(2, Rounding::HalfAwayFromZero)))
}

impl Engine {
    pub(in crate::reports) async fn top_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let meter = wanted.meter.as_ref().ok_or_else(|| {
            EngineError::refused("customers are ranked by a meter; name it (--meter)")
        })?;
        let (_, period) = self.asked(wanted).await?;
        let all = self.top_customers(meter, period, usize::MAX).await?;
        let whole: Exact = all.iter().map(|one| &one.usage).sum();
        let columns = ["rank", "customer", "usage", "events", "percent_of_all"];
        let mut report = Report::of(Kind::Top, Table::new(&columns));
        let count = all.len();
        let events: u64 = all.iter().map(|one| one.events).sum();
        for (rank, one) in all.into_iter().take(wanted.top()).enumerate() {
            report.table.rows.push(vec![
                Cell::Count(rank as u64 + 1),
                Cell::text(&one.customer),
                Cell::Exact(one.usage.clone()),
                Cell::Count(one.events),
                share(&one.usage, &whole),
            ]);
        }
        if count > 0 {
            report.totals = Table::new(&["customers", "usage", "events"]);
            let row = vec![Cell::Count(count as u64), Cell::Exact(whole), Cell::Count(events)];
            report.totals.rows.push(row);
        }
        Ok(report)
    }

    pub(in crate::reports) async fn breakdown_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let customer = wanted.customer()?;
        let (Some(meter), Some(property)) = (&wanted.meter, &wanted.property) else {
            return Err(EngineError::refused(
                "a breakdown is of a meter by a property; name both (--meter, --property)",
            ));
        };
        let (_, period) = self.asked(wanted).await?;
        let shares = self.usage_breakdown(customer, meter, property, period, wanted.top()).await?;
        let whole: Exact = shares.iter().map(|one| &one.usage).sum();
        let columns = ["value", "usage", "events", "percent_of_all"];
        let mut report = Report::of(Kind::Breakdown, Table::new(&columns));
        for one in shares {
            let name = match (&one.value, one.rest) {
                (_, true) => "(all others)".to_owned(),
                (Some(value), _) => value.clone(),
                (None, _) => "(none)".to_owned(),
            };
            report.table.rows.push(vec![
                Cell::Text(name),
                Cell::Exact(one.usage.clone()),
                Cell::Count(one.events),
                share(&one.usage, &whole),
            ]);
        }
        Ok(report)
    }
}
