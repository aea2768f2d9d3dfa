//! Fault injection: a store that fails one chosen call, either before it takes effect or after,
//! or lets something else happen between two calls.
//!
//! "After" is the case every network has: the commit is durable and its acknowledgement is lost.
//! Tests record the calls of a clean run, then fail each of them in turn, both ways, repeat the
//! step that failed and compare the end states.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use counterfoil_invoicing::{
    Customer, Invoice, ItemStatus, Run, RunItem, Subscription, cycle::CycleNumber,
};
use counterfoil_ledger::{LaneId, Receipt, StoredEvent};
use counterfoil_metering::{BucketKey, GroupKey};
use counterfoil_types::{
    CustomerId, InvoiceId, MeterKey, Period, RunId, SubscriptionId, TenantId, Timestamp,
};

use crate::{
    AccessStore, Account, AccountFilter, AggregateStore, Alert, AlertFilter, AlertStore, ApiKey,
    ArchiveRecord, ArchiveStore, Attempt, BookRow, Bucket, CatalogStore, Claim, Commit, Delivery,
    DeliveryFilter, Document, DocumentFilter, DocumentStore, Effect, Finding, Fired, InvoiceFilter,
    InvoiceStore, InvoiceSummary, JobFilter, JobItem, JobRow, JobRun, JobStore, JournalStore,
    Known, LaneHead, Lease, LeaseStore, LedgerStore, Manifest, MeterRow, Next, OutboxStore,
    Pending, Projection, RecordedAudit, RecordedFact, RecordedPosting, Route, RunStore, Seal, Seen,
    Store, StoreError, Tenant, TouchWanted, UsageRead, UsageWanted,
};

/// On which side of its effect a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The store was not reached.
    Before,
    /// The store did it; only its answer is lost.
    After,
}

type Interruption = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Script {
    calls: Vec<&'static str>,
    fault: Option<(usize, Side)>,
    hit: bool,
    interruption: Option<(&'static str, Interruption)>,
}

/// A store that passes every call on, counts it, and fails or interrupts one of them.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    script: Mutex<Script>,
}

/// Calls that change something: only for these the two sides differ.
pub const WRITES: [&str; 16] = [
    "acquire",
    "append",
    "append_after",
    "claim_due",
    "commit",
    "deliver_again",
    "drop_content",
    "ensure_tenant",
    "forget",
    "park_target",
    "project",
    "put_back",
    "record_attempts",
    "release",
    "renew",
    "spread",
];

impl FaultStore {
    /// Wraps a store; nothing fails yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, script: Mutex::default() }
    }

    /// Wraps a store whose call number `call` (from 0) fails, once.
    #[must_use]
    pub fn failing(inner: Arc<dyn Store>, call: usize, side: Side) -> Self {
        let script = Script { fault: Some((call, side)), ..Script::default() };
        Self { inner, script: Mutex::new(script) }
    }

    /// Lets `other` happen right before the next call with this name: what another program may
    /// do between two calls of this one.
    pub fn interrupt(&self, name: &'static str, other: impl Future<Output = ()> + Send + 'static) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.interruption = Some((name, Box::pin(other)));
    }

    /// Names of the calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).calls.clone()
    }

    /// Whether the chosen call was made and failed.
    #[must_use]
    pub fn hit(&self) -> bool {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).hit
    }

    fn next(&self, name: &'static str) -> (usize, Option<Side>) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let number = script.calls.len();
        script.calls.push(name);
        let side = script.fault.filter(|(call, _)| *call == number).map(|(_, side)| side);
        script.hit |= side.is_some();
        (number, side)
    }

    /// Makes a call, or fails it. A future that is dropped unpolled has not been called.
    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let other = {
            let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
            script.interruption.take_if(|(at, _)| *at == name)
        };
        if let Some((_, other)) = other {
            other.await;
        }
        let (number, side) = self.next(name);
        let lost = || StoreError::Unavailable(format!("call {number} ({name}) was made to fail"));
        match side {
            None => call.await,
            Some(Side::Before) => Err(lost()),
            Some(Side::After) => {
                call.await?;
                Err(lost())
            }
        }
    }
}

/// Implements a port by passing each method on through [`FaultStore::call`].
macro_rules! pass_on {
    ($port:ident: $(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl $port for FaultStore {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out, StoreError> {
                self.call(stringify!($name), self.inner.$name($($arg),*)).await
            })*
        }
    };
}

