//! Drafts, finalization, numbers.

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_types::{TenantId, timestamp::DAY_MICROS};

use super::support::{
    AnyStore, NOW, assert_conflict, body, customer_id, dollars, draft, finalize, tenant, write,
};
use crate::{InvoiceFilter, Tenant, Write};

async fn stored(store: &AnyStore, tenant: &Tenant, invoice: &Invoice) -> Option<Invoice> {
    store.invoice(&tenant.id, &invoice.id).await.unwrap()
}

/// A draft is replaced freely and read back as it was last written.
pub async fn a_draft_is_replaced_freely(store: AnyStore) {
    let tenant = tenant(&store, "drafts").await;
    let first = draft(&tenant, "s", 1, "5");
    write(&store, &tenant, Write::PutDraft(first.clone())).await.unwrap();
    assert_eq!(stored(&store, &tenant, &first).await, Some(*first.clone()));
    let second = draft(&tenant, "s", 1, "12345678901234567890.12");
    assert_eq!(second.id, first.id, "the same cycle has the same id");
    write(&store, &tenant, Write::PutDraft(second.clone())).await.unwrap();
    assert_eq!(stored(&store, &tenant, &first).await, Some(*second.clone()));
    for _ in 0..2 {
        write(&store, &tenant, Write::DropDraft(second.id)).await.unwrap();
        assert_eq!(stored(&store, &tenant, &first).await, None);
    }
    assert_conflict(write(&store, &tenant, finalize(&second, "A-")).await);
}

/// A finalized invoice is never replaced or removed; finalizing it again changes nothing.
pub async fn a_finalized_invoice_never_changes(store: AnyStore) {
    let tenant = tenant(&store, "immutable").await;
    let first = draft(&tenant, "s", 1, "5");
    write(&store, &tenant, Write::PutDraft(first.clone())).await.unwrap();
    write(&store, &tenant, finalize(&first, "A-")).await.unwrap();
    let finalized = stored(&store, &tenant, &first).await.unwrap();
    assert_eq!(finalized.state, InvoiceState::Pending);
    assert_eq!(finalized.number.as_deref(), Some("A-000001"));
    assert_eq!(finalized.issued_at, Some(NOW));
    assert_eq!(finalized.due_at, Some(NOW.plus_micros(30 * DAY_MICROS)));
    assert_eq!((&finalized.body, finalized.digest), (&first.body, first.digest));
    assert_conflict(write(&store, &tenant, Write::PutDraft(draft(&tenant, "s", 1, "6"))).await);
    assert_conflict(write(&store, &tenant, Write::PutDraft(first.clone())).await);
    assert_conflict(write(&store, &tenant, Write::DropDraft(first.id)).await);
    let later = Write::Finalize {
        invoice: first.id,
        series: "B-".to_owned(),
        at: NOW.plus_micros(99),
        due_at: NOW.plus_micros(99),
    };
    write(&store, &tenant, later).await.unwrap();
    assert_eq!(stored(&store, &tenant, &first).await, Some(finalized));
}

/// Numbers are gap-free in each series, also when a commit with a number in it fails.
pub async fn numbers_have_no_gap_in_any_series(store: AnyStore) {
    let tenant = tenant(&store, "series").await;
    let mut numbers = Vec::new();
    for cycle in 1..=6 {
        let draft = draft(&tenant, "s", cycle, "5");
        write(&store, &tenant, Write::PutDraft(draft.clone())).await.unwrap();
        let series = if cycle % 2 == 0 { "A-" } else { "B-" };
        // The number given here is taken back: the second write of the commit fails.
        let mut failing = crate::Commit::of(finalize(&draft, series));
        failing.writes.push(finalize(&super::support::draft(&tenant, "ghost", 1, "1"), series));
        assert_conflict(store.commit(&tenant.id, &failing).await);
        assert_eq!(stored(&store, &tenant, &draft).await.unwrap().state, InvoiceState::Draft);
        write(&store, &tenant, finalize(&draft, series)).await.unwrap();
        numbers.push(stored(&store, &tenant, &draft).await.unwrap().number.unwrap());
    }
    assert_eq!(numbers, ["B-000001", "A-000001", "B-000002", "A-000002", "B-000003", "A-000003"]);
    let found = store.invoice_numbered(&tenant.id, "A-000002").await.unwrap().unwrap();
    assert_eq!(found.body.cycle, 4);
    assert!(store.invoice_numbered(&tenant.id, "A-000009").await.unwrap().is_none());
}

