//! Roles and row-level security: what another tenant has is not there, whatever is asked, and each
//! role may do its own work only. Statements here are raw, as somebody with a shell would send them.

#![cfg(test)]

use counterfoil_store::{
    Commit, Finding, InvoiceFilter, InvoiceStore, LedgerStore, Posting, Store, StoreError, Write,
};
use counterfoil_store_postgres::{
    PostgresOptions, PostgresStore,
    testing::{Disk, Server},
};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{
    Fixture, NOW, as_role, batch, connect, customer, draft, is_inserted, pending,
};

/// Tables of tenants, with the expression that gives the number of theirs.
const TABLES: &str = "SELECT c.relname::text, CASE WHEN bool_or(a.attname = 'tenant') THEN 'tenant' ELSE 'lane_id / 64' END FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname IN ('tenant', 'lane_id') GROUP BY c.relname ORDER BY 1";

async fn tables(connection: &mut PgConnection) -> Vec<(String, String)> {
    sqlx::query_as(TABLES).fetch_all(connection).await.unwrap()
}

async fn count(connection: &mut PgConnection, sql: String) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.map(|done| done.rows_affected())
}

/// SQLSTATE of a refusal.
fn refused(outcome: Result<u64, sqlx::Error>, sql: &str) -> String {
    match outcome {
        Ok(rows) => panic!("{sql} was done, on {rows} rows"),
        Err(error) => error.as_database_error().unwrap().code().unwrap().into_owned(),
    }
}

/// Two tenants with something in most tables.
async fn two_tenants() -> Fixture {
    let fixture = Fixture::new().await;
    let other = TenantId::new("other").unwrap();
    let other =
        counterfoil_store::CatalogStore::ensure_tenant(&fixture.store, &other, 2).await.unwrap();
    for tenant in [&fixture.tenant, &other] {
        fixture.store.append(tenant, &batch(tenant, 0, 6), NOW).await.unwrap();
        let draft = draft(tenant, "s", "5");
        let mut commit = Commit::of(Write::PutDraft(Box::new(draft.clone())));
        commit.writes.push(Write::Finalize {
            invoice: draft.id,
            series: "A-".to_owned(),
            at: NOW,
            due_at: NOW,
        });
        commit.writes.push(Write::Set { key: "k".to_owned(), value: Some("v".to_owned()) });
        commit.writes.push(Write::Post(vec![Posting {
            key: "p".to_owned(),
            account: "a".to_owned(),
            customer: customer("acme"),
            unit: "USD".to_owned(),
            amount: "3".parse().unwrap(),
            at: NOW,
            cause: "c".to_owned(),
            reference: "r".to_owned(),
            expects: None,
        }]));
        fixture.store.commit(&tenant.id, &commit).await.unwrap();
    }
    fixture
}

/// Whoever may only read does not get the secrets that web hooks are signed with, nor does it help to
/// ask otherwise; the program itself has them.
#[tokio::test]
async fn secrets_of_web_hooks_are_not_there_for_the_read_role() {
    let fixture = two_tenants().await;
    let secret = r#"{"secrets":[{"secret":"whsec_x"}]}"#.to_owned();
    let write = Write::Set { key: "webhook/crm".to_owned(), value: Some(secret) };
    fixture.store.commit(&fixture.tenant.id, &Commit::of(write)).await.unwrap();
    let mut connection = fixture.intruder().await;
    let enter =
        format!("SET counterfoil.tenant = '{}'; SET ROLE counterfoil_read", fixture.tenant.number);
    run(&mut connection, &enter).await.unwrap();
    let all = "SELECT count(*) FROM setting".to_owned();
    assert_eq!(count(&mut connection, all.clone()).await, 1, "other settings are there");
    for sql in [
        "SELECT count(*) FROM setting WHERE key = 'webhook/crm'",
        "SELECT count(*) FROM setting WHERE value LIKE '%whsec%'",
        "SELECT count(*) FROM setting WHERE key > 'w'",
    ] {
        assert_eq!(count(&mut connection, sql.to_owned()).await, 0, "{sql}");
    }
    run(&mut connection, "RESET ROLE; SET ROLE counterfoil_app").await.unwrap();
    assert_eq!(count(&mut connection, all).await, 2);
}

