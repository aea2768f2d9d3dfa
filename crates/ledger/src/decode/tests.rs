//! Good and bad events, as producers send them.

use super::*;
use crate::event::{CorrectionKind, Scalar};

fn decode(text: &str) -> Result<Event, Reject> {
    decode_json(text.as_bytes(), &Defaults::default())
}

#[test]
fn a_native_event_keeps_every_digit() {
    let event = decode(
        r#"{"id":"e1","source":"api","customer":"acme","type":"api.request","time":"2026-10-01T00:00:00Z",
           "quantity":1234567890123456.123456789012,"properties":{"endpoint":"/users","status":200,"ok":true,"none":null}}"#,
    )
    .unwrap();
    assert_eq!(event.quantity.to_string(), "1234567890123456.123456789012");
    assert_eq!(event.properties["status"], Scalar::Number("200".parse().unwrap()));
    assert_eq!(event.properties["ok"], Scalar::Bool(true));
    assert!(!event.properties.contains_key("none"));
    let text =
        decode(r#"{"id":"e1","source":"api","customer":"acme","type":"t","quantity":"0.10"}"#);
    assert_eq!(text.unwrap().quantity.to_string(), "0.1");
}

#[test]
fn a_cloud_event_maps_onto_it() {
    let event = decode(
        r#"{"specversion":"1.0","id":"1","source":"/gw","type":"llm.tokens","subject":"acme",
           "time":"2026-10-01T00:00:00Z","datacontenttype":"application/json",
           "data":{"quantity":"12.5","model":"m","user":"u7"},"reverses":"0"}"#,
    )
    .unwrap();
    assert_eq!(event.customer.as_str(), "acme");
    assert_eq!(event.quantity.to_string(), "12.5");
    assert_eq!(event.user.as_deref(), Some("u7"));
    assert_eq!(event.correction.unwrap().kind, CorrectionKind::Reverses);
    assert!(
        decode(r#"{"specversion":"0.3","id":"1","source":"s","type":"t","subject":"a"}"#).is_err()
    );
}

#[test]
fn bad_events_are_refused_with_the_field_named() {
    let base =
        |field: &str| format!(r#"{{"id":"1","source":"s","customer":"c","type":"t",{field}}}"#);
    for (text, code, names) in [
        (String::from("{"), "malformed", "EOF"),
        (String::from("[]"), "malformed", "JSON object"),
        (String::from(r#"["1","s","c","t","2026-10-20T00:00:00Z",7]"#), "malformed", "JSON object"),
        (base(r#""quantity":null"#), "bad_field", "quantity"),
        (String::from(r#"{"id":"1"}"#), "missing_field", "source"),
        (base(r#""quantity":NaN"#), "malformed", "expected"),
        (base(r#""quantity":1e40"#), "bad_field", "quantity"),
        (base(r#""quantity":"NaN""#), "bad_field", "finite"),
        (base(r#""quantity":true"#), "bad_field", "quantity"),
        (base(r#""quantitty":5"#), "malformed", "quantitty"),
        (base(r#""quantity":1,"quantity":2"#), "malformed", "duplicate"),
        (base(r#""properties":{"a":{"b":1}}"#), "bad_field", "properties.a"),
        (base(r#""properties":{"a":1,"a":2}"#), "malformed", "twice"),
        (base(r#""time":"2026-02-30T00:00:00Z""#), "bad_field", "time"),
        (base(r#""time":1700000000"#), "malformed", "invalid type"),
        (base(r#""reverses":"x","amends":"y""#), "bad_field", "not both"),
        (base(r#""unit":"""#), "bad_field", "unit"),
        (r#"{"id":"","source":"s","customer":"c","type":"t"}"#.to_owned(), "bad_field", "id"),
        (
            format!(r#"{{"id":"{}","source":"s","customer":"c","type":"t"}}"#, "x".repeat(300)),
            "bad_field",
            "256",
        ),
    ] {
        let reject = decode(&text).unwrap_err();
        assert_eq!(reject.code(), code, "{text}: {reject}");
        assert!(reject.to_string().contains(names), "{text}: {reject}");
    }
}

#[test]
fn deep_nesting_and_huge_texts_are_refused_cheaply() {
    let deep = format!(
        r#"{{"id":"1","source":"s","customer":"c","type":"t","properties":{{"a":{}1{}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(decode(&deep).is_err());
    let huge = vec![b' '; MAX_EVENT_BYTES + 1];
    assert_eq!(decode_json(&huge, &Defaults::default()).unwrap_err().code(), "too_large");
    assert_eq!(decode_json(b"\xff", &Defaults::default()).unwrap_err().code(), "malformed");
}
