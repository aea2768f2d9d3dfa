//! Comparison of an answer with what a case expects: a subset of keys, numbers by value, instants
//! by instant.

use counterfoil_types::{Exact, Rounding, Timestamp};
use serde_json::Value;

/// Every difference between what is expected and what came, with its path.
pub(super) fn differences(path: &str, expected: &Value, actual: &Value) -> Vec<String> {
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(given)) => wanted
            .iter()
            .flat_map(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match given.get(key) {
                    Some(given) => differences(&path, value, given),
                    None => vec![format!("{path}: expected {value}, the engine says nothing")],
                }
            })
            .collect(),
        (Value::Array(wanted), Value::Array(given)) if wanted.len() == given.len() => wanted
            .iter()
            .zip(given)
            .enumerate()
            .flat_map(|(at, (wanted, given))| differences(&format!("{path}[{at}]"), wanted, given))
            .collect(),
        _ if same(expected, actual) => Vec::new(),
        _ => vec![format!("{path}: expected {expected}, got {actual}")],
    }
}

fn same(expected: &Value, actual: &Value) -> bool {
    if expected == actual {
        return true;
    }
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (Some(wanted), Some(given)) = (text(expected), text(actual)) else { return false };
    if let (Ok(a), Ok(b)) = (Exact::parse(&wanted), Exact::parse(&given)) {
        return a == b || (given.contains('/') && rounds_to(&b, &a, &wanted));
    }
    match (wanted.parse::<Timestamp>(), given.parse::<Timestamp>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Whether a fraction without end, which the file can only write rounded, is the written number
/// when rounded to as many decimals.
fn rounds_to(exact: &Exact, wanted: &Exact, written: &str) -> bool {
    let decimals = written.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let dp = i32::try_from(decimals).unwrap_or(0);
    [Rounding::HalfAwayFromZero, Rounding::TowardsZero]
        .into_iter()
        .any(|mode| decimals >= 4 && exact.round(dp, mode) == *wanted)
}
