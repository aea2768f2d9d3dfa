//! Why a document was not made.

use counterfoil_types::{ExactError, MoneyError, TimeError};
use thiserror::Error;

/// An error of making a document. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The numbers do not add up: the document would be wrong, so there is none.
    #[error("the document does not add up: {0}")]
    Sum(String),
    /// An amount.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A number.
    #[error(transparent)]
    Exact(#[from] ExactError),
    /// A day.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The branding.
    #[error("branding: {0}")]
    Branding(String),
    /// The electronic invoice cannot say this.
    #[error("no EN 16931 invoice: {0}")]
    EInvoice(String),
    /// The format is not there for this document, or not in this program.
    #[error("{0}")]
    Format(String),
    /// Characters that no font here can show.
    #[error(
        "no font here shows {shown}; name a folder with fonts for this script in the configuration ([documents] fonts = [\"…\"]), or use HTML"
    )]
    Glyphs {
        /// The characters, with their code points.
        shown: String,
    },
    /// A template.
    #[error("the template: {0}")]
    Template(String),
}
