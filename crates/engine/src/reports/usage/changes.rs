//! Why a bill is higher, or lower, than that of another month: the difference, taken apart.
//!
//! Each charge that both months bill once is split in two steps: what the earlier usage would have
//! cost at the later prices (the price), and what the later usage costs more than the earlier one at
//! those prices (the usage), tier by tier. Where a charge cannot be rated from its units alone (a
//! matrix, fees per transaction, granted units), or a month has several lines for it, both stand
//! together. Everything else is told by what it is: fees, corrections of earlier periods, minimums,
//! discounts, credits, tax. The rows sum to the difference of the totals; that is checked.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_invoicing::{Invoice, InvoiceBody, InvoiceLine, InvoiceState, LineKind};
use counterfoil_rating::{RatedLine, TaxMode, Usage};
use counterfoil_store::InvoiceFilter;
use counterfoil_types::{Currency, CustomerId, Exact, civil::Date};

use super::cost::accounts_of;
use crate::{
    Books, Engine, EngineError,
    accounts::PAGE,
    contract::{Account, spans},
    draft::Bill,
    reports::{
        Cell, Kind, Report, Table, Wanted, adds_up,
        range::{before, invoice_month, label, month_of},
    },
};

const COLUMNS: [&str; 9] = [
    "cause",
    "charge",
    "name",
    "before",
    "after",
    "change",
    "currency",
    "units_before",
    "units_after",
];

/// One cause of a difference.
struct Cause {
    cause: String,
    charge: String,
    name: String,
    before: Exact,
    after: Exact,
    units: Option<(Exact, Exact)>,
}

/// Lines of one thing in both months.
#[derive(Default)]
struct Pair<'a> {
    before: Vec<&'a InvoiceLine>,
    after: Vec<&'a InvoiceLine>,
}

fn sum(lines: &[&InvoiceLine]) -> Exact {
    lines.iter().fold(Exact::ZERO, |sum, line| sum.add(&line.amount.exact()))
}

/// What a line is for, in the order in which causes are told.
fn class(line: &InvoiceLine) -> (u8, &'static str) {
    if line.origin.is_some() || line.kind == LineKind::LateUsage {
        return (3, "correction of an earlier period");
    }
    match line.kind {
        LineKind::Usage => (0, "usage"),
        LineKind::FeeAdvance | LineKind::FeeArrears => (1, "fee"),
        LineKind::PlanMinimum => (4, "minimum of the plan"),
        LineKind::PlanMaximum => (4, "maximum of the plan"),
        LineKind::Commitment => (4, "commitment"),
        LineKind::Discount => (5, "discount"),
        LineKind::LateUsage | LineKind::Adjustment => (3, "correction of an earlier period"),
    }
}

