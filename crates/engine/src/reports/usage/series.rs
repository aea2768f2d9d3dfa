//! A meter step by step: trends, peaks and anomalies. Of one customer on its clock, or of all
//! customers together in UTC where the meter's values add up.

use std::collections::BTreeMap;

use counterfoil_analytics::{
    anomaly::{self, Method},
    trend,
};
use counterfoil_metering::{Meter, PeriodUsage, value_of};
use counterfoil_types::{
    Exact, Period, Quantity, Timestamp, Zone,
    timestamp::{DAY_MICROS, HOUR_MICROS},
};

use super::{is_additive, label, meters};
use crate::{
    Engine, EngineError,
    reports::{Cell, Kind, Report, Table, Wanted},
    series::{MOST_STEPS, Step, steps},
};

/// A meter's values.
struct Steps {
    starts: Vec<Timestamp>,
    values: Vec<Exact>,
    events: Vec<u64>,
}

/// Hours of a week.
const HOURS: usize = 7 * 24;
/// Days of a week.
const DAYS: usize = 7;
/// Steps that are looked back on without a season.
const LOOK_BACK: usize = 100;

impl Engine {
    /// Values of some meters over the steps of a period, one after the other.
    async fn stepped(
        &self,
        wanted: &Wanted,
        meters: &[&Meter],
        stretches: &[Period],
    ) -> Result<Vec<Steps>, EngineError> {
        let starts: Vec<Timestamp> = stretches.iter().map(|step| step.start).collect();
        let mut all: Vec<Steps> = Vec::with_capacity(meters.len());
        let Some(customer) = &wanted.customer else {
            self.project_all().await?;
            for meter in meters {
                let (values, events) = self.of_everybody(meter, stretches).await?;
                all.push(Steps { starts: starts.clone(), values, events });
            }
            return Ok(all);
        };
        let now = self.now_of(customer);
        let read: Vec<Period> = stretches
            .iter()
            .map(|step| Period::new(step.start, step.end.min(now)))
            .take_while(|step| step.start < step.end)
            .collect();
        let used = self.usage_steps(customer, &read, meters).await?;
        for meter in meters {
            let mut found =
                Steps { starts: starts.clone(), values: Vec::new(), events: Vec::new() };
            for usage in &used {
                found.values.push(usage.total(meter)?);
                found.events.push(usage.events(&meter.key));
            }
            // What lies ahead.
            found.values.resize(stretches.len(), Exact::ZERO);
            found.events.resize(stretches.len(), 0);
            all.push(found);
        }
        Ok(all)
    }

    /// All customers together, a UTC day at a time, so that memory is that of a day.
    async fn of_everybody(
        &self,
        meter: &Meter,
        stretches: &[Period],
    ) -> Result<(Vec<Exact>, Vec<u64>), EngineError> {
        let mut values = vec![Exact::ZERO; stretches.len()];
        let mut events = vec![0_u64; stretches.len()];
        let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else {
            return Ok((values, events));
        };
        if !is_additive(meter) {
            return Err(EngineError::refused(format!(
                "meter {} does not add up over customers; name one (--customer), or another meter (--meter)",
                meter.key
            )));
        }
        let whole = Period::new(first.start, last.end);
        let is_hour = |at: Timestamp| at.bucket(HOUR_MICROS) == at;
        if !is_hour(whole.start) || !is_hour(whole.end) {
            return Err(EngineError::refused(
                "a report over all customers begins and ends on the hour",
            ));
        }
        let mut day = whole.start;
        while day < whole.end {
            let next = day.bucket(DAY_MICROS).plus_micros(DAY_MICROS).min(whole.end);
            for lane in self.tenant.lane_ids() {
                let hours = Period::new(day, next);
                for bucket in self.store.meter_buckets(lane, &meter.key, &hours).await? {
                    let after = stretches.partition_point(|step| step.start <= bucket.key.start);
                    let Some(at) = after.checked_sub(1) else { continue };
                    let usage =
                        PeriodUsage { inside: Some(bucket.state), opening: None, members: 0 };
                    if let (Some(value), Some(count)) = (values.get_mut(at), events.get_mut(at)) {
                        *value = value.add(&value_of(meter, &usage, &hours)?);
                        *count += usage.events();
                    }
                }
            }
            day = next;
        }
        Ok((values, events))
    }

