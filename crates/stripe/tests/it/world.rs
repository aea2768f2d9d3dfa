//! An engine with a relay to a scripted Stripe behind a proxy, on both stores.

#![cfg(test)]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use counterfoil_catalog::PriceBook;
use counterfoil_delivery::{Guard, Relay, RelayOptions, Report, WebSender};
use counterfoil_engine::{
    Engine,
    ingest::IngestOptions,
    run::{Month, RunOptions},
};
use counterfoil_invoicing::{Customer, Invoice, Subscription};
use counterfoil_ledger::{Event, Receipt};
use counterfoil_store::{
    Commit, Delivery, DeliveryFilter, DeliveryState, InvoiceFilter, Store, Write,
    stripe::{self, Link, MeterLink, Mode, UsagePush},
};
use counterfoil_store_postgres::{PostgresOptions, PostgresStore, testing};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_stripe::{Client, ClientOptions, StripeSender};
use counterfoil_types::{Clock, Currency, CustomerId, FixedClock, Random, TenantId, Timestamp};

use crate::{
    proxy::Proxy,
    server::{KEY, Server},
};

const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
[[meter]]
key = "peak"
event_type = "call"
aggregation = "max"
[[plan]]
key = "p"
interval = "month"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "10"
billing = "arrears"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
"#;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn id(name: &str) -> CustomerId {
    CustomerId::new(name).unwrap()
}

pub(crate) struct Foreseen;
impl Random for Foreseen {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// A tenant on a store, its clock, and Stripe.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) engine: Engine,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) client: Arc<Client>,
    base: String,
}

/// Runs a test on SQLite and on PostgreSQL.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    test(World::on(Arc::new(sqlite.clone())).await).await;
    sqlite.close().await;
    let url = match testing::shared() {
        Ok(server) => server.database().await.unwrap(),
        Err(error) => panic!("{error}"),
    };
    let postgres = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    test(World::on(Arc::new(postgres.clone())).await).await;
    postgres.close().await;
}

pub(crate) fn client(base: &str, key: &str) -> Arc<Client> {
    let options = ClientOptions {
        base: base.to_owned(),
        timeout: Duration::from_millis(2_500),
        ..ClientOptions::new(key)
    };
    Arc::new(Client::new(options).unwrap())
}

impl World {
    pub(crate) async fn on(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(FixedClock::new(at("2026-10-05T10:00:00Z")));
        let tenant = TenantId::new("acme").unwrap();
        let engine = Engine::open(store.clone(), clock.clone(), &tenant, 2).await.unwrap();
        let server = Server::start(clock.clone()).await;
        let proxy = Proxy::before(server.address).await;
        let base = format!("http://{}/", proxy.address);
        let client = client(&base, KEY);
        engine.publish(&PriceBook::parse("b.toml", BOOK).unwrap()).await.unwrap();
        let world = Self { store, clock, engine, server, proxy, client, base };
        world.customer("ann", "2026-10-01").await;
        world.customer("bob", "2026-10-01").await;
        world
    }

    /// The same, but for the Stripe it talks to, which lies behind a proxy as well.
    pub(crate) async fn at(self, server: SocketAddr, path: &str, key: &str) -> Self {
        let proxy = Proxy::before(server).await;
        let base = format!("http://{}{path}", proxy.address);
        Self { client: client(&base, key), proxy, base, ..self }
    }

