//! What a cycle comes to under the contract, the ledger and the price books as known now.

use counterfoil_invoicing::{
    Cycle, GrantUse, InvoiceLine, LineKind, UnitGrant, plan_lines::PlanRef,
};
use counterfoil_rating::{
    Charge, PartKind, ProrationBasis, RateContext, RatedLine, Timing, Usage, fraction, rate,
    spec::Recurrence,
};
use counterfoil_types::{Exact, Period, Timestamp};

use super::{Account, As};
use crate::{
    Books, Engine, EngineError,
    contract::{Segment, Span, spans},
};

/// What part of a cycle is computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Usage up to here only, and nothing that is known at the end only.
    pub(crate) until: Option<Timestamp>,
    /// Units that cost nothing, in order of use.
    pub(crate) grants: Vec<UnitGrant>,
}

/// What a cycle comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) lines: Vec<InvoiceLine>,
    /// Units taken from grants.
    pub(crate) granted: Vec<GrantUse>,
}

impl Engine {
    /// All lines of a cycle; `None` when the projector moved.
    pub(crate) async fn expected(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        scope: &Scope,
        at: As<'_>,
    ) -> Result<Option<Expected>, EngineError> {
        let Some(mut expected) = self.expected_arrears(books, account, cycle, scope, at).await?
        else {
            return Ok(None);
        };
        if scope.until.is_some() {
            return Ok(Some(expected));
        }
        expected.lines.extend(advance_fees(books, account, cycle)?);
        if let Some(plan) = discounting_plan(books, account, cycle)? {
            let sum =
                expected.lines.iter().fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()));
            let exempt = expected.lines.iter().all(|line| line.tax_exempt);
            let discounts = plan.at.discounts(&plan.discounts, &sum)?;
            let taxed = discounts
                .into_iter()
                .map(|line| InvoiceLine { tax_exempt: exempt, ..line })
                .filter(|line| !line.amount.is_zero());
            expected.lines.extend(taxed);
        }
        match self.commitment(books, account, cycle, &expected, at).await? {
            Some(lines) => expected.lines.extend(lines),
            None => return Ok(None),
        }
        Ok(Some(expected))
    }

    /// Usage and fees in arrears of the period that a cycle closes, with the plan's bounds.
    pub(crate) async fn expected_arrears(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        scope: &Scope,
        at: As<'_>,
    ) -> Result<Option<Expected>, EngineError> {
        let mut expected = Expected::default();
        let (Some(period), Some(full)) = (cycle.closes, cycle.closes_full) else {
            return Ok(Some(expected));
        };
        if account.is_free(cycle.number.saturating_sub(1))? {
            return Ok(Some(expected));
        }
        let read = scope.until.map_or(period, |until| {
            Period::new(period.start, until.clamp(period.start, period.end))
        });
        if read.is_empty() {
            return Ok(Some(expected));
        }
        let segments = account.segments(books, read)?;
        let spans_here = spans(&segments);
        let Some(usage) = self.span_usage(books, account, &spans_here, scope, at).await? else {
            return Ok(None);
        };
        for (span, metered) in spans_here.iter().zip(usage.by_span) {
            let Some(charge) = span.charge() else { continue };
            match metered {
                Some(metered) => {
                    let bill = Bill { kind: LineKind::Usage, span, full, once: false };
                    let interim = scope.until.is_some();
                    let line = bill.line(books, account, &metered.usage, interim)?;
                    expected.lines.push(InvoiceLine { metered: Some(metered.value), ..line });
                }
                None if scope.until.is_none() => {
                    let due = charge.timing == Timing::Arrears
                        && charge.interval.is_none()
                        && is_due(charge, span);
                    if due {
                        let once = charge.recurrence == Recurrence::Once;
                        let bill = Bill { kind: LineKind::FeeArrears, span, full, once };
                        expected.lines.push(bill.fee(books, account)?);
                    }
                }
                None => {}
            }
        }
        expected.granted = usage.granted;
        if scope.until.is_some() {
            return Ok(Some(expected));
        }
        for interval in account.fee_intervals(books)? {
            let last = period.end.plus_micros(-1);
            let Some((fee, whole)) = account.cycles.fee_period(last, interval)? else { continue };
            if fee.end != period.end {
                continue;
            }
            for span in spans(&account.segments(books, fee)?) {
                let Some(charge) = span.charge() else { continue };
                if charge.interval == Some(interval) && charge.timing == Timing::Arrears {
                    let kind = LineKind::FeeArrears;
                    let bill = Bill { kind, span: &span, full: whole, once: false };
                    expected.lines.push(bill.fee(books, account)?);
                }
            }
        }
        plan_bounds(account, &segments, full, &mut expected.lines)?;
        Ok(Some(expected))
    }

    /// The true-up of a commitment whose term ends with the cycle; `None` when the projector
    /// moved.
    async fn commitment(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        own: &Expected,
        at: As<'_>,
    ) -> Result<Option<Vec<InvoiceLine>>, EngineError> {
        let Some(period) = cycle.closes else { return Ok(Some(Vec::new())) };
        let segments = account.segments(books, period)?;
        let last = segments.iter().rev().find_map(|segment| segment.plans.first());
        let Some((entry, commitment)) =
            last.and_then(|entry| Some((entry, entry.plan.commitment.as_ref()?)))
        else {
            return Ok(Some(Vec::new()));
        };
        let end = period.end.plus_micros(-1);
        let Some((term, full)) = account.cycles.fee_period(end, commitment.interval)? else {
            return Ok(Some(Vec::new()));
        };
        if term.end != period.end {
            return Ok(Some(Vec::new()));
        }
        let mut spent = spending(&own.lines);
        let first = account.cycles.period_at(term.start)?.unwrap_or(0);
        for number in first + 1..cycle.number {
            let Some(other) = account.cycles.cycle(number)? else { continue };
            // What grants covered is spent too: it was paid, only before.
            let scope = Scope::default();
            match self.expected_arrears(books, account, &other, &scope, at).await? {
                Some(found) => spent = spent.add(&spending(&found.lines)),
                None => return Ok(None),
            }
        }
        let zone = account.cycles.zone_at(term.start);
        let part = fraction(&term, &full, ProrationBasis::Second, &zone)?;
        let settled = commitment.for_part(&part).settle(&spent);
        let plan = plan_ref(account, entry, term);
        let mut lines = Vec::new();
        let true_up = plan.true_up(&settled.utilized.add(&settled.true_up), &settled.utilized)?;
        if !true_up.amount.is_zero() {
            lines.push(true_up);
        }
        let surcharge = settled.amount.sub(&spent).sub(&settled.true_up);
        if !surcharge.is_zero() {
            lines.push(plan.line(
                LineKind::Commitment,
                "commitment_overage",
                "Surcharge above the commitment",
                PartKind::MinimumTopUp,
                surcharge,
            )?);
        }
        Ok(Some(lines))
    }
}

