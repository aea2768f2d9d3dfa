//! Multi-row statements. Their text is built here and only here, from constants: column lists and
//! counted placeholders, never from data.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use sqlx::AssertSqlSafe;

/// Texts made before, by what they were made of: few, since chunks have few sizes.
static TEXTS: LazyLock<Mutex<HashMap<Recipe, Arc<str>>>> = LazyLock::new(Mutex::default);

/// Head, count and tail of a text.
type Recipe = (&'static str, usize, &'static str);

fn text(
    head: &'static str,
    count: usize,
    tail: &'static str,
    make: impl FnOnce() -> String,
) -> AssertSqlSafe<Arc<str>> {
    // A panic elsewhere cannot leave the map half-changed: entries are only added.
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let text = texts.entry((head, count, tail)).or_insert_with(|| make().into());
    AssertSqlSafe(text.clone())
}

/// `head (?, …), (?, …) tail` with `rows` rows of `columns` placeholders.
pub(crate) fn values(
    head: &'static str,
    columns: usize,
    rows: usize,
    tail: &'static str,
) -> AssertSqlSafe<Arc<str>> {
    text(head, rows, tail, || {
        let row = format!("({})", vec!["?"; columns].join(","));
        format!("{head} {} {tail}", vec![row; rows].join(","))
    })
}

/// `head (?, …) tail` with `count` placeholders.
pub(crate) fn list(
    head: &'static str,
    count: usize,
    tail: &'static str,
) -> AssertSqlSafe<Arc<str>> {
    text(head, count, tail, || format!("{head} ({}) {tail}", vec!["?"; count].join(",")))
}

/// Cuts `items` into chunks of a few fixed sizes, so that few different statements are prepared.
pub(crate) fn chunks<T>(mut items: &[T]) -> Vec<&[T]> {
    const SIZES: [usize; 4] = [200, 50, 8, 1];
    let mut chunks = Vec::new();
    while !items.is_empty() {
        let size = SIZES.into_iter().find(|size| *size <= items.len()).unwrap_or(1);
        let (chunk, rest) = items.split_at(size);
        chunks.push(chunk);
        items = rest;
    }
    chunks
}