pass_on! { LedgerStore:
    fn append(tenant: &Tenant, batch: &[Pending], now: Timestamp) -> Vec<Receipt>;
    fn append_after(tenant: &Tenant, batch: &[Pending], now: Timestamp, seen: &[Seen])
        -> Vec<Option<Receipt>>;
    fn heads(tenant: &Tenant) -> Vec<LaneHead>;
    fn read(lane: LaneId, after: u64, upto: u64, customer: Option<&CustomerId>, limit: u32)
        -> Vec<StoredEvent>;
    fn rows_at(lane: LaneId, positions: &[u64]) -> Vec<StoredEvent>;
    fn corrections_of(lane: LaneId, first: u64, last: u64) -> Vec<StoredEvent>;
    fn customers_between(lane: LaneId, after: u64, upto: u64) -> Vec<CustomerId>;
    fn find(tenant: &TenantId, source: &str, id: &str) -> Option<StoredEvent>;
}

pass_on! { ArchiveStore:
    fn seals(lane: LaneId, after: u64, upto: u64, limit: u32) -> Vec<Seal>;
    fn corrections_after(lane: LaneId, first: u64, last: u64, after: u64) -> Vec<StoredEvent>;
    fn known(tenant: &TenantId, source: &str, id: &str) -> Option<Known>;
    fn archives(tenant: &TenantId) -> Vec<ArchiveRecord>;
    fn drop_content(tenant: &Tenant, manifest: &Manifest, place: &str, rows: &[StoredEvent],
        at: Timestamp) -> ();
    fn put_back(tenant: &Tenant, manifest: &Manifest, rows: &[StoredEvent], at: Timestamp) -> u64;
}

pass_on! { AggregateStore:
    fn progress(lane: LaneId) -> Vec<(MeterKey, u64)>;
    fn buckets(lane: LaneId, keys: &[BucketKey]) -> Vec<Bucket>;
    fn project(projection: &Projection) -> ();
    fn usage(lane: LaneId, customer: &CustomerId, meter: Option<&MeterKey>, days: &[Period],
        hours: &[Period]) -> Vec<Bucket>;
    fn usage_among(lane: LaneId, meters: &[MeterKey], wanted: &[UsageWanted]) -> UsageRead;
    fn meter_buckets(lane: LaneId, meter: &MeterKey, hours: &Period) -> Vec<Bucket>;
    fn members(lane: LaneId, customer: &CustomerId, meter: &MeterKey, hours: &Period)
        -> Vec<(GroupKey, String)>;
    fn touched_after(lane: LaneId, customer: &CustomerId, before: Timestamp, after: u64) -> bool;
    fn touched_among(lane: LaneId, wanted: &[TouchWanted]) -> Vec<bool>;
    fn all_buckets(lane: LaneId, after: Option<&BucketKey>, limit: u32) -> Vec<Bucket>;
    fn forget(lane: LaneId) -> ();
}

pass_on! { CatalogStore:
    fn ensure_tenant(tenant: &TenantId, lanes: u16) -> Tenant;
    fn tenant(tenant: &TenantId) -> Option<Tenant>;
    fn customer(tenant: &TenantId, customer: &CustomerId) -> Option<Customer>;
    fn customers(tenant: &TenantId, after: Option<&CustomerId>, limit: u32) -> Vec<Customer>;
    fn customers_named(tenant: &TenantId, customers: &[CustomerId]) -> Vec<Customer>;
    fn subscription(tenant: &TenantId, subscription: &SubscriptionId) -> Option<Subscription>;
    fn subscriptions(tenant: &TenantId, customer: Option<&CustomerId>,
        after: Option<&SubscriptionId>, limit: u32) -> Vec<Subscription>;
    fn subscriptions_named(tenant: &TenantId, subscriptions: &[SubscriptionId])
        -> Vec<Subscription>;
    fn subscriptions_among(tenant: &TenantId, customers: &[CustomerId]) -> Vec<Subscription>;
    fn books(tenant: &TenantId) -> Vec<BookRow>;
    fn meters(tenant: &TenantId) -> Vec<MeterRow>;
}

pass_on! { InvoiceStore:
    fn invoice(tenant: &TenantId, invoice: &InvoiceId) -> Option<Invoice>;
    fn invoice_numbered(tenant: &TenantId, number: &str) -> Option<Invoice>;
    fn invoices_of(tenant: &TenantId, subscription: &SubscriptionId) -> Vec<Invoice>;
    fn cycle_summaries(tenant: &TenantId, subscription: &SubscriptionId, cycle: CycleNumber)
        -> Vec<InvoiceSummary>;
    fn summaries_among(tenant: &TenantId, cycles: &[(SubscriptionId, CycleNumber)])
        -> Vec<InvoiceSummary>;
    fn invoices(tenant: &TenantId, filter: &InvoiceFilter, after: Option<(Timestamp, InvoiceId)>,
        limit: u32) -> Vec<InvoiceSummary>;
}

