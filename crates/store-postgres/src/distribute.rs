//! Sharding with Citus: tables of lanes are distributed by `lane_id` and lie together, the directory
//! of tenants is on every node, all else stays on the coordinator (`docs/adr/0010-sharding.md`).

use counterfoil_store::StoreError;
use sqlx::{Connection, PgConnection};

use crate::{error::store_error, open::PostgresStore, rows::get};

/// Tables that are sharded, and the directory of tenants.
const TABLES: i64 = 6;

/// All of it in one transaction. What Citus refuses on distributed tables is taken off first: the
/// trigger that keeps the ledger append-only (rights still do), policies with subqueries, and a
/// unique index without the distribution column.
const DISTRIBUTE: &str = "
DROP VIEW ledger_event;
DROP TRIGGER usage_event_append_only ON usage_event;
ALTER TABLE usage_event DROP CONSTRAINT usage_event_of_tenant;
DROP INDEX usage_event_key;
CREATE UNIQUE INDEX usage_event_key ON usage_event (lane_id, key);
DROP POLICY of_tenant ON tenant;
DROP POLICY of_tenant ON lane;
DROP POLICY of_tenant ON aggregate;
DROP POLICY of_tenant ON aggregate_member;
DROP POLICY of_tenant ON projection;
ALTER TABLE tenant DISABLE ROW LEVEL SECURITY;
ALTER TABLE lane DISABLE ROW LEVEL SECURITY;
ALTER TABLE aggregate DISABLE ROW LEVEL SECURITY;
ALTER TABLE aggregate_member DISABLE ROW LEVEL SECURITY;
ALTER TABLE projection DISABLE ROW LEVEL SECURITY;
SELECT create_reference_table('tenant');
SELECT create_distributed_table('lane', 'lane_id');
SELECT create_distributed_table('usage_event', 'lane_id', colocate_with => 'lane');
SELECT create_distributed_table('aggregate', 'lane_id', colocate_with => 'lane');
SELECT create_distributed_table('aggregate_member', 'lane_id', colocate_with => 'lane');
SELECT create_distributed_table('projection', 'lane_id', colocate_with => 'lane');
CREATE VIEW ledger_event AS SELECT * FROM usage_event;
DO $$
BEGIN
    GRANT SELECT ON ledger_event TO counterfoil_ingest, counterfoil_app, counterfoil_read;
EXCEPTION WHEN undefined_object THEN NULL;
END $$;
";

/// What [`PostgresStore::distribute`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distributed {
    /// The tables were distributed.
    Now,
    /// They were distributed before.
    Already,
}

impl PostgresStore {
    /// Whether the ledger is sharded: one transaction writes one lane, and an id is deduplicated
    /// within its customer's lane.
    #[must_use]
    pub fn is_sharded(&self) -> bool {
        self.sharded
    }

    /// Distributes the tables of lanes over the nodes of a Citus cluster. No other program may be
    /// connected meanwhile; each must be started anew afterwards. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the extension is not there, when only some tables are distributed, or as the server has
    /// them; then nothing was changed.
    pub async fn distribute(&self) -> Result<Distributed, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(store_error)?;
        let version = sqlx::query("SELECT extversion FROM pg_extension WHERE extname = 'citus'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        if version.is_none() {
            return Err(StoreError::Driver(
                "this database has no citus extension, so there is nothing to distribute over. Install Citus 12 on the server and its workers, run CREATE EXTENSION citus and citus_add_node in this database, then repeat; a single PostgreSQL needs none of it"
                    .to_owned(),
            ));
        }
        let mut tx = connection.begin().await.map_err(store_error)?;
        match distributed_tables(&mut tx).await? {
            0 => {}
            TABLES => return Ok(Distributed::Already),
            some => {
                return Err(StoreError::conflict(
                    "the distribution of tables",
                    format!(
                        "{some} of {TABLES} tables are distributed already, by somebody else; undistribute them (undistribute_table) and repeat"
                    ),
                ));
            }
        }
        sqlx::raw_sql(DISTRIBUTE).execute(&mut *tx).await.map_err(store_error)?;
        tx.commit().await.map_err(store_error)?;
        Ok(Distributed::Now)
    }
}

/// How many of the tables are distributed or replicated. The extension must be there.
async fn distributed_tables(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) FROM pg_dist_partition WHERE logicalrelid IN ('tenant'::regclass, 'lane'::regclass, 'usage_event'::regclass, 'aggregate'::regclass, 'aggregate_member'::regclass, 'projection'::regclass)",
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    get(&row, 0)
}

/// Whether the ledger of a database is sharded.
pub(crate) async fn is_sharded(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    Ok(get::<bool>(&row, 0)? && distributed_tables(connection).await? == TABLES)
}
