//! The jobs port, and the writes of jobs that come through the one door.

use async_trait::async_trait;
use counterfoil_store::{
    JobFilter, JobItem, JobPause, JobRow, JobRun, JobState, JobStore, StoreError,
};
use counterfoil_types::{TenantId, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    open::SqliteStore,
    rows::{get, signed, unsigned},
};

/// Columns of a run, in the order [`run`] reads them.
macro_rules! run_query {
    ($rest:literal) => {
        concat!(
            "SELECT r.job, r.scheduled_for, r.state, r.due_at, r.asked_by, r.holder, r.starts, ",
            "r.attempts, r.started_at, r.ended_at, r.progress, r.outcome, r.error ",
            "FROM job_run r JOIN tenant t ON t.number = r.tenant WHERE t.id = ?1 ",
            $rest
        )
    };
}

fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn time(row: &SqliteRow, at: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, at)?.map(Timestamp::from_micros))
}

fn run(row: &SqliteRow) -> Result<JobRun, StoreError> {
    let job: String = get(row, 0)?;
    let state: &str = get(row, 2)?;
    Ok(JobRun {
        scheduled_for: Timestamp::from_micros(get(row, 1)?),
        state: JobState::parse(state).ok_or_else(|| StoreError::corrupt("job_run", &job, state))?,
        due_at: Timestamp::from_micros(get(row, 3)?),
        asked_by: get(row, 4)?,
        holder: get(row, 5)?,
        starts: count(get(row, 6)?),
        attempts: count(get(row, 7)?),
        started_at: time(row, 8)?,
        ended_at: time(row, 9)?,
        progress: unsigned(get(row, 10)?),
        outcome: get(row, 11)?,
        error: get(row, 12)?,
        job,
    })
}

fn row_of(row: &SqliteRow) -> Result<JobRow, StoreError> {
    let pause = match time(row, 4)? {
        None => None,
        Some(at) => Some(JobPause {
            by: get::<Option<String>>(row, 2)?.unwrap_or_default(),
            reason: get::<Option<String>>(row, 3)?.unwrap_or_default(),
            at,
        }),
    };
    Ok(JobRow { job: get(row, 0)?, through: time(row, 1)?, pause })
}

