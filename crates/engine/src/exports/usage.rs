//! Usage per customer, meter and local day, from aggregates: a day that was not used is no row.

use std::borrow::Cow;

use counterfoil_exports::{Cell, Column, Kind};
use counterfoil_metering::Meter;
use counterfoil_types::{CustomerId, Exact, MeterKey, Period, Zone};
use jiff::civil::Date;

use super::{Wanted, events::integer};
use crate::{
    Books, Engine, EngineError,
    series::{Step, steps},
};

/// Customers read at once.
const PAGE: u32 = 50;

pub(super) const COLUMNS: &[Column] = &[
    Column::new("customer", Kind::Text),
    Column::new("meter", Kind::Text),
    Column::new("unit", Kind::Text),
    Column::new("day", Kind::Date),
    Column::new("zone", Kind::Text),
    Column::new("start", Kind::Timestamp),
    Column::new("end", Kind::Timestamp),
    Column::new("value", Kind::Exact),
    Column::new("events", Kind::Integer),
];

/// A day.
pub struct Day {
    customer: CustomerId,
    meter: MeterKey,
    unit: String,
    day: Date,
    zone: String,
    period: Period,
    value: Exact,
    events: u64,
}

impl Day {
    pub(super) fn cells(&self) -> [Cell<'_>; 9] {
        [
            Cell::text(self.customer.as_str()),
            Cell::text(self.meter.as_str()),
            Cell::text(self.unit.as_str()),
            Cell::Date(self.day),
            Cell::text(self.zone.as_str()),
            Cell::Timestamp(self.period.start),
            Cell::Timestamp(self.period.end),
            Cell::Exact(Cow::Owned(self.value.to_string())),
            integer(self.events),
        ]
    }
}

/// Where an export of usage is.
pub(super) struct Usage {
    books: std::sync::Arc<Books>,
    period: Period,
    after: Option<CustomerId>,
    done: bool,
}

impl Usage {
    pub(super) async fn of(engine: &Engine, wanted: &Wanted) -> Result<Self, EngineError> {
        let (Some(from), Some(to)) = (wanted.from, wanted.to) else {
            return Err(EngineError::refused(
                "an export of usage needs a range: give --from and --to",
            ));
        };
        let books = engine.recent_books().await?;
        if let Some(meter) = wanted.meter.as_ref().filter(|key| !books.meters().contains_key(*key))
        {
            return Err(EngineError::not_found("meter", meter, "; see the list of meters"));
        }
        Ok(Self { books, period: Period::new(from, to), after: None, done: false })
    }

    pub(super) async fn next(
        &mut self,
        engine: &Engine,
        wanted: &Wanted,
    ) -> Result<Option<Vec<Day>>, EngineError> {
        if self.done {
            return Ok(None);
        }
        let customers = match &wanted.customer {
            Some(customer) => {
                self.done = true;
                vec![engine.customer(customer).await?]
            }
            None => {
                let after = self.after.as_ref();
                engine.store.customers(&engine.tenant.id, after, PAGE).await?
            }
        };
        let Some(last) = customers.last() else { return Ok(None) };
        self.after = Some(last.id.clone());
        let meters: Vec<&Meter> = self
            .books
            .meters()
            .values()
            .filter(|meter| wanted.meter.as_ref().is_none_or(|wanted| *wanted == meter.key))
            .collect();
        let mut days = Vec::new();
        for customer in &customers {
            self.days(engine, &customer.id, &customer.zone, &meters, &mut days).await?;
        }
        Ok(Some(days))
    }

    async fn days(
        &self,
        engine: &Engine,
        customer: &CustomerId,
        zone: &Zone,
        meters: &[&Meter],
        found: &mut Vec<Day>,
    ) -> Result<(), EngineError> {
        // What lies ahead is nothing yet, and levels last up to now.
        let now = engine.now_of(customer);
        let until = self.period.end.min(now);
        if until <= self.period.start {
            return Ok(());
        }
        let days = steps(Period::new(self.period.start, until), Step::Day, zone)?;
        let used = engine.usage_steps(customer, &days, meters).await?;
        for (day, usage) in days.iter().zip(used) {
            for meter in meters {
                let (value, events) = (usage.total(meter)?, usage.events(&meter.key));
                if events > 0 || !value.is_zero() {
                    found.push(Day {
                        customer: customer.clone(),
                        meter: meter.key.clone(),
                        unit: meter.unit.clone(),
                        day: zone.civil(day.start)?.date(),
                        zone: zone.name().to_owned(),
                        period: *day,
                        value,
                        events,
                    });
                }
            }
        }
        Ok(())
    }
}
