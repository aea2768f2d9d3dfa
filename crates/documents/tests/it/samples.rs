//! The samples in `docs/samples` are what the product makes, to the byte. `COUNTERFOIL_UPDATE=1`
//! writes them; `COUNTERFOIL_PAGES=DIR` (feature `png`) writes pages to be looked at.

use std::{fs, path::PathBuf};

use counterfoil_documents::{Format, Model, Renderer};
use counterfoil_invoicing::{TaxMode, credit_note::CreditScope};

use crate::{
    pages::{receipt, statement},
    world::{Order, annex, branding, money, note, usual, vat},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples")
}

fn samples() -> Vec<(&'static str, Model)> {
    let mut invoice = Order { prepaid: Some("100"), ..Order::of(usual()) }.model();
    invoice.annex.push(annex());
    let mut german = Order::of(usual()).taxed(vat("19", TaxMode::Inclusive)).model();
    german.language = Some("de".into());
    let credit = note(&Order::of(usual()), &CreditScope::Amount(money("50", "EUR")));
    vec![
        ("invoice", invoice),
        ("invoice-de", german),
        ("credit-note", credit),
        ("receipt", receipt()),
        ("statement", statement()),
    ]
}

#[test]
fn samples_are_what_is_made() {
    let renderer = Renderer::default();
    let mut formats =
        vec![(Format::Html, "html"), (Format::XmlCii, "cii.xml"), (Format::XmlUbl, "ubl.xml")];
    if cfg!(feature = "pdf") {
        formats.push((Format::Pdf, "pdf"));
    }
    for (name, model) in samples() {
        for (format, ending) in &formats {
            let Ok(made) = renderer.render(&model, &branding(), *format) else {
                assert!(matches!(format, Format::XmlCii | Format::XmlUbl), "{name} as {ending}");
                continue;
            };
            let path = folder().join(format!("{name}.{ending}"));
            if std::env::var_os("COUNTERFOIL_UPDATE").is_some() {
                fs::create_dir_all(folder()).unwrap();
                fs::write(&path, &made.bytes).unwrap();
            }
            let kept = fs::read(&path).unwrap_or_default();
            assert!(
                kept == made.bytes,
                "docs/samples/{name}.{ending} differs; write it with COUNTERFOIL_UPDATE=1"
            );
        }
    }
}

#[cfg(feature = "png")]
#[test]
fn pages_can_be_looked_at() {
    let renderer = Renderer::default();
    for (name, model) in samples() {
        let pages = renderer.pages(&model, &branding()).unwrap();
        assert!(pages.iter().all(|page| page.starts_with(b"\x89PNG")) && !pages.is_empty());
        let Some(folder) = std::env::var_os("COUNTERFOIL_PAGES").map(PathBuf::from) else {
            continue;
        };
        for (number, page) in (1..).zip(pages) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{name}-{number}.png")), page).unwrap();
        }
    }
}
