//! Metering: events become exact usage per customer × meter × group × bucket. Pure.
//!
//! | step | where |
//! |---|---|
//! | is this event mine, in which group, with what value | [`measure`] |
//! | what one bucket remembers, and how two memories merge | [`state`] |
//! | what a chunk of the ledger changes | [`project`] |
//! | the same from scratch, the oracle | [`fold`] |
//! | a period's value out of the states | [`value`] |
//!
//! Architecture invariant: a stored aggregate affects cost, never meaning. Whatever the projector
//! keeps, the answer equals [`fold`] over the ledger; property tests hold both together.
//!
//! Metering reads events, so it is the one stage that looks at `ledger` types; nothing flows back.

pub mod bucket;
pub mod fold;
pub mod group;
pub mod measure;
pub mod meter;
pub mod project;
pub mod state;
pub mod value;

pub use bucket::{BucketKey, Level, Span};
pub use fold::{LaneFold, fold};
pub use group::GroupKey;
pub use measure::{Measured, Measurement, measure};
pub use meter::{
    Aggregation, EVENTS_METER, Meter, MeterSpec, MeterSpecError, PerTime, UNUSABLE_METER,
};
pub use project::{ChunkDelta, Delta, MeterIndex};
pub use state::{NeedsRefold, Reading, State};
pub use value::{PeriodUsage, value_of};
