//! What can go wrong in a use-case.

use counterfoil_catalog::BookError;
use counterfoil_invoicing::{AssembleError, CycleError};
use counterfoil_rating::{RatingError, proration::ProrationError};
use counterfoil_store::StoreError;
use counterfoil_types::{ExactError, MoneyError, TimeError};
use thiserror::Error;

/// An error of a use-case.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A price book.
    #[error(transparent)]
    Book(#[from] BookError),
    /// A line could not be rated.
    #[error(transparent)]
    Rating(#[from] RatingError),
    /// A number did not fit.
    #[error(transparent)]
    Exact(#[from] ExactError),
    /// An amount did not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A period could not be computed.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// A date could not be computed with.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// A part of a period could not be computed.
    #[error(transparent)]
    Proration(#[from] ProrationError),
    /// An invoice did not come together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// A correction did not come together.
    #[error(transparent)]
    Settle(#[from] counterfoil_invoicing::settle::SettleError),
    /// A credit note was refused.
    #[error("no credit note: {0}")]
    CreditNote(#[from] counterfoil_invoicing::credit_note::CreditNoteError),
    /// The content of rows is archived, and the archive cannot be read.
    #[error(
        "archive {archive} is needed and cannot be read: {why}. Put its file back, or its content with `counterfoil archive restore {archive}`"
    )]
    Archived {
        /// The archive.
        archive: String,
        /// Why it cannot be read.
        why: String,
    },
    /// A file beside the store.
    #[error(transparent)]
    File(#[from] counterfoil_store::FileError),
    /// Something named does not exist.
    #[error("there is no {what} {name:?}{hint}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do; starts with a separator, or empty.
        hint: String,
    },
    /// The request contradicts what is there.
    #[error("{0}")]
    Refused(String),
    /// A document was not made.
    #[error(transparent)]
    Document(#[from] counterfoil_documents::DocumentError),
    /// An export was not written.
    #[error(transparent)]
    Export(#[from] counterfoil_exports::ExportError),
    /// JSON could not be written.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl EngineError {
    /// Something that does not exist.
    pub fn not_found(what: &'static str, name: impl ToString, hint: &str) -> Self {
        Self::NotFound { what, name: name.to_string(), hint: hint.to_owned() }
    }

    /// A refusal.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// Whether trying again later may help without anything else changing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}