    /// The steps of a range, refused where there are too many.
    async fn stretches(
        &self,
        wanted: &Wanted,
        step: Step,
    ) -> Result<(Zone, Vec<Period>), EngineError> {
        let (zone, period) = self.asked(wanted).await?;
        let stretches = steps(period, step, &zone)?;
        Ok((zone, stretches))
    }

    /// The meters of a report over a series: those that add up, where it is over all customers.
    fn series_meters<'a>(
        books: &'a crate::Books,
        wanted: &Wanted,
    ) -> Result<Vec<&'a Meter>, EngineError> {
        let mut found = meters(books, wanted)?;
        if wanted.customer.is_none() && wanted.meter.is_none() {
            found.retain(|meter| is_additive(meter));
        }
        Ok(found)
    }

    pub(in crate::reports) async fn trends_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let step = wanted.step(Step::Day)?;
        let (zone, stretches) = self.stretches(wanted, step).await?;
        // The step before the first is what the first is held against.
        let Some(first) = stretches.first() else { return Ok(empty(Kind::Trends)) };
        let earlier = self.step_before(first.start, step, &zone)?;
        let with: Vec<Period> = std::iter::once(earlier).chain(stretches.iter().copied()).collect();
        let books = self.books().await?;
        let meters = Self::series_meters(&books, wanted)?;
        let mut report = empty(Kind::Trends);
        for (meter, found) in meters.iter().zip(self.stepped(wanted, &meters, &with).await?) {
            if found.events.iter().all(|events| *events == 0)
                && found.values.iter().all(Exact::is_zero)
            {
                continue;
            }
            let changes = trend::changes(None, &found.values);
            let rows = changes.into_iter().zip(&found.starts).zip(&found.events).skip(1);
            for ((change, start), events) in rows {
                report.table.rows.push(vec![
                    Cell::Text(label(step, *start, &zone)?),
                    Cell::text(&meter.key),
                    Cell::text(&meter.unit),
                    Cell::Exact(change.value),
                    Cell::Count(*events),
                    change.previous.map_or(Cell::Empty, Cell::Exact),
                    change.percent.map_or(Cell::Empty, Cell::Exact),
                ]);
            }
        }
        Ok(report)
    }

    /// The whole step before the one that holds `at`.
    fn step_before(&self, at: Timestamp, step: Step, zone: &Zone) -> Result<Period, EngineError> {
        let back = match step {
            Step::Hour => HOUR_MICROS,
            Step::Day => DAY_MICROS,
            Step::Week => 7 * DAY_MICROS,
            Step::Month => 31 * DAY_MICROS,
        };
        // A step and an hour back lies within the step before, also where clocks change.
        let from = at.plus_micros(-back - if step == Step::Hour { 0 } else { 2 * HOUR_MICROS });
        let found = steps(Period::new(from, at), step, zone)?;
        let last = found.last().copied().unwrap_or(Period::new(from, at));
        // Only the last one is whole; the first is cut at `from`.
        if found.len() > 1 || step == Step::Hour { Ok(last) } else { Ok(Period::new(from, at)) }
    }

    pub(in crate::reports) async fn peaks_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let step = wanted.step(Step::Hour)?;
        let (zone, stretches) = self.stretches(wanted, step).await?;
        let books = self.books().await?;
        let meters = Self::series_meters(&books, wanted)?;
        let mut report = empty(Kind::Peaks);
        for (meter, found) in meters.iter().zip(self.stepped(wanted, &meters, &stretches).await?) {
            for (rank, at) in trend::peaks(&found.values, wanted.top()).into_iter().enumerate() {
                let (Some(start), Some(value), Some(events)) =
                    (found.starts.get(at), found.values.get(at), found.events.get(at))
                else {
                    continue;
                };
                report.table.rows.push(vec![
                    Cell::text(&meter.key),
                    Cell::Count(rank as u64 + 1),
                    Cell::Text(label(step, *start, &zone)?),
                    Cell::Exact(value.clone()),
                    Cell::text(&meter.unit),
                    Cell::Count(*events),
                ]);
            }
        }
        Ok(report)
    }

    pub(in crate::reports) async fn anomalies_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let step = wanted.step(Step::Day)?;
        let season = match step {
            Step::Hour => HOURS,
            Step::Day => DAYS,
            Step::Week | Step::Month => {
                return Err(EngineError::refused("anomalies are looked for --by hour or day"));
            }
        };
        for (_, method, _) in methods(wanted, season) {
            method.check().map_err(EngineError::refused)?;
        }
        let (zone, stretches) = self.stretches(wanted, step).await?;
        let now = wanted.customer.as_ref().map_or_else(|| self.now(), |id| self.now_of(id));
        // A step that is not over would look too low; and what comes before the range is its
        // history: as much as a series may hold, for seasons.
        let asked: Vec<Period> = stretches.into_iter().filter(|step| step.end <= now).collect();
        let Some(first) = asked.first() else { return Ok(empty(Kind::Anomalies)) };
        let room = MOST_STEPS.saturating_sub(asked.len());
        let back = room.min(anomaly::LEAST_SEASONS * season + LOOK_BACK);
        let width = if step == Step::Hour { HOUR_MICROS } else { DAY_MICROS };
        let from = first.start.plus_micros(-i64::try_from(back).unwrap_or(0) * width);
        let earlier = steps(Period::new(from, first.start), step, &zone)?;
        // The first one is cut.
        let history: Vec<Period> = earlier.into_iter().skip(1).collect();
        let known = history.len();
        let all: Vec<Period> = history.into_iter().chain(asked).collect();
        let books = self.books().await?;
        let meters = Self::series_meters(&books, wanted)?;
        let mut report = empty(Kind::Anomalies);
        for (meter, found) in meters.iter().zip(self.stepped(wanted, &meters, &all).await?) {
            let mut odd: BTreeMap<(usize, &str), anomaly::Anomaly> = BTreeMap::new();
            for (name, method, season) in methods(wanted, season) {
                for (at, judged) in anomaly::scan(&method, &found.values, LOOK_BACK, season) {
                    if at >= known {
                        odd.insert((at, name), judged);
                    }
                }
            }
            for ((at, name), judged) in odd {
                let Some(start) = found.starts.get(at) else { continue };
                report.table.rows.push(vec![
                    Cell::Text(label(step, *start, &zone)?),
                    Cell::text(&meter.key),
                    Cell::text(&meter.unit),
                    Cell::Exact(judged.value),
                    Cell::Exact(judged.usual),
                    Cell::Exact(judged.bound),
                    Cell::text(name),
                    Cell::Text(judged.why),
                ]);
            }
        }
        report.wants_decision = !report.table.rows.is_empty();
        Ok(report)
    }
}

/// The ways anomalies are looked for: deviations from the mean, multiples of the median, and
/// deviations from the same hour or day of the week.
fn methods(wanted: &Wanted, season: usize) -> Vec<(&'static str, Method, Option<usize>)> {
    let deviations = wanted.deviations.unwrap_or(Quantity::from(3_u32));
    let times = wanted.times_median.unwrap_or(Quantity::from(5_u32));
    vec![
        ("deviations", Method::Deviations(deviations), None),
        ("times_median", Method::TimesMedian(times), None),
        ("season", Method::Deviations(deviations), Some(season)),
    ]
}

fn empty(kind: Kind) -> Report {
    let columns: &[&'static str] = match kind {
        Kind::Peaks => &["meter", "rank", "from", "usage", "unit", "events"],
        Kind::Anomalies => {
            &["from", "meter", "unit", "usage", "usual", "bound", "by", "explanation"]
        }
        _ => &["from", "meter", "unit", "usage", "events", "previous", "percent_change"],
    };
    Report::of(kind, Table::new(columns))
}
