//! One invoice: usage × price book, line by line, and what earlier invoices left open.

use std::collections::HashSet;

use counterfoil_catalog::PriceBook;
use counterfoil_invoicing::{
    Customer, Cycle, Cycles, Draft, Inputs, Invoice, InvoiceBody, InvoiceLine, InvoiceState,
    LineKind, Subscription, assemble, assemble::PlanMinimum, cycle::CycleNumber,
    invoice::ENGINE_VERSION,
};
use counterfoil_metering::Meter;
use counterfoil_rating::{
    Charge, LatePolicy, Model, Plan, ProrationBasis, RateContext, Timing, Usage, fraction, rate,
    spec::Recurrence,
};
use counterfoil_types::{Exact, Money, Period, Zone, civil::Date};

use crate::{
    Books, Engine, EngineError,
    usage::{CustomerUsage, LaneView, Request},
};

/// Who and what an invoice is for.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who pays.
    pub customer: Customer,
    /// The subscription.
    pub subscription: Subscription,
    /// Its cycles.
    pub cycles: Cycles,
}

impl Account {
    /// The month whose run a cycle falls due in; `None` for the opening cycle.
    pub(crate) fn run_month(&self, number: CycleNumber) -> Result<Option<Date>, EngineError> {
        let Some(cycle) = self.cycles.cycle(number)?.filter(|cycle| cycle.number > 0) else {
            return Ok(None);
        };
        let last = self.customer.zone.civil(cycle.at.plus_micros(-1))?.date();
        Ok(Some(last.first_of_month()))
    }

    /// Whether a cycle bills what came late for the periods before it. The first cycle of each
    /// month's run does; so it is billed once, although all of them are computed before any is
    /// finalized.
    pub(crate) fn bills_late(&self, cycle: &Cycle) -> Result<bool, EngineError> {
        if cycle.number < 2 {
            return Ok(false);
        }
        Ok(self.run_month(cycle.number)? != self.run_month(cycle.number - 1)?)
    }
}

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
    fn position(self) -> u64 {
        match self {
            Self::Of(view) => view.head,
            Self::Rebuilt(position) => position,
        }
    }
}

/// One rating: a charge of a plan over a period.
pub(crate) struct Rating<'a> {
    pub(crate) kind: LineKind,
    pub(crate) charge: &'a Charge,
    pub(crate) plan: &'a Plan,
    pub(crate) book: &'a PriceBook,
    pub(crate) period: Period,
    pub(crate) full: Period,
}

impl Engine {
    /// Customer, subscription and cycles, by subscription.
    ///
    /// # Errors
    /// When something does not exist.
    pub async fn account(
        &self,
        books: &Books,
        subscription: Subscription,
    ) -> Result<Account, EngineError> {
        let customer = self.customer(&subscription.customer).await?;
        self.account_of(books, customer, subscription)
    }

    /// The same for a customer that is at hand.
    ///
    /// # Errors
    /// When the plan does not exist.
    pub fn account_of(
        &self,
        books: &Books,
        customer: Customer,
        subscription: Subscription,
    ) -> Result<Account, EngineError> {
        let start = customer.zone.instant(subscription.start.at(0, 0, 0, 0))?;
        let (_, plan) = books.plan_at(&subscription, start, &customer.zone)?;
        let cycles = Cycles::of(&subscription, plan, &customer.zone)?;
        Ok(Account { customer, subscription, cycles })
    }

