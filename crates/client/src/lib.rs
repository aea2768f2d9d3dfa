//! The Rust SDK: what a service needs to send its usage to Counterfoil and to ask about it.
//!
//! | part | what it is for |
//! |---|---|
//! | [`Client`] | typed calls: send events, current usage, quotas, rate limits, entitlements, invoices |
//! | [`Writer`] | events in the background: batches, retries, a spill on disk, nothing accepted is lost |
//! | [`MeterLayer`] | a tower layer that meters requests and refuses those that are over quota |
//!
//! ```no_run
//! use counterfoil_client::{Client, Event, Writer, WriterOptions};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:8080", "cf_…")?;
//! let options = WriterOptions { spill: Some("spill".into()), ..WriterOptions::default() };
//! let writer = Writer::start(client.clone(), options)?;
//! writer.send(Event::new("call-1", "acme", "call").source("api")).await?;
//! let closed = writer.close().await;
//! assert!(closed.undelivered.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Events are deduplicated by the service by (source, id): sending one again counts it once. All
//! retries rest on that, so an event keeps its id for ever; one without an id gets a random one
//! when it is accepted, one without a time that of its acceptance.

mod answers;
mod backoff;
mod client;
mod error;
mod event;
mod layer;
mod system;
mod writer;

pub use answers::{
    CallAnswer, ChargeUsage, Consumed, CustomerUsage, Entitlements, InvoiceSummary, Page,
    QuotaState, QuotaVerdict, RateLimit, Receipt, ReceiptCounts, ReceiptStatus, Receipts,
    SubscriptionUsage, Verdict,
};
pub use backoff::Backoff;
pub use client::{Client, ClientOptions};
pub use error::{ClientError, Problem};
pub use event::Event;
pub use layer::{MeterLayer, MeterOptions, Metered, QuotaCheck};
pub use system::{SystemClock, SystemRandom};
pub use writer::{
    Accept, Closed, Flushed, NotAccepted, ProblemHandler, Refused, SpillError, Stats, Writer,
    WriterOptions,
};
