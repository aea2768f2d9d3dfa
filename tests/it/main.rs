//! The integration tests, one binary: each module checks one area of the promises in
//! `docs/guarantees.md`.

mod archive;
mod backup;
mod bad_accounts;
mod bad_events;
mod bad_store;
mod cli_surface;
mod crash;
mod deliver;
mod documents;
mod exactly;
mod finance;
mod formats;
mod harness;
mod load;
mod on_postgres;
mod projectors;
mod quickstart;
mod real_trace;
mod reports;
mod sdks;
mod service;
mod tidy;
mod traces;
mod vectors;
mod workers;
