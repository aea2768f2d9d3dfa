//! Arguments of documents: format and file; `branding`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use counterfoil_documents::Format;
use counterfoil_types::CustomerId;

/// A format of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentFormat {
    /// PDF/A-3 with factur-x.xml, where it can be made.
    Pdf,
    /// A page.
    Html,
    /// EN 16931, UN/CEFACT CII.
    XmlCii,
    /// EN 16931, UBL 2.1.
    XmlUbl,
}

impl From<DocumentFormat> for Format {
    fn from(format: DocumentFormat) -> Self {
        match format {
            DocumentFormat::Pdf => Self::Pdf,
            DocumentFormat::Html => Self::Html,
            DocumentFormat::XmlCii => Self::XmlCii,
            DocumentFormat::XmlUbl => Self::XmlUbl,
        }
    }
}

/// How a document is written.
#[derive(Debug, ClapArgs)]
pub(crate) struct Written {
    /// The format [default: pdf, or html in a program built without it].
    #[arg(long, value_enum)]
    pub(crate) format: Option<DocumentFormat>,
    /// The file, or `-` for standard output [default: named after the document, in this folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `branding`.
#[derive(Debug, Subcommand)]
pub(crate) enum Branding {
    /// Show who issues documents, and how they look.
    Show,
    /// Replace the branding.
    #[command(
        after_help = "Example of FILE:\n  language = \"en\"\n  colour = \"#1f4e79\"\n  legal = \"Acme Cloud B.V., chamber of commerce 12345678\"\n  [seller]\n  name = \"Acme Cloud B.V.\"\n  street = [\"Herengracht 1\"]\n  postcode = \"1015 BA\"\n  city = \"Amsterdam\"\n  country = \"NL\"\n  tax_id = \"NL123456789B01\"\n  [payment]\n  iban = \"NL91 ABNA 0417 1643 00\""
    )]
    Set {
        /// TOML or JSON.
        file: PathBuf,
        /// A picture: PNG, JPEG or SVG, at most 256 KiB.
        #[arg(long, value_name = "FILE")]
        logo: Option<PathBuf>,
    },
    /// Show or replace address and numbers of a customer.
    Customer {
        /// The customer.
        customer: CustomerId,
        /// TOML or JSON with name, street, postcode, city, country, tax_id … [default: show them].
        file: Option<PathBuf>,
    },
}
