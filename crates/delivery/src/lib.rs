//! Delivering effects: what happened here is told outside, by web hook and by mail.
//!
//! | file | what |
//! |---|---|
//! | [`relay`] | spreads effects over targets, claims what is due, sends, records, tries again |
//! | [`again`] | sending again what was sent, parked or never made |
//! | [`retry`] | how long to wait, and when to give up |
//! | [`sender`] | what a sender is: one attempt in, one verdict out |
//! | [`endpoint`] | the web hook endpoints of a tenant, and their secrets |
//! | [`signature`] | Standard Webhooks signatures |
//! | [`guard`] | which addresses may be connected to |
//! | [`connect`] | resolving and connecting behind the guard |
//! | [`web`] | the sender of web hooks |
//! | [`mail`] | the sender of mails: recipients, letters, transports |
//!
//! Any error that leaves open whether something arrived is *unknown*: it is sent again under the
//! same id, and the receiver knows it by that (`docs/adr/0013-delivery.md`).
//!
//! Architecture invariant: no SQL, no engine and no clock here; time and randomness are passed in.

pub mod again;
pub mod connect;
pub mod endpoint;
pub mod guard;
pub mod mail;
pub mod relay;
pub mod retry;
pub mod sender;
pub mod signature;
pub mod web;

pub use endpoint::{Endpoint, EndpointError};
pub use guard::Guard;
pub use relay::{MAIL, Relay, RelayError, RelayOptions, Report, run};
pub use sender::{Parcel, Sender, Sent, Verdict};
pub use web::WebSender;
