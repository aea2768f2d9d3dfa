//! Calls by endpoint, and how they kept to an objective (an SLA report). A call failed when it was
//! answered with 500 or above: what a caller got wrong is not held against the service.

use counterfoil_types::{Exact, Rounding};

use crate::{
    Engine, EngineError,
    analytics::EndpointUse,
    reports::{Cell, Kind, Report, Table, Wanted},
};

/// Type of events that are calls, when not said otherwise.
const CALLS: &str = "api.request";
/// Decimals of a percentage.
const DECIMALS: i32 = 4;
/// Percent of calls that must not fail, when not said otherwise: three nines.
const OBJECTIVE: i128 = 999;

fn percent(part: u64, whole: u64) -> Option<Exact> {
    let share = Exact::from(part).mul(&Exact::from(100_u64)).div(&Exact::from(whole)).ok()?;
    Some(share.round(DECIMALS, Rounding::HalfAwayFromZero))
}

fn cell(value: Option<Exact>) -> Cell {
    value.map_or(Cell::Empty, Cell::Exact)
}

impl Engine {
    async fn calls(&self, wanted: &Wanted) -> Result<Vec<EndpointUse>, EngineError> {
        let customer = wanted.customer()?;
        let (_, period) = self.asked(wanted).await?;
        let event_type = wanted.event_type.as_deref().unwrap_or(CALLS);
        self.endpoint_use(customer, event_type, period).await
    }

    pub(in crate::reports) async fn endpoints_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let columns = [
            "endpoint",
            "method",
            "requests",
            "errors",
            "failures",
            "error_percent",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "max_ms",
        ];
        let mut report = Report::of(Kind::Endpoints, Table::new(&columns));
        for one in self.calls(wanted).await? {
            let latency = one.latency_ms.as_ref();
            report.table.rows.push(vec![
                Cell::Text(one.endpoint),
                Cell::Text(one.method),
                Cell::Count(one.requests),
                Cell::Count(one.errors),
                Cell::Count(one.failures),
                cell(percent(one.errors, one.requests)),
                cell(latency.map(|latency| latency.p50.clone())),
                cell(latency.map(|latency| latency.p95.clone())),
                cell(latency.map(|latency| latency.p99.clone())),
                cell(latency.map(|latency| latency.max.clone())),
            ]);
        }
        Ok(report)
    }

    pub(in crate::reports) async fn sla_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let tenths = || Exact::from_i128(OBJECTIVE).mul(&Exact::unit(1));
        let objective = wanted.objective.map_or_else(tenths, |percent| percent.exact());
        if objective.is_negative() || objective > Exact::from(100_u64) {
            return Err(EngineError::refused("an objective lies between 0 and 100 percent"));
        }
        let columns = [
            "endpoint",
            "method",
            "requests",
            "failures",
            "available_percent",
            "objective_percent",
            "met",
            "failures_allowed",
            "failures_left",
            "p95_ms",
            "p99_ms",
        ];
        let mut report = Report::of(Kind::Sla, Table::new(&columns));
        let (mut requests, mut failures) = (0_u64, 0_u64);
        for one in self.calls(wanted).await? {
            requests += one.requests;
            failures += one.failures;
            let latency = one.latency_ms.as_ref();
            let mut row = vec![Cell::Text(one.endpoint), Cell::Text(one.method)];
            let (cells, met) = kept(one.requests, one.failures, &objective);
            row.extend(cells);
            row.push(cell(latency.map(|latency| latency.p95.clone())));
            row.push(cell(latency.map(|latency| latency.p99.clone())));
            report.table.rows.push(row);
            report.wants_decision |= !met;
        }
        if requests > 0 {
            report.totals = Table::new(&columns[2..9]);
            report.totals.rows.push(kept(requests, failures, &objective).0);
        }
        Ok(report)
    }
}

/// How calls kept to the objective, and whether they did. Judged exactly, not by what is shown.
fn kept(requests: u64, failures: u64, objective: &Exact) -> (Vec<Cell>, bool) {
    let hundred = Exact::from(100_u64);
    let allowed = hundred.sub(objective).mul(&Exact::from(requests)).mul(&Exact::unit(2)).floor();
    let left = allowed.sub(&Exact::from(failures));
    let met = !left.is_negative();
    let cells = vec![
        Cell::Count(requests),
        Cell::Count(failures),
        cell(percent(requests.saturating_sub(failures), requests)),
        Cell::Exact(objective.clone()),
        Cell::text(if met { "yes" } else { "no" }),
        Cell::Exact(allowed),
        Cell::Exact(left),
    ];
    (cells, met)
}
