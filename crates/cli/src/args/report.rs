//! Arguments of reports.

use clap::{Args as ClapArgs, ValueEnum};
use counterfoil_engine::{reports, run::Month};
use counterfoil_types::RunId;

#[derive(Debug, ClapArgs)]
pub(crate) struct Report {
    /// Which report.
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    /// First month, for example 2026-07 [default: the first there is].
    #[arg(long, value_name = "MONTH")]
    pub(crate) from: Option<String>,
    /// Last month [default: the last there is].
    #[arg(long, value_name = "MONTH")]
    pub(crate) to: Option<String>,
    /// What revenue is grouped by [default: month].
    #[arg(long, value_enum)]
    pub(crate) by: Option<By>,
    /// The run of a manifest [default: the last one].
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<RunId>,
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
    /// The months that were asked for.
    pub(crate) fn range(&self) -> Result<reports::Range, counterfoil_engine::EngineError> {
        let month = |text: &Option<String>| text.as_deref().map(str::parse::<Month>).transpose();
        reports::Range::new(month(&self.from)?.as_ref(), month(&self.to)?.as_ref())
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
        }
    }
}

/// What revenue is grouped by.
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
}

impl From<By> for reports::By {
    fn from(by: By) -> Self {
        match by {
            By::Month => Self::Month,
            By::Plan => Self::Plan,
            By::Meter => Self::Meter,
            By::Customer => Self::Customer,
        }
    }
}
