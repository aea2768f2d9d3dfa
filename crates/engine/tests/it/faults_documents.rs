//! Every call to the store fails once, before and after its effect, while contracts change and
//! money moves; the step that failed is repeated. The end is the same as without the fault: no
//! payment counts twice, no credit note is issued twice, no grant comes again twice.

use std::sync::Arc;

use counterfoil_engine::{
    Engine,
    contracts::Effective,
    credit_notes::{CreditRequest, PaidBack},
    payments::Payment,
};
use counterfoil_invoicing::{
    ChangeKind, Customer, Grant, GrantKind, GrantUnit, credit::Renewal, credit_note::CreditScope,
};
use counterfoil_rating::LatePolicy;
use counterfoil_store::{
    AccountFilter, DocumentFilter, Store,
    faults::{FaultStore, Side, WRITES},
};
use counterfoil_types::{Currency, Interval, IntervalUnit, Zone};

use crate::{
    contracts::{BOOK, used},
    faults::until_done,
    world::{World, at, dollars, id},
};

/// Two months billed, without faults.
async fn prepared() -> World {
    let world = World::new(1).await;
    world.publish(BOOK).await;
    world.customer("hold", "UTC", None).await;
    let ann = Customer {
        parent: Some(id("hold")),
        late_events: Some(LatePolicy::CreditNote),
        ..Customer::new(id("ann"), "Ann", Currency::USD, Zone::utc())
    };
    world.engine.put_customer(&ann).await.unwrap();
    world.subscribe("ann", "b", "small", "2026-09-01").await;
    used(&world, "ann", "2026-10-02T00:00:00Z", "300").await;
    world.set_clock("2026-10-03T00:00:00Z");
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    used(&world, "ann", "2026-10-05T00:00:00Z", "-100").await;
    used(&world, "ann", "2026-11-02T00:00:00Z", "150").await;
    world.engine.project_all().await.unwrap();
    world
}

async fn scenario(world: &World, store: Arc<dyn Store>) {
    let engine: Engine = until_done(async || world.through(store.clone()).await).await;
    let invoice = |cycle: u32| world.invoice("ann", cycle);
    let (first, second) = (invoice(0).await.unwrap(), invoice(1).await.unwrap());
    let third = invoice(2).await.unwrap();
    let ann = "ann".parse().unwrap();
    let pack = Grant {
        id: "pack".to_owned(),
        customer: id("ann"),
        name: "Pack".to_owned(),
        kind: GrantKind::Paid,
        unit: GrantUnit::Meter("calls".parse().unwrap()),
        amount: 30.into(),
        priority: 0,
        from: at("2026-11-01T00:00:00Z"),
        expires: Some(at("2026-11-03T00:00:00Z")),
        renewal: Some(Renewal {
            every: Interval::one(IntervalUnit::Month),
            rollover: Some(5.into()),
        }),
        renews: None,
    };
    until_done(async || engine.grant(&pack).await).await;
    let payment = Payment {
        id: "p".to_owned(),
        customer: id("hold"),
        amount: dollars("130"),
        invoices: vec![first.id],
        method: None,
        received_at: at("2026-11-02T00:00:00Z"),
    };
    until_done(async || engine.record_payment(&payment).await).await;
    until_done(async || engine.use_balances(None).await).await;
    until_done(async || engine.void_invoice(&second.id, "wrong").await).await;
    until_done(async || engine.reissue_invoice(&second.id, &world.options).await).await;
    let credit = CreditRequest {
        id: "c".to_owned(),
        invoice: first.id,
        scope: CreditScope::Amount(dollars("7")),
        reason: "goodwill".to_owned(),
        paid_back: PaidBack::Balance,
        corrects: Vec::new(),
    };
    until_done(async || engine.credit(&credit).await).await;
    until_done(async || engine.credit_late(&ann).await).await;
    let add_on = ChangeKind::AddOn { plan: "support".parse().unwrap() };
    until_done(async || engine.change_subscription(&ann, Effective::Now, add_on.clone()).await)
        .await;
    // A part is a new number each time it is asked for: asking again after an answer that was
    // lost finds nothing left to bill.
    match engine.bill_now(&ann, &world.options).await {
        Ok(_) => {}
        Err(error) if error.is_transient() => {
            if let Err(error) = engine.bill_now(&ann, &world.options).await {
                assert!(error.to_string().contains("nothing is to be billed"), "{error}");
            }
        }
        Err(error) => panic!("{error}"),
    }
    let zone: Zone = "Asia/Tokyo".parse().unwrap();
    until_done(async || engine.move_customer(&id("ann"), &zone, Effective::Now).await).await;
    let month = "2026-10".parse().unwrap();
    until_done(async || engine.consolidate(&month).await).await;
    world.clock.set(third.due_at.unwrap().plus_micros(20 * 86_400_000_000));
    until_done(async || engine.dun().await).await;
    until_done(async || engine.renew_grants(0).await).await;
    until_done(async || engine.write_off(&third.id, "gone").await.map(|_| ())).await;
    let all = Payment {
        id: "q".to_owned(),
        amount: dollars("1000"),
        invoices: Vec::new(),
        ..payment.clone()
    };
    until_done(async || engine.record_payment(&all).await).await;
    until_done(async || engine.refund_balance("r", &id("hold"), dollars("1")).await).await;
}

