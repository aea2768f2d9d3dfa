//! The one door for writes that are no appends and no projections: facts and changes in one
//! transaction.

use async_trait::async_trait;
use counterfoil_invoicing::{InvoiceState, Run, RunItem, RunState};
use counterfoil_store::{BookRow, Commit, Finding, MeterRow, Store, StoreError, Write};
use counterfoil_types::{InvoiceId, TenantId, Timestamp, decimal::canonical_text};
use sqlx::SqliteConnection;

use crate::{
    access, alerts,
    catalog::{lane_count, number_of},
    documents,
    error::store_error,
    finalize, jobs, journal, leases, multi,
    open::SqliteStore,
    rows::{self, get},
};

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, tenant: &TenantId, commit: &Commit) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        leases::hold(&mut tx, commit.fence.as_ref()).await?;
        let number = number_of(&mut tx, tenant).await?;
        // Drafts and finalizations come by the page; each run of them is a few statements.
        for run in commit.writes.chunk_by(finalize::belong_together) {
            match run {
                [Write::PutDraft(_), ..] => finalize::put_drafts(&mut tx, number, run).await?,
                [Write::Finalize { .. }, ..] => finalize::finalize(&mut tx, number, run).await?,
                _ => {
                    for write in run {
                        apply(&mut tx, number, write).await?;
                    }
                }
            }
        }
        for fact in &commit.facts {
            journal::record(&mut tx, number, fact).await?;
        }
        tx.commit().await.map_err(store_error)
    }

    async fn examine(&self, _now: Timestamp) -> Result<Vec<Finding>, StoreError> {
        let synchronous: i64 = sqlx::query_scalar("SELECT * FROM pragma_synchronous")
            .fetch_one(&self.read)
            .await
            .map_err(store_error)?;
        Ok((synchronous < 2)
            .then(|| {
                Finding::grave(
                    "the store does not sync every commit; acknowledged events could be lost",
                )
            })
            .into_iter()
            .collect())
    }

    async fn describe(&self) -> Result<Vec<(String, String)>, StoreError> {
        let row = sqlx::query(
            "SELECT sqlite_version(), (SELECT * FROM pragma_journal_mode), (SELECT * FROM pragma_synchronous)",
        )
        .fetch_one(&self.read)
        .await
        .map_err(store_error)?;
        let synchronous: i64 = get(&row, 2)?;
        let (lanes, events) = lane_count(self).await?;
        let bytes = std::fs::metadata(self.path()).map(|file| file.len()).unwrap_or(0);
        Ok(vec![
            ("store".into(), format!("SQLite {}", get::<String>(&row, 0)?)),
            ("file".into(), self.path().display().to_string()),
            ("size".into(), format!("{bytes} bytes")),
            ("journal mode".into(), get(&row, 1)?),
            ("synchronous".into(), if synchronous >= 2 { "full" } else { "NOT full" }.into()),
            ("lanes".into(), lanes.to_string()),
            ("events".into(), events.to_string()),
        ])
    }
}

