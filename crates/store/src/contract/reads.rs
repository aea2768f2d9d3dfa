//! Reading the ledger back: ranges, and every digit and character as it was sent.

use std::collections::BTreeMap;

use counterfoil_ledger::{Event, Scalar, StoredEvent};
use counterfoil_types::Timestamp;

use super::support::{
    AnyStore, NOW, all_rows, amount, append, assert_whole, customer_id, event, lane, prepared,
    quantity, tenant,
};

fn ids(rows: &[StoredEvent]) -> Vec<&str> {
    rows.iter().map(|row| row.event.id.as_str()).collect()
}

/// `after < position ≤ upto`, one customer or all, at most `limit`.
pub async fn reads_keep_to_range_customer_and_limit(store: AnyStore) {
    let tenant = tenant(&store, "reads").await;
    let wanted = lane(&tenant, "acme");
    let twin = (0..).map(|n| format!("t{n}")).find(|name| lane(&tenant, name) == wanted).unwrap();
    let events: Vec<Event> = (1..=9)
        .map(|n| event(&format!("e{n}"), if n % 3 == 0 { twin.as_str() } else { "acme" }))
        .collect();
    append(&store, &tenant, &events).await;
    let read = |after, upto, limit| store.read(wanted, after, upto, None, limit);
    assert_eq!(ids(&read(0, 3, 100).await.unwrap()), ["e1", "e2", "e3"]);
    assert_eq!(ids(&read(3, 100, 2).await.unwrap()), ["e4", "e5"]);
    assert_eq!(ids(&read(8, 100, 5).await.unwrap()), ["e9"]);
    assert!(read(9, 100, 5).await.unwrap().is_empty());
    assert!(read(5, 5, 5).await.unwrap().is_empty());
    let twin = customer_id(&twin);
    let of_twin = |after, upto, limit| store.read(wanted, after, upto, Some(&twin), limit);
    assert_eq!(ids(&of_twin(0, 9, 10).await.unwrap()), ["e3", "e6", "e9"]);
    assert_eq!(ids(&of_twin(3, 8, 10).await.unwrap()), ["e6"]);
    assert_eq!(ids(&of_twin(0, 9, 2).await.unwrap()), ["e3", "e6"]);
    let rows = store.rows_at(wanted, &[7, 99, 2, 2]).await.unwrap();
    assert_eq!(ids(&rows), ["e2", "e7"], "rows that exist, in order, each once");
    assert!(store.rows_at(wanted, &[]).await.unwrap().is_empty());
    let many: Vec<u64> = (1..=400).collect();
    assert_eq!(store.rows_at(wanted, &many).await.unwrap().len(), 9);
}

/// An event is found by source and id, exactly.
pub async fn events_are_found_by_their_identity(store: AnyStore) {
    let tenant = tenant(&store, "find").await;
    let other = Event { source: "svc2".to_owned(), ..amount("a", "acme", "2") };
    append(&store, &tenant, &[event("a", "acme"), other.clone()]).await;
    let found = store.find(&tenant.id, "svc2", "a").await.unwrap().unwrap();
    assert_eq!((found.position, &found.event), (2, &other));
    assert_eq!(found.lane, lane(&tenant, "acme"));
    for (source, id) in [("svc", "b"), ("svc3", "a"), ("SVC", "a"), ("svca", "")] {
        assert!(store.find(&tenant.id, source, id).await.unwrap().is_none(), "{source} {id}");
    }
}

