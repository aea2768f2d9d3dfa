//! The HTTP service. Everything a request can do is an operation in one table ([`operation`]); the
//! router, the OpenAPI document, the reference page and the tests of access are made from it.
//!
//! | file | what |
//! |---|---|
//! | [`operation`], `openapi` | the table; the document |
//! | `service`, `guard` | what requests share; what stands before each of them |
//! | [`scope`], [`problem`], `extract`, `page` | rights, errors, reading requests, lists |
//! | [`limits`] | rate limits, in memory or in Redis |
//! | [`health`], `metrics`, `background` | how the service is; projecting meanwhile |
//! | `routes` | the operations, one file per noun |
//! | [`serve()`] | listening, time-outs, draining |
//!
//! Architecture invariant: no SQL and no adapter; handlers call use-cases of the engine and decide
//! nothing about money.

mod background;
mod etag;
mod extract;
mod guard;
pub mod health;
pub mod limits;
mod metrics;
mod openapi;
pub mod operation;
mod page;
pub mod problem;
mod reference;
mod routes;
pub mod scope;
mod serve;
mod service;

pub use background::{anchor, forget, project, watch};
pub use openapi::schema_of;
pub use serve::{Listen, ServeError, serve, tls};
pub use service::{OnRequest, Options, Shared, openapi_document, operations};
