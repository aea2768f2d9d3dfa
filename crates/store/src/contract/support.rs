//! Events, invoices and small assertions the promises share.

use std::{collections::BTreeMap, sync::Arc};

use counterfoil_invoicing::{
    Customer, Inputs, Invoice, InvoiceBody, Run, RunState, Subscription, TaxDecision,
    invoice::ENGINE_VERSION,
};
use counterfoil_ledger::{Correction, CorrectionKind, Event, LaneId, Receipt, StoredEvent};
use counterfoil_types::{
    Currency, CustomerId, Exact, Money, Period, Quantity, RunId, TenantId, Timestamp,
    timestamp::DAY_MICROS,
};

use crate::{Commit, Pending, Store, StoreError, Tenant, Write};

pub(super) type AnyStore = Arc<dyn Store>;

/// 2025-10-09T08:00:00Z.
pub(super) const NOW: Timestamp = Timestamp::from_micros(1_759_996_800_000_000);
const LANES: u16 = 4;

pub(super) async fn tenant(store: &AnyStore, case: &str) -> Tenant {
    store.ensure_tenant(&TenantId::new(case).unwrap(), LANES).await.unwrap()
}

pub(super) fn customer_id(name: &str) -> CustomerId {
    CustomerId::new(name).unwrap()
}

pub(super) fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

pub(super) fn event(id: &str, customer: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "svc".to_owned(),
        customer: customer_id(customer),
        event_type: "api.call".to_owned(),
        time: Some(NOW),
        quantity: Quantity::ONE,
        unit: None,
        properties: BTreeMap::new(),
        subject: None,
        resource: None,
        user: None,
        correction: None,
    }
}

pub(super) fn amount(id: &str, customer: &str, text: &str) -> Event {
    Event { quantity: quantity(text), ..event(id, customer) }
}

pub(super) fn reverses(id: &str, customer: &str, target: &str) -> Event {
    let correction = Correction { kind: CorrectionKind::Reverses, target: target.to_owned() };
    Event { correction: Some(correction), ..event(id, customer) }
}

pub(super) fn amends(id: &str, customer: &str, target: &str, text: &str) -> Event {
    let correction = Correction { kind: CorrectionKind::Amends, target: target.to_owned() };
    Event { correction: Some(correction), ..amount(id, customer, text) }
}

pub(super) fn prepared(tenant: &Tenant, events: &[Event]) -> Vec<Pending> {
    events.iter().map(|event| Pending::new(tenant, event.clone())).collect()
}

pub(super) async fn append(store: &AnyStore, tenant: &Tenant, events: &[Event]) -> Vec<Receipt> {
    store.append(tenant, &prepared(tenant, events), NOW).await.unwrap()
}

pub(super) fn lane(tenant: &Tenant, customer: &str) -> LaneId {
    tenant.lane_of(&customer_id(customer))
}

/// A customer of each lane.
pub(super) fn one_per_lane(tenant: &Tenant) -> Vec<String> {
    tenant
        .lane_ids()
        .into_iter()
        .map(|wanted| {
            (0..).map(|n| format!("c{n}")).find(|name| lane(tenant, name) == wanted).unwrap()
        })
        .collect()
}

/// All rows of a tenant, lane by lane.
pub(super) async fn all_rows(store: &AnyStore, tenant: &Tenant) -> Vec<StoredEvent> {
    let mut rows = Vec::new();
    for lane in tenant.lane_ids() {
        rows.extend(store.read(lane, 0, u64::MAX >> 1, None, u32::MAX).await.unwrap());
    }
    rows
}

/// Positions contiguous from 1 in each lane, heads at the last ones, times never decreasing,
/// seals whole, each identity once.
pub(super) async fn assert_whole(store: &AnyStore, tenant: &Tenant) {
    let mut seen = std::collections::BTreeSet::new();
    for head in store.heads(tenant).await.unwrap() {
        let rows = store.read(head.lane, 0, u64::MAX >> 1, None, u32::MAX).await.unwrap();
        let mut recorded = Timestamp::MIN;
        for (expected, row) in (1u64..).zip(&rows) {
            assert_eq!(row.position, expected, "positions are contiguous");
            assert!(row.recorded_at >= recorded, "recorded time never decreases");
            assert!(row.seal_holds(&tenant.id), "seal of {}", row.event.id);
            assert!(seen.insert((row.event.source.clone(), row.event.id.clone())), "key once");
            recorded = row.recorded_at;
        }
        assert_eq!(head.position, rows.len() as u64, "the head stands at the last row");
        if !rows.is_empty() {
            assert_eq!(head.recorded_at, recorded, "the head knows when it was written");
        }
    }
}

