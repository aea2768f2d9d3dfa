//! What the open billing periods of a customer will come to, by charge.

use counterfoil_analytics::forecast;
use counterfoil_types::{Exact, Period};

use crate::{
    Engine, EngineError,
    reports::{Cell, Kind, Report, Table, Wanted},
    series::{Step, steps},
};

const COLUMNS: [&str; 13] = [
    "subscription",
    "charge",
    "meter",
    "unit",
    "used",
    "daily_mean",
    "days",
    "expected",
    "low",
    "high",
    "included",
    "included_passed_on",
    "period_end",
];

impl Engine {
    pub(in crate::reports) async fn forecast_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let customer = wanted.customer()?;
        let zone = self.customer(customer).await?.zone;
        let now = self.now_of(customer);
        let books = self.books().await?;
        let mut report = Report::of(Kind::Forecast, Table::new(&COLUMNS));
        for usage in self.current_usage(customer, now, None).await? {
            // Whole days on the customer's clock; a first day that is cut is left out.
            let mut days: Vec<Period> = steps(usage.period, Step::Day, &zone)?;
            days.retain(|day| day.end <= now);
            for charge in usage.charges {
                if wanted.meter.as_ref().is_some_and(|wanted| *wanted != charge.meter) {
                    continue;
                }
                let Some(meter) = books.meters().get(&charge.meter) else { continue };
                let mut values: Vec<Exact> = Vec::with_capacity(days.len());
                let metered = self.usage_steps(customer, &days, &[meter]).await?;
                for day in &metered {
                    values.push(day.total(meter)?);
                }
                // In the units of the charge: what was used against what was metered.
                let so_far = Period::new(usage.period.start, usage.until);
                let so_far = self.usage(customer, so_far, &[meter]).await?.total(meter)?;
                let factor = charge.used.div(&so_far).unwrap_or(Exact::ONE);
                let values: Vec<Exact> = values.iter().map(|day| day.mul(&factor)).collect();
                let found = forecast::of(&charge.used, &values, &usage.period, now);
                let mut row = vec![
                    Cell::Text(usage.subscription.clone()),
                    Cell::Text(charge.name.clone()),
                    Cell::text(&charge.meter),
                    Cell::Text(charge.unit.clone()),
                    Cell::Exact(charge.used.clone()),
                ];
                match found {
                    Some(found) => {
                        let passes =
                            found.passes(&charge.included, &charge.used, &usage.period, now);
                        let passes =
                            passes.map(|at| zone.civil(at)).transpose()?.map(|at| at.date());
                        row.extend([
                            Cell::Exact(found.daily),
                            Cell::Count(found.days as u64),
                            Cell::Exact(found.expected),
                            Cell::Exact(found.low),
                            Cell::Exact(found.high),
                            Cell::Exact(charge.included),
                            Cell::maybe(passes),
                        ]);
                    }
                    // Fewer than three whole days tell nothing.
                    None => row.extend([
                        Cell::Empty,
                        Cell::Count(values.len() as u64),
                        Cell::Empty,
                        Cell::Empty,
                        Cell::Empty,
                        Cell::Exact(charge.included),
                        Cell::Empty,
                    ]),
                }
                row.push(Cell::Time(usage.period.end));
                report.table.rows.push(row);
            }
        }
        Ok(report)
    }
}
