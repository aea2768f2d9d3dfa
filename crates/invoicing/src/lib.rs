//! Invoicing, pure stage: who is billed ([`customer`], [`subscription`]), for which periods
//! ([`cycle`]), what an invoice holds ([`invoice`]) and how it adds up ([`assemble`], [`tax`]),
//! how it explains itself ([`explain`]), and what an invoice run is ([`run`]).
//!
//! Architecture invariant: an invoice's body is a function of its inputs (book hashes, ledger
//! watermark, rated lines); state, number and dates live beside it, so rebuilding the body gives
//! the same bytes.

pub mod assemble;
pub mod customer;
pub mod cycle;
pub mod explain;
pub mod invoice;
pub mod run;
pub mod subscription;
pub mod tax;

pub use assemble::{AssembleError, Draft, assemble};
pub use customer::{Customer, TaxRate};
pub use cycle::{Cycle, CycleError, Cycles};
pub use explain::explain;
pub use invoice::{Inputs, Invoice, InvoiceBody, InvoiceLine, InvoiceState, LineKind};
pub use run::{Bounds, ItemStatus, Run, RunItem, RunState, RunTotals};
pub use subscription::Subscription;
pub use tax::{TaxAmount, tax_lines};
