//! Arguments of reports.

use clap::{Args as ClapArgs, ValueEnum};
use counterfoil_engine::reports;
use counterfoil_types::{CustomerId, MeterKey, Quantity, RunId};

#[derive(Debug, ClapArgs)]
pub(crate) struct Report {
    /// Which report.
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    /// First month, for example 2026-07; for usage also a day or an instant [default: the first
    /// there is; for usage the current month].
    #[arg(long, value_name = "MONTH")]
    pub(crate) from: Option<String>,
    /// Last month or day, included; an instant is not [default: the last there is; for usage now].
    #[arg(long, value_name = "MONTH")]
    pub(crate) to: Option<String>,
    /// What revenue, growth and usage are grouped by, or the steps of a series.
    #[arg(long, value_enum)]
    pub(crate) by: Option<By>,
    /// The run of a manifest [default: the last one].
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<RunId>,
    /// Usage of this customer, on its clock [default: all customers].
    #[arg(long, value_name = "ID")]
    pub(crate) customer: Option<CustomerId>,
    /// Usage by this meter [default: all meters].
    #[arg(long, value_name = "KEY")]
    pub(crate) meter: Option<MeterKey>,
    /// The property of a breakdown.
    #[arg(long, value_name = "NAME")]
    pub(crate) property: Option<String>,
    /// Most rows of a ranking [default: 10].
    #[arg(long, value_name = "COUNT")]
    pub(crate) top: Option<usize>,
    /// Standard deviations from which on a step is an anomaly [default: 3].
    #[arg(long, value_name = "NUMBER")]
    pub(crate) deviations: Option<Quantity>,
    /// Multiple of the median from which on a step is an anomaly [default: 5].
    #[arg(long, value_name = "NUMBER")]
    pub(crate) times_median: Option<Quantity>,
    /// Type of the events that are calls [default: api.request].
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Percent of calls that must not fail [default: 99.9].
    #[arg(long, value_name = "PERCENT")]
    pub(crate) objective: Option<Quantity>,
    /// Print CSV instead of a table.
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Write a file of this format instead.
    #[arg(long, value_enum, conflicts_with_all = ["json", "csv"])]
    pub(crate) format: Option<super::FileFormat>,
    /// The file; - is standard output [default: standard output for text, else a file named by
    /// itself].
    #[arg(long, value_name = "PATH", requires = "format")]
    pub(crate) output: Option<std::path::PathBuf>,
}

impl Report {
    /// What was asked for.
    pub(crate) fn wanted(&self) -> Result<reports::Wanted, counterfoil_engine::EngineError> {
        Ok(reports::Wanted {
            range: reports::Range::parse(self.from.as_deref(), self.to.as_deref())?,
            by: self.by.map(Into::into),
            run: self.run,
            customer: self.customer.clone(),
            meter: self.meter.clone(),
            property: self.property.clone(),
            top: self.top,
            deviations: self.deviations,
            times_median: self.times_median,
            event_type: self.event_type.clone(),
            objective: self.objective,
        })
    }
}

/// The reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What an invoice run did: each subscription and cycle with status, reason and totals.
    Manifest,
    /// Net revenue, less credit notes, by month, plan, meter or customer.
    Revenue,
    /// Monthly recurring revenue and how it moved.
    Mrr,
    /// What is owed now, by customer and by how long it is overdue.
    Ageing,
    /// What rounding gave and took, line by line.
    Rounding,
    /// Events that came after their invoice, and what became of them.
    Late,
    /// Events that are accepted but not billed.
    Unbilled,
    /// Ledger = aggregates = lines = accounts; exit code 3 where something differs.
    Reconciliation,
    /// Who brought more or less than in another month, by customer, plan or meter.
    Growth,
    /// Fees billed in advance that are not earned yet, month by month.
    Deferred,
    /// Usage and what it costs: by meter; --by customer; or step by step (--by hour, day, …).
    Usage,
    /// How large the events of a meter are: mean, p50, p95, p99.
    Statistics,
    /// Usage step by step, each against the step before.
    Trends,
    /// The hours, days, weeks or months with most usage.
    Peaks,
    /// Hours or days that do not look like those before; exit code 3 where there are any.
    Anomalies,
    /// What the open billing periods of a customer will come to.
    Forecast,
    /// Customers by usage of a meter.
    Top,
    /// A customer's usage of a meter by the values of a property.
    Breakdown,
    /// Why a customer's bill differs from the one of another month.
    Changes,
    /// Calls, errors and latencies of a customer by endpoint.
    Endpoints,
    /// Calls of a customer by endpoint against an objective; exit code 3 where it was missed.
    Sla,
}

impl From<Kind> for reports::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Manifest => Self::Manifest,
            Kind::Revenue => Self::Revenue,
            Kind::Mrr => Self::Mrr,
            Kind::Ageing => Self::Ageing,
            Kind::Rounding => Self::Rounding,
            Kind::Late => Self::Late,
            Kind::Unbilled => Self::Unbilled,
            Kind::Reconciliation => Self::Reconciliation,
            Kind::Growth => Self::Growth,
            Kind::Deferred => Self::Deferred,
            Kind::Usage => Self::Usage,
            Kind::Statistics => Self::Statistics,
            Kind::Trends => Self::Trends,
            Kind::Peaks => Self::Peaks,
            Kind::Anomalies => Self::Anomalies,
            Kind::Forecast => Self::Forecast,
            Kind::Top => Self::Top,
            Kind::Breakdown => Self::Breakdown,
            Kind::Changes => Self::Changes,
            Kind::Endpoints => Self::Endpoints,
            Kind::Sla => Self::Sla,
        }
    }
}

/// What a report is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The month the cycle fell due in.
    Month,
    /// The plan.
    Plan,
    /// The meter; fees by charge.
    Meter,
    /// The customer that is billed.
    Customer,
    /// Hours; usage only.
    Hour,
    /// Local days; usage only.
    Day,
    /// Local weeks, from Monday; usage only.
    Week,
}

impl From<By> for reports::By {
    fn from(by: By) -> Self {
        match by {
            By::Month => Self::Month,
            By::Plan => Self::Plan,
            By::Meter => Self::Meter,
            By::Customer => Self::Customer,
            By::Hour => Self::Hour,
            By::Day => Self::Day,
            By::Week => Self::Week,
        }
    }
}
