//! The usage event ledger, pure stage: what an event is, how it is read from the outside, hashed,
//! guarded, corrected and given a receipt. Storage lives behind the ports of the `store` crate.
//!
//! Architecture invariant: no I/O and no clock; every function here is a function of its
//! arguments, so a replay of the ledger gives the same answer on any day.

pub mod body;
pub mod canonical;
pub mod correction;
pub mod csv_map;
pub mod decode;
pub mod effective;
pub mod event;
pub mod guard;
pub mod lane;
pub mod receipt;
pub mod stored;
pub mod tree;

pub use canonical::{content_hash, key_hash, leaf_hash};
pub use correction::{CorrectionError, check_correction};
pub use effective::{Effective, effective_as_of, standing};
pub use event::{Correction, CorrectionKind, Event, Scalar};
pub use guard::Guards;
pub use lane::{LaneId, MAX_LANES, lane_of};
pub use receipt::{Receipt, ReceiptCounts, Reject};
pub use stored::StoredEvent;
pub use tree::Tree;
