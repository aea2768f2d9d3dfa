//! Statistics of usage as pure functions: numbers in, findings with their reasons out. Alert rules
//! and reports judge by the same functions, so that a mail and a report never disagree.
//!
//! | file | what |
//! |---|---|
//! | [`series`] | mean, deviation and median of a series |
//! | [`percentile`] | p50, p95, p99: exact up to a stated size, a sketch beyond it |
//! | [`trend`] | step against the step before, and the highest steps |
//! | [`anomaly`] | a value that does not look like those before it, or like its season's |
//! | [`forecast`] | what a period will come to, and when a limit is passed |
//!
//! Statistics are exact fractions; a square root is taken only to be shown. No clock, no store.

pub mod anomaly;
pub mod forecast;
pub mod percentile;
pub mod series;
pub mod trend;

pub use anomaly::Anomaly;
pub use forecast::Forecast;
pub use percentile::{Percentiles, Spread};
