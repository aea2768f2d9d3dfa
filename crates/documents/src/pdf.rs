//! Paper, by Typst within this process. A document reaches it as data: a JSON file beside a constant
//! template, in a world of a few files that has no other, no network and no clock.

mod xmp;

use std::sync::LazyLock;

use serde_json::Value;
use typst::{
    Library, LibraryExt, World,
    diag::{FileError, FileResult, SourceDiagnostic},
    foundations::{Bytes, Datetime, Duration, Smart},
    syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot},
    text::{Font, FontBook},
    utils::LazyHash,
};
use typst_kit::fonts::{FontStore, embedded};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};

use crate::{
    branding::Branding,
    en16931::EInvoice,
    error::DocumentError,
    model::Model,
    shown::{self, Shown},
    xml,
};

/// Words longer than this may be broken anywhere.
const LONG_WORD: usize = 32;
/// What was computed for documents this far back is forgotten.
const KEPT: usize = 4;
/// Most characters that an error names.
const MOST_NAMED: usize = 12;

/// Names of the files, interned once: names are never given back.
struct Files {
    template: FileId,
    data: FileId,
    logo: FileId,
}

static FILES: LazyLock<Option<Files>> = LazyLock::new(|| {
    let file = |name: &str| {
        let path = VirtualPath::new(name).ok()?;
        Some(RootedPath::new(VirtualRoot::Project, path).intern())
    };
    Some(Files {
        template: file("/document.typ")?,
        data: file("/data.json")?,
        logo: file("/logo")?,
    })
});

fn failed(what: impl Into<String>) -> DocumentError {
    DocumentError::Template(what.into())
}

/// Fonts, library and template, made once.
pub struct Press {
    library: LazyHash<Library>,
    fonts: FontStore,
}

impl Default for Press {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Press").finish_non_exhaustive()
    }
}

/// The world of one document.
struct Sheet<'a> {
    press: &'a Press,
    files: &'static Files,
    source: Source,
    data: Bytes,
    logo: Option<Bytes>,
}

impl World for Sheet<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.press.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        self.press.fonts.book()
    }

    fn main(&self) -> FileId {
        self.files.template
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.files.template {
            Ok(self.source.clone())
        } else {
            Err(FileError::AccessDenied)
        }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.files.data {
            return Ok(self.data.clone());
        }
        match &self.logo {
            Some(logo) if id == self.files.logo => Ok(logo.clone()),
            _ => Err(FileError::AccessDenied),
        }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.press.fonts.font(index)
    }

    /// There is no clock.
    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

impl Press {
    /// With more fonts (contents of font files) behind the embedded ones. What is no font is left out.
    #[must_use]
    pub fn new(more: Vec<Vec<u8>>) -> Self {
        let mut fonts = FontStore::new();
        fonts.extend(embedded());
        for data in more {
            fonts.extend(Font::iter(Bytes::new(data)).map(|font| {
                let info = font.info().clone();
                (font, info)
            }));
        }
        Self { library: LazyHash::new(Library::default()), fonts }
    }

    /// The PDF: PDF/A-3b, with its electronic invoice where there can be one.
    ///
    /// # Errors
    /// When the document does not add up, or a character has no font.
    pub fn print(&self, model: &Model, branding: &Branding) -> Result<Vec<u8>, DocumentError> {
        let einvoice = EInvoice::new(model, branding).and_then(|invoice| xml::cii::write(&invoice));
        let einvoice = einvoice.ok();
        let document = self.typeset(model, branding, einvoice.as_deref())?;
        let standards = PdfStandards::new(&[PdfStandard::A_3b])
            .map_err(|error| failed(error.message().as_str()))?;
        let ident = format!("{}/{}", model.kind.as_str(), model.number);
        let options = PdfOptions {
            ident: Smart::Custom(ident),
            creator: Smart::Custom(Some("Counterfoil".to_owned())),
            standards,
            ..PdfOptions::default()
        };
        let made = typst_pdf::pdf(&document, &options).map_err(|errors| told(&errors))?;
        comemo::evict(KEPT);
        match einvoice {
            Some(_) => xmp::declare(made),
            None => Ok(made),
        }
    }

