//! Drafts and finalizations, by the page: a run of hundreds of thousands of invoices must not cost
//! a round trip to the database for each step of each invoice.
//!
//! Finalizing a page, in the transaction of its commit: look up the states, take as many numbers
//! from the series as there are drafts among them, write number and state, record the facts, queue
//! the effects.

use std::collections::{HashMap, HashSet};

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::{StoreError, Write};
use counterfoil_types::{InvoiceId, Timestamp, decimal::canonical_text};
use sqlx::SqliteConnection;

use crate::{
    error::store_error,
    multi,
    rows::{self, get, signed},
};

/// Whether two writes that follow one another are done by the same statements.
pub(crate) fn belong_together(one: &Write, other: &Write) -> bool {
    match (one, other) {
        (Write::PutDraft(_), Write::PutDraft(_)) => true,
        (
            Write::Finalize { series, at, due_at, .. },
            Write::Finalize { series: other, at: at_other, due_at: due_other, .. },
        ) => series == other && at == at_other && due_at == due_other,
        _ => false,
    }
}

fn conflict(invoice: &InvoiceId, why: &str) -> StoreError {
    StoreError::conflict(format!("invoice {invoice}"), why)
}

/// The states of those invoices among `ids` that exist.
async fn states(
    tx: &mut SqliteConnection,
    tenant: i64,
    ids: &[InvoiceId],
) -> Result<HashMap<InvoiceId, InvoiceState>, StoreError> {
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in multi::chunks(ids) {
        let mut query = sqlx::query(multi::list(
            "SELECT id, state FROM invoice WHERE tenant = ? AND id IN",
            chunk.len(),
            "",
        ))
        .bind(tenant);
        for id in chunk {
            query = query.bind(id.to_string());
        }
        for row in query.fetch_all(&mut *tx).await.map_err(store_error)? {
            let id: String = get(&row, 0)?;
            let state: &str = get(&row, 1)?;
            let state = InvoiceState::parse(state)
                .ok_or_else(|| StoreError::corrupt("invoice", &id, format!("state {state:?}")))?;
            let id = id.parse().map_err(|error| StoreError::corrupt("invoice", &id, error))?;
            found.insert(id, state);
        }
    }
    Ok(found)
}

/// Creates or replaces drafts; one that is finalized is a conflict.
pub(crate) async fn put_drafts(
    tx: &mut SqliteConnection,
    tenant: i64,
    writes: &[Write],
) -> Result<(), StoreError> {
    let drafts: Vec<&Invoice> = writes
        .iter()
        .filter_map(|write| match write {
            Write::PutDraft(invoice) => Some(invoice.as_ref()),
            _ => None,
        })
        .collect();
    for chunk in multi::chunks(&drafts) {
        let mut query = sqlx::query(multi::values(
            "INSERT INTO invoice (tenant, id, customer, subscription, cycle, revision, part, due_cycle_at, position, state, currency, total, digest, body) VALUES",
            14,
            chunk.len(),
            "ON CONFLICT (tenant, id) DO UPDATE SET customer = excluded.customer, due_cycle_at = excluded.due_cycle_at, position = excluded.position, currency = excluded.currency, total = excluded.total, digest = excluded.digest, body = excluded.body WHERE invoice.state = 'draft'",
        ));
        for invoice in chunk {
            let body = &invoice.body;
            let canonical =
                body.canonical().map_err(|error| StoreError::Driver(error.to_string()))?;
            query = query
                .bind(tenant)
                .bind(invoice.id.to_string())
                .bind(body.customer.as_str())
                .bind(body.subscription.as_str())
                .bind(body.cycle)
                .bind(body.revision)
                .bind(body.part)
                .bind(body.due_cycle_at.micros())
                .bind(signed(body.inputs.position))
                .bind(InvoiceState::Draft.as_str())
                .bind(body.currency.code())
                .bind(canonical_text(&body.total.amount()))
                .bind(invoice.digest.0.to_vec())
                .bind(canonical);
        }
        let done = query.execute(&mut *tx).await.map_err(store_error)?;
        if done.rows_affected() != chunk.len() as u64 {
            let ids: Vec<InvoiceId> = chunk.iter().map(|invoice| invoice.id).collect();
            let states = states(tx, tenant, &ids).await?;
            let finalized = |id: &&InvoiceId| states.get(*id) != Some(&InvoiceState::Draft);
            let culprit = ids.iter().find(finalized).copied().unwrap_or_default();
            return Err(conflict(&culprit, "it is finalized; finalized invoices never change"));
        }
    }
    Ok(())
}