    /// Computes the invoice of a cycle. `earlier` are the subscription's finalized invoices that
    /// late usage is billed against (empty: no late usage is looked for).
    ///
    /// # Errors
    /// When a line cannot be rated; nothing is billed then.
    pub async fn compute(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        earlier: &[Invoice],
        at: As<'_>,
    ) -> Result<Outcome, EngineError> {
        let customer = &account.customer;
        let mut lines = Vec::new();
        let mut minimum = None;
        let mut priced = None;
        if let (Some(period), Some(full)) = (cycle.closes, cycle.closes_full) {
            let (book, plan) =
                books.plan_at(&account.subscription, period.start, &customer.zone)?;
            priced = Some(book.clone());
            let Some(usage) = self.plan_usage(books, plan, customer, period, at).await? else {
                return Ok(Outcome::Moved);
            };
            for charge in &plan.charges {
                let kind = match (charge.is_metered(), charge.timing) {
                    (true, _) => LineKind::Usage,
                    (false, Timing::Arrears) => LineKind::FeeArrears,
                    (false, Timing::Advance) => continue,
                };
                if charge.recurrence == Recurrence::Once && cycle.number != 1 {
                    continue;
                }
                let rating = Rating { kind, charge, plan, book, period, full };
                lines.push(line(books, customer, &rating, Some(&usage))?);
            }
            minimum = plan_minimum(plan, book, (period, full), &customer.zone)?;
        }
        if let (Some(period), Some(full)) = (cycle.opens, cycle.opens_full) {
            let (book, plan) =
                books.plan_at(&account.subscription, period.start, &customer.zone)?;
            for charge in &plan.charges {
                let advance = !charge.is_metered() && charge.timing == Timing::Advance;
                let due = charge.recurrence == Recurrence::Recurring || cycle.number == 0;
                if advance && due {
                    let kind = LineKind::FeeAdvance;
                    let rating = Rating { kind, charge, plan, book, period, full };
                    lines.push(line(books, customer, &rating, None)?);
                }
            }
            priced.get_or_insert_with(|| book.clone());
        }
        match self.late_lines(books, account, cycle, earlier, at).await? {
            Some(late) => lines.extend(late),
            None => return Ok(Outcome::Moved),
        }
        let Some(book) = priced else { return Ok(Outcome::Nothing("the subscription has ended")) };
        if lines.is_empty() {
            return Ok(Outcome::Nothing("nothing is due in advance"));
        }
        let lane = self.tenant.lane_of(&customer.id);
        let body = assemble(Draft {
            tenant: self.tenant.id.clone(),
            customer: customer.id.clone(),
            customer_name: customer.name.clone(),
            subscription: account.subscription.id.clone(),
            cycle: cycle.number,
            revision: 0,
            due_cycle_at: cycle.at,
            period: cycle.closes.or(cycle.opens).unwrap_or(Period::new(cycle.at, cycle.at)),
            zone: customer.zone.clone(),
            currency: book.currency,
            rounding: book.rounding,
            tax: customer.tax.clone(),
            lines,
            plan_minimum: minimum,
            inputs: Inputs {
                lane: lane.0,
                position: at.position(),
                engine: ENGINE_VERSION.to_owned(),
                subscription: account.subscription.clone(),
                tax: customer.tax.clone(),
            },
        })?;
        Ok(Outcome::Invoice(Box::new(body)))
    }

    /// Usage of all meters a plan prices; `None` when the projector moved.
    pub(crate) async fn plan_usage(
        &self,
        books: &Books,
        plan: &Plan,
        customer: &Customer,
        period: Period,
        at: As<'_>,
    ) -> Result<Option<CustomerUsage>, EngineError> {
        let mut meters: Vec<&Meter> = Vec::new();
        let mut transactions = HashSet::new();
        for charge in &plan.charges {
            let Some(key) = &charge.meter else { continue };
            let meter = books.meters().get(key).ok_or_else(|| {
                EngineError::not_found("meter", key, "; publish the price book again")
            })?;
            if !meters.iter().any(|known| known.key == meter.key) {
                meters.push(meter);
            }
            if matches!(&charge.model, Model::Percentage(model) if model.needs_transactions()) {
                transactions.insert(key.clone());
            }
        }
        let request = Request { customer: &customer.id, period, meters, transactions };
        match at {
            As::Of(view) => self.read_at(&request, view).await,
            As::Rebuilt(position) => Ok(Some(self.fold_usage(&request, position).await?)),
        }
    }