async fn apply(tx: &mut SqliteConnection, tenant: i64, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::PutCustomer(customer) => {
            sqlx::query(
                "INSERT INTO customer (tenant, id, body) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            )
            .bind(tenant)
            .bind(customer.id.as_str())
            .bind(rows::to_json(customer)?)
            .execute(tx)
            .await
            .map_err(store_error)?;
        }
        Write::PutSubscription(subscription) => {
            sqlx::query(
                "INSERT INTO subscription (tenant, id, customer, body) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET customer = excluded.customer, body = excluded.body",
            )
            .bind(tenant)
            .bind(subscription.id.as_str())
            .bind(subscription.customer.as_str())
            .bind(rows::to_json(subscription)?)
            .execute(tx)
            .await
            .map_err(store_error)?;
        }
        Write::PublishBook(book) => publish(tx, tenant, book).await?,
        Write::RegisterMeter(meter) => register(tx, tenant, meter).await?,
        Write::CreateRun(run) => create_run(tx, tenant, run).await?,
        Write::UpdateRun(run) => update_run(tx, tenant, run).await?,
        Write::PutRunItems(items) => put_items(tx, tenant, items).await?,
        Write::DropDraft(invoice) => drop_draft(tx, tenant, invoice).await?,
        Write::MoveInvoice { invoice, to } => move_invoice(tx, tenant, invoice, *to).await?,
        Write::Issue { document, series } => {
            documents::issue(tx, tenant, document, series.as_deref()).await?;
        }
        Write::Post(postings) => documents::post(tx, tenant, postings).await?,
        Write::Queue { key, kind, body, at } => {
            sqlx::query(
                "INSERT INTO outbox (tenant, key, kind, body, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(tenant)
            .bind(key.as_str())
            .bind(kind.as_str())
            .bind(rows::to_json(body)?)
            .bind(at.micros())
            .execute(tx)
            .await
            .map_err(store_error)?;
        }
        Write::Set { key, value } => documents::set(tx, tenant, key, value.as_deref()).await?,
        Write::PutKey(key) => access::put_key(tx, tenant, key).await?,
        Write::Claim { key, fingerprint, at } => {
            access::claim(tx, tenant, key, fingerprint, *at).await?;
        }
        Write::Answer { key, status, body } => {
            access::answer(tx, tenant, key, *status, body).await?;
        }
        Write::Forget { before } => access::forget(tx, tenant, *before).await?,
        Write::Audit(entry) => access::audit(tx, tenant, entry).await?,
        Write::FireAlerts(fired) => alerts::fire(tx, tenant, fired).await?,
        Write::TellAlerts { alerts: ids, effect } => {
            alerts::tell(tx, tenant, ids, effect).await?;
        }
        Write::MoveAlert { alert, to, until, by, at } => {
            alerts::move_to(tx, tenant, alert, *to, *until, (by, *at)).await?;
        }
        Write::ResolveAlerts { by } => alerts::resolve(tx, tenant, *by).await?,
        Write::ScheduleJob { job, through, times, collapse } => {
            jobs::schedule(tx, tenant, (job, *through), times, *collapse).await?;
        }
        Write::PauseJob { job, pause } => jobs::pause(tx, tenant, job, pause.as_ref()).await?,
        Write::PutJobRun(run) => jobs::put_run(tx, tenant, run).await?,
        Write::PutJobItem(item) => jobs::put_item(tx, tenant, item).await?,
        Write::DropJobItem { job, item } => jobs::drop_item(tx, tenant, job, item).await?,
        Write::ForgetJobRuns { before } => jobs::forget(tx, tenant, *before).await?,
        // Written by the page, see `finalize`.
        Write::PutDraft(_) | Write::Finalize { .. } => {}
    }
    Ok(())
}

async fn publish(tx: &mut SqliteConnection, tenant: i64, book: &BookRow) -> Result<(), StoreError> {
    let stored =
        sqlx::query("SELECT digest FROM price_book WHERE tenant = ? AND name = ? AND version = ?")
            .bind(tenant)
            .bind(book.reference.name.as_str())
            .bind(book.reference.version.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
    if let Some(row) = stored {
        let digest: &[u8] = get(&row, 0)?;
        if digest == book.digest.0 {
            return Ok(());
        }
        let stored = counterfoil_types::Digest::try_from(digest)
            .map_err(|error| StoreError::corrupt("price_book", &book.reference, error))?;
        return Err(StoreError::conflict(
            format!("price book {}", book.reference),
            format!("published with hash {stored}, the file has {}", book.digest),
        ));
    }
    sqlx::query(
        "INSERT INTO price_book (tenant, name, version, digest, effective_from, text, published_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(book.reference.name.as_str())
    .bind(book.reference.version.as_str())
    .bind(book.digest.0.to_vec())
    .bind(book.effective_from.as_str())
    .bind(book.text.as_str())
    .bind(book.published_at.micros())
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn register(
    tx: &mut SqliteConnection,
    tenant: i64,
    meter: &MeterRow,
) -> Result<(), StoreError> {
    let stored = sqlx::query("SELECT definition FROM meter WHERE tenant = ? AND key = ?")
        .bind(tenant)
        .bind(meter.spec.key.as_str())
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
    if let Some(row) = stored {
        let definition: &[u8] = get(&row, 0)?;
        if definition == meter.definition.0 {
            return Ok(());
        }
        return Err(StoreError::conflict(
            format!("meter {}", meter.spec.key),
            "it is registered with another definition; give the new one another key",
        ));
    }
    sqlx::query("INSERT INTO meter (tenant, key, definition, spec) VALUES (?, ?, ?, ?)")
        .bind(tenant)
        .bind(meter.spec.key.as_str())
        .bind(meter.definition.0.to_vec())
        .bind(rows::to_json(&meter.spec)?)
        .execute(tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

async fn create_run(tx: &mut SqliteConnection, tenant: i64, run: &Run) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO invoice_run (tenant, id, period, attempt, state, started_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING",
    )
    .bind(tenant)
    .bind(run.id.to_string())
    .bind(run.period.as_str())
    .bind(run.attempt)
    .bind(run.state.as_str())
    .bind(run.started_at.micros())
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn update_run(tx: &mut SqliteConnection, tenant: i64, run: &Run) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT state, approved_by FROM invoice_run WHERE tenant = ? AND id = ?")
        .bind(tenant)
        .bind(run.id.to_string())
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
    let state: Option<String> = row.as_ref().map(|row| get(row, 0)).transpose()?;
    let approver: Option<String> = row.map(|row| get(&row, 1)).transpose()?.flatten();
    let stored = state.as_deref().and_then(RunState::parse);
    if stored.is_none_or(|stored| stored > run.state) {
        return Err(StoreError::conflict(
            format!("run {}", run.id),
            format!("it is {}, not before {}", state.unwrap_or_default(), run.state.as_str()),
        ));
    }
    if let Some(approver) = approver.filter(|name| run.approved_by.as_ref() != Some(name)) {
        return Err(StoreError::conflict(
            format!("run {}", run.id),
            format!("it is signed off by {approver}"),
        ));
    }
    // Times stay as they were first written: repeating a step does not move them.
    sqlx::query(
        "UPDATE invoice_run SET state = ?, approved_by = ?, approved_at = coalesce(approved_at, ?), finalized_at = coalesce(finalized_at, ?) WHERE tenant = ? AND id = ?",
    )
    .bind(run.state.as_str())
    .bind(run.approved_by.as_deref())
    .bind(run.approved_at.map(Timestamp::micros))
    .bind(run.finalized_at.map(Timestamp::micros))
    .bind(tenant)
    .bind(run.id.to_string())
    .execute(tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn put_items(
    tx: &mut SqliteConnection,
    tenant: i64,
    items: &[RunItem],
) -> Result<(), StoreError> {
    for chunk in multi::chunks(items) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO run_item (tenant, run, subscription, cycle, customer, status, reason, invoice, currency, total, previous) VALUES",
            11,
            chunk.len(),
            "ON CONFLICT DO UPDATE SET status = excluded.status, reason = excluded.reason, invoice = excluded.invoice, currency = excluded.currency, total = excluded.total, previous = excluded.previous WHERE run_item.status <> 'finalized'",
        ));
        for item in chunk {
            let money = item.total.or(item.before);
            query = query
                .bind(tenant)
                .bind(item.run.to_string())
                .bind(item.subscription.as_str())
                .bind(item.cycle)
                .bind(item.customer.as_str())
                .bind(item.status.as_str())
                .bind(item.reason.as_deref())
                .bind(item.invoice.map(|id| id.to_string()))
                .bind(money.map(|money| money.currency().code()))
                .bind(item.total.map(|money| canonical_text(&money.amount())))
                .bind(item.before.map(|money| canonical_text(&money.amount())));
        }
        query.execute(&mut *tx).await.map_err(store_error)?;
    }
    Ok(())
}

async fn drop_draft(
    tx: &mut SqliteConnection,
    tenant: i64,
    invoice: &InvoiceId,
) -> Result<(), StoreError> {
    let state = state_of(tx, tenant, invoice).await?;
    match state {
        None => Ok(()),
        Some((InvoiceState::Draft, _)) => {
            sqlx::query("DELETE FROM invoice WHERE tenant = ? AND id = ?")
                .bind(tenant)
                .bind(invoice.to_string())
                .execute(tx)
                .await
                .map_err(store_error)?;
            Ok(())
        }
        Some((state, _)) => Err(StoreError::conflict(
            format!("invoice {invoice}"),
            format!("it is {}; only drafts are removed", state.as_str()),
        )),
    }
}

async fn move_invoice(
    tx: &mut SqliteConnection,
    tenant: i64,
    invoice: &InvoiceId,
    to: InvoiceState,
) -> Result<(), StoreError> {
    let refused = |why: String| StoreError::conflict(format!("invoice {invoice}"), why);
    let Some((state, _)) = state_of(tx, tenant, invoice).await? else {
        return Err(refused("it does not exist".to_owned()));
    };
    if state == to {
        return Ok(());
    }
    // A draft becomes pending by being finalized, with a number; never by this door.
    if state == InvoiceState::Draft || !state.may_become(to) {
        return Err(refused(format!("it is {} and cannot become {}", state.as_str(), to.as_str())));
    }
    sqlx::query("UPDATE invoice SET state = ? WHERE tenant = ? AND id = ?")
        .bind(to.as_str())
        .bind(tenant)
        .bind(invoice.to_string())
        .execute(tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

async fn state_of(
    tx: &mut SqliteConnection,
    tenant: i64,
    invoice: &InvoiceId,
) -> Result<Option<(InvoiceState, Option<String>)>, StoreError> {
    let row = sqlx::query("SELECT state, number FROM invoice WHERE tenant = ? AND id = ?")
        .bind(tenant)
        .bind(invoice.to_string())
        .fetch_optional(tx)
        .await
        .map_err(store_error)?;
    row.map(|row| {
        let state: &str = get(&row, 0)?;
        let state = InvoiceState::parse(state)
            .ok_or_else(|| StoreError::corrupt("invoice", invoice, format!("state {state:?}")))?;
        Ok((state, get(&row, 1)?))
    })
    .transpose()
}
