//! Tenants, customers, subscriptions, price books, meters.

use counterfoil_metering::MeterSpec;
use counterfoil_types::{BookRef, Digest, TenantId};

use super::support::{
    AnyStore, NOW, assert_conflict, customer, customer_id, subscription, tenant, write,
};
use crate::{BookRow, Commit, MeterRow, StoreError, Write};

fn book(name: &str, version: &str, effective_from: &str, text: &str) -> BookRow {
    BookRow {
        reference: BookRef { name: name.to_owned(), version: version.to_owned() },
        digest: Digest::of(text.as_bytes()),
        effective_from: effective_from.to_owned(),
        text: text.to_owned(),
        published_at: NOW,
    }
}

fn meter(key: &str, event_type: &str, name: Option<&str>) -> MeterRow {
    let text = format!(r#"{{"key":"{key}","event_type":"{event_type}","aggregation":"count"}}"#);
    let mut spec: MeterSpec = serde_json::from_str(&text).unwrap();
    spec.name = name.map(str::to_owned);
    MeterRow { definition: spec.definition_hash(), spec }
}

/// A tenant is created once; its lanes never change, whoever asks again.
pub async fn a_tenant_is_created_once(store: AnyStore) {
    let id = TenantId::new("created-once").unwrap();
    assert!(store.tenant(&id).await.unwrap().is_none());
    let first = store.ensure_tenant(&id, 3).await.unwrap();
    let again = store.ensure_tenant(&id, 8).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(store.tenant(&id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(first.lanes, 3);
    let heads = store.heads(&first).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.lane).collect::<Vec<_>>(), first.lane_ids());
    let other = store.ensure_tenant(&TenantId::new("created-after").unwrap(), 64).await.unwrap();
    assert_ne!(other.number, first.number);
    assert!(other.lane_ids().iter().all(|lane| !first.lane_ids().contains(lane)));
}

/// Nothing can be written for a tenant that does not exist.
pub async fn an_unknown_tenant_takes_no_writes(store: AnyStore) {
    let id = TenantId::new("nobody").unwrap();
    let commit = Commit::of(Write::PutCustomer(customer("acme")));
    let outcome = store.commit(&id, &commit).await;
    assert!(matches!(outcome, Err(StoreError::NoTenant(_))), "{outcome:?}");
    assert!(store.customer(&id, &customer_id("acme")).await.unwrap().is_none());
}

/// Customers are replaced whole and listed in order of id, page by page.
pub async fn customers_are_replaced_and_paged(store: AnyStore) {
    let tenant = tenant(&store, "customers").await;
    let names = ["a", "b", "b!", "zebra", "Ünï & Søns"];
    for name in names.iter().rev() {
        write(&store, &tenant, Write::PutCustomer(customer(name))).await.unwrap();
    }
    let mut changed = customer("b");
    changed.email = Some("b@example.com".to_owned());
    changed.tax = vec![counterfoil_invoicing::TaxRate {
        name: "VAT".to_owned(),
        percent: "19.5".parse().unwrap(),
    }];
    for _ in 0..2 {
        write(&store, &tenant, Write::PutCustomer(changed.clone())).await.unwrap();
    }
    assert_eq!(store.customer(&tenant.id, &changed.id).await.unwrap(), Some(changed));
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.customers(&tenant.id, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        all.extend(page.into_iter().map(|customer| customer.id.to_string()));
    }
    assert_eq!(all, names);
}

/// Subscriptions are replaced whole and listed in order of id, of one customer or all.
pub async fn subscriptions_are_replaced_and_paged(store: AnyStore) {
    let tenant = tenant(&store, "subscriptions").await;
    for number in 0..7 {
        let owner = if number % 2 == 0 { "even" } else { "odd" };
        let new = subscription(&format!("s{number}"), owner);
        write(&store, &tenant, Write::PutSubscription(new)).await.unwrap();
    }
    let mut ended = subscription("s3", "odd");
    ended.end = Some("2026-02-28".parse().unwrap());
    write(&store, &tenant, Write::PutSubscription(ended.clone())).await.unwrap();
    assert_eq!(store.subscription(&tenant.id, &ended.id).await.unwrap(), Some(ended));
    for (owner, expected) in [(None, 7), (Some(customer_id("odd")), 3), (Some(customer_id("x")), 0)]
    {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page =
                store.subscriptions(&tenant.id, owner.as_ref(), after.as_ref(), 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            all.extend(page.into_iter().map(|subscription| subscription.id));
        }
        assert_eq!(all.len(), expected);
        assert!(all.is_sorted());
    }
}

/// A published book never changes; publishing the same content again changes nothing.
pub async fn a_published_book_never_changes(store: AnyStore) {
    let tenant = tenant(&store, "books").await;
    let books = [
        book("a", "2", "2026-01-01", "text a2"),
        book("a", "1", "2026-02-01", "text a1 Ünï"),
        book("b", "1", "2025-01-01", "text b1"),
    ];
    for book in books.iter().rev() {
        write(&store, &tenant, Write::PublishBook(book.clone())).await.unwrap();
    }
    let mut again = books[0].clone();
    again.published_at = NOW.plus_micros(1);
    write(&store, &tenant, Write::PublishBook(again)).await.unwrap();
    let edited = book("a", "2", "2026-01-01", "text a2 with another price");
    assert_conflict(write(&store, &tenant, Write::PublishBook(edited)).await);
    assert_eq!(store.books(&tenant.id).await.unwrap(), books, "by name, then effective date");
}

/// A meter keeps its definition; its name for people does not count.
pub async fn a_registered_meter_keeps_its_definition(store: AnyStore) {
    let tenant = tenant(&store, "meters").await;
    let meters = [meter("a", "t", None), meter("b", "t", Some("Bees"))];
    for meter in meters.iter().rev() {
        write(&store, &tenant, Write::RegisterMeter(meter.clone())).await.unwrap();
    }
    write(&store, &tenant, Write::RegisterMeter(meter("a", "t", Some("Ays")))).await.unwrap();
    assert_conflict(write(&store, &tenant, Write::RegisterMeter(meter("a", "u", None))).await);
    assert_eq!(store.meters(&tenant.id).await.unwrap(), meters);
}
