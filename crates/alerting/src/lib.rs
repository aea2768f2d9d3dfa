//! Alert rules as pure functions: numbers in, findings with their reasons out.
//!
//! | file | what |
//! |---|---|
//! | [`rule`] | what is watched, for whom, and how grave it is |
//! | [`threshold`] | which thresholds usage has passed |
//! | [`series`] | mean, deviation and median of a series of days |
//! | [`anomaly`] | a day that does not look like those before it |
//! | [`change`] | some days against the same number of days before them |
//! | [`forecast`] | what a period will come to, and when a limit is passed |
//!
//! Statistics are exact fractions; a square root is taken only to be shown. No clock, no store, and
//! nothing about customers: the engine brings the numbers together and fires what is found.

pub mod anomaly;
pub mod change;
pub mod forecast;
pub mod rule;
pub mod series;
pub mod threshold;

pub use anomaly::Anomaly;
pub use forecast::Forecast;
pub use rule::{Rule, RuleError, Severity, Watch, WatchWindow, defaults};