#[tokio::test]
async fn another_tenants_rows_are_not_there_for_the_app_role() {
    let fixture = two_tenants().await;
    let mut owner = fixture.intruder().await;
    let url = as_role(&fixture.url, "counterfoil_app").await;
    let mut app = PgConnection::connect(&url).await.unwrap();
    let tables = tables(&mut owner).await;
    assert!(tables.len() > 14, "{tables:?}");
    let mut seen = 0;
    for (table, number) in &tables {
        let table = if table == "usage_event" { "ledger_event" } else { table };
        let all = |filter: &str| format!("SELECT count(*) FROM {table} WHERE {filter}");
        run(&mut app, "RESET counterfoil.tenant").await.unwrap();
        assert_eq!(count(&mut app, all("true")).await, 0, "{table}: nobody's work is done");
        run(&mut app, "SET counterfoil.tenant = '1'").await.unwrap();
        let own = count(&mut owner, all(&format!("{number} = 1"))).await;
        assert_eq!(count(&mut app, all("true")).await, own, "{table}");
        assert_eq!(count(&mut app, all(&format!("{number} <> 1"))).await, 0, "{table}");
        seen += own;
    }
    assert!(seen > 10, "there was something to be seen");
    assert_eq!(count(&mut app, "SELECT count(*) FROM tenant".to_owned()).await, 1);
    assert_eq!(
        refused(run(&mut app, "SELECT 1 FROM usage_event").await, "the ledger's table"),
        "42501",
    );
}

#[tokio::test]
async fn another_tenants_rows_cannot_be_written_by_the_app_role() {
    let fixture = two_tenants().await;
    let url = as_role(&fixture.url, "counterfoil_app").await;
    let mut app = PgConnection::connect(&url).await.unwrap();
    let event = |tenant: i64, position: i64| {
        format!(
            "INSERT INTO usage_event (lane_id, position, recorded_at, key, leaf, customer, type, source, id, quantity) VALUES ({}, {position}, 0, gen_random_uuid(), '', 'c', 't', 's', 'i{position}', 1)",
            tenant * 64
        )
    };
    assert_eq!(refused(run(&mut app, &event(1, 900)).await, "nobody's"), "23514");
    run(&mut app, "SET counterfoil.tenant = '1'").await.unwrap();
    run(&mut app, &event(1, 901)).await.unwrap();
    assert_eq!(refused(run(&mut app, &event(2, 902)).await, "another's"), "23514");
    for sql in [
        "INSERT INTO setting VALUES (2, 'x', 'y')",
        "INSERT INTO customer VALUES (2, 'x', '{}')",
        "INSERT INTO journal VALUES (2, 99, 'k', 'x', 0, '{}')",
        "INSERT INTO aggregate_member VALUES (128, 'c', 'm', 0, '', 'x', 1)",
        "UPDATE setting SET tenant = 2",
    ] {
        assert_eq!(refused(run(&mut app, sql).await, sql), "42501", "{sql}");
    }
    for sql in [
        "UPDATE invoice SET state = 'void' WHERE tenant = 2",
        "UPDATE lane SET position = 0 WHERE tenant = 2",
        "DELETE FROM setting WHERE tenant = 2",
        "UPDATE account SET balance = 0 WHERE tenant = 2",
    ] {
        assert_eq!(run(&mut app, sql).await.unwrap(), 0, "{sql}: there is nothing to change");
    }
    // Nor its own history.
    for sql in [
        "UPDATE usage_event SET quantity = 2",
        "DELETE FROM journal",
        "TRUNCATE usage_event",
        "DELETE FROM tenant",
        "UPDATE tenant SET id = 'x'",
        "ALTER TABLE invoice DISABLE ROW LEVEL SECURITY",
        "DROP TABLE setting",
    ] {
        assert_eq!(refused(run(&mut app, sql).await, sql), "42501", "{sql}");
    }
}

