//! What the tests share: a fresh database each, events, batches, invoices, assertions.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_invoicing::{Inputs, Invoice, InvoiceBody, Subscription, TaxDecision};
use counterfoil_ledger::{Event, Receipt, StoredEvent};
use counterfoil_store::{CatalogStore, LedgerStore, Pending, StoreError, Tenant};
use counterfoil_store_postgres::{Distributed, PostgresOptions, PostgresStore, testing};
use counterfoil_types::{
    Currency, CustomerId, Exact, Money, Period, Quantity, TenantId, Timestamp, Zone,
};
use sqlx::{Connection, PgConnection};

/// 2025-10-09T08:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_759_996_800_000_000);

/// The URL of a fresh database with the schema.
pub(crate) async fn database() -> String {
    match testing::shared() {
        Ok(server) => server.database().await.unwrap(),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(url, PostgresOptions::default()).await.unwrap()
}

/// A store over a fresh database that is sharded, on the Citus cluster whose coordinator
/// `COUNTERFOIL_TEST_CITUS_URL` names (`postgres://user@host:port`, with the right to create
/// databases), if it does.
pub(crate) async fn sharded_store() -> Option<PostgresStore> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let base = std::env::var("COUNTERFOIL_TEST_CITUS_URL").ok().filter(|url| !url.is_empty())?;
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("counterfoil_{}_{number}", std::process::id());
    let sql = format!("CREATE DATABASE {name}");
    let run = async |url: String, sql: String| {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    };
    run(format!("{base}/postgres?sslmode=disable"), sql).await;
    let url = format!("{base}/{name}?sslmode=disable");
    let place = base.rsplit('@').next().unwrap();
    let (host, port) = place.split_once(':').unwrap();
    let prepare = format!(
        "CREATE EXTENSION citus; SELECT citus_set_coordinator_host('{host}', {port}); SELECT citus_set_node_property('{host}', {port}, 'shouldhaveshards', true)"
    );
    run(url.clone(), prepare).await;
    let store = connect(&url).await;
    assert_eq!(store.distribute().await.unwrap(), Distributed::Now);
    assert_eq!(store.distribute().await.unwrap(), Distributed::Already);
    store.close().await;
    let store = connect(&url).await;
    assert!(store.is_sharded());
    Some(store)
}

/// A store over a fresh database that probes nothing before it has to.
pub(crate) async fn trusting_store() -> PostgresStore {
    let options = PostgresOptions { probed_batches: 0, ..PostgresOptions::default() };
    PostgresStore::connect(&database().await, options).await.unwrap()
}

/// The URL for somebody who may log in as `role`, and is nothing more.
pub(crate) async fn as_role(url: &str, role: &str) -> String {
    static MADE: tokio::sync::Mutex<BTreeSet<String>> =
        tokio::sync::Mutex::const_new(BTreeSet::new());
    let login = format!("{role}_login");
    let mut made = MADE.lock().await;
    if made.insert(login.clone()) {
        let mut owner = PgConnection::connect(url).await.unwrap();
        let sql = format!(
            "DO $$ BEGIN CREATE ROLE {login} LOGIN IN ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut owner).await.unwrap();
    }
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://{login}@{rest}")
}

/// A store over a fresh database, as the program is to be connected in production.
pub(crate) async fn app_store() -> PostgresStore {
    connect(&as_role(&database().await, "counterfoil_app").await).await
}

/// A store over a fresh database.
pub(crate) async fn store() -> PostgresStore {
    connect(&database().await).await
}

/// A database with a tenant of two lanes.
pub(crate) struct Fixture {
    pub(crate) url: String,
    pub(crate) store: PostgresStore,
    pub(crate) tenant: Tenant,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::at(database().await).await
    }

    pub(crate) async fn at(url: String) -> Self {
        let store = connect(&url).await;
        let tenant = tenant(&store).await;
        Self { url, store, tenant }
    }

    pub(crate) fn batch(&self, from: usize, count: usize) -> Vec<Pending> {
        batch(&self.tenant, from, count)
    }

    pub(crate) async fn append(
        &self,
        from: usize,
        count: usize,
    ) -> Result<Vec<Receipt>, StoreError> {
        self.store.append(&self.tenant, &self.batch(from, count), NOW).await
    }

    /// Another program with the database open.
    pub(crate) async fn intruder(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// Another program with a store over the database.
    pub(crate) async fn intruder_store(&self) -> PostgresStore {
        connect(&self.url).await
    }

    /// Customers of the first and of the second lane.
    pub(crate) fn customers(&self) -> [String; 2] {
        let of = |lane: usize| {
            (0..)
                .map(|n| format!("c{n}"))
                .find(|name| self.tenant.lane_of(&customer(name)) == self.tenant.lane_ids()[lane])
                .unwrap()
        };
        [of(0), of(1)]
    }
}

pub(crate) async fn tenant(store: &PostgresStore) -> Tenant {
    store.ensure_tenant(&TenantId::new("t").unwrap(), 2).await.unwrap()
}

pub(crate) fn customer(name: &str) -> CustomerId {
    CustomerId::new(name).unwrap()
}

pub(crate) fn event(id: &str, customer_name: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "svc".to_owned(),
        customer: customer(customer_name),
        event_type: "api.call".to_owned(),
        time: Some(NOW),
        quantity: Quantity::ONE,
        unit: None,
        properties: BTreeMap::new(),
        subject: Some("x".repeat(100)),
        resource: None,
        user: None,
        correction: None,
    }
}

