//! The native JSON event.

use std::borrow::Cow;

use counterfoil_types::{CustomerId, Quantity, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Defaults, cloudevents, scalar};
use crate::{
    event::{Correction, CorrectionKind, Event},
    receipt::Reject,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "event")]
struct Native<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    customer: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    quantity: Option<&'a RawValue>,
    #[serde(borrow)]
    unit: Option<Cow<'a, str>>,
    #[serde(borrow)]
    properties: Option<scalar::RawMap<'a>>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reverses: Option<Cow<'a, str>>,
    #[serde(borrow)]
    amends: Option<Cow<'a, str>>,
    // An exported row: its place in the ledger it comes from, which says nothing about this one.
    lane: Option<i64>,
    position: Option<u64>,
    #[serde(borrow)]
    recorded_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    standing: Option<Cow<'a, str>>,
}

/// Keeps `null` apart from absent: a quantity that is `null` was meant to be one.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(super) fn decode(text: &str, defaults: &Defaults) -> Result<Event, Reject> {
    match serde_json::from_str::<Native<'_>>(text) {
        Ok(native) => build(native, defaults),
        Err(error) if error.to_string().contains("unknown field") => {
            // Only a text that is no native event is looked at again as a CloudEvent.
            match cloudevents::decode(text, defaults) {
                Some(decoded) => decoded,
                None => Err(Reject::Malformed(error.to_string())),
            }
        }
        Err(error) => Err(Reject::Malformed(error.to_string())),
    }
}

pub(super) fn correction(
    reverses: Option<Cow<'_, str>>,
    amends: Option<Cow<'_, str>>,
) -> Result<Option<Correction>, Reject> {
    match (reverses, amends) {
        (Some(_), Some(_)) => {
            Err(Reject::field("reverses", "an event either reverses or amends another, not both"))
        }
        (Some(target), None) => {
            Ok(Some(Correction { kind: CorrectionKind::Reverses, target: target.into_owned() }))
        }
        (None, Some(target)) => {
            Ok(Some(Correction { kind: CorrectionKind::Amends, target: target.into_owned() }))
        }
        (None, None) => Ok(None),
    }
}

pub(super) fn time(text: Option<Cow<'_, str>>) -> Result<Option<Timestamp>, Reject> {
    text.map(|text| text.parse().map_err(|error| Reject::field("time", error))).transpose()
}

fn build(native: Native<'_>, defaults: &Defaults) -> Result<Event, Reject> {
    let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let exported = [
        native.lane.is_some(),
        native.position.is_some(),
        native.recorded_at.is_some(),
        native.standing.is_some(),
    ];
    if exported.contains(&true) && exported.contains(&false) {
        return Err(Reject::Malformed(
            "`lane`, `position`, `recorded_at` and `standing` stand together in an exported row, or not at all".to_owned(),
        ));
    }
    Ok(Event {
        id: own(native.id).ok_or(Reject::Missing("id"))?,
        source: own(native.source)
            .or_else(|| defaults.source.clone())
            .ok_or(Reject::Missing("source"))?,
        customer: CustomerId::new(own(native.customer).ok_or(Reject::Missing("customer"))?)
            .map_err(|error| Reject::field("customer", error))?,
        event_type: own(native.event_type).ok_or(Reject::Missing("type"))?,
        time: time(native.time)?,
        quantity: match native.quantity {
            Some(raw) => scalar::number("quantity", raw)?,
            None => Quantity::ONE,
        },
        unit: own(native.unit),
        properties: match native.properties {
            Some(map) => scalar::properties("properties", map)?,
            None => Default::default(),
        },
        subject: own(native.subject),
        resource: own(native.resource),
        user: own(native.user),
        correction: correction(native.reverses, native.amends)?,
    })
}
