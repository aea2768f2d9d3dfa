//! The part of JSON Schema that the schema of web hook events uses, checked: a keyword that is not
//! known here fails the test instead of being passed over.

#![cfg(test)]

use serde_json::Value;

/// What is wrong with a value, with where.
pub(crate) fn problems(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |why: String| found.push(format!("{place}: {why}"));
    let known = [
        "$schema",
        "$id",
        "$defs",
        "title",
        "description",
        "type",
        "required",
        "properties",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "oneOf",
        "$ref",
        "minimum",
        "pattern",
    ];
    let Some(rules) = schema.as_object() else { return vec![format!("{place}: no schema")] };
    for keyword in rules.keys() {
        if !known.contains(&keyword.as_str()) {
            wrong(format!("keyword {keyword:?} is not known to this test"));
        }
    }
    if let Some(kind) = schema.get("type") {
        let kinds: Vec<&str> = match kind {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        let is = |kind: &&str| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            _ => false,
        };
        if !kinds.iter().any(is) {
            wrong(format!("{value} is not of type {kind}"));
        }
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        wrong(format!("{value} is not {}", schema["const"]));
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array)
        && !options.contains(value)
    {
        wrong(format!("{value} is none of {options:?}"));
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            wrong(format!("{name} is missing"));
        }
    }
    if let Some(fields) = value.as_object() {
        for (name, field) in fields {
            match schema.pointer(&format!("/properties/{}", name.replace('/', "~1"))) {
                Some(inner) => {
                    found.extend(problems(root, inner, field, &format!("{place}/{name}")));
                }
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    found.push(format!("{place}: {name} is not described"));
                }
                None => {}
            }
        }
    }
    if let (Some(inner), Some(items)) = (schema.get("items"), value.as_array()) {
        for (number, item) in items.iter().enumerate() {
            found.extend(problems(root, inner, item, &format!("{place}/{number}")));
        }
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let inner = root.pointer(name.trim_start_matches('#')).unwrap_or(&Value::Null);
        found.extend(problems(root, inner, value, place));
    }
    if let Some(options) = schema.get("oneOf").and_then(Value::as_array) {
        let fits = |option: &&Value| problems(root, option, value, place).is_empty();
        let count = options.iter().filter(fits).count();
        if count != 1 {
            found.push(format!("{place}: {count} of the alternatives fit, not one"));
        }
    }
    found
}

/// The schema of web hook events.
pub(crate) fn schema() -> Value {
    read("webhook-events.schema.json")
}

/// One example of each event.
pub(crate) fn examples() -> Vec<Value> {
    read("webhook-events.examples.json").as_array().unwrap().clone()
}

fn read(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What is wrong with what an event of a kind says.
pub(crate) fn data_problems(kind: &str, data: &Value) -> Vec<String> {
    let root = schema();
    let Some(schema) = root.pointer(&format!("/$defs/{kind}")) else {
        return vec![format!("{kind} is not in the schema")];
    };
    problems(&root, schema, data, kind)
}