pass_on! { RunStore:
    fn run(tenant: &TenantId, run: &RunId) -> Option<Run>;
    fn runs(tenant: &TenantId) -> Vec<Run>;
    fn run_item(tenant: &TenantId, run: &RunId, subscription: &SubscriptionId, cycle: CycleNumber)
        -> Option<RunItem>;
    fn run_items(tenant: &TenantId, run: &RunId, statuses: &[ItemStatus],
        after: Option<&(SubscriptionId, CycleNumber)>, limit: u32) -> Vec<RunItem>;
}

pass_on! { JournalStore:
    fn facts(tenant: &TenantId, after: u64, limit: u32) -> Vec<RecordedFact>;
}

pass_on! { DocumentStore:
    fn document(tenant: &TenantId, kind: &str, id: &str) -> Option<Document>;
    fn documents(tenant: &TenantId, kind: &str, filter: &DocumentFilter, after: Option<&str>,
        limit: u32) -> Vec<Document>;
    fn account(tenant: &TenantId, name: &str) -> Option<Account>;
    fn accounts(tenant: &TenantId, filter: &AccountFilter, after: Option<&str>, limit: u32)
        -> Vec<Account>;
    fn postings(tenant: &TenantId, account: Option<&str>, after: u64, limit: u32)
        -> Vec<RecordedPosting>;
    fn settings(tenant: &TenantId, prefix: &str) -> Vec<(String, String)>;
}

pass_on! { AccessStore:
    fn key_with_prefix(prefix: &str) -> Option<(TenantId, ApiKey)>;
    fn api_keys(tenant: &TenantId, prefix: &str, after: Option<&str>, limit: u32) -> Vec<ApiKey>;
    fn claim(tenant: &TenantId, key: &str) -> Option<Claim>;
    fn audit(tenant: &TenantId, after: u64, limit: u32) -> Vec<RecordedAudit>;
}

pass_on! { LeaseStore:
    fn acquire(name: &str, holder: &str, now: Timestamp, ttl_micros: i64) -> Option<Lease>;
    fn renew(lease: &Lease, now: Timestamp, ttl_micros: i64) -> ();
    fn release(lease: &Lease) -> ();
}

pass_on! { OutboxStore:
    fn unspread(tenant: &TenantId, limit: u32) -> Vec<Effect>;
    fn spread(tenant: &TenantId, routes: &[Route], now: Timestamp) -> ();
    fn claim_due(tenant: &TenantId, target: &str, holder: &str, now: Timestamp, ttl_micros: i64,
        limit: u32) -> Vec<Delivery>;
    fn record_attempts(tenant: &TenantId, attempts: &[(Attempt, Next)]) -> Vec<bool>;
    fn deliver_again(tenant: &TenantId, target: &str, keys: &[String], now: Timestamp) -> u64;
    fn park_target(tenant: &TenantId, target: &str, reason: &str, now: Timestamp) -> u64;
    fn deliveries(tenant: &TenantId, filter: &DeliveryFilter, after: Option<(u64, &str)>,
        limit: u32) -> Vec<Delivery>;
    fn attempts(tenant: &TenantId, key: &str) -> Vec<Attempt>;
    fn effects(tenant: &TenantId, after: u64, limit: u32) -> Vec<Effect>;
    fn failing_since(tenant: &TenantId, target: &str) -> Option<Timestamp>;
}

pass_on! { AlertStore:
    fn alert(tenant: &TenantId, id: &str) -> Option<Alert>;
    fn alerts(tenant: &TenantId, filter: &AlertFilter, before: Option<(Timestamp, &str)>,
        limit: u32) -> Vec<Alert>;
    fn fired_among(tenant: &TenantId, customers: &[CustomerId], since: Timestamp) -> Vec<Fired>;
    fn untold_alerts(tenant: &TenantId, now: Timestamp, limit: u32) -> Vec<Alert>;
}

pass_on! { JobStore:
    fn jobs(tenant: &TenantId) -> Vec<JobRow>;
    fn unsettled_job_runs(tenant: &TenantId) -> Vec<JobRun>;
    fn job_run(tenant: &TenantId, job: &str, scheduled_for: Timestamp) -> Option<JobRun>;
    fn job_history(tenant: &TenantId, filter: &JobFilter, before: Option<(Timestamp, &str)>,
        limit: u32) -> Vec<JobRun>;
    fn job_items(tenant: &TenantId, job: Option<&str>, parked: bool, after: Option<(&str, &str)>,
        limit: u32) -> Vec<JobItem>;
}

pass_on! { Store:
    fn commit(tenant: &TenantId, commit: &Commit) -> ();
    fn examine(now: Timestamp) -> Vec<Finding>;
    fn describe() -> Vec<(String, String)>;
}
