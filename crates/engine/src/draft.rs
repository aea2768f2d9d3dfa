//! One invoice: what its cycle is expected to come to, less what was billed for it, and the same
//! for each cycle before it that was invoiced (`docs/adr/0008`).
//!
//! | file | what |
//! |---|---|
//! | [`expected`] | the lines a cycle comes to, as known now |
//! | [`usage`] | the usage behind them: by span, by window of the day, after grants |
//! | [`known`] | what an invoice is computed from besides ledger and price books |

mod expected;
mod known;
mod usage;

use counterfoil_catalog::PriceBook;
use counterfoil_invoicing::{
    Cycle, Draft, GrantUse, Inputs, Invoice, InvoiceBody, InvoiceLine, LineKind, assemble,
    cycle::CycleNumber,
    invoice::ENGINE_VERSION,
    settle::{Billed, settle},
};
use counterfoil_rating::LatePolicy;
use counterfoil_types::{Period, Timestamp};

pub use crate::contract::Account;
use crate::{Books, Engine, EngineError, usage::LaneView};
pub(crate) use expected::{Bill, Expected, Scope};
pub use known::{Earlier, Known};

/// What a computation came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// An invoice.
    Invoice(Box<InvoiceBody>),
    /// Nothing is due; the reason in words.
    Nothing(&'static str),
    /// The projector moved while usage was read; compute again.
    Moved,
}

/// Where the ledger is read.
#[derive(Clone, Copy, Debug)]
pub enum As<'a> {
    /// At a lane's head, through the stored buckets.
    Of(&'a LaneView),
    /// At a position, from the ledger alone: rebuilding.
    Rebuilt(u64),
}

impl As<'_> {
    pub(crate) fn position(self) -> u64 {
        match self {
            Self::Of(view) => view.head,
            Self::Rebuilt(position) => position,
        }
    }
}

impl Engine {
    /// Computes the invoice of a cycle.
    ///
    /// # Errors
    /// When a line cannot be rated; nothing is billed then.
    pub async fn compute(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        known: &Known,
        at: As<'_>,
    ) -> Result<Outcome, EngineError> {
        let customer = &account.customer;
        let billed = Billed::of(&known.earlier.invoices, &known.earlier.notes)?;
        let scope = Scope {
            until: known.until,
            grants: known::grants_for(cycle.number, &known.grants, &known.earlier.invoices),
        };
        let Some(Expected { lines, granted }) =
            self.expected(books, account, cycle, &scope, at).await?
        else {
            return Ok(Outcome::Moved);
        };
        let Some(book) = self.book_of(books, account, cycle)? else {
            return Ok(Outcome::Nothing("the subscription has ended"));
        };
        let rounding = book.rounding;
        let mut lines = settle(cycle.number, lines, &billed, true, rounding)?;
        if known.part > 0 {
            lines.retain(|line| !line.amount.is_zero());
        }
        let granted = less_granted(granted, cycle.number, &known.earlier.invoices)?;
        for number in known.earlier.cycles(&billed, cycle.number) {
            match self.correction(books, account, number, &billed, known, at).await? {
                Some(found) => lines.extend(found),
                None => return Ok(Outcome::Moved),
            }
        }
        // A closing always makes an invoice: it leaves a watermark that late usage is held
        // against. So does a reissue: what was withdrawn is replaced, if only by nothing.
        let must = known.part == 0 && (cycle.closes.is_some() || known.revision > 0);
        if lines.is_empty() && !must {
            return Ok(Outcome::Nothing(if cycle.settles() {
                "nothing came after the last invoice"
            } else if known.part > 0 {
                "nothing is to be billed yet"
            } else {
                "nothing is due in advance"
            }));
        }
        let lane = self.tenant.lane_of(&customer.id);
        let period = self.period_of(account, cycle, known.until)?;
        let body = assemble(Draft {
            tenant: self.tenant.id.clone(),
            customer: customer.id.clone(),
            customer_name: customer.name.clone(),
            payer: customer.parent.clone(),
            subscription: account.subscription.id.clone(),
            cycle: cycle.number,
            revision: known.revision,
            part: known.part,
            due_cycle_at: known.until.unwrap_or(cycle.at),
            period,
            zone: account.cycles.zone_at(period.start),
            currency: customer.currency,
            rounding,
            lines,
            granted,
            inputs: Inputs {
                lane: lane.0,
                position: at.position(),
                engine: ENGINE_VERSION.to_owned(),
                subscription: account.subscription.clone(),
                zone: customer.zone.clone(),
                tax: known.tax.clone(),
                late_events: customer.late_events,
                until: known.until,
                compared: known.earlier.compared,
                withdrawn: known.earlier.withdrawn.clone(),
                billed_by: known.earlier.invoices.iter().map(|invoice| invoice.id).collect(),
                credited_by: known.earlier.notes.iter().map(|note| note.id.clone()).collect(),
                credits: known.credits.clone(),
                grants: known.grants.clone(),
            },
        })?;
        Ok(Outcome::Invoice(Box::new(body)))
    }

