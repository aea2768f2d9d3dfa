//! Stripe: usage and invoices out, web hooks in, totals compared (`docs/adr/0017-stripe.md`).
//!
//! | file | what |
//! |---|---|
//! | [`client`] | one request in, one [`client::Answer`] or [`client::Failure`] out |
//! | [`sender`] | effects of the outbox to Stripe |
//! | [`usage`] | meter events and usage records; what Stripe counts |
//! | [`invoices`] | a finalized invoice as an invoice of Stripe, and what follows it |
//! | [`listed`] | invoices as Stripe has them |
//! | [`setup`] | customers and meters made there on request |
//! | [`webhook`] | what Stripe tells us: signature, and what it means |
//!
//! Architecture invariant: no SQL, no engine and no clock; time is passed in with the parcel.
//!
//! Architecture invariant: the secret key is in [`client::Client`] and nowhere else; it has no
//! `Debug`.

pub mod client;
pub mod invoices;
pub mod listed;
pub mod sender;
pub mod setup;
pub mod usage;
pub mod webhook;

pub use client::{Client, ClientError, ClientOptions, Failure};
pub use sender::StripeSender;