/// All that the scenario can have changed, as text.
async fn state(world: &World) -> Vec<String> {
    let store = world.engine.store();
    let tenant = &world.engine.tenant().id;
    let mut state = Vec::new();
    for invoice in world.invoices().await {
        state.push(format!("{invoice:?}"));
    }
    for kind in ["grant", "payment", "credit_note", "refund", "consolidated"] {
        let all = DocumentFilter::default();
        for document in store.documents(tenant, kind, &all, None, 100).await.unwrap() {
            state.push(format!("{document:?}"));
        }
    }
    for posting in store.postings(tenant, None, 0, 1000).await.unwrap() {
        state.push(format!("{posting:?}"));
    }
    for account in store.accounts(tenant, &AccountFilter::default(), None, 100).await.unwrap() {
        state.push(format!("{account:?}"));
    }
    for fact in store.facts(tenant, 0, 1000).await.unwrap() {
        state.push(format!("{fact:?}"));
    }
    let outbox = "SELECT key || ' ' || kind || ' ' || body FROM outbox ORDER BY key";
    for row in sqlx::query(outbox).fetch_all(world.sqlite.writer()).await.unwrap() {
        state.push(sqlx::Row::get(&row, 0));
    }
    state.push(format!("{:?}", store.subscriptions(tenant, None, None, 9).await.unwrap()));
    state.push(format!("{:?}", store.customers(tenant, None, 9).await.unwrap()));
    state
}

#[tokio::test]
async fn money_moves_once_whichever_call_fails() {
    let world = prepared().await;
    let recorder = Arc::new(FaultStore::new(Arc::new(world.sqlite.clone())));
    scenario(&world, recorder.clone()).await;
    let clean = state(&world).await;
    assert_eq!(world.problems().await, Vec::<String>::new());
    let calls = recorder.calls();
    // Reading fails the same way everywhere: each kind of reading is tried once, each write always.
    let mut tried = std::collections::BTreeSet::new();
    for (number, name) in calls.iter().enumerate() {
        let writes = WRITES.contains(name);
        if !writes && !tried.insert(*name) {
            continue;
        }
        let sides: &[Side] = if writes { &[Side::Before, Side::After] } else { &[Side::Before] };
        for side in sides {
            let world = prepared().await;
            let faulty =
                Arc::new(FaultStore::failing(Arc::new(world.sqlite.clone()), number, *side));
            scenario(&world, faulty.clone()).await;
            assert!(faulty.hit(), "call {number} ({name}) was never made");
            let found = state(&world).await;
            for (found, expected) in found.iter().zip(&clean) {
                assert_eq!(found, expected, "after {name} (call {number}) failed {side:?}");
            }
            assert_eq!(found.len(), clean.len(), "after {name} (call {number}) failed {side:?}");
            world.sqlite.close().await;
        }
    }
    let writes = calls.iter().filter(|name| WRITES.contains(name)).count();
    assert!(writes >= 15, "the scenario writes through every use-case, not {writes} times");
}
