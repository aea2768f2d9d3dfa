//! The vocabulary every other crate speaks: exact numbers, money, quantities, time, periods,
//! identifiers and canonical bytes.
//!
//! Architecture invariant: nothing here does I/O, reads a clock or makes random numbers, and no
//! operation on an amount can round without naming its rounding mode.
//!
//! Periods tile time on the local calendar, each boundary computed from the anchor:
//!
//! ```
//! use counterfoil_types::{Interval, IntervalUnit, Schedule, Zone, civil};
//!
//! let zone: Zone = "Europe/Berlin".parse().unwrap();
//! let monthly = Interval::one(IntervalUnit::Month);
//! let schedule = Schedule::new(monthly, civil::datetime(2026, 1, 31, 0, 0, 0, 0), zone).unwrap();
//! let february = schedule.period(1).unwrap();
//! assert_eq!(february.start.to_string(), "2026-02-27T23:00:00Z"); // local midnight of the 28th
//! assert_eq!(february.end.to_string(), "2026-03-30T22:00:00Z"); // the 31st again, summer time
//! ```
//!
//! Amounts are split without losing a cent, ties to the earlier item:
//!
//! ```
//! use counterfoil_types::{Exact, split_largest_remainder};
//!
//! let exact = |text: &str| Exact::parse(text).unwrap();
//! let weights = [exact("1"), exact("1"), exact("1")];
//! let shares = split_largest_remainder(&exact("100"), &weights, 2).unwrap();
//! assert_eq!(shares, [exact("33.34"), exact("33.33"), exact("33.33")]);
//! ```

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
pub mod random;
pub mod rounding;
pub mod schedule;
mod schema;
pub mod split;
pub mod timestamp;
pub mod zone;

pub use billing_day::{BillingDayError, BillingDaySchedule};
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
pub use random::Random;
pub use rounding::Rounding;
pub use schedule::{CalendarSpan, Interval, IntervalUnit, Schedule, ScheduleError};
pub use split::{SplitError, split_back_to_front, split_largest_remainder};
pub use timestamp::{TimeError, Timestamp};
pub use zone::Zone;
