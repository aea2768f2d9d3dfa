//! The one door for writes that are no appends and no projections: facts and changes in one
//! transaction.

use async_trait::async_trait;
use counterfoil_store::{Commit, Finding, Store, StoreError, Write};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::PgConnection;

use crate::{
    access, alerts,
    catalog::{self, lane_count},
    documents,
    error::{StepError, commit_error, store_error},
    examine, finalize, jobs, journal, leases,
    open::PostgresStore,
    rows::{self, get},
    runs,
};

/// How often a commit is tried that deadlocked with another program.
const TRIES: u32 = 8;

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, tenant: &TenantId, commit: &Commit) -> Result<(), StoreError> {
        let mut last = StoreError::Unavailable("the commit was not tried".to_owned());
        for _ in 0..TRIES {
            match try_commit(self, tenant, commit).await {
                Ok(()) => return Ok(()),
                Err(StepError::Store(error)) => return Err(error),
                // Rolled back whole, as the server says.
                Err(StepError::Again(error)) => last = error,
            }
        }
        Err(last)
    }

    async fn examine(&self, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
        examine::examine(self, now).await
    }

    async fn describe(&self) -> Result<Vec<(String, String)>, StoreError> {
        let row = sqlx::query(
            "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes'), pg_is_in_recovery(), pg_size_pretty(pg_database_size(current_database())), current_setting('max_connections'), current_setting('shared_buffers'), current_setting('max_wal_size'), (SELECT max(version) FROM _sqlx_migrations)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(store_error)?;
        let (lanes, events) = lane_count(self).await?;
        let (fsync, commit): (String, String) = (get(&row, 1)?, get(&row, 2)?);
        let durable = fsync == "on" && commit != "off";
        let standby: bool = get(&row, 4)?;
        Ok(vec![
            ("store".into(), format!("PostgreSQL {}", get::<String>(&row, 0)?)),
            ("database".into(), self.place().to_owned()),
            ("role".into(), if standby { "standby, read only" } else { "primary" }.into()),
            ("schema version".into(), get::<i64>(&row, 9)?.to_string()),
            ("size".into(), get(&row, 5)?),
            ("synchronous".into(), if durable { "full" } else { "NOT full" }.into()),
            ("fsync".into(), fsync),
            ("synchronous_commit".into(), commit),
            ("full_page_writes".into(), get(&row, 3)?),
            ("max_connections".into(), get(&row, 6)?),
            ("shared_buffers".into(), get(&row, 7)?),
            ("max_wal_size".into(), get(&row, 8)?),
            ("lanes".into(), lanes.to_string()),
            ("events".into(), events.to_string()),
        ])
    }
}

async fn try_commit(
    store: &PostgresStore,
    tenant: &TenantId,
    commit: &Commit,
) -> Result<(), StepError> {
    let mut tx = store.begin_on(tenant).await?;
    leases::hold(&mut tx, commit.fence.as_ref()).await?;
    // Contiguous things need the tenant's lock, and take it before any other.
    let contiguous = !commit.facts.is_empty()
        || commit.writes.iter().any(|write| {
            matches!(
                write,
                Write::Finalize { .. } | Write::Issue { .. } | Write::Post(_) | Write::Audit(_)
            )
        });
    let number = if contiguous {
        catalog::lock(&mut *tx, tenant).await?
    } else {
        catalog::number_of(&mut *tx, tenant).await?
    };
    // Drafts and finalizations come by the page; each run of them is a few statements.
    for run in commit.writes.chunk_by(finalize::belong_together) {
        match run {
            [Write::PutDraft(_), ..] => finalize::put_drafts(&mut tx, number, run).await?,
            [Write::Finalize { .. }, ..] => finalize::finalize(&mut tx, number, run).await?,
            [Write::Queue { .. }, ..] => queue(&mut tx, number, run).await?,
            _ => {
                for write in run {
                    apply(&mut tx, number, write).await?;
                }
            }
        }
    }
    journal::record(&mut tx, number, &commit.facts).await?;
    tx.commit().await.map_err(commit_error)?;
    Ok(())
}

