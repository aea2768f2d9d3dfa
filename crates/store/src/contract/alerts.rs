//! Alerts fire once, whoever fires them, and one effect tells of each.

use counterfoil_alerting::Severity;
use counterfoil_types::{Exact, MeterKey, Period, Timestamp, timestamp::DAY_MICROS};

use super::support::{AnyStore, NOW, customer_id, tenant};
use crate::{Alert, AlertFilter, AlertState, Commit, StoreError, Tenant, Write};

fn alert(tenant: &Tenant, customer: &str, threshold: &str, told: Option<&str>) -> Alert {
    let (customer, meter) = (customer_id(customer), MeterKey::new("calls").unwrap());
    let window = Period::new(NOW, NOW.plus_micros(DAY_MICROS));
    let id = Alert::id_of(&tenant.id, &customer, "rule", Some(&meter), threshold, window);
    Alert {
        id,
        customer,
        rule: "rule".to_owned(),
        kind: "included".to_owned(),
        meter: Some(meter),
        threshold: threshold.to_owned(),
        severity: Severity::Critical,
        window,
        at: NOW,
        value: Exact::parse("1/3").unwrap(),
        limit: Some(Exact::from(7_u64)),
        unit: "calls".to_owned(),
        expected_at: None,
        explanation: "a <b> \"c\"".to_owned(),
        state: AlertState::Open,
        until: None,
        changed_by: None,
        changed_at: None,
        told: told.map(ToOwned::to_owned),
    }
}

async fn commit(store: &AnyStore, tenant: &Tenant, write: Write) -> Result<(), StoreError> {
    store.commit(&tenant.id, &Commit::of(write)).await
}

fn is_conflict(outcome: Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict { .. }))
}

fn later(micros: i64) -> Timestamp {
    NOW.plus_micros(micros)
}

/// An alert that fired stays as it is; who fires it with another effect decided on stale data, and
/// nothing of that commit takes effect.
pub async fn an_alert_fires_once(store: AnyStore) {
    let tenant = tenant(&store, "alerts").await;
    let (low, high) =
        (alert(&tenant, "acme", "75", Some("e/1")), alert(&tenant, "acme", "90", Some("e/1")));
    let fire = Write::FireAlerts(vec![low.clone(), high.clone()]);
    commit(&store, &tenant, fire.clone()).await.unwrap();
    commit(&store, &tenant, fire).await.unwrap();
    assert_eq!(store.alert(&tenant.id, &low.id).await.unwrap(), Some(low.clone()));
    let other =
        vec![alert(&tenant, "acme", "75", Some("e/2")), alert(&tenant, "acme", "100", Some("e/2"))];
    assert!(is_conflict(commit(&store, &tenant, Write::FireAlerts(other.clone())).await));
    assert!(is_conflict(
        commit(&store, &tenant, Write::FireAlerts(vec![alert(&tenant, "acme", "75", None)])).await
    ));
    assert_eq!(store.alert(&tenant.id, &other[1].id).await.unwrap(), None);
    let among = [customer_id("acme"), customer_id("bob")];
    let mut fired = store.fired_among(&tenant.id, &among, NOW).await.unwrap();
    fired.sort_by(|a, b| a.id.cmp(&b.id));
    let mut ids = vec![low.id.clone(), high.id.clone()];
    ids.sort();
    assert_eq!(fired.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), ids);
    assert!(fired.iter().all(|one| one.told.as_deref() == Some("e/1")));
    let over = store.fired_among(&tenant.id, &among, low.window.end).await.unwrap();
    assert_eq!(over, []);
    let elsewhere = super::support::tenant(&store, "alerts-elsewhere").await;
    assert_eq!(store.alert(&elsewhere.id, &low.id).await.unwrap(), None);
    assert_eq!(store.fired_among(&elsewhere.id, &among, NOW).await.unwrap(), []);
}

/// Of those who fire the same alert at once with effects of their own, one wins.
pub async fn racing_evaluations_tell_once(store: AnyStore) {
    let tenant = tenant(&store, "alerts-race").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (store, tenant) = (store.clone(), tenant.clone());
        tasks.spawn(async move {
            let key = format!("e/{number}");
            let writes = vec![
                Write::FireAlerts(vec![
                    alert(&tenant, "acme", "75", Some(&key)),
                    alert(&tenant, "acme", "90", Some(&key)),
                ]),
                Write::Queue {
                    key,
                    kind: "alert.critical".to_owned(),
                    body: serde_json::json!({}),
                    at: NOW,
                },
            ];
            store.commit(&tenant.id, &Commit { writes, ..Commit::default() }).await
        });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let effects = store.effects(&tenant.id, 0, 100).await.unwrap();
    assert_eq!(effects.len(), 1);
    let fired = store.fired_among(&tenant.id, &[customer_id("acme")], NOW).await.unwrap();
    assert_eq!(fired.len(), 2);
    assert!(fired.iter().all(|one| one.told.as_ref() == Some(&effects[0].key)));
}

