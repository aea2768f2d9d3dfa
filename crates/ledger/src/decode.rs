//! Decoders: native JSON events and CloudEvents 1.0 JSON become [`Event`]s or a reason why not.
//!
//! Unknown fields are refused, not ignored: a misspelt `quantity` would silently bill 1.

mod cloudevents;
mod json;
mod scalar;

pub(crate) use scalar::{RawMap, properties};

use crate::{
    event::{Event, MAX_NAME, MAX_PROPERTIES, MAX_TEXT},
    receipt::Reject,
};

/// Largest JSON text of one event, in bytes.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// What to fill in where an event leaves a field out.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The producer, when events do not name one.
    pub source: Option<String>,
}

/// Decodes one JSON object, native or CloudEvents (recognised by `specversion`).
///
/// # Errors
/// A [`Reject`] that names the field and what to do.
pub fn decode_json(text: &[u8], defaults: &Defaults) -> Result<Event, Reject> {
    if text.len() > MAX_EVENT_BYTES {
        return Err(Reject::TooLarge { what: "event", size: text.len(), max: MAX_EVENT_BYTES });
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| Reject::Malformed(format!("not UTF-8 text: {error}")))?;
    // A derived reader would take an array for a struct, field by field.
    if !text.trim_start().starts_with('{') {
        return Err(Reject::Malformed("an event is a JSON object, {…}".to_owned()));
    }
    let event = json::decode(text, defaults)?;
    check_limits(&event)?;
    Ok(event)
}

/// Limits every event must keep, whatever it was decoded from.
///
/// # Errors
/// A [`Reject`] naming the field and the limit.
pub fn check_limits(event: &Event) -> Result<(), Reject> {
    let name = |field: &'static str, text: &str| {
        if text.is_empty() {
            return Err(Reject::field(field, "must not be empty"));
        }
        if text.len() > MAX_NAME {
            return Err(Reject::field(field, format!("longer than {MAX_NAME} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(Reject::field(field, "holds a control character"));
        }
        Ok(())
    };
    name("id", &event.id)?;
    name("source", &event.source)?;
    name("type", &event.event_type)?;
    if let Some(correction) = &event.correction {
        name(correction.kind.as_str(), &correction.target)?;
    }
    let optional = [
        ("unit", &event.unit),
        ("subject", &event.subject),
        ("resource", &event.resource),
        ("user", &event.user),
    ];
    for (field, text) in optional {
        if let Some(text) = text {
            name(field, text)?;
        }
    }
    if event.properties.len() > MAX_PROPERTIES {
        return Err(Reject::field("properties", format!("more than {MAX_PROPERTIES} of them")));
    }
    for (key, value) in &event.properties {
        name("properties", key)?;
        if let crate::event::Scalar::Text(text) = value
            && text.len() > MAX_TEXT
        {
            return Err(Reject::field(
                format!("properties.{key}"),
                format!("longer than {MAX_TEXT} bytes"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
