//! Reports of money and of usage. Each reads what is stored and changes nothing; what they mean is
//! defined in `docs/reports.md`.
//!
//! | file | report |
//! |---|---|
//! | [`manifest`] | what an invoice run did, subscription by subscription |
//! | [`revenue`] | net revenue by month, plan, meter or customer |
//! | [`mrr`] | monthly recurring revenue and how it moved |
//! | [`ageing`] | what is owed, by how long it is overdue |
//! | [`rounding`] | what rounding gave and took, line by line |
//! | [`late`] | events that came after their invoice, and what became of them |
//! | [`unbilled`] | accepted but not billed |
//! | [`reconciliation`] | ledger, aggregates, lines and accounts held against each other |
//! | [`growth`] | who brought more or less than in another month |
//! | [`deferred`] | fees billed in advance that are not earned yet |
//! | [`usage`] | usage and its cost, trends, peaks, anomalies, forecasts, rankings, calls |
//! | [`table`] | the common shape: columns and typed rows |
//! | [`range`], [`read`] | months, and reading invoices, credit notes and postings |
//!
//! A report that must add up checks that it does and refuses to be shown when it does not.

mod ageing;
mod deferred;
mod growth;
mod late;
mod manifest;
mod mrr;
mod range;
mod read;
mod reconciliation;
mod revenue;
mod rounding;
mod table;
mod unbilled;
mod usage;

use counterfoil_types::{CustomerId, MeterKey, Quantity, RunId};
use serde::Serialize;

pub use range::Range;
pub use revenue::By;
pub use table::{Cell, Report, Table};

use crate::{Engine, EngineError};

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What an invoice run did.
    Manifest,
    /// Net revenue.
    Revenue,
    /// Monthly recurring revenue.
    Mrr,
    /// What is owed, by age.
    Ageing,
    /// What rounding gave and took.
    Rounding,
    /// Events that came after their invoice.
    Late,
    /// Accepted but not billed.
    Unbilled,
    /// Ledger = aggregates = lines = accounts.
    Reconciliation,
    /// Who brought more or less than in another month.
    Growth,
    /// Fees billed in advance that are not earned yet.
    Deferred,
    /// Usage and what it costs.
    Usage,
    /// How large events are.
    Statistics,
    /// Usage step by step, each against the one before.
    Trends,
    /// The steps with most usage.
    Peaks,
    /// Steps that do not look like those before.
    Anomalies,
    /// What open billing periods will come to.
    Forecast,
    /// Customers by usage.
    Top,
    /// Usage by the values of a property.
    Breakdown,
    /// Why a bill differs from another month's.
    Changes,
    /// Calls by endpoint.
    Endpoints,
    /// Calls by endpoint against an objective.
    Sla,
}

/// What may be wanted of a report besides its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Range,
    Days,
    By,
    Run,
    Customer,
    Meter,
    Property,
    Top,
    Odd,
    Type,
    Objective,
}

impl Kind {
    /// All reports, in the order in which they are explained.
    pub const ALL: [Self; 21] = [
        Self::Manifest,
        Self::Revenue,
        Self::Mrr,
        Self::Growth,
        Self::Deferred,
        Self::Ageing,
        Self::Rounding,
        Self::Late,
        Self::Unbilled,
        Self::Reconciliation,
        Self::Usage,
        Self::Statistics,
        Self::Trends,
        Self::Peaks,
        Self::Anomalies,
        Self::Forecast,
        Self::Top,
        Self::Breakdown,
        Self::Changes,
        Self::Endpoints,
        Self::Sla,
    ];

    /// The name users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Revenue => "revenue",
            Self::Mrr => "mrr",
            Self::Ageing => "ageing",
            Self::Rounding => "rounding",
            Self::Late => "late",
            Self::Unbilled => "unbilled",
            Self::Reconciliation => "reconciliation",
            Self::Growth => "growth",
            Self::Deferred => "deferred",
            Self::Usage => "usage",
            Self::Statistics => "statistics",
            Self::Trends => "trends",
            Self::Peaks => "peaks",
            Self::Anomalies => "anomalies",
            Self::Forecast => "forecast",
            Self::Top => "top",
            Self::Breakdown => "breakdown",
            Self::Changes => "changes",
            Self::Endpoints => "endpoints",
            Self::Sla => "sla",
        }
    }

    /// Whether customers may see it of themselves.
    #[must_use]
    pub fn is_for_customers(self) -> bool {
        !self.uses(Choice::Run)
            && self.uses(Choice::Customer)
            && !matches!(self, Self::Top | Self::Sla)
    }

    fn uses(self, choice: Choice) -> bool {
        use Choice::{By, Customer, Days, Meter, Objective, Odd, Property, Range, Run, Top, Type};
        let uses: &[Choice] = match self {
            Self::Manifest => &[Run],
            Self::Ageing => &[],
            Self::Revenue => &[Range, By],
            Self::Mrr | Self::Rounding | Self::Late | Self::Unbilled | Self::Reconciliation => {
                &[Range]
            }
            Self::Deferred => &[Range],
            Self::Growth => &[Range, By, Top],
            Self::Usage | Self::Trends => &[Range, Days, By, Customer, Meter],
            Self::Statistics => &[Range, Days, Customer, Meter],
            Self::Peaks => &[Range, Days, By, Customer, Meter, Top],
            Self::Anomalies => &[Range, Days, By, Customer, Meter, Odd],
            Self::Forecast => &[Customer, Meter],
            Self::Top => &[Range, Days, Meter, Top],
            Self::Breakdown => &[Range, Days, Customer, Meter, Property, Top],
            Self::Changes => &[Range, Customer],
            Self::Endpoints => &[Range, Days, Customer, Type],
            Self::Sla => &[Range, Days, Customer, Type, Objective],
        };
        uses.contains(&choice)
    }
}

