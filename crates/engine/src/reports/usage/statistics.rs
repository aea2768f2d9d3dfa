//! How large the events of a meter are: count, total, mean, percentiles. Totals come from
//! aggregates; percentiles look at the events, a stretch of the ledger at a time.

use counterfoil_analytics::Percentiles;
use counterfoil_metering::{Measured, Measurement, measure};
use counterfoil_types::{Exact, Rounding};

use super::{is_additive, meters};
use crate::{
    Engine, EngineError,
    reports::{Cell, Kind, Report, Table, Wanted},
};

const COLUMNS: [&str; 12] = [
    "meter",
    "unit",
    "events",
    "usage",
    "average",
    "min",
    "p50",
    "p95",
    "p99",
    "max",
    "percentiles",
    "unusable",
];
/// Decimals of a mean.
const DECIMALS: i32 = 6;

#[derive(Default)]
struct Seen {
    events: u64,
    unusable: u64,
    total: Exact,
    /// Only where the values of events say something: numbers, not members.
    values: Percentiles,
    numbers: u64,
    sum: Exact,
}

impl Engine {
    pub(in crate::reports) async fn statistics_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let books = self.books().await?;
        let meters = meters(&books, wanted)?;
        let mut seen: Vec<Seen> = meters.iter().map(|_| Seen::default()).collect();
        let mut customers = Vec::new();
        let mut note = |told: super::summary::Told| {
            for (meter, seen) in meters.iter().zip(&mut seen) {
                let events = told.usage.events(&meter.key);
                seen.events += events;
                seen.total = seen.total.add(&told.usage.total(meter)?);
            }
            if meters.iter().any(|meter| told.usage.events(&meter.key) > 0) {
                customers.push((told.customer.id, told.usage.period));
            }
            Ok(())
        };
        self.each_customer(&books, wanted, &meters, &mut note).await?;
        let single = wanted.customer.is_some();
        for (customer, period) in customers {
            let mut each = |event: &counterfoil_ledger::Effective| {
                for (meter, seen) in meters.iter().zip(&mut seen) {
                    match measure(meter, &event.event) {
                        Measurement::Value { value: Measured::Number(value), .. } => {
                            // In the meter's unit, as its total is.
                            let value = value.mul(&meter.factor);
                            seen.numbers += 1;
                            seen.sum = seen.sum.add(&value);
                            seen.values.add(value);
                        }
                        Measurement::Unusable { .. } => seen.unusable += 1,
                        _ => {}
                    }
                }
            };
            self.each_event_in(&customer, period, &mut each).await?;
        }
        let mut report = Report::of(Kind::Statistics, Table::new(&COLUMNS));
        for (meter, seen) in meters.iter().zip(seen) {
            if seen.events == 0 && seen.unusable == 0 {
                continue;
            }
            let mean = (seen.numbers > 0)
                .then(|| seen.sum.div(&Exact::from(seen.numbers)).ok())
                .flatten()
                .map(|mean| mean.round(DECIMALS, Rounding::HalfAwayFromZero));
            let cell = |value: Option<Exact>| value.map_or(Cell::Empty, Cell::Exact);
            let spread = seen.values.spread();
            let of = |pick: fn(&counterfoil_analytics::Spread) -> &Exact| {
                cell(spread.as_ref().map(|spread| pick(spread).clone()))
            };
            report.table.rows.push(vec![
                Cell::text(&meter.key),
                Cell::text(&meter.unit),
                Cell::Count(seen.events),
                // Maxima, levels and the like of several customers do not add up.
                cell((single || is_additive(meter)).then_some(seen.total)),
                cell(mean),
                of(|spread| &spread.min),
                of(|spread| &spread.p50),
                of(|spread| &spread.p95),
                of(|spread| &spread.p99),
                of(|spread| &spread.max),
                match &spread {
                    Some(spread) if spread.exact => Cell::text("exact"),
                    Some(_) => Cell::text("within 1 %"),
                    None => Cell::Empty,
                },
                Cell::Count(seen.unusable),
            ]);
        }
        Ok(report)
    }
}
