//! Invoicing, pure stage: who is billed ([`customer`], [`subscription`]), for which periods
//! ([`cycle`], [`era`]), what is still to be billed after what was ([`settle`]), what an invoice holds ([`invoice`]) and how it adds up ([`assemble`], [`credit`], [`tax`]),
//! how it explains itself ([`explain`]), and what an invoice run is
//! ([`run`]), what takes it back ([`credit_note`]) and what reminds of it ([`dunning`]).
//!
//! Architecture invariant: an invoice's body is a function of its inputs (book hashes, ledger
//! watermark, rated lines); state, number and dates live beside it, so rebuilding the body gives
//! the same bytes.

pub mod assemble;
pub mod credit;
pub mod credit_note;
pub mod customer;
pub mod cycle;
pub mod dunning;
pub mod era;
pub mod explain;
pub mod invoice;
pub mod plan_lines;
pub mod run;
pub mod settle;
pub mod subscription;
pub mod tax;
#[cfg(test)]
mod testing;

pub use assemble::{AssembleError, Draft, assemble};
pub use credit::{CreditUse, Grant, GrantKind, GrantUnit, GrantUse, OpenCredit, UnitGrant};
pub use credit_note::{CreditNote, CreditNoteLine};
pub use customer::{Customer, TaxMode, TaxRate};
pub use cycle::{Cycle, CycleError, Cycles};
pub use era::Rhythm;
pub use explain::explain;
pub use invoice::{Inputs, Invoice, InvoiceBody, InvoiceLine, InvoiceState, LineKind, Origin};
pub use run::{Bounds, ItemStatus, Run, RunItem, RunState, RunTotals};
pub use subscription::{Change, ChangeKind, Patch, Subscription, Terms};
pub use tax::{TaxAmount, TaxDecision, tax_lines};