/// Finalizes the drafts among `writes`, which share series and times; those that are finalized
/// already stay as they are.
pub(crate) async fn finalize(
    tx: &mut SqliteConnection,
    tenant: i64,
    writes: &[Write],
) -> Result<(), StoreError> {
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
    let numbered = number(tx, tenant, series, drafts).await?;
    write_numbers(tx, tenant, &numbered, *at, *due_at).await?;
    record(tx, tenant, &numbered, *at, *due_at).await
}

/// Gives each draft the next number of a series.
async fn number(
    tx: &mut SqliteConnection,
    tenant: i64,
    series: &str,
    drafts: Vec<InvoiceId>,
) -> Result<Vec<(InvoiceId, String)>, StoreError> {
    let count = signed(drafts.len() as u64);
    let last = take_numbers(tx, tenant, series, count).await?;
    let first = last - count + 1;
    Ok((first..).zip(drafts).map(|(number, id)| (id, format!("{series}{number:06}"))).collect())
}

/// Takes the next number of a series.
pub(crate) async fn next_number(
    tx: &mut SqliteConnection,
    tenant: i64,
    series: &str,
) -> Result<String, StoreError> {
    let last = take_numbers(tx, tenant, series, 1).await?;
    Ok(format!("{series}{last:06}"))
}

/// Takes `count` numbers of a series; returns the last. The series' row is written in this
/// transaction, so a number that is not used is not taken.
async fn take_numbers(
    tx: &mut SqliteConnection,
    tenant: i64,
    series: &str,
    count: i64,
) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "INSERT INTO invoice_series (tenant, series, last) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET last = last + ?3 RETURNING last",
    )
    .bind(tenant)
    .bind(series)
    .bind(count)
    .fetch_one(tx)
    .await
    .map_err(store_error)?;
    get(&row, 0)
}

async fn write_numbers(
    tx: &mut SqliteConnection,
    tenant: i64,
    numbered: &[(InvoiceId, String)],
    at: Timestamp,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    for chunk in multi::chunks(numbered) {
        let mut query = sqlx::query(multi::values(
            "UPDATE invoice SET state = CASE WHEN total = '0' OR substr(total, 1, 1) = '-' THEN 'paid' ELSE 'pending' END, number = new.column3, issued_at = new.column4, due_at = new.column5 FROM (VALUES",
            5,
            chunk.len(),
            ") AS new WHERE invoice.tenant = new.column1 AND invoice.id = new.column2 AND invoice.state = 'draft'",
        ));
        for (id, number) in chunk {
            query = query
                .bind(tenant)
                .bind(id.to_string())
                .bind(number.as_str())
                .bind(at.micros())
                .bind(due_at.micros());
        }
        let done = query.execute(&mut *tx).await.map_err(store_error)?;
        if done.rows_affected() != chunk.len() as u64 {
            let first = chunk.first().map(|(id, _)| *id).unwrap_or_default();
            return Err(conflict(&first, "it or one of its page is no draft any more"));
        }
    }
    Ok(())
}

/// The facts and effects of a page.
async fn record(
    tx: &mut SqliteConnection,
    tenant: i64,
    numbered: &[(InvoiceId, String)],
    at: Timestamp,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT coalesce(max(position), 0) FROM journal WHERE tenant = ?")
        .bind(tenant)
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    let mut position: i64 = get(&row, 0)?;
    for chunk in multi::chunks(numbered) {
        let bodies: Vec<String> = chunk
            .iter()
            .map(|(id, number)| {
                let body = serde_json::json!({"invoice": id, "number": number, "due_at": due_at});
                rows::to_json(&body)
            })
            .collect::<Result<_, _>>()?;
        let mut facts = sqlx::query(multi::values(
            "INSERT INTO journal (tenant, position, kind, key, at, body) VALUES",
            6,
            chunk.len(),
            "",
        ));
        let mut effects = sqlx::query(multi::values(
            "INSERT INTO outbox (tenant, key, kind, body, created_at) VALUES",
            5,
            chunk.len(),
            "ON CONFLICT DO NOTHING",
        ));
        for ((id, _), body) in chunk.iter().zip(&bodies) {
            position += 1;
            facts = facts
                .bind(tenant)
                .bind(position)
                .bind("invoice.finalized")
                .bind(format!("invoice.finalized/{id}"))
                .bind(at.micros())
                .bind(body.as_str());
            effects = effects
                .bind(tenant)
                .bind(format!("invoice.issued/{id}"))
                .bind("invoice.issued")
                .bind(body.as_str())
                .bind(at.micros());
        }
        facts.execute(&mut *tx).await.map_err(store_error)?;
        effects.execute(&mut *tx).await.map_err(store_error)?;
    }
    Ok(())
}
