//! The vocabulary every other crate speaks: exact numbers, money, quantities, time, periods,
//! identifiers and canonical bytes.
//!
//! Architecture invariant: nothing here does I/O, reads a clock or makes random numbers, and no
//! operation on an amount can round without naming its rounding mode.

pub mod billing_day;
pub mod canonical;
pub mod clock;
pub mod currency;
pub mod decimal;
pub mod exact;
pub mod ids;
pub mod money;
pub mod period;
pub mod quantity;
pub mod rounding;
pub mod schedule;
pub mod split;
pub mod timestamp;
pub mod zone;

pub use billing_day::BillingDaySchedule;
pub use canonical::{CanonicalWriter, Digest};
pub use clock::{Clock, FixedClock};
pub use currency::Currency;
pub use decimal::{DecimalError, parse_decimal};
pub use exact::{Exact, ExactError};
pub use ids::{
    BookRef, CustomerId, InvoiceId, MeterKey, PlanKey, RunId, SubscriptionId, TenantId, derive_uuid,
};
/// Local dates and times, as schedules and zones take them.
pub use jiff::civil;
pub use money::{Money, MoneyError};
pub use period::Period;
pub use quantity::Quantity;
pub use rounding::Rounding;
pub use schedule::{CalendarSpan, Interval, IntervalUnit, Schedule, ScheduleError};
pub use split::{SplitError, split_back_to_front, split_largest_remainder};
pub use timestamp::{TimeError, Timestamp};
pub use zone::Zone;