async fn apply(tx: &mut PgConnection, tenant: i64, write: &Write) -> Result<(), StepError> {
    match write {
        Write::PutCustomer(customer) => catalog::put_customer(tx, tenant, customer).await,
        Write::PutSubscription(subscription) => {
            catalog::put_subscription(tx, tenant, subscription).await
        }
        Write::PublishBook(book) => catalog::publish(tx, tenant, book).await,
        Write::RegisterMeter(meter) => catalog::register(tx, tenant, meter).await,
        Write::CreateRun(run) => runs::create(tx, tenant, run).await,
        Write::UpdateRun(run) => runs::update(tx, tenant, run).await,
        Write::PutRunItems(items) => runs::put_items(tx, tenant, items).await,
        Write::DropDraft(invoice) => finalize::drop_draft(tx, tenant, invoice).await,
        Write::MoveInvoice { invoice, to } => {
            finalize::move_invoice(tx, tenant, invoice, *to).await
        }
        Write::Issue { document, series } => {
            documents::issue(tx, tenant, document, series.as_deref()).await
        }
        Write::Post(postings) => documents::post(tx, tenant, postings).await,
        Write::Set { key, value } => documents::set(tx, tenant, key, value.as_deref()).await,
        Write::PutKey(key) => access::put_key(tx, tenant, key).await,
        Write::Claim { key, fingerprint, at } => {
            access::claim(tx, tenant, key, fingerprint, *at).await
        }
        Write::Answer { key, status, body } => access::answer(tx, tenant, key, *status, body).await,
        Write::Forget { before } => access::forget(tx, tenant, *before).await,
        Write::Audit(entry) => access::audit(tx, tenant, entry).await,
        Write::FireAlerts(fired) => alerts::fire(tx, tenant, fired).await,
        Write::TellAlerts { alerts: ids, effect } => alerts::tell(tx, tenant, ids, effect).await,
        Write::MoveAlert { alert, to, until, by, at } => {
            alerts::move_to(tx, tenant, alert, *to, *until, (by, *at)).await
        }
        Write::ResolveAlerts { by } => alerts::resolve(tx, tenant, *by).await,
        Write::ScheduleJob { job, through, times, collapse } => {
            jobs::schedule(tx, tenant, (job, *through), times, *collapse).await
        }
        Write::PauseJob { job, pause } => jobs::pause(tx, tenant, job, pause.as_ref()).await,
        Write::PutJobRun(run) => jobs::put_run(tx, tenant, run).await,
        Write::PutJobItem(item) => jobs::put_item(tx, tenant, item).await,
        Write::DropJobItem { job, item } => jobs::drop_item(tx, tenant, job, item).await,
        Write::ForgetJobRuns { before } => jobs::forget(tx, tenant, *before).await,
        // Written by the page, see `finalize`.
        Write::PutDraft(_) | Write::Finalize { .. } | Write::Queue { .. } => Ok(()),
    }
}

/// Queues effects, in their order; those that are queued already stay as they are.
async fn queue(tx: &mut PgConnection, tenant: i64, run: &[Write]) -> Result<(), StepError> {
    let (mut keys, mut kinds, mut bodies, mut times) = (vec![], vec![], vec![], vec![]);
    for write in run {
        let Write::Queue { key, kind, body, at } = write else { continue };
        keys.push(key.as_str());
        kinds.push(kind.as_str());
        bodies.push(rows::to_json(body)?);
        times.push(at.micros());
    }
    sqlx::query(
        "INSERT INTO outbox (tenant, key, kind, body, created_at) SELECT $1, n.key, n.kind, n.body, n.at FROM UNNEST($2::text[], $3::text[], $4::text[], $5::bigint[]) WITH ORDINALITY AS n (key, kind, body, at, place) ORDER BY n.place ON CONFLICT (tenant, key) DO NOTHING",
    )
    .bind(tenant)
    .bind(&keys)
    .bind(&kinds)
    .bind(&bodies)
    .bind(&times)
    .execute(tx)
    .await?;
    Ok(())
}
