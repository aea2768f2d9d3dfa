//! The service as its callers see it. `world` runs it over a store of its own; `wire` speaks to it
//! through real sockets.

#![cfg(test)]

mod access;
mod alerts;
mod backfills;
mod bodies;
mod document;
mod documents;
mod events;
mod exports;
mod faults;
mod finance;
mod jobs;
mod limits;
mod once;
mod quotas;
#[expect(dead_code, reason = "shared with the tests of delivery, which use all of it")]
#[path = "../../../delivery/tests/it/schema.rs"]
mod schema;
mod stripe;
mod stripe_money;
mod usage;
mod wire;
mod world;
