//! Documents, accounts, settings, and invoices on their way.

use std::sync::Arc;

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_types::{Exact, Quantity};

use super::support::{
    AnyStore, NOW, assert_conflict, body, customer_id, draft, finalize, tenant, write,
};
use crate::{
    AccountFilter, Commit, Document, DocumentFilter, Posting, Store, StoreError, Tenant, Write,
};

fn document(kind: &str, id: &str, customer: &str, says: &str) -> Document {
    Document {
        kind: kind.to_owned(),
        id: id.to_owned(),
        customer: customer_id(customer),
        subject: format!("about {customer}"),
        number: None,
        at: NOW,
        body: serde_json::json!({"says": says, "b": [1, "x"], "a": null}),
    }
}

fn issue(document: &Document, series: Option<&str>) -> Write {
    Write::Issue { document: document.clone(), series: series.map(ToOwned::to_owned) }
}

fn posting(key: &str, account: &str, amount: &str) -> Posting {
    Posting {
        key: key.to_owned(),
        account: account.to_owned(),
        customer: customer_id("acme"),
        unit: "USD".to_owned(),
        amount: amount.parse().unwrap(),
        at: NOW,
        cause: "test".to_owned(),
        reference: "r".to_owned(),
        expects: None,
    }
}

async fn post(store: &AnyStore, tenant: &Tenant, all: &[Posting]) -> Result<(), StoreError> {
    write(store, tenant, Write::Post(all.to_vec())).await
}

async fn on(store: &AnyStore, tenant: &Tenant, account: &str) -> Option<String> {
    let found = store.account(&tenant.id, account).await.unwrap();
    found.map(|account| account.balance.to_string())
}

/// A document is issued once, numbered without gaps, and never changes.
pub async fn a_document_is_issued_once_and_never_changes(store: AnyStore) {
    let tenant = tenant(&store, "documents").await;
    let first = document("note", "n1", "acme", "one");
    for _ in 0..2 {
        write(&store, &tenant, issue(&first, Some("N-"))).await.unwrap();
    }
    assert_conflict(
        write(&store, &tenant, issue(&document("note", "n1", "acme", "two"), None)).await,
    );
    let stored = store.document(&tenant.id, "note", "n1").await.unwrap().unwrap();
    assert_eq!(stored, Document { number: Some("N-000001".to_owned()), ..first });
    // A commit that fails gives its number back.
    let mut failing = Commit::of(issue(&document("note", "n2", "acme", "x"), Some("N-")));
    failing.writes.push(Write::Post(vec![posting("k", "a", "-1")]));
    assert_conflict(store.commit(&tenant.id, &failing).await);
    write(&store, &tenant, issue(&document("note", "n3", "bob", "y"), Some("N-"))).await.unwrap();
    let third = store.document(&tenant.id, "note", "n3").await.unwrap().unwrap();
    assert_eq!(third.number.as_deref(), Some("N-000002"));
    write(&store, &tenant, issue(&document("other", "n1", "acme", "z"), None)).await.unwrap();
    let list = async |filter: DocumentFilter, after: Option<&str>, limit| {
        let found = store.documents(&tenant.id, "note", &filter, after, limit).await.unwrap();
        found.into_iter().map(|document| document.id).collect::<Vec<_>>()
    };
    let all = DocumentFilter::default;
    assert_eq!(list(all(), None, 100).await, ["n1", "n3"]);
    assert_eq!(list(all(), None, 1).await, ["n1"]);
    assert_eq!(list(all(), Some("n1"), 100).await, ["n3"]);
    let of_bob = DocumentFilter { customer: Some(customer_id("bob")), ..all() };
    assert_eq!(list(of_bob, None, 100).await, ["n3"]);
    let about = DocumentFilter { subject: Some("about acme".to_owned()), ..all() };
    assert_eq!(list(about, None, 100).await, ["n1"]);
    assert!(store.document(&tenant.id, "note", "n9").await.unwrap().is_none());
}

