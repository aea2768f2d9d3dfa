//! The stored form of an event's optional parts: unit, properties, subject, resource, user and
//! correction as one JSON object, or nothing at all. Numbers are written with all their digits.
//!
//! The format is for ever: `tests/golden/stored_events.jsonl` holds rows that must stay readable.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    decode::{RawMap, properties},
    event::{Correction, CorrectionKind, Event, Scalar},
    receipt::Reject,
};

/// The optional parts, read back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Unit.
    pub unit: Option<String>,
    /// Properties.
    pub properties: BTreeMap<String, Scalar>,
    /// Subject.
    pub subject: Option<String>,
    /// Resource.
    pub resource: Option<String>,
    /// End user.
    pub user: Option<String>,
    /// Correction.
    pub correction: Option<Correction>,
}

fn push_text(out: &mut String, text: &str) {
    // Serialising a str cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The stored form; `None` when there is nothing to store.
#[must_use]
pub fn encode(event: &Event) -> Option<String> {
    let correction = event.correction.as_ref();
    let texts = [
        ("unit", event.unit.as_deref()),
        ("subject", event.subject.as_deref()),
        ("resource", event.resource.as_deref()),
        ("user", event.user.as_deref()),
        (correction.map_or("", |c| c.kind.as_str()), correction.map(|c| c.target.as_str())),
    ];
    let mut out = String::new();
    let separate = |out: &mut String| out.push(if out.is_empty() { '{' } else { ',' });
    for (name, text) in texts {
        if let Some(text) = text {
            separate(&mut out);
            push_text(&mut out, name);
            out.push(':');
            push_text(&mut out, text);
        }
    }
    if !event.properties.is_empty() {
        separate(&mut out);
        out.push_str("\"properties\":{");
        for (number, (name, value)) in event.properties.iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            push_text(&mut out, name);
            out.push(':');
            match value {
                Scalar::Text(text) => push_text(&mut out, text),
                Scalar::Number(number) => out.push_str(&number.to_string()),
                Scalar::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            }
        }
        out.push('}');
    }
    if out.is_empty() {
        return None;
    }
    out.push('}');
    Some(out)
}

/// Reads the stored form back.
///
/// # Errors
/// When it is not what [`encode`] writes.
pub fn decode(text: &str) -> Result<Body, Reject> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stored<'a> {
        unit: Option<String>,
        #[serde(borrow)]
        properties: Option<RawMap<'a>>,
        subject: Option<String>,
        resource: Option<String>,
        user: Option<String>,
        reverses: Option<String>,
        amends: Option<String>,
    }
    let stored: Stored<'_> =
        serde_json::from_str(text).map_err(|error| Reject::Malformed(error.to_string()))?;
    let correction = match (stored.reverses, stored.amends) {
        (Some(target), _) => Some(Correction { kind: CorrectionKind::Reverses, target }),
        (None, Some(target)) => Some(Correction { kind: CorrectionKind::Amends, target }),
        (None, None) => None,
    };
    Ok(Body {
        unit: stored.unit,
        properties: match stored.properties {
            Some(map) => properties("properties", map)?,
            None => BTreeMap::new(),
        },
        subject: stored.subject,
        resource: stored.resource,
        user: stored.user,
        correction,
    })
}
