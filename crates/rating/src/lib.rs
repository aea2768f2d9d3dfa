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
