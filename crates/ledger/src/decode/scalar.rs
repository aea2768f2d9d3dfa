//! Scalars and exact numbers out of raw JSON text: digits are read from the text itself, so a
//! number never passes through a float.

use std::collections::BTreeMap;

use counterfoil_types::Quantity;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{event::Scalar, receipt::Reject};

/// An exact number from a JSON number or a decimal string.
pub(super) fn number(field: &str, raw: &RawValue) -> Result<Quantity, Reject> {
    let text = raw.get();
    let parsed = match text.as_bytes().first() {
        Some(b'"') => {
            let inner: String =
                serde_json::from_str(text).map_err(|error| Reject::field(field, error))?;
            inner.parse::<Quantity>()
        }
        Some(b'-' | b'0'..=b'9') => text.parse::<Quantity>(),
        _ => {
            return Err(Reject::field(field, format!("{} is not a number", shorten(text))));
        }
    };
    parsed.map_err(|error| Reject::field(field, error))
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A scalar; `None` for JSON null, which counts as absent.
pub(super) fn scalar(field: &str, raw: &RawValue) -> Result<Option<Scalar>, Reject> {
    let text = raw.get();
    Ok(Some(match text.as_bytes().first() {
        Some(b'"') => {
            Scalar::Text(serde_json::from_str(text).map_err(|error| Reject::field(field, error))?)
        }
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'n') => return Ok(None),
        Some(b'[' | b'{') => {
            return Err(Reject::field(
                field,
                "must be a string, number or boolean; flatten nested data before sending",
            ));
        }
        _ => Scalar::Number(number(field, raw)?),
    }))
}

/// A JSON object kept as raw values, refusing a key that stands twice.
pub(crate) struct RawMap<'a>(pub(crate) BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for RawMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;
        impl<'de> Visitor<'de> for MapVisitor {
            type Value = RawMap<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of scalars")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<String, &'de RawValue>()? {
                    if map.contains_key(&key) {
                        return Err(serde::de::Error::custom(format!("key {key:?} stands twice")));
                    }
                    map.insert(key, value);
                }
                Ok(RawMap(map))
            }
        }
        deserializer.deserialize_map(MapVisitor)
    }
}

/// All entries of `map` as properties.
pub(crate) fn properties(
    prefix: &str,
    map: RawMap<'_>,
) -> Result<BTreeMap<String, Scalar>, Reject> {
    let mut properties = BTreeMap::new();
    for (key, raw) in map.0 {
        // The full name is put together only for a complaint.
        let value = scalar("", raw).or_else(|_| scalar(&format!("{prefix}.{key}"), raw))?;
        if let Some(value) = value {
            properties.insert(key, value);
        }
    }
    Ok(properties)
}
