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
