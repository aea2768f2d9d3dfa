//! A batch made ready outside of any lock: owned, so that it may be written together with others,
//! and with all of its rows encoded that does not depend on their place in the ledger.

use std::ops::Range;

use counterfoil_ledger::{Event, LaneId, key_hash};
use counterfoil_store::{Pending, StoreError, Tenant};
use counterfoil_types::{Digest, TenantId, Timestamp};

use super::copy;
use crate::rows::to_text;

/// Half a digest: what the unique index is on.
pub(crate) type Key = [u8; 16];

/// One event of a batch.
pub(crate) struct Item {
    pub(crate) lane: LaneId,
    pub(crate) key: Key,
    /// The whole digest of its identity.
    pub(crate) identity: Digest,
    pub(crate) content: Digest,
    pub(crate) time: Option<i64>,
    /// Its encoded fields from `customer` on.
    tail: Range<usize>,
}

/// A batch.
pub(crate) struct Staged {
    pub(crate) tenant: TenantId,
    pub(crate) items: Vec<Item>,
    pub(crate) now: Timestamp,
    /// Its lane, where the ledger is sharded: keys are looked up in no other.
    pub(crate) lane: Option<i64>,
    /// The events themselves, only of a batch with corrections: those are checked against what
    /// they correct. Such a batch is never merged with others.
    pub(crate) events: Option<Vec<Event>>,
    tails: Vec<u8>,
}

impl Staged {
    pub(crate) fn new(
        tenant: &Tenant,
        batch: &[Pending],
        now: Timestamp,
        sharded: bool,
    ) -> Result<Self, StoreError> {
        let mut tails = Vec::with_capacity(batch.len() * 160);
        let mut items = Vec::with_capacity(batch.len());
        for pending in batch {
            let start = tails.len();
            encode_tail(&mut tails, pending)?;
            items.push(Item {
                lane: pending.lane,
                key: pending.key.prefix16(),
                identity: pending.key,
                content: pending.content,
                time: pending.event.time.map(Timestamp::micros),
                tail: start..tails.len(),
            });
        }
        let corrects = batch.iter().any(|pending| pending.event.correction.is_some());
        let events = corrects.then(|| batch.iter().map(|pending| pending.event.clone()).collect());
        let lane = items.first().map(|item: &Item| item.lane.0).filter(|_| sharded);
        Ok(Self { tenant: tenant.id.clone(), items, now, lane, events, tails })
    }

    /// An item's encoded fields from `customer` on.
    pub(crate) fn tail(&self, item: &Item) -> &[u8] {
        self.tails.get(item.tail.clone()).unwrap_or_default()
    }

    /// How many bytes its rows take, roughly.
    pub(crate) fn size(&self) -> usize {
        self.tails.len() + self.items.len() * 130
    }

    /// The event of an item, of a batch with corrections.
    pub(crate) fn event(&self, at: usize) -> Option<&Event> {
        self.events.as_ref()?.get(at)
    }

    /// The key of what an item corrects.
    pub(crate) fn target(&self, at: usize) -> Option<Digest> {
        let event = self.event(at)?;
        let correction = event.correction.as_ref()?;
        Some(key_hash(&self.tenant, &event.source, &correction.target))
    }
}

/// customer, type, source, id, quantity, body.
fn encode_tail(out: &mut Vec<u8>, pending: &Pending) -> Result<(), StoreError> {
    let event = &pending.event;
    copy::bytes(out, event.customer.as_str().as_bytes())?;
    copy::bytes(out, to_text(&event.event_type).as_bytes())?;
    copy::bytes(out, to_text(&event.source).as_bytes())?;
    copy::bytes(out, to_text(&event.id).as_bytes())?;
    copy::numeric(out, &pending.quantity)?;
    match &pending.body {
        Some(body) => copy::bytes(out, body.as_bytes()),
        None => {
            copy::null(out);
            Ok(())
        }
    }
}
