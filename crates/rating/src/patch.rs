//! Patches on specifications: keys with new values, applied to the JSON form one by one so that a
//! mistake is found at its key.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::spec::{Patch, SpecError};

/// Keys of a charge that hold amounts.
pub(crate) const CHARGE_AMOUNTS: &[&str] = &[
    "unit_price",
    "tiers",
    "package_price",
    "amount",
    "fixed_fee",
    "free_amount",
    "per_transaction_min",
    "per_transaction_max",
    "rates",
    "windows",
    "default_unit_price",
    "minimum",
    "maximum",
    "discounts",
];
/// Keys of a plan that hold amounts.
pub(crate) const PLAN_AMOUNTS: &[&str] =
    &["minimum", "maximum", "discounts", "commitment", "bill_at"];
/// Keys of a plan that an override may patch.
pub(crate) const PLAN_KEYS: &[&str] =
    &["minimum", "maximum", "discounts", "commitment", "bill_at", "late_events"];

/// A patch and where it stands.
struct Layer<'a> {
    path: String,
    patch: &'a Patch,
}

/// A specification in its JSON form with the patches that were applied, the latest last.
pub(crate) struct Patched<'a, T> {
    pub(crate) spec: T,
    path: String,
    layers: Vec<Layer<'a>>,
}

impl<'a, T: Clone + Serialize + DeserializeOwned> Patched<'a, T> {
    pub(crate) fn new(spec: &T, path: String) -> Self {
        Self { spec: spec.clone(), path, layers: Vec::new() }
    }

    /// Applies one patch, key by key, so that a mistake is found at its key.
    pub(crate) fn apply(&mut self, path: String, patch: &'a Patch) -> Result<(), SpecError> {
        for (key, value) in patch.iter().filter(|(key, _)| *key != "in") {
            let at = format!("{path}.{key}");
            let wrong = |error: serde_json::Error| SpecError::new(at.clone(), said(&error));
            let Value::Object(mut table) = serde_json::to_value(&self.spec).map_err(wrong)? else {
                return Err(SpecError::new(at, "cannot be patched"));
            };
            if value.is_null() {
                // A key that does not exist must be refused, not ignored.
                let mut probe = table.clone();
                probe.insert(key.clone(), Value::Null);
                if let Err(error) = serde_json::from_value::<T>(Value::Object(probe))
                    && error.to_string().starts_with("unknown field")
                {
                    return Err(SpecError::new(at, said(&error)));
                }
                table.remove(key);
            } else {
                table.insert(key.clone(), value.clone());
            }
            self.spec = serde_json::from_value(Value::Object(table)).map_err(wrong)?;
        }
        self.layers.push(Layer { path, patch });
        Ok(())
    }

    /// Where the key at the start of `error`'s path was written last.
    pub(crate) fn locate(&self, error: SpecError) -> SpecError {
        let key = error.path.split(['.', '[']).next().unwrap_or_default();
        let layer = self.layers.iter().rev().find(|layer| layer.patch.contains_key(key));
        let path = layer.map_or(&self.path, |layer| &layer.path).clone();
        if path.is_empty() { error } else { error.under(&path) }
    }
}

/// What a parser said, without the place in a text that nobody sees.
fn said(error: &serde_json::Error) -> String {
    let message = error.to_string();
    if message.contains("floating point") {
        format!("{message}; write decimals in quotes, for example \"0.01\"")
    } else {
        message
    }
}

/// The first key that holds an amount in `table` and that none of `stated` states.
pub(crate) fn unstated<'k>(
    table: &Patch,
    amounts: &[&'k str],
    stated: &[&Patch],
) -> Option<&'k str> {
    let holds = |key: &str| match table.get(key) {
        Some(Value::Array(items)) if key == "discounts" => {
            items.iter().any(|item| item.get("amount").is_some_and(|amount| !amount.is_null()))
        }
        Some(value) => !value.is_null(),
        None => false,
    };
    let amounts = amounts.iter().copied();
    amounts
        .filter(|key| holds(key))
        .find(|key| !stated.iter().any(|patch| patch.contains_key(*key)))
}

pub(crate) fn table_of(spec: &impl Serialize) -> Patch {
    match serde_json::to_value(spec) {
        Ok(Value::Object(table)) => table,
        _ => Patch::new(),
    }
}

/// The keys that `patch` states for a currency below its `in`.
pub(crate) fn nested<'a>(patch: &'a Patch, code: &str) -> Option<&'a Patch> {
    patch.get("in")?.get(code)?.as_object()
}

/// The currency codes below a patch's `in`.
pub(crate) fn codes_of<'a>(patch: &'a Patch, path: &str) -> Result<Vec<&'a String>, SpecError> {
    let wrong = |path: String| {
        SpecError::new(path, "must be a table of keys by currency: in = { EUR = { … } }")
    };
    let Some(value) = patch.get("in") else { return Ok(Vec::new()) };
    let table = value.as_object().ok_or_else(|| wrong(format!("{path}.in")))?;
    if let Some((code, _)) = table.iter().find(|(_, keys)| !keys.is_object()) {
        return Err(wrong(format!("{path}.in.{code}")));
    }
    Ok(table.keys().collect())
}

/// Told when an amount would be read in another currency than it was written in.
pub(crate) fn restate(key: &str, code: &str) -> String {
    format!("`{key}` must be stated in {code} too, or it would be read as {code}")
}
