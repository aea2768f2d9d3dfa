//! The JSON Schema of price books, made from the types that read them, so that editors complete
//! and check what the engine accepts. The committed copy is `pricing/price-book.schema.json`.

use crate::spec::BookSpec;

/// The schema, pretty-printed.
#[must_use]
pub fn price_book_schema() -> String {
    let schema = schemars::schema_for!(BookSpec);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