    /// Pages as PNG.
    ///
    /// # Errors
    /// As [`Press::print`].
    #[cfg(feature = "png")]
    pub fn pages(&self, model: &Model, branding: &Branding) -> Result<Vec<Vec<u8>>, DocumentError> {
        let document = self.typeset(model, branding, None)?;
        let options = typst_render::RenderOptions::default();
        let png = |page| {
            let drawn = typst_render::render(page, &options);
            drawn.encode_png().map_err(|error| failed(error.to_string()))
        };
        document.pages().iter().map(png).collect()
    }

    fn typeset(
        &self,
        model: &Model,
        branding: &Branding,
        einvoice: Option<&str>,
    ) -> Result<PagedDocument, DocumentError> {
        let shown = shown::show(model, branding)?;
        let files = FILES.as_ref().ok_or_else(|| failed("its files have no names"))?;
        let data = data(&shown, einvoice)?;
        self.has_glyphs(&shown)?;
        let sheet = Sheet {
            press: self,
            files,
            source: Source::new(
                files.template,
                include_str!("../templates/document.typ").to_owned(),
            ),
            data: Bytes::new(data),
            logo: branding.logo.as_ref().map(|logo| logo.bytes().map(Bytes::new)).transpose()?,
        };
        typst::compile::<PagedDocument>(&sheet).output.map_err(|errors| told(&errors))
    }

    /// Whether each character has a font that shows it.
    fn has_glyphs(&self, shown: &Shown) -> Result<(), DocumentError> {
        let text = serde_json::to_string(shown).map_err(|error| failed(error.to_string()))?;
        let mut missing: Vec<char> = Vec::new();
        let book = self.fonts.book();
        let infos = || (0..).map_while(|at| book.info(at));
        for c in text.chars().filter(|c| !c.is_ascii() && !is_invisible(*c)) {
            let known = |c: char| infos().any(|info| info.coverage.contains(u32::from(c)));
            if !missing.contains(&c) && !known(c) {
                missing.push(c);
            }
            if missing.len() > MOST_NAMED {
                break;
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> =
            missing.iter().map(|c| format!("{c} (U+{:04X})", u32::from(*c))).collect();
        Err(DocumentError::Glyphs { shown: names.join(", ") })
    }
}

/// Characters that say how others are shown, and blanks.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0001}'..='\u{e007f}')
}

fn told(errors: &[SourceDiagnostic]) -> DocumentError {
    failed(errors.first().map_or_else(String::new, |error| error.message.to_string()))
}

/// What the template reads.
fn data(shown: &Shown, einvoice: Option<&str>) -> Result<Vec<u8>, DocumentError> {
    let json = |error: serde_json::Error| failed(error.to_string());
    let mut data = serde_json::to_value(shown).map_err(json)?;
    let proof = data.get_mut("proof").map(Value::take);
    soften(&mut data);
    if let Some(map) = data.as_object_mut() {
        map.insert("proof".to_owned(), proof.unwrap_or_default());
        map.insert("einvoice".to_owned(), einvoice.into());
        let charts: Vec<Value> =
            shown.annex.iter().map(|annex| annex.chart.as_str().into()).collect();
        map.insert("charts".to_owned(), charts.into());
    }
    serde_json::to_vec(&data).map_err(json)
}

/// Lets long words be broken, so that nothing runs over the edge.
fn soften(value: &mut Value) {
    match value {
        Value::String(text) => {
            let long =
                |text: &str| text.split_whitespace().any(|word| word.chars().count() > LONG_WORD);
            if text.len() > LONG_WORD && long(text) {
                let mut soft = String::with_capacity(text.len() * 2);
                let mut run = 0;
                for c in text.chars() {
                    run = if c.is_whitespace() { 0 } else { run + 1 };
                    // Not between a letter and what is put on it.
                    if run > LONG_WORD / 2 && c.is_alphanumeric() && c.is_ascii() {
                        soft.push('\u{200b}');
                        run = 0;
                    }
                    soft.push(c);
                }
                *text = soft;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(soften),
        Value::Object(map) => map.values_mut().for_each(soften),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