pub(crate) fn pending(tenant: &Tenant, id: &str, customer_name: &str) -> Pending {
    Pending::new(tenant, event(id, customer_name))
}

/// Events `e<from>` and so on, over both lanes.
pub(crate) fn batch(tenant: &Tenant, from: usize, count: usize) -> Vec<Pending> {
    (from..from + count)
        .map(|n| pending(tenant, &format!("e{n}"), &format!("c{}", n % 7)))
        .collect()
}

pub(crate) fn is_inserted(receipt: &Receipt) -> bool {
    matches!(receipt, Receipt::Inserted { .. })
}

/// All rows of the tenant, after checking that the ledger is whole: positions contiguous, times
/// never decreasing, seals right, heads at the last rows, each identity once.
pub(crate) async fn whole(store: &PostgresStore, tenant: &Tenant) -> Vec<StoredEvent> {
    let mut all = Vec::new();
    for head in store.heads(tenant).await.unwrap() {
        let rows = store.read(head.lane, 0, u64::MAX >> 1, None, u32::MAX).await.unwrap();
        assert!(rows.iter().zip(1u64..).all(|(row, at)| row.position == at), "contiguous");
        assert!(rows.is_sorted_by_key(|row| row.recorded_at), "recorded time never decreases");
        assert!(rows.iter().all(|row| row.seal_holds(&tenant.id)), "seals");
        assert_eq!(head.position, rows.len() as u64, "the head stands at the last row");
        all.extend(rows);
    }
    let ids: BTreeSet<&str> = all.iter().map(|row| row.event.id.as_str()).collect();
    assert_eq!(ids.len(), all.len(), "each identity once");
    all
}

/// A draft of a subscription's first cycle.
pub(crate) fn draft(tenant: &Tenant, name: &str, total: &str) -> Invoice {
    let total = Money::from_exact(&Exact::parse(total).unwrap(), Currency::USD).unwrap();
    let zero = Money::zero(Currency::USD);
    let body = InvoiceBody {
        tenant: tenant.id.clone(),
        customer: customer("acme"),
        customer_name: "Acme".to_owned(),
        subscription: name.parse().unwrap(),
        cycle: 1,
        revision: 0,
        part: 0,
        payer: None,
        due_cycle_at: NOW,
        period: Period::new(NOW, NOW),
        zone: Zone::utc(),
        currency: Currency::USD,
        lines: Vec::new(),
        subtotal: total,
        credits: Vec::new(),
        granted: Vec::new(),
        credited: Vec::new(),
        taxes: Vec::new(),
        tax: zero,
        total,
        inputs: Inputs {
            lane: 0,
            position: 1,
            engine: "1".to_owned(),
            subscription: Subscription::new(
                name.parse().unwrap(),
                customer("acme"),
                "b",
                "p".parse().unwrap(),
                "2025-10-01".parse().unwrap(),
            ),
            zone: Zone::utc(),
            late_events: None,
            until: None,
            compared: false,
            withdrawn: Vec::new(),
            billed_by: Vec::new(),
            credited_by: Vec::new(),
            credits: Vec::new(),
            grants: Vec::new(),
            tax: TaxDecision::default(),
        },
    };
    Invoice::draft(body).unwrap()
}
