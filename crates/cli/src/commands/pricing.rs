//! `pricing`: check, list, diff, publish, schema.

use std::path::{Path, PathBuf};

use counterfoil_catalog::{PriceBook, run_examples, schema::price_book_schema};
use counterfoil_engine::{Engine, books::Published};

use super::Verdict;
use crate::{args, assets, error::CliError, output::Out};

/// Reads and checks a price book file.
pub(super) fn read(path: &Path) -> Result<PriceBook, CliError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file(&name, error))?;
    Ok(PriceBook::parse(&name, &text)?)
}

pub(super) fn check(files: &[PathBuf], out: &mut Out) -> Result<Verdict, CliError> {
    let books: Vec<PriceBook> = if files.is_empty() {
        assets::BOOKS
            .iter()
            .map(|(name, text)| Ok(PriceBook::parse(name, text)?))
            .collect::<Result<_, CliError>>()?
    } else {
        files.iter().map(|path| read(path)).collect::<Result<_, _>>()?
    };
    let mut wrong = false;
    let mut report = Vec::new();
    for book in &books {
        out.line(format_args!("{} sha256 {}", book.reference, book.digest))?;
        let outcomes = run_examples(book)?;
        for outcome in &outcomes {
            if outcome.deviations.is_empty() {
                out.line(format_args!("  ok     {}", outcome.name))?;
            } else {
                wrong = true;
                out.line(format_args!("  WRONG  {}", outcome.name))?;
                for deviation in &outcome.deviations {
                    out.line(format_args!("         {deviation}"))?;
                }
            }
        }
        report.push(serde_json::json!({
            "book": book.reference.to_string(),
            "sha256": book.digest,
            "examples": outcomes.iter().map(|outcome| serde_json::json!({
                "name": outcome.name, "deviations": outcome.deviations,
            })).collect::<Vec<_>>(),
        }));
    }
    out.value(&report)?;
    Ok(Verdict::unless(wrong))
}

pub(super) fn schema(out: &mut Out) -> Result<Verdict, CliError> {
    out.raw(&price_book_schema())?;
    Ok(Verdict::Done)
}

pub(super) async fn run(
    engine: &Engine,
    command: args::Pricing,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Pricing::List => list(engine, out).await,
        args::Pricing::Diff { file } => diff(engine, &read(&file)?, out).await,
        args::Pricing::Publish { files } => {
            let books: Vec<PriceBook> =
                files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
            let mut report = Vec::new();
            for book in &books {
                let published = engine.publish(book).await?;
                let what = match published {
                    Published::Now => "published",
                    Published::Already => "was published before, unchanged",
                };
                out.line(format_args!("{} {what}, sha256 {}", book.reference, book.digest))?;
                report.push(serde_json::json!({
                    "book": book.reference.to_string(),
                    "sha256": book.digest,
                    "new": published == Published::Now,
                }));
            }
            out.value(&report)?;
            Ok(Verdict::Done)
        }
        // Answered before a database was opened.
        args::Pricing::Check { .. } | args::Pricing::Schema => Ok(Verdict::Done),
    }
}

async fn list(engine: &Engine, out: &mut Out) -> Result<Verdict, CliError> {
    let books = engine.books().await?;
    let mut rows = Vec::new();
    let mut report = Vec::new();
    for book in books.all() {
        for plan in &book.plans {
            rows.push(vec![
                book.reference.to_string(),
                plan.key.to_string(),
                plan.interval.to_string(),
                plan.charges.len().to_string(),
                book.currency.to_string(),
                book.effective_from.to_string(),
                book.digest.short(),
            ]);
        }
        report.push(serde_json::json!({
            "book": book.reference.to_string(),
            "sha256": book.digest,
            "currency": book.currency,
            "effective_from": book.effective_from.to_string(),
            "plans": book.plans.iter().map(|plan| plan.key.as_str()).collect::<Vec<_>>(),
        }));
    }
    out.value(&report)?;
    out.table(
        &["price book", "plan", "every", "charges", "currency", "effective from", "sha256"],
        rows,
        &[3],
    )?;
    Ok(Verdict::Done)
}

/// Keys of two canonical JSON trees that differ, with both values.
fn differences(
    path: &str,
    old: &serde_json::Value,
    new: &serde_json::Value,
    found: &mut Vec<(String, String, String)>,
) {
    use serde_json::Value::{Array, Null, Object};
    let child = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Object(a), Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                differences(
                    &child(key),
                    a.get(key).unwrap_or(&Null),
                    b.get(key).unwrap_or(&Null),
                    found,
                );
            }
        }
        (Array(a), Array(b)) => {
            for at in 0..a.len().max(b.len()) {
                let path = format!("{path}[{at}]");
                differences(&path, a.get(at).unwrap_or(&Null), b.get(at).unwrap_or(&Null), found);
            }
        }
        _ if old != new => found.push((path.to_owned(), old.to_string(), new.to_string())),
        _ => {}
    }
}

async fn diff(engine: &Engine, book: &PriceBook, out: &mut Out) -> Result<Verdict, CliError> {
    let books = engine.books().await?;
    let mut versions: Vec<_> =
        books.all().filter(|other| other.reference.name == book.reference.name).collect();
    versions.sort_by_key(|other| other.effective_from);
    let same = versions.iter().find(|other| other.reference == book.reference);
    let Some(stored) = same.or(versions.last()) else {
        out.line(format_args!("no version of {} is published", book.reference.name))?;
        out.value(&serde_json::json!({"published": null}))?;
        return Ok(Verdict::Done);
    };
    let value = |book: &PriceBook| serde_json::to_value(&book.spec);
    let mut found = Vec::new();
    differences("", &value(stored)?, &value(book)?, &mut found);
    out.value(&serde_json::json!({
        "published": stored.reference.to_string(), "published_sha256": stored.digest,
        "file": book.reference.to_string(), "file_sha256": book.digest,
        "differences": found,
    }))?;
    if found.is_empty() {
        out.line(format_args!("no difference to {}", stored.reference))?;
        return Ok(Verdict::Done);
    }
    out.line(format_args!("published {} against {}", stored.reference, book.reference))?;
    let rows = found.into_iter().map(|(path, old, new)| vec![path, old, new]).collect();
    out.table(&["key", "published", "file"], rows, &[])?;
    let changed = stored.reference == book.reference && stored.digest != book.digest;
    if changed {
        out.line("a published version never changes: give these prices a new version")?;
    }
    Ok(Verdict::unless(changed))
}
