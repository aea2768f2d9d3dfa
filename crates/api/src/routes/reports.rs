//! Reports of money and of usage.

use counterfoil_engine::reports::{By, Kind, Range, Wanted};
use counterfoil_types::{CustomerId, MeterKey, Quantity, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    problem::Problem,
    scope::Scope,
};

/// What of a report is wanted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ReportQuery {
    /// First month, for example `2026-10`; for usage also a day or an instant.
    from: Option<String>,
    /// Last month or day, included; an instant is not.
    to: Option<String>,
    /// Grouping, or length of a step: `month`, `plan`, `meter`, `customer`, `hour`, `day`, `week`.
    by: Option<String>,
    /// The run of a manifest.
    #[schemars(with = "Option<String>")]
    run: Option<RunId>,
    /// Usage of this customer only, on its clock.
    customer: Option<CustomerId>,
    /// Usage by this meter only.
    meter: Option<MeterKey>,
    /// The property of a breakdown.
    property: Option<String>,
    /// Most rows of a ranking, 1 to 1000; 10 when absent.
    #[schemars(range(min = 1, max = 1000))]
    top: Option<usize>,
    /// Standard deviations from which on a step is an anomaly; 3 when absent.
    deviations: Option<Quantity>,
    /// Multiple of the median from which on a step is an anomaly; 5 when absent.
    times_median: Option<Quantity>,
    /// Type of the events that are calls; `api.request` when absent.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Percent of calls that must not fail; 99.9 when absent.
    objective: Option<Quantity>,
}

impl ReportQuery {
    fn wanted(self) -> Result<Wanted, Problem> {
        let range = Range::parse(self.from.as_deref(), self.to.as_deref())
            .map_err(|error| Problem::parameter("from", error))?;
        let by = self
            .by
            .as_deref()
            .map(|by| by.parse::<By>().map_err(|error| Problem::parameter("by", error)));
        if self.top.is_some_and(|top| !(1..=1_000).contains(&top)) {
            return Err(Problem::parameter("top", "is a number from 1 to 1000"));
        }
        Ok(Wanted {
            range,
            by: by.transpose()?,
            run: self.run,
            customer: self.customer,
            meter: self.meter,
            property: self.property,
            top: self.top,
            deviations: self.deviations,
            times_median: self.times_median,
            event_type: self.event_type,
            objective: self.objective,
        })
    }
}

/// A report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReportView {
    /// Which one.
    kind: &'static str,
    /// What the columns are.
    columns: Vec<String>,
    /// The rows.
    rows: Vec<Vec<String>>,
    /// What the columns of the totals are; empty where there are none.
    total_columns: Vec<String>,
    /// The totals.
    totals: Vec<Vec<String>>,
    /// Whether something in it wants a decision.
    wants_decision: bool,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Reports");
    routes
        .get("/v1/reports/{kind}", "reports.get", Scope::Finance, report)
        .says("A report of money or of usage")
        .explained(
            "Of money: manifest, revenue, mrr, growth, deferred, ageing, rounding, late, unbilled, \
             reconciliation. Of usage: usage, statistics, trends, peaks, anomalies, forecast, top, \
             breakdown, changes, endpoints, sla. A report refuses parameters it has no use for.",
        )
        .query::<ReportQuery>()
        .answers::<ReportView>(200, "The report");
    routes
        .get("/v1/customers/{customer}/reports/{kind}", "reports.own", Scope::Read, own_report)
        .says("A report of one customer's usage and bills")
        .explained(
            "usage, statistics, trends, peaks, anomalies, forecast, breakdown, changes, endpoints.",
        )
        .for_customers()
        .query::<ReportQuery>()
        .answers::<ReportView>(200, "The report");
}

async fn report(
    caller: Caller,
    Path(kind): Path<String>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<ReportView>, Problem> {
    let kind =
        kind.parse::<Kind>().map_err(|error| Problem::new("not_found", error.to_string()))?;
    view(&caller, kind, &query.wanted()?).await
}

/// A report that customers may see of themselves, of one customer.
async fn own_report(
    caller: Caller,
    Path((customer, kind)): Path<(CustomerId, String)>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<ReportView>, Problem> {
    let kind =
        kind.parse::<Kind>().map_err(|error| Problem::new("not_found", error.to_string()))?;
    if !kind.is_for_customers() {
        let why = format!("report {} is not of one customer", kind.as_str());
        return Err(Problem::new("not_found", why));
    }
    if query.customer.as_ref().is_some_and(|other| *other != customer) {
        return Err(Problem::parameter("customer", "is the one in the path"));
    }
    let wanted = Wanted { customer: Some(customer), ..query.wanted()? };
    view(&caller, kind, &wanted).await
}

async fn view(caller: &Caller, kind: Kind, wanted: &Wanted) -> Result<Json<ReportView>, Problem> {
    let report = caller.engine.report(kind, wanted).await?;
    let columns = report.table.columns.iter().map(ToString::to_string).collect();
    let rows = report.table.plain().collect();
    let totals = &report.totals;
    Ok(Json(ReportView {
        kind: kind.as_str(),
        columns,
        rows,
        total_columns: totals.columns.iter().map(ToString::to_string).collect(),
        totals: totals.plain().collect(),
        wants_decision: report.wants_decision,
    }))
}