    /// The correcting lines of an earlier cycle; `None` when the projector moved.
    pub(crate) async fn correction(
        &self,
        books: &Books,
        account: &Account,
        number: CycleNumber,
        billed: &Billed,
        known: &Known,
        at: As<'_>,
    ) -> Result<Option<Vec<InvoiceLine>>, EngineError> {
        let Some(cycle) = account.cycles.cycle(number)? else {
            // The contract ends before it: all it billed is taken back.
            let rounding = counterfoil_types::Rounding::HalfAwayFromZero;
            return Ok(Some(settle(number, Vec::new(), billed, false, rounding)?));
        };
        // A cycle of which only parts were billed is still open: its own invoice settles it.
        let closed = |invoice: &Invoice| invoice.body.cycle == number && invoice.body.part == 0;
        if number > 0 && !known.earlier.invoices.iter().any(closed) {
            return Ok(Some(Vec::new()));
        }
        let scope =
            Scope { until: None, grants: known::grants_of(number, &known.earlier.invoices) };
        let Some(expected) = self.expected(books, account, &cycle, &scope, at).await? else {
            return Ok(None);
        };
        let rounding = self
            .book_of(books, account, &cycle)?
            .map_or(counterfoil_types::Rounding::HalfAwayFromZero, |book| book.rounding);
        let mut lines = settle(number, expected.lines, billed, false, rounding)?;
        if self.late_policy(books, account, number)? == LatePolicy::ReportOnly {
            // What was closed stays; only what was paid in advance follows the contract.
            lines.retain(|line| {
                line.origin.is_some_and(|origin| origin.kind == LineKind::FeeAdvance)
            });
        }
        Ok(Some(lines))
    }

    /// The late policy that holds for a cycle.
    pub(crate) fn late_policy(
        &self,
        books: &Books,
        account: &Account,
        number: CycleNumber,
    ) -> Result<LatePolicy, EngineError> {
        if let Some(policy) = account.customer.late_events {
            return Ok(policy);
        }
        let at = number.checked_sub(1).map(|before| account.cycles.period(before)).transpose()?;
        let Some((period, _)) = at.flatten() else { return Ok(LatePolicy::NextInvoice) };
        let segments = account.segments(books, period)?;
        let plan = segments.iter().rev().find_map(|segment| segment.plans.first());
        Ok(plan.map_or(LatePolicy::NextInvoice, |entry| entry.plan.late_events))
    }

    /// The book that names rounding for a cycle's invoice.
    fn book_of<'a>(
        &self,
        books: &'a Books,
        account: &Account,
        cycle: &Cycle,
    ) -> Result<Option<&'a PriceBook>, EngineError> {
        let at = match (cycle.closes, cycle.opens, account.cycles.end()) {
            (Some(period), _, _) | (None, Some(period), _) => period.start,
            (None, None, Some(end)) => end.plus_micros(-1),
            (None, None, None) => return Ok(None),
        };
        let terms = account.terms_at(at)?;
        let day = account.cycles.zone_at(at).civil(at)?.date();
        Ok(Some(books.version(&terms, day)?))
    }

    fn period_of(
        &self,
        account: &Account,
        cycle: &Cycle,
        until: Option<Timestamp>,
    ) -> Result<Period, EngineError> {
        let period = match cycle.closes.or(cycle.opens) {
            Some(period) => period,
            None => {
                // A settlement: the month before it falls due.
                let start = account.cycles.end().unwrap_or(cycle.at).min(cycle.at);
                Period::new(start, cycle.at)
            }
        };
        Ok(until.map_or(period, |until| Period::new(period.start, until.min(period.end))))
    }
}

/// Whether a line gives back closed usage, as credit notes do under that policy.
pub(crate) fn is_late_credit(line: &InvoiceLine) -> bool {
    let closed = line.origin.is_some_and(|origin| {
        matches!(
            origin.kind,
            LineKind::Usage | LineKind::PlanMinimum | LineKind::PlanMaximum | LineKind::Discount
        )
    });
    closed && line.amount.exact().is_negative()
}

/// Units taken from grants, less what parts of the cycle took.
fn less_granted(
    granted: Vec<GrantUse>,
    cycle: CycleNumber,
    invoices: &[Invoice],
) -> Result<Vec<GrantUse>, EngineError> {
    let mut left = Vec::with_capacity(granted.len());
    for mut used in granted {
        let before = invoices
            .iter()
            .filter(|invoice| invoice.body.cycle == cycle)
            .flat_map(|invoice| &invoice.body.granted)
            .filter(|other| other.grant == used.grant && other.meter == used.meter)
            .fold(counterfoil_types::Exact::ZERO, |sum, other| sum.add(&other.units.exact()));
        let more = used.units.exact().sub(&before);
        if more.is_positive() {
            used.units = counterfoil_types::Quantity::try_from(&more)?;
            left.push(used);
        }
    }
    Ok(left)
}
