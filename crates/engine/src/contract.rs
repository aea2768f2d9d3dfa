//! A contract at work: which plans, resolved for the customer, hold in which stretch of a period.
//!
//! A period is cut into [`Segment`]s where terms change or a phase begins. [`spans`] puts a
//! charge's segments together again where nothing about it differs, so that a change of seats does
//! not cut the tiers of API calls.

use std::sync::Arc;

use counterfoil_catalog::PriceBook;
use counterfoil_invoicing::{Customer, Cycle, Cycles, Subscription, Terms, cycle::CycleNumber};
use counterfoil_rating::{Charge, Plan};
use counterfoil_types::{Exact, Interval, Period, PlanKey, Quantity, Timestamp, civil::Date};

use crate::{Books, EngineError};

/// Who and what an invoice is for.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who is billed.
    pub customer: Customer,
    /// The subscription.
    pub subscription: Subscription,
    /// Its cycles.
    pub cycles: Cycles,
}

/// A plan within a segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentPlan {
    pub(crate) book: Arc<PriceBook>,
    pub(crate) plan: Arc<Plan>,
    /// When the subscription came to it.
    pub(crate) since: Timestamp,
}

/// A stretch of a period in which the contract does not change.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) period: Period,
    pub(crate) terms: Terms,
    /// The base plan first, then add-ons; none while billing is paused.
    pub(crate) plans: Vec<SegmentPlan>,
}

/// A charge over the stretch in which nothing about it differs.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) book: Arc<PriceBook>,
    pub(crate) plan: Arc<Plan>,
    /// Which of the plan's charges.
    pub(crate) charge: usize,
    pub(crate) period: Period,
    /// When the subscription came to the plan.
    pub(crate) since: Timestamp,
    /// Units of a licensed charge.
    pub(crate) quantity: Option<Quantity>,
}

impl Span {
    pub(crate) fn charge(&self) -> Option<&Charge> {
        self.plan.charges.get(self.charge)
    }

    /// Units of a licensed charge.
    pub(crate) fn units(&self) -> Exact {
        self.quantity.map_or(Exact::ZERO, Quantity::exact)
    }
}

impl Account {
    /// Customer, subscription and its cycles.
    ///
    /// # Errors
    /// When a plan does not exist.
    pub fn new(
        books: &Books,
        customer: Customer,
        subscription: Subscription,
    ) -> Result<Self, EngineError> {
        let cycles = Cycles::with(&subscription, &customer.zone, |terms, day| {
            let book = books.version(terms, day)?;
            Ok::<_, EngineError>(counterfoil_invoicing::Rhythm::of(books.plan(book, &terms.plan)?))
        })?;
        Ok(Self { customer, subscription, cycles })
    }

    fn day(&self, at: Timestamp) -> Result<Date, EngineError> {
        Ok(self.cycles.zone_at(at).civil(at)?.date())
    }

    /// The terms at an instant.
    pub(crate) fn terms_at(&self, at: Timestamp) -> Result<Terms, EngineError> {
        Ok(self.subscription.terms_on(self.day(at)?))
    }

    /// `period`, cut where the contract changes.
    pub(crate) fn segments(
        &self,
        books: &Books,
        period: Period,
    ) -> Result<Vec<Segment>, EngineError> {
        let mut cuts = Vec::new();
        for day in self.subscription.cuts() {
            cuts.push(self.cycles.instant(day)?);
        }
        if let Some(end) = self.trial_end()? {
            cuts.push(end);
        }
        let mut segments = Vec::new();
        for piece in cut(period, cuts) {
            let terms = self.terms_at(piece.start)?;
            let mut phases = Vec::new();
            for (plan, since) in plans_of(&terms) {
                let book = books.version(&terms, self.version_day(period, since)?)?;
                let zone = self.cycles.zone_at(piece.start);
                let begun = self.cycles.instant(since)?;
                let periods = books.plan(book, plan)?.phase_periods(begun, &zone);
                let periods = periods.map_err(counterfoil_invoicing::CycleError::from)?;
                phases.extend(periods.into_iter().map(|(phase, _)| phase.end));
            }
            for piece in cut(piece, phases) {
                segments.push(self.segment(books, period, piece, terms.clone())?);
            }
        }
        Ok(segments)
    }

    /// The version in force on the first day of the period prices all of it; one that the
    /// subscription comes to later, on that day.
    fn version_day(&self, period: Period, since: Date) -> Result<Date, EngineError> {
        Ok(self.day(period.start)?.max(since))
    }

    fn trial_end(&self) -> Result<Option<Timestamp>, EngineError> {
        let Some(days) = self.subscription.trial_days else { return Ok(None) };
        let span = jiff::Span::new().try_days(i64::from(days));
        let end = span.and_then(|span| self.subscription.start.checked_add(span));
        let end = end.map_err(|_| EngineError::refused("the trial is out of range"))?;
        Ok(Some(self.cycles.instant(end)?))
    }

    fn segment(
        &self,
        books: &Books,
        whole: Period,
        period: Period,
        terms: Terms,
    ) -> Result<Segment, EngineError> {
        let mut plans = Vec::new();
        let trial = self.trial_end()?.is_some_and(|end| period.start < end);
        if !terms.paused {
            for (key, since) in plans_of(&terms) {
                let book = books.version(&terms, self.version_day(whole, since)?)?;
                let zone = self.cycles.zone_at(period.start);
                let begun = self.cycles.instant(since)?;
                let plain = books.plan(book, key)?;
                let phase = plain
                    .phase_at(begun, period.start, &zone)
                    .map_err(counterfoil_invoicing::CycleError::from)?;
                let phase = phase.map(|phase| phase.key.clone());
                let mut plan = books.resolved(
                    book,
                    key,
                    self.customer.currency,
                    phase.as_deref(),
                    &terms.overrides,
                )?;
                if trial {
                    plan = Arc::new(as_trial(&plan));
                }
                plans.push(SegmentPlan { book: book.clone(), plan, since: begun });
            }
        }
        Ok(Segment { period, terms, plans })
    }

