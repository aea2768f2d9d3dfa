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
    /// What Stripe collected; where that is not known, what it collected at most.
    pub paid: Money,
    /// Whether it is known how much of it Stripe collected itself. Newer versions of the API do not
    /// say so on the invoice, and what was paid elsewhere and told to Stripe counts as paid there.
    pub paid_is_known: bool,
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

/// What Stripe collected of an invoice, at most, and whether it is just that.
fn paid(one: &Value) -> (i64, bool) {
    let all = one.get("amount_paid").and_then(Value::as_i64).unwrap_or(0);
    let elsewhere = one.get("paid_out_of_band").and_then(Value::as_bool);
    let off = one.get("amount_paid_off_stripe").and_then(Value::as_i64);
    match elsewhere {
        Some(true) => (0, true),
        _ => (all - off.unwrap_or(0), elsewhere.is_some() || off.is_some() || all == 0),
    }
}

async fn read(client: &Client, one: &Value) -> Result<Theirs, Failure> {
    let currency = text(one, "currency").to_ascii_uppercase();
    let currency = currency
        .parse()
        .map_err(|_| Failure::never(format!("Stripe has an invoice in {currency:?}")))?;
    let units = |name: &str| one.get(name).and_then(Value::as_i64).unwrap_or(0);
    let id = text(one, "id").to_owned();
    let (paid, paid_is_known) = paid(one);
    Ok(Theirs {
        ours: metadata(one, INVOICE).to_owned(),
        number: metadata(one, "counterfoil_number").to_owned(),
        status: text(one, "status").to_owned(),
        total: from_units(units("total") - settled(client, &id).await?, currency)?,
        paid: from_units(paid, currency)?,
        paid_is_known,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_paid_elsewhere_is_told_apart_or_said_to_be_unknown() {
        let old = |elsewhere: bool| json!({"amount_paid": 500, "paid_out_of_band": elsewhere});
        assert_eq!((paid(&old(true)), paid(&old(false))), ((0, true), (500, true)));
        let newer = json!({"amount_paid": 500, "amount_paid_off_stripe": 200});
        assert_eq!(paid(&newer), (300, true));
        assert_eq!(paid(&json!({"amount_paid": 500})), (500, false));
        assert_eq!(paid(&json!({"amount_paid": 0})), (0, true));
    }
}
