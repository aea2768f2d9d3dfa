//! The aggregates port.

use async_trait::async_trait;
use counterfoil_ledger::LaneId;
use counterfoil_metering::{BucketKey, GroupKey, State};
use counterfoil_types::{CustomerId, MeterKey, Period, Timestamp};

use crate::{error::StoreError, lease::Fence};

/// A stored aggregate. Members of unique counts lie apart (see [`MemberDelta`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Whose, what, when.
    pub key: BucketKey,
    /// What it remembers.
    pub state: State,
    /// Least position of an original event ever seen in it.
    pub first: u64,
    /// Greatest position of an original event ever seen in it.
    pub last: u64,
    /// Greatest position of anything that changed it, corrections included.
    pub touched: u64,
}

/// A change of how often a member occurs in an hour (unique counts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDelta {
    /// Whose.
    pub customer: CustomerId,
    /// By which meter.
    pub meter: MeterKey,
    /// In which group.
    pub group: GroupKey,
    /// Start of the hour.
    pub hour: Timestamp,
    /// The member.
    pub member: String,
    /// How much to add to its count.
    pub by: i64,
}

/// One step of the projector: all of it takes effect, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// The lane.
    pub lane: LaneId,
    /// The meters it advances, all standing at `from`.
    pub meters: Vec<MeterKey>,
    /// Where they stood.
    pub from: u64,
    /// Where they stand afterwards.
    pub to: u64,
    /// Buckets to write, replacing what was there. An hour comes with the day it lies in.
    pub buckets: Vec<Bucket>,
    /// Member counts to add.
    pub members: Vec<MemberDelta>,
    /// A lease that must still be held for any of it to take effect.
    pub fence: Option<Fence>,
}

/// What is wanted of one customer's buckets, for [`AggregateStore::usage_among`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageWanted {
    /// Whose.
    pub customer: CustomerId,
    /// Day buckets starting in any of these.
    pub days: Vec<Period>,
    /// Hour buckets starting in any of these.
    pub hours: Vec<Period>,
}

/// What [`AggregateStore::usage_among`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRead {
    /// How far each meter was projected in the lane at the moment of the reading.
    pub progress: Vec<(MeterKey, u64)>,
    /// The buckets of each that was wanted, in their order.
    pub found: Vec<Vec<Bucket>>,
}

/// A question to [`AggregateStore::touched_among`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchWanted {
    /// Whose.
    pub customer: CustomerId,
    /// Anything that lies before this …
    pub before: Timestamp,
    /// … and was touched after this position.
    pub after: u64,
}

/// Reading and writing aggregates.
#[async_trait]
pub trait AggregateStore: Send + Sync {
    /// How far each meter is projected in a lane. Meters never projected are absent.
    async fn progress(&self, lane: LaneId) -> Result<Vec<(MeterKey, u64)>, StoreError>;

    /// The stored buckets among `keys`.
    async fn buckets(&self, lane: LaneId, keys: &[BucketKey]) -> Result<Vec<Bucket>, StoreError>;

    /// Applies a projection if all its meters still stand at `from` (absent counts as 0).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another projector was faster, [`StoreError::LeaseLost`] when
    /// its fence does not hold; nothing was written.
    async fn project(&self, projection: &Projection) -> Result<(), StoreError>;

    /// A customer's buckets: day buckets starting in any of `days` and hour buckets starting in
    /// any of `hours`; of one meter only, when given.
    async fn usage(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        meter: Option<&MeterKey>,
        days: &[Period],
        hours: &[Period],
    ) -> Result<Vec<Bucket>, StoreError>;

    /// What [`Self::usage`] would say of each of `wanted`, of these meters only, with where the lane
    /// stood: all of it as of one moment, so that no projector moves in between.
    async fn usage_among(
        &self,
        lane: LaneId,
        meters: &[MeterKey],
        wanted: &[UsageWanted],
    ) -> Result<UsageRead, StoreError>;

    /// Hour buckets of one meter in a lane over hours starting in `hours`, all customers.
    async fn meter_buckets(
        &self,
        lane: LaneId,
        meter: &MeterKey,
        hours: &Period,
    ) -> Result<Vec<Bucket>, StoreError>;

    /// The different members of a unique count over hours starting in `hours`, by group.
    async fn members(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        meter: &MeterKey,
        hours: &Period,
    ) -> Result<Vec<(GroupKey, String)>, StoreError>;

    /// Whether anything of a customer before `before` was touched after position `after`: the
    /// sign of late events and corrections.
    async fn touched_after(
        &self,
        lane: LaneId,
        customer: &CustomerId,
        before: Timestamp,
        after: u64,
    ) -> Result<bool, StoreError>;

    /// What [`Self::touched_after`] would say to each of `wanted`, in their order.
    async fn touched_among(
        &self,
        lane: LaneId,
        wanted: &[TouchWanted],
    ) -> Result<Vec<bool>, StoreError>;

    /// All buckets of a lane, hours and days, in the backend's order after `after`, at most
    /// `limit`.
    async fn all_buckets(
        &self,
        lane: LaneId,
        after: Option<&BucketKey>,
        limit: u32,
    ) -> Result<Vec<Bucket>, StoreError>;

    /// Forgets all aggregates and progress of a lane.
    async fn forget(&self, lane: LaneId) -> Result<(), StoreError>;
}
