//! Usage and what it costs: by meter, step by step, or customer by customer.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_invoicing::{Customer, Subscription};
use counterfoil_metering::Meter;
use counterfoil_types::{Currency, CustomerId, Exact, MeterKey, Period, Timestamp};

use super::{cost::accounts_of, is_additive, label, meters};
use crate::{
    Books, Engine, EngineError,
    contract::Account,
    reports::{By, Cell, Kind, Report, Table, Wanted},
    series::steps,
    usage::{CustomerUsage, Request},
};

/// Customers read at once.
const PAGE: u32 = 500;
const COLUMNS: [&str; 6] = ["meter", "unit", "usage", "events", "cost", "currency"];

/// Usage of one meter.
#[derive(Clone, Debug, Default)]
struct Used {
    usage: Option<Exact>,
    events: u64,
    /// By currency; of meters that a charge prices.
    cost: BTreeMap<&'static str, (Currency, Exact)>,
}

/// A customer with its usage and costs over a range.
pub(super) struct Told {
    pub(super) customer: Customer,
    pub(super) usage: CustomerUsage,
    pub(super) costs: BTreeMap<MeterKey, Exact>,
}

fn rows(
    head: &[Cell],
    meter: &Meter,
    used: &Used,
    into: &mut Vec<Vec<Cell>>,
) -> Result<(), EngineError> {
    let mut currencies: Vec<Option<&(Currency, Exact)>> = used.cost.values().map(Some).collect();
    if currencies.is_empty() {
        currencies.push(None);
    }
    for (at, cost) in currencies.into_iter().enumerate() {
        let mut row = head.to_vec();
        row.push(Cell::text(&meter.key));
        row.push(Cell::text(&meter.unit));
        // Usage stands once, however many currencies it is paid in.
        let first = at == 0;
        row.push(match (&used.usage, first) {
            (Some(usage), true) => Cell::Exact(usage.clone()),
            _ => Cell::Empty,
        });
        row.push(if first { Cell::Count(used.events) } else { Cell::Empty });
        match cost {
            Some((currency, cost)) => {
                row.push(Cell::money(cost, *currency)?);
                row.push(Cell::text(currency));
            }
            None => row.extend([Cell::Empty, Cell::Empty]),
        }
        into.push(row);
    }
    Ok(())
}

impl Engine {
    pub(in crate::reports) async fn usage_report(
        &self,
        wanted: &Wanted,
    ) -> Result<Report, EngineError> {
        match wanted.by {
            None | Some(By::Meter) => self.usage_by_meter(wanted).await,
            Some(By::Customer) => self.usage_by_customer(wanted).await,
            Some(By::Plan) => Err(EngineError::refused(
                "usage is reported --by meter, customer, hour, day, week or month",
            )),
            Some(_) => self.usage_by_step(wanted).await,
        }
    }

    async fn usage_by_meter(&self, wanted: &Wanted) -> Result<Report, EngineError> {
        let books = self.books().await?;
        let meters = meters(&books, wanted)?;
        let mut sums: BTreeMap<MeterKey, Used> = BTreeMap::new();
        let mut note = |told: Told| {
            let single = wanted.customer.is_some();
            add(&mut sums, &meters, &told, single)
        };
        self.each_customer(&books, wanted, &meters, &mut note).await?;
        let mut report = Report::of(Kind::Usage, Table::new(&COLUMNS));
        for meter in &meters {
            if let Some(used) = sums.get(&meter.key) {
                rows(&[], meter, used, &mut report.table.rows)?;
            }
        }
        report.totals = totals(&sums)?;
        Ok(report)
    }