/// What counts towards a commitment.
fn spending(lines: &[InvoiceLine]) -> Exact {
    lines
        .iter()
        .filter(|line| line.kind != LineKind::FeeAdvance)
        .fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()))
}

/// A one-off charge is due in the period in which the subscription comes to its plan.
fn is_due(charge: &Charge, span: &Span) -> bool {
    charge.recurrence == Recurrence::Recurring || span.period.contains(span.since)
}

/// Fees in advance for the period that a cycle opens.
fn advance_fees(
    books: &Books,
    account: &Account,
    cycle: &Cycle,
) -> Result<Vec<InvoiceLine>, EngineError> {
    let mut lines = Vec::new();
    let (Some(period), Some(full)) = (cycle.opens, cycle.opens_full) else { return Ok(lines) };
    if account.is_free(cycle.number)? {
        return Ok(lines);
    }
    let in_advance = |charge: &Charge| !charge.is_metered() && charge.timing == Timing::Advance;
    let kind = LineKind::FeeAdvance;
    for span in spans(&account.segments(books, period)?) {
        let Some(charge) = span.charge() else { continue };
        if in_advance(charge) && charge.interval.is_none() && is_due(charge, &span) {
            let once = charge.recurrence == Recurrence::Once;
            let bill = Bill { kind, span: &span, full, once };
            lines.push(bill.fee(books, account)?);
        }
    }
    for interval in account.fee_intervals(books)? {
        let Some((fee, whole)) = account.cycles.fee_period(period.start, interval)? else {
            continue;
        };
        for span in spans(&account.segments(books, fee)?) {
            let Some(charge) = span.charge() else { continue };
            // What begins within the fee's period is due with the cycle it begins in.
            let begins = period.contains(span.period.start);
            if in_advance(charge) && charge.interval == Some(interval) && begins {
                let bill = Bill { kind, span: &span, full: whole, once: false };
                lines.push(bill.fee(books, account)?);
            }
        }
    }
    Ok(lines)
}

