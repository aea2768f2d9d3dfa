//! Documents: invoice, credit note, receipt and statement, all made from one model, so that a number
//! is the same wherever it is read. Pure: no I/O, no clock; what is shown depends on what is passed
//! in and on nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`model`] | what a document says, as numbers; the check that it adds up |
//! | [`build`] | from what is stored to the model |
//! | [`branding`] | who issues it and how it looks |
//! | [`style`] | numbers, amounts and days in a language |
//! | [`shown`] | from the model to texts, the same for page and paper |
//! | [`html`] | a page, also for mails |
//! | [`chart`] | charts as SVG |
//! | [`en16931`], [`xml`] | the electronic invoice: its rules, and CII and UBL |
//! | `pdf` | paper, by Typst (feature `pdf`) |
//! | [`render`] | one door to all formats |

pub mod branding;
pub mod build;
pub mod chart;
pub mod en16931;
pub mod error;
pub mod html;
pub mod model;
#[cfg(feature = "pdf")]
pub mod pdf;
pub mod render;
pub mod shown;
pub mod style;
pub mod xml;

pub use branding::{Branding, Party};
pub use error::DocumentError;
pub use model::{Kind, Model};
pub use render::{Format, Rendered, Renderer};