    /// The daily or monthly report: each customer with what it used and what that costs.
    async fn usage_by_customer(&self, wanted: &Wanted) -> Result<Report, EngineError> {
        let books = self.books().await?;
        let meters = meters(&books, wanted)?;
        let mut columns = vec!["customer"];
        columns.extend(COLUMNS);
        let mut report = Report::of(Kind::Usage, Table::new(&columns));
        let mut all: BTreeMap<MeterKey, Used> = BTreeMap::new();
        let mut note = |told: Told| {
            let mut own: BTreeMap<MeterKey, Used> = BTreeMap::new();
            add(&mut own, &meters, &told, true)?;
            for meter in &meters {
                if let Some(used) = own.get(&meter.key) {
                    rows(&[Cell::text(&told.customer.id)], meter, used, &mut report.table.rows)?;
                }
            }
            add(&mut all, &meters, &told, false)
        };
        self.each_customer(&books, wanted, &meters, &mut note).await?;
        report.totals = totals(&all)?;
        Ok(report)
    }

    async fn usage_by_step(&self, wanted: &Wanted) -> Result<Report, EngineError> {
        let step = wanted.step(crate::series::Step::Day)?;
        let customer = wanted.customer()?;
        let (zone, period) = self.asked(wanted).await?;
        let books = self.books().await?;
        let meters = meters(&books, wanted)?;
        let whose = self.customer(customer).await?;
        let accounts = accounts_of(&books, &whose, self.subscriptions_of(customer).await?)?;
        let stretches = steps(period, step, &zone)?;
        let now = self.now_of(customer);
        // What lies ahead is nothing yet, and a level lasts up to now.
        let mut cuts: Vec<Timestamp> = stretches.iter().map(|step| step.start.min(now)).collect();
        cuts.push(period.end.min(now));
        let mut costs = vec![BTreeMap::<MeterKey, Exact>::new(); stretches.len()];
        for account in &accounts {
            let found = self.costs(&books, account, &cuts, None).await?;
            for (slot, found) in costs.iter_mut().zip(found) {
                for (meter, cost) in found {
                    let sum = slot.entry(meter).or_insert(Exact::ZERO);
                    *sum = sum.add(&cost);
                }
            }
        }
        let read: Vec<Period> = stretches
            .iter()
            .map(|step| Period::new(step.start, step.end.min(now)))
            .filter(|step| step.start < step.end)
            .collect();
        let used = self.usage_steps(customer, &read, &meters).await?;
        let mut columns = vec!["from"];
        columns.extend(COLUMNS);
        let mut report = Report::of(Kind::Usage, Table::new(&columns));
        let mut all: BTreeMap<MeterKey, Used> = BTreeMap::new();
        for ((stretch, usage), costs) in stretches.iter().zip(used).zip(costs) {
            let told = Told { customer: whose.clone(), usage, costs };
            let mut own: BTreeMap<MeterKey, Used> = BTreeMap::new();
            add(&mut own, &meters, &told, true)?;
            let head = [Cell::Text(label(step, stretch.start, &zone)?)];
            for meter in &meters {
                if let Some(used) = own.get(&meter.key) {
                    rows(&head, meter, used, &mut report.table.rows)?;
                }
            }
            add(&mut all, &meters, &told, false)?;
        }
        report.totals = totals(&all)?;
        Ok(report)
    }

    /// Hands each customer of a report to `each`, in order of id, a page at a time. The range is on
    /// each customer's own clock.
    pub(super) async fn each_customer(
        &self,
        books: &Books,
        wanted: &Wanted,
        meters: &[&Meter],
        each: &mut (dyn FnMut(Told) -> Result<(), EngineError> + Send),
    ) -> Result<(), EngineError> {
        if let Some(customer) = &wanted.customer {
            let page = vec![self.customer(customer).await?];
            return self.customers_page(books, wanted, meters, page, each).await;
        }
        let mut after: Option<CustomerId> = None;
        loop {
            let page = self.store.customers(&self.tenant.id, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id.clone());
            self.customers_page(books, wanted, meters, page, each).await?;
        }
    }

