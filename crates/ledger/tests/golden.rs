//! Stored formats are for ever: every row of the golden file must decode, encode to the same text
//! again and keep its hashes. Rows are only ever added to the file.

#![cfg(test)]

use counterfoil_ledger::{Event, LaneId, StoredEvent, body, content_hash, key_hash, leaf_hash};
use counterfoil_types::{Digest, TenantId, Timestamp};
use serde::Deserialize;

/// A row as SQLite holds it, with the hashes it had when it was written.
#[derive(Deserialize)]
struct Golden {
    tenant: TenantId,
    lane: i64,
    position: u64,
    recorded_at: i64,
    time: Option<i64>,
    customer: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    id: String,
    quantity: String,
    body: Option<String>,
    key: Digest,
    content: Digest,
    leaf: Digest,
}

fn event(row: &Golden) -> Event {
    let parts = row.body.as_deref().map(|text| body::decode(text).unwrap()).unwrap_or_default();
    Event {
        id: row.id.clone(),
        source: row.source.clone(),
        customer: row.customer.parse().unwrap(),
        event_type: row.event_type.clone(),
        time: row.time.map(Timestamp::from_micros),
        quantity: row.quantity.parse().unwrap(),
        unit: parts.unit,
        properties: parts.properties,
        subject: parts.subject,
        resource: parts.resource,
        user: parts.user,
        correction: parts.correction,
    }
}

#[test]
fn stored_events_decode_for_ever() {
    let text = include_str!("golden/stored_events.jsonl");
    let mut count = 0;
    for line in text.lines() {
        let row: Golden = serde_json::from_str(line).unwrap();
        let event = event(&row);
        assert_eq!(body::encode(&event), row.body, "{line}");
        assert_eq!(event.quantity.to_string(), row.quantity, "{line}");
        let key = key_hash(&row.tenant, &row.source, &row.id);
        let content = content_hash(&row.tenant, &event);
        let recorded_at = Timestamp::from_micros(row.recorded_at);
        let leaf = leaf_hash(&row.tenant, LaneId(row.lane), row.position, recorded_at, &content);
        let hashes =
            [("key", key, row.key), ("content", content, row.content), ("leaf", leaf, row.leaf)];
        for (name, now, then) in hashes {
            assert_eq!(now, then, "{name} hash of {line}");
        }
        let stored = StoredEvent {
            lane: LaneId(row.lane),
            position: row.position,
            recorded_at,
            target_position: None,
            event,
            leaf: row.leaf,
        };
        assert!(stored.seal_holds(&row.tenant));
        count += 1;
    }
    assert!(count >= 12, "rows are never removed from the golden file");
}