    /// Delta lines for periods that were invoiced before and have changed since; `None` when the
    /// projector moved.
    async fn late_lines(
        &self,
        books: &Books,
        account: &Account,
        cycle: &Cycle,
        earlier: &[Invoice],
        at: As<'_>,
    ) -> Result<Option<Vec<InvoiceLine>>, EngineError> {
        let mut late = Vec::new();
        if !account.bills_late(cycle)? {
            return Ok(Some(late));
        }
        // Invoices that know more of the ledger than this one came after it.
        let finalized: Vec<&Invoice> = earlier
            .iter()
            .filter(|invoice| !matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void))
            .filter(|invoice| invoice.body.inputs.position <= at.position())
            .filter(|invoice| invoice.body.cycle != cycle.number)
            .collect();
        for original in finalized.iter().filter(|invoice| invoice.body.cycle < cycle.number) {
            let period = original.body.period;
            let usage_lines: Vec<&InvoiceLine> = original
                .body
                .lines
                .iter()
                .filter(|line| line.kind == LineKind::Usage && line.period == period)
                .collect();
            let Some(first) = usage_lines.first() else { continue };
            let book = books.exact(&first.book).ok_or_else(|| {
                EngineError::not_found("price book", &first.book, "; it was published once")
            })?;
            let Some(plan) = book.plan(&first.plan) else { continue };
            if plan.late_events == LatePolicy::ReportOnly {
                continue;
            }
            let Some(usage) = self.plan_usage(books, plan, &account.customer, period, at).await?
            else {
                return Ok(None);
            };
            let full = full_period(account, original.body.cycle, period)?;
            let arrears =
                original.body.lines.iter().filter(|line| line.kind == LineKind::FeeArrears);
            let mut reached: Exact =
                arrears.fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()));
            for before in usage_lines {
                let Some(charge) = plan.charges.iter().find(|charge| charge.key == before.charge)
                else {
                    continue;
                };
                let kind = LineKind::LateUsage;
                let rating = Rating { kind, charge, plan, book, period, full };
                let mut delta = line(books, &account.customer, &rating, Some(&usage))?;
                reached = reached.add(&delta.amount.exact());
                subtract_billed(&finalized, &mut delta)?;
                if !delta.amount.is_zero() {
                    late.push(delta);
                }
            }
            let minimum = plan_minimum(plan, book, (period, full), &account.customer.zone)?;
            if let Some(minimum) = minimum {
                let mut delta = minimum.line(&reached, period, book.currency, book.rounding)?;
                subtract_billed(&finalized, &mut delta)?;
                if !delta.amount.is_zero() {
                    late.push(delta);
                }
            }
        }
        Ok(Some(late))
    }
}

/// Takes off a line what invoices so far billed for its charge and period.
fn subtract_billed(invoices: &[&Invoice], line: &mut InvoiceLine) -> Result<(), EngineError> {
    let minimum = line.kind == LineKind::PlanMinimum;
    let same = invoices.iter().flat_map(|invoice| &invoice.body.lines).filter(|other| {
        let kind = match other.kind {
            LineKind::Usage | LineKind::LateUsage => !minimum,
            LineKind::PlanMinimum => minimum,
            LineKind::FeeArrears | LineKind::FeeAdvance => false,
        };
        kind && other.charge == line.charge
            && other.plan == line.plan
            && other.period == line.period
    });
    let zero = Money::zero(line.amount.currency());
    let billed = same.map(|other| other.amount).try_fold(zero, Money::checked_add)?;
    line.amount = line.amount.checked_sub(billed)?;
    line.already_billed = Some(billed);
    Ok(())
}

/// The minimum of a plan over a period of the grid period `full`, if the plan has one.
pub(crate) fn plan_minimum(
    plan: &Plan,
    book: &PriceBook,
    (period, full): (Period, Period),
    zone: &Zone,
) -> Result<Option<PlanMinimum>, EngineError> {
    let Some(minimum) = plan.minimum else { return Ok(None) };
    Ok(Some(PlanMinimum {
        minimum,
        fraction: fraction(&period, &full, ProrationBasis::Second, zone)?,
        book: book.reference.clone(),
        book_hash: book.digest,
        plan: plan.key.clone(),
    }))
}

fn full_period(
    account: &Account,
    cycle: CycleNumber,
    period: Period,
) -> Result<Period, EngineError> {
    let closed = account.cycles.cycle(cycle)?.and_then(|cycle| cycle.closes_full);
    Ok(closed.unwrap_or(period))
}

/// Rates one charge and wraps it as a line.
pub(crate) fn line(
    books: &Books,
    customer: &Customer,
    rating: &Rating<'_>,
    usage: Option<&CustomerUsage>,
) -> Result<InvoiceLine, EngineError> {
    let Rating { kind, charge, plan, book, period, full } = rating;
    let part = if charge.recurrence == Recurrence::Once {
        Exact::ONE
    } else {
        fraction(period, full, charge.proration, &customer.zone)?
    };
    let context = RateContext::new(book.currency, book.rounding).prorated(part);
    let meter = charge.meter.as_ref().and_then(|key| books.meters().get(key));
    let metered: Usage = match (meter, usage) {
        (Some(meter), Some(usage)) => usage.for_rating(meter, &plan.matrix_dimensions(charge))?,
        _ => Usage::default(),
    };
    let rated = rate(charge, &metered, &context)?;
    Ok(InvoiceLine {
        kind: *kind,
        charge: charge.key.clone(),
        name: charge.name.clone(),
        period: *period,
        book: book.reference.clone(),
        book_hash: book.digest,
        plan: plan.key.clone(),
        meter: charge.meter.clone(),
        unit: meter.map(|meter| meter.unit.clone()),
        metered: meter.map(|_| metered.units.clone()),
        events: meter.map(|_| metered.events),
        already_billed: None,
        amount: rated.amount,
        rated,
    })
}
