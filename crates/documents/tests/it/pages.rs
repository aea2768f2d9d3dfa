//! The page, and what every format reads from the model.

use counterfoil_documents::{
    Branding, DocumentError, Format, Model, Renderer, build, html,
    model::{Kind, MovementKind},
    shown::{self, Shown},
};
use counterfoil_invoicing::{InvoiceState, TaxMode, credit_note::CreditScope};
use counterfoil_types::{Digest, Exact, Period};
use proptest::prelude::*;

use crate::world::{
    Item, Order, annex, at, branding, customer, details, exact, money, note, october, usual, vat,
};

pub(crate) fn page(model: &Model, branding: &Branding) -> String {
    let made = Renderer::default().render(model, branding, Format::Html).expect("a page");
    String::from_utf8(made.bytes).expect("text")
}

pub(crate) fn statement() -> Model {
    let entry = |when: &str, kind, reference: &str, amount: &str| build::Entry {
        at: at(when),
        kind,
        reference: reference.into(),
        amount: money(amount, "EUR"),
    };
    let entries = vec![
        entry("2026-09-01T02:00:00Z", MovementKind::Invoice, "INV-2026-000031", "812.50"),
        entry("2026-10-01T02:00:00Z", MovementKind::Invoice, "INV-2026-000038", "1031.00"),
        entry("2026-10-09T11:00:00Z", MovementKind::Payment, "bank-4711", "-812.50"),
        entry("2026-10-12T09:00:00Z", MovementKind::CreditNote, "CN-2026-000004", "-31.00"),
        entry("2026-11-01T02:00:00Z", MovementKind::Invoice, "INV-2026-000042", "1.00"),
    ];
    build::statement(&customer(), &details(), october(), entries).expect("a statement")
}

pub(crate) fn receipt() -> Model {
    let received = build::Received {
        id: "bank-4711".into(),
        amount: money("1000", "EUR"),
        method: Some("SEPA credit transfer".into()),
        at: at("2026-11-09T11:00:00Z"),
        digest: Digest([5; 32]),
        to_invoices: vec![("INV-2026-000042".into(), money("964.10", "EUR"))],
        to_balance: money("35.90", "EUR"),
    };
    build::receipt(&received, &customer(), &details()).expect("a receipt")
}

/// Every amount that is shown, as a number again: the inverse of how English writes them.
fn read(text: &str, symbol: &str) -> Exact {
    let plain: String = text
        .replace('−', "-")
        .replace(symbol, "")
        .chars()
        .filter(|c| c.is_ascii_digit() || matches!(c, '-' | '.'))
        .collect();
    exact(&plain)
}

fn adds_up(shown: &Shown, model: &Model, symbol: &str) {
    let mut sum = Exact::ZERO;
    for (line, of) in shown.lines.iter().zip(&model.lines) {
        let amount = read(&line.amount, symbol);
        assert_eq!(amount, of.amount.exact());
        if !line.parts.is_empty() {
            let parts = line
                .parts
                .iter()
                .fold(Exact::ZERO, |sum, part| sum.add(&read(&part.value, symbol)));
            assert_eq!(parts, amount, "{}: {:?}", line.name, line.parts);
        }
        sum = sum.add(&amount);
    }
    assert_eq!(sum, model.subtotal.exact());
    let total = shown.totals.iter().find(|total| total.strong).expect("a total");
    assert_eq!(read(&total.value, symbol), model.total.exact());
}

#[test]
fn rendered_lines_add_up_to_their_parts_and_the_total_in_every_currency() {
    for (currency, symbol) in [("EUR", "€"), ("JPY", "¥"), ("KWD", "KWD")] {
        let order = Order::of(usual()).in_currency(currency);
        let model = order.model();
        adds_up(&shown::show(&model, &branding()).unwrap(), &model, symbol);
    }
}

proptest! {
    #[test]
    fn any_usage_is_shown_so_that_it_adds_up(
        units in proptest::collection::vec(0u32..3_000_000, 1..12),
        price in 1u32..99_999,
        percent in 0u32..30,
    ) {
        let items = units.iter().map(|units| {
            let charge = format!(
                r#""model":"graduated","meter":"m","included":"100","minimum":"3","tiers":[{{"up_to":"1000","unit_price":"0.{price:05}"}},{{"unit_price":"0.003","flat_fee":"2"}}]"#
            );
            Item::new("Calls", &charge, &units.to_string(), Some("calls"))
        });
        let tax = vat(&percent.to_string(), TaxMode::Exclusive);
        let model = Order::of(items.collect()).taxed(tax).model();
        adds_up(&shown::show(&model, &branding()).unwrap(), &model, "€");
    }
}

