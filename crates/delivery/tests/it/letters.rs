//! Letters of every kind in every language: whole, escaped, and fit for a phone.

#![cfg(test)]

use counterfoil_delivery::mail::{
    KINDS, Language, MailOptions, Unsubscribe,
    letter::{Composed, compose, sample},
    message,
};
use counterfoil_invoicing::Customer;
use counterfoil_store::{Commit, Effect, Write};
use counterfoil_types::{CustomerId, TenantId};
use serde_json::json;

use counterfoil_delivery::mail::pace::Pace;
use std::time::Duration;

use crate::world::{NOW, World, on_both};

fn options() -> MailOptions {
    MailOptions {
        operators: vec!["ops@seller.example".parse().unwrap()],
        upgrade_url: Some("https://seller.example/upgrade".to_owned()),
        portal_url: Some("https://seller.example/account".to_owned()),
        unsubscribe: Some(Unsubscribe {
            url: "https://seller.example/unsubscribe".to_owned(),
            key: b"0123456789abcdef".to_vec(),
        }),
        ..MailOptions::from_sender("Seller <billing@seller.example>").unwrap()
    }
}

#[test]
fn every_kind_has_a_letter_in_every_language() {
    let tenant = TenantId::new("t").unwrap();
    let mut subjects = Vec::new();
    for (kind, essential) in KINDS {
        for language in Language::codes() {
            let letter = sample::letter(kind, Some(language), &tenant, &options()).unwrap();
            let (html, text) = message::render(&letter).unwrap();
            for page in [&html, &text] {
                assert!(!page.contains("{{") && !page.contains("{%"), "{kind} {language}\n{page}");
            }
            assert!(!text.contains('<'), "{kind} {language}\n{text}");
            assert!(html.contains("width=device-width") && !html.contains("<link"));
            assert!(!html.contains("http://") && !html.contains("<script"));
            assert!(!letter.paragraphs.is_empty() && !letter.subject.is_empty());
            // A phrase that no language has would be said by its name.
            assert!(!letter.subject.contains(".subject"), "{}", letter.subject);
            let built = message::build(&letter, None, &options(), "evt_1", NOW).unwrap();
            let raw = String::from_utf8(built.formatted()).unwrap();
            let stoppable = !essential && letter.customer.is_some();
            assert_eq!(
                raw.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"),
                stoppable
            );
            assert_eq!(text.contains("/unsubscribe?token="), stoppable, "{kind}");
            if letter.customer.is_some() {
                subjects.push((kind, letter.subject.clone()));
            }
        }
    }
    let count = subjects.len();
    subjects.dedup();
    assert_eq!(subjects.len(), count, "a letter to customers differs by language");
}

#[test]
fn numbers_and_days_are_the_readers() {
    let tenant = TenantId::new("t").unwrap();
    let text = |kind: &str, language: &str| {
        let letter = sample::letter(kind, Some(language), &tenant, &options()).unwrap();
        message::render(&letter).unwrap().1
    };
    assert!(text("alert.critical", "en").contains("Used: 91,250 calls"));
    assert!(text("alert.critical", "de").contains("Verbraucht: 91.250 calls"));
    assert!(text("invoice.issued", "de-AT").contains("1.234,50 $"));
    assert!(text("alert.forecast", "en").contains("used up around 23 November 2026"));
    assert!(text("alert.forecast", "de").contains("23. November 2026"));
}

/// F33, F34: what a customer or a meter is called is text, in HTML and in a template, and never a
/// header.
#[tokio::test]
async fn nothing_a_customer_is_called_becomes_markup_or_a_template() {
    on_both(async |world: World| {
        let id = CustomerId::new("acme").unwrap();
        let name = "<img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %}";
        let mut customer = Customer::new(id, name, "USD".parse().unwrap(), "UTC".parse().unwrap());
        customer.email = Some("a@acme.example".to_owned());
        customer.language = Some("de".to_owned());
        let write = Write::PutCustomer(customer);
        world.store.commit(&world.tenant, &Commit::of(write)).await.unwrap();
        let unit = "<b>{{ 7 * 7 }}</b>";
        let effect = Effect {
            position: 1,
            key: "quota.exceeded/1".to_owned(),
            kind: "quota.exceeded".to_owned(),
            body: json!({"customer": "acme", "quota": {"meter": unit, "unit": unit, "used": "1"}}),
            at: NOW,
        };
        let store = world.store.as_ref();
        let composed = compose(store, &world.tenant, &effect, &options()).await.unwrap();
        let Composed::Letter(letter) = composed else { panic!("there is somebody to write to") };
        assert_eq!(letter.language, "de");
        let (html, text) = message::render(&letter).unwrap();
        assert!(html.contains("&lt;img src=x onerror=alert(1)&gt; {{ 7 * 7 }}"), "{html}");
        assert!(!html.contains("<img") && !html.contains("<b>") && !html.contains("49"));
        assert!(text.contains("{{ 7 * 7 }}") && !text.contains("49"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_domain_gets_no_more_than_its_rate_and_others_do_not_wait() {
    let pace = Pace::new(4);
    let nine = async {
        for _ in 0..9 {
            pace.wait(["a.example"].into_iter()).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(1_900), nine).await.is_err());
    let other = pace.wait(["b.example"].into_iter());
    assert!(tokio::time::timeout(Duration::from_millis(1), other).await.is_ok());
}