    /// The rhythms that fees of any of its plans have of their own.
    pub(crate) fn fee_intervals(&self, books: &Books) -> Result<Vec<Interval>, EngineError> {
        let days = std::iter::once(self.subscription.start).chain(self.subscription.cuts());
        let mut found = Vec::new();
        for day in days {
            let terms = self.subscription.terms_on(day);
            for (plan, since) in plans_of(&terms) {
                let book = books.version(&terms, day.max(since))?;
                for charge in &books.plan(book, plan)?.charges {
                    if let Some(interval) = charge.interval
                        && !found.contains(&interval)
                    {
                        found.push(interval);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The month whose run a cycle falls due in; `None` for the opening cycle.
    pub(crate) fn run_month(&self, number: CycleNumber) -> Result<Option<Date>, EngineError> {
        let Some(cycle) = self.cycles.cycle(number)?.filter(|cycle| cycle.number > 0) else {
            return Ok(None);
        };
        let last = self.day(cycle.at.plus_micros(-1))?;
        Ok(Some(last.first_of_month()))
    }

    /// Whether a cycle corrects what was billed for the cycles before it. The first cycle of each
    /// month's run does; so it is billed once, although all of them are computed before any is
    /// finalized.
    pub(crate) fn corrects(&self, cycle: &Cycle) -> Result<bool, EngineError> {
        if cycle.number == 0 {
            return Ok(false);
        }
        let before = self.run_month(cycle.number - 1)?;
        Ok(self.run_month(cycle.number)? != before)
    }

    /// Whether the opening falls due in the same month's run as `cycle`.
    pub(crate) fn opens_in_the_run_of(&self, cycle: &Cycle) -> Result<bool, EngineError> {
        Ok(self.run_month(cycle.number)? == Some(self.opening_month()?))
    }

    /// The first day of the month whose run the opening falls due in.
    pub(crate) fn opening_month(&self) -> Result<Date, EngineError> {
        Ok(self.day(self.cycles.start())?.first_of_month())
    }

    /// Whether period `n` is given away by its plan's rule for first periods.
    pub(crate) fn is_free(&self, n: CycleNumber) -> Result<bool, EngineError> {
        Ok(self.cycles.is_free(n)?)
    }
}

/// A plan of which nothing is charged.
fn as_trial(plan: &Plan) -> Plan {
    let mut plan = Plan {
        minimum: None,
        maximum: None,
        commitment: None,
        phase: Some("trial".to_owned()),
        ..plan.clone()
    };
    for charge in &mut plan.charges {
        charge.bounds.trial = true;
    }
    plan
}

fn plans_of(terms: &Terms) -> impl Iterator<Item = (&PlanKey, Date)> {
    let add_ons = terms.add_ons.iter().map(|add_on| (&add_on.plan, add_on.since));
    std::iter::once((&terms.plan, terms.since)).chain(add_ons)
}

/// `period` cut at those of `at` that lie inside.
fn cut(period: Period, mut at: Vec<Timestamp>) -> Vec<Period> {
    at.retain(|at| period.start < *at && *at < period.end);
    at.push(period.end);
    at.sort_unstable();
    at.dedup();
    let mut from = period.start;
    at.into_iter()
        .map(|to| {
            let piece = Period::new(from, to);
            from = to;
            piece
        })
        .collect()
}

/// The charges of `segments`, each over the stretches in which nothing about it differs, in the
/// order of plans, then charges, then time.
pub(crate) fn spans(segments: &[Segment]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for segment in segments {
        for entry in &segment.plans {
            for (at, charge) in entry.plan.charges.iter().enumerate() {
                let quantity = charge.licensed.then(|| {
                    segment.terms.quantities.get(&charge.key).copied().unwrap_or(Quantity::ZERO)
                });
                let same = |span: &&mut Span| {
                    span.plan.key == entry.plan.key
                        && span.charge().is_some_and(|other| other.key == charge.key)
                };
                let goes_on = spans.iter_mut().rev().find(same).filter(|span| {
                    span.period.end == segment.period.start
                        && span.book.digest == entry.book.digest
                        && span.quantity == quantity
                        && span.since == entry.since
                        && span.charge() == Some(charge)
                });
                match goes_on {
                    Some(span) => span.period.end = segment.period.end,
                    None => spans.push(Span {
                        book: entry.book.clone(),
                        plan: entry.plan.clone(),
                        charge: at,
                        period: segment.period,
                        since: entry.since,
                        quantity,
                    }),
                }
            }
        }
    }
    let mut order: Vec<(PlanKey, usize)> = Vec::new();
    for span in &spans {
        let key = (span.plan.key.clone(), span.charge);
        if !order.contains(&key) {
            order.push(key);
        }
    }
    // Plans in the order they came up, their charges in the order of the book.
    let plans: Vec<PlanKey> = order.iter().map(|(plan, _)| plan.clone()).collect();
    spans.sort_by_key(|span| {
        let plan = plans.iter().position(|plan| *plan == span.plan.key);
        (plan, span.charge, span.period.start)
    });
    spans
}