/// An account never goes below zero; a posting counts once; what the caller saw must hold.
pub async fn an_account_never_goes_below_zero(store: AnyStore) {
    let tenant = tenant(&store, "accounts").await;
    assert_eq!(on(&store, &tenant, "a").await, None);
    for _ in 0..3 {
        post(&store, &tenant, &[posting("k1", "a", "10.05")]).await.unwrap();
    }
    assert_eq!(on(&store, &tenant, "a").await.as_deref(), Some("10.05"));
    assert_conflict(post(&store, &tenant, &[posting("k1", "a", "10.06")]).await);
    assert_conflict(post(&store, &tenant, &[posting("k1", "b", "10.05")]).await);
    assert_conflict(post(&store, &tenant, &[posting("k2", "a", "-10.06")]).await);
    // In order: up first, then down; the other way round it would not do.
    let (up, down) = (posting("k3", "b", "5"), posting("k4", "b", "-5"));
    assert_conflict(post(&store, &tenant, &[down.clone(), up.clone()]).await);
    assert_eq!(on(&store, &tenant, "b").await, None, "all of it or nothing");
    post(&store, &tenant, &[up, down]).await.unwrap();
    assert_eq!(on(&store, &tenant, "b").await.as_deref(), Some("0"));
    let seen = |expects: &str| Posting {
        expects: Some(Exact::parse(expects).unwrap()),
        ..posting("k5", "a", "-0.05")
    };
    assert_conflict(post(&store, &tenant, &[seen("10")]).await);
    for _ in 0..2 {
        // The second time the account stands elsewhere, but the posting is known.
        post(&store, &tenant, &[seen("10.05")]).await.unwrap();
    }
    assert_eq!(on(&store, &tenant, "a").await.as_deref(), Some("10"));
    let other_unit = Posting { unit: "EUR".to_owned(), ..posting("k6", "a", "1") };
    assert_conflict(post(&store, &tenant, &[other_unit]).await);
    let other_owner = Posting { customer: customer_id("bob"), ..posting("k7", "a", "1") };
    assert_conflict(post(&store, &tenant, &[other_owner]).await);
}

/// Postings are contiguous and re-add to the balances; accounts are found by name, owner, and
/// whether something is on them.
pub async fn postings_re_add_to_balances(store: AnyStore) {
    let tenant = tenant(&store, "postings").await;
    for n in 0..25 {
        let account = format!("{}/{}", if n % 2 == 0 { "even" } else { "odd" }, n % 5);
        let owner = if n % 5 == 0 { "zoe" } else { "acme" };
        let posting = Posting {
            customer: customer_id(owner),
            ..posting(&format!("k{n}"), &account, "1.000000000000000000000000001")
        };
        post(&store, &tenant, &[posting]).await.unwrap();
    }
    let all = store.postings(&tenant.id, None, 0, 100).await.unwrap();
    assert_eq!(all.len(), 25);
    assert!((1u64..).zip(&all).all(|(expected, found)| found.position == expected));
    let page = store.postings(&tenant.id, None, 20, 2).await.unwrap();
    assert_eq!(page.iter().map(|found| found.position).collect::<Vec<_>>(), [21, 22]);
    let filter = |prefix: &str| AccountFilter { prefix: prefix.to_owned(), ..Default::default() };
    let accounts = store.accounts(&tenant.id, &filter(""), None, 100).await.unwrap();
    assert_eq!(accounts.len(), 10);
    for account in &accounts {
        let own = store.postings(&tenant.id, Some(&account.name), 0, 100).await.unwrap();
        let sum = own.iter().fold(Exact::ZERO, |sum, found| sum.add(&found.posting.amount.exact()));
        assert_eq!(sum, account.balance.exact(), "{}", account.name);
        assert_eq!(own.last().unwrap().balance, account.balance);
    }
    let names = async |filter: AccountFilter, after: Option<&str>, limit| {
        let found = store.accounts(&tenant.id, &filter, after, limit).await.unwrap();
        found.into_iter().map(|account| account.name).collect::<Vec<_>>()
    };
    assert_eq!(names(filter("even/"), None, 2).await, ["even/0", "even/1"]);
    assert_eq!(names(filter("even/"), Some("even/3"), 9).await, ["even/4"]);
    assert_eq!(names(filter("eve%"), None, 9).await, Vec::<String>::new(), "no pattern");
    let zoe = AccountFilter { customer: Some(customer_id("zoe")), ..filter("") };
    assert_eq!(names(zoe, None, 9).await, ["even/0", "odd/0"]);
    let all_of = store.account(&tenant.id, "odd/1").await.unwrap().unwrap().balance;
    let gone: Quantity = Quantity::try_from(&all_of.exact().neg()).unwrap();
    post(&store, &tenant, &[Posting { amount: gone, ..posting("empty", "odd/1", "0") }])
        .await
        .unwrap();
    let open = AccountFilter { open: true, ..filter("odd/") };
    assert_eq!(names(open, None, 9).await, ["odd/0", "odd/2", "odd/3", "odd/4"]);
}