impl Engine {
    pub(in crate::reports) async fn changes_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        let customer = wanted.customer()?;
        if !wanted.range.is_months() {
            return Err(EngineError::refused("bills are compared by the month (--from, --to)"));
        }
        let zone = self.customer(customer).await?.zone;
        let later = match wanted.range.last() {
            Some(month) => month,
            None => before(month_of(self.now_of(customer), &zone)?)?,
        };
        let earlier = match wanted.range.first() {
            Some(month) if month < later => month,
            Some(_) => return Err(EngineError::refused("name two months that differ")),
            None => before(later)?,
        };
        let books = self.books().await?;
        let whose = self.customer(customer).await?;
        let accounts = accounts_of(&books, &whose, self.subscriptions_of(customer).await?)?;
        let old = self.bills_of(customer, earlier).await?;
        let new = self.bills_of(customer, later).await?;
        let mut report = Report::of(Kind::Changes, Table::new(&COLUMNS));
        report.totals =
            Table::new(&["month_before", "month_after", "before", "after", "change", "currency"]);
        let currencies: BTreeMap<&'static str, Currency> = old
            .iter()
            .chain(&new)
            .map(|invoice| (invoice.body.currency.code(), invoice.body.currency))
            .collect();
        for currency in currencies.into_values() {
            let of = |all: &[Invoice]| -> Vec<InvoiceBody> {
                let own = all.iter().filter(|one| one.body.currency == currency);
                own.map(|one| one.body.clone()).collect()
            };
            let (old, new) = (of(&old), of(&new));
            let causes = causes(&books, &accounts, &old, &new)?;
            let total = |all: &[InvoiceBody]| {
                all.iter().fold(Exact::ZERO, |sum, body| sum.add(&body.total.exact()))
            };
            let (was, is) = (total(&old), total(&new));
            let told = causes
                .iter()
                .fold(Exact::ZERO, |sum, cause| sum.add(&cause.after).sub(&cause.before));
            adds_up(&format!("the causes in {currency}"), &told, &is.sub(&was))?;
            for cause in causes {
                let change = cause.after.sub(&cause.before);
                if change.is_zero() {
                    continue;
                }
                let units = |pick: fn(&(Exact, Exact)) -> &Exact| {
                    cause.units.as_ref().map_or(Cell::Empty, |u| Cell::Exact(pick(u).clone()))
                };
                let (units_before, units_after) =
                    (units(|units| &units.0), units(|units| &units.1));
                report.table.rows.push(vec![
                    Cell::Text(cause.cause),
                    Cell::Text(cause.charge),
                    Cell::Text(cause.name),
                    Cell::money(&cause.before, currency)?,
                    Cell::money(&cause.after, currency)?,
                    Cell::money(&change, currency)?,
                    Cell::text(currency),
                    units_before,
                    units_after,
                ]);
            }
            report.totals.rows.push(vec![
                Cell::Text(label(earlier)),
                Cell::Text(label(later)),
                Cell::money(&was, currency)?,
                Cell::money(&is, currency)?,
                Cell::money(&is.sub(&was), currency)?,
                Cell::text(currency),
            ]);
        }
        Ok(report)
    }

    /// The bills of a month: all that are not withdrawn, drafts included.
    async fn bills_of(
        &self,
        customer: &CustomerId,
        month: Date,
    ) -> Result<Vec<Invoice>, EngineError> {
        let filter = InvoiceFilter { customer: Some(customer.clone()), ..InvoiceFilter::default() };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.invoices(&self.tenant.id, &filter, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some((last.due_cycle_at, last.id));
            for summary in page.iter().filter(|one| one.state != InvoiceState::Void) {
                let invoice = self.invoice(&summary.id).await?;
                if invoice_month(&invoice.body)? == month {
                    found.push(invoice);
                }
            }
        }
    }
}

type Key<'a> = (u8, &'static str, &'a str, &'a str);

fn causes(
    books: &Books,
    accounts: &[Account],
    old: &[InvoiceBody],
    new: &[InvoiceBody],
) -> Result<Vec<Cause>, EngineError> {
    let mut pairs: BTreeMap<Key<'_>, Pair<'_>> = BTreeMap::new();
    for (bodies, late) in [(old, false), (new, true)] {
        for (body, line) in bodies.iter().flat_map(|body| body.lines.iter().map(move |l| (body, l)))
        {
            let (rank, cause) = class(line);
            // Two subscriptions may have a charge of the same name.
            let key = (rank, cause, body.subscription.as_str(), line.charge.as_str());
            let pair = pairs.entry(key).or_default();
            if late { pair.after.push(line) } else { pair.before.push(line) }
        }
    }
    let granted: BTreeSet<_> = old
        .iter()
        .chain(new)
        .flat_map(|body| body.granted.iter().map(|used| used.meter.clone()))
        .collect();
    let mut found = Vec::new();
    for ((rank, cause, subscription, charge), pair) in &pairs {
        let name = pair.after.first().or(pair.before.first()).map_or("", |line| &line.name);
        let split = match (pair.before.as_slice(), pair.after.as_slice()) {
            ([before], [after]) if *rank == 0 => {
                let account =
                    accounts.iter().find(|one| one.subscription.id.as_str() == *subscription);
                let plain = after.meter.as_ref().is_none_or(|meter| !granted.contains(meter));
                match account.filter(|_| plain) {
                    Some(account) => split(books, account, before, after)?,
                    None => None,
                }
            }
            _ => None,
        };
        if let Some(parts) = split {
            found.extend(parts);
            continue;
        }
        let cause = match (*rank, pair.before.is_empty(), pair.after.is_empty()) {
            (0 | 1, true, _) => format!("new {cause}"),
            (0 | 1, _, true) => format!("{cause} that ended"),
            (0, ..) => "usage and price".to_owned(),
            _ => (*cause).to_owned(),
        };
        found.push(Cause {
            cause,
            charge: (*charge).to_owned(),
            name: name.to_owned(),
            before: sum(&pair.before),
            after: sum(&pair.after),
            units: None,
        });
    }
    let whole = |cause: &str, before: Exact, after: Exact| Cause {
        cause: cause.to_owned(),
        charge: String::new(),
        name: String::new(),
        before,
        after,
        units: None,
    };
    let credits = |bodies: &[InvoiceBody]| {
        let used = bodies.iter().flat_map(|body| &body.credits);
        used.fold(Exact::ZERO, |sum, used| sum.sub(&used.amount.exact()))
    };
    found.push(whole("prepaid credit", credits(old), credits(new)));
    // Tax that prices contain is in the lines already.
    let taxes = |bodies: &[InvoiceBody]| {
        let on_top = bodies.iter().filter(|body| body.inputs.tax.mode != TaxMode::Inclusive);
        on_top.fold(Exact::ZERO, |sum, body| sum.add(&body.tax.exact()))
    };
    found.push(whole("tax", taxes(old), taxes(new)));
    Ok(found)
}