/// Every digit comes back: 28 of them, any scale, negative, in quantity and in properties.
pub async fn decimals_read_back_exactly(store: AnyStore) {
    let tenant = tenant(&store, "decimals").await;
    let texts = [
        "0",
        "1.10",
        "-1",
        "-0.0000000000000000000000000001",
        "0.1234567890123456789012345678",
        "9999999999999999999999999999",
        "-1234567890123.456789012345678",
        "100000000000000000000",
        "3.00",
        "9007199254740993",
        "0.1",
        "1e-7",
        "12E3",
    ];
    let events: Vec<Event> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| Event {
            properties: BTreeMap::from([("n".to_owned(), Scalar::Number(quantity(text)))]),
            ..amount(&format!("e{number:02}"), "acme", text)
        })
        .collect();
    append(&store, &tenant, &events).await;
    let rows = all_rows(&store, &tenant).await;
    assert_eq!(rows.iter().map(|row| row.event.clone()).collect::<Vec<_>>(), events);
    for (row, text) in rows.iter().zip(texts) {
        assert_eq!(row.event.quantity, quantity(text), "{text}");
        assert_eq!(row.event.field("n").unwrap().as_number(), Some(quantity(text)), "{text}");
    }
    assert_whole(&store, &tenant).await;
}

/// Any text survives: empty, quotes, unicode, what looks like SQL or JSON, text that looks like a
/// number; all optional fields, and none of them.
pub async fn any_text_reads_back_as_it_was(store: AnyStore) {
    let tenant = tenant(&store, "texts").await;
    let odd = [
        "",
        " ",
        "\"",
        "'; DROP TABLE usage_event; --",
        "{\"a\":1}",
        "Ünïcode 漢字 🧾",
        "a\nb\tc\\",
        "\u{0}\u{7f}",
        "null",
        "1e5",
        "1.10",
        "true",
        "\u{202e}abc",
        "%s ? :x $1",
    ];
    let mut events = Vec::new();
    for (number, text) in odd.iter().enumerate() {
        let scalars = [
            ("text", Scalar::from(*text)),
            ("flag", Scalar::Bool(number % 2 == 0)),
            (*text, Scalar::from("a name like that")),
        ];
        events.push(Event {
            source: format!("source {text}"),
            event_type: format!("type {text}"),
            unit: Some((*text).to_owned()),
            subject: Some((*text).to_owned()),
            resource: (number % 2 == 0).then(|| (*text).to_owned()),
            user: (number % 3 == 0).then(|| (*text).to_owned()),
            properties: scalars.map(|(name, value)| (name.to_owned(), value)).into(),
            ..event(&format!("{number:02} {text}"), "Ünïcode & Søns")
        });
    }
    events.push(Event { time: None, ..event("98 bare", "Ünïcode & Søns") });
    events.push(Event { unit: Some(String::new()), ..event("99 empty unit", "Ünïcode & Søns") });
    append(&store, &tenant, &events).await;
    let rows = all_rows(&store, &tenant).await;
    assert_eq!(rows.into_iter().map(|row| row.event).collect::<Vec<_>>(), events);
    assert_whole(&store, &tenant).await;
    for event in &events {
        let found = store.find(&tenant.id, &event.source, &event.id).await.unwrap().unwrap();
        assert_eq!(found.event, *event);
    }
}

/// Times of any age survive, and a missing time stays missing and counts as the recorded one.
pub async fn times_read_back_to_the_microsecond(store: AnyStore) {
    let tenant = tenant(&store, "times").await;
    let micros =
        [0, -1, 1, NOW.micros() + 999_999, -62_135_596_800_000_000, 253_402_300_799_999_999];
    let mut events: Vec<Event> = micros
        .iter()
        .enumerate()
        .map(|(number, at)| Event {
            time: Some(Timestamp::from_micros(*at)),
            ..event(&format!("e{number}"), "acme")
        })
        .collect();
    events.push(Event { time: None, ..event("timeless", "acme") });
    let later = NOW.plus_micros(17);
    store.append(&tenant, &prepared(&tenant, &events), later).await.unwrap();
    let rows = all_rows(&store, &tenant).await;
    for (row, event) in rows.iter().zip(&events) {
        assert_eq!(row.event.time, event.time);
        assert_eq!(row.time(), event.time.unwrap_or(later));
        assert_eq!(row.recorded_at, later);
    }
}