/// Nothing owed, or owed to the customer, is nothing to wait for.
pub async fn an_invoice_over_nothing_is_paid_at_once(store: AnyStore) {
    let tenant = tenant(&store, "zero").await;
    for (cycle, total, state) in [
        (1, "0", InvoiceState::Paid),
        (2, "0.00", InvoiceState::Paid),
        (3, "0.01", InvoiceState::Pending),
        (4, "-0.01", InvoiceState::Paid),
    ] {
        let draft = draft(&tenant, "s", cycle, total);
        write(&store, &tenant, Write::PutDraft(draft.clone())).await.unwrap();
        write(&store, &tenant, finalize(&draft, "A-")).await.unwrap();
        let stored = stored(&store, &tenant, &draft).await.unwrap();
        assert_eq!((stored.state, stored.body.total), (state, dollars(total)), "{total}");
    }
}

/// Invoices are found by subscription, cycle, customer and state, and paged in order of due time.
pub async fn invoices_are_listed_and_paged(store: AnyStore) {
    let tenant = tenant(&store, "listing").await;
    let mut drafts = Vec::new();
    for cycle in [3, 1, 2] {
        for name in ["s1", "s2"] {
            let mut body = body(&tenant, name, cycle, "5");
            if name == "s2" {
                body.customer = customer_id("other");
            }
            let draft = Box::new(Invoice::draft(body).unwrap());
            write(&store, &tenant, Write::PutDraft(draft.clone())).await.unwrap();
            drafts.push(draft);
        }
    }
    write(&store, &tenant, finalize(&drafts[0], "A-")).await.unwrap();
    let s1 = "s1".parse().unwrap();
    let of_s1 = store.invoices_of(&tenant.id, &s1).await.unwrap();
    assert_eq!(of_s1.iter().map(|invoice| invoice.body.cycle).collect::<Vec<_>>(), [1, 2, 3]);
    let cycle = store.cycle_summaries(&tenant.id, &s1, 3).await.unwrap();
    assert_eq!(cycle.len(), 1);
    let summary = &cycle[0];
    assert_eq!((summary.id, summary.state), (drafts[0].id, InvoiceState::Pending));
    assert_eq!((summary.number.as_deref(), summary.issued_at), (Some("A-000001"), Some(NOW)));
    assert_eq!((summary.position, summary.total), (7, dollars("5")));
    assert_eq!((summary.cycle, summary.revision), (3, 0));
    assert_eq!(summary.due_cycle_at, drafts[0].body.due_cycle_at);
    let count = async |filter: InvoiceFilter| {
        store.invoices(&tenant.id, &filter, None, 100).await.unwrap().len()
    };
    let none = InvoiceFilter::default;
    assert_eq!(count(none()).await, 6);
    assert_eq!(count(InvoiceFilter { customer: Some(customer_id("other")), ..none() }).await, 3);
    assert_eq!(count(InvoiceFilter { subscription: Some(s1), ..none() }).await, 3);
    assert_eq!(count(InvoiceFilter { state: Some(InvoiceState::Draft), ..none() }).await, 5);
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.invoices(&tenant.id, &none(), after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.due_cycle_at, last.id));
        all.extend(page.into_iter().map(|summary| (summary.due_cycle_at, summary.id)));
    }
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by_key(|(due, id)| (*due, id.to_string())));
}

/// The effect of a finalization is queued once, with it. `queued` counts the outbox rows of a
/// tenant: no port reads them yet.
pub async fn finalization_queues_one_effect(
    store: AnyStore,
    queued: impl AsyncFn(&TenantId) -> i64,
) {
    let tenant = tenant(&store, "outbox").await;
    let draft = draft(&tenant, "s", 1, "5");
    write(&store, &tenant, Write::PutDraft(draft.clone())).await.unwrap();
    assert_eq!(queued(&tenant.id).await, 0);
    let mut failing = crate::Commit::of(finalize(&draft, "A-"));
    failing.writes.push(Write::DropDraft(draft.id));
    assert_conflict(store.commit(&tenant.id, &failing).await);
    assert_eq!(queued(&tenant.id).await, 0, "what failed has no effect");
    for _ in 0..3 {
        write(&store, &tenant, finalize(&draft, "A-")).await.unwrap();
        assert_eq!(queued(&tenant.id).await, 1);
    }
    // So is any other effect, with the fact that caused it.
    let told = crate::Commit::default().told("k", "k/1".into(), NOW, serde_json::json!({"n": 1}));
    let mut failing = told.clone();
    failing.writes.push(Write::DropDraft(draft.id));
    assert_conflict(store.commit(&tenant.id, &failing).await);
    assert_eq!(queued(&tenant.id).await, 1);
    for _ in 0..2 {
        store.commit(&tenant.id, &told).await.unwrap();
        assert_eq!(queued(&tenant.id).await, 2);
    }
    let facts = store.facts(&tenant.id, 0, 9).await.unwrap();
    assert_eq!(facts.iter().filter(|recorded| recorded.fact.kind == "k").count(), 1);
}
