//! One invoice, one charge: the steps of pushing an invoice, each failing in each way.

#![cfg(test)]

use counterfoil_engine::payments::Payment;
use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::{
    DeliveryState,
    stripe::{Link, Mode},
};
use counterfoil_types::{Currency, Exact, Money};

use crate::{
    proxy::Cut,
    server::Instead,
    world::{World, at, id, on_both},
};

fn dollars(text: &str) -> Money {
    Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
}

/// October of Ann: 10 dollars and 5 calls.
async fn billed(world: &World) -> Vec<Invoice> {
    world.link(Link::new(Mode::Invoices, "n".to_owned())).await;
    world.ingest("ann", "a", "5", "2026-10-05T09:00:00Z").await;
    world.clock.set(at("2026-11-02T10:00:00Z"));
    world.bill("2026-10").await
}

fn at_stripe(world: &World) -> Vec<(String, i64)> {
    let state = world.server.state.lock().unwrap();
    let mut found: Vec<_> = state
        .invoices
        .iter()
        .map(|one| (one["status"].as_str().unwrap().to_owned(), one["total"].as_i64().unwrap()))
        .collect();
    found.sort();
    found
}

/// F16: whichever step of pushing an invoice fails, arrived or not, early or after a day: there is
/// one invoice at Stripe with our total.
#[tokio::test]
async fn an_invoice_is_charged_once_whatever_step_fails() {
    let steps = ["POST /invoices", "POST /invoiceitems", "POST /finalize", "GET /in_0"];
    for step in steps {
        for cut in [Cut::Before, Cut::After] {
            for hours in [1, 26] {
                on_both(async |world: World| {
                    let ours = billed(&world).await;
                    assert_eq!(ours.len(), 2);
                    world.proxy.cut(step, cut);
                    let report = world.deliver().await;
                    assert!(world.proxy.is_done(), "{step} was not asked for");
                    assert_eq!(report.retried, 1, "{step} {cut:?}: {report:?}");
                    world.later(hours * 3_600);
                    world.settle().await;
                    let expected = [("open".to_owned(), 1_000), ("open".to_owned(), 1_125)];
                    assert_eq!(at_stripe(&world), expected, "{step} {cut:?} after {hours} h");
                    assert!(world.deliveries(DeliveryState::Parked).await.is_empty());
                })
                .await;
            }
        }
    }
}

/// F16: the same with errors of the server.
#[tokio::test]
async fn an_invoice_is_charged_once_whatever_the_server_answers() {
    on_both(async |world: World| {
        billed(&world).await;
        for path in ["/invoices", "/invoiceitems", "/finalize"] {
            for (status, headers, persisted) in [
                (500, "", true),
                (500, "", false),
                (409, "", false),
                (429, "retry-after: 30\r\n", false),
                (503, "stripe-should-retry: true\r\n", true),
            ] {
                world.server.instead(Instead { path, status, headers, persisted });
            }
        }
        for _ in 0..60 {
            world.deliver().await;
            world.later(14_400);
        }
        assert!(world.server.state.lock().unwrap().instead.is_empty());
        assert!(world.deliveries(DeliveryState::Due).await.is_empty());
        assert!(world.deliveries(DeliveryState::Parked).await.is_empty());
        let expected = [("open".to_owned(), 1_000), ("open".to_owned(), 1_125)];
        assert_eq!(at_stripe(&world), expected);
    })
    .await;
}

/// What happens here afterwards is done there: void, payment elsewhere, credit note; nobody who is
/// not known there is billed.
#[tokio::test]
async fn what_follows_an_invoice_is_told_to_stripe() {
    on_both(async |world: World| {
        let ours = billed(&world).await;
        world.settle().await;
        let of = |name: &str| ours.iter().find(|i| i.body.customer == id(name)).unwrap().clone();
        let (ann, bob) = (of("ann"), of("bob"));
        world.engine.void_invoice(&bob.id, "a mistake").await.unwrap();
        let payment = Payment {
            id: "bank-1".to_owned(),
            customer: id("ann"),
            amount: dollars("11.25"),
            invoices: vec![ann.id],
            method: None,
            received_at: at("2026-11-03T00:00:00Z"),
        };
        world.engine.record_payment(&payment).await.unwrap();
        world.settle().await;
        let expected = [("paid".to_owned(), 1_125), ("void".to_owned(), 1_000)];
        assert_eq!(at_stripe(&world), expected);
        assert_eq!(world.engine.invoice(&ann.id).await.unwrap().state, InvoiceState::Paid);
        assert!(world.deliveries(DeliveryState::Parked).await.is_empty());
    })
    .await;
}

/// What a customer has in credit is used before Stripe collects, and only the rest is collected.
#[tokio::test]
async fn only_what_is_open_is_collected() {
    on_both(async |world: World| {
        let payment = Payment {
            id: "early".to_owned(),
            customer: id("ann"),
            amount: dollars("4"),
            invoices: Vec::new(),
            method: None,
            received_at: at("2026-10-03T00:00:00Z"),
        };
        world.engine.record_payment(&payment).await.unwrap();
        billed(&world).await;
        world.settle().await;
        let expected = [("open".to_owned(), 725), ("open".to_owned(), 1_000)];
        assert_eq!(at_stripe(&world), expected);
    })
    .await;
}
