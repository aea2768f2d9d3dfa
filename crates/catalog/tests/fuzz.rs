//! Fuzzing of the price book's parser, from a committed corpus and the shipped books: lines are
//! dropped, swapped, repeated and taken from other books, values replaced by what parsers trip
//! over. Runs in the normal test command for a bounded number of cases; `COUNTERFOIL_FUZZ_CASES`
//! asks for more. Bugs found are listed in `docs/fuzzing.md`.

#![cfg(test)]

use counterfoil_catalog::{PriceBook, run_examples};
use proptest::{prelude::*, sample::Index};

const CORPUS: &[&str] = &[
    include_str!("corpus/all_models.toml"),
    include_str!("../../../pricing/metering-engine.toml"),
    include_str!("../../../pricing/saas-plans.toml"),
    include_str!("../../../pricing/six-services.toml"),
    include_str!("../../../pricing/contract-toolkit.toml"),
    include_str!("../../../pricing/llm-tokens.toml"),
];

/// Values that parsers trip over.
const VALUES: &[&str] = &[
    "\"\"",
    "\"0\"",
    "\"-1\"",
    "\"1e28\"",
    "\"1e-28\"",
    "\"99999999999999999999999999999\"",
    "0.1",
    "nan",
    "9223372036854775807",
    "-1",
    "[]",
    "{}",
    "true",
    "1979-05-27T07:32:00Z",
    "\"a\\u0000b\"",
    "\"XXX\"",
    "\"JPY\"",
    "\"calls\"",
    "\"9999-12-31\"",
    "\"1/0\"",
    "\"month\"",
    "\"rolling\"",
    "[\"\", \"\"]",
    "[{ up_to = \"0\" }]",
    "\"\u{202e}\"",
];

/// A change of a book.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    Take(Index, Index, Index),
    Value(Index, &'static str),
    Byte(Index, char),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Change::Drop),
        (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        (at(), at(), at()).prop_map(|(book, from, to)| Change::Take(book, from, to)),
        (at(), proptest::sample::select(VALUES)).prop_map(|(at, value)| Change::Value(at, value)),
        (at(), any::<char>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ]
}

fn changed(seed: &Index, changes: &[Change]) -> String {
    let mut lines: Vec<String> = seed.get(CORPUS).lines().map(ToOwned::to_owned).collect();
    for change in changes {
        if lines.is_empty() {
            break;
        }
        let many = lines.len();
        match change {
            Change::Drop(at) => {
                lines.remove(at.index(many));
            }
            Change::Repeat(from, to) => {
                let line = lines[from.index(many)].clone();
                lines.insert(to.index(many), line);
            }
            Change::Swap(one, other) => lines.swap(one.index(many), other.index(many)),
            Change::Take(book, from, to) => {
                let other: Vec<&str> = book.get(CORPUS).lines().collect();
                lines.insert(to.index(many), (*from.get(&other)).to_owned());
            }
            Change::Value(at, value) => {
                let line = &mut lines[at.index(many)];
                if let Some((key, _)) = line.split_once('=') {
                    *line = format!("{key}= {value}");
                }
            }
            Change::Byte(at, byte) => {
                let line = &mut lines[at.index(many)];
                let place = line.char_indices().map(|(place, _)| place).nth(at.index(9));
                line.insert(place.unwrap_or(0), *byte);
            }
        }
    }
    lines.join("\n")
}

/// What must hold of any text whatsoever.
fn parses_or_says_where(text: &str) {
    match PriceBook::parse("book.toml", text) {
        Ok(book) => {
            let again = PriceBook::parse("other.toml", text).unwrap();
            assert_eq!(book.digest, again.digest, "a digest is of the content");
            // It may deviate or refuse; it must come to an end.
            let _ = run_examples(&book);
        }
        Err(error) => {
            let lines = text.split('\n').count();
            assert!((1..=lines + 1).contains(&error.line), "{error}");
            assert!(error.column >= 1 && !error.message.is_empty(), "{error}");
            assert!(error.to_string().len() < 8_192, "{} bytes", error.to_string().len());
        }
    }
}

fn cases() -> ProptestConfig {
    let asked = std::env::var("COUNTERFOIL_FUZZ_CASES").ok();
    let cases = asked.map_or(1_500, |cases| cases.parse().expect("a number of cases"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn the_corpus_of_books_parses() {
    for text in CORPUS {
        PriceBook::parse("corpus", text).unwrap_or_else(|error| panic!("{error}"));
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn changed_books_parse_or_say_where_they_are_wrong(
        seed in any::<Index>(),
        changes in prop::collection::vec(change(), 0..5),
    ) {
        parses_or_says_where(&changed(&seed, &changes));
    }
}