pub(super) fn position(receipt: &Receipt) -> u64 {
    match receipt {
        Receipt::Inserted { position, .. }
        | Receipt::Duplicate { position, .. }
        | Receipt::Conflict { position, .. } => *position,
        Receipt::Rejected(reject) => panic!("rejected: {reject}"),
    }
}

pub(super) fn is_inserted(receipt: &Receipt) -> bool {
    matches!(receipt, Receipt::Inserted { .. })
}

pub(super) fn assert_conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "a conflict, not {outcome:?}");
}

pub(super) async fn write(
    store: &AnyStore,
    tenant: &Tenant,
    write: Write,
) -> Result<(), StoreError> {
    store.commit(&tenant.id, &Commit::of(write)).await
}

pub(super) fn customer(id: &str) -> Customer {
    let zone = counterfoil_types::Zone::utc();
    Customer::new(customer_id(id), format!("{id} Ltd"), Currency::USD, zone)
}

pub(super) fn subscription(id: &str, customer: &str) -> Subscription {
    Subscription::new(
        id.parse().unwrap(),
        customer_id(customer),
        "book",
        "plan".parse().unwrap(),
        "2025-10-01".parse().unwrap(),
    )
}

pub(super) fn dollars(text: &str) -> Money {
    Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
}

pub(super) fn body(tenant: &Tenant, name: &str, cycle: u32, total: &str) -> InvoiceBody {
    let at = NOW.plus_micros(i64::from(cycle) * DAY_MICROS);
    InvoiceBody {
        tenant: tenant.id.clone(),
        customer: customer_id("acme"),
        customer_name: "Acme Ltd".to_owned(),
        subscription: name.parse().unwrap(),
        cycle,
        revision: 0,
        part: 0,
        payer: None,
        due_cycle_at: at,
        period: Period::new(at.plus_micros(-DAY_MICROS), at),
        zone: counterfoil_types::Zone::utc(),
        currency: Currency::USD,
        lines: Vec::new(),
        subtotal: dollars(total),
        credits: Vec::new(),
        granted: Vec::new(),
        credited: Vec::new(),
        taxes: Vec::new(),
        tax: dollars("0"),
        total: dollars(total),
        inputs: Inputs {
            lane: lane(tenant, "acme").0,
            position: 7,
            engine: ENGINE_VERSION.to_owned(),
            subscription: subscription(name, "acme"),
            zone: counterfoil_types::Zone::utc(),
            tax: TaxDecision::default(),
            late_events: None,
            until: None,
            compared: false,
            withdrawn: Vec::new(),
            billed_by: Vec::new(),
            credited_by: Vec::new(),
            credits: Vec::new(),
            grants: Vec::new(),
        },
    }
}

pub(super) fn draft(tenant: &Tenant, name: &str, cycle: u32, total: &str) -> Box<Invoice> {
    Box::new(Invoice::draft(body(tenant, name, cycle, total)).unwrap())
}

pub(super) fn finalize(invoice: &Invoice, series: &str) -> Write {
    Write::Finalize {
        invoice: invoice.id,
        series: series.to_owned(),
        at: NOW,
        due_at: NOW.plus_micros(30 * DAY_MICROS),
    }
}

pub(super) fn run(tenant: &Tenant, attempt: u32) -> Run {
    Run {
        id: RunId::derive(&[tenant.id.as_str(), "2025-10", &attempt.to_string()]),
        period: "2025-10".to_owned(),
        attempt,
        state: RunState::Planning,
        started_at: NOW,
        approved_by: None,
        approved_at: None,
        finalized_at: None,
    }
}