/// What waits is told of by one effect; what is snoozed waits until its time.
pub async fn alerts_wait_to_be_told_of(store: AnyStore) {
    let tenant = tenant(&store, "alerts-told").await;
    let open = alert(&tenant, "acme", "75", None);
    let snoozed = Alert {
        state: AlertState::Snoozed,
        until: Some(later(100)),
        ..alert(&tenant, "acme", "90", None)
    };
    let fire = Write::FireAlerts(vec![open.clone(), snoozed.clone()]);
    commit(&store, &tenant, fire).await.unwrap();
    let waiting = |at: i64| {
        let (store, id) = (store.clone(), tenant.id.clone());
        async move { store.untold_alerts(&id, later(at), 10).await.unwrap() }
    };
    assert_eq!(waiting(99).await, std::slice::from_ref(&open));
    assert_eq!(waiting(100).await.len(), 2);
    let told = |effect: &str| Write::TellAlerts {
        alerts: vec![open.id.clone()],
        effect: effect.to_owned(),
    };
    commit(&store, &tenant, told("d/1")).await.unwrap();
    commit(&store, &tenant, told("d/1")).await.unwrap();
    assert!(is_conflict(commit(&store, &tenant, told("d/2")).await));
    assert_eq!(waiting(100).await, std::slice::from_ref(&snoozed));
    // Windows that are over resolve what was told of, and leave what waits.
    commit(&store, &tenant, Write::ResolveAlerts { by: open.window.end }).await.unwrap();
    let state = |id: &str| {
        let (store, tenant, id) = (store.clone(), tenant.id.clone(), id.to_owned());
        async move { store.alert(&tenant, &id).await.unwrap().unwrap().state }
    };
    assert_eq!(state(&open.id).await, AlertState::Resolved);
    assert_eq!(state(&snoozed.id).await, AlertState::Snoozed);
}

/// Alerts are moved by people, listed newest first, and stay resolved.
pub async fn alerts_are_moved_and_listed(store: AnyStore) {
    let tenant = tenant(&store, "alerts-list").await;
    let mut all = Vec::new();
    for (number, customer) in [(1, "acme"), (2, "bob"), (3, "acme")] {
        let one = alert(&tenant, customer, &number.to_string(), Some("e"));
        all.push(Alert { at: later(number), ..one });
    }
    commit(&store, &tenant, Write::FireAlerts(all.clone())).await.unwrap();
    let list = |filter: AlertFilter, before: Option<(Timestamp, String)>, limit: u32| {
        let (store, id) = (store.clone(), tenant.id.clone());
        async move {
            let before = before.as_ref().map(|(at, id)| (*at, id.as_str()));
            let found = store.alerts(&id, &filter, before, limit).await.unwrap();
            found.into_iter().map(|alert| alert.threshold).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(AlertFilter::default(), None, 2).await, ["3", "2"]);
    let place = Some((all[1].at, all[1].id.clone()));
    assert_eq!(list(AlertFilter::default(), place, 10).await, ["1"]);
    let of_acme = AlertFilter { customer: Some(customer_id("acme")), ..AlertFilter::default() };
    assert_eq!(list(of_acme, None, 10).await, ["3", "1"]);
    let go = |to: AlertState, until: Option<Timestamp>| Write::MoveAlert {
        alert: all[0].id.clone(),
        to,
        until,
        by: "ann".to_owned(),
        at: later(9),
    };
    commit(&store, &tenant, go(AlertState::Snoozed, Some(later(50)))).await.unwrap();
    let moved = store.alert(&tenant.id, &all[0].id).await.unwrap().unwrap();
    assert_eq!((moved.state, moved.until), (AlertState::Snoozed, Some(later(50))));
    assert_eq!((moved.changed_by.as_deref(), moved.changed_at), (Some("ann"), Some(later(9))));
    let snoozed = AlertFilter { state: Some(AlertState::Snoozed), ..AlertFilter::default() };
    assert_eq!(list(snoozed, None, 10).await, ["1"]);
    let among = store.fired_among(&tenant.id, &[customer_id("acme")], NOW).await.unwrap();
    let until: Vec<_> = among.iter().filter_map(|one| one.snoozed_until).collect();
    assert_eq!(until, [later(50)]);
    commit(&store, &tenant, go(AlertState::Resolved, None)).await.unwrap();
    commit(&store, &tenant, go(AlertState::Resolved, None)).await.unwrap();
    assert!(is_conflict(commit(&store, &tenant, go(AlertState::Open, None)).await));
    let missing = Write::MoveAlert {
        alert: "alr_x".to_owned(),
        to: AlertState::Acknowledged,
        until: None,
        by: "ann".to_owned(),
        at: NOW,
    };
    assert!(is_conflict(commit(&store, &tenant, missing).await));
}

/// The customers of a stretch of a lane, each once, and the subscriptions of some customers.
pub async fn customers_of_a_stretch_are_found(store: AnyStore) {
    use super::support::{append, event, lane};
    let tenant = store
        .ensure_tenant(&counterfoil_types::TenantId::new("alerts-touched").unwrap(), 1)
        .await
        .unwrap();
    for (id, customer) in [("1", "b"), ("2", "a"), ("3", "b"), ("4", "c")] {
        append(&store, &tenant, &[event(id, customer)]).await;
    }
    let between = |from, upto| {
        let (store, lane) = (store.clone(), lane(&tenant, "a"));
        async move {
            let found = store.customers_between(lane, from, upto).await.unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        }
    };
    assert_eq!(between(0, 3).await, ["a", "b"]);
    assert_eq!(between(2, 4).await, ["b", "c"]);
    assert_eq!(between(4, 9).await, Vec::<String>::new());
    for (id, customer) in [("s1", "a"), ("s2", "b"), ("s3", "a"), ("s4", "c")] {
        let subscription = counterfoil_invoicing::Subscription::new(
            id.parse().unwrap(),
            customer_id(customer),
            "b",
            "p".parse().unwrap(),
            "2026-01-01".parse().unwrap(),
        );
        commit(&store, &tenant, Write::PutSubscription(subscription)).await.unwrap();
    }
    let wanted = [customer_id("a"), customer_id("c"), customer_id("nobody")];
    let found = store.subscriptions_among(&tenant.id, &wanted).await.unwrap();
    let mut ids: Vec<String> = found.iter().map(|one| one.id.to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["s1", "s3", "s4"]);
}
