//! Multi-row statements. Their text is built here and only here, from constants: column lists and
//! counted placeholders, never from data.

use sqlx::{AssertSqlSafe, SqlSafeStr};

/// `head (?, …), (?, …) tail` with `rows` rows of `columns` placeholders.
pub(crate) fn values(
    head: &'static str,
    columns: usize,
    rows: usize,
    tail: &'static str,
) -> impl SqlSafeStr {
    let row = format!("({})", vec!["?"; columns].join(","));
    AssertSqlSafe(format!("{head} {} {tail}", vec![row; rows].join(",")))
}

/// `head (?, …) tail` with `count` placeholders.
pub(crate) fn list(head: &'static str, count: usize, tail: &'static str) -> impl SqlSafeStr {
    AssertSqlSafe(format!("{head} ({}) {tail}", vec!["?"; count].join(",")))
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
