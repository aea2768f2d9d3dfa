//! The shipped price books load, their examples hold, mistakes are located.

#![cfg(test)]

use counterfoil_catalog::{PriceBook, run_examples, schema::price_book_schema};

fn pricing_dir() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pricing")
}

fn shipped() -> Vec<(String, String)> {
    let mut books: Vec<(String, String)> = std::fs::read_dir(pricing_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    books.sort();
    assert!(books.len() >= 4);
    books
}

#[test]
fn shipped_books_load_and_their_examples_hold() {
    for (name, text) in shipped() {
        let book = PriceBook::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let outcomes = run_examples(&book).unwrap();
        assert!(!outcomes.is_empty(), "{name} has worked examples");
        for outcome in outcomes {
            assert!(
                outcome.deviations.is_empty(),
                "{name}: {}: {:?}",
                outcome.name,
                outcome.deviations
            );
        }
    }
}

/// The published content of the shipped books: a change here means a new version is needed.
#[test]
fn shipped_books_keep_their_hashes() {
    let hashes: Vec<String> = shipped()
        .into_iter()
        .map(|(name, text)| {
            let book = PriceBook::parse(&name, &text).unwrap();
            format!("{} {}", book.reference, book.digest)
        })
        .collect();
    let path = pricing_dir().join("hashes.txt");
    if std::env::var_os("COUNTERFOIL_UPDATE").is_some() {
        std::fs::write(&path, hashes.join("\n") + "\n").unwrap();
        return;
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(hashes.join("\n") + "\n", golden, "pricing/hashes.txt lists what is published");
}

#[test]
fn the_committed_schema_is_the_schema_of_the_types() {
    let path = pricing_dir().join("price-book.schema.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("COUNTERFOIL_UPDATE").is_some() {
        std::fs::write(&path, price_book_schema()).unwrap();
        return;
    }
    let same = committed == price_book_schema();
    assert!(same, "the schema has changed: run the tests with COUNTERFOIL_UPDATE=1 and commit");
}

#[test]
fn layout_comments_and_examples_do_not_change_the_hash_but_a_digit_does() {
    let (name, text) = shipped().into_iter().find(|(name, _)| name == "llm-tokens.toml").unwrap();
    let hash = |text: &str| PriceBook::parse(&name, text).unwrap().digest;
    let original = hash(&text);
    assert_eq!(hash(&format!("# another comment\n\n{text}")), original);
    assert_eq!(hash(text.split("[[example]]").next().unwrap()), original);
    assert_ne!(hash(&text.replace("0.000015", "0.000016")), original);
}

#[test]
fn mistakes_are_reported_by_file_line_and_key() {
    let good = shipped().into_iter().find(|(name, _)| name == "metering-engine.toml").unwrap().1;
    let line_of = |needle: &str| good.lines().position(|line| line.contains(needle)).unwrap() + 1;
    for (from, to, line, says) in [
        ("unit_price = \"0.005\"", "unit_price = 0.005", line_of("\"0.005\""), "quotes"),
        (
            "{ unit_price = \"0.005\" }",
            "{ up_to = 200000, unit_price = \"0.005\" }",
            line_of("\"0.005\""),
            "must be open",
        ),
        ("up_to = 100,", "up_to = -5,", line_of("up_to = 100,"), "does not lie above"),
        ("currency = \"USD\"", "currency = \"DOLLAR\"", line_of("currency"), "ISO 4217"),
        (
            "meter = \"bandwidth_gb\"",
            "meter = \"bandwith_gb\"",
            line_of("meter = \"bandwidth_gb\""),
            "no meter",
        ),
        (
            "model = \"per_unit\"",
            "model = \"per_units\"",
            line_of("model = \"per_unit\""),
            "per_unit",
        ),
        ("included = 5\n", "inclded = 5\n", line_of("included = 5"), "inclded"),
        (
            "effective_from = \"2026-01-01\"",
            "effective_from = \"soon\"",
            line_of("effective_from"),
            "date",
        ),
    ] {
        let broken = good.replace(from, to);
        assert_ne!(broken, good, "{from}");
        let error = PriceBook::parse("book.toml", &broken).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().starts_with("book.toml:"), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
