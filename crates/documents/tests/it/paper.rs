//! Paper: the same numbers, the same bytes, whatever is written on it.

use counterfoil_documents::{DocumentError, Format, Model, Renderer, shown};
use counterfoil_invoicing::{InvoiceState, credit_note::CreditScope};

use crate::{
    pages::{many, receipt, statement},
    validator::{attached, text},
    world::{Item, Order, annex, branding, customer, details, money, note, usual},
};

fn print(renderer: &Renderer, model: &Model) -> Result<Vec<u8>, DocumentError> {
    Ok(renderer.render(model, &branding(), Format::Pdf)?.bytes)
}

/// Blanks differ between writers and readers.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '\u{200b}').collect()
}

#[test]
fn a_page_of_paper_says_what_the_page_says_and_is_the_same_every_time() {
    let renderer = Renderer::default();
    let mut model = Order::of(usual()).model();
    model.annex.push(annex());
    let pdf = print(&renderer, &model).unwrap();
    assert_eq!(pdf, print(&renderer, &model).unwrap(), "the same printer");
    assert_eq!(pdf, print(&Renderer::default(), &model).unwrap(), "another printer");
    let read = squeezed(&text(&pdf));
    let shown = shown::show(&model, &branding()).unwrap();
    let lines = shown.lines.iter().flat_map(|line| {
        let parts = line.parts.iter().flat_map(|part| [&part.label, &part.value]);
        [&line.name, &line.usage, &line.amount].into_iter().chain(parts)
    });
    let totals = shown.totals.iter().flat_map(|total| [&total.label, &total.value]);
    let facts = shown.facts.iter().chain(&shown.payment).map(|fact| &fact.value);
    let days = shown.annex[0].days.rows.iter().flatten();
    for needle in lines.chain(totals).chain(facts).chain(days) {
        assert!(read.contains(&squeezed(needle)), "{needle} is missing");
    }
    assert!(read.contains(&model.digest.unwrap().to_string()) && read.contains("Page1of2"));
}

#[test]
fn the_electronic_invoice_is_attached_and_declared() {
    let renderer = Renderer::default();
    for model in [
        Order::of(usual()).model(),
        note(&Order::of(usual()), &CreditScope::Amount(money("50", "EUR"))),
    ] {
        let read = attached(&print(&renderer, &model).unwrap()).unwrap();
        let (name, xml) = read.split_once('\n').unwrap();
        assert_eq!(name, "factur-x.xml");
        let made = renderer.render(&model, &branding(), Format::XmlCii).unwrap();
        assert_eq!(squeezed(xml), squeezed(&String::from_utf8(made.bytes).unwrap()));
    }
}

#[test]
fn what_others_write_is_never_run() {
    let evil = r##"#panic("x") #import "@preview/a:1.0.0": * $ x $ = Heading */ " \ #read("/etc/passwd") <a>"##;
    let mut items = usual();
    items[0].name = evil.into();
    let mut model = Order::of(items).model();
    model.buyer.name = evil.into();
    model.buyer.reference = Some(evil.into());
    model.reason = Some(evil.into());
    let pdf = print(&Renderer::default(), &model).unwrap();
    assert_eq!(squeezed(&text(&pdf)).matches(&squeezed(evil)).count(), 4);
}

#[test]
fn a_script_without_a_font_is_named_and_nothing_is_printed() {
    for (name, character) in
        [("测试有限公司", "U+6D4B"), ("Café 🎉", "U+1F389"), ("شركة الاختبار", "U+0634")]
    {
        let mut model = Order::of(usual()).model();
        model.buyer.name = name.to_owned();
        match print(&Renderer::default(), &model) {
            Err(DocumentError::Glyphs { shown }) => assert!(shown.contains(character), "{shown}"),
            // The embedded fonts know some Arabic.
            Ok(pdf) => assert_eq!(character, "U+0634", "{}", text(&pdf)),
            Err(error) => panic!("{error}"),
        }
    }
    let mut model = Order::of(usual()).model();
    model.buyer.name = "Ελληνικά Кириллица Łódź İstanbul Đà Nẵng עברית".into();
    print(&Renderer::default(), &model).unwrap();
}

#[test]
fn long_names_lines_and_lists_stay_on_the_paper() {
    let mut model = Order::of(usual()).model();
    model.buyer.name = "Unbreakable".repeat(28);
    model.lines[0].name = "x".repeat(300);
    let read = squeezed(&text(&print(&Renderer::default(), &model).unwrap()));
    assert!(read.contains(&"Unbreakable".repeat(28)) && read.contains(&"x".repeat(300)));
    let long = Order::of(many()).model();
    let pages = text(&print(&Renderer::default(), &long).unwrap());
    let count = pages.matches('\u{c}').count();
    assert!(count > 100, "{count} pages");
    assert!(
        pages.contains("Meter 10000")
            && squeezed(&pages).contains(&format!("Page{count}of{count}"))
    );
}

#[test]
fn every_kind_state_and_currency_is_printed() {
    let renderer = Renderer::default();
    let order = Order::of(usual());
    let draft = counterfoil_invoicing::Invoice { state: InvoiceState::Void, ..order.invoice() };
    let draft = counterfoil_documents::build::invoice(&draft, &customer(), &details()).unwrap();
    let back = r#""model":"per_unit","meter":"m","unit_price":"2","negative_usage":"credit""#;
    let back = Order::of(vec![Item::new("Refunded units", back, "-20", Some("units"))]).model();
    for (model, needle) in [
        (draft, "withdrawn"),
        (receipt(), "964.10"),
        (statement(), "1,843.50"),
        (Order::of(Vec::new()).model(), "nothing to charge"),
        (back, "−€47.60"),
        (Order::of(usual()).in_currency("JPY").model(), "¥1,204"),
        (Order::of(usual()).in_currency("KWD").model(), "KWD"),
    ] {
        let read = text(&print(&renderer, &model).unwrap());
        assert!(squeezed(&read).contains(&squeezed(needle)), "{needle}: {read}");
    }
}
