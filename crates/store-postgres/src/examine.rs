//! What `doctor` looks at on a server: durability, connections, clocks, roles and their rights.

use counterfoil_store::{Finding, StoreError};
use counterfoil_types::Timestamp;
use sqlx::postgres::PgRow;

use crate::{error::store_error, open::PostgresStore, rows::get};

/// A clock that differs by more is told …
const SKEW_TOLD: i64 = 1_000_000;
/// … and by more than this it puts events into wrong periods.
const SKEW_GRAVE: i64 = 60_000_000;

pub(crate) async fn examine(
    store: &PostgresStore,
    now: Timestamp,
) -> Result<Vec<Finding>, StoreError> {
    let row = sqlx::query(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('max_connections')::bigint, current_setting('superuser_reserved_connections')::bigint, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'counterfoil'), pg_is_in_recovery(), current_setting('server_version_num')::bigint, current_user::text",
    )
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)?;
    let mut findings = Vec::new();
    findings.extend(skew(now, Timestamp::from_micros(get(&row, 0)?)));
    findings.extend(settings(&row)?);
    findings.extend(connections(store, &row)?);
    findings.extend(rights(store, get(&row, 9)?).await?);
    Ok(findings)
}

/// The program's clock against the server's. Recorded times come from programs; with several of
/// them the server's clock is the one they can all be held against.
pub(crate) fn skew(program: Timestamp, server: Timestamp) -> Option<Finding> {
    let apart = (program.micros() - server.micros()).abs();
    let (seconds, millis) = (apart / 1_000_000, apart % 1_000_000 / 1_000);
    let text = format!(
        "the clocks of this machine and of the database server differ by {seconds}.{millis:03} s; keep both right (NTP)"
    );
    match apart {
        0..=SKEW_TOLD => None,
        ..=SKEW_GRAVE => Some(Finding::warning(text)),
        _ => Some(Finding::grave(text)),
    }
}

fn settings(row: &PgRow) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    if get::<&str>(row, 1)? != "on" {
        findings.push(Finding::grave(
            "fsync is off: a crash of the server's machine loses acknowledged events and may damage the database; set fsync = on",
        ));
    }
    if get::<&str>(row, 2)? != "on" {
        findings.push(Finding::grave(
            "full_page_writes is off: a crash may leave torn pages; set full_page_writes = on, unless the file system writes whole pages for certain",
        ));
    }
    // A session's own setting is never off; `local` waits for no standby.
    if get::<&str>(row, 3)? == "local" {
        findings.push(Finding::warning(
            "synchronous_commit is local: what is acknowledged may be missing on a standby that is promoted",
        ));
    }
    if get::<bool>(row, 7)? {
        findings.push(Finding::grave(
            "the server is a standby and can only be read; connect to the primary",
        ));
    }
    if get::<i64>(row, 8)? < 150_000 {
        findings.push(Finding::grave("the server is older than PostgreSQL 15; upgrade it"));
    }
    Ok(findings)
}

fn connections(store: &PostgresStore, row: &PgRow) -> Result<Option<Finding>, StoreError> {
    let (most, reserved, others): (i64, i64, i64) = (get(row, 4)?, get(row, 5)?, get(row, 6)?);
    let pool = i64::from(store.pool.options().get_max_connections());
    let left = most - reserved - others;
    Ok((left < pool).then(|| {
        Finding::warning(format!(
            "the server takes {most} connections, of which {left} are left for programs like this one, and each may use {pool}; raise max_connections or put a connection pooler before it"
        ))
    }))
}

/// Whether roles and walls are in place, and who is connected.
async fn rights(store: &PostgresStore, user: &str) -> Result<Vec<Finding>, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user), ARRAY(SELECT r FROM UNNEST(ARRAY['counterfoil_ingest', 'counterfoil_app', 'counterfoil_read']) AS r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)), ARRAY(SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT c.relrowsecurity AND c.relname <> 'usage_event' AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attname IN ('tenant', 'lane_id')) ORDER BY 1), pg_catalog.pg_get_userbyid((SELECT relowner FROM pg_class WHERE oid = 'usage_event'::regclass)) = current_user, has_table_privilege('invoice', 'INSERT'), has_table_privilege('usage_event', 'INSERT')",
    )
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)?;
    let mut findings = Vec::new();
    let missing: Vec<String> = get(&row, 1)?;
    if !missing.is_empty() {
        findings.push(Finding::warning(format!(
            "the roles {} do not exist, and this program may not create them; run as an administrator of the server, in this database: SELECT grant_roles()",
            missing.join(", ")
        )));
    }
    let mut open: Vec<String> = get(&row, 2)?;
    if store.sharded {
        // Citus takes no policies with subqueries; the wall stands around the coordinator's tables.
        open.retain(|table| {
            !["aggregate", "aggregate_member", "lane", "projection"].contains(&table.as_str())
        });
    }
    if !open.is_empty() {
        findings.push(Finding::grave(format!(
            "row-level security is off for {}; run as the owner of the tables: SELECT secure_tenants()",
            open.join(", ")
        )));
    }
    if get::<bool>(&row, 0)? {
        findings.push(Finding::warning(format!(
            "connected as {user}, for whom row-level security does not hold; in production connect as a role that is granted counterfoil_app, and migrate as another"
        )));
    } else if get::<bool>(&row, 3)? {
        findings.push(Finding::warning(format!(
            "connected as {user}, who owns the tables, so row-level security does not hold; in production connect as a role that is granted counterfoil_app"
        )));
    }
    let (bills, appends): (bool, bool) = (get(&row, 4)?, get(&row, 5)?);
    if !bills {
        let may = if appends { "append events, but not bill" } else { "only read" };
        findings.push(Finding::warning(format!("connected as {user}, who may {may}")));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_and_far_ones_are_grave() {
        let at = Timestamp::from_micros;
        let found = |program, server| skew(at(program), at(server));
        assert_eq!(found(5_000_000, 4_000_000), None);
        assert!(!found(5_000_001, 4_000_000).unwrap().grave);
        assert!(!found(0, 60_000_000).unwrap().grave);
        let finding = found(0, 61_234_000).unwrap();
        assert!(finding.grave && finding.text.contains("61.234 s"), "{finding:?}");
    }
}
