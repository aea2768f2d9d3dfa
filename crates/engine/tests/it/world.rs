//! A tenant on a store of its own, and short words for what tests do with it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{
    Engine, EngineError,
    ingest::IngestOptions,
    run::{Month, RunOptions},
};
use counterfoil_invoicing::{Customer, Invoice, LineKind, Run, Subscription, TaxRate};
use counterfoil_ledger::{Correction, CorrectionKind, Event, Receipt, Scalar};
use counterfoil_store::{InvoiceFilter, Store};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{
    Currency, CustomerId, Exact, FixedClock, Money, Period, Quantity, TenantId, Timestamp,
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn dollars(text: &str) -> Money {
    Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
}

pub(crate) fn id(name: &str) -> CustomerId {
    CustomerId::new(name).unwrap()
}

/// A price book as shipped.
pub(crate) fn shipped(name: &str) -> PriceBook {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../pricing").join(name);
    PriceBook::parse(name, &std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn event(id: &str, customer: &str, kind: &str, time: Timestamp) -> Event {
    Event {
        id: id.to_owned(),
        source: "svc".to_owned(),
        customer: CustomerId::new(customer).unwrap(),
        event_type: kind.to_owned(),
        time: Some(time),
        quantity: Quantity::ONE,
        unit: None,
        properties: BTreeMap::new(),
        subject: None,
        resource: None,
        user: None,
        correction: None,
    }
}

pub(crate) trait With {
    fn quantity(self, text: &str) -> Self;
    fn number(self, name: &str, text: &str) -> Self;
    fn text(self, name: &str, text: &str) -> Self;
    fn amends(self, target: &str) -> Self;
    fn reverses(self, target: &str) -> Self;
}

impl With for Event {
    fn quantity(mut self, text: &str) -> Self {
        self.quantity = text.parse().unwrap();
        self
    }
    fn number(mut self, name: &str, text: &str) -> Self {
        self.properties.insert(name.to_owned(), Scalar::Number(text.parse().unwrap()));
        self
    }
    fn text(mut self, name: &str, text: &str) -> Self {
        self.properties.insert(name.to_owned(), Scalar::from(text));
        self
    }
    fn amends(mut self, target: &str) -> Self {
        let kind = CorrectionKind::Amends;
        self.correction = Some(Correction { kind, target: target.to_owned() });
        self
    }
    fn reverses(mut self, target: &str) -> Self {
        let kind = CorrectionKind::Reverses;
        self.correction = Some(Correction { kind, target: target.to_owned() });
        self
    }
}

/// A tenant, its store, its clock.
pub(crate) struct World {
    directory: TempDir,
    pub(crate) sqlite: SqliteStore,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) engine: Engine,
    pub(crate) options: RunOptions,
}

impl World {
    pub(crate) async fn new(lanes: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        // Tests stop no machine: without syncs they run faster.
        sqlx::raw_sql("PRAGMA synchronous = OFF").execute(sqlite.writer()).await.unwrap();
        let clock = Arc::new(FixedClock::new(at("2026-10-01T00:00:00Z")));
        let tenant = TenantId::new("acme").unwrap();
        let store: Arc<dyn Store> = Arc::new(sqlite.clone());
        let engine = Engine::open(store, clock.clone(), &tenant, lanes).await.unwrap();
        Self { directory, sqlite, clock, engine, options: RunOptions::default() }
    }

    /// The same tenant through another store, as another program would have it.
    pub(crate) async fn through(&self, store: Arc<dyn Store>) -> Result<Engine, EngineError> {
        Engine::open(store, self.clock.clone(), &self.engine.tenant().id, 1).await
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Another world that stands where this one does.
    pub(crate) async fn copy(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let target = path.display().to_string();
        sqlx::query("VACUUM INTO ?").bind(target).execute(self.sqlite.writer()).await.unwrap();
        let sqlite = SqliteStore::open(&path).await.unwrap();
        sqlx::raw_sql("PRAGMA synchronous = OFF").execute(sqlite.writer()).await.unwrap();
        let clock = self.clock.clone();
        let store: Arc<dyn Store> = Arc::new(sqlite.clone());
        let tenant = &self.engine.tenant().id;
        let engine = Engine::open(store, clock.clone(), tenant, 1).await.unwrap();
        Self { directory, sqlite, clock, engine, options: self.options.clone() }
    }

    pub(crate) async fn intruder(&self) -> SqliteConnection {
        let path = self.directory.path().join("store.db");
        SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
    }

    pub(crate) async fn publish(&self, text: &str) {
        self.engine.publish(&PriceBook::parse("test.toml", text).unwrap()).await.unwrap();
    }

    pub(crate) async fn customer(&self, name: &str, zone: &str, vat: Option<&str>) {
        let tax = vat
            .map(|percent| TaxRate { name: "VAT".to_owned(), percent: percent.parse().unwrap() });
        let named = format!("{name} Ltd");
        let customer = Customer {
            tax: tax.into_iter().collect(),
            ..Customer::new(id(name), named, Currency::USD, zone.parse().unwrap())
        };
        self.engine.put_customer(&customer).await.unwrap();
    }

    /// Subscribes customer `name` under subscription `name`.
    pub(crate) async fn subscribe(&self, name: &str, book: &str, plan: &str, start: &str) {
        let subscription = subscription(name, book, plan, start);
        self.engine.start_subscription(&subscription).await.unwrap();
    }

    pub(crate) async fn ingest(&self, events: Vec<Event>) -> Vec<Receipt> {
        let options = IngestOptions { backfill: true };
        let receipts = self.engine.ingest(events, options).await.unwrap();
        for receipt in &receipts {
            assert!(matches!(receipt, Receipt::Inserted { .. }), "{receipt:?}");
        }
        receipts
    }

    pub(crate) fn set_clock(&self, now: &str) {
        self.clock.set(at(now));
    }

    /// Opens, plans and computes the run of a month.
    pub(crate) async fn compute(&self, month: &str) -> Run {
        let month: Month = month.parse().unwrap();
        let books = Arc::new(self.engine.books().await.unwrap());
        let run = self.engine.open_run(&month, &self.options).await.unwrap();
        let run = self.engine.plan_run(&books, run).await.unwrap();
        self.engine.compute_run(&books, run, &self.options, &|_| {}).await.unwrap()
    }

    /// Signs a run off and finalizes it.
    pub(crate) async fn finalize(&self, run: Run) -> Run {
        let run = self.engine.approve_run(run, "ann").await.unwrap();
        self.engine.finalize_run(run, &self.options, &|_| {}).await.unwrap()
    }

    pub(crate) async fn bill(&self, month: &str) -> Run {
        let run = self.compute(month).await;
        self.finalize(run).await
    }

    /// All invoices, drafts included, by due time.
    pub(crate) async fn invoices(&self) -> Vec<Invoice> {
        let tenant = &self.engine.tenant().id;
        let all = InvoiceFilter::default();
        let mut invoices = Vec::new();
        let store = self.engine.store();
        for summary in store.invoices(tenant, &all, None, 10_000).await.unwrap() {
            invoices.push(store.invoice(tenant, &summary.id).await.unwrap().unwrap());
        }
        invoices
    }

    pub(crate) async fn invoice(&self, subscription: &str, cycle: u32) -> Option<Invoice> {
        let all = self.invoices().await;
        all.into_iter()
            .find(|i| i.body.subscription.as_str() == subscription && i.body.cycle == cycle)
    }

    pub(crate) async fn problems(&self) -> Vec<String> {
        self.engine.verify().await.unwrap().problems
    }
}

pub(crate) fn subscription(name: &str, book: &str, plan: &str, start: &str) -> Subscription {
    Subscription::new(
        name.parse().unwrap(),
        id(name),
        book,
        plan.parse().unwrap(),
        start.parse().unwrap(),
    )
}

/// What an invoice says, line by line: kind, charge, amount.
pub(crate) fn lines(invoice: &Invoice) -> Vec<(LineKind, String, String)> {
    let line = |line: &counterfoil_invoicing::InvoiceLine| {
        (line.kind, line.charge.clone(), line.amount.to_plain())
    };
    invoice.body.lines.iter().map(line).collect()
}

/// Sum of all lines by charge and period they are for.
pub(crate) fn billed(invoices: &[Invoice]) -> BTreeMap<(String, Period), Exact> {
    let mut sums = BTreeMap::new();
    for line in invoices.iter().flat_map(|invoice| &invoice.body.lines) {
        let sum = sums.entry((line.charge.clone(), line.period)).or_insert(Exact::ZERO);
        *sum = sum.add(&line.amount.exact());
    }
    sums.retain(|_, sum| !sum.is_zero());
    sums
}