#[tokio::test]
async fn the_read_role_reads_and_writes_nothing() {
    let fixture = two_tenants().await;
    let url = as_role(&fixture.url, "counterfoil_read").await;
    let store = connect(&url).await;
    let all = InvoiceFilter::default();
    assert_eq!(store.invoices(&fixture.tenant.id, &all, None, 9).await.unwrap().len(), 1);
    let error = store.append(&fixture.tenant, &batch(&fixture.tenant, 50, 1), NOW).await;
    assert!(error.unwrap_err().to_string().contains("permission denied"));
    let mut owner = fixture.intruder().await;
    let mut reader = PgConnection::connect(&url).await.unwrap();
    run(&mut reader, "SET counterfoil.tenant = '1'").await.unwrap();
    for (table, number) in tables(&mut owner).await {
        let column = if number == "tenant" { "tenant" } else { "lane_id" };
        for sql in [
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("INSERT INTO {table} SELECT * FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            assert_eq!(refused(run(&mut reader, &sql).await, &sql), "42501", "{sql}");
        }
    }
    let sql = "SELECT create_tenant('x', 1, 0, 0, 0)";
    assert_eq!(refused(run(&mut reader, sql).await, sql), "42501");
}

#[tokio::test]
async fn the_ingest_role_appends_and_reads_no_invoices() {
    let fixture = two_tenants().await;
    let url = as_role(&fixture.url, "counterfoil_ingest").await;
    let store = connect(&url).await;
    let mine = batch(&fixture.tenant, 4, 4);
    let receipts = store.append(&fixture.tenant, &mine, NOW).await.unwrap();
    assert_eq!(receipts.iter().filter(|receipt| is_inserted(receipt)).count(), 2);
    assert!(store.find(&fixture.tenant.id, "svc", "e7").await.unwrap().is_some());
    // A batch for one tenant is never stored under another's name.
    let stray = [pending(&fixture.tenant, "stray", "c0")];
    let other =
        counterfoil_store::Tenant { id: TenantId::new("other").unwrap(), ..fixture.tenant.clone() };
    assert!(store.append(&other, &stray, NOW).await.is_err());
    let mut ingest = PgConnection::connect(&url).await.unwrap();
    run(&mut ingest, "SET counterfoil.tenant = '1'").await.unwrap();
    for table in
        ["invoice", "customer", "subscription", "journal", "account", "document", "setting"]
    {
        let sql = format!("SELECT 1 FROM {table}");
        assert_eq!(refused(run(&mut ingest, &sql).await, &sql), "42501", "{sql}");
    }
    let error = store.invoices(&fixture.tenant.id, &InvoiceFilter::default(), None, 9).await;
    assert!(matches!(error, Err(StoreError::Driver(_))), "{error:?}");
}

fn told(findings: &[Finding], words: &str) -> bool {
    findings.iter().any(|finding| finding.text.contains(words))
}

#[tokio::test]
async fn what_doctor_finds_on_a_server() {
    let server = Server::start(Disk::Lazy, &["max_connections=18"]).unwrap();
    let url = server.empty_database().await.unwrap();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    run(&mut admin, "CREATE ROLE keeper LOGIN").await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    run(&mut admin, &format!("ALTER DATABASE {database} OWNER TO keeper")).await.unwrap();
    run(&mut admin, "GRANT CREATE ON SCHEMA public TO keeper").await.unwrap();
    let keeper_url = url.replace("//postgres@", "//keeper@");
    // Who migrates may not create roles: all works, and doctor says what is left to do.
    let keeper = PostgresStore::connect(&keeper_url, PostgresOptions::default()).await.unwrap();
    let server_now: i64 =
        sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .fetch_one(&mut admin)
            .await
            .unwrap();
    let now = Timestamp::from_micros(server_now);
    let findings = keeper.examine(now).await.unwrap();
    assert!(told(&findings, "SELECT grant_roles()"), "{findings:?}");
    assert!(told(&findings, "who owns the tables"), "{findings:?}");
    assert!(told(&findings, "fsync is off") && told(&findings, "full_page_writes"));
    assert!(told(&findings, "max_connections"), "16 of 18 less reserved ones: {findings:?}");
    assert!(!told(&findings, "clocks"), "{findings:?}");
    let findings = keeper.examine(now.plus_micros(90_000_000)).await.unwrap();
    assert!(findings.iter().any(|found| found.grave && found.text.contains("clocks")));
    keeper.close().await;
    run(&mut admin, "SELECT grant_roles()").await.unwrap();
    run(&mut admin, "ALTER TABLE setting DISABLE ROW LEVEL SECURITY").await.unwrap();
    run(&mut admin, "CREATE ROLE clerk LOGIN IN ROLE counterfoil_app").await.unwrap();
    let clerk = connect(&url.replace("//postgres@", "//clerk@")).await;
    let findings = clerk.examine(now).await.unwrap();
    assert!(told(&findings, "row-level security is off for setting"), "{findings:?}");
    assert!(!told(&findings, "grant_roles") && !told(&findings, "connected as"), "{findings:?}");
}

#[tokio::test]
async fn distributing_without_citus_says_what_is_needed_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let error = fixture.store.distribute().await.unwrap_err();
    assert!(error.to_string().contains("CREATE EXTENSION citus"), "{error}");
    assert!(!fixture.intruder_store().await.is_sharded());
    fixture.append(0, 3).await.unwrap();
}
