//! Isolation: what belongs to one tenant is not there for another.

use counterfoil_ledger::Receipt;
use counterfoil_types::{BookRef, Digest};

use super::support::{
    AnyStore, NOW, append, assert_whole, customer, customer_id, draft, event, finalize, run,
    subscription, tenant, write,
};
use crate::{BookRow, InvoiceFilter, Tenant, Write};

fn book(text: &str) -> BookRow {
    BookRow {
        reference: BookRef { name: "b".to_owned(), version: "1".to_owned() },
        digest: Digest::of(text.as_bytes()),
        effective_from: "2026-01-01".to_owned(),
        text: text.to_owned(),
        published_at: NOW,
    }
}

async fn fill(store: &AnyStore, tenant: &Tenant, book_text: &str) {
    let invoice = draft(tenant, "s", 1, "5");
    for change in [
        Write::PutCustomer(customer("acme")),
        Write::PutSubscription(subscription("s", "acme")),
        Write::PublishBook(book(book_text)),
        Write::CreateRun(run(tenant, 1)),
        Write::PutDraft(invoice.clone()),
        finalize(&invoice, "A-"),
    ] {
        write(store, tenant, change).await.unwrap();
    }
}

/// The ids of one tenant are not found under another.
pub async fn another_tenants_ids_are_not_found(store: AnyStore) {
    let (owner, other) = (tenant(&store, "owner").await, tenant(&store, "other").await);
    append(&store, &owner, &[event("a", "acme")]).await;
    fill(&store, &owner, "text").await;
    let id = &other.id;
    assert!(store.find(id, "svc", "a").await.unwrap().is_none());
    assert!(store.customer(id, &customer_id("acme")).await.unwrap().is_none());
    assert!(store.customers(id, None, 10).await.unwrap().is_empty());
    assert!(store.subscription(id, &"s".parse().unwrap()).await.unwrap().is_none());
    assert!(store.subscriptions(id, None, None, 10).await.unwrap().is_empty());
    assert!(
        store.subscriptions(id, Some(&customer_id("acme")), None, 10).await.unwrap().is_empty()
    );
    assert!(store.books(id).await.unwrap().is_empty());
    let invoice = draft(&owner, "s", 1, "5").id;
    assert!(store.invoice(id, &invoice).await.unwrap().is_none());
    assert!(store.invoice_numbered(id, "A-000001").await.unwrap().is_none());
    assert!(store.invoices_of(id, &"s".parse().unwrap()).await.unwrap().is_empty());
    assert!(store.cycle_summaries(id, &"s".parse().unwrap(), 1).await.unwrap().is_empty());
    let all = InvoiceFilter::default();
    assert!(store.invoices(id, &all, None, 10).await.unwrap().is_empty());
    let run = run(&owner, 1).id;
    assert!(store.run(id, &run).await.unwrap().is_none());
    assert!(store.runs(id).await.unwrap().is_empty());
    assert!(store.run_items(id, &run, &[], None, 10).await.unwrap().is_empty());
    assert!(store.facts(id, 0, 10).await.unwrap().is_empty());
    assert!(store.heads(&other).await.unwrap().iter().all(|head| head.position == 0));
    // Removing under the wrong tenant removes nothing.
    write(&store, &other, Write::DropDraft(invoice)).await.unwrap();
    assert!(store.invoice(&owner.id, &invoice).await.unwrap().is_some());
}

/// The same ids live in two tenants side by side, events and numbers included.
pub async fn the_same_ids_live_in_two_tenants(store: AnyStore) {
    let (first, second) = (tenant(&store, "first").await, tenant(&store, "second").await);
    for (tenant, text) in [(&first, "one"), (&second, "two")] {
        let receipts = append(&store, tenant, &[event("a", "acme")]).await;
        assert!(matches!(receipts[0], Receipt::Inserted { position: 1, .. }));
        fill(&store, tenant, text).await;
        assert_whole(&store, tenant).await;
    }
    for (tenant, text) in [(&first, "one"), (&second, "two")] {
        let found = store.find(&tenant.id, "svc", "a").await.unwrap().unwrap();
        assert!(tenant.lane_ids().contains(&found.lane));
        assert_eq!(store.books(&tenant.id).await.unwrap()[0].text, text);
        let invoice = store.invoice_numbered(&tenant.id, "A-000001").await.unwrap().unwrap();
        assert_eq!(invoice.body.tenant, tenant.id);
        assert_eq!(store.facts(&tenant.id, 0, 10).await.unwrap()[0].position, 1);
    }
}
