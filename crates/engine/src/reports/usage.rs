//! Reports of usage: how much, since when, compared with what, and what it costs. They read
//! aggregates; only percentiles and calls by endpoint look at single events.
//!
//! | file | report |
//! |---|---|
//! | [`summary`] | usage and cost by meter, by step, or by customer |
//! | [`series`] | trends, peaks and anomalies of a meter step by step |
//! | [`statistics`] | how large the events of a meter are: mean and percentiles |
//! | [`forecast`] | what the open billing periods will come to |
//! | [`ranking`] | customers by usage, and usage by the values of a property |
//! | [`changes`] | why a bill differs from the one of another month |
//! | [`endpoints`] | calls, errors and latencies by endpoint, against an objective |
//! | [`cost`] | what usage in a range adds to the bill |

mod changes;
mod cost;
mod endpoints;
mod forecast;
mod ranking;
mod series;
mod statistics;
mod summary;

use counterfoil_metering::{Aggregation, EVENTS_METER, Meter};
use counterfoil_types::{CustomerId, Period, Timestamp, Zone};

use super::{By, Wanted};
use crate::{Books, Engine, EngineError, series::Step};

/// Most rows of a ranking, when not said otherwise.
const TOP: usize = 10;

impl Wanted {
    fn top(&self) -> usize {
        self.top.unwrap_or(TOP)
    }

    fn customer(&self) -> Result<&CustomerId, EngineError> {
        self.customer.as_ref().ok_or_else(|| {
            EngineError::refused("this report is of one customer; name it (--customer)")
        })
    }

    fn step(&self, default: Step) -> Result<Step, EngineError> {
        match self.by {
            None => Ok(default),
            Some(By::Hour) => Ok(Step::Hour),
            Some(By::Day) => Ok(Step::Day),
            Some(By::Week) => Ok(Step::Week),
            Some(By::Month) => Ok(Step::Month),
            Some(_) => Err(EngineError::refused("--by must be hour, day, week or month here")),
        }
    }
}

/// The meters a report is over: the one that was named, or all that have a name of their own.
fn meters<'a>(books: &'a Books, wanted: &Wanted) -> Result<Vec<&'a Meter>, EngineError> {
    match &wanted.meter {
        Some(key) => {
            let found = books.meters().get(key);
            let meter = found
                .ok_or_else(|| EngineError::not_found("meter", key, "; see the list of meters"))?;
            Ok(vec![meter])
        }
        None => {
            let own = |meter: &&Meter| meter.key.as_str() != EVENTS_METER;
            Ok(books.meters().values().filter(own).collect())
        }
    }
}

/// Whether values over hours and customers may be added.
fn is_additive(meter: &Meter) -> bool {
    matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count)
}

/// A step as people write it.
fn label(step: Step, at: Timestamp, zone: &Zone) -> Result<String, EngineError> {
    let civil = zone.civil(at)?;
    let day = civil.date();
    Ok(match step {
        Step::Hour => format!("{day} {:02}:00", civil.hour()),
        Step::Day | Step::Week => day.to_string(),
        Step::Month => super::range::label(day),
    })
}

impl Engine {
    /// On whose clock a report is, and over which stretch of time: the customer's, or UTC.
    async fn asked(&self, wanted: &Wanted) -> Result<(Zone, Period), EngineError> {
        let (zone, now) = match &wanted.customer {
            Some(customer) => (self.customer(customer).await?.zone, self.now_of(customer)),
            None => (Zone::utc(), self.now()),
        };
        let period = wanted.range.on(&zone, now)?;
        Ok((zone, period))
    }
}
