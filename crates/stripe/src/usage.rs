//! Usage: meter events, usage records, and what Stripe counts.

use counterfoil_delivery::{Sent, Verdict};
use counterfoil_store::stripe::{self, Address, Pushed, UsagePush};
use counterfoil_types::{Exact, Period, TenantId};
use serde_json::Value;

use crate::{
    client::{Answer, Client, Failure, Form},
    sender::{Age, StripeSender, skipped},
};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60;

fn seconds(at: counterfoil_types::Timestamp) -> i64 {
    at.micros().div_euclid(SECOND)
}

/// A number of an answer, digit by digit as it is written there.
fn number(value: Option<&Value>) -> Result<Exact, Failure> {
    let text = match value {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => return Err(Failure::later("the answer lacks a total")),
    };
    let text = text.strip_suffix(".0").unwrap_or(&text);
    Exact::parse(text).map_err(|error| Failure::later(format!("the total {text}: {error}")))
}

impl StripeSender {
    pub(crate) async fn send_usage(
        &self,
        tenant: &TenantId,
        push: &UsagePush,
        age: &Age,
    ) -> Result<Sent, Failure> {
        if let Address::Item { set: true, .. } = &push.address {
            // The newest total says it all.
            let same = Pushed::nothing(push.customer.clone(), push.meter.clone(), push.period);
            let known = stripe::setting(self.store.as_ref(), tenant, &same.key()).await?;
            let known: Option<Pushed> = known.and_then(|text| serde_json::from_str(&text).ok());
            if known.is_some_and(|known| known.count > push.count) {
                return Ok(skipped("a newer total follows it"));
            }
        } else if age.old && self.arrived(push).await? {
            return Ok(Sent::of(Verdict::Delivered));
        }
        let answer = self.send_once(push, age).await?;
        Ok(Sent::with(Verdict::Delivered, answer.code))
    }

    async fn send_once(&self, push: &UsagePush, age: &Age) -> Result<Answer, Failure> {
        let key = age.key(&push.id);
        let time = seconds(push.time).to_string();
        match &push.address {
            Address::Meter { customer, event_name, .. } => {
                let form = Form::new()
                    .with("event_name", event_name)
                    .with("payload[stripe_customer_id]", customer)
                    .with("payload[value]", push.delta.to_string())
                    // Always the same: Stripe counts it once within a day, whatever the key.
                    .with("identifier", &push.id)
                    .with("timestamp", time);
                self.client.post("v1/billing/meter_events", &form, &key).await
            }
            Address::Item { item, set } => {
                let (action, quantity, time) = if *set {
                    // At one instant of the period, so that each total replaces the last.
                    ("set", push.after, seconds(push.period.start).to_string())
                } else {
                    ("increment", push.delta, time)
                };
                if quantity.is_negative() {
                    return Err(Failure::never(format!(
                        "usage records cannot take back {quantity}; use them in mode `set`"
                    )));
                }
                let form = Form::new()
                    .with("action", action)
                    .with("quantity", quantity.to_string())
                    .with("timestamp", time);
                let path = format!("v1/subscription_items/{item}/usage_records");
                self.client.post_legacy(&path, &form, &key).await
            }
        }
    }

    /// Whether an earlier try arrived, by what Stripe counts.
    async fn arrived(&self, push: &UsagePush) -> Result<bool, Failure> {
        let theirs = counted(&self.client, &push.address, push.period).await?;
        if theirs == push.after.exact() {
            return Ok(true);
        }
        if theirs == push.before.exact() {
            return Ok(false);
        }
        // It may be behind for a while; in the end somebody has to look.
        Err(Failure::later(format!(
            "whether it arrived is not known, and Stripe counts {theirs}, neither {} nor {}; see `counterfoil stripe reconcile`",
            push.before, push.after
        )))
    }
}

/// What Stripe counts in a period.
///
/// # Errors
/// [`Failure`], also where the meter's id is not known.
pub async fn counted(client: &Client, address: &Address, period: Period) -> Result<Exact, Failure> {
    match address {
        Address::Meter { meter: None, event_name, .. } => Err(Failure::never(format!(
            "the id of meter {event_name} at Stripe is not known; `counterfoil stripe map meter` with --id"
        ))),
        Address::Meter { customer, meter: Some(meter), .. } => {
            // Whole minutes only; our periods begin on them.
            let start = seconds(period.start).div_euclid(MINUTE) * MINUTE;
            let end = -(-seconds(period.end)).div_euclid(MINUTE) * MINUTE;
            let query = Form::new()
                .with("customer", customer)
                .with("start_time", start.to_string())
                .with("end_time", end.to_string())
                .with("limit", "100");
            let path = format!("v1/billing/meters/{meter}/event_summaries");
            let answer = client.get(&path, &query).await?;
            let mut sum = Exact::ZERO;
            for summary in list(&answer) {
                sum = sum.add(&number(summary.get("aggregated_value"))?);
            }
            Ok(sum)
        }
        Address::Item { item, .. } => {
            let path = format!("v1/subscription_items/{item}/usage_record_summaries?limit=100");
            let answer = client.get_legacy(&path).await?;
            // Of Stripe's periods, the one that ours ends in.
            let last = seconds(period.end) - 1;
            for summary in list(&answer) {
                let bound = |name: &str| {
                    summary.get("period").and_then(|of| of.get(name)).and_then(Value::as_i64)
                };
                let begins = bound("start").is_none_or(|from| from <= last);
                let ends = bound("end").is_none_or(|to| to > last);
                if begins && ends {
                    return number(summary.get("total_usage"));
                }
            }
            Ok(Exact::ZERO)
        }
    }
}

/// The entries of a list.
pub(crate) fn list(answer: &Answer) -> &[Value] {
    answer.body.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