#[test]
fn a_document_that_does_not_add_up_is_not_made() {
    let good = Order::of(usual()).model();
    let refused = |spoil: fn(&mut Model)| {
        let mut model = good.clone();
        spoil(&mut model);
        let made = Renderer::default().render(&model, &branding(), Format::Html);
        matches!(made, Err(DocumentError::Sum(_)))
    };
    assert!(!refused(|_| {}));
    assert!(refused(|m| m.total = money("1", "EUR")));
    assert!(refused(|m| m.lines[0].amount = money("1", "EUR")));
    assert!(refused(|m| m.lines[1].parts[1].amount = exact("0.01")));
    assert!(refused(|m| m.taxes[0].amount = money("1", "EUR")));
    assert!(refused(|m| drop(m.lines.pop())));
    let mut wrong = statement();
    wrong.movements[1].balance = money("1", "EUR");
    assert!(matches!(wrong.check(), Err(DocumentError::Sum(_))));
    let mut wrong = receipt();
    wrong.total = money("1", "EUR");
    assert!(matches!(wrong.check(), Err(DocumentError::Sum(_))));
}

#[test]
fn the_page_is_the_same_every_time_and_says_it_all() {
    let mut model = Order::of(usual()).model();
    model.annex.push(annex());
    let (one, two) = (page(&model, &branding()), page(&model, &branding()));
    assert_eq!(one, two);
    for needle in [
        "INV-2026-000042",
        "Globex GmbH",
        "Acme Cloud B.V.",
        "Marktstraße 12",
        "NL123456789B01",
        "10,000 requests included, at no charge",
        "Tier 1: 90,000 requests × €0.0012",
        "Tier 3: 250,000 requests × €0.0004",
        "Fee for reaching tier 3",
        "NL91 ABNA 0417 1643 00",
        "Please pay",
        "15 November 2026",
        "1 October 2026 – 31 October 2026",
        "PO-4711",
        "<svg",
        "us-east",
        "base64,",
    ] {
        assert!(one.contains(needle), "{needle} is missing");
    }
    assert!(one.contains(&model.digest.unwrap().to_string()));
    assert!(
        !one.contains("http://")
            || one.matches("http://").count() == one.matches("http://www.w3.org").count()
    );
    assert!(!one.contains("<script") && !one.contains("https://"), "nothing is loaded");
}

#[test]
fn words_numbers_and_days_are_the_readers() {
    let mut model = Order::of(usual()).model();
    model.language = Some("de-AT".into());
    let shown = page(&model, &branding());
    for needle in ["Rechnung", "Stufe 1: 90.000 requests × 0,0012\u{a0}€", "1. November 2026"] {
        assert!(shown.contains(needle), "{needle} is missing");
    }
}

#[test]
fn text_of_others_is_text() {
    let evil = r#"</style><script>alert(1)</script>{{ 7*7 }}{% for x in y %}#import "@preview/x" $ \u{7} "quote" #panic()"#;
    let mut items = usual();
    items[0].name = evil.into();
    let mut customer = customer();
    customer.name = evil.into();
    let order = Order::of(items);
    let mut model = order.model_for(&customer, &details());
    model.buyer.name = evil.into();
    let mut issuer = branding();
    issuer.legal = Some(evil.into());
    issuer.seller.name = evil.into();
    let shown = page(&model, &issuer);
    assert!(!shown.contains("<script") && !shown.contains("</style><"), "{shown}");
    assert!(shown.contains("{{ 7*7 }}") && !shown.contains(">49<"), "nothing was evaluated");
    assert!(shown.contains("&lt;script&gt;"));
}

#[test]
fn names_of_any_script_and_length_stay_what_they_are() {
    let long = "Übergroße Firma ".repeat(19);
    for name in ["شركة الاختبار المحدودة", "测试有限公司", "Café 🎉 & Söhne", long.trim()]
    {
        let mut model = Order::of(usual()).model();
        model.buyer.name = name.to_owned();
        let shown = page(&model, &branding());
        assert!(shown.contains(&name.replace('&', "&amp;")), "{name}");
        assert!(shown.contains("dir=\"auto\""));
    }
    let mut model = Order::of(usual()).model();
    model.buyer.name = "right\u{202e}tfel\u{2066} x".into();
    assert!(page(&model, &branding()).contains("righttfel x"), "nothing turns what follows");
}