    pub(crate) fn later(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus_micros(seconds * 1_000_000));
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.engine.tenant().id
    }

    pub(crate) async fn customer(&self, name: &str, start: &str) {
        let customer = Customer::new(id(name), name, Currency::USD, "UTC".parse().unwrap());
        self.engine.put_customer(&customer).await.unwrap();
        let subscription = Subscription::new(
            name.parse().unwrap(),
            id(name),
            "b",
            "p".parse().unwrap(),
            start.parse().unwrap(),
        );
        self.engine.start_subscription(&subscription).await.unwrap();
    }

    /// Links the tenant; customers are called `cus_NAME`, meters have ids of the server.
    pub(crate) async fn link(&self, link: Link) {
        let mut commit = Commit::of(link.kept().unwrap());
        for name in ["ann", "bob"] {
            let key = format!("{}{name}", stripe::CUSTOMERS);
            commit.writes.push(Write::Set { key, value: Some(format!("cus_{name}")) });
        }
        if link.mode == Mode::MeterEvents {
            for (at, name) in ["calls", "peak"].into_iter().enumerate() {
                let meter = Some(format!("mtr_{at}"));
                let known = MeterLink { event_name: name.to_owned(), meter, decimals: 2 };
                commit.writes.push(known.kept(&name.parse().unwrap()).unwrap());
                let made = serde_json::json!({"id": format!("mtr_{at}"), "event_name": name,
                    "default_aggregation": {"formula": "sum"}});
                self.server.state.lock().unwrap().meters.push(made);
            }
        }
        self.engine.commit(&commit).await.unwrap();
    }

    pub(crate) async fn meter_events(&self) {
        self.link(Link::new(Mode::MeterEvents, "n".to_owned())).await;
    }

    pub(crate) async fn ingest(&self, customer: &str, event: &str, quantity: &str, time: &str) {
        let event = Event {
            id: event.to_owned(),
            source: "svc".to_owned(),
            customer: id(customer),
            event_type: "call".to_owned(),
            time: Some(at(time)),
            quantity: quantity.parse().unwrap(),
            unit: None,
            properties: BTreeMap::new(),
            subject: None,
            resource: None,
            user: None,
            correction: None,
        };
        let options = IngestOptions { backfill: true };
        let receipts = self.engine.ingest(vec![event], options).await.unwrap();
        assert!(matches!(receipts[0], Receipt::Inserted { .. }), "{receipts:?}");
    }

    pub(crate) async fn push(&self) -> u64 {
        let queued = self.engine.queue_usage_for_stripe("ann").await.unwrap();
        assert!(queued.failed.is_empty(), "{queued:?}");
        queued.effects
    }

    pub(crate) fn relay(&self) -> Relay {
        let web = WebSender::new(self.store.clone(), Guard::default()).unwrap();
        let sender = StripeSender::new(self.store.clone(), client(&self.base, KEY));
        Relay::new(
            self.store.clone(),
            self.tenant().clone(),
            self.clock.clone(),
            Arc::new(Foreseen),
            RelayOptions { limit: 12, ..RelayOptions::of("relay") },
            (Arc::new(web), None),
        )
        .and_to(stripe::TARGET, Arc::new(sender))
    }

    pub(crate) async fn deliver(&self) -> Report {
        self.relay().deliver_due().await.unwrap()
    }

    /// Delivers until nothing is due any more, an hour between two looks.
    pub(crate) async fn settle(&self) {
        for _ in 0..12 {
            self.deliver().await;
            if self.deliveries(DeliveryState::Due).await.is_empty() {
                return;
            }
            self.later(3_600);
        }
        panic!("{:?}", self.deliveries(DeliveryState::Due).await);
    }

    pub(crate) async fn deliveries(&self, state: DeliveryState) -> Vec<Delivery> {
        let filter = DeliveryFilter {
            state: Some(state),
            target: Some(stripe::TARGET.to_owned()),
            ..DeliveryFilter::default()
        };
        self.store.deliveries(self.tenant(), &filter, None, 1_000).await.unwrap()
    }

    /// What was queued, in order.
    pub(crate) async fn pushes(&self) -> Vec<UsagePush> {
        let effects = self.store.effects(self.tenant(), 0, 10_000).await.unwrap();
        let usage = effects.into_iter().filter(|effect| effect.kind == stripe::USAGE);
        usage.map(|effect| serde_json::from_value(effect.body).unwrap()).collect()
    }

    /// Computes, signs off and finalizes the run of a month.
    pub(crate) async fn bill(&self, month: &str) -> Vec<Invoice> {
        let (options, month) = (RunOptions::default(), month.parse::<Month>().unwrap());
        let books = Arc::new(self.engine.books().await.unwrap());
        let run = self.engine.open_run(&month, &options).await.unwrap();
        let run = self.engine.plan_run(&books, run).await.unwrap();
        let run = self.engine.compute_run(&books, run, &options, &|_| {}).await.unwrap();
        let run = self.engine.approve_run(run, "ann").await.unwrap();
        self.engine.finalize_run(run, &options, &|_| {}).await.unwrap();
        let mut invoices = Vec::new();
        let all = InvoiceFilter::default();
        for found in self.store.invoices(self.tenant(), &all, None, 1_000).await.unwrap() {
            invoices.push(self.store.invoice(self.tenant(), &found.id).await.unwrap().unwrap());
        }
        invoices
    }
}
