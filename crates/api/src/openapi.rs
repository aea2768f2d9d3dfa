//! The OpenAPI 3.1 document, made from the table of operations.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::{
    operation::{Media, Operation, Routes},
    problem::{KINDS, Problem},
    scope::Scope,
};

/// Statuses every operation with a key can answer with.
const COMMON: &[u16] = &[400, 401, 403, 404, 408, 413, 422, 429, 500, 503];

/// The document.
pub(crate) fn document(routes: &mut Routes) -> Value {
    let problem = routes.generator.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for (operation, _) in &routes.operations {
        let described = describe(operation, &problem.clone().to_value());
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.as_str().to_lowercase(), described);
        }
    }
    let schemas: Map<String, Value> = routes.generator.take_definitions(true).into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Counterfoil",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "Usage billing you can prove. Decimals travel as strings, times as RFC 3339, lists by cursor. Every request that changes something takes an `Idempotency-Key`; events carry their own ids. Errors are problem documents (RFC 9457) with a stable `code`.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `cf_…`"}
            },
        },
    })
}

fn media(all: &[Media]) -> Value {
    let one = |media: &Media| {
        let schema = media.schema.clone().map_or_else(
            || json!({}),
            |schema| {
                let mut schema = schema.to_value();
                tidy(&mut schema);
                schema
            },
        );
        (media.content_type.to_owned(), json!({"schema": schema}))
    };
    Value::Object(all.iter().map(one).collect())
}

/// Takes out what a part of a document has no use for.
fn tidy(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
}

fn describe(operation: &Operation, problem: &Value) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path);
    if let Some(query) = &operation.query {
        parameters.extend(query_parameters(&query.clone().to_value()));
    }
    if operation.is_keyed() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
            "description": "The request takes effect once, however often it is sent with this key",
        }));
    }
    if operation.if_match {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "schema": {"type": "string"},
            "description": "The `ETag` that was seen; refused with 412 when it changed meanwhile",
        }));
    }
    let mut responses: Map<String, Value> = Map::new();
    for (status, meaning, body) in &operation.answers {
        let mut answer = json!({"description": meaning});
        let content = match body {
            Some(body) => Some(media(std::slice::from_ref(body))),
            None if *status >= 400 => Some(problem_media(problem)),
            None => None,
        };
        if let (Some(content), Some(answer)) = (content, answer.as_object_mut()) {
            answer.insert("content".to_owned(), content);
        }
        responses.insert(status.to_string(), answer);
    }
    if operation.scope != Scope::Public {
        let mut statuses = COMMON.to_vec();
        if operation.changes() {
            statuses.extend([409, 415, 507]);
        }
        if operation.if_match {
            statuses.push(412);
        }
        for status in statuses {
            responses.entry(status.to_string()).or_insert_with(|| {
                let titles: Vec<&str> = KINDS
                    .iter()
                    .filter(|(_, known, _)| *known == status)
                    .map(|(.., title)| *title)
                    .collect();
                json!({"description": titles.join("; "), "content": problem_media(problem)})
            });
        }
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": responses,
        "x-scope": operation.scope,
    });
    if let Some(described) = described.as_object_mut() {
        if !operation.description.is_empty() {
            described.insert("description".to_owned(), operation.description.into());
        }
        if !parameters.is_empty() {
            described.insert("parameters".to_owned(), parameters.into());
        }
        if !operation.bodies.is_empty() {
            let body = json!({"required": true, "content": media(&operation.bodies)});
            described.insert("requestBody".to_owned(), body);
        }
        if operation.scope == Scope::Public {
            described.insert("security".to_owned(), json!([]));
        }
        if operation.for_customers {
            described.insert("x-for-customers".to_owned(), true.into());
        }
    }
    described
}

fn problem_media(problem: &Value) -> Value {
    json!({"application/problem+json": {"schema": problem}})
}

fn path_parameters(path: &str) -> Vec<Value> {
    let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    named
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true,
                "schema": {"type": "string", "minLength": 1},
            })
        })
        .collect()
}

/// The properties of a schema as parameters.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    properties
        .iter()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let description =
                schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let mut parameter = json!({
                "name": name, "in": "query", "schema": schema,
                "required": required.contains(&name.as_str()),
            });
            if let (Some(text), Some(parameter)) = (description, parameter.as_object_mut()) {
                parameter.insert("description".to_owned(), text);
            }
            parameter
        })
        .collect()
}

/// A schema for tests and tools that want one type only.
pub fn schema_of<T: JsonSchema>() -> Value {
    schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}
