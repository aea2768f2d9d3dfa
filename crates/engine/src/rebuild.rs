//! Rebuilding projections from the ledger, and proving that what is stored is what a fold over
//! the ledger gives.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use counterfoil_ledger::{LaneId, StoredEvent, effective_as_of};
use counterfoil_metering::{BucketKey, LaneFold, Level, MeterIndex, State};
use counterfoil_store::StoreError;
use counterfoil_types::{Exact, MeterKey};
use serde::Serialize;

use crate::{
    Engine, EngineError,
    project::{CHUNK, day_of},
};

/// What a rebuild or check came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RebuildReport {
    /// Ledger rows read.
    pub rows: u64,
    /// Buckets compared (check) or left (rebuild).
    pub buckets: u64,
    /// Differences, in words; the first hundred.
    pub differences: Vec<String>,
    /// How many there are.
    pub difference_count: u64,
    /// Both sides of the check, by meter.
    #[serde(skip)]
    pub meters: BTreeMap<MeterKey, MeterCheck>,
}

/// What a meter's hours come to on both sides: the sum of its values where it adds values, the
/// number of its events otherwise.
#[derive(Clone, Debug, Default)]
pub struct MeterCheck {
    /// By the fold over the ledger.
    pub folded: Exact,
    /// By what is stored.
    pub stored: Exact,
    /// Hours and days compared.
    pub buckets: u64,
    /// Of these, how many differ.
    pub differences: u64,
}

impl RebuildReport {
    fn meter(&mut self, key: &BucketKey) -> &mut MeterCheck {
        self.meters.entry(key.meter.clone()).or_default()
    }

    fn differs(&mut self, key: &BucketKey, what: String) {
        self.meter(key).differences += 1;
        self.difference_count += 1;
        if self.differences.len() < 100 {
            self.differences.push(what);
        }
    }
}

impl Engine {
    /// Forgets all aggregates and projects the ledger again.
    ///
    /// # Errors
    /// When an archive cannot be read: then nothing is forgotten. Else as the store has them; usage
    /// stays exact at any point, since what is not projected is
    /// folded when read.
    pub async fn rebuild(&self) -> Result<RebuildReport, EngineError> {
        // What is forgotten must be readable again: all archives are opened before.
        for check in self.check_archives().await? {
            if let Some(why) = check.problem {
                return Err(EngineError::Archived { archive: check.archive, why });
            }
        }
        for lane in self.tenant.lane_ids() {
            self.store.forget(lane).await?;
        }
        let rows = self.project_all().await?.rows;
        Ok(RebuildReport { rows, ..RebuildReport::default() })
    }

    /// Folds the whole ledger and compares it with what is stored. What is not projected yet is
    /// projected first.
    ///
    /// # Errors
    /// As the store has them. Differences are no error but are listed.
    pub async fn check_aggregates(&self) -> Result<RebuildReport, EngineError> {
        self.project_all().await?;
        let books = self.books().await?;
        let mut keys: Vec<MeterKey> = books.meters().keys().cloned().collect();
        keys.push(crate::books::events_meter()?.key);
        let index = self.index_of(&books, &keys);
        let mut report = RebuildReport::default();
        for lane in self.tenant.lane_ids() {
            self.check_lane(&index, lane, &mut report).await?;
        }
        Ok(report)
    }

