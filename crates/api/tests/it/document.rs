//! The OpenAPI document: committed as it is, whole, and what the service does.

use std::{collections::BTreeSet, path::PathBuf};

use counterfoil_api::{openapi_document, operations, scope::Scope};
use serde_json::Value;

use crate::world::World;

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
}

#[test]
fn the_committed_document_is_the_services() {
    let text = serde_json::to_string_pretty(&openapi_document()).unwrap() + "\n";
    if std::env::var_os("COUNTERFOIL_UPDATE").is_some() {
        std::fs::write(committed(), &text).unwrap();
    }
    let stored = std::fs::read_to_string(committed()).unwrap_or_default();
    assert!(stored == text, "docs/openapi.json is old; run the tests with COUNTERFOIL_UPDATE=1");
}

/// All `$ref`s of a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name == "$ref" => {
                        found.insert(text);
                    }
                    other => references(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi_document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn operations_are_named_once_and_described() {
    let all = operations();
    let ids: BTreeSet<&str> = all.iter().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), all.len());
    for operation in &all {
        assert!(!operation.summary.is_empty(), "{}", operation.id);
        assert!(!operation.answers.is_empty(), "{}", operation.id);
        assert!(
            operation.scope != Scope::Public || !operation.path.starts_with("/v1"),
            "{} is open to all",
            operation.id
        );
    }
}

#[tokio::test]
async fn the_reference_page_needs_nothing_from_elsewhere() {
    let world = World::new().await;
    let page = world.ask("GET", "/docs", "", &[], None).await.is(200);
    assert!(page.text.contains("events.append") || page.text.contains("Append events"));
    for foreign in ["http://", "https://", "<script", "src="] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
    let document = world.ask("GET", "/openapi.json", "", &[], None).await.is(200);
    assert_eq!(document.at("/openapi"), "3.1.0");
}