/// What `units` would have cost on the terms of a line; `None` where units alone do not tell, which
/// the line's own units show.
fn at_terms_of(
    books: &Books,
    account: &Account,
    line: &InvoiceLine,
    units: &Exact,
) -> Result<Option<RatedLine>, EngineError> {
    let Some(number) = account.cycles.period_at(line.period.start)? else { return Ok(None) };
    let Some((period, full)) = account.cycles.period(number)? else { return Ok(None) };
    let found = spans(&account.segments(books, period)?);
    let same = found.iter().find(|span| {
        span.period == line.period
            && span.plan.key == line.plan
            && span.charge().is_some_and(|charge| charge.key == line.charge)
    });
    let Some(span) = same else { return Ok(None) };
    let bill = Bill { kind: LineKind::Usage, span, full, once: false };
    // A model that needs more than units refuses; that is no error of the report.
    Ok(bill.rated(account, &Usage::units(units.clone()), false).ok())
}

fn split(
    books: &Books,
    account: &Account,
    before: &InvoiceLine,
    after: &InvoiceLine,
) -> Result<Option<Vec<Cause>>, EngineError> {
    let (Some(was), Some(is)) = (&before.metered, &after.metered) else { return Ok(None) };
    let Some(own) = at_terms_of(books, account, after, is)? else { return Ok(None) };
    let Some(old_units) = at_terms_of(books, account, after, was)? else { return Ok(None) };
    if own.amount != after.amount {
        return Ok(None);
    }
    let cause = |cause: String, was: Exact, is: Exact, units| Cause {
        cause,
        charge: after.charge.clone(),
        name: after.name.clone(),
        before: was,
        after: is,
        units,
    };
    let mut causes = vec![cause(
        "price".to_owned(),
        before.amount.exact(),
        old_units.amount.exact(),
        Some((was.clone(), was.clone())),
    )];
    let key = |part: &counterfoil_rating::Part| (part.kind, part.label.clone());
    let mut parts = Vec::new();
    for part in old_units.parts.iter().chain(&own.parts) {
        if !parts.contains(&key(part)) {
            parts.push(key(part));
        }
    }
    for of in parts {
        let sums = |line: &RatedLine| {
            let same = line.parts.iter().filter(|part| key(part) == of);
            same.fold((Exact::ZERO, Exact::ZERO), |(amount, units), part| {
                (amount.add(&part.amount), units.add(&part.quantity))
            })
        };
        let ((amount, units), (amount_now, units_now)) = (sums(&old_units), sums(&own));
        let tier = if of.1.is_empty() { String::new() } else { format!(", {}", tier(&of.1)) };
        causes.push(cause(format!("usage{tier}"), amount, amount_now, Some((units, units_now))));
    }
    Ok(Some(causes))
}

/// A tier's label is its number; other labels name themselves.
fn tier(label: &str) -> String {
    if label.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("tier {label}")
    } else {
        label.to_owned()
    }
}