    async fn check_lane(
        &self,
        index: &MeterIndex,
        lane: LaneId,
        report: &mut RebuildReport,
    ) -> Result<(), EngineError> {
        let progress = self.store.progress(lane).await?;
        let upto = progress.iter().map(|(_, position)| *position).min().unwrap_or(0);
        let mut folded = with_days(self.fold_lane(index, lane, upto, report).await?)?;
        for (key, state) in folded.iter().filter(|(key, _)| key.level == Level::Hour) {
            let meter = report.meter(key);
            meter.folded = meter.folded.add(&volume(state));
        }
        let mut after: Option<BucketKey> = None;
        loop {
            let page = self.store.all_buckets(lane, after.as_ref(), CHUNK).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for mut bucket in page {
                report.buckets += 1;
                let meter = report.meter(&bucket.key);
                meter.buckets += 1;
                if bucket.key.level == Level::Hour {
                    meter.stored = meter.stored.add(&volume(&bucket.state));
                }
                let expected = folded.remove(&bucket.key);
                if let State::Unique { members, .. } = &mut bucket.state {
                    let inside = bucket.key.period();
                    let stored = self
                        .store
                        .members(lane, &bucket.key.customer, &bucket.key.meter, &inside)
                        .await?;
                    *members = stored
                        .into_iter()
                        .filter(|(group, _)| *group == bucket.key.group)
                        .map(|(_, member)| (member, 1))
                        .collect();
                }
                let same = match &expected {
                    None => bucket.state.events() == 0,
                    Some(expected) => same_state(expected, &bucket.state),
                };
                if !same {
                    let what = format!(
                        "{} of {} in {}: stored {:?}, folded {:?}",
                        bucket.key.meter,
                        bucket.key.customer,
                        bucket.key.period(),
                        bucket.state,
                        expected
                    );
                    report.differs(&bucket.key, what);
                }
            }
        }
        for (key, state) in folded {
            let what = format!(
                "{} of {} in {}: nothing stored, folded {state:?}",
                key.meter,
                key.customer,
                key.period()
            );
            report.differs(&key, what);
        }
        Ok(())
    }

    async fn fold_lane(
        &self,
        index: &MeterIndex,
        lane: LaneId,
        upto: u64,
        report: &mut RebuildReport,
    ) -> Result<HashMap<BucketKey, State>, EngineError> {
        let mut corrections: HashMap<u64, Vec<StoredEvent>> = HashMap::new();
        for row in self.corrections_of(lane, 1, upto).await? {
            if let Some(target) = row.target_position {
                corrections.entry(target).or_default().push(row);
            }
        }
        let mut fold = LaneFold::default();
        let mut after = 0;
        loop {
            let rows = self.rows(lane, after, upto, None, CHUNK).await?;
            let Some(last) = rows.last().map(|row| row.position) else { break };
            after = last;
            report.rows += rows.len() as u64;
            for row in rows.iter().filter(|row| row.event.correction.is_none()) {
                match corrections.get(&row.position) {
                    None => fold.push(index, &row.event, row.time(), row.position),
                    Some(own) => {
                        if let Some(standing) = effective_as_of(row, own, upto) {
                            fold.push(index, &standing.event, standing.time, standing.position);
                        }
                    }
                }
            }
        }
        Ok(fold.finish())
    }
}

/// What a bucket adds to its meter's side of the check.
fn volume(state: &State) -> Exact {
    match state {
        State::Sum { sum, .. } | State::Moment { sum, .. } => sum.clone(),
        _ => Exact::from_i128(i128::from(state.events())),
    }
}

/// The hours, and the days they make up.
fn with_days(
    mut hours: HashMap<BucketKey, State>,
) -> Result<HashMap<BucketKey, State>, EngineError> {
    let mut in_order: Vec<(&BucketKey, &State)> = hours.iter().collect();
    in_order.sort_by_key(|(key, _)| key.start);
    let mut days: HashMap<BucketKey, State> = HashMap::new();
    for (key, state) in in_order {
        match days.entry(day_of(key)) {
            Entry::Vacant(day) => {
                day.insert(state.clone());
            }
            Entry::Occupied(mut day) => day
                .get_mut()
                .merge(state)
                .map_err(|error| StoreError::corrupt("aggregate", &key.customer, error))?,
        }
    }
    hours.extend(days);
    Ok(hours)
}

/// Whether stored and folded state agree; of members only the set matters, not how often each
/// occurred.
fn same_state(folded: &State, stored: &State) -> bool {
    match (folded, stored) {
        (State::Unique { n, members }, State::Unique { n: m, members: others }) => {
            n == m && members.keys().eq(others.keys())
        }
        _ => folded == stored,
    }
}
