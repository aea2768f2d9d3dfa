//! Reports for finance. Each reads what is stored and changes nothing; what they mean is defined in
//! `docs/reports.md`.
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
//! | [`table`] | the common shape: columns and typed rows |
//! | [`range`], [`read`] | months, and reading invoices, credit notes and postings |
//!
//! A report that must add up checks that it does and refuses to be shown when it does not.

mod ageing;
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

use counterfoil_types::RunId;
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
}

impl Kind {
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
        }
    }
}

/// What of a report is wanted. A report refuses what it has no use for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The months.
    pub range: Range,
    /// Grouping of revenue; by month when absent.
    pub by: Option<By>,
    /// The run of a manifest; the last one when absent.
    pub run: Option<RunId>,
}

impl Wanted {
    fn check(&self, kind: Kind) -> Result<(), EngineError> {
        let refused = |option: &str| {
            Err(EngineError::refused(format!("report {} has no use for {option}", kind.as_str())))
        };
        if matches!(kind, Kind::Manifest | Kind::Ageing) && !self.range.is_all() {
            return refused("--from or --to");
        }
        if kind != Kind::Revenue && self.by.is_some() {
            return refused("--by");
        }
        if kind != Kind::Manifest && self.run.is_some() {
            return refused("--run");
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
