//! Drafts and finalizations, by the page: a run of hundreds of thousands of invoices must not cost
//! a round trip to the database for each step of each invoice.
//!
//! Finalizing a page, in the transaction of its commit, which holds the lock of the tenant's row:
//! look up and lock the states, take as many numbers from the series as there are drafts among
//! them, write number and state, record the facts, queue the effects.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::{Fact, StoreError, Write};
use counterfoil_types::{InvoiceId, Timestamp, decimal::canonical_text};
use sqlx::PgConnection;

use crate::{
    error::StepError,
    journal,
    rows::{self, get, signed},
};

/// Whether two writes that follow one another are done by the same statements.
pub(crate) fn belong_together(one: &Write, other: &Write) -> bool {
    match (one, other) {
        (Write::PutDraft(_), Write::PutDraft(_)) | (Write::Queue { .. }, Write::Queue { .. }) => {
            true
        }
        (
            Write::Finalize { series, at, due_at, .. },
            Write::Finalize { series: other, at: at_other, due_at: due_other, .. },
        ) => series == other && at == at_other && due_at == due_other,
        _ => false,
    }
}

fn conflict(invoice: &InvoiceId, why: &str) -> StepError {
    StoreError::conflict(format!("invoice {invoice}"), why).into()
}

fn texts(ids: &[InvoiceId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// The states of those invoices among `ids` that exist, their rows locked in order of id.
async fn states(
    tx: &mut PgConnection,
    tenant: i64,
    ids: &[InvoiceId],
) -> Result<HashMap<InvoiceId, InvoiceState>, StepError> {
    let rows = sqlx::query(
        "SELECT id, state FROM invoice WHERE tenant = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
    )
    .bind(tenant)
    .bind(texts(ids))
    .fetch_all(tx)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let id: &str = get(row, 0)?;
        let state: &str = get(row, 1)?;
        let state = InvoiceState::parse(state)
            .ok_or_else(|| StoreError::corrupt("invoice", id, format!("state {state:?}")))?;
        let id = id.parse().map_err(|error| StoreError::corrupt("invoice", id, error))?;
        found.insert(id, state);
    }
    Ok(found)
}

/// Creates or replaces drafts; one that is finalized is a conflict.
pub(crate) async fn put_drafts(
    tx: &mut PgConnection,
    tenant: i64,
    writes: &[Write],
) -> Result<(), StepError> {
    // In order of keys, so that two programs cannot deadlock; of two drafts of one cycle the later
    // one counts.
    let mut drafts: BTreeMap<String, &Invoice> = BTreeMap::new();
    for write in writes {
        if let Write::PutDraft(invoice) = write {
            drafts.insert(invoice.id.to_string(), invoice.as_ref());
        }
    }
    let ids: Vec<&str> = drafts.keys().map(String::as_str).collect();
    let column = |value: &dyn Fn(&Invoice) -> i64| -> Vec<i64> {
        drafts.values().map(|invoice| value(invoice)).collect()
    };
    let text = |value: &dyn Fn(&Invoice) -> String| -> Vec<String> {
        drafts.values().map(|invoice| value(invoice)).collect()
    };
    let digests: Vec<&[u8]> = drafts.values().map(|invoice| invoice.digest.0.as_slice()).collect();
    let bodies = drafts
        .values()
        .map(|invoice| invoice.body.canonical())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| StoreError::Driver(error.to_string()))?;
    let done = sqlx::query(
        "INSERT INTO invoice (tenant, id, customer, subscription, cycle, revision, part, due_cycle_at, position, state, currency, total, digest, body) SELECT $1, i.id, i.customer, i.subscription, i.cycle, i.revision, i.part, i.due_cycle_at, i.position, 'draft', i.currency, i.total::numeric, i.digest, i.body FROM UNNEST($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::bigint[]) AS i (id, customer, subscription, cycle, revision, due_cycle_at, position, currency, total, digest, body, part) ON CONFLICT (tenant, id) DO UPDATE SET customer = excluded.customer, due_cycle_at = excluded.due_cycle_at, position = excluded.position, currency = excluded.currency, total = excluded.total, digest = excluded.digest, body = excluded.body WHERE invoice.state = 'draft'",
    )
    .bind(tenant)
    .bind(&ids)
    .bind(text(&|invoice| invoice.body.customer.to_string()))
    .bind(text(&|invoice| invoice.body.subscription.to_string()))
    .bind(column(&|invoice| i64::from(invoice.body.cycle)))
    .bind(column(&|invoice| i64::from(invoice.body.revision)))
    .bind(column(&|invoice| invoice.body.due_cycle_at.micros()))
    .bind(column(&|invoice| signed(invoice.body.inputs.position)))
    .bind(text(&|invoice| invoice.body.currency.code().to_owned()))
    .bind(text(&|invoice| canonical_text(&invoice.body.total.amount())))
    .bind(&digests)
    .bind(&bodies)
    .bind(column(&|invoice| i64::from(invoice.body.part)))
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() != ids.len() as u64 {
        let ids: Vec<InvoiceId> = drafts.values().map(|invoice| invoice.id).collect();
        let states = states(tx, tenant, &ids).await?;
        let finalized = |id: &&InvoiceId| states.get(*id) != Some(&InvoiceState::Draft);
        let culprit = ids.iter().find(finalized).copied().unwrap_or_default();
        return Err(conflict(&culprit, "it is finalized; finalized invoices never change"));
    }
    Ok(())
}