fn item(row: &SqliteRow) -> Result<JobItem, StoreError> {
    Ok(JobItem {
        job: get(row, 0)?,
        item: get(row, 1)?,
        attempts: count(get(row, 2)?),
        parked: get(row, 3)?,
        at: Timestamp::from_micros(get(row, 4)?),
        error: get(row, 5)?,
    })
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn jobs(&self, tenant: &TenantId) -> Result<Vec<JobRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.job, r.through, r.pause_by, r.pause_reason, r.pause_at FROM job r JOIN tenant t ON t.number = r.tenant WHERE t.id = ?1 ORDER BY r.job",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(row_of).collect()
    }

    async fn unsettled_job_runs(&self, tenant: &TenantId) -> Result<Vec<JobRun>, StoreError> {
        let rows = sqlx::query(run_query!("AND r.state <> 'done' ORDER BY r.job, r.scheduled_for"))
            .bind(tenant.as_str())
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.iter().map(run).collect()
    }

    async fn job_run(
        &self,
        tenant: &TenantId,
        job: &str,
        scheduled_for: Timestamp,
    ) -> Result<Option<JobRun>, StoreError> {
        let row = sqlx::query(run_query!("AND r.job = ?2 AND r.scheduled_for = ?3"))
            .bind(tenant.as_str())
            .bind(job)
            .bind(scheduled_for.micros())
            .fetch_optional(&self.read)
            .await
            .map_err(store_error)?;
        row.as_ref().map(run).transpose()
    }

    async fn job_history(
        &self,
        tenant: &TenantId,
        filter: &JobFilter,
        before: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<JobRun>, StoreError> {
        let (at, job) = match before {
            Some((at, job)) => (Some(at.micros()), job),
            None => (None, ""),
        };
        let rows = sqlx::query(run_query!(
            "AND (?2 IS NULL OR (r.scheduled_for, r.job) < (?2, ?3)) AND (?4 IS NULL OR r.job = ?4) AND (?5 IS NULL OR r.state = ?5) ORDER BY r.scheduled_for DESC, r.job DESC LIMIT ?6"
        ))
        .bind(tenant.as_str())
        .bind(at)
        .bind(job)
        .bind(filter.job.as_deref())
        .bind(filter.state.map(JobState::as_str))
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(run).collect()
    }

    async fn job_items(
        &self,
        tenant: &TenantId,
        job: Option<&str>,
        parked: bool,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<JobItem>, StoreError> {
        let (after_job, after_item) = after.unwrap_or_default();
        let rows = sqlx::query(
            "SELECT r.job, r.item, r.attempts, r.parked, r.at, r.error FROM job_item r JOIN tenant t ON t.number = r.tenant WHERE t.id = ?1 AND (?2 IS NULL OR r.job = ?2) AND (NOT ?3 OR r.parked) AND (r.job, r.item) > (?4, ?5) ORDER BY r.job, r.item LIMIT ?6",
        )
        .bind(tenant.as_str())
        .bind(job)
        .bind(parked)
        .bind(after_job)
        .bind(after_item)
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        rows.iter().map(item).collect()
    }
}

/// Makes the runs of a job that have come due.
pub(crate) async fn schedule(
    tx: &mut SqliteConnection,
    tenant: i64,
    (job, through): (&str, Timestamp),
    times: &[Timestamp],
    collapse: bool,
) -> Result<(), StoreError> {
    // The row of the job is locked first: of two schedulers the second sees what the first made.
    sqlx::query(
        "INSERT INTO job (tenant, job, through) VALUES (?1, ?2, ?3) ON CONFLICT (tenant, job) DO UPDATE SET through = excluded.through",
    )
    .bind(tenant)
    .bind(job)
    .bind(through.micros())
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    for time in times {
        sqlx::query(
            "INSERT INTO job_run (tenant, job, scheduled_for, state, due_at) SELECT ?1, ?2, ?3, 'due', ?3 WHERE NOT ?4 OR NOT EXISTS (SELECT 1 FROM job_run WHERE tenant = ?1 AND job = ?2 AND state IN ('due', 'running')) ON CONFLICT (tenant, job, scheduled_for) DO NOTHING",
        )
        .bind(tenant)
        .bind(job)
        .bind(time.micros())
        .bind(collapse)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}

/// Lets a job rest, or go on.
pub(crate) async fn pause(
    tx: &mut SqliteConnection,
    tenant: i64,
    job: &str,
    pause: Option<&JobPause>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO job (tenant, job, pause_by, pause_reason, pause_at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant, job) DO UPDATE SET pause_by = excluded.pause_by, pause_reason = excluded.pause_reason, pause_at = excluded.pause_at",
    )
    .bind(tenant)
    .bind(job)
    .bind(pause.map(|pause| pause.by.as_str()))
    .bind(pause.map(|pause| pause.reason.as_str()))
    .bind(pause.map(|pause| pause.at.micros()))
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Creates or replaces a run.
pub(crate) async fn put_run(
    tx: &mut SqliteConnection,
    tenant: i64,
    run: &JobRun,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO job_run (tenant, job, scheduled_for, state, due_at, asked_by, holder, starts, attempts, started_at, ended_at, progress, outcome, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (tenant, job, scheduled_for) DO UPDATE SET state = excluded.state, due_at = excluded.due_at, asked_by = excluded.asked_by, holder = excluded.holder, starts = excluded.starts, attempts = excluded.attempts, started_at = excluded.started_at, ended_at = excluded.ended_at, progress = excluded.progress, outcome = excluded.outcome, error = excluded.error WHERE job_run.state <> 'done'",
    )
    .bind(tenant)
    .bind(run.job.as_str())
    .bind(run.scheduled_for.micros())
    .bind(run.state.as_str())
    .bind(run.due_at.micros())
    .bind(run.asked_by.as_deref())
    .bind(run.holder.as_deref())
    .bind(i64::from(run.starts))
    .bind(i64::from(run.attempts))
    .bind(run.started_at.map(Timestamp::micros))
    .bind(run.ended_at.map(Timestamp::micros))
    .bind(signed(run.progress))
    .bind(run.outcome.as_deref())
    .bind(run.error.as_deref())
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Creates or replaces an item.
pub(crate) async fn put_item(
    tx: &mut SqliteConnection,
    tenant: i64,
    item: &JobItem,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO job_item (tenant, job, item, attempts, parked, at, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, job, item) DO UPDATE SET attempts = excluded.attempts, parked = excluded.parked, at = excluded.at, error = excluded.error",
    )
    .bind(tenant)
    .bind(item.job.as_str())
    .bind(item.item.as_str())
    .bind(i64::from(item.attempts))
    .bind(item.parked)
    .bind(item.at.micros())
    .bind(item.error.as_str())
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Forgets an item.
pub(crate) async fn drop_item(
    tx: &mut SqliteConnection,
    tenant: i64,
    job: &str,
    item: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM job_item WHERE tenant = ?1 AND job = ?2 AND item = ?3")
        .bind(tenant)
        .bind(job)
        .bind(item)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Forgets runs that were done before a time.
pub(crate) async fn forget(
    tx: &mut SqliteConnection,
    tenant: i64,
    before: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM job_run WHERE tenant = ?1 AND state = 'done' AND ended_at < ?2")
        .bind(tenant)
        .bind(before.micros())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
