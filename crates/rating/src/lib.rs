//! Rating: usage in, explained line items out. Pure functions; no I/O, no clock, no floats.
//!
//! How a line comes to be (DESIGN §3, R1–R7):
//!
//! 1. [`prepare`]: units are converted and rounded as the charge says; negative usage is priced
//!    as a credit or clamped; included units are noted.
//! 2. [`model`]: the price model splits the units into [`Part`]s with exact amounts.
//! 3. [`bounds`]: minimum and maximum of the charge and its discounts, as further parts.
//! 4. [`mod@line`]: the exact sum is rounded once, in the named mode, and the parts are settled to
//!    it by largest remainder (ties to the earlier part), so what is printed always adds up.
//!
//! Around lines: [`progressive`] bills inside a period and late events, [`discount`], [`credits`],
//! [`mod@tax`] and [`mod@totals`] lead from lines to the total of an invoice, [`commitment`] and
//! [`grants`] settle what a customer committed to or paid before.
//!
//! ```
//! use counterfoil_rating::{Charge, ChargeSpec, RateContext, Usage, rate};
//! use counterfoil_types::{Currency, Exact, Rounding};
//!
//! let spec: ChargeSpec = serde_json::from_str(
//!     r#"{"key": "api_calls", "meter": "api_calls", "model": "graduated", "included": 10000,
//!         "tiers": [{"up_to": 100000, "unit_price": "0.01"}, {"unit_price": "0.005"}]}"#,
//! ).unwrap();
//! let charge = Charge::try_from(&spec).unwrap();
//! let context = RateContext::new(Currency::USD, Rounding::HalfAwayFromZero);
//! let line = rate(&charge, &Usage::units(Exact::from(150_000i64)), &context).unwrap();
//! assert_eq!(line.amount.to_string(), "1150.00 USD"); // 90,000 × 0.01 + 50,000 × 0.005
//! ```
//!
//! Proration: five seats from the 15th of a month, by local days; nothing is rounded before the
//! line.
//!
//! ```
//! use counterfoil_rating::{Charge, ChargeSpec, ProrationBasis, RateContext, Usage, fraction, rate};
//! use counterfoil_types::{Currency, Exact, Period, Rounding, Zone};
//!
//! let zone: Zone = "Europe/Berlin".parse().unwrap();
//! let at = |text: &str| text.parse().unwrap();
//! let month = Period::new(at("2026-03-01T00:00:00+01:00"), at("2026-04-01T00:00:00+02:00"));
//! let held = Period::new(at("2026-03-15T00:00:00+01:00"), month.end);
//! let part = fraction(&held, &month, ProrationBasis::Day, &zone).unwrap();
//! assert_eq!(part.to_string(), "17/31"); // clocks change on the 29th: days do not care
//!
//! let spec: ChargeSpec = serde_json::from_str(
//!     r#"{"key": "seats", "licensed": true, "model": "per_unit", "unit_price": "20"}"#,
//! ).unwrap();
//! let seats = Charge::try_from(&spec).unwrap();
//! let context = RateContext::new(Currency::EUR, Rounding::HalfAwayFromZero).prorated(part);
//! let line = rate(&seats, &Usage::units(Exact::from(5i64)), &context).unwrap();
//! assert_eq!((line.exact.to_string().as_str(), line.amount.to_string().as_str()), ("1700/31", "54.84 EUR"));
//! ```
//!
//! Allocation: an amount is spread by largest remainder, and a tax is rounded once and then
//! allocated to the lines, so that no cent is lost or made.
//!
//! ```
//! use counterfoil_rating::{TaxMode, TaxRate, discount::distribute, tax::{allocate_tax, tax}};
//! use counterfoil_types::{Exact, Rounding};
//!
//! let exact = |text: &str| Exact::parse(text).unwrap();
//! let lines = [exact("10"), exact("10"), exact("10")];
//! let off = distribute(&exact("1"), &lines, 2).unwrap();
//! assert_eq!(off, [exact("0.34"), exact("0.33"), exact("0.33")]); // ties to the earlier line
//!
//! let vat = TaxRate { name: "VAT".to_owned(), percent: "19".parse().unwrap() };
//! let taxed = tax(&exact("29"), &[vat], TaxMode::Exclusive, 2, Rounding::HalfAwayFromZero).unwrap();
//! assert_eq!((taxed.tax, taxed.gross), (exact("5.51"), exact("34.51")));
//! let net = [exact("9.66"), exact("9.67"), exact("9.67")];
//! let shares = allocate_tax(&exact("5.51"), &net, 2).unwrap();
//! assert_eq!(shares.iter().sum::<Exact>(), exact("5.51"));
//! ```
//!
//! Terms: the plan of a customer who pays in euro and agreed on a price of its own.
//!
//! ```
//! use counterfoil_rating::{Overrides, PlanSpec, Rates, Terms};
//! use counterfoil_types::Currency;
//!
//! let plan: PlanSpec = serde_json::from_str(
//!     r#"{"key": "pro", "interval": "month", "minimum": "50", "charge": [
//!         {"key": "calls", "meter": "calls", "model": "per_unit", "unit_price": "0.01"}]}"#,
//! ).unwrap();
//! let rates = Rates {
//!     currencies: vec![(Currency::EUR, Some("0.92".parse().unwrap()))],
//!     ..Rates::default()
//! };
//! let overrides: Overrides = serde_json::from_str(r#"{"calls": {"unit_price": "0.008"}}"#).unwrap();
//! let terms = Terms { currency: Some(Currency::EUR), rates: &rates, phase: None, overrides: &overrides };
//! let plan = plan.resolve(&terms).unwrap();
//! assert_eq!(plan.minimum.unwrap().to_string(), "46");
//! assert_eq!(plan.charges[0].factor.to_string(), "0.92");
//! ```

pub mod bounds;
pub mod capacity_tiers;
pub mod charge;
pub mod commitment;
pub mod credits;
pub mod discount;
pub mod grants;
pub mod line;
pub mod model;
mod patch;
pub mod phase;
pub mod plan;
pub mod prepare;
pub mod progressive;
pub mod proration;
pub mod quota;
pub mod resolve;
pub mod rhythm;
pub mod spec;
pub mod tax;
pub mod tier;
pub mod totals;
pub mod usage;

pub use charge::Charge;
pub use discount::{Discount, DiscountOrder};
pub use line::{
    Part, PartKind, Priced, RateContext, RatedLine, RatingError, price, price_buckets, rate,
};
pub use model::{
    Model,
    tiered::{Slice, graduated_slices},
    time_of_day::{OTHER, TimeOfDay, WINDOW, WeekDay, WindowSpec, in_window},
};
pub use phase::{Phase, PhaseSpec};
pub use plan::{
    Alignment, CommitmentSpec, FirstPeriod, LatePolicy, Plan, PlanSpec, TermCommitment,
};
pub use progressive::{Position, bill_in_phases, delta, price_part};
pub use proration::{ProrationBasis, fraction, prorated_units};
pub use resolve::{Overrides, Rates, Terms};
pub use rhythm::periods_in;
pub use spec::{ChargeSpec, ModelKind, Patch, SpecError, Timing};
pub use tax::{TaxMode, TaxRate};
pub use tier::{Tier, TierSpec};
pub use totals::{CreditOrder, TotalRules, Totals, totals};
pub use usage::{Cell, Usage};
