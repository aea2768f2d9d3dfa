//! What an append comes to, worked out in memory: under the lane locks, and once the keys that are
//! taken are known, nothing else can change the answer. Events are looked at one by one in the
//! order of their batches, so a batch means what its events would mean one after another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_ledger::{CorrectionKind, LaneId, Receipt, Reject, check_correction, leaf_hash};
use counterfoil_store::StoreError;
use counterfoil_types::{Digest, Timestamp};

use super::{
    copy::{self, Rows},
    probe::{Known, Taken, Target},
    stage::{Item, Key, Staged},
};
use crate::rows::signed;

/// Columns as [`Plan::rows`] holds them.
pub(crate) const COPY: &str = "COPY usage_event (lane_id, position, recorded_at, time, target, key, leaf, customer, type, source, id, quantity, body) FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 13;

/// How far the lanes reach that are locked.
pub(crate) struct Heads {
    pub(crate) lanes: BTreeMap<LaneId, (u64, Timestamp)>,
    pub(crate) changed: BTreeSet<LaneId>,
}

impl Heads {
    /// No lane: for what writes nothing.
    pub(crate) fn none() -> Self {
        Self { lanes: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// The next position of a lane and the time it is recorded at.
    fn next(&mut self, lane: LaneId, now: Timestamp) -> Result<(u64, Timestamp), StoreError> {
        let head = self
            .lanes
            .get_mut(&lane)
            .ok_or_else(|| StoreError::corrupt("lane", lane, "the lane's head row is missing"))?;
        head.0 += 1;
        head.1 = head.1.max(now);
        self.changed.insert(lane);
        Ok(*head)
    }
}

/// An event stored by this append.
struct Fresh<'a> {
    known: Known,
    batch: &'a Staged,
    at: usize,
}

/// The outcome.
pub(crate) struct Plan<'a> {
    pub(crate) rows: Rows,
    pub(crate) heads: Heads,
    fresh: HashMap<Key, Fresh<'a>>,
    /// Corrections made here, by what they correct.
    corrected: HashMap<(LaneId, u64), Vec<CorrectionKind>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(heads: Heads, batches: &[&'a Staged]) -> Self {
        let count = batches.iter().map(|batch| batch.items.len()).sum();
        let size = batches.iter().map(|batch| batch.size()).max().unwrap_or(0);
        Self {
            rows: Rows::with_capacity(size),
            heads,
            fresh: HashMap::with_capacity(count),
            corrected: HashMap::new(),
        }
    }

    /// Takes a batch in and gives its receipts.
    pub(crate) fn add(
        &mut self,
        batch: &'a Staged,
        taken: &Taken,
        targets: &HashMap<Key, Target>,
    ) -> Result<Vec<Receipt>, StoreError> {
        let mut receipts = Vec::with_capacity(batch.items.len());
        for (at, item) in batch.items.iter().enumerate() {
            let known = taken.get(&item.key).copied();
            let known = known.or_else(|| self.fresh.get(&item.key).map(|fresh| fresh.known));
            receipts.push(match (known, batch.target(at)) {
                (Some(known), _) => known.receipt(item)?,
                (None, None) => self.insert(batch, at, item, None)?,
                (None, Some(target)) => self.correct(batch, at, item, &target, targets)?,
            });
        }
        Ok(receipts)
    }

    fn insert(
        &mut self,
        batch: &'a Staged,
        at: usize,
        item: &Item,
        target: Option<u64>,
    ) -> Result<Receipt, StoreError> {
        let lane = item.lane;
        let (position, recorded_at) = self.heads.next(lane, batch.now)?;
        let leaf = leaf_hash(&batch.tenant, lane, position, recorded_at, &item.content);
        let out = self.rows.row(COLUMNS);
        copy::bigint(out, lane.0);
        copy::bigint(out, signed(position));
        copy::bigint(out, recorded_at.micros());
        copy::optional_bigint(out, item.time);
        copy::optional_bigint(out, target.map(signed));
        copy::uuid(out, &item.key);
        copy::bytes(out, &leaf.0)?;
        out.extend_from_slice(batch.tail(item));
        let Item { identity, content, .. } = *item;
        let known = Known { lane, position, identity, content };
        self.fresh.insert(item.key, Fresh { known, batch, at });
        Ok(Receipt::Inserted { lane, position })
    }

    fn correct(
        &mut self,
        batch: &'a Staged,
        at: usize,
        item: &Item,
        target: &Digest,
        targets: &HashMap<Key, Target>,
    ) -> Result<Receipt, StoreError> {
        let missing = || StoreError::Driver("a correction lost its event".to_owned());
        let event = batch.event(at).ok_or_else(missing)?;
        let kind = event.correction.as_ref().ok_or_else(missing)?.kind;
        let key = target.prefix16();
        let (place, stored, mut earlier) = match (targets.get(&key), self.fresh.get(&key)) {
            (Some(Target::Archived { lane, position }), _) => {
                let target = event.correction.as_ref().ok_or_else(missing)?.target.clone();
                let (lane, position) = (*lane, *position);
                return Ok(Receipt::Rejected(Reject::Archived { target, lane, position }));
            }
            (Some(Target::Whole { row, earlier }), _) => {
                (Some((row.lane, row.position)), Some(&row.event), earlier.clone())
            }
            (None, Some(fresh)) => {
                let place = (fresh.known.lane, fresh.known.position);
                (Some(place), fresh.batch.event(fresh.at), Vec::new())
            }
            (None, None) => (None, None, Vec::new()),
        };
        if let Some(place) = place {
            earlier.extend(self.corrected.get(&place).into_iter().flatten());
        }
        if let Err(error) = check_correction(event, stored, &earlier) {
            return Ok(Receipt::Rejected(Reject::Correction(error.to_string())));
        }
        let place = place.ok_or_else(missing)?;
        self.corrected.entry(place).or_default().push(kind);
        self.insert(batch, at, item, Some(place.1))
    }
}
