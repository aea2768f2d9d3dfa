//! What web hooks are sent is what the published schema says: every kind, as it goes over the wire.

#![cfg(test)]

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    receiver::Receiver,
    schema::{data_problems, examples, problems, schema},
    world::{World, on_both},
};

#[tokio::test]
async fn every_event_is_sent_as_the_published_schema_says() {
    let root = schema();
    on_both(async |world: World| {
        let receiver = Receiver::start().await;
        world.endpoint("all", receiver.url("ok"), &[]).await;
        for example in examples() {
            let kind = example["type"].as_str().unwrap().to_owned();
            world.queue(&kind, "1", example["data"].clone()).await;
        }
        let count = examples().len();
        assert_eq!(world.deliver().await.delivered, count as u64);
        let mut kinds = BTreeSet::new();
        for request in receiver.requests() {
            let sent: Value = serde_json::from_str(&request.body).unwrap();
            assert_eq!(problems(&root, &root, &sent, ""), Vec::<String>::new());
            let kind = sent["type"].as_str().unwrap();
            assert_eq!(data_problems(kind, &sent["data"]), Vec::<String>::new());
            kinds.insert(kind.to_owned());
        }
        let described: BTreeSet<String> = root["properties"]["type"]["enum"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| kind.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, described, "each kind has an example");
    })
    .await;
}

#[test]
fn what_the_schema_does_not_say_is_noticed() {
    let mut example = examples().into_iter().find(|one| one["type"] == "alert.warning").unwrap();
    assert!(data_problems("alert.warning", &example["data"]).is_empty());
    example["data"]["alert"].as_object_mut().unwrap().remove("explanation");
    assert!(!data_problems("alert.warning", &example["data"]).is_empty());
    assert!(!data_problems("alert.unheard_of", &example["data"]).is_empty());
    example["data"]["customer"] = Value::from(7);
    assert!(data_problems("alert.warning", &example["data"]).len() > 1);
}

/// Literals that look like kinds of effects and are none: facts of the journal, names of usage, and
/// what only the sender to Stripe hears.
const NO_EFFECTS: [&str; 7] = [
    "api.request",
    "balance.used",
    "invoice.finalized",
    "ledger.archived",
    "quota.reset",
    "stripe.usage",
    "thing.happened",
];

/// Kinds are written as literals where they are emitted; each of them is described.
#[test]
fn every_kind_in_the_code_is_in_the_schema() {
    let root = schema();
    let described = root["properties"]["type"]["enum"].as_array().unwrap();
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![];
    for one in ["api", "delivery", "engine", "cli", "store"] {
        folders.push(crates.join(one).join("src"));
    }
    let mut undescribed = BTreeSet::new();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            for (told, _) in shipped.match_indices("told(").chain(shipped.match_indices("kind")) {
                // The first literal after it, where it follows at once.
                let rest: String = shipped[told..].chars().take(120).collect();
                let Some(literal) = rest.split('"').nth(1) else { continue };
                let is_kind = literal.contains('.')
                    && literal.bytes().all(|b| b.is_ascii_lowercase() || b".\x5f".contains(&b));
                // Fronts of kinds end with the dot.
                if !is_kind || literal.ends_with('.') || NO_EFFECTS.contains(&literal) {
                    continue;
                }
                seen += 1;
                if !described.contains(&Value::from(literal)) {
                    undescribed.insert(literal.to_owned());
                }
            }
        }
    }
    assert!(seen > 25, "only {seen} kinds were found");
    assert_eq!(undescribed, BTreeSet::new());
}
