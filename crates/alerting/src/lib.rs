//! Alert rules as pure functions: numbers in, findings with their reasons out.
//!
//! | file | what |
//! |---|---|
//! | [`rule`] | what is watched, for whom, and how grave it is |
//! | [`threshold`] | which thresholds usage has passed |
//! | [`change`] | some days against the same number of days before them |
//!
//! What is odd and what is to be expected is judged by `counterfoil-analytics`, as in reports. No
//! clock, no store, and nothing about customers: the engine brings the numbers together and fires
//! what is found.

pub mod change;
pub mod rule;
pub mod threshold;

pub use rule::{Rule, RuleError, Severity, Watch, WatchWindow, defaults};
