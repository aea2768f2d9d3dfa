//! The API reference as one page without scripts, made from the table of operations.

use std::fmt::Write;

use serde_json::Value;

use crate::operation::Operation;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1f;background:#fff}code,pre{font:14px/1.5 ui-monospace,monospace}h2{margin-top:3rem;border-bottom:1px solid #ccc}details{margin:.5rem 0;border:1px solid #ddd;border-radius:4px;padding:.4rem .8rem}summary{cursor:pointer}.m{display:inline-block;min-width:4.5rem;font-weight:600}.s{float:right;color:#666}table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}pre{overflow:auto;background:#f5f5f7;padding:.6rem}@media(prefers-color-scheme:dark){body{background:#16161a;color:#e6e6ea}pre{background:#222228}details{border-color:#444}.s{color:#aaa}}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page.
pub(crate) fn page(operations: &[Operation], document: &Value) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Counterfoil API</title><style>{STYLE}</style></head><body><h1>Counterfoil API</h1><p>{}</p><p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>.</p>",
        escaped(document.pointer("/info/description").and_then(Value::as_str).unwrap_or_default())
    );
    let mut tag = "";
    for operation in operations {
        if operation.tag != tag {
            tag = operation.tag;
            let _ = write!(out, "<h2>{}</h2>", escaped(tag));
        }
        one(&mut out, operation, document);
    }
    out.push_str("</body></html>");
    out
}

fn one(out: &mut String, operation: &Operation, document: &Value) {
    let pointer = format!(
        "/paths/{}/{}",
        operation.path.replace('~', "~0").replace('/', "~1"),
        operation.method.as_str().to_lowercase()
    );
    let described = document.pointer(&pointer).unwrap_or(&Value::Null);
    let _ = write!(
        out,
        "<details id=\"{id}\"><summary><span class=\"s\">{scope}</span><span class=\"m\">{method}</span> <code>{path}</code> — {summary}</summary><p>{text}</p>",
        id = operation.id,
        scope = operation.scope.as_str(),
        method = operation.method,
        path = escaped(operation.path),
        summary = escaped(operation.summary),
        text = escaped(operation.description),
    );
    if let Some(parameters) = described.get("parameters").and_then(Value::as_array) {
        out.push_str("<table><tr><th>Parameter</th><th>In</th><th></th></tr>");
        for parameter in parameters {
            let text = |name: &str| parameter.get(name).and_then(Value::as_str).unwrap_or_default();
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escaped(text("name")),
                escaped(text("in")),
                escaped(text("description"))
            );
        }
        out.push_str("</table>");
    }
    if let Some(content) = described.pointer("/requestBody/content").and_then(Value::as_object) {
        for (kind, media) in content {
            let _ = write!(out, "<p>Body: <code>{}</code></p>", escaped(kind));
            schema(out, media.get("schema"), document);
        }
    }
    for (status, meaning, media) in &operation.answers {
        let _ = write!(out, "<p><b>{status}</b> {}</p>", escaped(meaning));
        if let Some(media) = media {
            let value = media.schema.clone().map(schemars::Schema::to_value);
            schema(out, value.as_ref(), document);
        }
    }
    out.push_str("</details>");
}

/// A schema, its first reference resolved.
fn schema(out: &mut String, schema: Option<&Value>, document: &Value) {
    let Some(schema) = schema else { return };
    let named = schema.get("$ref").and_then(Value::as_str);
    let resolved = named.and_then(|name| document.pointer(name.strip_prefix('#')?));
    let shown = resolved.unwrap_or(schema);
    if shown.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let text = serde_json::to_string_pretty(shown).unwrap_or_default();
    let _ = write!(out, "<pre>{}</pre>", escaped(&text));
}
