//! Customers and meters made at Stripe on request. What is there already is found by our name for
//! it, so that doing it again makes nothing twice, also after the key of the first time is forgotten.

use counterfoil_invoicing::Customer;
use counterfoil_store::stripe::{Link, MeterLink};
use counterfoil_types::{MeterKey, TenantId, derive_uuid};
use serde_json::Value;

use crate::{
    client::{Client, Failure, Form},
    invoices::TENANT,
    usage::list,
};

const CUSTOMER: &str = "counterfoil_customer";

fn key(tenant: &TenantId, link: &Link, what: &str, name: &str) -> String {
    format!("cf_{}", derive_uuid(what, &[tenant.as_str(), &link.nonce, name]).simple())
}

/// The customer's id at Stripe; it is made there if it is not found.
///
/// # Errors
/// [`Failure`].
pub async fn customer(
    client: &Client,
    tenant: &TenantId,
    link: &Link,
    customer: &Customer,
) -> Result<String, Failure> {
    let ours = customer.id.as_str();
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let query = format!(
        "metadata['{CUSTOMER}']:'{}' AND metadata['{TENANT}']:'{}'",
        quoted(ours),
        quoted(tenant.as_str())
    );
    let found = client
        .get("v1/customers/search", &Form::new().with("query", query).with("limit", "2"))
        .await?;
    let there: Vec<&str> = list(&found)
        .iter()
        .filter_map(|customer| customer.get("id").and_then(Value::as_str))
        .collect();
    match there.as_slice() {
        [] => {}
        [one] => return Ok((*one).to_owned()),
        _ => {
            return Err(Failure::never(format!(
                "Stripe has several customers for {ours}: {}; choose with `counterfoil stripe map customer`",
                there.join(", ")
            )));
        }
    }
    let mut form = Form::new()
        .with("name", &customer.name)
        .with(&format!("metadata[{CUSTOMER}]"), ours)
        .with(&format!("metadata[{TENANT}]"), tenant.as_str());
    if let Some(email) = &customer.email {
        form = form.with("email", email);
    }
    // Search lags by a minute; the key covers that.
    let made =
        client.post("v1/customers", &form, &key(tenant, link, "stripe-customer", ours)).await?;
    Ok(made.text("id")?.to_owned())
}

/// The meter at Stripe that takes events of this name; it is made there if it is not found.
///
/// # Errors
/// [`Failure`].
pub async fn meter(
    client: &Client,
    tenant: &TenantId,
    link: &Link,
    meter: &MeterKey,
    name: &str,
    decimals: u8,
) -> Result<MeterLink, Failure> {
    let event_name = meter.as_str().to_owned();
    let mut after: Option<String> = None;
    loop {
        let mut query = Form::new().with("status", "active").with("limit", "100");
        if let Some(after) = &after {
            query = query.with("starting_after", after);
        }
        let page = client.get("v1/billing/meters", &query).await?;
        let text =
            |meter: &Value, name: &str| meter.get(name).and_then(Value::as_str).map(str::to_owned);
        for there in list(&page) {
            if text(there, "event_name").as_ref() == Some(&event_name) {
                let formula = there.get("default_aggregation").and_then(|of| text(of, "formula"));
                if formula.as_deref() != Some("sum") {
                    return Err(Failure::never(format!(
                        "meter {event_name} at Stripe does not sum; what is pushed are differences"
                    )));
                }
                return Ok(MeterLink { event_name, meter: text(there, "id"), decimals });
            }
        }
        after = list(&page).last().and_then(|last| text(last, "id"));
        let more = page.body.get("has_more").and_then(Value::as_bool).unwrap_or(false);
        if !more || after.is_none() {
            break;
        }
    }
    let form = Form::new()
        .with("display_name", name)
        .with("event_name", &event_name)
        .with("default_aggregation[formula]", "sum")
        .with("customer_mapping[type]", "by_id")
        .with("customer_mapping[event_payload_key]", "stripe_customer_id")
        .with("value_settings[event_payload_key]", "value");
    let key = key(tenant, link, "stripe-meter", &event_name);
    let made = client.post("v1/billing/meters", &form, &key).await?;
    Ok(MeterLink { event_name, meter: Some(made.text("id")?.to_owned()), decimals })
}
