//! Exact usage of one customer in any period, as of the ledger's head.
//!
//! | part of the period | read from |
//! |---|---|
//! | whole UTC days, whole hours | stored buckets |
//! | hours that a boundary cuts | the events of that hour |
//! | hours that events not yet projected fall in | the events of that hour |
//!
//! The watermark is read before and after: if the projector moved in between, the reading starts
//! over, so the answer always is the fold over one prefix of the ledger.

mod cover;
mod read;
mod steps;

use std::collections::BTreeMap;

use counterfoil_ledger::LaneId;
use counterfoil_metering::{GroupKey, Meter, PeriodUsage, value_of};
use counterfoil_rating::{Cell, Usage};
use counterfoil_types::{CustomerId, Exact, ExactError, MeterKey, Period};

pub use read::LaneView;
pub(crate) use read::{Request, wanted_over};

/// Usage of one meter in one period, by group.
#[derive(Clone, Debug, Default)]
pub struct MeterUsage {
    /// By group.
    pub groups: BTreeMap<GroupKey, PeriodUsage>,
    /// The single values, where they were asked for.
    pub transactions: Option<Vec<Exact>>,
}

/// Usage of a customer in a period.
#[derive(Clone, Debug)]
pub struct CustomerUsage {
    /// Whose.
    pub customer: CustomerId,
    /// Its lane.
    pub lane: LaneId,
    /// Ledger rows up to this position were looked at.
    pub position: u64,
    /// When.
    pub period: Period,
    /// By meter.
    pub meters: BTreeMap<MeterKey, MeterUsage>,
}

impl CustomerUsage {
    /// Events that counted for a meter.
    #[must_use]
    pub fn events(&self, meter: &MeterKey) -> u64 {
        let groups = self.meters.get(meter).map(|usage| usage.groups.values());
        groups.into_iter().flatten().map(PeriodUsage::events).sum()
    }

    /// The value of each group of a meter.
    ///
    /// # Errors
    /// When a time-weighted mean is asked for over an empty period.
    pub fn values(&self, meter: &Meter) -> Result<BTreeMap<GroupKey, Exact>, ExactError> {
        let Some(usage) = self.meters.get(&meter.key) else { return Ok(BTreeMap::new()) };
        usage
            .groups
            .iter()
            .map(|(group, usage)| Ok((group.clone(), value_of(meter, usage, &self.period)?)))
            .collect()
    }

    /// The meter's value over all groups. Maxima, minima, averages and the like of a grouped
    /// meter are taken group by group and added: each group is billed by itself.
    ///
    /// # Errors
    /// As [`CustomerUsage::values`].
    pub fn total(&self, meter: &Meter) -> Result<Exact, ExactError> {
        Ok(self.values(meter)?.values().sum())
    }

    /// The usage as rating wants it; `dimensions` are the properties a matrix prices by.
    ///
    /// # Errors
    /// As [`CustomerUsage::values`].
    pub fn for_rating(&self, meter: &Meter, dimensions: &[String]) -> Result<Usage, ExactError> {
        let values = self.values(meter)?;
        let units: Exact = values.values().sum();
        let mut cells: BTreeMap<BTreeMap<String, String>, Exact> = BTreeMap::new();
        if !dimensions.is_empty() {
            for (group, value) in &values {
                let mut found = group.dimensions(&meter.group_by);
                found.retain(|name, _| dimensions.contains(name));
                let cell = cells.entry(found).or_insert(Exact::ZERO);
                *cell = cell.add(value);
            }
        }
        let transactions = self.meters.get(&meter.key).and_then(|usage| usage.transactions.clone());
        Ok(Usage {
            units,
            events: self.events(&meter.key),
            transactions,
            cells: cells
                .into_iter()
                .map(|(dimensions, units)| Cell { dimensions, units })
                .collect(),
            ..Usage::default()
        })
    }
}
