//! CloudEvents 1.0, JSON format: `subject` is the customer (or the extension attribute
//! `customer`, then `subject` stays what it is), `data` holds `quantity`, `unit`, `resource`,
//! `user` and the properties; `reverses` and `amends` are extension attributes.

use std::borrow::Cow;

use counterfoil_types::{CustomerId, Quantity};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Defaults, json, scalar};
use crate::{event::Event, receipt::Reject};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    customer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "dataschema")]
    _dataschema: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<scalar::RawMap<'a>>,
    #[serde(borrow)]
    reverses: Option<Cow<'a, str>>,
    #[serde(borrow)]
    amends: Option<Cow<'a, str>>,
    // Distributed-tracing extension attributes: allowed, and not part of the usage.
    #[serde(borrow, rename = "traceparent")]
    _traceparent: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "tracestate")]
    _tracestate: Option<Cow<'a, str>>,
}

/// `None` when the text has no `specversion` and so is no CloudEvent.
pub(super) fn decode(text: &str, defaults: &Defaults) -> Option<Result<Event, Reject>> {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow)]
        specversion: Option<&'a RawValue>,
    }
    serde_json::from_str::<Probe<'_>>(text).ok()?.specversion?;
    Some(
        serde_json::from_str::<CloudEvent<'_>>(text)
            .map_err(|error| Reject::Malformed(format!("CloudEvent: {error}")))
            .and_then(|cloud| build(cloud, defaults)),
    )
}

fn build(cloud: CloudEvent<'_>, defaults: &Defaults) -> Result<Event, Reject> {
    if cloud.specversion != "1.0" {
        return Err(Reject::field("specversion", "only CloudEvents 1.0 is understood"));
    }
    if let Some(kind) = &cloud.datacontenttype
        && !kind.starts_with("application/json")
    {
        return Err(Reject::field("datacontenttype", "must be application/json"));
    }
    let (customer, subject) = match (cloud.customer, cloud.subject) {
        (Some(customer), subject) => (customer, subject),
        (None, Some(subject)) => (subject, None),
        (None, None) => return Err(Reject::Missing("subject")),
    };
    let mut data = cloud.data.unwrap_or(scalar::RawMap(Default::default()));
    let quantity = match data.0.remove("quantity") {
        Some(raw) => scalar::number("data.quantity", raw)?,
        None => Quantity::ONE,
    };
    let mut text_field = |name: &str| -> Result<Option<String>, Reject> {
        let raw = data.0.remove(name);
        let value = raw.map(|raw| scalar::scalar(&format!("data.{name}"), raw)).transpose()?;
        Ok(value.flatten().map(|value| value.to_string()))
    };
    let (unit, resource, user) =
        (text_field("unit")?, text_field("resource")?, text_field("user")?);
    Ok(Event {
        id: cloud.id.ok_or(Reject::Missing("id"))?.into_owned(),
        source: cloud
            .source
            .map(Cow::into_owned)
            .or_else(|| defaults.source.clone())
            .ok_or(Reject::Missing("source"))?,
        customer: CustomerId::new(customer.into_owned())
            .map_err(|error| Reject::field("subject", error))?,
        event_type: cloud.event_type.ok_or(Reject::Missing("type"))?.into_owned(),
        time: json::time(cloud.time)?,
        quantity,
        unit,
        properties: scalar::properties("data", data)?,
        subject: subject.map(Cow::into_owned),
        resource,
        user,
        correction: json::correction(cloud.reverses, cloud.amends)?,
    })
}
