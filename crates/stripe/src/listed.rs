//! Invoices as Stripe has them, to be held against ours.

use counterfoil_types::{Money, TenantId};
use serde_json::Value;

use crate::{
    client::{Client, Failure, Form},
    invoices::{INVOICE, LINE, TENANT, from_units},
    usage::list,
};

/// Pages of a customer's invoices that are looked through.
const MOST_PAGES: usize = 500;

/// One of our invoices at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// Its id there.
    pub id: String,
    /// The id of ours.
    pub ours: String,
    /// The number of ours it was pushed with.
    pub number: String,
    /// `draft`, `open`, `paid`, `void`, `uncollectible`.
    pub status: String,
    /// Its total, with what was settled before it was pushed.
    pub total: Money,
    /// What Stripe collected.
    pub paid: Money,
    /// What is open there.
    pub open: Money,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn metadata<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get("metadata").map(|of| text(of, name)).unwrap_or_default()
}

/// Our invoices that a customer has there, made since a second.
///
/// # Errors
/// [`Failure`].
pub async fn invoices(
    client: &Client,
    tenant: &TenantId,
    customer: &str,
    since: i64,
) -> Result<Vec<Theirs>, Failure> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let mut query = Form::new()
            .with("customer", customer)
            .with("created[gte]", since.max(0).to_string())
            .with("limit", "100");
        if let Some(after) = &after {
            query = query.with("starting_after", after);
        }
        let page = client.get("v1/invoices", &query).await?;
        for one in list(&page) {
            if !metadata(one, INVOICE).is_empty() && metadata(one, TENANT) == tenant.as_str() {
                found.push(read(client, one).await?);
            }
        }
        after = list(&page).last().map(|last| text(last, "id").to_owned());
        let more = page.body.get("has_more").and_then(Value::as_bool).unwrap_or(false);
        if !more || after.is_none() {
            return Ok(found);
        }
    }
    Err(Failure::never("the customer has too many invoices at Stripe to look through"))
}

async fn read(client: &Client, one: &Value) -> Result<Theirs, Failure> {
    let currency = text(one, "currency").to_ascii_uppercase();
    let currency = currency
        .parse()
        .map_err(|_| Failure::never(format!("Stripe has an invoice in {currency:?}")))?;
    let units = |name: &str| one.get(name).and_then(Value::as_i64).unwrap_or(0);
    let id = text(one, "id").to_owned();
    let elsewhere = one.get("paid_out_of_band").and_then(Value::as_bool) == Some(true);
    let paid = if elsewhere { 0 } else { units("amount_paid") - units("amount_paid_off_stripe") };
    Ok(Theirs {
        ours: metadata(one, INVOICE).to_owned(),
        number: metadata(one, "counterfoil_number").to_owned(),
        status: text(one, "status").to_owned(),
        total: from_units(units("total") - settled(client, &id).await?, currency)?,
        paid: from_units(paid, currency)?,
        open: from_units(units("amount_remaining"), currency)?,
        id,
    })
}

/// What was settled before it was pushed, at most zero, in Stripe's unit.
async fn settled(client: &Client, id: &str) -> Result<i64, Failure> {
    let mut sum = 0;
    let mut after: Option<String> = None;
    loop {
        let mut query = Form::new().with("invoice", id).with("limit", "100");
        if let Some(after) = &after {
            query = query.with("starting_after", after);
        }
        let page = client.get("v1/invoiceitems", &query).await?;
        for item in list(&page) {
            if metadata(item, LINE).starts_with("settled-") {
                sum += item.get("amount").and_then(Value::as_i64).unwrap_or(0);
            }
        }
        after = list(&page).last().map(|last| text(last, "id").to_owned());
        let more = page.body.get("has_more").and_then(Value::as_bool).unwrap_or(false);
        if !more || after.is_none() {
            return Ok(sum);
        }
    }
}