    async fn customers_page(
        &self,
        books: &Books,
        wanted: &Wanted,
        meters: &[&Meter],
        page: Vec<Customer>,
        each: &mut (dyn FnMut(Told) -> Result<(), EngineError> + Send),
    ) -> Result<(), EngineError> {
        let ids: Vec<CustomerId> = page.iter().map(|customer| customer.id.clone()).collect();
        let mut of: HashMap<CustomerId, Vec<Subscription>> = HashMap::new();
        for one in self.store.subscriptions_among(&self.tenant.id, &ids).await? {
            of.entry(one.customer.clone()).or_default().push(one);
        }
        let mut known: Vec<(Period, Customer, Vec<Account>)> = Vec::with_capacity(page.len());
        for customer in page {
            let now = self.now_of(&customer.id);
            let asked = wanted.range.on(&customer.zone, now)?;
            // What lies ahead is nothing yet, and a level lasts up to now.
            let range = Period::new(asked.start, asked.end.min(now).max(asked.start));
            if range.is_empty() {
                continue;
            }
            let mut own = of.remove(&customer.id).unwrap_or_default();
            own.sort_by(|a, b| a.id.cmp(&b.id));
            let accounts = accounts_of(books, &customer, own)?;
            known.push((range, customer, accounts));
        }
        let reading: Vec<(Period, &Customer, &[Account])> = known
            .iter()
            .map(|(range, customer, accounts)| (*range, customer, accounts.as_slice()))
            .collect();
        let views = self.views_for(books, &reading).await?;
        for (range, customer, accounts) in known {
            let view = views.get(&self.tenant.lane_of(&customer.id));
            let request = Request {
                customer: &customer.id,
                period: range,
                meters: meters.to_vec(),
                transactions: HashSet::new(),
            };
            let usage = match view {
                Some(view) => self.read_at(&request, view).await?,
                None => None,
            };
            let usage = match usage {
                Some(usage) => usage,
                None => self.read(&request).await?,
            };
            let mut costs: BTreeMap<MeterKey, Exact> = BTreeMap::new();
            for account in &accounts {
                let found = self.costs(books, account, &[range.start, range.end], view).await?;
                for (meter, cost) in found.into_iter().flatten() {
                    let sum = costs.entry(meter).or_insert(Exact::ZERO);
                    *sum = sum.add(&cost);
                }
            }
            each(Told { customer, usage, costs })?;
        }
        Ok(())
    }
}

/// Adds a customer to sums by meter. `single`: the sums are of one customer and range, so that also
/// a maximum or the like may stand; of several, only what adds up has a sum.
fn add(
    sums: &mut BTreeMap<MeterKey, Used>,
    meters: &[&Meter],
    told: &Told,
    single: bool,
) -> Result<(), EngineError> {
    let currency = told.customer.currency;
    for meter in meters {
        let (value, events) = (told.usage.total(meter)?, told.usage.events(&meter.key));
        let cost = told.costs.get(&meter.key).filter(|cost| !cost.is_zero() || events > 0);
        if events == 0 && value.is_zero() && cost.is_none() {
            continue;
        }
        let used = sums.entry(meter.key.clone()).or_default();
        used.events += events;
        if single || is_additive(meter) {
            used.usage = Some(used.usage.as_ref().map_or_else(|| value.clone(), |u| u.add(&value)));
        }
        if let Some(cost) = cost {
            let slot = used.cost.entry(currency.code()).or_insert((currency, Exact::ZERO));
            slot.1 = slot.1.add(cost);
        }
    }
    Ok(())
}

fn totals(sums: &BTreeMap<MeterKey, Used>) -> Result<Table, EngineError> {
    let mut table = Table::new(&["currency", "cost"]);
    let mut all: BTreeMap<&'static str, (Currency, Exact)> = BTreeMap::new();
    for (code, (currency, cost)) in sums.values().flat_map(|used| &used.cost) {
        let slot = all.entry(code).or_insert((*currency, Exact::ZERO));
        slot.1 = slot.1.add(cost);
    }
    for (currency, cost) in all.values() {
        table.rows.push(vec![Cell::text(currency), Cell::money(cost, *currency)?]);
    }
    Ok(table)
}
