//! Price books: one TOML file holds meters, plans and worked examples, under a name and version.
//!
//! A book is content-addressed: [`PriceBook::digest`] covers everything that can change an
//! amount, and a published version never changes. Loading checks the whole file and reports
//! mistakes by file, line and key ([`BookError`]); [`examples`] runs the worked examples.

pub mod book;
pub mod error;
pub mod examples;
pub mod locate;
pub mod schema;
pub mod spec;

pub use book::PriceBook;
pub use error::BookError;
pub use examples::{ExampleOutcome, run_examples};
pub use spec::{BookHeader, BookSpec, CurrencySpec, ExampleSpec, UnitSpec};