impl std::str::FromStr for Kind {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            EngineError::not_found("report", text, &format!("; there are {}", all.join(", ")))
        })
    }
}

/// What of a report is wanted. A report refuses what it has no use for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The months; for usage also days or instants.
    pub range: Range,
    /// Grouping.
    pub by: Option<By>,
    /// The run of a manifest; the last one when absent.
    pub run: Option<RunId>,
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// Of this meter only.
    pub meter: Option<MeterKey>,
    /// The property of a breakdown.
    pub property: Option<String>,
    /// Most rows of a ranking; 10 when absent.
    pub top: Option<usize>,
    /// Standard deviations from which on a step is an anomaly; 3 when absent.
    pub deviations: Option<Quantity>,
    /// Multiple of the median from which on a step is an anomaly; 5 when absent.
    pub times_median: Option<Quantity>,
    /// Type of the events that are calls; `api.request` when absent.
    pub event_type: Option<String>,
    /// Percent of calls that must not fail; 99.9 when absent.
    pub objective: Option<Quantity>,
}

impl Wanted {
    fn check(&self, kind: Kind) -> Result<(), EngineError> {
        let odd = self.deviations.is_some() || self.times_median.is_some();
        let given = [
            (!self.range.is_all(), Choice::Range, "--from or --to"),
            (self.by.is_some(), Choice::By, "--by"),
            (self.run.is_some(), Choice::Run, "--run"),
            (self.customer.is_some(), Choice::Customer, "--customer"),
            (self.meter.is_some(), Choice::Meter, "--meter"),
            (self.property.is_some(), Choice::Property, "--property"),
            (self.top.is_some(), Choice::Top, "--top"),
            (odd, Choice::Odd, "--deviations or --times-median"),
            (self.event_type.is_some(), Choice::Type, "--type"),
            (self.objective.is_some(), Choice::Objective, "--objective"),
        ];
        for (is, choice, name) in given {
            if is && !kind.uses(choice) {
                return Err(EngineError::refused(format!(
                    "report {} has no use for {name}",
                    kind.as_str()
                )));
            }
        }
        if !self.range.is_months() && !kind.uses(Choice::Days) {
            return Err(EngineError::refused(format!(
                "report {} is over months; write for example 2026-10",
                kind.as_str()
            )));
        }
        Ok(())
    }
}

impl Engine {
    /// Makes a report.
    ///
    /// # Errors
    /// When it has no use for what is wanted, what is stored cannot be read, or its sums do not
    /// come to what they must.
    pub async fn report(&self, kind: Kind, wanted: &Wanted) -> Result<Report, EngineError> {
        wanted.check(kind)?;
        let range = &wanted.range;
        match kind {
            Kind::Manifest => self.manifest_report(wanted.run.as_ref()).await,
            Kind::Revenue => self.revenue_report(range, wanted.by.unwrap_or_default()).await,
            Kind::Mrr => self.mrr_report(range).await,
            Kind::Ageing => self.ageing_report().await,
            Kind::Rounding => self.rounding_report(range).await,
            Kind::Late => self.late_report(range).await,
            Kind::Unbilled => self.unbilled_report(range).await,
            Kind::Reconciliation => self.reconciliation_report(range).await,
            Kind::Growth => self.growth_report(wanted).await,
            Kind::Deferred => self.deferred_report(range).await,
            Kind::Usage => self.usage_report(wanted).await,
            Kind::Statistics => self.statistics_report(wanted).await,
            Kind::Trends => self.trends_report(wanted).await,
            Kind::Peaks => self.peaks_report(wanted).await,
            Kind::Anomalies => self.anomalies_report(wanted).await,
            Kind::Forecast => self.forecast_report(wanted).await,
            Kind::Top => self.top_report(wanted).await,
            Kind::Breakdown => self.breakdown_report(wanted).await,
            Kind::Changes => self.changes_report(wanted).await,
            Kind::Endpoints => self.endpoints_report(wanted).await,
            Kind::Sla => self.sla_report(wanted).await,
        }
    }
}

/// Refuses a report whose sums are wrong: no number is better than a wrong one.
fn adds_up(
    what: &str,
    is: &counterfoil_types::Exact,
    should: &counterfoil_types::Exact,
) -> Result<(), EngineError> {
    if is == should {
        return Ok(());
    }
    Err(EngineError::refused(format!(
        "the report does not add up: {what} come to {is}, they must come to {should}; run `counterfoil verify`"
    )))
}