#[test]
fn drafts_voids_credits_and_nothing_at_all_say_so() {
    let order = Order::of(usual());
    let state = |state| {
        let invoice = counterfoil_invoicing::Invoice { state, ..order.invoice() };
        page(&build::invoice(&invoice, &customer(), &details()).unwrap(), &branding())
    };
    assert!(state(InvoiceState::Draft).contains("not to be paid"));
    let void = state(InvoiceState::Void);
    assert!(
        void.contains("was withdrawn") && !void.contains("Please pay") && !void.contains("IBAN")
    );
    let empty = page(&Order::of(Vec::new()).model(), &branding());
    assert!(empty.contains("nothing to charge") && empty.contains("€0.00"));
    assert!(empty.contains("Nothing is to be paid."));
    let back = Item::new(
        "Refunded units",
        r#""model":"per_unit","meter":"m","unit_price":"2","negative_usage":"credit""#,
        "-20",
        Some("units"),
    );
    let model = Order::of(vec![back]).model();
    assert!(model.total.exact().is_negative());
    let shown = page(&model, &branding());
    assert!(shown.contains("−€47.60") && shown.contains("€47.60 is in your favour"), "{shown}");
    assert!(!shown.contains("IBAN"));
}

#[test]
fn prepaid_credit_inclusive_tax_and_notes_are_shown_as_they_were_computed() {
    let order = Order { prepaid: Some("100"), ..Order::of(usual()) };
    let model = order.model();
    adds_up(&shown::show(&model, &branding()).unwrap(), &model, "€");
    let shown = page(&model, &branding());
    assert!(shown.contains("Credit used: Welcome credit") && shown.contains("−€100.00"));
    let inclusive = Order::of(usual()).taxed(vat("19", TaxMode::Inclusive)).model();
    assert!(page(&inclusive, &branding()).contains("contains VAT 19 %"));
    for scope in [CreditScope::Full, CreditScope::Amount(money("50", "EUR"))] {
        let model = note(&order, &scope);
        assert_eq!(model.kind, Kind::CreditNote);
        let shown = page(&model, &branding());
        assert!(shown.contains("Credit note") && shown.contains("Outage on 12 October"));
        assert!(shown.contains("INV-2026-000042 (1 November 2026)"), "{shown}");
    }
}

#[test]
fn receipts_and_statements_say_what_moved() {
    let shown = page(&receipt(), &branding());
    for needle in ["Receipt", "bank-4711", "€964.10", "Kept as credit for you", "€35.90"] {
        assert!(shown.contains(needle), "{needle} is missing");
    }
    let model = statement();
    assert_eq!(
        (model.opening, model.total),
        (Some(money("812.50", "EUR")), money("1000.00", "EUR"))
    );
    let shown = page(&model, &branding());
    for needle in ["Opening balance", "€1,843.50", "Payment bank-4711", "−€31.00", "Balance due"]
    {
        assert!(shown.contains(needle), "{needle} is missing");
    }
    assert!(!shown.contains("INV-2026-000042"), "it is of the month after");
    let none = Period::new(at("2027-01-01T00:00:00Z"), at("2027-02-01T00:00:00Z"));
    let nothing = build::statement(&customer(), &details(), none, Vec::new()).unwrap();
    assert!(page(&nothing, &branding()).contains("Nothing happened"));
}

#[test]
fn ten_thousand_lines_are_all_there() {
    let model = Order::of(many()).model();
    let shown = shown::show(&model, &branding()).unwrap();
    adds_up(&shown, &model, "€");
    let page = html::write(&shown, &branding()).unwrap();
    assert_eq!(page.matches("<tbody class=\"line\">\n<tr><td><bdi>Meter").count(), 10_000);
}

pub(crate) fn many() -> Vec<Item> {
    let charge = r#""model":"per_unit","meter":"m","unit_price":"0.013""#;
    let item =
        |n: u32| Item::new(&format!("Meter {n}"), charge, &(n * 37).to_string(), Some("calls"));
    (1..=10_000).map(item).collect()
}

#[test]
fn names_of_files_hold_nothing_but_letters_and_marks() {
    let mut model = Order::of(usual()).model();
    model.number = "../../etc/passwd\0 ü".into();
    let made = Renderer::default().render(&model, &branding(), Format::Html).unwrap();
    assert!(made.name.starts_with("invoice-") && made.name.ends_with(".html"), "{}", made.name);
    assert!(made.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
    assert!(!made.name.contains('/'));
}
