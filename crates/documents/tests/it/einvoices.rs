//! EN 16931, held against the published schemas and rules.

use counterfoil_documents::{Branding, DocumentError, Format, Model, Party, Renderer};
use counterfoil_invoicing::{TaxDecision, TaxMode, credit_note::CreditScope};

use crate::{
    pages::{receipt, statement},
    validator::validate,
    world::{Item, Order, branding, customer, details, money, note, usual, vat},
};

fn xml(model: &Model, format: Format) -> Result<String, DocumentError> {
    let made = Renderer::default().render(model, &branding(), format)?;
    Ok(String::from_utf8(made.bytes).expect("text"))
}

/// Both syntaxes against schema and schematron.
fn valid(what: &str, model: &Model) {
    let ubl = if model.kind == counterfoil_documents::Kind::CreditNote {
        "ubl-2.1-creditnote"
    } else {
        "ubl-2.1-invoice"
    };
    for (format, flavor) in [(Format::XmlCii, "factur-x"), (Format::XmlUbl, ubl)] {
        let text = xml(model, format).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(text, xml(model, format).unwrap(), "the same every time");
        if let Err(error) = validate(text.as_bytes(), flavor) {
            panic!("{what}, {flavor}: {error}\n{text}");
        }
    }
}

fn untaxed(note: Option<&str>) -> TaxDecision {
    TaxDecision { rates: Vec::new(), mode: TaxMode::Exclusive, note: note.map(str::to_owned) }
}

#[test]
fn invoices_of_every_kind_of_tax_pass_the_published_rules() {
    valid("standard", &Order::of(usual()).model());
    let prepaid = Order { prepaid: Some("100"), ..Order::of(usual()) };
    valid("prepaid", &prepaid.model());
    valid("inclusive", &Order::of(usual()).taxed(vat("19", TaxMode::Inclusive)).model());
    let both =
        Order { prepaid: Some("100"), ..Order::of(usual()).taxed(vat("7", TaxMode::Inclusive)) };
    valid("inclusive and prepaid", &both.model());
    valid("zero", &Order::of(usual()).taxed(vat("0", TaxMode::Exclusive)).model());
    valid("exempt", &Order::of(usual()).taxed(untaxed(Some("Exempt from tax: charity"))).model());
    let mut exempt = usual();
    exempt[2].exempt = true;
    valid("an exempt line", &Order::of(exempt).model());
}

#[test]
fn reverse_charge_and_what_is_outside_vat_pass_the_published_rules() {
    let mut customer = customer();
    customer.reverse_charge = Some("DE129273398".into());
    let decision = TaxDecision::of(&customer);
    let model = Order::of(usual()).taxed(decision).model_for(&customer, &details());
    assert!(xml(&model, Format::XmlUbl).unwrap().contains("<cbc:ID>AE</cbc:ID>"));
    valid("reverse charge", &model);
    valid("out of scope", &Order::of(usual()).taxed(untaxed(None)).model());
}

#[test]
fn credit_notes_and_negative_totals_pass_the_published_rules() {
    let order = Order { prepaid: Some("100"), ..Order::of(usual()) };
    valid("all", &note(&order, &CreditScope::Full));
    valid("part", &note(&order, &CreditScope::Amount(money("50", "EUR"))));
    let inclusive = Order::of(usual()).taxed(vat("19", TaxMode::Inclusive));
    valid("inclusive", &note(&inclusive, &CreditScope::Amount(money("33.33", "EUR"))));
    let back = r#""model":"per_unit","meter":"m","unit_price":"2","negative_usage":"credit""#;
    let back = Item::new("Refunded units", back, "-20", Some("units"));
    let model = Order::of(vec![back]).model();
    assert!(model.total.exact().is_negative());
    valid("below zero", &model);
    valid("yen", &Order::of(usual()).in_currency("JPY").model());
}

#[test]
fn the_rules_can_fail() {
    let good = xml(&Order::of(usual()).model(), Format::XmlCii).unwrap();
    let wrong = good.replace("<ram:GrandTotalAmount>", "<ram:GrandTotalAmount>1");
    assert!(validate(wrong.as_bytes(), "factur-x").unwrap_err().contains("BR-CO-15"));
    let unordered = good.replace("ram:TypeCode", "ram:Unknown");
    assert!(validate(unordered.as_bytes(), "factur-x").is_err());
}

#[test]
fn text_of_others_is_text_in_xml_too() {
    let mut items = usual();
    items[0].name = "</ram:Name><ram:Name>]]>&amp;<!-- \u{1}".into();
    let mut model = Order::of(items).model();
    model.buyer.name = "شركة 测试 🎉 <&>".into();
    valid("evil", &model);
    assert!(xml(&model, Format::XmlCii).unwrap().contains("شركة 测试 🎉 &lt;&amp;&gt;"));
}

#[test]
fn what_the_norm_cannot_say_is_refused_with_what_to_do() {
    let refused = |model: &Model, branding: &Branding| match Renderer::default().render(
        model,
        branding,
        Format::XmlCii,
    ) {
        Err(DocumentError::EInvoice(why)) => why,
        other => panic!("{other:?}"),
    };
    let model = Order::of(usual()).model();
    let nobody = Branding::default();
    assert!(refused(&model, &nobody).contains("branding set"));
    let nowhere = Order::of(usual()).model_for(&customer(), &Party::default());
    assert!(refused(&nowhere, &branding()).contains("branding customer globex"));
    let dinars = Order::of(usual()).in_currency("KWD").model();
    assert!(refused(&dinars, &branding()).contains("two decimals"));
    let mut two = vat("5", TaxMode::Exclusive);
    two.rates.push(vat("7", TaxMode::Exclusive).rates.remove(0));
    assert!(refused(&Order::of(usual()).taxed(two).model(), &branding()).contains("several"));
    assert!(refused(&Order::of(Vec::new()).model(), &branding()).contains("BR-16"));
    for model in [receipt(), statement()] {
        assert!(refused(&model, &branding()).contains("invoices and credit notes only"));
    }
}
