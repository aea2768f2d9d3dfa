//! One door to all formats: a model, a tenant's branding and a format become bytes with a name.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    branding::Branding,
    en16931::EInvoice,
    error::DocumentError,
    html,
    model::{Kind, Model},
    shown, xml,
};

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Paper. Invoices and credit notes carry their electronic invoice (Factur-X) where they can.
    Pdf,
    /// A page.
    #[default]
    Html,
    /// EN 16931 in UN/CEFACT CII.
    XmlCii,
    /// EN 16931 in UBL 2.1.
    XmlUbl,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pdf, Self::Html, Self::XmlCii, Self::XmlUbl];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Html => "html",
            Self::XmlCii => "xml-cii",
            Self::XmlUbl => "xml-ubl",
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html; charset=utf-8",
            Self::XmlCii | Self::XmlUbl => "application/xml",
        }
    }

    /// The best one this program has for people.
    #[must_use]
    pub fn best() -> Self {
        if cfg!(feature = "pdf") { Self::Pdf } else { Self::Html }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Pdf => ".pdf",
            Self::Html => ".html",
            Self::XmlCii => ".cii.xml",
            Self::XmlUbl => ".ubl.xml",
        }
    }
}

impl FromStr for Format {
    type Err = DocumentError;
    fn from_str(text: &str) -> Result<Self, DocumentError> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            DocumentError::Format(format!(
                "{text:?} is no format; write pdf, html, xml-cii or xml-ubl"
            ))
        })
    }
}

/// A document in a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Name of the file: letters, digits, `-`, `_` and `.` only.
    pub name: String,
    /// Media type.
    pub media_type: &'static str,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Renders documents. Keep one: it keeps the fonts.
#[derive(Debug, Default)]
pub struct Renderer {
    #[cfg(feature = "pdf")]
    pdf: crate::pdf::Press,
}

impl Renderer {
    /// A renderer with more fonts (the content of font files), for scripts that the embedded ones do
    /// not know. They are used where an earlier one lacks a character.
    #[must_use]
    #[cfg_attr(
        not(feature = "pdf"),
        expect(clippy::needless_pass_by_value, reason = "PDF keeps them")
    )]
    pub fn new(fonts: Vec<Vec<u8>>) -> Self {
        #[cfg(feature = "pdf")]
        return Self { pdf: crate::pdf::Press::new(fonts) };
        #[cfg(not(feature = "pdf"))]
        {
            let _ = fonts;
            Self::default()
        }
    }

    /// The document in a format. The same model and branding give the same bytes.
    ///
    /// # Errors
    /// When the document does not add up, the format cannot say it, or this program lacks the format.
    pub fn render(
        &self,
        model: &Model,
        branding: &Branding,
        format: Format,
    ) -> Result<Rendered, DocumentError> {
        let bytes = match format {
            Format::Html => html::write(&shown::show(model, branding)?, branding)?.into_bytes(),
            Format::XmlCii => xml::cii::write(&EInvoice::new(model, branding)?)?.into_bytes(),
            Format::XmlUbl => xml::ubl::write(&EInvoice::new(model, branding)?)?.into_bytes(),
            Format::Pdf => self.pdf(model, branding)?,
        };
        Ok(Rendered { name: file_name(model, format), media_type: format.media_type(), bytes })
    }

    #[cfg(feature = "pdf")]
    fn pdf(&self, model: &Model, branding: &Branding) -> Result<Vec<u8>, DocumentError> {
        self.pdf.print(model, branding)
    }

    #[cfg(not(feature = "pdf"))]
    #[expect(clippy::unused_self, reason = "the same door as with the feature")]
    fn pdf(&self, _: &Model, _: &Branding) -> Result<Vec<u8>, DocumentError> {
        let why =
            "this program was built without PDF; build it with `--features full`, or ask for html";
        Err(DocumentError::Format(why.to_owned()))
    }

    /// Pages as PNG, to be looked at.
    ///
    /// # Errors
    /// As [`Renderer::render`].
    #[cfg(feature = "png")]
    pub fn pages(&self, model: &Model, branding: &Branding) -> Result<Vec<Vec<u8>>, DocumentError> {
        self.pdf.pages(model, branding)
    }
}

/// Why a document cannot carry an electronic invoice; nothing when it can, or never does.
#[must_use]
pub fn why_no_einvoice(model: &Model, branding: &Branding) -> Option<String> {
    if !matches!(model.kind, Kind::Invoice | Kind::CreditNote) {
        return None;
    }
    EInvoice::new(model, branding).err().map(|error| error.to_string())
}

/// A name for the file of a document, whatever its number holds.
#[must_use]
pub fn file_name(model: &Model, format: Format) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let number: String =
        model.number.chars().take(80).map(|c| if keep(c) { c } else { '_' }).collect();
    let number = number.trim_start_matches('.');
    format!("{}-{number}{}", model.kind.as_str(), format.ending())
}