/// Of many that want the last of an account, as many get it as there is.
pub async fn racing_postings_never_overdraw(store: AnyStore) {
    let tenant = tenant(&store, "overdraw").await;
    post(&store, &tenant, &[posting("fill", "a", "10")]).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..16 {
        let (store, tenant) = (Arc::clone(&store), tenant.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                match post(&store, &tenant, &[posting(&format!("take{n}"), "a", "-1")]).await {
                    Err(error) if error.is_transient() => {}
                    outcome => return outcome.is_ok(),
                }
            }
        }));
    }
    let mut got = 0;
    for task in tasks {
        got += u32::from(task.await.unwrap());
    }
    assert_eq!((got, on(&store, &tenant, "a").await.as_deref()), (10, Some("0")));
}

/// An invoice moves only where it may, and parts of a cycle are invoices of their own.
pub async fn invoices_move_only_where_they_may(store: AnyStore) {
    let tenant = tenant(&store, "moves").await;
    let invoice = draft(&tenant, "s", 1, "5");
    let to = |to: InvoiceState| Write::MoveInvoice { invoice: invoice.id, to };
    assert_conflict(write(&store, &tenant, to(InvoiceState::Paid)).await);
    write(&store, &tenant, Write::PutDraft(invoice.clone())).await.unwrap();
    assert_conflict(write(&store, &tenant, to(InvoiceState::Pending)).await);
    write(&store, &tenant, finalize(&invoice, "A-")).await.unwrap();
    assert_conflict(write(&store, &tenant, to(InvoiceState::Uncollectible)).await);
    for _ in 0..2 {
        write(&store, &tenant, to(InvoiceState::Overdue)).await.unwrap();
    }
    assert_conflict(write(&store, &tenant, to(InvoiceState::Pending)).await);
    write(&store, &tenant, to(InvoiceState::Void)).await.unwrap();
    assert_conflict(write(&store, &tenant, to(InvoiceState::Paid)).await);
    let stored = store.invoice(&tenant.id, &invoice.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.number.as_deref()), (InvoiceState::Void, Some("A-000001")));
    for part in [2, 1] {
        let mut body = body(&tenant, "s", 1, "3");
        body.part = part;
        let part = Box::new(Invoice::draft(body).unwrap());
        assert_ne!(part.id, invoice.id);
        write(&store, &tenant, Write::PutDraft(part.clone())).await.unwrap();
        write(&store, &tenant, finalize(&part, "A-")).await.unwrap();
    }
    let known = store.cycle_summaries(&tenant.id, &"s".parse().unwrap(), 1).await.unwrap();
    let parts: Vec<(u32, u32)> = known.iter().map(|one| (one.revision, one.part)).collect();
    assert_eq!(parts, [(0, 0), (0, 1), (0, 2)]);
}

/// Settings are set, replaced, listed by prefix and removed.
pub async fn settings_are_set_and_removed(store: AnyStore) {
    let tenant = tenant(&store, "settings").await;
    let set = async |key: &str, value: Option<&str>| {
        let value = value.map(ToOwned::to_owned);
        write(&store, &tenant, Write::Set { key: key.to_owned(), value }).await.unwrap();
    };
    set("clock/b", Some("1")).await;
    set("clock/a", Some("2")).await;
    set("clock/a", Some("3")).await;
    set("other", Some("4")).await;
    set("none", None).await;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let found = store.settings(&tenant.id, "clock/").await.unwrap();
    assert_eq!(found, [pair("clock/a", "3"), pair("clock/b", "1")]);
    set("clock/a", None).await;
    assert_eq!(store.settings(&tenant.id, "clock/").await.unwrap(), [pair("clock/b", "1")]);
    assert_eq!(store.settings(&tenant.id, "").await.unwrap().len(), 2);
    let elsewhere = super::support::tenant(&store, "settings-2").await;
    assert!(store.settings(&elsewhere.id, "").await.unwrap().is_empty());
    assert!(
        store.accounts(&elsewhere.id, &AccountFilter::default(), None, 9).await.unwrap().is_empty()
    );
}

/// Everything in this file belongs to one tenant.
pub async fn documents_and_accounts_belong_to_one_tenant(store: AnyStore) {
    let one = tenant(&store, "docs-one").await;
    let other = tenant(&store, "docs-other").await;
    write(&store, &one, issue(&document("note", "n", "acme", "x"), Some("N-"))).await.unwrap();
    post(&store, &one, &[posting("k", "a", "1")]).await.unwrap();
    let store: &dyn Store = store.as_ref();
    assert!(store.document(&other.id, "note", "n").await.unwrap().is_none());
    assert!(store.account(&other.id, "a").await.unwrap().is_none());
    assert!(store.postings(&other.id, None, 0, 9).await.unwrap().is_empty());
    let all = DocumentFilter::default();
    assert!(store.documents(&other.id, "note", &all, None, 9).await.unwrap().is_empty());
}