/// Removes a draft; a finalized invoice is a conflict.
pub(crate) async fn drop_draft(
    tx: &mut PgConnection,
    tenant: i64,
    invoice: &InvoiceId,
) -> Result<(), StepError> {
    match states(tx, tenant, &[*invoice]).await?.get(invoice) {
        None => Ok(()),
        Some(InvoiceState::Draft) => {
            sqlx::query("DELETE FROM invoice WHERE tenant = $1 AND id = $2")
                .bind(tenant)
                .bind(invoice.to_string())
                .execute(tx)
                .await?;
            Ok(())
        }
        Some(state) => {
            Err(conflict(invoice, &format!("it is {}; only drafts are removed", state.as_str())))
        }
    }
}

/// Moves a finalized invoice on, where its state allows.
pub(crate) async fn move_invoice(
    tx: &mut PgConnection,
    tenant: i64,
    invoice: &InvoiceId,
    to: InvoiceState,
) -> Result<(), StepError> {
    let states = states(tx, tenant, &[*invoice]).await?;
    let Some(state) = states.get(invoice).copied() else {
        return Err(conflict(invoice, "it does not exist"));
    };
    if state == to {
        return Ok(());
    }
    // A draft becomes pending by being finalized, with a number; never by this door.
    if state == InvoiceState::Draft || !state.may_become(to) {
        let why = format!("it is {} and cannot become {}", state.as_str(), to.as_str());
        return Err(conflict(invoice, &why));
    }
    sqlx::query("UPDATE invoice SET state = $3 WHERE tenant = $1 AND id = $2")
        .bind(tenant)
        .bind(invoice.to_string())
        .bind(to.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

/// Finalizes the drafts among `writes`, which share series and times; those that are finalized
/// already stay as they are.
pub(crate) async fn finalize(
    tx: &mut PgConnection,
    tenant: i64,
    writes: &[Write],
) -> Result<(), StepError> {
    let Some(Write::Finalize { series, at, due_at, .. }) = writes.first() else { return Ok(()) };
    let mut seen = HashSet::new();
    let ids: Vec<InvoiceId> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Finalize { invoice, .. } if seen.insert(*invoice) => Some(*invoice),
            _ => None,
        })
        .collect();
    let states = states(tx, tenant, &ids).await?;
    let mut drafts = Vec::with_capacity(ids.len());
    for id in ids {
        match states.get(&id) {
            Some(InvoiceState::Draft) => drafts.push(id),
            Some(_) => {}
            None => return Err(conflict(&id, "there is no such draft; compute the run again")),
        }
    }
    if drafts.is_empty() {
        return Ok(());
    }
    let numbers = numbers(tx, tenant, series, drafts.len()).await?;
    write_numbers(tx, tenant, &drafts, &numbers, *at, *due_at).await?;
    record(tx, tenant, &drafts, &numbers, *at, *due_at).await
}

/// Takes the next numbers of a series. The series' row is written in this transaction, so a number
/// that is not used is not taken.
pub(crate) async fn numbers(
    tx: &mut PgConnection,
    tenant: i64,
    series: &str,
    count: usize,
) -> Result<Vec<String>, StepError> {
    let count = signed(count as u64);
    let row = sqlx::query(
        "INSERT INTO invoice_series (tenant, series, last) VALUES ($1, $2, $3) ON CONFLICT (tenant, series) DO UPDATE SET last = invoice_series.last + $3 RETURNING last",
    )
    .bind(tenant)
    .bind(series)
    .bind(count)
    .fetch_one(tx)
    .await?;
    let last: i64 = get(&row, 0)?;
    Ok((last - count + 1..=last).map(|number| format!("{series}{number:06}")).collect())
}

async fn write_numbers(
    tx: &mut PgConnection,
    tenant: i64,
    drafts: &[InvoiceId],
    numbers: &[String],
    at: Timestamp,
    due_at: Timestamp,
) -> Result<(), StepError> {
    let done = sqlx::query(
        "UPDATE invoice SET state = CASE WHEN total <= 0 THEN 'paid' ELSE 'pending' END, number = new.number, issued_at = $4, due_at = $5 FROM UNNEST($2::text[], $3::text[]) AS new (id, number) WHERE invoice.tenant = $1 AND invoice.id = new.id AND invoice.state = 'draft'",
    )
    .bind(tenant)
    .bind(texts(drafts))
    .bind(numbers)
    .bind(at.micros())
    .bind(due_at.micros())
    .execute(tx)
    .await?;
    if done.rows_affected() == drafts.len() as u64 {
        return Ok(());
    }
    let first = drafts.first().copied().unwrap_or_default();
    Err(conflict(&first, "it or one of its page is no draft any more"))
}

/// The facts and effects of a page.
async fn record(
    tx: &mut PgConnection,
    tenant: i64,
    drafts: &[InvoiceId],
    numbers: &[String],
    at: Timestamp,
    due_at: Timestamp,
) -> Result<(), StepError> {
    let facts: Vec<Fact> = drafts
        .iter()
        .zip(numbers)
        .map(|(id, number)| Fact {
            kind: "invoice.finalized".to_owned(),
            key: format!("invoice.finalized/{id}"),
            at,
            body: serde_json::json!({"invoice": id, "number": number, "due_at": due_at}),
        })
        .collect();
    let keys: Vec<String> = drafts.iter().map(|id| format!("invoice.issued/{id}")).collect();
    let bodies =
        facts.iter().map(|fact| rows::to_json(&fact.body)).collect::<Result<Vec<_>, _>>()?;
    journal::record(tx, tenant, &facts).await?;
    sqlx::query(
        "INSERT INTO outbox (tenant, key, kind, body, created_at) SELECT $1, e.key, 'invoice.issued', e.body, $4 FROM UNNEST($2::text[], $3::text[]) AS e (key, body) ON CONFLICT (tenant, key) DO NOTHING",
    )
    .bind(tenant)
    .bind(&keys)
    .bind(&bodies)
    .bind(at.micros())
    .execute(tx)
    .await?;
    Ok(())
}
