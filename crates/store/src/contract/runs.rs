//! Invoice runs and their items.

use counterfoil_invoicing::{ItemStatus, Run, RunItem, RunState};
use counterfoil_types::InvoiceId;

use super::support::{AnyStore, NOW, assert_conflict, customer_id, dollars, run, tenant, write};
use crate::Write;

fn item(run: &Run, subscription: &str, cycle: u32, status: ItemStatus) -> RunItem {
    RunItem {
        run: run.id,
        subscription: subscription.parse().unwrap(),
        customer: customer_id("acme"),
        cycle,
        status,
        reason: None,
        invoice: None,
        total: None,
        before: None,
    }
}

/// A run goes forward only, and creating it again changes nothing.
pub async fn a_run_never_goes_back(store: AnyStore) {
    let tenant = tenant(&store, "run-states").await;
    let run = run(&tenant, 1);
    assert_conflict(write(&store, &tenant, Write::UpdateRun(run.clone())).await);
    write(&store, &tenant, Write::CreateRun(run.clone())).await.unwrap();
    let approved = Run {
        state: RunState::Approved,
        approved_by: Some("Ann Ö".to_owned()),
        approved_at: Some(NOW),
        ..run.clone()
    };
    let states = [RunState::Computing, RunState::Review];
    for state in states {
        write(&store, &tenant, Write::UpdateRun(Run { state, ..run.clone() })).await.unwrap();
    }
    for _ in 0..2 {
        write(&store, &tenant, Write::UpdateRun(approved.clone())).await.unwrap();
    }
    for state in [RunState::Planning, RunState::Computing, RunState::Review] {
        let back = Write::UpdateRun(Run { state, ..run.clone() });
        assert_conflict(write(&store, &tenant, back).await);
    }
    write(&store, &tenant, Write::CreateRun(run.clone())).await.unwrap();
    assert_eq!(store.run(&tenant.id, &run.id).await.unwrap(), Some(approved));
}

/// A sign-off is given once: another name does not replace the first.
pub async fn a_sign_off_stays_with_who_gave_it(store: AnyStore) {
    let tenant = tenant(&store, "sign-off").await;
    let run = run(&tenant, 1);
    write(&store, &tenant, Write::CreateRun(run.clone())).await.unwrap();
    let by = |name: &str, offset| Run {
        state: RunState::Approved,
        approved_by: Some(name.to_owned()),
        approved_at: Some(NOW.plus_micros(offset)),
        ..run.clone()
    };
    write(&store, &tenant, Write::UpdateRun(by("ann", 0))).await.unwrap();
    assert_conflict(write(&store, &tenant, Write::UpdateRun(by("bob", 1))).await);
    let finalized = Run { state: RunState::Finalized, finalized_at: Some(NOW), ..by("ann", 0) };
    write(&store, &tenant, Write::UpdateRun(finalized.clone())).await.unwrap();
    assert_eq!(store.run(&tenant.id, &run.id).await.unwrap(), Some(finalized));
}

/// Runs are listed oldest first; one period has one run per attempt.
pub async fn runs_are_listed_by_period_and_attempt(store: AnyStore) {
    let tenant = tenant(&store, "run-list").await;
    for attempt in [2, 1] {
        write(&store, &tenant, Write::CreateRun(run(&tenant, attempt))).await.unwrap();
    }
    let attempts: Vec<u32> =
        store.runs(&tenant.id).await.unwrap().iter().map(|run| run.attempt).collect();
    assert_eq!(attempts, [1, 2]);
}

/// Items read back with all they hold, are replaced while open, and stay once finalized.
pub async fn a_finalized_item_stays(store: AnyStore) {
    let tenant = tenant(&store, "items").await;
    let run = run(&tenant, 1);
    write(&store, &tenant, Write::CreateRun(run.clone())).await.unwrap();
    let planned = item(&run, "s", 1, ItemStatus::Planned);
    let parked = RunItem {
        reason: Some("the total is odd".to_owned()),
        invoice: Some(InvoiceId::derive(&["x"])),
        total: Some(dollars("12345678901234567890.10")),
        before: Some(dollars("-0.01")),
        ..item(&run, "s", 1, ItemStatus::Parked)
    };
    let finalized = RunItem { status: ItemStatus::Finalized, reason: None, ..parked.clone() };
    for next in [planned.clone(), parked.clone(), finalized.clone()] {
        write(&store, &tenant, Write::PutRunItems(vec![next.clone()])).await.unwrap();
        let stored = store.run_items(&tenant.id, &run.id, &[], None, 10).await.unwrap();
        assert_eq!(stored, std::slice::from_ref(&next));
        let (id, name) = (&run.id, &next.subscription);
        assert_eq!(store.run_item(&tenant.id, id, name, 1).await.unwrap(), Some(next.clone()));
        assert_eq!(store.run_item(&tenant.id, id, name, 2).await.unwrap(), None);
    }
    for stale in [planned, parked] {
        write(&store, &tenant, Write::PutRunItems(vec![stale])).await.unwrap();
    }
    let stored = store.run_items(&tenant.id, &run.id, &[], None, 10).await.unwrap();
    assert_eq!(stored, [finalized]);
}

/// Items come in order of (subscription, cycle), page by page, by status.
pub async fn items_are_paged_by_status(store: AnyStore) {
    let tenant = tenant(&store, "item-pages").await;
    let (run, other) = (run(&tenant, 1), run(&tenant, 2));
    let mut items = Vec::new();
    for number in 0..250u32 {
        let status = if number % 5 == 0 { ItemStatus::Parked } else { ItemStatus::Done };
        items.push(item(&run, &format!("s{:03}", number / 2), number % 2 * 10, status));
    }
    for run in [&run, &other] {
        write(&store, &tenant, Write::CreateRun(run.clone())).await.unwrap();
    }
    write(&store, &tenant, Write::PutRunItems(items.clone())).await.unwrap();
    let elsewhere = vec![item(&other, "s000", 0, ItemStatus::Parked)];
    write(&store, &tenant, Write::PutRunItems(elsewhere)).await.unwrap();
    let filters: [(&[ItemStatus], usize); 4] = [
        (&[], 250),
        (&[ItemStatus::Parked], 50),
        (&[ItemStatus::Parked, ItemStatus::Done], 250),
        (&[ItemStatus::Failed], 0),
    ];
    for (statuses, expected) in filters {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page =
                store.run_items(&tenant.id, &run.id, statuses, after.as_ref(), 7).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.subscription.clone(), last.cycle));
            all.extend(page);
        }
        assert_eq!(all.len(), expected);
        assert!(all.is_sorted_by_key(|item| (item.subscription.clone(), item.cycle)));
        assert!(all.iter().all(|found| items.contains(found)));
    }
}
