//! Stripe held against us: totals of usage, and invoices. A customer that cannot be asked about is
//! listed, and the others are compared all the same.

use std::collections::{BTreeMap, HashMap};

use counterfoil_engine::{
    Engine, EngineError, postings,
    stripe::hold::{Difference, Reconciled},
};
use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::{InvoiceFilter, stripe, stripe::Mode};
use counterfoil_stripe::{
    Client,
    listed::{self, Theirs},
    usage::counted,
};
use counterfoil_types::{
    CustomerId, Money, Timestamp,
    timestamp::{DAY_MICROS, HOUR_MICROS},
};

/// Invoices in a page.
const PAGE: u32 = 500;

/// Compares what ended within so many days, or is open.
pub(crate) async fn compare(
    engine: &Engine,
    client: &Client,
    days: i64,
) -> Result<Reconciled, EngineError> {
    let at = engine.now();
    let since = at.plus_micros(-days * DAY_MICROS);
    let mut found = Reconciled::begun(at);
    let Some(link) = engine.stripe_link().await? else { return Ok(found) };
    if link.mode == Mode::Invoices {
        invoices(engine, client, since, &mut found).await?;
    }
    let standings = engine.stripe_standings(since).await?;
    let mut failed: BTreeMap<CustomerId, String> = standings.failed.into_iter().collect();
    for standing in standings.found {
        let customer = &standing.pushed.customer;
        // Once is enough to know that this one cannot be asked about.
        if failed.contains_key(customer) {
            continue;
        }
        let theirs = match counted(client, &standing.address, standing.pushed.period).await {
            Ok(theirs) => theirs,
            Err(error) => {
                failed.insert(customer.clone(), format!("Stripe was asked for a total: {error}"));
                continue;
            }
        };
        found.compared += 1;
        if theirs != standing.total.exact() {
            found.differs(Difference {
                customer: standing.pushed.customer,
                meter: Some(standing.pushed.meter),
                invoice: None,
                period: standing.pushed.period,
                ours: standing.total.to_string(),
                queued: standing.pushed.total.to_string(),
                theirs: theirs.to_string(),
            });
        }
    }
    found.failed.extend(failed);
    Ok(found)
}

/// Our invoices that were issued since, by who pays them.
async fn issued(
    engine: &Engine,
    since: Timestamp,
) -> Result<BTreeMap<CustomerId, Vec<Invoice>>, EngineError> {
    let (store, tenant) = (engine.store(), &engine.tenant().id);
    let mut found: BTreeMap<CustomerId, Vec<Invoice>> = BTreeMap::new();
    let mut after = None;
    loop {
        let filter = InvoiceFilter::default();
        let page = store.invoices(tenant, &filter, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some((last.due_cycle_at, last.id));
        for one in page {
            if one.issued_at.is_some_and(|at| at >= since) {
                let invoice = engine.invoice(&one.id).await?;
                found.entry(invoice.body.paid_by().clone()).or_default().push(invoice);
            }
        }
    }
}

async fn invoices(
    engine: &Engine,
    client: &Client,
    since: Timestamp,
    found: &mut Reconciled,
) -> Result<(), EngineError> {
    let tenant = &engine.tenant().id;
    let known: HashMap<_, _> =
        stripe::customers(engine.store(), tenant).await?.into_iter().collect();
    for (payer, ours) in issued(engine, since).await? {
        let Some(customer) = known.get(&payer) else {
            found.failed.push((payer, "it is not known at Stripe, and has invoices".to_owned()));
            continue;
        };
        let from = since.plus_micros(-DAY_MICROS).micros().div_euclid(1_000_000);
        let theirs = match listed::invoices(client, tenant, customer, from).await {
            Ok(theirs) => theirs,
            Err(error) => {
                found.failed.push((payer, format!("Stripe was asked for invoices: {error}")));
                continue;
            }
        };
        let mut by_id: HashMap<String, Vec<Theirs>> = HashMap::new();
        for one in theirs {
            by_id.entry(one.ours.clone()).or_default().push(one);
        }
        for invoice in ours {
            let there = by_id.remove(&invoice.id.to_string()).unwrap_or_default();
            found.compared += 1;
            let says = match there.as_slice() {
                [] => missing(engine, &invoice, found.at).await?,
                [one] => other(engine, &invoice, one).await?,
                many => Some(("one".to_owned(), format!("{} invoices", many.len()))),
            };
            let Some((ours, theirs)) = says else { continue };
            found.differs(Difference {
                customer: payer.clone(),
                meter: None,
                invoice: Some(invoice.number.clone().unwrap_or_else(|| invoice.id.to_string())),
                period: invoice.body.period,
                queued: String::new(),
                ours,
                theirs,
            });
        }
    }
    Ok(())
}

async fn open_on(engine: &Engine, invoice: &Invoice) -> Result<Money, EngineError> {
    engine.money_on(&postings::receivable(&invoice.id), invoice.body.currency).await
}

/// An invoice that Stripe does not have, where it should.
async fn missing(
    engine: &Engine,
    invoice: &Invoice,
    now: Timestamp,
) -> Result<Option<(String, String)>, EngineError> {
    let open = open_on(engine, invoice).await?;
    let wanted = matches!(invoice.state, InvoiceState::Pending | InvoiceState::Overdue);
    // It may be on its way.
    let young = invoice.issued_at.is_some_and(|at| at.plus_micros(HOUR_MICROS) > now);
    let absent = wanted && !young && open.exact().is_positive();
    let says = || (format!("{}, {open} open", invoice.state.as_str()), "not there".to_owned());
    Ok(absent.then(says))
}

/// In what an invoice is another there.
async fn other(
    engine: &Engine,
    invoice: &Invoice,
    theirs: &Theirs,
) -> Result<Option<(String, String)>, EngineError> {
    let number = invoice.number.clone().unwrap_or_default();
    let open = open_on(engine, invoice).await?;
    let state = match invoice.state {
        InvoiceState::Pending | InvoiceState::Overdue => "open",
        state => state.as_str(),
    };
    let paid = engine.booked_of_stripe(&theirs.id, invoice.body.currency).await?;
    let mut pairs = vec![
        ("number", number, theirs.number.clone()),
        ("total", invoice.body.total.to_string(), theirs.total.to_string()),
        ("state", state.to_owned(), theirs.status.clone()),
    ];
    // Where Stripe does not say what was paid elsewhere, no more can have been booked than was paid.
    if theirs.paid_is_known || paid.exact() > theirs.paid.exact() {
        pairs.push(("paid", paid.to_string(), theirs.paid.to_string()));
    }
    // Nothing more is collected otherwise.
    if state == "open" {
        pairs.push(("open", open.to_string(), theirs.open.to_string()));
    }
    pairs.retain(|(_, ours, theirs)| ours != theirs);
    if pairs.is_empty() {
        return Ok(None);
    }
    let ours: Vec<_> = pairs.iter().map(|(name, ours, _)| format!("{name} {ours}")).collect();
    let there: Vec<_> = pairs.iter().map(|(name, _, there)| format!("{name} {there}")).collect();
    Ok(Some((ours.join(", "), there.join(", "))))
}
