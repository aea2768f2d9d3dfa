//! Fuzzing of the event decoders, native and CloudEvents, from a committed corpus: texts are cut,
//! spliced and sprinkled with what parsers trip over. Runs in the normal test command for a bounded
//! number of cases; `COUNTERFOIL_FUZZ_CASES` asks for more. Bugs found are listed in
//! `docs/fuzzing.md`.

#![cfg(test)]

use counterfoil_ledger::{
    Event, body, content_hash,
    decode::{Defaults, check_limits, decode_json},
};
use counterfoil_types::TenantId;
use proptest::{prelude::*, sample::Index};

const CORPUS: &[&str] = &[
    include_str!("corpus/plain.json"),
    include_str!("corpus/full.json"),
    include_str!("corpus/reversal.json"),
    include_str!("corpus/amendment.json"),
    include_str!("corpus/wide_number.json"),
    include_str!("corpus/cloudevent.json"),
    include_str!("corpus/cloudevent_extensions.json"),
];

/// What parsers trip over.
const TOKENS: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "-0",
    "1e999",
    "1e-999",
    "0.1e-29",
    "NaN",
    "\\u0000",
    "\\ud800",
    "\"\\u0007\"",
    "79228162514264337593543950336",
    "\u{202e}",
    "\u{0}",
    "\u{feff}",
    "\"id\":\"again\",",
    "\"quantity\":",
    "\"properties\":{\"a\":{\"b\":1}},",
    "\"specversion\":",
    "\"1.0\"",
    "\"2026-02-30T00:00:00Z\"",
    "\"9999-12-31T23:59:60+23:59\"",
    "\"-009999-01-01T00:00:00Z\"",
    "\"reverses\":\"x\",\"amends\":\"y\",",
    "{\"a\":",
    "[[[[[[[[",
    ",",
    ":",
    "\"",
    "\\",
];

/// A change of a text.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index, Index),
    Insert(Index, &'static str),
    Byte(Index, u8),
    Repeat(Index, Index, u8),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        (at(), proptest::sample::select(TOKENS)).prop_map(|(at, token)| Change::Insert(at, token)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (at(), at(), 2_u8..9).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
        (at(), at(), at()).prop_map(|(other, from, to)| Change::Splice(other, from, to)),
    ]
}

fn range(text: &[u8], from: &Index, to: &Index) -> (usize, usize) {
    let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
    (from.min(to), from.max(to))
}

fn changed(seed: &Index, changes: &[Change]) -> Vec<u8> {
    let mut text = seed.get(CORPUS).as_bytes().to_vec();
    for change in changes {
        match change {
            Change::Cut(from, to) => {
                let (from, to) = range(&text, from, to);
                text.drain(from..to);
            }
            Change::Insert(at, token) => {
                let at = at.index(text.len() + 1);
                text.splice(at..at, token.bytes());
            }
            Change::Byte(at, byte) => {
                if !text.is_empty() {
                    let at = at.index(text.len());
                    text[at] = *byte;
                }
            }
            Change::Repeat(from, to, times) => {
                let (from, to) = range(&text, from, to);
                let piece = text[from..to].repeat(usize::from(*times));
                text.splice(to..to, piece);
            }
            Change::Splice(other, from, to) => {
                let other = other.get(CORPUS).as_bytes();
                let (start, end) = range(other, from, to);
                let at = from.index(text.len() + 1);
                text.splice(at..at, other[start..end].iter().copied());
            }
        }
        text.truncate(64 * 1024);
    }
    text
}

/// What must hold of any text whatsoever.
fn decodes_or_says_why(text: &[u8]) {
    let defaults = Defaults { source: Some("default".to_owned()) };
    let outcome = decode_json(text, &defaults);
    assert_eq!(outcome, decode_json(text, &defaults), "decoding is a function");
    match outcome {
        Ok(event) => keeps_its_meaning(event),
        Err(reject) => {
            let told = reject.to_string();
            assert!(!told.is_empty() && told.len() < 4_096, "{} bytes of reason", told.len());
            assert!(!reject.code().is_empty());
        }
    }
}

/// An event that was taken is within the limits and survives being stored.
fn keeps_its_meaning(event: Event) {
    check_limits(&event).unwrap();
    assert!(!event.source.is_empty());
    let tenant = TenantId::new("fuzz").unwrap();
    let parts = body::encode(&event).map(|text| body::decode(&text).unwrap()).unwrap_or_default();
    let again = Event {
        quantity: event.quantity.to_string().parse().unwrap(),
        unit: parts.unit,
        properties: parts.properties,
        subject: parts.subject,
        resource: parts.resource,
        user: parts.user,
        correction: parts.correction,
        ..event.clone()
    };
    assert_eq!(again, event);
    assert_eq!(content_hash(&tenant, &again), content_hash(&tenant, &event));
}

fn cases() -> ProptestConfig {
    let asked = std::env::var("COUNTERFOIL_FUZZ_CASES").ok();
    let cases = asked.map_or(6_000, |cases| cases.parse().expect("a number of cases"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn the_corpus_decodes() {
    for text in CORPUS {
        let defaults = Defaults { source: Some("default".to_owned()) };
        let event = decode_json(text.as_bytes(), &defaults);
        keeps_its_meaning(event.unwrap_or_else(|reject| panic!("{text}: {reject}")));
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn changed_events_decode_or_say_why(
        seed in any::<Index>(),
        changes in prop::collection::vec(change(), 0..6),
    ) {
        decodes_or_says_why(&changed(&seed, &changes));
    }

    #[test]
    fn any_bytes_decode_or_say_why(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decodes_or_says_why(&bytes);
    }
}