/// Minimum and maximum of the base plan, for each stretch it holds.
fn plan_bounds(
    account: &Account,
    segments: &[Segment],
    full: Period,
    lines: &mut Vec<InvoiceLine>,
) -> Result<(), EngineError> {
    let mut stretches: Vec<(Period, &crate::contract::SegmentPlan)> = Vec::new();
    for segment in segments {
        let Some(entry) = segment.plans.first() else { continue };
        match stretches.last_mut() {
            Some((period, known))
                if period.end == segment.period.start
                    && known.plan.key == entry.plan.key
                    && known.book.digest == entry.book.digest
                    && known.plan.minimum == entry.plan.minimum
                    && known.plan.maximum == entry.plan.maximum =>
            {
                period.end = segment.period.end;
            }
            _ => stretches.push((segment.period, entry)),
        }
    }
    for (period, entry) in stretches {
        if entry.plan.minimum.is_none() && entry.plan.maximum.is_none() {
            continue;
        }
        let zone = account.cycles.zone_at(period.start);
        let part = fraction(&period, &full, ProrationBasis::Second, &zone)?;
        let plan = plan_ref(account, entry, period);
        let counted = lines.iter().filter(|line| {
            matches!(line.kind, LineKind::Usage | LineKind::FeeArrears)
                && (period.contains(line.period.start) || line.period.contains(period.start))
        });
        let mut reached = counted.fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()));
        if let Some(minimum) = entry.plan.minimum {
            let line = plan.minimum(minimum, &part, &reached)?;
            if !line.amount.is_zero() {
                reached = reached.add(&line.amount.exact());
                lines.push(line);
            }
        }
        if let Some(maximum) = entry.plan.maximum {
            let line = plan.maximum(maximum, &part, &reached)?;
            if !line.amount.is_zero() {
                lines.push(line);
            }
        }
    }
    Ok(())
}

fn plan_ref(account: &Account, entry: &crate::contract::SegmentPlan, period: Period) -> PlanRef {
    PlanRef {
        book: entry.book.reference.clone(),
        book_hash: entry.book.digest,
        plan: entry.plan.key.clone(),
        period,
        currency: account.customer.currency,
        rounding: entry.book.rounding,
    }
}

struct Discounting {
    discounts: Vec<counterfoil_rating::Discount>,
    at: PlanRef,
}

/// The plan whose discounts an invoice carries: that of the end of the period it closes, or else
/// of the start of the one it opens.
fn discounting_plan(
    books: &Books,
    account: &Account,
    cycle: &Cycle,
) -> Result<Option<Discounting>, EngineError> {
    let (period, closing) = match (cycle.closes, cycle.opens) {
        (Some(closes), _) => (closes, true),
        (None, Some(opens)) => (opens, false),
        (None, None) => return Ok(None),
    };
    let segments = account.segments(books, period)?;
    let mut entries = segments.iter().filter_map(|segment| segment.plans.first());
    let entry = if closing { entries.next_back() } else { entries.next() };
    Ok(entry.filter(|entry| !entry.plan.discounts.is_empty()).map(|entry| Discounting {
        discounts: entry.plan.discounts.clone(),
        at: plan_ref(account, entry, period),
    }))
}

/// A charge over a span, about to become a line.
pub(crate) struct Bill<'a> {
    pub(crate) kind: LineKind,
    pub(crate) span: &'a Span,
    /// The full period that prices are for.
    pub(crate) full: Period,
    /// Whether it is due once and never prorated.
    pub(crate) once: bool,
}

impl Bill<'_> {
    /// The fee as a line.
    pub(crate) fn fee(&self, books: &Books, account: &Account) -> Result<InvoiceLine, EngineError> {
        self.line(books, account, &Usage::units(self.span.units()), false)
    }

    /// Rates the usage. `interim`: the period goes on, so its minimum is not due.
    pub(crate) fn rated(
        &self,
        account: &Account,
        usage: &Usage,
        interim: bool,
    ) -> Result<RatedLine, EngineError> {
        let Some(charge) = self.span.charge() else {
            return Err(EngineError::refused("a charge vanished from its plan"));
        };
        let zone = account.cycles.zone_at(self.span.period.start);
        let part = if self.once {
            Exact::ONE
        } else {
            fraction(&self.span.period, &self.full, charge.proration, &zone)?
        };
        let context = RateContext::new(account.customer.currency, self.span.book.rounding);
        let context = context.prorated(part);
        if interim && charge.bounds.minimum.is_some() {
            let mut open = charge.clone();
            open.bounds.minimum = None;
            return Ok(rate(&open, usage, &context)?);
        }
        Ok(rate(charge, usage, &context)?)
    }

    /// The usage as a line.
    pub(crate) fn line(
        &self,
        books: &Books,
        account: &Account,
        usage: &Usage,
        interim: bool,
    ) -> Result<InvoiceLine, EngineError> {
        let Span { plan, book, period, .. } = self.span;
        let Some(charge) = self.span.charge() else {
            return Err(EngineError::refused("a charge vanished from its plan"));
        };
        let rated = self.rated(account, usage, interim)?;
        let meter = charge.meter.as_ref().and_then(|key| books.meters().get(key));
        Ok(InvoiceLine {
            kind: self.kind,
            charge: charge.key.clone(),
            name: charge.name.clone(),
            period: *period,
            book: book.reference.clone(),
            book_hash: book.digest,
            plan: plan.key.clone(),
            meter: charge.meter.clone(),
            unit: meter.map(|meter| meter.unit.clone()),
            metered: meter.map(|_| usage.units.clone()),
            events: meter.map(|_| usage.events),
            origin: None,
            phase: plan.phase.clone(),
            tax_exempt: charge.tax_exempt,
            already_billed: None,
            amount: rated.amount,
            rated,
        })
    }
}
